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
from onnx.reference import ReferenceEvaluator
from torch import nn

from models.arrays import F32
from models.manifest import BATCH

OPSET = 17
WEIGHING = {"Cast", "Unsqueeze", "Mul", "Add"}  # of float16 weights, and of those that dlib stores in parts

Feeds = Mapping[str, F32]


def traced(net: nn.Module, examples: Mapping[str, F32], *outputs: str, fold: bool = True) -> onnx.ModelProto:
    """A network as an ONNX graph with a free batch size, constants folded or as they are computed of the weights."""
    buffer = io.BytesIO()
    torch.onnx.export(
        net, tuple(torch.from_numpy(values) for values in examples.values()), buffer, input_names=list(examples),
        output_names=list(outputs), dynamic_axes={name: {0: BATCH} for name in (*examples, *outputs)}, dynamo=False,
        opset_version=OPSET, do_constant_folding=fold,
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


def folded(graph: onnx.ModelProto) -> onnx.ModelProto:
    """A copy in which weights that are computed of initialisers alone (`WEIGHING`) are initialisers themselves."""
    copy = onnx.ModelProto()
    copy.CopyFrom(graph)
    known = {one.name: one for one in copy.graph.initializer}
    nodes = []
    for node in copy.graph.node:
        if node.op_type in WEIGHING and known.keys() >= set(node.input):
            values = ReferenceEvaluator(node).run(
                None, {name: numpy_helper.to_array(known[name]) for name in node.input}
            )
            known[node.output[0]] = numpy_helper.from_array(np.asarray(values[0]), node.output[0])
        else:
            nodes.append(node)
    read = {name for node in nodes for name in node.input}
    del copy.graph.node[:], copy.graph.initializer[:]
    copy.graph.node.extend(nodes)
    copy.graph.initializer.extend(one for name, one in known.items() if name in read)
    return copy
