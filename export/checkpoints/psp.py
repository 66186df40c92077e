"""The encoders that pSp and e4e publish: `torch.save` of a dict with ``state_dict``, ``opts`` and ``latent_avg``.

``state_dict`` holds ``encoder.*`` and ``decoder.*``, a StyleGAN2 generator; ``opts`` how it was trained, a dict or an
`argparse.Namespace`; ``latent_avg`` [512], [1, 512] or [18, 512] what is added to the encoder's output.
"""

from __future__ import annotations

import math
import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeAlias, TypeVar

import numpy as np
import torch

from export.checkpoints.strict import few, quoted, take
from models.arrays import F32
from models.errors import UserError
from models.files import sha256
from models.networks.irse50 import Backbone
from models.networks.psp_encoder import ENCODERS, EncoderConfig, PyramidEncoder, StyleEncoder
from models.pickles.pickle_program import Record
from models.pickles.unpickle import Tree, load_tensors

Checkpoint: TypeAlias = Mapping[Any, Any]  # what a file holds by name; nothing of it is trusted
_T = TypeVar("_T")

TRAINED_WITH = frozenset({"argparse.Namespace", "torch.device"})  # what options may hold beside plain values
IR_SE_50 = Backbone()
LAYERS = tuple(2 * log2_size - 2 for log2_size in range(6, 11))  # of generators from 64 to 1024 px
RGB = 3
RESTYLE = 6  # channels: a picture and its reconstruction

_PARTS = ("encoder", "decoder")
_COUNTER = "num_batches_tracked"  # of batch norm in training; files before PyTorch 0.4.1 have none
_FIRST = "input_layer.0.weight"
_HEAD = re.compile(r"styles\.(\d{1,4})\.")


@dataclass(frozen=True)
class EncoderCheckpoint:
    """An encoder as arrays.

    Attributes:
        config: the network.
        weights: parameter name of the network -> float32.
        latent_avg: float32 [layers, style_dim], where its estimate starts; zero if that is not the mean latent.
        source: the file's name, without its folder.
        sha256: of the file, in hexadecimal.
    """

    config: EncoderConfig
    weights: dict[str, F32]
    latent_avg: F32
    source: str
    sha256: str


def read_encoder(path: Path, *, backbone: Backbone = IR_SE_50, size: int = 256) -> EncoderCheckpoint:
    """Reads an encoder of pSp or e4e; nothing the file says is run.

    Args:
        path: a file of either format of `torch.save`.
        backbone: widths and depths; all published ones have those of IR-SE50.
        size: px of the crop; all published ones read 256.

    Raises:
        UserError: the file cannot be read, is none of these encoders, or its weights are not the network's.
    """
    tree, state = _state(load_tensors(path, records=TRAINED_WITH), path)
    options = _options(tree)
    kind = _kind(state, options, path)
    config = EncoderConfig(kind, _layers(state, options, kind, path), size, backbone)
    shapes, counters = _shapes(config)
    whose = f"{path} as {kind} with {config.layers} rows of W+"
    if sum(map(math.prod, shapes.values())) > path.stat().st_size:  # tensors may repeat their elements without end
        raise UserError(f"{whose} does not fit: the file is too short for its weights; get the file again")
    weights = take({name: value for name, value in state.items() if name not in counters}, shapes, whose)
    latent_avg = _latent_avg(tree, options, config, path)
    return EncoderCheckpoint(config, weights, latent_avg, path.name, sha256(path))


def load_encoder(checkpoint: EncoderCheckpoint) -> StyleEncoder:
    """The network with a file's weights, to evaluate and not to train; it shares the arrays' memory."""
    with torch.device("meta"):
        net = ENCODERS[checkpoint.config.kind](checkpoint.config)
    arrays = checkpoint.weights | {"latent_avg": checkpoint.latent_avg}
    tensors = {name: torch.from_numpy(array) for name, array in arrays.items()}
    _, counters = _shapes(checkpoint.config)
    tensors |= {name: torch.zeros((), dtype=torch.int64) for name in counters}
    net.load_state_dict(tensors, assign=True)
    return net.eval().requires_grad_(False)


def part(state: Checkpoint, name: str) -> dict[str, Any]:
    """What a state dict holds below ``name.``, by the rest of its keys."""
    start = f"{name}."
    named = {key: value for key, value in state.items() if isinstance(key, str) and key.startswith(start)}
    return {key.removeprefix(start): value for key, value in named.items()}


