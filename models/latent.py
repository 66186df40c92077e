"""Arithmetic in W+, the latent space of StyleGAN with one style vector per layer.

W (Karras et al., "A Style-Based Generator Architecture", arXiv:1812.04948) is one vector of 512 for the whole
picture; W+ (Abdal et al., "Image2StyleGAN", arXiv:1904.03189) lets each of the 18 layers of the 1024 px
generator have its own. Latents are float32 [N, 18, 512]; layers 0..3 shape pose and head, 4..7 the features
of the face, 8..17 colour and texture.
"""

from __future__ import annotations

from functools import cache
from pathlib import Path

import numpy as np

from models.arrays import F32

LAYERS = 18
STYLE_DIM = 512

# Style ranges of StyleGAN's own paper (resolutions 4-8, 16-32, 64-1024).
COARSE = slice(0, 4)
MIDDLE = slice(4, 8)
FINE = slice(8, LAYERS)
EVERY_LAYER = slice(0, LAYERS)

_SHIPPED = Path(__file__).parent / "shipped"


@cache
def mean_w() -> F32:
    """The mean of W over random z, the centre that truncation pulls to: float32 [512], read-only."""
    return _statistic("mean_w.npy")


@cache
def std_w() -> F32:
    """The standard deviation of W over random z: float32 [512], positive, read-only."""
    return _statistic("std_w.npy")


def broadcast(w: F32) -> F32:
    """W to W+: the same style in every layer, float32 [N, 512] -> [N, 18, 512] (a copy)."""
    w_plus: F32 = np.repeat(w[:, None, :], LAYERS, axis=1)
    return w_plus


def truncate(w_plus: F32, mean_w: F32, psi: float, layers: slice = EVERY_LAYER) -> F32:
    """The truncation trick: pull ``layers`` towards the mean face.

    Args:
        w_plus: float32 [N, 18, 512].
        mean_w: float32 [512].
        psi: 1 leaves the latent alone, 0 is the mean face, below 0 the opposite of this one.
        layers: which layers to pull; the others stay.

    Returns:
        float32 [N, 18, 512], a copy.
    """
    truncated: F32 = w_plus.copy()
    # This form, unlike mean + psi * (w - mean), is exact at both psi = 1 and psi = 0.
    truncated[:, layers] = np.float32(psi) * w_plus[:, layers] + np.float32(1 - psi) * mean_w
    return truncated


def mix(a: F32, b: F32, layers: slice) -> F32:
    """Style mixing: ``layers`` of ``b``, the rest of ``a``; all float32 [N, 18, 512], a copy."""
    mixed: F32 = a.copy()
    mixed[:, layers] = b[:, layers]
    return mixed


def move(w_plus: F32, direction: F32, strength: float) -> F32:
    """A step along a direction: ``w_plus + strength * direction``.

    Args:
        w_plus: float32 [N, 18, 512].
        direction: float32 [1, 18, 512], or any shape that broadcasts to the latent's.
        strength: how far, in the direction's own unit.

    Returns:
        float32 [N, 18, 512], a copy.
    """
    moved: F32 = w_plus + np.float32(strength) * direction
    return moved


def _statistic(name: str) -> F32:
    values: F32 = np.load(_SHIPPED / name, allow_pickle=False).astype(np.float32)
    values.setflags(write=False)
    return values
