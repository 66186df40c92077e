"""Exports the default generator and mapping network as small ONNX graphs that point into the published weights.

An initialiser that equals a constant of the published IR is stored as external data (file, offset, length) in the
wheel's ``.bin``; only what was trained here is stored in the graph. Each graph is checked against the published
network.

The generator is written whole, and as a front (up to 64 px, the same at every size) and a back: what changes later
layers of W+ alone needs the back alone. At 256 px there are graphs of its gradient too, for optimisation: at W+, and
at its last weights; and one of the face recogniser's gradient at the picture, which points into dlib's file.
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Mapping as Map
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import onnx
import openvino as ov
import torch
from onnx import helper, numpy_helper
from onnx.external_data_helper import set_external_data
from torch import nn

from export.default_generator import load_network
from export.recognition import refer_to_weights
from export.ship_encoder import store_in_float16
from export.trace import traced
from models import ir, registry, zoo
from models.arrays import F32
from models.face_chip import CHIP_POINTS, IDENTITY_CHIP, face_in_chip, recogniser_axes
from models.latent import broadcast
from models.networks import mapping as mapping_net
from models.networks import mobile_stylegan as ms
from models.networks.face_recogniser import EMBEDDING, load_recogniser
from models.networks.mobile_stylegan import Published
from models.networks.recognition_gradient import RecognitionGradient
from models.networks.student import load_student, reads_published
from models.networks.synthesis_gradient import SynthesisGradient
from models.networks.tuned_back import TunedBack
from models.runtime import load_engine

TOLERANCE = 1e-3  # largest error in either engine, as a share of the largest value
GRADIENT_TOLERANCE = 0.03  # of a gradient; the signs in the loss flip with the last bit of a pixel


class Part(nn.Module):
    """One method of a network as a module of its own: what `torch.onnx.export` takes."""

    def __init__(self, net: nn.Module, method: str) -> None:
        super().__init__()
        self.net = net
        self.method = method

    def forward(self, *inputs: torch.Tensor) -> torch.Tensor:  # noqa: D102 - described by the class
        return getattr(self.net, self.method)(*inputs)


def referenced_graph(
    net: nn.Module,
    method: str,
    inputs: dict[str, torch.Tensor],
    outputs: tuple[str, ...],
    constants: Map[str, Published],
    weights: str,
) -> onnx.ModelProto:
    """A method of `net` as ONNX with a free batch size.

    Its published initialisers point into the file `weights`, those in another order of bands through a Gather that
    engines fold when they load; its own are stored in float16.
    """
    examples = {name: value.detach().numpy() for name, value in inputs.items()}
    model = traced(Part(net, method), examples, *outputs, fold=False)
    orders: dict[str, onnx.TensorProto] = {}
    gathers = []
    for initializer in model.graph.initializer:
        published = constants.get(initializer.name.removeprefix("net."))
        if published is None:
            continue
        constant = published.constant
        if int(np.prod(initializer.dims)) * 4 != constant.size:
            raise AssertionError(f"{initializer.name}: {list(initializer.dims)} is not {constant.shape}")
        set_external_data(initializer, location=weights, offset=constant.offset, length=constant.size)
        initializer.ClearField("raw_data")
        if published.bands is not None:
            channels = initializer.dims[published.bands]
            order = f"band_order.{channels}"
            orders[order] = numpy_helper.from_array(np.array(ms.band_order(channels)), order)
            name, initializer.name = initializer.name, f"{initializer.name}.published"
            gathers.append(helper.make_node("Gather", [initializer.name, order], [name], axis=published.bands))
    model.graph.initializer.extend(orders.values())
    nodes = [*gathers, *model.graph.node]
    del model.graph.node[:]
    model.graph.node.extend(nodes)
    store_in_float16(model)
    return model


@dataclass(frozen=True)
class Parts:
    """The graph files of one generator, each beside the published weights."""

    whole: Path
    front: Path
    back: Path


def write_parts(net: ms.Synthesis, kind: str, out: Path) -> Parts:
    """Writes generatorKIND-SIZE.onnx, its back and the front that all sizes share into the folder `out`."""
    weights = registry.path("synthesis-bin")
    constants = ms.weight_map(ir.read(registry.path("synthesis-xml")), net.size)
    w_plus, features = torch.zeros(1, 18, 512), torch.zeros(1, 512, 64, 64)
    parts = {
        f"generator{kind}-{net.size}.onnx": ("forward", {"w_plus": w_plus}, "image"),
        f"generator{kind}-front.onnx": ("front", {"w_plus": w_plus}, "features"),
        f"generator{kind}-{net.size}-back.onnx": ("back", {"features": features, "w_plus": w_plus}, "image"),
    }
    for name, (method, inputs, output) in parts.items():
        onnx.save(referenced_graph(net, method, inputs, (output,), constants, weights.name), out / name)
    return Parts(*(zoo.beside_weights(out / name, weights) for name in parts))


def checked(
    path: Path, inputs: Map[str, torch.Tensor], output: str, expected: F32, tolerance: float = TOLERANCE
) -> dict[str, float]:
    """The largest error of a graph beside its weights, by engine, as a share of the largest value expected.

    Raises:
        SystemExit: it is larger than `tolerance`.
    """
    errors = {}
    for engine in ("openvino", "onnxruntime"):
        found = load_engine(path, engine, "float32")({name: value.numpy() for name, value in inputs.items()})[output]
        errors[engine] = float(np.abs(found - expected).max() / np.abs(expected).max())
    if max(errors.values()) > tolerance:
        raise SystemExit(f"{path.name} is off by {errors} (> {tolerance}): do not ship it")
    return errors


def write_generator(size: int, heads: Path, out: Path) -> dict[str, dict[str, float]]:
    """Writes the graphs of one size; returns the largest error of each by engine, made at once or in two."""
    net = load_network(size, heads)
    parts = write_parts(net, "", out)
    w_plus, image = example_picture(net)
    features = net.front(w_plus)
    return {
        "whole": checked(parts.whole, {"w_plus": w_plus}, "image", image),
        "front": checked(parts.front, {"w_plus": w_plus}, "features", features.numpy()),
        "back": checked(parts.back, {"features": features, "w_plus": w_plus}, "image", image),
    }


def write_student(out: Path) -> dict[str, float]:
    """Writes student-256.onnx; returns its largest error by engine."""
    published = ir.read(registry.path("synthesis-xml"))
    net = load_student(published, zoo.SHIPPED / "student.npz")
    constants = {name: found for name, found in ms.weight_map(published, net.size).items() if reads_published(name)}
    weights = registry.path("synthesis-bin")
    path = out / f"student-{net.size}.onnx"
    w_plus, image = example_picture(net)
    inputs = {"w_plus": w_plus}
    onnx.save(referenced_graph(net, "forward", inputs, ("image",), constants, weights.name), path)
    return checked(zoo.beside_weights(path, weights), inputs, "image", image)


def write_gradients(size: int, heads: Path, out: Path) -> dict[str, dict[str, float]]:
    """Writes generator-SIZE-gradient, -tuned-back and -tuning.onnx; returns the largest error of each by engine."""
    published = ms.weight_map(ir.read(registry.path("synthesis-xml")), size)
    constants = {f"net.{name}": constant for name, constant in published.items()}
    weights = registry.path("synthesis-bin")
    net = load_network(size, heads)
    gradient, tuned = SynthesisGradient(net), TunedBack(net)
    w_plus, image = example_picture(net)
    random = torch.Generator().manual_seed(4)
    examples = {
        "features": net.front(w_plus),
        "w_plus": w_plus,
        "change": 0.1 * torch.randn(1, tuned.length, generator=random),
        "target": torch.from_numpy(np.roll(image, 5, axis=3)),
        "weight": torch.ones(1, 1, size, size),
        "wish": torch.randn(1, 3, size, size, generator=random) / size**2,
    }
    errors = {}
    for name, form, method, reads, outputs in (
        ("gradient", gradient, "forward", ("w_plus", "target", "weight", "wish"), ("image", "loss", "gradient")),
        ("tuned-back", tuned, "forward", ("features", "w_plus", "change"), ("image",)),
        (
            "tuning", tuned, "gradient", ("features", "w_plus", "change", "target", "weight", "wish"),
            ("image", "loss", "gradient"),
        ),
    ):  # fmt: skip
        inputs = {key: examples[key] for key in reads}
        path = out / f"generator-{size}-{name}.onnx"
        onnx.save(referenced_graph(form, method, inputs, outputs, constants, weights.name), path)
        with torch.no_grad():
            made = getattr(form, method)(*inputs.values())
        expected = made if len(outputs) == 1 else made[-1]
        beside = zoo.beside_weights(path, weights)
        errors[name] = checked(beside, inputs, outputs[-1], expected.numpy(), GRADIENT_TOLERANCE)
    return errors


def write_recognition(size: int, out: Path) -> dict[str, dict[str, float]]:
    """Writes recogniser-gradient.onnx, for pictures of `size` pixels; returns the largest error of each output."""
    weights = registry.path("identity")
    net = RecognitionGradient(load_recogniser(weights))
    random = np.random.default_rng(5)
    landmarks = np.zeros((478, 2), np.float32)
    landmarks[list(CHIP_POINTS)] = face_in_chip(
        size, IDENTITY_CHIP[1]
    )  # a face that fills the picture as it does a chip
    down, across = recogniser_axes(landmarks, size)
    inputs = {
        "image": random.uniform(-1, 1, (1, 3, size, size)).astype(np.float32),
        "down": down,
        "across": across,
        "wanted": random.standard_normal((1, EMBEDDING)).astype(np.float32),
    }
    outputs = ("embedding", "distance", "gradient")
    graph = traced(net, inputs, *outputs, fold=False)
    refer_to_weights(graph, "net")
    store_in_float16(graph)
    path = out / "recogniser-gradient.onnx"
    onnx.save(graph, path)
    tensors = {name: torch.from_numpy(values) for name, values in inputs.items()}
    with torch.no_grad():
        made = dict(zip(outputs, net(*tensors.values()), strict=True))
    beside = zoo.beside_weights(path, weights)
    return {name: checked(beside, tensors, name, value.numpy()) for name, value in made.items()}


def example_picture(net: ms.Synthesis) -> tuple[torch.Tensor, F32]:
    """A W+ [1, 18, 512], and what the published IR (at 1024 px; else PyTorch) makes of it."""
    core = ov.Core()
    mapping_request = core.compile_model(registry.path("mapping-xml"), "CPU").create_infer_request()
    w = mapping_request.infer([np.random.default_rng(3).standard_normal((1, 512)).astype(np.float32)])[0]
    w_plus = torch.from_numpy(broadcast(w))
    if net.size == 1024:
        exact = {"INFERENCE_PRECISION_HINT": "f32"}
        published = core.compile_model(registry.path("synthesis-xml"), "CPU", exact)
        return w_plus, np.array(published.create_infer_request().infer([w])[0])
    with torch.no_grad():
        return w_plus, net(w_plus).numpy()


def write_mapping(out: Path) -> None:
    """Writes mapping.onnx."""
    published = ir.read(registry.path("mapping-xml"))
    net = mapping_net.load_published(published)
    constants = {name: Published(constant) for name, constant in mapping_net.weight_map(published).items()}
    weights = registry.path("mapping-bin").name
    graph = referenced_graph(net, "forward", {"z": torch.zeros(1, 512)}, ("w",), constants, weights)
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
    if zoo.STUDENT_SIZE in args.sizes:
        print(f"student-{zoo.STUDENT_SIZE}.onnx", json.dumps(write_student(args.out)))
    if zoo.GRADIENT_SIZE in args.sizes:
        errors = write_gradients(zoo.GRADIENT_SIZE, args.heads, args.out)
        print(f"generator-{zoo.GRADIENT_SIZE}-*.onnx", json.dumps(errors))
        print("recogniser-gradient.onnx", json.dumps(write_recognition(zoo.GRADIENT_SIZE, args.out)))


if __name__ == "__main__":
    main()
