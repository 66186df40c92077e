"""Reads the generator of a checkpoint (``.pt``) of rosinality/stylegan2-pytorch.

Such a file is a dict of state dicts, of which `g_ema` is the generator, and of `latent_avg`, the mean of W. An
encoder's checkpoint (pSp, e4e) holds the same under `state_dict`, its names starting with "decoder.".
"""

from __future__ import annotations

import re

import numpy as np

from export.checkpoints.generator import SIZES, Found, Parts, channel_limits, filter_taps
from models.networks.stylegan2 import StyleGAN2Config
from models.pickles.pickle_opcodes import Budget, RefusedError
from models.pickles.pickle_program import Value, expect
from models.pickles.torch_vocabulary import Array
from models.pickles.unpickle import read_torch

_LR_MULTIPLIER = 0.01  # of the mapping network, which the file does not say
_RECORDS = frozenset({"argparse.Namespace", "torch.device", "torch.Size"})  # how it was trained
_MOST_LAYERS = 64
_DECODER = "decoder."


def read_rosinality(content: bytes, budget: Budget) -> Parts:
    """What the generator of such a checkpoint is made of.

    Raises:
        RefusedError: it holds what no such file has, or no generator.
        *DAMAGE: it is damaged.
    """
    tree = expect(read_torch(content, budget, _RECORDS), dict)
    return _Generator(*_generator_state(tree)).parts()


def _generator_state(tree: dict[str | int, Value]) -> tuple[dict[str, Array], Array | None]:
    """The state dict of the generator and the mean of W."""
    for name in ("g_ema", "state_dict"):
        held = tree.get(name)
        if isinstance(held, dict):
            break
    else:
        held = tree
    state = {str(name): value for name, value in held.items() if isinstance(value, np.ndarray)}
    if any(name.startswith(_DECODER) for name in state):
        state = {name.removeprefix(_DECODER): a for name, a in state.items() if name.startswith(_DECODER)}
    if "input.input" not in state:
        names = ", ".join(repr(str(name)[:40]) for name in list(held)[:5]) or "nothing"
        raise RefusedError(f"it has no StyleGAN2 generator ('g_ema' with 'input.input') but {names}")
    mean_w = tree.get("latent_avg")
    return state, mean_w if isinstance(mean_w, np.ndarray) else None


