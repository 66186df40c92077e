"""Reads the shipped encoder's graph back into PyTorch, so that training can go on from what is shipped."""

from __future__ import annotations

from itertools import pairwise
from pathlib import Path
from typing import cast

import onnx
import torch
from onnx import numpy_helper
from torch import Tensor, nn

from export.recognition import Recognition
from models.errors import UserError
from models.networks.encoder import STYLE_DIM, Encoder
from models.networks.recognising_encoder import RecognisingEncoder
from models.networks.refined_encoder import RefinedEncoder
from models.networks.surrogate import empty_surrogate

# Of the surrogate, what only its training reads and what folding multiplied into other layers; and what is not ours.
FOLDED_AWAY = ("surrogate.linear.", "surrogate.curved.0.", "surrogate.shares", "recognise.")
# What an encoder lacks that reads no embedding.
EMBEDDED = [
    "embedding_mean", "embedding_std", "to_trunk.weight", "to_trunk.bias", "to_feedback.weight", "to_feedback.bias",
    "to_latent.weight", "to_latent.bias",
]  # fmt: skip


def read_encoder(path: Path) -> RecognisingEncoder:
    """The encoder of `export.ship_encoder`'s graph: folded, its batch norms part of the convolutions.

    Written by `python -m export ship` it reads nothing of a recogniser's embedding yet.

    What was folded stays so: learned from here, what the feedback keeps between its steps is a memory of its own, no
    longer tied to the latent by the surrogate's first layer.

    Raises:
        UserError: the file holds another network.
    """
    graph = onnx.load(path, load_external_data=False).graph  # what is external, `Recognition` reads
    stored = _initializers(graph)
    inputs = {node.name: list(node.input) for node in graph.node}
    encoder = Encoder(torch.zeros(STYLE_DIM), torch.ones(STYLE_DIM))
    _normalise_by_bias(encoder)
    net = RecognisingEncoder(RefinedEncoder(encoder, empty_surrogate()), Recognition())
    net.steps = sum(name.startswith("/look_missed") for name in inputs)
    try:
        state = {name: values for name, values in stored.items() if name in net.state_dict()}
        convolutions = [
            node for node in graph.node if node.op_type == "Conv" and not node.name.startswith("/recognise/")
        ]
        names = [
            name for name, module in net.encoder.named_modules(prefix="encoder") if isinstance(module, nn.Conv2d)
        ]
        for name, node in zip(names, convolutions, strict=True):
            state[f"{name}.weight"], state[f"{name}.bias"] = (stored[value] for value in node.input[1:])
        for name in ("look_missed", "first_of_offsets"):
            state[f"{name}.weight"] = stored[inputs[f"/{name}/MatMul"][1]].T
        state["answer.bias"] = stored[inputs["/Gemm"][2]] / net.steps
    except (KeyError, ValueError) as error:
        raise UserError(f"{path} is not an encoder as `python -m export ship` writes it") from error
    missing, unexpected = net.load_state_dict(state, strict=False)
    missing = [name for name in missing if not name.startswith(FOLDED_AWAY)]
    if unexpected or missing not in ([], EMBEDDED):
        raise UserError(f"{path} holds another encoder than {type(net).__name__}")
    return net.eval()


def _initializers(graph: onnx.GraphProto) -> dict[str, Tensor]:
    """The weights in float32, under the names that they had before `store_in_float16`."""
    return {
        one.name.removesuffix(".half"): torch.from_numpy(numpy_helper.to_array(one).copy()).float()
        for one in graph.initializer
        if one.data_location != onnx.TensorProto.EXTERNAL
    }


def _normalise_by_bias(net: nn.Module) -> None:
    """Gives every convolution before a batch norm a bias in its stead."""
    for parent in list(net.modules()):
        children = list(parent.named_children())
        for (name, child), (norm, after) in pairwise(children):
            if isinstance(child, nn.Conv2d) and isinstance(after, nn.BatchNorm2d):
                size, stride, padding = (
                    cast(tuple[int, int], n) for n in (child.kernel_size, child.stride, child.padding)
                )
                setattr(parent, name, nn.Conv2d(child.in_channels, child.out_channels, size, stride, padding))
                setattr(parent, norm, nn.Identity())
