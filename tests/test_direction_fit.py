"""Fitting directions, on labels whose true dependence on W is planted."""

from __future__ import annotations

import numpy as np
import pytest

from models.arrays import F32, F64

pytest.importorskip("dlib", reason="needs the train extra")

from export.direction_effects import without_leaks
from export.direction_fit import GROUPS, Gradients, fit, step
from export.direction_recipes import Recipe
from export.labelling import Labels
from export.measure import COLUMNS

NAMES = ("smile", "age", "glasses")
DIMENSIONS = 64  # of the planted W: an eighth of the real one, for speed


def planted(rng: np.random.Generator) -> tuple[F64, Labels]:
    """4000 faces labelled by three axes of W, each in one group of layers; smiles pile up at 0.

    Smile and age share their group and a part of their axes; glasses live in the fine layers.
    """
    axes = rng.normal(size=(3, DIMENSIONS))
    axes[1] += 0.5 * axes[0]
    axes /= np.linalg.norm(axes, axis=1, keepdims=True)
    spread = rng.uniform(0.2, 1.0, DIMENSIONS)
    x = np.repeat(rng.normal(size=(4000, 1, DIMENSIONS)), 18, axis=1)
    for face in range(0, 4000, 2):
        x[face, rng.integers(1, 18) :] = rng.normal(size=DIMENSIONS)
    middle, fine = x[:, GROUPS[1]].mean(axis=1), x[:, GROUPS[2]].mean(axis=1)
    values = np.stack([middle @ axes[0], middle @ axes[1], fine @ axes[2]], axis=1)
    values += 0.1 * rng.normal(size=values.shape)
    columns = np.zeros((4000, len(COLUMNS)), np.float32)
    smile = 1 / (1 + np.exp(-3 * (values[:, 0] - 1)))
    columns[:, COLUMNS.index("mouthSmileLeft")] = columns[:, COLUMNS.index("mouthSmileRight")] = smile
    columns[:, COLUMNS.index("age")] = 40 + 10 * values[:, 1]
    columns[:, COLUMNS.index("glasses")] = np.exp(values[:, 2])
    # The skull follows the coarse styles and what the middle ones have of the glasses' axis.
    near_smile = axes[0] + axes[2]
    bones = np.concatenate([x[:, 0, :8], x[:, 5] @ near_smile[:, None]], axis=1).astype(np.float32)
    surroundings = x[:, 17, :8].astype(np.float32)
    return axes, Labels((x * spread).astype(np.float32), columns, bones, surroundings)


@pytest.fixture(scope="module")
def fitted() -> tuple[F64, Gradients]:
    axes, labels = planted(np.random.default_rng(0))
    return axes, fit(labels, NAMES)


def recipe(attribute: str, layers: slice, **still: float) -> Recipe:
    return Recipe(attribute, "", layers, 1.0, still=still)


def effects(axes: F64, gradients: Gradients, direction: F32) -> F64:
    """True change of the three planted values."""
    moved = direction / gradients.spread
    middle, fine = moved[GROUPS[1]].mean(axis=0), moved[GROUPS[2]].mean(axis=0)
    return np.array([middle @ axes[0], middle @ axes[1], fine @ axes[2]])


def test_the_planted_attributes_are_found(fitted: tuple[F64, Gradients]) -> None:
    assert fitted[1].correlation.min() > 0.8


def test_a_raw_step_drags_what_shares_its_axis_and_a_clean_one_does_not(
    fitted: tuple[F64, Gradients],
) -> None:
    axes, gradients = fitted
    raw = effects(axes, gradients, step(gradients, recipe("smile", slice(0, 18)), raw=True))
    clean = effects(axes, gradients, step(gradients, recipe("smile", slice(0, 18)), raw=False))
    assert raw[1] / raw[0] > 0.2
    assert abs(clean[1] / clean[0]) < 0.12
    assert abs(clean[2] / clean[0]) < 0.12
    assert clean[0] > 0


def test_a_step_lies_in_the_layers_that_do_it(fitted: tuple[F64, Gradients]) -> None:
    _, gradients = fitted
    lengths = np.linalg.norm(step(gradients, recipe("glasses", slice(0, 18)), raw=False), axis=1)
    assert lengths[GROUPS[2]].min() > 3 * lengths[: GROUPS[2].start].max()


def test_what_is_to_keep_still_moves_less_and_the_attribute_no_less(
    fitted: tuple[F64, Gradients],
) -> None:
    axes, gradients = fitted
    free = step(gradients, recipe("smile", slice(0, 18)), raw=False)
    held = step(gradients, recipe("smile", slice(0, 18), bones=300.0), raw=False)

    def bones(direction: F32) -> float:
        styles = np.stack([direction[group].mean(axis=0) for group in GROUPS]) / gradients.spread
        return float(np.linalg.norm(np.einsum("kgi,gi->k", gradients.still["bones"], styles)))

    assert bones(held) < 0.7 * bones(free)
    assert effects(axes, gradients, held)[0] > 0.9 * effects(axes, gradients, free)[0]


def test_layers_outside_keep_their_style(fitted: tuple[F64, Gradients]) -> None:
    direction = step(fitted[1], recipe("smile", slice(3, 8)), raw=False)
    assert direction.shape == (18, DIMENSIONS)
    assert not direction[:3].any()
    assert not direction[8:].any()
    assert direction[3:8].any(axis=1).all()


def test_measured_leaks_are_removed_and_own_effects_kept() -> None:
    rng = np.random.default_rng(2)
    answers = rng.normal(size=(4, 18 * 64)) / 34  # how four attributes answer to W+
    directions = {name: rng.normal(size=(18, 64)).astype(np.float32) for name in "abcd"}

    def slopes(of: dict[str, F32]) -> F64:
        table: F64 = np.stack([answers @ vector.ravel() for vector in of.values()])
        return table

    # Make the matrix mostly diagonal, with leaks of a third.
    for i, name in enumerate(directions):
        directions[name] = (34 * answers[i].reshape(18, 64) + 0.3 * directions[name]).astype(np.float32)
    before = slopes(directions)
    held = np.ones((4, 4), bool)
    after = slopes(without_leaks(directions, before, held, damping=0.0))
    assert np.diag(after) == pytest.approx(np.diag(before), rel=1e-3)
    assert np.abs(after - np.diag(np.diag(after))).max() < 1e-3 * np.abs(before).max()


def test_what_may_follow_is_not_paid_for() -> None:
    directions = {name: np.eye(18, 64, i, dtype=np.float32) for i, name in enumerate("abc")}
    measured = np.array([[1.0, 0.5, 0.3], [0.0, 1.0, 0.0], [0.0, 0.0, 1.0]])
    held = np.ones((3, 3), bool)
    held[0, 1] = False
    mixed = without_leaks(directions, measured, held, damping=1e-6)["a"]
    assert mixed == pytest.approx(directions["a"] - 0.3 * directions["c"], abs=1e-3)