class _Generator:
    """The network `Generator` as a state dict: its settings follow from names and shapes."""

    def __init__(self, state: dict[str, Array], mean_w: Array | None) -> None:
        self.left = dict(state)
        self.mean_w = mean_w
        self.filters: list[Array] = []

    def parts(self) -> Parts:
        mapping = self._mapping()
        z_dim, w_dim = (
            mapping["layers.0.weight"].array.shape[1],
            len(mapping[f"layers.{len(mapping) // 2 - 1}.bias"].array),
        )
        steps = len({name for name in self.left if re.fullmatch(r"to_rgbs\.\d{1,2}\.bias", name)})
        size = 2 ** (steps + 2)
        if size not in SIZES:
            raise RefusedError(f"it has {steps + 1} picture layers; expected those of {SIZES[0]} to {SIZES[-1]} px")
        has_noise = "noises.noise_0" in self.left
        synthesis = {"const": Found(self._take("input.input"))}
        synthesis |= self._convolution("conv1", "blocks.0.conv1", 0 if has_noise else None)
        synthesis |= self._picture("to_rgb1", "blocks.0.to_rgb")
        for i in range(steps):
            noises = (2 * i + 1, 2 * i + 2) if has_noise else (None, None)
            synthesis |= self._convolution(f"convs.{2 * i}", f"blocks.{i + 1}.conv0", noises[0])
            synthesis |= self._convolution(f"convs.{2 * i + 1}", f"blocks.{i + 1}.conv1", noises[1])
            synthesis |= self._picture(f"to_rgbs.{i}", f"blocks.{i + 1}.to_rgb")
            self.filters += [
                self._take(f"to_rgbs.{i}.upsample.kernel"),
                self._take(f"convs.{2 * i}.conv.blur.kernel"),
            ]
        if self.left:
            raise RefusedError(f"its generator has {', '.join(sorted(self.left)[:5])[:200]}, which no StyleGAN2 has")
        channel_base, channel_max = channel_limits(
            [len(synthesis[f"blocks.{i}.conv1.bias"].array) for i in range(steps + 1)]
        )
        filters = {filter_taps(kernel) for kernel in self.filters}
        if len(filters) != 1:
            raise RefusedError("its layers have different resampling filters")
        config = StyleGAN2Config(
            size=size,
            z_dim=z_dim,
            w_dim=w_dim,
            channel_base=channel_base,
            channel_max=channel_max,
            mapping_layers=len(mapping) // 2,
            noise="const" if has_noise else "random",
            resample_filter=filters.pop(),
        )
        return Parts(config, synthesis, mapping, self._mean_w(config))

    def _take(self, name: str) -> Array:
        if name not in self.left:
            raise RefusedError(f"its generator has no {name!r}")
        return self.left.pop(name)

    def _mapping(self) -> dict[str, Found]:
        # Number 0 is the pixel norm, which has no weights.
        count = sum(re.fullmatch(r"style\.\d{1,2}\.bias", name) is not None for name in self.left)
        if not 0 < count <= _MOST_LAYERS:
            raise RefusedError(f"its mapping network has {count} layers")
        found: dict[str, Found] = {}
        for i in range(count):
            found |= self._dense(f"style.{i + 1}", f"layers.{i}", _LR_MULTIPLIER)
        return found

    def _dense(self, theirs: str, ours: str, lr_multiplier: float = 1.0) -> dict[str, Found]:
        weight = _of_dimensions(self._take(f"{theirs}.weight"), theirs, 2)
        return {
            f"{ours}.weight": Found(weight, lr_multiplier / weight.shape[1] ** 0.5),
            f"{ours}.bias": Found(_of_dimensions(self._take(f"{theirs}.bias"), theirs, 1), lr_multiplier),
        }

    def _weight(self, theirs: str, ours: str) -> dict[str, Found]:
        """A modulated convolution: [1, O, I, k, k], to be divided by the square root of its fan-in."""
        weight = _of_dimensions(self._take(f"{theirs}.weight"), theirs, 5)
        _, _, in_channels, height, width = weight.shape
        gain = (in_channels * height * width) ** -0.5
        return {f"{ours}.weight": Found(weight, gain)} | self._dense(f"{theirs}.modulation", f"{ours}.affine")

    def _convolution(self, theirs: str, ours: str, noise: int | None) -> dict[str, Found]:
        found = self._weight(f"{theirs}.conv", f"{ours}.conv")
        found[f"{ours}.bias"] = Found(_of_dimensions(self._take(f"{theirs}.activate.bias"), theirs, 1))
        found[f"{ours}.noise_strength"] = Found(self._take(f"{theirs}.noise.weight"))
        if noise is not None:
            found[f"{ours}.noise_picture"] = Found(self._take(f"noises.noise_{noise}"))
        return found

    def _picture(self, theirs: str, ours: str) -> dict[str, Found]:
        return self._weight(f"{theirs}.conv", f"{ours}.conv") | {f"{ours}.bias": Found(self._take(f"{theirs}.bias"))}

    def _mean_w(self, config: StyleGAN2Config) -> Found | None:
        """The mean of W, which some files repeat for each layer, or hold as a row."""
        mean = self.mean_w
        if mean is not None and mean.shape in ((config.layers, config.w_dim), (1, config.w_dim)):
            if not np.array_equal(mean, np.broadcast_to(mean[:1], mean.shape)):
                raise RefusedError("its 'latent_avg' differs from layer to layer")
            mean = mean[0]
        return None if mean is None else Found(mean)


def _of_dimensions(array: Array, name: str, count: int) -> Array:
    if array.ndim != count or 0 in array.shape:
        raise RefusedError(f"its {name} has a tensor of the shape {list(array.shape)}; expected {count} dimensions")
    return array
