"""Cheap statistics of a face's picture, on a public-domain photograph that is repainted."""

from __future__ import annotations

import cv2
import numpy as np
import pytest

from models import registry
from models.alignment import crop, to_crop_matrix, transform_points
from models.arrays import F32, U8
from models.landmarker import Landmarker

pytest.importorskip("dlib", reason="needs the train extra")

from export.appearance import APPEARANCE, LIDS, LIPS, STUBBLE, appearance

if not registry.is_intact(registry.artefacts()["face-landmarker"]):
    pytest.skip("the landmarker is not pulled: ./run.sh pull", allow_module_level=True)

SIZE = 256


@pytest.fixture(scope="module")
def portrait() -> tuple[U8, F32]:
    """An aligned face with its landmarks."""
    data = pytest.importorskip("skimage.data")
    rgb = np.asarray(data.astronaut(), np.uint8)
    with Landmarker(registry.path("face-landmarker")) as landmarker:
        landmarks = landmarker.detect(rgb)[0].landmarks
    to_crop = to_crop_matrix(landmarks, SIZE)
    return crop(rgb, to_crop, SIZE), np.asarray(transform_points(to_crop, landmarks), np.float32)


def painted(portrait: tuple[U8, F32], points: F32, colour: tuple[int, int, int]) -> dict[str, float]:
    """What is measured after spots of a colour are painted at points [N, 2]."""
    rgb, landmarks = portrait[0].copy(), portrait[1]
    for x, y in np.rint(points).astype(int).tolist():
        cv2.circle(rgb, (x, y), 4, colour, -1)
    return measured(rgb, landmarks)


def measured(rgb: U8, landmarks: F32) -> dict[str, float]:
    return dict(zip(APPEARANCE, appearance(rgb, landmarks).tolist(), strict=True))


def test_lipstick_eye_shadow_and_a_beard_are_seen(portrait: tuple[U8, F32]) -> None:
    landmarks, before = portrait[1], measured(*portrait)
    lips = np.stack([(landmarks[a] + landmarks[b]) / 2 for a, b in LIPS])
    assert painted(portrait, lips, (200, 10, 40))["lip_redness"] > before["lip_redness"] + 15
    assert painted(portrait, landmarks[list(LIDS)], (40, 30, 40))["lid_darkness"] > before["lid_darkness"] + 15
    assert painted(portrait, landmarks[list(STUBBLE)], (40, 30, 30))["beard"] > before["beard"] + 15


def test_a_mirrored_face_measures_the_same_but_for_its_hair(portrait: tuple[U8, F32]) -> None:
    rgb, landmarks = portrait
    with Landmarker(registry.path("face-landmarker")) as landmarker:
        found = landmarker.detect(np.ascontiguousarray(rgb[:, ::-1]))[0].landmarks
    mirrored, before = measured(np.ascontiguousarray(rgb[:, ::-1]), found), measured(rgb, landmarks)
    for name in ("face_width", "lip_fullness", "eye_size", "nose_width", "mouth_width", "cheek_width"):
        assert mirrored[name] == pytest.approx(before[name], rel=0.12), name
    assert mirrored["hair_lightness"] == pytest.approx(before["hair_lightness"], abs=6)


def test_shapes_do_not_depend_on_the_picture_s_size(portrait: tuple[U8, F32]) -> None:
    rgb, landmarks = portrait
    small = np.asarray(cv2.resize(rgb, (SIZE // 2, SIZE // 2), interpolation=cv2.INTER_AREA), np.uint8)
    half, whole = measured(small, (landmarks / 2 - 0.25).astype(np.float32)), measured(rgb, landmarks)
    assert half["face_width"] == pytest.approx(whole["face_width"], rel=1e-3)
    assert half["hair_lightness"] == pytest.approx(whole["hair_lightness"], abs=5)
    assert half["lip_redness"] == pytest.approx(whole["lip_redness"], abs=5)


def test_a_pursed_mouth_and_full_cheeks_are_seen(portrait: tuple[U8, F32]) -> None:
    rgb, landmarks = portrait
    before = measured(rgb, landmarks)
    pursed, full = landmarks.copy(), landmarks.copy()
    corners, jaws = [61, 291], [58, 288, 172, 397]
    pursed[corners] = 0.7 * pursed[corners] + 0.3 * pursed[corners].mean(0)
    full[jaws] = 1.1 * full[jaws] - 0.1 * full[jaws].mean(0)
    assert measured(rgb, pursed)["mouth_width"] == pytest.approx(0.7 * before["mouth_width"], rel=0.01)
    assert 1.05 < measured(rgb, full)["cheek_width"] / before["cheek_width"] < 1.15
    for name in ("face_width", "eye_size", "nose_width"):
        assert measured(rgb, pursed)[name] == measured(rgb, full)[name] == before[name]


def test_what_would_be_beside_a_face_may_lie_outside_of_the_picture(portrait: tuple[U8, F32]) -> None:
    rgb, landmarks = portrait
    left, right = int(landmarks[:, 0].min()), int(landmarks[:, 0].max())
    narrow = np.ascontiguousarray(rgb[:, left:right])
    of_narrow = measured(narrow, (landmarks - np.array([left, 0])).astype(np.float32))
    assert of_narrow["lip_redness"] == pytest.approx(measured(rgb, landmarks)["lip_redness"], abs=0.5)
