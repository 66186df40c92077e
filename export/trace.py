"""Networks as ONNX graphs, and as functions of arrays by name."""

from __future__ import annotations

import io
from collections.abc import Callable, Mapping
from pathlib import Path

import numpy as np
import onnx
import onnxruntime as ort
import torch
from onnx import numpy_helper
from torch import nn

from models.arrays import F32
from models.manifest import BATCH

OPSET = 17

Feeds = Mapping[str, F32]


def traced(net: nn.Module, examples: Mapping[str, F32], output: str) -> onnx.ModelProto:
    """A network as an ONNX graph with a free batch size, constants folded."""
    buffer = io.BytesIO()
    torch.onnx.export(
        net, tuple(torch.from_numpy(values) for values in examples.values()), buffer, input_names=list(examples),
        output_names=[output], dynamic_axes={name: {0: BATCH} for name in (*examples, output)}, dynamo=False,
        opset_version=OPSET,
    )  # fmt: skip
    return onnx.load_from_string(buffer.getvalue())


def module_reference(net: nn.Module, names: tuple[str, ...]) -> Callable[[Feeds], F32]:
    """A network in PyTorch, called with arrays by name."""

    def run(feeds: Feeds) -> F32:
        with torch.no_grad():
            return np.asarray(net(*(torch.from_numpy(np.asarray(feeds[name])) for name in names)).numpy())

    return run


def graph_reference(graph: Path) -> Callable[[Feeds], F32]:
    """A float32 graph in ONNX Runtime."""
    session = ort.InferenceSession(str(graph), providers=["CPUExecutionProvider"])

    def run(feeds: Feeds) -> F32:
        return np.asarray(session.run(None, dict(feeds))[0])

    return run


def widened(graph: onnx.ModelProto) -> onnx.ModelProto:
    """A copy whose float16 initialisers, each behind a cast to float32, are float32 themselves."""
    copy = onnx.ModelProto()
    copy.CopyFrom(graph)
    halves = {i.name: i for i in copy.graph.initializer if i.data_type == onnx.TensorProto.FLOAT16}
    nodes = []
    for node in copy.graph.node:
        if node.op_type == "Cast" and node.input[0] in halves:
            values = numpy_helper.to_array(halves[node.input[0]]).astype(np.float32)
            halves[node.input[0]].CopyFrom(numpy_helper.from_array(values, node.output[0]))
        else:
            nodes.append(node)
    del copy.graph.node[:]
    copy.graph.node.extend(nodes)
    return copy
