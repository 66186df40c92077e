"""The shipped directions, on faces they were not made from."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import pytest

from models import registry
from models.arrays import F32
from models.latent import mean_w

pytest.importorskip("dlib", reason="needs the train extra")

from export.direction_effects import Editor, calibrated, changes
from export.direction_recipes import RECIPES
from export.measure import Meter, attribute_values
from export.sampling import sample_w_plus
from models.directions import load_direction, shipped_directions
from models.zoo import load_generator, load_mapping

if not all(registry.is_intact(registry.artefacts()[name]) for name in registry.choose(["default", "measure"])):
    pytest.skip("the measuring models are not pulled: ./run.sh pull measure", allow_module_level=True)

# Mean change of a direction's own attribute from strength -2 to +2, at least: half of what was measured on 24 faces.
LEAST = {
    "smile": 0.4,
    "mouth-open": 0.15,
    "surprise": 0.2,
    "eyes-closed": 0.2,
    "brows-up": 0.16,
    "brow-furrow": 0.2,
    "pucker": 0.1,
    "cheek-puff": 0.036,
    "look-aside": 0.35,
    "look-up": 0.15,
    "age": 13.0,
    "gender": 0.4,
    "yaw": 12.0,
    "pitch": 8.0,
    "glasses": 0.1,
    "beard": 7.0,
    "make-up": 8.0,
    "hair-length": 0.12,
    "hair-darkness": 17.0,
    "skin-lightness": 28.0,
    "background-light": 50.0,
    "face-width": 0.045,
    "lip-fullness": 0.07,
    "nose-width": 0.018,
}


@pytest.fixture(scope="module")
def editor() -> Iterator[Editor]:
    with Meter() as meter:
        yield Editor(load_generator(256).synthesize, meter)


@pytest.fixture(scope="module")
def faces() -> F32:
    return sample_w_plus(np.random.default_rng(77), 6, load_mapping().map, mean_w())


@pytest.fixture(scope="module")
def base(editor: Editor, faces: F32) -> F32:
    rows = [editor.columns(face) for face in faces]
    return np.stack([row for row in rows if row is not None])


def moved(editor: Editor, faces: F32, base: F32, name: str, strength: float, attribute: str) -> F32:
    """Changes [N] of an attribute."""
    columns = changes(editor, faces, load_direction(name).vector[0], strength, base)
    return attribute_values(columns, attribute)


def test_every_shipped_direction_is_tested() -> None:
    assert set(LEAST) == set(RECIPES) == set(shipped_directions())


@pytest.mark.slow
@pytest.mark.parametrize("name", sorted(LEAST))
def test_a_direction_does_what_its_name_says(editor: Editor, faces: F32, base: F32, name: str) -> None:
    attribute = RECIPES[name].attribute
    up = moved(editor, faces, base, name, 2.0, attribute)
    down = moved(editor, faces, base, name, -2.0, attribute)
    assert (up - down).mean() > LEAST[name]
    assert np.mean(up > down) > 0.8 or name == "glasses"  # which do not come to everybody


def test_who_does_not_smile_smiles_at_strength_2(editor: Editor, faces: F32, base: F32) -> None:
    serious = attribute_values(base, "smile") < 0.3
    assert serious.any(), "the test needs faces that do not smile"
    assert moved(editor, faces[serious], base[serious], "smile", 2.0, "smile").min() > 0.3


def test_a_smile_leaves_head_and_years_alone(editor: Editor, faces: F32, base: F32) -> None:
    assert np.abs(moved(editor, faces, base, "smile", 2.0, "yaw")).mean() < 4
    assert np.abs(moved(editor, faces, base, "smile", 2.0, "pitch")).mean() < 4
    assert abs(moved(editor, faces, base, "smile", 2.0, "age").mean()) < 10


def test_calibration_finds_the_unit(editor: Editor, faces: F32, base: F32) -> None:
    direction = load_direction("pitch").vector[0]
    again = calibrated(editor, faces, 3 * direction, RECIPES["pitch"], base)
    assert np.linalg.norm(again) == pytest.approx(np.linalg.norm(direction), rel=0.3)
