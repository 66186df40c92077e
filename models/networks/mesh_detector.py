"""MediaPipe's face mesh in torch, so that where a picture's landmarks lie can be learned from.

The network is read from MediaPipe's own ``face_landmarker.task``; a test holds its points to those MediaPipe finds.
"""

from __future__ import annotations

import zipfile
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import tflite
import torch
from numpy.typing import NDArray
from tflite import BuiltinOperator as Kind
from torch import Tensor, nn
from torch.nn import functional as F

from models.errors import UserError

SIZE = 256  # px of the square it looks at
LANDMARKS = 478
_NETWORK = "face_landmarks_detector.tflite"  # in the archive
_STORED = {
    tflite.TensorType.FLOAT32: np.float32,
    tflite.TensorType.FLOAT16: np.float16,
    tflite.TensorType.INT32: np.int32,
}


@dataclass(frozen=True)
class Step:
    """Where a layer's inputs come from and its output goes to, by number."""

    reads: tuple[int, ...]
    makes: int


class MeshDetector(nn.Module):
    """A square around a face float32 [N, 3, 256, 256], RGB in [0, 1] -> landmarks [N, 478, 2] in [0, 1] of it.

    Args:
        layers: in order.
        steps: one for each.
        entry: number of the picture.
        answer: number of the landmarks.
    """

    def __init__(self, layers: Sequence[nn.Module], steps: Sequence[Step], entry: int, answer: int) -> None:
        super().__init__()
        self.layers = nn.ModuleList(layers)
        self.steps = tuple(steps)
        self.entry, self.answer = entry, answer

    def forward(self, squares: Tensor) -> Tensor:
        values = {self.entry: squares}
        for layer, step in zip(self.layers, self.steps, strict=True):
            values[step.makes] = layer(*(values[number] for number in step.reads))
        return values[self.answer].reshape(len(squares), LANDMARKS, 3)[..., :2] / SIZE


class Sum(nn.Module):
    """Adds two tensors of one shape."""

    def forward(self, a: Tensor, b: Tensor) -> Tensor:
        return a + b


class MoreChannels(nn.Module):
    """[N, C, H, W] -> [N, C + more, H, W], the new ones zero."""

    def __init__(self, more: int) -> None:
        super().__init__()
        self.more = more

    def forward(self, x: Tensor) -> Tensor:
        return F.pad(x, (0, 0, 0, 0, 0, self.more))


def load_mesh_detector(path: Path) -> MeshDetector:
    """The network of MediaPipe's ``face_landmarker.task``.

    Raises:
        UserError: the file is another, or its network has a layer that is not known here.
    """
    try:
        with zipfile.ZipFile(path) as archive:
            model = tflite.Model.GetRootAs(archive.read(_NETWORK))
    except (OSError, KeyError, zipfile.BadZipFile) as error:
        raise UserError(f"{path} is not MediaPipe's face landmarker; './run.sh pull' fetches it") from error
    graph = model.Subgraphs(0)
    weights = {}
    for number in range(graph.TensorsLength()):
        tensor = graph.Tensors(number)
        if model.Buffers(tensor.Buffer()).DataLength():
            stored = model.Buffers(tensor.Buffer()).DataAsNumpy().view(_STORED[tensor.Type()])
            weights[number] = stored.reshape(tensor.ShapeAsNumpy())
    layers, steps, answer = [], [], int(graph.Outputs(0))
    for operator in (graph.Operators(i) for i in range(graph.OperatorsLength())):
        code = model.OperatorCodes(operator.OpcodeIndex())
        kind = max(code.BuiltinCode(), code.DeprecatedBuiltinCode())
        reads, makes = [int(number) for number in operator.InputsAsNumpy()], int(operator.Outputs(0))
        if kind == Kind.DEQUANTIZE:  # weights are stored in float16
            weights[makes] = weights[reads[0]].astype(np.float32)
            continue
        known = [weights[number] for number in reads if number in weights]
        layer = _layer(kind, operator, known, graph.Tensors(reads[0]).ShapeAsNumpy()[1])
        if layer is None:
            raise UserError(f"the face mesh of {path} has a layer that is not known here, number {kind}")
        layers.append(layer)
        steps.append(Step(tuple(number for number in reads if number not in weights), makes))
        if makes == answer:
            break  # what is left tells only whether there is a face
    return MeshDetector(layers, steps, int(graph.Inputs(0)), answer).eval().requires_grad_(False)


def _layer(kind: int, operator: tflite.Operator, known: list[NDArray[np.float32]], side: int) -> nn.Module | None:
    """The layer that an operator is, with its weights; `side` = px of what it reads."""
    if kind in (Kind.CONV_2D, Kind.DEPTHWISE_CONV_2D):
        return _convolution(operator, known, side, depthwise=kind == Kind.DEPTHWISE_CONV_2D)
    if kind == Kind.PRELU:
        prelu = nn.PReLU(known[0].size)
        prelu.weight = nn.Parameter(torch.from_numpy(known[0].reshape(-1)))
        return prelu
    if kind == Kind.PAD:
        return MoreChannels(int(known[0][-1].sum()))
    if kind == Kind.MAX_POOL_2D:
        return nn.MaxPool2d(2)
    return Sum() if kind == Kind.ADD else None


def _convolution(
    operator: tflite.Operator, known: list[NDArray[np.float32]], side: int, *, depthwise: bool
) -> nn.Module:
    options = tflite.DepthwiseConv2DOptions() if depthwise else tflite.Conv2DOptions()
    options.Init(operator.BuiltinOptions().Bytes, operator.BuiltinOptions().Pos)
    weight, bias = (torch.from_numpy(values) for values in known)
    weight = weight.permute(3, 0, 1, 2) if depthwise else weight.permute(0, 3, 1, 2)
    outputs, inputs, reach = weight.shape[:3]
    stride, groups = options.StrideW(), outputs if depthwise else 1
    conv = nn.Conv2d(groups * inputs, outputs, reach, stride, groups=groups)
    conv.weight, conv.bias = nn.Parameter(weight.contiguous()), nn.Parameter(bias)
    if options.Padding() == tflite.Padding.VALID:
        return conv
    # TensorFlow's rule: as much as the side needs, the odd pixel at its end.
    missing = max(0, (-(-side // stride) - 1) * stride + reach - side)
    rim = (missing // 2, missing - missing // 2)
    return nn.Sequential(nn.ZeroPad2d((*rim, *rim)), conv)
