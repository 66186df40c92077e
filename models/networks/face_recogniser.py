"""The face recogniser of dlib in torch, so that who a picture shows can be learned from (a ResNet of 29, D. King).

The weights are read from dlib's own file; a test holds the embeddings to those dlib computes.
"""

from __future__ import annotations

import math
from pathlib import Path
from typing import cast

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional as F

EMBEDDING = 128
CHANNELS = (32, 32, 32, 64, 64, 64, 64, 128, 128, 128, 256, 256, 256, 256)  # of the residual blocks, in order
HALVED = (3, 7, 10, 13)  # blocks that halve the picture
MEANS = (122.782, 117.001, 104.298)  # of R, G, B in [0, 255]


class Residual(nn.Module):
    """Two convolutions, and the input added to what they make; dlib's rules for sizes that differ."""

    def __init__(self, inputs: int, outputs: int, *, halved: bool) -> None:
        super().__init__()
        # dlib pads a convolution of stride 1 only.
        stride, padding = (2, 0) if halved else (1, 1)
        self.conv1 = nn.Conv2d(inputs, outputs, 3, stride, padding)
        self.conv2 = nn.Conv2d(outputs, outputs, 3, 1, 1)
        self.halved = halved

    def forward(self, x: Tensor) -> Tensor:
        inner = self.conv2(F.relu(self.conv1(x)))
        kept = F.avg_pool2d(x, 2) if self.halved else x
        channels, height, width = (max(a, b) for a, b in zip(inner.shape[1:], kept.shape[1:], strict=True))
        return F.relu(_grown(inner, channels, height, width) + _grown(kept, channels, height, width))


class FaceRecogniser(nn.Module):
    """Aligned faces float32 [N, 3, 150, 150], RGB in [0, 255] -> embeddings [N, EMBEDDING].

    As `face_chip` of export/measure.py cuts them. Distances of embeddings are Euclidean.
    """

    means: Tensor

    def __init__(self) -> None:
        super().__init__()
        self.register_buffer("means", torch.tensor(MEANS).reshape(1, 3, 1, 1))
        self.first = nn.Conv2d(3, CHANNELS[0], 7, 2)
        inputs = (CHANNELS[0], *CHANNELS)
        self.blocks = nn.Sequential(
            *(Residual(inputs[i], outputs, halved=i in HALVED) for i, outputs in enumerate(CHANNELS))
        )
        self.last = nn.Linear(CHANNELS[-1], EMBEDDING, bias=False)

    def forward(self, chips: Tensor) -> Tensor:
        x = F.relu(self.first((chips - self.means) / 256))
        x = self.blocks(F.max_pool2d(x, 3, 2))
        return cast(Tensor, self.last(x.mean(dim=(2, 3))))


def load_recogniser(path: Path) -> FaceRecogniser:
    """The recogniser with the weights of dlib's ``dlib_face_recognition_resnet_model_v1.dat``."""
    data = path.read_bytes()
    net, at = FaceRecogniser(), 0
    convolutions = [m for m in net.modules() if isinstance(m, nn.Conv2d)]
    with torch.no_grad():
        for conv in convolutions:
            outputs = conv.out_channels
            values, at = _after(data, b"con_4", at)
            scales, at = _after(data, b"affine_", at)
            gamma, beta = scales.split(outputs)
            # The batch normalisation of the trained network, a scale and a shift, goes into the convolution.
            conv.weight.copy_(values[:-outputs].reshape(conv.weight.shape) * gamma.reshape(-1, 1, 1, 1))
            assert conv.bias is not None
            conv.bias.copy_(values[-outputs:] * gamma + beta)
        _, at = _integer(data, data.index(b"fc_2", at) + len(b"fc_2"))
        _, at = _integer(data, at)
        values, _ = _tensor(data, at)
        net.last.weight.copy_(values.reshape(CHANNELS[-1], EMBEDDING).T)
    return net.eval().requires_grad_(False)


def _after(data: bytes, mark: bytes, at: int) -> tuple[Tensor, int]:
    """The tensor behind the next `mark`, and where it ends."""
    return _tensor(data, data.index(mark, at) + len(mark))


def _tensor(data: bytes, at: int) -> tuple[Tensor, int]:
    """A tensor as dlib stores it, flat: its version, four sizes, then little-endian float32; and where it ends."""
    sizes = []
    for _ in range(5):
        value, at = _integer(data, at)
        sizes.append(value)
    assert sizes[0] == 2, f"version {sizes[0]} of a tensor"
    count = math.prod(sizes[1:])
    return torch.from_numpy(np.frombuffer(data, "<f4", count, at).astype(np.float32)), at + 4 * count


def _integer(data: bytes, at: int) -> tuple[int, int]:
    """An integer as dlib stores it: how many bytes, then these, the lowest first."""
    length = data[at]
    return int.from_bytes(data[at + 1 : at + 1 + length], "little"), at + 1 + length


def _grown(x: Tensor, channels: int, height: int, width: int) -> Tensor:
    """Zeros added behind, to these sizes."""
    return F.pad(x, (0, width - x.shape[3], 0, height - x.shape[2], 0, channels - x.shape[1]))
