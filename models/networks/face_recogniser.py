"""The face recogniser of dlib in torch, so that who a picture shows can be learned from (a ResNet of 29, D. King).

The weights are read from dlib's own file; a test holds the embeddings to those dlib computes.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from pathlib import Path
from typing import cast

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional as F

EMBEDDING = 128
CHANNELS = (32, 32, 32, 64, 64, 64, 64, 128, 128, 128, 256, 256, 256, 256)  # of the residual blocks, in order
HALVED = (3, 7, 10, 13)  # blocks that halve the picture
POOL, POOL_STRIDE = 3, 2  # of the one pooling by the largest
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
        return F.relu(grown(inner, channels, height, width) + grown(kept, channels, height, width))


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
        x = self.blocks(F.max_pool2d(x, POOL, POOL_STRIDE))
        return cast(Tensor, self.last(x.mean(dim=(2, 3))))


@dataclass(frozen=True)
class Stored:
    """Float32 numbers in dlib's file.

    Attributes:
        offset: in bytes.
        count: of numbers.
    """

    offset: int
    count: int

    def part(self, first: int, count: int) -> Stored:
        """`count` of the numbers, from the number `first` on."""
        return Stored(self.offset + 4 * first, count)


@dataclass(frozen=True)
class StoredConvolution:
    """Where dlib keeps a convolution [O, I, K, K] and the scale and shift, one for each channel, that follow it."""

    weight: Stored
    bias: Stored
    scale: Stored
    shift: Stored


@dataclass(frozen=True)
class StoredRecogniser:
    """Where dlib keeps what.

    Attributes:
        convolutions: by the name of the module.
        last: of the last layer, [CHANNELS[-1], EMBEDDING].
    """

    convolutions: dict[str, StoredConvolution]
    last: Stored


def find_weights(data: bytes) -> StoredRecogniser:
    """Where the weights are in dlib's ``dlib_face_recognition_resnet_model_v1.dat``."""
    found, at = {}, 0
    for name, module in FaceRecogniser().named_modules():
        if isinstance(module, nn.Conv2d):
            outputs = module.out_channels
            values, at = _after(data, b"con_4", at)
            scales, at = _after(data, b"affine_", at)
            weights = values.count - outputs
            found[name] = StoredConvolution(
                values.part(0, weights), values.part(weights, outputs), scales.part(0, outputs),
                scales.part(outputs, outputs),
            )  # fmt: skip
    _, at = _integer(data, data.index(b"fc_2", at) + len(b"fc_2"))
    _, at = _integer(data, at)
    last, _ = _tensor(data, at)
    return StoredRecogniser(found, last)


def load_recogniser(path: Path) -> FaceRecogniser:
    """The recogniser with the weights of dlib's ``dlib_face_recognition_resnet_model_v1.dat``."""
    data = path.read_bytes()
    stored, net = find_weights(data), FaceRecogniser()

    def values(part: Stored) -> Tensor:
        return torch.from_numpy(np.frombuffer(data, "<f4", part.count, part.offset).astype(np.float32))

    with torch.no_grad():
        for name, part in stored.convolutions.items():
            conv, scale = cast(nn.Conv2d, net.get_submodule(name)), values(part.scale)
            # The batch normalisation of the trained network, a scale and a shift, goes into the convolution.
            conv.weight.copy_(values(part.weight).reshape(conv.weight.shape) * scale.reshape(-1, 1, 1, 1))
            assert conv.bias is not None
            conv.bias.copy_(values(part.bias) * scale + values(part.shift))
        net.last.weight.copy_(values(stored.last).reshape(CHANNELS[-1], EMBEDDING).T)
    return net.eval().requires_grad_(False)


def _after(data: bytes, mark: bytes, at: int) -> tuple[Stored, int]:
    """The tensor behind the next `mark`, and where it ends."""
    return _tensor(data, data.index(mark, at) + len(mark))


def _tensor(data: bytes, at: int) -> tuple[Stored, int]:
    """A tensor as dlib stores it, flat: its version, four sizes, then little-endian float32; and where it ends."""
    sizes = []
    for _ in range(5):
        value, at = _integer(data, at)
        sizes.append(value)
    assert sizes[0] == 2, f"version {sizes[0]} of a tensor"
    found = Stored(at, math.prod(sizes[1:]))
    return found, at + 4 * found.count


def _integer(data: bytes, at: int) -> tuple[int, int]:
    """An integer as dlib stores it: how many bytes, then these, the lowest first."""
    length = data[at]
    return int.from_bytes(data[at + 1 : at + 1 + length], "little"), at + 1 + length


def grown(x: Tensor, channels: int, height: int, width: int) -> Tensor:
    """Zeros added behind, to these sizes."""
    # Numbers, where a trace would have tensors: the sizes are the same for every face.
    right, below, behind = (
        int(width) - int(x.shape[3]),
        int(height) - int(x.shape[2]),
        int(channels) - int(x.shape[1]),
    )
    return F.pad(x, (0, right, 0, below, 0, behind)) if right or below or behind else x
