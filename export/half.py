"""Rewrites a float32 ONNX graph to compute in float16, but for the layers that float16 cannot hold.

Which those are is found by running it: a node whose inputs or outputs come near float16's largest number (65504), or
are all below its smallest normal one, stays in float32, between casts. So do a generator's nodes of one value per
channel, styles and demodulation: they cost nothing, and their errors would be in all that follows.

CPU engines compute such a graph in float32 all the same. What float16 does to it is therefore simulated, by rounding
after every layer.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping

import numpy as np
import onnx
import onnxruntime as ort
from onnx import TensorProto, helper, numpy_helper, shape_inference

from models.arrays import F32

LARGEST = 65504.0
SMALLEST = 2.0**-14  # normal number

# Operators that float16 is asked of; others stay as they are.
COMPUTING = frozenset(
    (
        *("Add", "AveragePool", "BatchNormalization", "Clip", "Conv", "ConvTranspose", "Div", "Erf", "Gemm"),
        *("GlobalAveragePool", "LeakyRelu", "MatMul", "MaxPool", "Mul", "Neg", "PRelu", "Pow", "ReduceMean"),
        *("ReduceSum", "Relu", "Resize", "Sigmoid", "Sqrt", "Sub", "Tanh", "Reciprocal"),
    )
)
# These only move values about: they take what comes, in the type it comes in.
MOVING = frozenset(
    (
        *("Concat", "DepthToSpace", "Expand", "Flatten", "Gather", "Identity", "Pad", "Reshape", "Slice", "Split"),
        *("Squeeze", "Tile", "Transpose", "Unsqueeze"),
    )
)
# x * SPLIT - (x * SPLIT - x) is x rounded to float16's 11 bits (Dekker 1971), and no engine simplifies it.
SPLIT = 2.0**13 + 1
FLOAT32_INPUTS = {"Resize": (1, 2)}  # region and scales


def prepared(model: onnx.ModelProto) -> onnx.ModelProto:
    """A copy in which every node has a name, constants are initialisers, and the types of tensors are known."""
    copy = onnx.ModelProto()
    copy.CopyFrom(model)
    nodes = []
    for i, node in enumerate(copy.graph.node):
        node.name = node.name or f"{node.op_type}_{i}"
        if node.op_type == "Constant" and node.attribute[0].name == "value":
            constant = copy.graph.initializer.add()
            constant.CopyFrom(node.attribute[0].t)
            constant.name = node.output[0]
        else:
            nodes.append(node)
    del copy.graph.node[:]
    copy.graph.node.extend(nodes)
    return shape_inference.infer_shapes(copy)


def float_tensors(model: onnx.ModelProto) -> dict[str, tuple[int, ...]]:
    """Tensors of float32 that nodes make -> their shape behind the batch (0 where it is not known)."""
    made = {name for node in model.graph.node for name in node.output}
    return {
        info.name: tuple(d.dim_value for d in list(info.type.tensor_type.shape.dim)[1:])
        for info in (*model.graph.value_info, *model.graph.output)
        if info.type.tensor_type.elem_type == TensorProto.FLOAT and info.name in made
    }


def peaks(model: onnx.ModelProto, samples: Iterable[Mapping[str, F32]]) -> dict[str, float]:
    """Tensor -> the largest magnitude it reaches on the samples; `model` is `prepared`."""
    probe = onnx.ModelProto()
    probe.CopyFrom(model)
    tensors = list(float_tensors(model))
    del probe.graph.output[:]
    for name in tensors:
        probe.graph.node.append(helper.make_node("Abs", [name], [f"{name}.magnitude"]))
        # Without axes: over all of them.
        probe.graph.node.append(helper.make_node("ReduceMax", [f"{name}.magnitude"], [f"{name}.peak"], keepdims=0))
        probe.graph.output.append(helper.make_tensor_value_info(f"{name}.peak", TensorProto.FLOAT, []))
    session = ort.InferenceSession(probe.SerializeToString(), providers=["CPUExecutionProvider"])
    found = dict.fromkeys(tensors, 0.0)
    for feeds in samples:
        values = session.run([f"{name}.peak" for name in tensors], dict(feeds))
        found = {name: max(found[name], float(value)) for name, value in zip(tensors, values, strict=True)}
    for initializer in model.graph.initializer:
        if initializer.data_type == TensorProto.FLOAT:
            values = numpy_helper.to_array(initializer)
            found[initializer.name] = float(np.abs(values).max()) if values.size else 0.0
    return found


def beyond(model: onnx.ModelProto, found: Mapping[str, float], margin: float) -> dict[str, float]:
    """Computing nodes that float16 cannot hold -> the magnitude that says so; `model` is `prepared`.

    Args:
        model: the graph.
        found: of `peaks`.
        margin: how many times larger than seen a value may become.
    """
    kept = {}
    for node in model.graph.node:
        if node.op_type not in COMPUTING:
            continue
        skipped = FLOAT32_INPUTS.get(node.op_type, ())
        names = [*(name for i, name in enumerate(node.input) if i not in skipped), *node.output]
        magnitudes = [found[name] for name in names if name in found]
        outside = [m for m in magnitudes if not m * margin < LARGEST or 0 < m < SMALLEST]
        if outside:
            kept[node.name] = max(outside)
    return kept


def of_styles(model: onnx.ModelProto) -> set[str]:
    """Computing nodes whose output has one value per channel and sample; `model` is `prepared`."""
    shapes = float_tensors(model)
    return {
        node.name
        for node in model.graph.node
        if node.op_type in COMPUTING and shapes.get(node.output[0]) and set(shapes[node.output[0]][1:]) <= {1}
    }


def to_half(model: onnx.ModelProto, kept: Iterable[str]) -> onnx.ModelProto:
    """The graph in float16 but for the nodes `kept`; inputs and outputs stay float32. `model` is `prepared`."""
    stays = set(kept)
    tensors = set(float_tensors(model)) | {
        port.name for port in model.graph.input if port.type.tensor_type.elem_type == TensorProto.FLOAT
    }
    constants = {i.name: i for i in model.graph.initializer if i.data_type == TensorProto.FLOAT}
    made = {port.name for port in model.graph.input} | constants.keys()  # a tensor t, and t.half where that exists
    nodes: list[onnx.NodeProto] = []
    halves: dict[str, TensorProto] = {}

    def typed(name: str, *, half: bool) -> str:
        """The name of a float tensor in the type wanted, made where it does not exist yet."""
        wanted, other = (f"{name}.half", name) if half else (name, f"{name}.half")
        if name in constants and half:
            values = np.clip(numpy_helper.to_array(constants[name]), -LARGEST, LARGEST)
            halves.setdefault(wanted, numpy_helper.from_array(values.astype(np.float16), wanted))
        elif wanted not in made:
            kind = TensorProto.FLOAT16 if half else TensorProto.FLOAT
            nodes.append(helper.make_node("Cast", [other], [wanted], name=f"{wanted}.cast", to=kind))
            made.add(wanted)
        return wanted

    for node in model.graph.node:
        copy = onnx.NodeProto()
        copy.CopyFrom(node)
        floats = [i for i, name in enumerate(node.input) if name in tensors or name in constants]
        if node.op_type in MOVING:
            half = bool(floats) and f"{node.input[floats[0]]}.half" in made and node.input[floats[0]] not in made
        else:
            half = node.op_type in COMPUTING and node.name not in stays
        for i in floats:
            fixed = i in FLOAT32_INPUTS.get(node.op_type, ())
            copy.input[i] = typed(node.input[i], half=half and not fixed)
        for i, name in enumerate(node.output):
            if name in tensors and half:
                copy.output[i] = f"{name}.half"
            made.add(copy.output[i])
        nodes.append(copy)
    for port in model.graph.output:
        if port.name in tensors:
            typed(port.name, half=False)
    used = {name for node in nodes for name in node.input}
    kept_initializers = [i for i in (*model.graph.initializer, *halves.values()) if i.name in used]
    ports = (list(model.graph.input), list(model.graph.output))
    graph = helper.make_graph(nodes, model.graph.name, *ports, kept_initializers)
    result = helper.make_model(graph, opset_imports=list(model.opset_import), ir_version=model.ir_version)
    onnx.checker.check_model(result)
    return result


def simulated(model: onnx.ModelProto, kept: Iterable[str]) -> onnx.ModelProto:
    """The graph in float32, rounded to float16 wherever `to_half` of the same nodes would be; `model` is `prepared`.

    It does not overflow: see `beyond`.
    """
    stays = set(kept)
    tensors = set(float_tensors(model)) | {port.name for port in model.graph.input}
    constants = {i.name: i for i in model.graph.initializer if i.data_type == TensorProto.FLOAT}
    nodes: list[onnx.NodeProto] = []
    initializers = {i.name: i for i in model.graph.initializer}
    initializers["split"] = numpy_helper.from_array(np.array(SPLIT, np.float32), "split")
    exact: set[str] = {port.name for port in model.graph.input}  # tensors that are not rounded

    def add_rounding(name: str, to: str) -> None:
        nodes.append(helper.make_node("Mul", [name, "split"], [f"{to}.scaled"]))
        nodes.append(helper.make_node("Sub", [f"{to}.scaled", name], [f"{to}.rest"]))
        nodes.append(helper.make_node("Sub", [f"{to}.scaled", f"{to}.rest"], [to]))

    def rounded(name: str) -> str:
        to = f"{name}.rounded"
        if name in constants:
            if to not in initializers:
                values = np.clip(numpy_helper.to_array(constants[name]), -LARGEST, LARGEST)
                initializers[to] = numpy_helper.from_array(values.astype(np.float16).astype(np.float32), to)
            return to
        if name not in exact:
            return name
        if to not in made:
            add_rounding(name, to)
            made.add(to)
        return to

    made: set[str] = set()
    for node in model.graph.node:
        copy = onnx.NodeProto()
        copy.CopyFrom(node)
        half = node.op_type in COMPUTING and node.name not in stays
        if half:
            for i, name in enumerate(node.input):
                if (name in tensors or name in constants) and i not in FLOAT32_INPUTS.get(node.op_type, ()):
                    copy.input[i] = rounded(name)
        nodes.append(copy)
        moves_exact = node.op_type in MOVING and any(name in exact or name in constants for name in node.input)
        for i, name in enumerate(node.output):
            if half and name in tensors:
                copy.output[i] = f"{name}.raw"
                add_rounding(copy.output[i], name)
            elif not half and (node.op_type not in MOVING or moves_exact):
                exact.add(name)
    ports = (list(model.graph.input), list(model.graph.output))
    used = {name for node in nodes for name in node.input}
    kept_initializers = [initializer for name, initializer in initializers.items() if name in used]
    graph = helper.make_graph(nodes, model.graph.name, *ports, kept_initializers)
    return helper.make_model(graph, opset_imports=list(model.opset_import), ir_version=model.ir_version)
