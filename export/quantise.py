"""Writes networks in int8: faster on CPUs, where they do not compute in bfloat16 above all.

With a MODEL, see export.quantise_artefact. Without one these are the default generator's graphs. Only pointwise
convolutions are quantised, which do most of the work: weights per output channel, activations per tensor. A depthwise
convolution runs before each; dividing its channels by a gain and multiplying the pointwise weights by the same makes
the channels' ranges alike at no cost (SmoothQuant, Xiao et al. 2022). Everything is written as arithmetic on the
published weights, which engines fold when they load: the graphs hold no weights of those layers.

Each layer is first quantised alone: what hurts the picture stays in floating point. The command fails if the graphs
then come too far from the float32 pictures of held-out faces.
"""

from __future__ import annotations

import argparse
import json
from pathlib import Path

import numpy as np
import torch
from rich.progress import track
from torch import Tensor, nn
from torch.nn import functional as F

from export.default_generator import load_network
from export.sampling import sample_w_plus
from export.to_onnx import write_parts
from export.train_heads import psnr
from models import zoo
from models.errors import UserError
from models.latent import mean_w
from models.networks import mobile_stylegan as ms
from models.runtime import load_engine

CANDIDATES = (
    "blocks.3.conv2",  # conv1 would hurt as much, and has a quarter of its work
    *(f"blocks.{block}.{conv}" for block in range(4, 7) for conv in ("conv1", "conv2")),
)
LAYER_LEAST = 41.0  # dB, of a layer quantised alone, for the worst face
LEAST = 35.0  # dB, of all of them together, for the worst face
BALANCE = 0.75  # 1 = the gain evens out the activations, 0 = the weights
CLIPS = (1.5, 1.0, 0.75, 0.5)  # of the largest activation seen: a narrow range has fine steps, a wide one never clips
CALIBRATION_SEED, HELD_OUT_SEED = 5, 99
TRIED, HELD_OUT = 12, 16  # faces


class Int8Conv(nn.Module):
    """A styled convolution whose pointwise part sees and holds nothing but 8-bit integers, as float32.

    Its parameters keep the names and values of the one it stands in for.
    """

    def __init__(self, exact: ms.StyledConv, ranges: Tensor) -> None:
        super().__init__()
        assert exact.depthwise is not None, "the first convolution is not separable"
        self.modulation, self.depthwise, self.conv = exact.modulation, exact.depthwise, exact.conv
        self.noise, self.bias = exact.noise, exact.bias
        weights = exact.conv.weight.abs().amax((0, 2, 3))
        gain = ranges**BALANCE / weights ** (1 - BALANCE)
        self.step = float((ranges / gain).max() / 127)
        self.register_buffer("gain", gain)
        self.register_buffer("weight_step", (exact.conv.weight * gain[:, None, None]).abs().amax((1, 2, 3)) / 127)
        self.register_buffer("zero", torch.zeros(len(self.weight_step), dtype=torch.int32))

    def forward(self, x: Tensor, style: Tensor) -> Tensor:  # noqa: D102 - described by the class
        depthwise = self.depthwise.weight / self.gain[:, None, None, None]
        x = F.conv2d(x * self.modulation(style), depthwise, padding=1, groups=len(depthwise))
        x = torch.fake_quantize_per_tensor_affine(x, self.step, 0, -128, 127)
        weight = self.conv.weight * self.gain[:, None, None]
        weight = torch.fake_quantize_per_channel_affine(weight, self.weight_step, self.zero, 0, -128, 127)
        return F.leaky_relu(F.conv2d(x, weight) + self.noise + self.bias, 0.2)


def activation_peaks(net: ms.Synthesis, layers: list[str], w_plus: Tensor) -> dict[str, Tensor]:
    """Layer -> largest magnitude of each channel that enters its pointwise convolution, float32 [C]."""
    peaks: dict[str, Tensor] = {}

    def watch(layer: str) -> torch.utils.hooks.RemovableHandle:
        def note(_module: nn.Module, inputs: tuple[Tensor]) -> None:
            seen = inputs[0].abs().amax((0, 2, 3))
            peaks[layer] = torch.maximum(peaks[layer], seen) if layer in peaks else seen

        return net.get_submodule(layer).conv.register_forward_pre_hook(note)

    handles = [watch(layer) for layer in layers]
    for row in track(w_plus, description="Calibrating"):
        net(row[None])
    for handle in handles:
        handle.remove()
    return peaks


