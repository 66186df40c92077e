"""Turns a float32 ONNX graph into int8, layer by layer, as far as the result stays near the original.

NNCF finds the ranges of weights and activations on samples (post-training, with its bias correction). Then each
layer is tried alone, which says how much it hurts; layers join from the most harmless on, as many as keep all samples
within the error allowed. The rest stays in float32.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Collection, Mapping, Sequence
from pathlib import Path

import nncf
import numpy as np
import onnx
from rich.progress import track

from export import half, parity
from models.arrays import F32

LAYERS = ("Conv", "ConvTranspose", "Gemm", "MatMul")  # operators that are worth it
BETWEEN = ("QuantizeLinear", "DequantizeLinear")
PASSING = half.MOVING | {"MaxPool", "Relu"}  # may come between a layer and where its input was quantised
UNHARMED = 200.0  # dB, of a layer that changes nothing

Feeds = Mapping[str, F32]
Layers = Collection[str]
Cases = Sequence[tuple[Feeds, F32]]  # inputs and what is right


def quantised(graph: onnx.ModelProto, samples: Sequence[Feeds]) -> onnx.ModelProto:
    """The graph with every layer that NNCF can quantise in int8; `graph` is `half.prepared`."""
    logging.getLogger("nncf").setLevel(logging.ERROR)
    return nncf.quantize(
        graph,
        nncf.Dataset([dict(feeds) for feeds in samples], lambda feeds: feeds),
        preset=nncf.QuantizationPreset.MIXED,
        subset_size=len(samples),
    )


def layers_of(whole: onnx.ModelProto) -> list[str]:
    """The layers of a quantised graph that have weights in int8, in order."""
    made_by = _made_by(whole)
    return [
        node.name
        for node in whole.graph.node
        if node.op_type in LAYERS and made_by.get(node.input[1], node).op_type == "DequantizeLinear"
    ]


def mixed(exact: onnx.ModelProto, whole: onnx.ModelProto, layers: Layers) -> onnx.ModelProto:
    """The quantised graph `whole` with only these layers in int8, the others as they are in `exact`."""
    graph = onnx.ModelProto()
    graph.CopyFrom(whole)
    before = {node.name: node for node in exact.graph.node}
    made_by = _made_by(whole)
    stays = set(layers)
    for node in whole.graph.node:
        # Between a layer and where its input was quantised, values may have been moved about.
        while node.name in stays and (node := made_by.get(node.input[0], node)).op_type in PASSING:
            stays.add(node.name)
    # Bias correction has changed constants and left their names: those of old come back beside them.
    names = {}
    for initializer in exact.graph.initializer:
        names[initializer.name] = f"{initializer.name}.exact"
        old = graph.graph.initializer.add()
        old.CopyFrom(initializer)
        old.name = names[initializer.name]
    for node in graph.graph.node:
        if node.op_type not in BETWEEN and node.name not in stays:
            node.input[:] = [names.get(name, name) for name in before[node.name].input]
    # Back from the outputs: what nothing needs any more goes.
    needed = {port.name for port in graph.graph.output}
    nodes = []
    for node in reversed(graph.graph.node):
        if needed & set(node.output):
            needed |= set(node.input)
            nodes.append(node)
    initializers = [i for i in graph.graph.initializer if i.name in needed]
    del graph.graph.node[:], graph.graph.initializer[:], graph.graph.value_info[:]
    graph.graph.node.extend(reversed(nodes))
    graph.graph.initializer.extend(initializers)
    return graph


def _made_by(graph: onnx.ModelProto) -> dict[str, onnx.NodeProto]:
    return {name: node for node in graph.graph.node for name in node.output}


def worst_psnr(graph: onnx.ModelProto, cases: Cases, peak: float, folder: Path) -> float:
    """PSNR in dB of the worst case in OpenVINO; `folder` is for a temporary file."""
    file = folder / "trial.onnx"
    onnx.save(graph, file)
    run = parity.open_openvino(file)
    worst = [parity.worst_psnr(run(feeds), expected, peak) for feeds, expected in cases]
    file.unlink()
    return min(UNHARMED if psnr is None else psnr for psnr in worst)


def sensitivity(
    exact: onnx.ModelProto, whole: onnx.ModelProto, cases: Cases, peak: float, folder: Path
) -> dict[str, float]:
    """Layer -> PSNR in dB of the worst case with that layer alone in int8."""
    return {
        layer: worst_psnr(mixed(exact, whole, {layer}), cases, peak, folder)
        for layer in track(layers_of(whole), description="Layers, each alone")
    }


def choose(ratios: Mapping[str, float], least: float, judge: Callable[[Layers], float]) -> list[str]:
    """As many layers, the most harmless first, as keep `judge` (PSNR in dB of a set of layers) at `least` or more."""
    order = sorted((layer for layer in ratios if ratios[layer] >= least), key=lambda layer: -ratios[layer])
    good, bad = 0, len(order) + 1
    tried = len(order)  # all at once first: mostly it is right, or nearly
    while good + 1 < bad:
        if judge(order[:tried]) >= least:
            good = tried
        else:
            bad = tried
        tried = (good + bad) // 2
    return order[:good]


def milliseconds(graphs: Mapping[str, Path], feeds: Feeds, rounds: int = 15) -> dict[str, float]:
    """Median wall time of one run in OpenVINO, by name; the graphs take turns."""
    runs = {name: parity.open_openvino(graph) for name, graph in graphs.items()}
    times: dict[str, list[float]] = {name: [] for name in runs}
    for _ in range(rounds + 1):  # the first round warms up
        for name, run in runs.items():
            started = time.perf_counter()
            run(feeds)
            times[name].append(time.perf_counter() - started)
    return {name: round(float(np.median(values[1:])) * 1e3, 2) for name, values in times.items()}


def prepared(graph: onnx.ModelProto) -> onnx.ModelProto:
    """See `half.prepared`; without value infos, which NNCF would make its own of."""
    ready = half.prepared(graph)
    del ready.graph.value_info[:]
    return ready
