"""Writes generators as published files have them, without the code that writes those."""

from __future__ import annotations

import pickle
import sys
from argparse import Namespace
from collections import OrderedDict
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
import torch

from tests.stylegan2_reference import TAPS, Raw

SOURCE = "raise SystemExit('the source text inside a pickle was run')"
FILTER = torch.outer(torch.tensor(TAPS), torch.tensor(TAPS)) / sum(TAPS) ** 2


class EasyDict(dict[str, Any]):
    """A dict that pickles as `dnnlib.util.EasyDict`."""


class Persistent:
    """A module that pickles as the official ones: class name, source text, state."""

    def __init__(self, class_name: str, state: dict[str, Any]) -> None:
        self.class_name = class_name
        self.state = state

    def __reduce__(self) -> tuple[Any, ...]:
        meta = {"type": "class", "version": 6, "module_src": SOURCE}
        return _reconstruct_persistent_obj, (meta | {"class_name": self.class_name, "state": self.state},), None


def _reconstruct_persistent_obj(meta: dict[str, Any]) -> Any:  # noqa: ANN401
    raise AssertionError("the name in a pickle was called")


@contextmanager
def official_names() -> Iterator[None]:
    """Lets the classes above pickle under the names that official files have."""
    homes: dict[str, Any] = {"torch_utils.persistence": _reconstruct_persistent_obj, "dnnlib.util": EasyDict}
    made = {"torch_utils": ModuleType("torch_utils"), "dnnlib": ModuleType("dnnlib")}
    own = EasyDict.__module__
    try:
        for home, thing in homes.items():
            made[home] = ModuleType(home)
            setattr(made[home], thing.__name__, thing)
            thing.__module__ = home
        sys.modules.update(made)
        yield
    finally:
        for home in made:
            sys.modules.pop(home, None)
        for thing in homes.values():
            thing.__module__ = own


def module(
    class_name: str,
    *,
    parameters: dict[str, Any] | None = None,
    buffers: dict[str, Any] | None = None,
    modules: dict[str, Any] | None = None,
    **fields: Any,  # noqa: ANN401
) -> Persistent:
    """A PyTorch module's state."""
    weights = {name: torch.nn.Parameter(tensor, requires_grad=False) for name, tensor in (parameters or {}).items()}
    state = {
        "training": False,
        "_parameters": OrderedDict(weights),
        "_buffers": OrderedDict(buffers or {}),
        "_non_persistent_buffers_set": set(),
        "_backward_hooks": OrderedDict(),
        "_modules": OrderedDict(modules or {}),
        "_init_args": (),
        "_init_kwargs": EasyDict(size=3),
    }
    return Persistent(class_name, state | fields)


