"""Encoders small enough for a test, with weights that no version of a library changes."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch

from models.networks.irse50 import Backbone
from models.networks.psp_encoder import ENCODERS, EncoderConfig, StyleEncoder

TINY = Backbone(stem=16, widths=(16, 32, 32, 48), units=(1, 2, 2, 1))
SIZE = 64  # px
LAYERS = 10
STYLE_DIM = 48


def weights(net: torch.nn.Module, seed: int = 0) -> dict[str, torch.Tensor]:
    """A state dict that keeps a signal's size and whose statistics are not those of a new network."""
    rng = np.random.default_rng(seed)
    state = {}
    for name, tensor in sorted(net.state_dict().items()):
        shape = tuple(tensor.shape)
        values = rng.standard_normal(shape)
        if name.endswith("running_var"):
            values = 0.5 + rng.random(shape)
        elif len(shape) == 1 and name.endswith("weight"):  # of batch norm and of PReLU
            values = 0.2 + rng.random(shape)
        elif len(shape) == 4:
            values /= np.sqrt(np.prod(shape[1:]))
        elif name.endswith(("bias", "running_mean")):
            values *= 0.3
        state[name] = torch.tensor(values, dtype=tensor.dtype)
    return state


def tiny(kind: str, seed: int = 0) -> StyleEncoder:
    """An encoder of this kind, in evaluation; its `latent_avg` is not zero."""
    net = ENCODERS[kind](EncoderConfig(kind, LAYERS, SIZE, TINY))
    net.load_state_dict(weights(net, seed))
    net.eval().requires_grad_(False)
    return net


def crops(count: int = 1) -> torch.Tensor:
    """RGB float32 [count, 3, 64, 64] in [-1, 1]."""
    values = np.random.default_rng(1).random((count, 3, SIZE, SIZE)) * 2 - 1
    return torch.tensor(values, dtype=torch.float32)


def options(kind: str) -> dict[str, Any]:
    """What lies under `opts`: a part of what the published files have."""
    return {
        **{"dataset_type": "ffhq_encode", "encoder_type": kind, "start_from_latent_avg": True, "output_size": 64},
        **{"learning_rate": 1e-4, "max_steps": 500_000, "stylegan_weights": "stylegan2.pt", "device": "cuda:0"},
        **{"checkpoint_path": None, "progressive_steps": [0, 20_000, 22_000], "betas": (0.9, 0.999), "lr": {"w": -1}},
    }


def decoder(channels: int = 8) -> dict[str, torch.Tensor]:
    """A generator of 64 px, under the names that rosinality/stylegan2-pytorch gives its weights."""
    rng = np.random.default_rng(2)
    low_pass = torch.tensor(np.outer((1, 3, 3, 1), (1, 3, 3, 1)) / 64, dtype=torch.float32)
    state: dict[str, torch.Tensor] = {}

    def add(name: str, *shape: int) -> None:
        state[name] = torch.tensor(rng.standard_normal(shape), dtype=torch.float32)

    def convolution(name: str, out_channels: int, size: int, enlarges: str | None) -> None:
        add(f"{name}.conv.weight", 1, out_channels, channels, size, size)
        add(f"{name}.conv.modulation.weight", channels, STYLE_DIM)
        state[f"{name}.conv.modulation.bias"] = torch.ones(channels)
        if enlarges:
            state[f"{name}.{enlarges}.kernel"] = 4 * low_pass
        if size == 1:
            add(f"{name}.bias", 1, 3, 1, 1)
        else:
            add(f"{name}.noise.weight", 1)
            add(f"{name}.activate.bias", channels)

    add("input.input", 1, channels, 4, 4)
    for layer in (1, 2):
        add(f"style.{layer}.weight", STYLE_DIM, STYLE_DIM)
        add(f"style.{layer}.bias", STYLE_DIM)
    convolution("conv1", channels, 3, None)
    convolution("to_rgb1", 3, 1, None)
    add("noises.noise_0", 1, 1, 4, 4)
    for i in range(4):
        convolution(f"convs.{2 * i}", channels, 3, "conv.blur")
        convolution(f"convs.{2 * i + 1}", channels, 3, None)
        convolution(f"to_rgbs.{i}", 3, 1, "upsample")
        for noise in (2 * i + 1, 2 * i + 2):
            add(f"noises.noise_{noise}", 1, 1, 8 << i, 8 << i)
    return state


def published(net: StyleEncoder, kind: str) -> dict[str, Any]:
    """A checkpoint as pSp and e4e save it: an encoder, a generator, the mean latent and the options."""
    state = net.state_dict()
    mean = state.pop("latent_avg")
    named = {f"encoder.{name}": tensor for name, tensor in state.items()}
    named |= {f"decoder.{name}": tensor for name, tensor in decoder().items()}
    return {"state_dict": named, "opts": options(kind), "latent_avg": mean}
