"""How grainy pictures are, and which way one would be as grainy as another."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from models.arrays import F32
from models.texture import AROUND, PERIODS, texture_loss, weave_loss

R = 64
EVERYWHERE = np.ones((1, 1, R, R), np.float32)
strengths = st.floats(0.02, 0.3)


def grain(strength: float, seed: int) -> F32:
    """A grey picture with noise, float32 [1, 3, R, R]."""
    noise = np.random.default_rng(seed).standard_normal((1, 1, R, R))
    return np.broadcast_to(np.asarray(strength * noise, np.float32), (1, 3, R, R))


@given(strengths)
def test_a_picture_differs_nowhere_from_itself(strength: float) -> None:
    loss, gradient = texture_loss(grain(strength, 1), grain(strength, 1), EVERYWHERE)
    assert loss == 0
    assert not gradient.any()


@given(strengths, strengths)
def test_the_loss_says_how_much_stronger_the_grain_is_wherever_it_falls(here: float, there: float) -> None:
    loss, _ = texture_loss(grain(here, 1), grain(there, 2), EVERYWHERE)
    band = 0.85  # of white noise, what the finest band has
    assert loss == pytest.approx(band * abs(here - there), abs=0.35 * max(here, there))


@given(st.integers(0, 1000))
def test_the_gradient_is_that_of_the_loss(seed: int) -> None:
    random = np.random.default_rng(seed)
    image: Any
    target: Any
    image, target = (random.uniform(-1, 1, (1, 3, R, R)) for _ in range(2))
    weight: Any = random.uniform(0, 2, (1, 1, R, R))  # in float64, for the differences
    _, gradient = texture_loss(image, target, weight)
    step = 1e-6 * gradient / np.abs(gradient).max()
    above, below = (texture_loss(image + sign * step, target, weight)[0] for sign in (1, -1))
    assert above - below == pytest.approx(2 * float((gradient * step).sum()), rel=1e-3)


@given(strengths)
def test_down_the_gradient_a_smooth_picture_gets_its_grain(strength: float) -> None:
    image, target = 0.3 * grain(strength, 1), grain(strength, 2)
    loss, gradient = texture_loss(image, target, EVERYWHERE)
    step = 0.05 * strength / float(np.abs(gradient).max())
    assert texture_loss(image - step * gradient, target, EVERYWHERE)[0] < loss


def test_where_nothing_matters_nothing_counts() -> None:
    left = EVERYWHERE.copy()
    left[..., R // 2 :] = 0
    _, gradient = texture_loss(grain(0.1, 1), grain(0.2, 2), left)
    reach = round(5 * AROUND)  # of the energy's blur and of the band's
    assert gradient[..., : R // 2].any()
    assert not gradient[..., R // 2 + reach :].any()


def test_even_pictures_have_no_grain_at_all() -> None:
    light, dark = (np.full((1, 3, R, R), grey, np.float32) for grey in (0.9, -0.9))
    assert texture_loss(light, dark, EVERYWHERE)[0] < 1e-6


@given(st.integers(0, 1000))
def test_the_gradient_of_the_weave_is_that_of_its_loss(seed: int) -> None:
    random = np.random.default_rng(seed)
    image: Any = random.uniform(-1, 1, (1, 3, R, R))
    weight: Any = random.uniform(0, 2, (1, 1, R, R))  # in float64, for the differences
    _, gradient = weave_loss(image, weight)
    step = 1e-6 * gradient / np.abs(gradient).max()
    above, below = (weave_loss(image + sign * step, weight)[0] for sign in (1, -1))
    assert above - below == pytest.approx(2 * float((gradient * step).sum()), rel=1e-3)


@given(strengths, st.sampled_from(sorted(PERIODS)), st.integers(0, 3), st.integers(0, 3))
def test_a_grid_is_woven_and_grain_as_strong_is_not(strength: float, period: int, down: int, across: int) -> None:
    grid = np.zeros((1, 3, R, R), np.float32)
    grid[..., down % period :: period, across % period :: period] = strength * period  # as strong: of that deviation
    loose = weave_loss(grain(strength, 1), EVERYWHERE)[0]
    assert weave_loss(grid, EVERYWHERE)[0] > 3 * loose


def test_an_even_picture_is_not_woven() -> None:
    assert weave_loss(np.full((1, 3, R, R), 0.9, np.float32), EVERYWHERE)[0] < 1e-6


@given(strengths)
def test_down_the_gradient_a_grid_fades(strength: float) -> None:
    image = grain(strength, 1).copy()
    image[..., ::2, ::2] += strength
    loss, gradient = weave_loss(image, EVERYWHERE)
    step = 0.05 * strength / float(np.abs(gradient).max())
    assert weave_loss(image - step * gradient, EVERYWHERE)[0] < loss
