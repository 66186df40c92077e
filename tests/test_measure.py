"""Measures of a face picture, on a public-domain photograph and on consenting adults' pictures."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest

from models import face_chip, registry
from models.arrays import F32, U8

pytest.importorskip("dlib", reason="needs the train extra")

from export import measure

if not all(registry.is_intact(registry.artefacts()[name]) for name in registry.choose(["default", "measure"])):
    pytest.skip("the measuring models are not pulled: ./run.sh pull measure", allow_module_level=True)

FACES = os.environ.get("MORPHCAM_FACES")


@pytest.fixture(scope="module")
def meter() -> Iterator[measure.Meter]:
    with measure.Meter() as opened:
        yield opened


@pytest.fixture(scope="module")
def astronaut() -> U8:
    data = pytest.importorskip("skimage.data")
    return np.asarray(data.astronaut()[:360, 60:420], np.uint8)


def test_an_astronaut_smiles_is_a_grown_woman_and_wears_no_glasses(meter: measure.Meter, astronaut: U8) -> None:
    found = meter.measure(astronaut)
    assert found is not None
    assert found.attribute("smile") > 0.6
    assert 25 < found.age < 55  # she was 43
    assert found.male < 0.2
    assert found.glasses < 0.5
    assert found.columns().shape == (len(measure.COLUMNS),)


def test_mirroring_negates_yaw_and_horizontal_gaze_only(meter: measure.Meter, astronaut: U8) -> None:
    one, other = meter.measure(astronaut), meter.measure(np.ascontiguousarray(astronaut[:, ::-1]))
    assert one is not None
    assert other is not None
    assert one.attribute("yaw") == pytest.approx(-other.attribute("yaw"), abs=2.0)
    assert one.attribute("gaze-x") == pytest.approx(-other.attribute("gaze-x"), abs=0.15)
    assert one.attribute("pitch") == pytest.approx(other.attribute("pitch"), abs=2.0)
    assert one.attribute("smile") == pytest.approx(other.attribute("smile"), abs=0.1)


def test_no_face_no_measures(meter: measure.Meter) -> None:
    assert meter.measure(np.full((256, 256, 3), 127, np.uint8)) is None


def test_the_chip_puts_the_points_where_dlib_wants_them() -> None:
    # A face laid out exactly as dlib's mean face, 100 px wide: the chip is that square with its padding.
    landmarks: F32 = np.zeros((478, 2), np.float32)
    landmarks[list(face_chip.CHIP_POINTS)] = 100 * face_chip.CHIP_FACE + 50
    rgb = np.zeros((200, 200, 3), np.uint8)
    x, y = np.rint(landmarks[face_chip.CHIP_POINTS[0]]).astype(int)
    rgb[y - 2 : y + 3, x - 2 : x + 3] = 255
    chip = measure.face_chip(rgb, landmarks, 150, 0.25)
    rows, columns = np.nonzero(chip[..., 0] > 127)
    expected = (face_chip.CHIP_FACE[0] + 0.25) / 1.5 * 150
    assert (columns.mean(), rows.mean()) == pytest.approx(tuple(expected), abs=1.0)


def test_embeddings_know_a_person_smaller_and_darker(meter: measure.Meter, astronaut: U8) -> None:
    changed = np.asarray(astronaut[::2, ::2] * 0.7, np.uint8)
    one, other = meter.measure(astronaut), meter.measure(changed)
    assert one is not None
    assert other is not None
    identity = measure.IdentityMeter()
    a = identity.embed(astronaut, one.detection.landmarks)
    b = identity.embed(changed, other.detection.landmarks)
    assert measure.identity_distance(a, b) < 0.3


@pytest.mark.slow
@pytest.mark.skipif(FACES is None, reason="MORPHCAM_FACES is not set to a folder of NNN_neutral/NNN_smiling.jpg")
def test_one_person_is_near_and_others_are_far(meter: measure.Meter) -> None:
    from export.photographs import read_photo

    identity = measure.IdentityMeter()

    def embed(path: Path) -> F32:
        rgb = read_photo(path)
        found = meter.measure(rgb)
        assert found is not None, path.name
        embedding: F32 = identity.embed(rgb, found.detection.landmarks)
        return embedding

    neutral = sorted(Path(str(FACES)).glob("*_neutral.jpg"))
    first = np.stack([embed(path) for path in neutral])
    second = np.stack([embed(path.with_name(path.name.replace("neutral", "smiling"))) for path in neutral])
    same = np.linalg.norm(first - second, axis=1)
    others = np.linalg.norm(first[:, None] - first[None], axis=2)[np.triu_indices(len(first), 1)]
    assert np.median(same) < 0.3
    assert same.max() < face_chip.SAME_PERSON
    assert np.mean(others > face_chip.SAME_PERSON) > 0.97
