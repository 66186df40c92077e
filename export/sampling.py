"""Samples of latents: the endless stream that heads, encoder and directions are trained and measured on."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from models.arrays import F32
from models.latent import LAYERS, broadcast

MIXED_SHARE = 0.4  # of the samples are style mixes of two faces
PSI_RANGE = (0.45, 1.0)  # truncation, uniform
LEAN_RANGE = (0.1, 0.6)  # of a layer to another face, uniform


def sample_w_plus(rng: np.random.Generator, count: int, mapping: Callable[[F32], F32], mean_w: F32) -> F32:
    """float32 W+ [count, 18, 512]: truncated samples, some of them style mixes (Karras et al. 2019, 3.1)."""
    z = rng.standard_normal((2 * count, 512)).astype(np.float32)
    psi = rng.uniform(*PSI_RANGE, (2 * count, 1)).astype(np.float32)
    w = mean_w + psi * (mapping(z) - mean_w)
    w_plus = broadcast(w[:count])
    other = broadcast(w[count:])
    for i in np.flatnonzero(rng.random(count) < MIXED_SHARE):
        crossover = rng.integers(1, LAYERS)
        w_plus[i, crossover:] = other[i, crossover:]
    return w_plus


def sample_free_w_plus(rng: np.random.Generator, count: int, mapping: Callable[[F32], F32], mean_w: F32) -> F32:
    """float32 W+ [count, 18, 512], off W: every layer of a face leans to another face of its own.

    Photographs lie there: one style for all layers is not enough for them (Abdal et al., arXiv:1904.03189).
    """
    w_plus = sample_w_plus(rng, count, mapping, mean_w)
    others = sample_w_plus(rng, count * LAYERS, mapping, mean_w)[:, 0].reshape(w_plus.shape)
    lean = rng.uniform(*LEAN_RANGE, (count, 1, 1)).astype(np.float32)
    return w_plus + lean * (others - w_plus)