def _state(tree: Tree, path: Path) -> tuple[Checkpoint, dict[str, Any]]:
    """The file's dict, and the encoder's part of its state dict."""
    if not isinstance(tree, dict):
        raise UserError(f"{path} holds a {type(tree).__name__}; expected the dict of an e4e or pSp checkpoint")
    state = tree.get("state_dict")
    if not isinstance(state, dict):
        raise UserError(f"{path} {_looks_like(tree)}; expected an e4e or pSp checkpoint, a dict with 'state_dict'")
    parts = list(dict.fromkeys(str(key).split(".")[0] for key in state))
    if others := [quoted(name) for name in parts if name not in _PARTS]:
        raise UserError(f"{path} has networks beside an encoder and a decoder ({few(others)}); expected e4e or pSp")
    encoder = part(state, "encoder")
    if not encoder:
        raise UserError(f"{path} has no encoder but {few(parts) or 'nothing'}; expected an e4e or pSp checkpoint")
    return tree, encoder


def _looks_like(tree: Checkpoint) -> str:
    if "g_ema" in tree:
        return "is a StyleGAN2 generator, not an encoder"
    if _FIRST in tree:
        return "is the face recognition network IR-SE50 alone, without the heads of an encoder"
    return f"holds {few(map(quoted, tree)) or 'nothing'}"


def _options(tree: Checkpoint) -> Checkpoint:
    options = tree.get("opts")
    if isinstance(options, Record):
        return options.fields
    return options if isinstance(options, dict) else {}


def _option(options: Checkpoint, name: str, kind: type[_T], path: Path) -> _T | None:
    """An option; None if there is none.

    Raises:
        UserError: it is of another type.
    """
    value = options.get(name)
    if value is not None and not isinstance(value, kind):
        raise UserError(f"{path} has a {type(value).__name__} as its option {name!r}; get the file again")
    return value


def _kind(state: Mapping[str, Any], options: Checkpoint, path: Path) -> str:
    """A name in ENCODERS, for an encoder that reads RGB pictures."""
    kind = _option(options, "encoder_type", str, path)
    first = state.get(_FIRST)
    channels = first.shape[1] if isinstance(first, np.ndarray) and first.ndim == 4 else RGB
    if channels == RESTYLE:
        raise UserError(
            f"{path} is a ReStyle encoder ({quoted(kind)}): it reads a picture with its reconstruction, {RESTYLE} "
            "channels, several times in a row; expected one that reads the picture alone, such as e4e or pSp"
        )
    if channels != RGB:
        raise UserError(
            f"{path} is for pictures of {channels} channels, such as sketches; expected an encoder of RGB"
        )
    if _option(options, "start_from_encoded_w_plus", bool, path):
        raise UserError(f"{path} has an encoder that starts from another encoder's latents; expected e4e or pSp")
    if kind is None:
        raise UserError(f"{path} does not say which encoder it has; expected 'encoder_type' in its 'opts'")
    if kind not in ENCODERS:
        raise UserError(f"{path} has an encoder of type {quoted(kind)}; expected one of {', '.join(ENCODERS)}")
    return kind


def _layers(state: Mapping[str, Any], options: Checkpoint, kind: str, path: Path) -> int:
    """Rows of W+: as many as there are heads; without heads, those of the generator's size."""
    if issubclass(ENCODERS[kind], PyramidEncoder):
        layers = len({match[1] for name in state if (match := _HEAD.match(name))})
    else:
        layers = 2 * ((_option(options, "output_size", int, path) or 1024).bit_length() - 1) - 2
    if layers not in LAYERS:
        raise UserError(f"{path} is for {layers} rows of W+; expected {', '.join(map(str, LAYERS))}")
    return layers


def _shapes(config: EncoderConfig) -> tuple[dict[str, tuple[int, ...]], set[str]]:
    """The network's weights by name -> shape, and the names of its counters, which are of no use in evaluation."""
    with torch.device("meta"):
        net = ENCODERS[config.kind](config)
    shapes = {name: tuple(tensor.shape) for name, tensor in net.state_dict().items() if name != "latent_avg"}
    counters = {name for name in shapes if name.endswith(_COUNTER)}
    return {name: shape for name, shape in shapes.items() if name not in counters}, counters


def _latent_avg(tree: Checkpoint, options: Checkpoint, config: EncoderConfig, path: Path) -> F32:
    """What the encoder's output is added to, one row for all or one for each."""
    found = tree.get("latent_avg")
    starts_there = _option(options, "start_from_latent_avg", bool, path)
    if not (found is not None if starts_there is None else starts_there):
        return np.zeros((config.layers, config.style_dim), np.float32)
    if not isinstance(found, np.ndarray):
        raise UserError(f"{path} starts from the mean latent but has none; expected 'latent_avg' beside 'state_dict'")
    shapes = [(config.style_dim,), (1, config.style_dim), (config.layers, config.style_dim)]
    shape = found.shape if found.shape in shapes else shapes[-1]
    array = take({"latent_avg": found}, {"latent_avg": shape}, str(path))["latent_avg"]
    return np.broadcast_to(array, shapes[-1]).copy()
