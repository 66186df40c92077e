"""StyleGAN2 written down plainly in float64 NumPy and SciPy, from raw weights, to check the network against.

Raw weights are as published files have them: not scaled by fan-in or learning rate multiplier, named as in the
official pickles ("synthesis.b8.conv0.affine.weight").
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy.signal import convolve2d, correlate2d, upfirdn

from models.arrays import F32, F64

TAPS = (1.0, 3.0, 3.0, 1.0)


@dataclass(frozen=True)
class Raw:
    """A generator of seeded random weights.

    Attributes:
        size, z_dim, w_dim, mapping_layers, lr_multiplier, conv_clamp: as in `StyleGAN2Config`.
        channels: of the blocks of 4, 8, ... px.
        arrays: float32, by official name.
    """

    size: int
    z_dim: int
    w_dim: int
    channels: tuple[int, ...]
    mapping_layers: int
    lr_multiplier: float
    conv_clamp: float | None
    arrays: dict[str, F32]

    @property
    def sizes(self) -> tuple[int, ...]:
        """Pixels of the blocks."""
        return tuple(4 * 2**i for i in range(len(self.channels)))


def random_raw(
    channels: tuple[int, ...] = (10, 10, 6),
    *,
    dim: int = 12,
    mapping_layers: int = 3,
    lr_multiplier: float = 0.01,
    conv_clamp: float | None = None,
    seed: int = 7,
) -> Raw:
    """Weights of the spread that training starts from, with noise and biases that count."""
    random = np.random.default_rng(seed)
    arrays: dict[str, NDArray[np.float64]] = {"mapping.w_avg": random.standard_normal(dim) * 0.3}
    for i in range(mapping_layers):
        arrays[f"mapping.fc{i}.weight"] = random.standard_normal((dim, dim)) / lr_multiplier
        arrays[f"mapping.fc{i}.bias"] = random.standard_normal(dim) * 0.2 / lr_multiplier
    below = 0
    for i, count in enumerate(channels):
        size, block = 4 * 2**i, f"synthesis.b{4 * 2**i}"
        if i == 0:
            arrays[f"{block}.const"] = random.standard_normal((count, 4, 4))
        convolutions = {"conv0": (below, count, 3), "conv1": (count, count, 3), "torgb": (count, 3, 1)}
        for name, (c_in, c_out, kernel) in convolutions.items():
            if c_in == 0:
                continue
            here = f"{block}.{name}"
            arrays[f"{here}.weight"] = random.standard_normal((c_out, c_in, kernel, kernel))
            arrays[f"{here}.bias"] = random.standard_normal(c_out) * 0.2
            arrays[f"{here}.affine.weight"] = random.standard_normal((c_in, dim))
            arrays[f"{here}.affine.bias"] = 1 + random.standard_normal(c_in) * 0.2
            if name != "torgb":
                arrays[f"{here}.noise_const"] = random.standard_normal((size, size))
                arrays[f"{here}.noise_strength"] = random.standard_normal(()) * 0.3
        below = count
    floats = {name: np.asarray(array, np.float32) for name, array in arrays.items()}
    return Raw(4 * 2 ** (len(channels) - 1), dim, dim, channels, mapping_layers, lr_multiplier, conv_clamp, floats)


def map_to_w(raw: Raw, z: F32) -> F64:
    """Latents [N, z_dim] -> w [N, w_dim]."""
    x = z.astype(np.float64)
    x = x / np.sqrt((x**2).mean(1, keepdims=True) + 1e-8)
    for i in range(raw.mapping_layers):
        weight, bias = (raw.arrays[f"mapping.fc{i}.{part}"].astype(np.float64) for part in ("weight", "bias"))
        x = _leaky(x @ weight.T * (raw.lr_multiplier / np.sqrt(weight.shape[1])) + bias * raw.lr_multiplier)
    return x


def synthesize(raw: Raw, w_plus: NDArray[np.floating], *, noise: bool = True) -> F64:
    """W+ [N, layers, w_dim] -> RGB [N, 3, size, size]."""
    return np.stack([_picture(raw, styles.astype(np.float64), noise) for styles in w_plus])


def modulated_convolution(x: F64, weight: F64, style: F64, *, up: bool = False, demodulate: bool = True) -> F64:
    """[I, H, W], [O, I, k, k], [I] -> [O, H, W] (or twice the size), as the paper defines it: a weight per sample."""
    scaled = weight * style[None, :, None, None]
    if demodulate:
        scaled = scaled / np.sqrt((scaled**2).sum((1, 2, 3), keepdims=True) + 1e-8)
    return np.stack([sum(_convolve(x[i], kernel[i], up) for i in range(len(x))) for kernel in scaled])


def upsample(image: F64) -> F64:
    """[H, W] -> [2H, 2W]: zeros put between the pixels, then the low-pass filter, by scipy.signal.upfirdn."""
    taps = np.array(TAPS) / sum(TAPS) * 2
    for axis in (0, 1):
        filtered = upfirdn(taps, image, up=2, axis=axis)
        image = np.take(filtered, range(1, 1 + 2 * image.shape[axis]), axis=axis)
    return image


def _convolve(x: F64, kernel: F64, up: bool) -> F64:
    if not up:
        result: F64 = correlate2d(x, kernel, "same")
        return result
    zeros = np.zeros((2 * x.shape[0] - 1, 2 * x.shape[1] - 1))
    zeros[::2, ::2] = x
    taps = np.array(TAPS) / sum(TAPS) * 2
    filtered = convolve2d(convolve2d(zeros, kernel), np.outer(taps, taps))
    low: F64 = filtered[2:-2, 2:-2]
    return low


def _leaky(x: F64) -> F64:
    activated: F64 = np.where(x < 0, 0.2 * x, x) * np.sqrt(2)
    return activated


def _clamped(x: F64, clamp: float | None) -> F64:
    return x if clamp is None else np.clip(x, -clamp, clamp)


def _style(raw: Raw, name: str, w: F64) -> F64:
    weight, bias = (raw.arrays[f"{name}.affine.{part}"].astype(np.float64) for part in ("weight", "bias"))
    style: F64 = weight @ w / np.sqrt(len(w)) + bias
    return style


def _picture(raw: Raw, styles: F64, noise: bool) -> F64:
    x = raw.arrays["synthesis.b4.const"].astype(np.float64)
    image = np.zeros((3, 2, 2))
    row = 0
    for size in raw.sizes:
        for name in ("conv0", "conv1"):
            here = f"synthesis.b{size}.{name}"
            if f"{here}.weight" not in raw.arrays:
                continue
            weight = raw.arrays[f"{here}.weight"].astype(np.float64)
            x = modulated_convolution(x, weight, _style(raw, here, styles[row]), up=name == "conv0")
            if noise:
                x = x + raw.arrays[f"{here}.noise_const"].astype(np.float64) * raw.arrays[f"{here}.noise_strength"]
            x = _clamped(_leaky(x + raw.arrays[f"{here}.bias"][:, None, None]), raw.conv_clamp)
            row += 1
        here = f"synthesis.b{size}.torgb"
        weight = raw.arrays[f"{here}.weight"].astype(np.float64)
        style = _style(raw, here, styles[row]) / np.sqrt(weight.shape[1])
        rgb = modulated_convolution(x, weight, style, demodulate=False) + raw.arrays[f"{here}.bias"][:, None, None]
        image = np.stack([upsample(channel) for channel in image]) + _clamped(rgb, raw.conv_clamp)
    return image