def official_generator(raw: Raw, *, dtype: torch.dtype = torch.float32, **changed: Any) -> Persistent:  # noqa: ANN401
    """The network `Generator`; `changed` replaces fields of it or of its blocks, such as c_dim or architecture."""

    def tensor(name: str) -> torch.Tensor:
        return torch.from_numpy(raw.arrays[name]).to(dtype)

    def dense(name: str, activation: str, lr_multiplier: float) -> Persistent:
        weights = {part: tensor(f"{name}.{part}") for part in ("weight", "bias")}
        gain = np.float64(lr_multiplier / np.sqrt(weights["weight"].shape[1]))
        return module(
            "FullyConnectedLayer",
            parameters=weights,
            activation=activation,
            weight_gain=gain,
            bias_gain=lr_multiplier,
        )

    def layer(name: str) -> Persistent:
        weights = {part: tensor(f"{name}.{part}") for part in ("weight", "bias")}
        modules = {"affine": dense(f"{name}.affine", "linear", 1)}
        if name.endswith("torgb"):
            gain = np.float64(weights["weight"].shape[1] ** -0.5)
            return module(
                "ToRGBLayer", parameters=weights, modules=modules, conv_clamp=raw.conv_clamp, weight_gain=gain
            )
        weights["noise_strength"] = tensor(f"{name}.noise_strength")
        buffers = {"resample_filter": FILTER, "noise_const": tensor(f"{name}.noise_const")}
        fields = {"use_noise": True, "activation": "lrelu", "conv_clamp": raw.conv_clamp, "act_gain": np.sqrt(2)}
        return module("SynthesisLayer", parameters=weights, buffers=buffers, modules=modules, **fields)

    blocks = {}
    for size in raw.sizes:
        name = f"synthesis.b{size}"
        names = [part for part in ("conv0", "conv1", "torgb") if f"{name}.{part}.weight" in raw.arrays]
        blocks[f"b{size}"] = module(
            "SynthesisBlock",
            parameters={"const": tensor(f"{name}.const")} if size == 4 else {},
            buffers={"resample_filter": FILTER},
            modules={part: layer(f"{name}.{part}") for part in names},
            **{"architecture": "skip", "use_fp16": size >= 8, **changed},
        )
    mapping = module(
        "MappingNetwork",
        buffers={"w_avg": tensor("mapping.w_avg")},
        modules={f"fc{i}": dense(f"mapping.fc{i}", "lrelu", raw.lr_multiplier) for i in range(raw.mapping_layers)},
        num_layers=raw.mapping_layers,
    )
    synthesis = module("SynthesisNetwork", modules=blocks, **{"img_resolution": raw.size, **changed})
    fields = {"z_dim": raw.z_dim, "c_dim": 0, "w_dim": raw.w_dim, "img_channels": 3, **changed}
    return module("Generator", modules={"synthesis": synthesis, "mapping": mapping}, **fields)


def write_official(path: Path, content: object, *, protocol: int = 4) -> Path:
    """A file as `pickle.dump` of the official training loop writes it."""
    with official_names():
        path.write_bytes(pickle.dumps(content, protocol))
    return path


def rosinality_state(raw: Raw) -> dict[str, torch.Tensor]:
    """The state dict `g_ema`."""
    state = {"input.input": torch.from_numpy(raw.arrays["synthesis.b4.const"])[None]}

    def put(theirs: str, name: str) -> None:
        arrays = {part: torch.from_numpy(raw.arrays[f"{name}.{part}"]) for part in ("weight", "bias")}
        state[f"{theirs}.conv.weight"] = arrays["weight"][None]
        for part in ("weight", "bias"):
            state[f"{theirs}.conv.modulation.{part}"] = torch.from_numpy(raw.arrays[f"{name}.affine.{part}"])
        if name.endswith("torgb"):
            state[f"{theirs}.bias"] = arrays["bias"].reshape(1, 3, 1, 1)
            return
        state[f"{theirs}.activate.bias"] = arrays["bias"]
        state[f"{theirs}.noise.weight"] = torch.from_numpy(raw.arrays[f"{name}.noise_strength"]).reshape(1)
        count = sum(key.startswith("noises.") for key in state)
        state[f"noises.noise_{count}"] = torch.from_numpy(raw.arrays[f"{name}.noise_const"])[None, None]

    for i in range(raw.mapping_layers):
        for part in ("weight", "bias"):
            state[f"style.{i + 1}.{part}"] = torch.from_numpy(raw.arrays[f"mapping.fc{i}.{part}"])
    put("conv1", "synthesis.b4.conv1")
    put("to_rgb1", "synthesis.b4.torgb")
    for i, size in enumerate(raw.sizes[1:]):
        put(f"convs.{2 * i}", f"synthesis.b{size}.conv0")
        put(f"convs.{2 * i + 1}", f"synthesis.b{size}.conv1")
        put(f"to_rgbs.{i}", f"synthesis.b{size}.torgb")
        state[f"convs.{2 * i}.conv.blur.kernel"] = FILTER * 4
        state[f"to_rgbs.{i}.upsample.kernel"] = FILTER * 4
    return state


def rosinality_checkpoint(raw: Raw) -> dict[str, Any]:
    """What its training script saves."""
    state = rosinality_state(raw)
    mean_w = torch.from_numpy(raw.arrays["mapping.w_avg"])
    return {"g": state, "g_ema": state, "latent_avg": mean_w, "args": Namespace(lr=0.002, name=None)}
