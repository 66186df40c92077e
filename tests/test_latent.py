"""W+ arithmetic: the identities that broadcasting, truncation, mixing and moving keep."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from models import latent
from models.arrays import F32

TOLERANCE = 1e-5  # float32 rounding on values of a few units

seeds = st.integers(0, 2**32 - 1)
strengths = st.floats(-10, 10, width=32)


@st.composite
def layer_ranges(draw: st.DrawFn) -> slice:
    start = draw(st.integers(0, latent.LAYERS))
    return slice(start, draw(st.integers(start, latent.LAYERS)))


def random_w_plus(seed: int, count: int = 2) -> F32:
    return np.random.default_rng(seed).standard_normal((count, latent.LAYERS, latent.STYLE_DIM), np.float32)


def test_shipped_statistics_are_those_of_w() -> None:
    mean, std = latent.mean_w(), latent.std_w()
    assert mean.shape == std.shape == (latent.STYLE_DIM,)
    assert mean.dtype == std.dtype == np.float32
    assert (std > 0).all()
    with pytest.raises(ValueError, match="read-only"):
        mean[0] = 1.0


def test_broadcast_repeats_one_style_and_owns_its_memory() -> None:
    w = np.random.default_rng(0).standard_normal((3, latent.STYLE_DIM), np.float32)
    w_plus = latent.broadcast(w)
    assert w_plus.shape == (3, latent.LAYERS, latent.STYLE_DIM)
    np.testing.assert_array_equal(w_plus, np.broadcast_to(w[:, None], w_plus.shape))
    w_plus[:, 4] = 0
    assert (w_plus[:, 3] == w).all()


@given(seeds, layer_ranges())
def test_truncation_by_one_is_the_identity_and_by_zero_the_mean(seed: int, layers: slice) -> None:
    w_plus = random_w_plus(seed)
    np.testing.assert_array_equal(latent.truncate(w_plus, latent.mean_w(), 1.0, layers), w_plus)
    at_mean = latent.truncate(w_plus, latent.mean_w(), 0.0, layers)
    np.testing.assert_array_equal(at_mean[:, layers], np.broadcast_to(latent.mean_w(), w_plus[:, layers].shape))


@given(seeds, st.floats(0, 1, width=32), st.floats(0, 1, width=32))
def test_truncations_compose_by_multiplying_psi(seed: int, first: float, second: float) -> None:
    w_plus, mean = random_w_plus(seed), latent.mean_w()
    twice = latent.truncate(latent.truncate(w_plus, mean, first), mean, second)
    np.testing.assert_allclose(twice, latent.truncate(w_plus, mean, first * second), atol=TOLERANCE)


@given(seeds, layer_ranges(), st.floats(-1, 1, width=32))
def test_truncation_leaves_the_other_layers_alone(seed: int, layers: slice, psi: float) -> None:
    w_plus = random_w_plus(seed)
    truncated = latent.truncate(w_plus, latent.mean_w(), psi, layers)
    outside = np.setdiff1d(np.arange(latent.LAYERS), np.arange(latent.LAYERS)[layers])
    np.testing.assert_array_equal(truncated[:, outside], w_plus[:, outside])


@given(seeds, layer_ranges())
def test_mixing_takes_the_range_and_only_it(seed: int, layers: slice) -> None:
    a, b = random_w_plus(seed), random_w_plus(seed + 1)
    mixed = latent.mix(a, b, layers)
    np.testing.assert_array_equal(mixed[:, layers], b[:, layers])
    np.testing.assert_array_equal(latent.mix(mixed, a, layers), a)
    np.testing.assert_array_equal(latent.mix(mixed, b, layers), mixed)  # idempotent


@given(seeds, strengths, strengths)
def test_moving_is_linear_and_has_an_inverse(seed: int, first: float, second: float) -> None:
    w_plus, direction = random_w_plus(seed), random_w_plus(seed + 1, count=1)
    moved = latent.move(w_plus, direction, first)
    tolerance = TOLERANCE * (1 + abs(first) + abs(second)) * 10
    np.testing.assert_allclose(latent.move(moved, direction, -first), w_plus, atol=tolerance)
    np.testing.assert_allclose(
        latent.move(moved, direction, second), latent.move(w_plus, direction, first + second), atol=tolerance
    )
    np.testing.assert_array_equal(latent.move(w_plus, direction, 0.0), w_plus)


def test_arithmetic_keeps_float32_and_its_arguments() -> None:
    w_plus = random_w_plus(7)
    before, mean = w_plus.copy(), latent.mean_w()
    results = (
        latent.truncate(w_plus, mean, 0.7),
        latent.mix(w_plus, random_w_plus(8), latent.MIDDLE),
        latent.move(w_plus, random_w_plus(9, count=1), 0.3),
        latent.broadcast(mean[None]),
    )
    assert [r.dtype for r in results] == [np.dtype(np.float32)] * len(results)
    np.testing.assert_array_equal(w_plus, before)
