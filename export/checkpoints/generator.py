"""A published StyleGAN2 generator, out of whichever file it came."""

from __future__ import annotations

import itertools
import math
from collections.abc import Mapping as AnyMapping
from dataclasses import dataclass, replace

import numpy as np
import torch
from torch import nn

from export.checkpoints.strict import take
from models.arrays import F32
from models.errors import UserError
from models.networks.stylegan2 import FIRST_SIZE, GAIN, LEAK, Mapping, Modulate, Noise, StyleGAN2Config, Synthesis
from models.pickles.pickle_opcodes import RefusedError
from models.pickles.torch_vocabulary import Array

Weights = dict[str, F32]

SIZES = tuple(2**i for i in range(3, 12))  # pixels of generators that are read
MOST_CHANNELS = 8192  # of any layer; published ones have up to 1024
_MEAN_SAMPLES = 4096  # of z, for the mean of W where a file does not have it


@dataclass(frozen=True)
class GeneratorCheckpoint:
    """A generator as arrays: what a reader gives.

    Attributes:
        config: the network; its `noise` is the best that the file has weights for: "const" before "random".
        synthesis: parameter name of `Synthesis` -> float32, learning rate multipliers folded in.
        mapping: the same for `Mapping`.
        mean_w: float32 [w_dim], the mean of w over random z.
        source: the file's name, without its folder.
        sha256: of the file, in hexadecimal.
    """

    config: StyleGAN2Config
    synthesis: Weights
    mapping: Weights
    mean_w: F32
    source: str
    sha256: str


@dataclass(frozen=True)
class Found:
    """A tensor as a file has it, and what to multiply it with; ones in its shape do not count."""

    array: Array
    gain: float = 1.0


@dataclass(frozen=True)
class Parts:
    """What the reader of one kind of file finds in it.

    Attributes:
        config: the network.
        synthesis: parameter name of `Synthesis` -> tensor.
        mapping: the same for `Mapping`.
        mean_w: [w_dim], or None if the file has none.
    """

    config: StyleGAN2Config
    synthesis: dict[str, Found]
    mapping: dict[str, Found]
    mean_w: Found | None


def load_generator(
    checkpoint: GeneratorCheckpoint, *, noise: Noise | None = None, modulate: Modulate = "activations"
) -> tuple[Mapping, Synthesis]:
    """The networks with a file's weights, to evaluate and not to train.

    Args:
        checkpoint: the file's content.
        noise: in place of `checkpoint.config.noise`.
        modulate: see `Synthesis`.

    Raises:
        UserError: the file lacks what this kind of noise needs.
    """
    has = checkpoint.config.noise
    config = checkpoint.config if noise is None else replace(checkpoint.config, noise=noise)
    if (has, config.noise) in (("none", "const"), ("none", "random"), ("random", "const")):
        raise UserError(f"{checkpoint.source} has weights for noise {has!r} only, not for {config.noise!r}")
    mapping, synthesis = Mapping(config), Synthesis(config, modulate=modulate)
    left_out = {"none": ("noise_picture", "noise_strength"), "random": ("noise_picture",), "const": ()}[config.noise]
    _fill(mapping, checkpoint.mapping)
    _fill(synthesis, {name: array for name, array in checkpoint.synthesis.items() if not name.endswith(left_out)})
    synthesis.settle()
    return mapping, synthesis


def assemble(parts: Parts, *, source: str, most_elements: int) -> tuple[Weights, Weights, F32]:
    """Weights of `Synthesis` and of `Mapping` and the mean of W, float32 copies of what was found.

    Args:
        parts: what a file holds.
        source: the file.
        most_elements: more than these are not copied: a file may repeat its elements without end.

    Raises:
        RefusedError: the file is too short.
        UserError: something is missing, too much, of another shape, or not finite.
    """
    config = parts.config
    shapes = [synthesis_shapes(config), mapping_shapes(config)]
    if sum(math.prod(shape) for of_network in shapes for shape in of_network.values()) > most_elements:
        raise RefusedError(f"a generator of {config.size} px and so many channels does not fit into this file")
    whose = f"{source} as a generator of {config.size} px"
    synthesis, mapping = (
        _copies(found, shape, whose) for found, shape in zip((parts.synthesis, parts.mapping), shapes, strict=True)
    )
    if parts.mean_w is None:
        return synthesis, mapping, _mean_of(mapping, config)
    return synthesis, mapping, _copies({"mean_w": parts.mean_w}, {"mean_w": (config.w_dim,)}, whose)["mean_w"]


