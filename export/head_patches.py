"""What the image heads learn from: pieces of pictures, and the features that the heads read there.

The generator runs whole up to 64 px. What comes after reaches no further than its convolutions do, so a piece with a
margin around it gives the very values that the whole picture has there, at a small part of the work. Pieces are
written to files of a few faces each; what is there already is not made again.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any, TypeAlias, cast

import numpy as np
import openvino as ov
import torch
from rich.progress import track
from torch import Tensor, nn
from torch.nn import functional as F

from models.arrays import F32
from models.networks import mobile_stylegan as ms

FRONT_SIZE = 64  # pixels, of the features that pieces are cut from
PIECE = 16  # of them, per side of a piece
MARGIN = 2  # of them: two convolutions each at 128, 256 and 512 px reach 1.75
PIECES = 3  # per face: colour is learned from many faces, not from many pieces
FACES = 25  # per file
STYLES_FROM = 11  # the first layer of W+ kept with the pieces
OUTPUTS = ("features512", "image256", "image512")
FIRST_STYLE = 2 * ms.FRONT_BLOCKS + 1  # layer of W+ that the first convolution after 64 px reads
AFTER_FRONT = tuple(f"blocks.{i}.{conv}" for i in range(ms.FRONT_BLOCKS, 7) for conv in ("conv1", "conv2"))


class Pictures(nn.Module):
    """Features [1, 512, S, S] at 64 px, W+ and the six noises there -> what heads read, and the pictures wanted.

    Outputs, named as `OUTPUTS`: the features of the head for 512 px [1, 128, 4 S, 4 S], the first quarter of them
    (LL) those of the head for 256 px; the picture of 16 S pixels reduced to [1, 3, 4 S, 4 S] and to [1, 3, 8 S, 8 S].
    """

    def __init__(self, net: ms.Synthesis) -> None:
        super().__init__()
        self.net = net

    def forward(self, x: Tensor, w_plus: Tensor, *noises: Tensor) -> tuple[Tensor, ...]:  # noqa: D102 - see the class
        features = []
        for i, name in enumerate(AFTER_FRONT):
            block, conv = self.net.get_submodule(name.rsplit(".", 1)[0]), _conv(self.net, name)
            style = w_plus[:, FIRST_STYLE + i]
            if name.endswith("conv1"):
                x = ms.inverse_haar(x * cast(ms.Block, block).up(style))
            filtered = cast(nn.Conv2d, conv.depthwise)(x * conv.modulation(style))
            x = F.leaky_relu(conv.conv(filtered) + noises[i] + conv.bias, 0.2)
            features.append(x)
        image = self.net.head(x, w_plus[:, ms.LAST_LAYER])
        return features[3], F.avg_pool2d(image, 4), F.avg_pool2d(image, 2)


def _conv(net: ms.Synthesis, name: str) -> ms.StyledConv:
    return cast(ms.StyledConv, net.get_submodule(name))


class Front(nn.Module):
    """W+ [1, 18, 512] -> features [1, 512, 64, 64]."""

    def __init__(self, net: ms.Synthesis) -> None:
        super().__init__()
        self.net = net

    def forward(self, w_plus: Tensor) -> Tensor:  # noqa: D102 - described by the class
        return self.net.front(w_plus)


Run: TypeAlias = Callable[..., list[F32]]


class PieceMaker:
    """The published network from 64 px on, for pieces of one size.

    Attributes:
        side: features at 64 px per side of a piece, its margin included.
    """

    def __init__(self, net: ms.Synthesis, side: int, folder: Path) -> None:
        self.net, self.side = net, side
        w_plus = torch.zeros(1, 18, 512)
        cut = [torch.from_numpy(noise) for noise in self._noises(0, 0)]
        self._front = _compiled(Front(net), (w_plus,), folder / "heads-front.onnx")
        example = (torch.zeros(1, 512, side, side), w_plus, *cut)
        self._back = _compiled(Pictures(net), example, folder / f"heads-back-{side}.onnx")

    def front(self, w_plus: F32) -> F32:
        """float32 W+ [18, 512] -> features [1, 512, 64, 64]."""
        return self._front(w_plus[None])[0]

    def make(self, features: F32, w_plus: F32, y: int, x: int) -> dict[str, F32]:
        """What `Pictures` gives for the piece of the front's features at row y, column x."""
        piece = np.ascontiguousarray(features[..., y : y + self.side, x : x + self.side])
        return dict(zip(OUTPUTS, self._back(piece, w_plus[None], *self._noises(y, x)), strict=True))

    def _noises(self, y: int, x: int) -> list[F32]:
        cut = []
        for i, name in enumerate(AFTER_FRONT):
            scale = 2 << (i // 2)
            noise: F32 = _conv(self.net, name).noise.detach().numpy()
            y_from, x_from, size = scale * y, scale * x, scale * self.side
            cut.append(np.ascontiguousarray(noise[..., y_from : y_from + size, x_from : x_from + size]))
        return cut


def _compiled(module: nn.Module, inputs: tuple[Tensor, ...], path: Path) -> Run:
    """A module as a function, run by OpenVINO in float32 on one thread."""
    torch.onnx.export(module, inputs, path, dynamo=False, opset_version=17)
    exact = {"INFERENCE_PRECISION_HINT": "f32", "INFERENCE_NUM_THREADS": 1, "ENABLE_CPU_PINNING": False}
    request = ov.Core().compile_model(path, "CPU", exact).create_infer_request()

    def run(*arrays: F32) -> list[F32]:
        result = request.infer(list(arrays))
        return [np.array(result[k]) for k in range(len(result))]

    return run


def collect(
    net: ms.Synthesis, sample: Callable[[int, np.random.Generator], F32], faces: int, seed: int, folder: Path
) -> list[Path]:
    """Files of the pieces of `faces` faces and some: arrays as `cut_pieces` gives them, `FACES` faces each."""
    folder.mkdir(parents=True, exist_ok=True)
    paths = [folder / f"pieces-{seed}-{k:03}.npz" for k in range(-(-faces // FACES))]
    missing = [(k, path) for k, path in enumerate(paths) if not path.exists()]
    if missing:
        maker = PieceMaker(net, PIECE + 2 * MARGIN, folder)
        for k, path in track(missing, description="Collecting pieces"):
            rng = np.random.default_rng((seed, k))
            rows = [cut_pieces(maker, w_plus, rng) for w_plus in sample(FACES, rng)]
            arrays: dict[str, Any] = {name: np.concatenate([row[name] for row in rows]) for name in rows[0]}
            part = path.with_suffix(".part")
            with part.open("wb") as file:
                np.savez(file, **arrays)
            part.replace(path)
    return paths


def cut_pieces(maker: PieceMaker, w_plus: F32, rng: np.random.Generator) -> dict[str, F32]:
    """Pieces of a face at random places.

    Args:
        maker: with a margin of `MARGIN`.
        w_plus: float32 [18, 512].
        rng: of the places.

    Returns:
        `OUTPUTS` without their margin, float16; ``start``, where each piece begins in the features at 64 px,
        int64 [N, 2]; ``w_plus``, the layers from `STYLES_FROM` to the last that is read, float32 [N, 5, 512].
    """
    features = maker.front(w_plus)
    found: dict[str, list[F32]] = {name: [] for name in OUTPUTS}
    starts = []
    for _ in range(PIECES):
        # Past the edge and back: else what lies at the edge would come into few pieces.
        start = np.clip(rng.integers(-PIECE // 2, FRONT_SIZE - PIECE // 2 + 1, 2), 0, FRONT_SIZE - PIECE)
        y, x = (int(n) for n in np.clip(start - MARGIN, 0, FRONT_SIZE - maker.side))
        for name, output in maker.make(features, w_plus, y, x).items():
            scale = output.shape[2] // maker.side
            top, left = (int(n) for n in scale * (start - (y, x)))
            size = scale * PIECE
            found[name].append(output[0, :, top : top + size, left : left + size].astype(np.float16))
        starts.append(start)
    styles = np.repeat(w_plus[None, STYLES_FROM : ms.LAST_LAYER + 1], PIECES, 0)
    return {**{name: np.stack(values) for name, values in found.items()}, "start": np.stack(starts), "w_plus": styles}
