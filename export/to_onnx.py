"""Exports the default generator and mapping network as small ONNX graphs that point into the published weights.

An initialiser that equals a constant of the published IR is stored as external data (file, offset, length) in the
wheel's ``.bin``; only what was trained here is stored in the graph. Each graph is checked against the published
network before it is written.
"""

from __future__ import annotations

import argparse
import io
import json
from collections.abc import Mapping as Map
from pathlib import Path

import numpy as np
import onnx
import openvino as ov
import torch
from onnx.external_data_helper import set_external_data
from torch import nn

from models import ir, registry, zoo
from models.ir import Constant
from models.networks import mapping as mapping_net
from models.networks import mobile_stylegan as ms
from models.runtime import load_engine

OPSET = 17
TOLERANCE = 1e-3  # maximum absolute error at 1024 px, in both engines


def referenced_graph(
    net: nn.Module, example: torch.Tensor, names: tuple[str, str], constants: Map[str, Constant], weights: str
) -> onnx.ModelProto:
    """`net` as ONNX with a free batch size, its published initialisers pointing into the file `weights`."""
    buffer = io.BytesIO()
    source, target = names
    torch.onnx.export(
        net, (example,), buffer, input_names=[source], output_names=[target], dynamo=False,
        opset_version=OPSET, dynamic_axes={source: {0: "N"}, target: {0: "N"}}, do_constant_folding=False,
    )  # fmt: skip
    graph = onnx.load_from_string(buffer.getvalue())
    for initializer in graph.graph.initializer:
        constant = constants.get(initializer.name)
        if constant is None:
            continue
        if int(np.prod(initializer.dims)) * 4 != constant.size:
            raise AssertionError(f"{initializer.name}: {list(initializer.dims)} is not {constant.shape}")
        set_external_data(initializer, location=weights, offset=constant.offset, length=constant.size)
        initializer.ClearField("raw_data")
    return graph


def write_generator(size: int, heads: Path, out: Path) -> dict[str, float]:
    """Writes generator-SIZE.onnx; returns its parity figures."""
    published = ir.read(registry.path("synthesis-xml"))
    net = ms.load_published(published, size)
    if ms.HEADS[size].hidden:
        ms.load_head(net, heads / f"head-{size}.npz")
    weights = registry.path("synthesis-bin")
    graph = referenced_graph(
        net, torch.zeros(1, 18, 512), ("w_plus", "image"), ms.weight_map(published, size), weights.name
    )
    path = out / f"generator-{size}.onnx"
    onnx.save(graph, path)
    return parity(net, path, weights)


def parity(net: ms.Synthesis, path: Path, weights: Path) -> dict[str, float]:
    """Maximum absolute error against the published IR (at 1024 px; else against PyTorch), by engine."""
    core = ov.Core()
    rng = np.random.default_rng(3)
    mapping_request = core.compile_model(registry.path("mapping-xml"), "CPU").create_infer_request()
    w = mapping_request.infer([rng.standard_normal((1, 512)).astype(np.float32)])[0]
    w_plus = np.repeat(w[:, None], 18, axis=1)
    if net.size == 1024:
        exact = {"INFERENCE_PRECISION_HINT": "f32"}
        published = core.compile_model(registry.path("synthesis-xml"), "CPU", exact)
        expected = published.create_infer_request().infer([w])[0]
    else:
        with torch.no_grad():
            expected = net(torch.from_numpy(w_plus)).numpy()
    errors = {}
    beside = zoo.beside_weights(path, weights)
    for engine in ("openvino", "onnxruntime"):
        image = load_engine(beside, engine, "float32")({"w_plus": w_plus})["image"]
        errors[engine] = float(np.abs(image - expected).max())
        if errors[engine] > TOLERANCE:
            path.unlink()
            raise SystemExit(f"{path.name}: {engine} is off by {errors[engine]:.2e} (> {TOLERANCE}); not written")
    return errors


def write_mapping(out: Path) -> None:
    """Writes mapping.onnx."""
    published = ir.read(registry.path("mapping-xml"))
    net = mapping_net.load_published(published)
    graph = referenced_graph(
        net,
        torch.zeros(1, 512),
        ("z", "w"),
        mapping_net.weight_map(published),
        registry.path("mapping-bin").name,
    )
    onnx.save(graph, out / "mapping.onnx")


def main(argv: list[str] | None = None) -> None:
    """Command line of `python -m export graphs`."""
    parser = argparse.ArgumentParser(prog="python -m export graphs", description=__doc__)
    parser.add_argument("--sizes", type=int, nargs="+", default=list(zoo.SIZES))
    parser.add_argument("--heads", type=Path, default=zoo.SHIPPED / "heads")
    parser.add_argument("--out", type=Path, default=zoo.SHIPPED)
    args = parser.parse_args(argv)
    write_mapping(args.out)
    for size in args.sizes:
        print(f"generator-{size}.onnx", json.dumps(write_generator(size, args.heads, args.out)))


if __name__ == "__main__":
    main()
