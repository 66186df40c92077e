"""A published StyleGAN2 generator, out of whichever file it came."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import nn

from models.arrays import F32
from models.errors import UserError
from models.networks.stylegan2 import Mapping, Modulate, Noise, StyleGAN2Config, Synthesis

Weights = dict[str, F32]


@dataclass(frozen=True)
class GeneratorCheckpoint:
    """A generator as arrays: what a reader gives.

    Attributes:
        config: the network; its `noise` is "const" where the file has noise pictures, else "none".
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


def load_generator(
    checkpoint: GeneratorCheckpoint, *, noise: Noise | None = None, modulate: Modulate = "activations"
) -> tuple[Mapping, Synthesis]:
    """The networks with a file's weights, to evaluate and not to train.

    Args:
        checkpoint: the file's content.
        noise: in place of the file's own; "const" and "random" need one that has noise.
        modulate: see `Synthesis`.

    Raises:
        UserError: the network was trained without noise, which was asked for.
    """
    config = checkpoint.config if noise is None else replace(checkpoint.config, noise=noise)
    if config.noise != "none" and checkpoint.config.noise == "none":
        raise UserError(f"{checkpoint.source} has a generator without noise; expected noise 'none', not {noise!r}")
    mapping, synthesis = Mapping(config), Synthesis(config, modulate=modulate)
    left_out = {"none": ("noise_picture", "noise_strength"), "random": ("noise_picture",), "const": ()}[config.noise]
    _fill(mapping, checkpoint.mapping)
    _fill(synthesis, {name: a for name, a in checkpoint.synthesis.items() if not name.endswith(left_out)})
    synthesis.settle()
    return mapping, synthesis


def _fill(network: nn.Module, weights: dict[str, NDArray[Any]]) -> None:
    network.load_state_dict({name: torch.tensor(np.asarray(array, np.float32)) for name, array in weights.items()})
    network.eval().requires_grad_(False)
