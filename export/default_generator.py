"""The default generator for work offline: as a torch network, and compiled at any size."""

from __future__ import annotations

import io
from pathlib import Path
from typing import cast

import openvino as ov
import torch

from models import ir, registry
from models.networks import mobile_stylegan as ms


def load_network(size: int, heads: Path) -> ms.Synthesis:
    """The network at `size` pixels, with its head from the folder `heads` where that was trained here."""
    net = ms.load_published(ir.read(registry.path("synthesis-xml")), size)
    if ms.HEADS[size].hidden:
        ms.load_head(net, heads / f"head-{size}.npz")
    return net


def compile_generator(size: int, heads: Path, threads: int) -> ov.InferRequest:
    """The generator at any size, in OpenVINO's own precision."""
    net = load_network(size, heads)
    buffer = io.BytesIO()
    torch.onnx.export(net, (torch.zeros(1, 18, 512),), buffer, dynamo=False, opset_version=17)
    core = ov.Core()
    model = core.read_model(buffer.getvalue())
    options = {"PERFORMANCE_HINT": "LATENCY", "INFERENCE_NUM_THREADS": threads}
    return cast(ov.InferRequest, core.compile_model(model, "CPU", options).create_infer_request())
