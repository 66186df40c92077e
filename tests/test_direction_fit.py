"""Fitting directions, on labels whose true dependence on W is planted."""

from __future__ import annotations

import numpy as np
import pytest

from models.arrays import F32, F64

pytest.importorskip("dlib", reason="needs the train extra")
pytest.importorskip("sklearn", reason="needs the train extra")

from export.direction_effects import without_leaks
from export.direction_fit import Gradients, fit, on_layers, step
from export.labelling import Labels
from export.measure import COLUMNS

NAMES = ("smile", "age", "glasses")


def planted(rng: np.random.Generator) -> tuple[F64, Labels]:
    """Three axes of W (smile and age partly shared) and 4000 faces labelled by them; smiles pile up at 0."""
    axes = rng.normal(size=(3, 512))
    axes[1] += 0.5 * axes[0]
    axes /= np.linalg.norm(axes, axis=1, keepdims=True)
    spread = rng.uniform(0.2, 1.0, 512)
    x = rng.normal(size=(4000, 512))
    values = x @ axes.T + 0.1 * rng.normal(size=(4000, 3))
    columns = np.zeros((4000, len(COLUMNS)), np.float32)
    smile = 1 / (1 + np.exp(-3 * (values[:, 0] - 1)))
    columns[:, COLUMNS.index("mouthSmileLeft")] = columns[:, COLUMNS.index("mouthSmileRight")] = smile
    columns[:, COLUMNS.index("age")] = 40 + 10 * values[:, 1]
    columns[:, COLUMNS.index("glasses")] = np.exp(values[:, 2])
    return axes, Labels((x * spread).astype(np.float32), columns)


@pytest.fixture(scope="module")
def fitted() -> tuple[F64, Gradients]:
    axes, labels = planted(np.random.default_rng(0))
    return axes, fit(labels, NAMES)


def effects(axes: F64, gradients: Gradients, w_step: F32) -> F64:
    """True change of the three planted values, relative to the first's."""
    change: F64 = axes @ (w_step / gradients.spread)
    return change


def test_the_planted_attributes_are_found(fitted: tuple[F64, Gradients]) -> None:
    axes, gradients = fitted
    assert gradients.correlation.min() > 0.9
    cosines = np.sum(axes * gradients.slopes, axis=1) / np.linalg.norm(gradients.slopes, axis=1)
    assert cosines.min() > 0.85


def test_a_raw_step_drags_what_shares_its_axis_and_a_clean_one_does_not(
    fitted: tuple[F64, Gradients],
) -> None:
    axes, gradients = fitted
    raw = effects(axes, gradients, step(gradients, "smile", raw=True))
    clean = effects(axes, gradients, step(gradients, "smile", raw=False))
    assert raw[1] / raw[0] > 0.3
    assert abs(clean[1] / clean[0]) < 0.08
    assert abs(clean[2] / clean[0]) < 0.08
    assert clean[0] > 0


def test_layers_outside_keep_their_style() -> None:
    direction = on_layers(np.ones(512, np.float32), slice(3, 8))
    assert direction.shape == (18, 512)
    assert not direction[:3].any()
    assert not direction[8:].any()
    assert (direction[3:8] == 1).all()


def test_measured_leaks_are_removed_and_own_effects_kept() -> None:
    rng = np.random.default_rng(2)
    answers = rng.normal(size=(4, 18 * 512)) / 96  # how four attributes answer to W+
    directions = {name: rng.normal(size=(18, 512)).astype(np.float32) for name in "abcd"}

    def slopes(of: dict[str, F32]) -> F64:
        table: F64 = np.stack([answers @ vector.ravel() for vector in of.values()])
        return table

    # Make the matrix mostly diagonal, with leaks of a third.
    for i, name in enumerate(directions):
        directions[name] = (96 * answers[i].reshape(18, 512) + 0.3 * directions[name]).astype(np.float32)
    before = slopes(directions)
    after = slopes(without_leaks(directions, before, damping=0.0))
    assert np.diag(after) == pytest.approx(np.diag(before), rel=1e-3)
    assert np.abs(after - np.diag(np.diag(after))).max() < 1e-3 * np.abs(before).max()