def channel_limits(channels: list[int]) -> tuple[int, int]:
    """`channel_base` and `channel_max` of a network whose blocks of 4, 8, 16, ... px have these channels.

    Raises:
        RefusedError: there are none.
    """
    most = max(channels)
    sizes = [2 ** (i + 2) for i in range(len(channels))]
    base = max(size * count for size, count in zip(sizes, channels, strict=True))
    if [min(base // size, most) for size in sizes] != channels or most > MOST_CHANNELS:
        raise RefusedError(f"its blocks have {', '.join(map(str, channels[:12]))} channels, which no StyleGAN2 has")
    return base, most


def filter_taps(kernel: Array) -> tuple[float, ...]:
    """Taps of the low-pass filter whose outer product `kernel` is, their sum 1.

    Raises:
        RefusedError: it is not separable, or not of even size.
    """
    if kernel.ndim != 2 or not 2 <= len(kernel) <= 16 or kernel.shape != (len(kernel),) * 2 or len(kernel) % 2:
        raise RefusedError(f"its resampling filter has the shape {list(kernel.shape)}; expected such as [4, 4]")
    values = kernel.astype(np.float64)
    taps = values.sum(0) / values.sum()
    if not np.allclose(np.outer(taps, taps), values / values.sum(), atol=1e-6):
        raise RefusedError("its resampling filter is not separable")
    return tuple(taps.tolist())


def synthesis_shapes(config: StyleGAN2Config) -> dict[str, tuple[int, ...]]:
    """Parameter name of `Synthesis` -> shape, without making one: even on paper that takes PyTorch a second."""
    shapes: dict[str, tuple[int, ...]] = {"const": (1, config.channels(FIRST_SIZE), FIRST_SIZE, FIRST_SIZE)}
    for i, size in enumerate(config.sizes):
        below, here = config.channels(size // 2), config.channels(size)
        convolutions = {"conv0": (below, here, 3), "conv1": (here, here, 3), "to_rgb": (here, 3, 1)}
        for name, (c_in, c_out, kernel) in convolutions.items():
            if i == 0 and name == "conv0":
                continue
            ours = f"blocks.{i}.{name}"
            shapes[f"{ours}.conv.weight"] = (c_out, c_in, kernel, kernel)
            shapes[f"{ours}.conv.affine.weight"] = (c_in, config.w_dim)
            shapes[f"{ours}.conv.affine.bias"] = (c_in,)
            shapes[f"{ours}.bias"] = (c_out,)
            if name != "to_rgb" and config.noise != "none":
                shapes[f"{ours}.noise_strength"] = ()
            if name != "to_rgb" and config.noise == "const":
                shapes[f"{ours}.noise_picture"] = (1, 1, size, size)
    return shapes


def mapping_shapes(config: StyleGAN2Config) -> dict[str, tuple[int, ...]]:
    """Parameter name of `Mapping` -> shape."""
    hidden = config.mapping_features or config.w_dim
    widths = [config.z_dim, *[hidden] * (config.mapping_layers - 1), config.w_dim]
    shapes: dict[str, tuple[int, ...]] = {}
    for i, (here, there) in enumerate(itertools.pairwise(widths)):
        shapes |= {f"layers.{i}.weight": (there, here), f"layers.{i}.bias": (there,)}
    return shapes


def _fill(network: nn.Module, weights: Weights) -> None:
    network.load_state_dict({name: torch.from_numpy(array) for name, array in weights.items()})
    network.eval().requires_grad_(False)


def _copies(found: AnyMapping[str, Found], shapes: AnyMapping[str, tuple[int, ...]], whose: str) -> Weights:
    arrays = {name: _without_ones(one.array, shapes.get(name)) for name, one in found.items()}
    return take(arrays, shapes, whose, {name: one.gain for name, one in found.items()})


def _without_ones(array: Array, shape: tuple[int, ...] | None) -> Array:
    """An array in a shape that differs by ones alone; otherwise as it is."""
    same = shape is not None and [n for n in array.shape if n != 1] == [n for n in shape if n != 1]
    return array.reshape(shape) if shape is not None and same else array


def _mean_of(mapping: Weights, config: StyleGAN2Config) -> F32:
    """The mean of w over random z of a fixed seed."""
    x = np.random.default_rng(0).standard_normal((_MEAN_SAMPLES, config.z_dim), np.float32)
    x /= np.sqrt((x * x).mean(1, keepdims=True) + np.float32(1e-8))
    for i in range(config.mapping_layers):
        x = x @ mapping[f"layers.{i}.weight"].T + mapping[f"layers.{i}.bias"]
        x = np.maximum(x, np.float32(LEAK) * x) * np.float32(GAIN)
    mean: F32 = x.mean(0)
    return mean
