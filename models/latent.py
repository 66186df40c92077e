"""Arithmetic in W+, the latent space of StyleGAN with one style vector per layer.

W (Karras et al., "A Style-Based Generator Architecture", arXiv:1812.04948) is one vector of 512 for the whole
picture; W+ (Abdal et al., "Image2StyleGAN", arXiv:1904.03189) lets each of the 18 layers of the 1024 px
generator have its own. Latents are float32 [N, 18, 512]; layers 0..3 shape pose and head, 4..7 the features
of the face, 8..17 colour and texture. Other generators have fewer layers, or shorter styles: see `LatentSpace`.
"""

from __future__ import annotations

from dataclasses import dataclass
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

# Two estimates of the same W's mean and spread, over some thousands of z each, agree much better than this; of two
# networks that were trained apart the means are a standard deviation apart.
_SAME_MEAN = 0.1  # root mean square of the means' difference, in standard deviations
_SAME_SPREAD = 0.1  # root mean square of the logarithm of the deviations' ratio

_SHIPPED = Path(__file__).parent / "shipped"


@dataclass(frozen=True, eq=False)
class LatentSpace:
    """W+ of one generator.

    Attributes:
        layers: styles in a latent, L; 18 in the default one.
        mean_w: float32 [D], the mean of W over random z; D is 512 in the default one.
        std_w: float32 [D], its standard deviation, positive.
    """

    layers: int
    mean_w: F32
    std_w: F32

    def __str__(self) -> str:
        return f"{self.layers} x {self.style_dim}"

    @property
    def style_dim(self) -> int:
        """Numbers in a style, D."""
        return self.mean_w.size

    @property
    def mean_latent(self) -> F32:
        """The mean of W in every layer: float32 [1, L, D], a copy."""
        return broadcast(self.mean_w[None], self.layers)

    def has_shape_of(self, other: LatentSpace) -> bool:
        """Whether a latent of one has the shape of one of the other."""
        return (self.layers, self.style_dim) == (other.layers, other.style_dim)

    def is_same(self, other: LatentSpace) -> bool:
        """Whether this is the other's W, as far as mean and spread tell: then what is found in one fits the other."""
        if not self.has_shape_of(other):
            return False
        means = (self.mean_w - other.mean_w) / other.std_w
        spreads = np.log(self.std_w / other.std_w)
        return _rms(means) < _SAME_MEAN and _rms(spreads) < _SAME_SPREAD


@cache
def shipped_space() -> LatentSpace:
    """W+ of the default generator."""
    return LatentSpace(LAYERS, mean_w(), std_w())


@cache
def mean_w() -> F32:
    """The mean of W over random z, the centre that truncation pulls to: float32 [512], read-only."""
    return _statistic("mean_w.npy")


@cache
def std_w() -> F32:
    """The standard deviation of W over random z: float32 [512], positive, read-only."""
    return _statistic("std_w.npy")


def broadcast(w: F32, layers: int = LAYERS) -> F32:
    """W to W+: the same style in every layer, float32 [N, 512] -> [N, 18, 512] (a copy)."""
    w_plus: F32 = np.repeat(w[:, None, :], layers, axis=1)
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


def distance(a: F32, b: F32, std_w: F32) -> float:
    """Of two latents or offsets, float32 [1, L, D]: root mean square in standard deviations of W, float32 [D]."""
    return _rms((a - b) / std_w)


def _statistic(name: str) -> F32:
    values: F32 = np.load(_SHIPPED / name, allow_pickle=False).astype(np.float32)
    values.setflags(write=False)
    return values


def _rms(values: F32) -> float:
    return float(np.sqrt(np.mean(np.square(values, dtype=np.float64))))