def replace(net: ms.Synthesis, layer: str, conv: nn.Module) -> None:
    """Puts `conv` in the place of a layer."""
    block, name = layer.rsplit(".", 1)
    setattr(net.get_submodule(block), name, conv)


def choose_ranges(net: ms.Synthesis, peaks: dict[str, Tensor], w_plus: Tensor) -> dict[str, Tensor]:
    """Layer -> ranges of its channels, clipped as is best for the worst face; without the layers that hurt."""
    expected = [net(row[None]).numpy() for row in w_plus]
    chosen = {}
    for layer in track(peaks, description="Trying layers"):
        exact = net.get_submodule(layer)
        ratios = {}
        for clip in CLIPS:
            replace(net, layer, Int8Conv(exact, clip * peaks[layer]))
            ratios[clip] = min(
                psnr(net(row[None]).numpy(), image) for row, image in zip(w_plus, expected, strict=True)
            )
        replace(net, layer, exact)
        best = max(ratios, key=lambda clip: ratios[clip])
        print(f"{layer:16} {ratios[best]:5.1f} dB at {best} of its range")
        if ratios[best] >= LAYER_LEAST:
            chosen[layer] = best * peaks[layer]
    return chosen


def write_int8(size: int, heads: Path, out: Path, calibration: Tensor, held_out: Tensor) -> dict[str, object]:
    """Writes the int8 graphs of one size; returns their figures.

    Raises:
        UserError: they would be further than `LEAST` from the float32 picture.
    """
    net = load_network(size, heads)
    layers = [layer for layer in CANDIDATES if int(layer.split(".")[1]) < ms.HEADS[size].blocks]
    peaks = activation_peaks(net, layers, calibration)
    ranges = choose_ranges(net, peaks, calibration[:TRIED])
    expected = [net(row[None]).numpy() for row in held_out]
    for layer, channels in ranges.items():
        replace(net, layer, Int8Conv(net.get_submodule(layer), channels))
    paths = write_parts(net, "-int8", out)
    engine = load_engine(paths.whole, "openvino", "int8")
    pictures = [engine({"w_plus": row[None].numpy()})["image"] for row in held_out]
    ratios = [psnr(picture, image) for picture, image in zip(pictures, expected, strict=True)]
    if min(ratios) < LEAST:
        raise UserError(f"int8 at {size} px is {min(ratios):.1f} dB from float32, wanted {LEAST}: leave layers out")
    return {
        "held_out_faces": len(ratios),
        "psnr_db": float(np.mean(ratios)),
        "psnr_db_worst": float(min(ratios)),
        "int8_layers": list(ranges),
    }


def main(argv: list[str] | None = None) -> None:
    """Command line of `python -m export quantise`."""
    parser = argparse.ArgumentParser(prog="python -m export quantise", description=__doc__)
    parser.add_argument(
        "model", metavar="MODEL", nargs="?", help="an .onnx artefact in float32, or: encoder (the default one)"
    )
    parser.add_argument("--sizes", type=int, nargs="+", default=list(zoo.INT8_SIZES), choices=zoo.INT8_SIZES)
    parser.add_argument("--samples", type=int, default=64, help="faces that the ranges come from")
    parser.add_argument("--heads", type=Path, default=zoo.SHIPPED / "heads")
    parser.add_argument("--out", type=Path, help="folder; of the default generator, where it is shipped")
    args = parser.parse_args(argv)
    if args.samples < 1:
        raise UserError(f"--samples {args.samples} is too few; expected 1 or more")
    if args.model is not None:
        if args.out is None:
            raise UserError("--out is missing: the folder to write MODEL's int8 form into")
        # Only here: the default generator's way needs neither NNCF nor dlib.
        from export.quantise_artefact import quantise

        quantise(args.model, args.out, samples=args.samples)
        return
    out = args.out or zoo.SHIPPED
    z_to_w = zoo.load_mapping().map
    calibration, held_out = (
        torch.from_numpy(sample_w_plus(np.random.default_rng(seed), count, z_to_w, mean_w()))
        for seed, count in ((CALIBRATION_SEED, args.samples), (HELD_OUT_SEED, HELD_OUT))
    )
    with torch.no_grad():
        figures = {size: write_int8(size, args.heads, out, calibration, held_out) for size in args.sizes}
    (out / "generator-int8.json").write_text(json.dumps(figures, indent=1) + "\n")
    print(json.dumps(figures))


if __name__ == "__main__":
    main()
