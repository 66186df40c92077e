"""Trains the image heads at 128, 256 and 512 px against the area-reduced 1024 px picture.

The published generator has one head, at 1024 px. A smaller picture needs only the first blocks, but its head was
stripped; here it is fitted on the generator's own features. Each step runs the whole network once (in OpenVINO,
no gradient), keeps a few patches per head in a replay buffer, and takes gradient steps on random patches.
"""

from __future__ import annotations

import argparse
import json
import time
from pathlib import Path

import numpy as np
import openvino as ov
import torch
from rich.progress import track
from torch import Tensor, nn
from torch.nn import functional as F

from export.sampling import sample_w_plus
from models import ir, registry
from models.arrays import F32
from models.networks import mapping as mapping_net
from models.networks import mobile_stylegan as ms

SHIPPED = Path(__file__).parent.parent / "models" / "shipped"
PATCH = 32  # feature pixels; the picture patch is twice that
PATCHES = 6  # per sample and head


class AllFeatures(nn.Module):
    """W+ -> features at each head's place and the 1024 px picture reduced to each head's size."""

    def __init__(self, net: ms.Synthesis, sizes: tuple[int, ...]) -> None:
        super().__init__()
        self.net = net
        self.sizes = sizes

    def forward(self, w_plus: Tensor) -> tuple[Tensor, ...]:
        x = self.net.conv1(self.net.constant, w_plus[:, 0])
        features = {}
        for i, block in enumerate(self.net.blocks):
            x = block(x, w_plus[:, 2 * i + 1], w_plus[:, 2 * i + 2])
            features[i + 1] = x
        image = self.net.head(x, w_plus[:, 2 * len(self.net.blocks) + 1])
        outputs = []
        for size in self.sizes:
            outputs += [features[ms.HEADS[size].blocks], F.avg_pool2d(image, 1024 // size)]
        return tuple(outputs)


def compile_features(net: ms.Synthesis, sizes: tuple[int, ...], runs: Path) -> ov.InferRequest:
    """`AllFeatures` as an OpenVINO request in float32."""
    path = runs / "all-features.onnx"
    names = [name for size in sizes for name in (f"features{size}", f"image{size}")]
    torch.onnx.export(
        AllFeatures(net, sizes), (torch.zeros(1, 18, 512),), path, input_names=["w_plus"],
        output_names=names, dynamo=False, opset_version=17,
    )  # fmt: skip
    compiled = ov.Core().compile_model(path, "CPU", {"INFERENCE_PRECISION_HINT": "f32"})
    return compiled.create_infer_request()


class Patches:
    """Replay buffer of (features, style, picture) patches of one head, float16."""

    def __init__(self, channels: int, capacity: int) -> None:
        self.features = np.zeros((capacity, channels, PATCH, PATCH), np.float16)
        self.images = np.zeros((capacity, 3, 2 * PATCH, 2 * PATCH), np.float16)
        self.styles = np.zeros((capacity, 512), np.float32)
        self.filled = 0
        self.next = 0

    def add(self, features: F32, image: F32, style: F32, rng: np.random.Generator) -> None:
        """Keeps `PATCHES` random patches of features [C, H, W] and image [3, 2H, 2W]."""
        for _ in range(PATCHES):
            y, x = rng.integers(0, features.shape[1] - PATCH + 1, 2)
            self.features[self.next] = features[:, y : y + PATCH, x : x + PATCH]
            self.images[self.next] = image[:, 2 * y : 2 * (y + PATCH), 2 * x : 2 * (x + PATCH)]
            self.styles[self.next] = style
            self.filled = max(self.filled, self.next + 1)
            self.next = (self.next + 1) % len(self.styles)

    def batch(self, count: int, rng: np.random.Generator) -> tuple[Tensor, Tensor, Tensor]:
        """A random batch as float32 tensors."""
        chosen = rng.integers(0, self.filled, count)
        arrays = (self.features[chosen], self.styles[chosen], self.images[chosen])
        features, styles, images = (torch.from_numpy(a.astype(np.float32)) for a in arrays)
        return features, styles, images


def psnr(prediction: F32, target: F32) -> float:
    """DB of two pictures in [-1, 1], after clipping."""
    error = np.mean((np.clip(prediction, -1, 1) - np.clip(target, -1, 1)) ** 2)
    return float(10 * np.log10(4 / error))


def main(argv: list[str] | None = None) -> None:
    """Command line of `python -m export heads`."""
    parser = argparse.ArgumentParser(prog="python -m export heads", description=__doc__)
    parser.add_argument("--sizes", type=int, nargs="+", default=[128, 256, 512])
    parser.add_argument("--samples", type=int, default=700, help="faces seen")
    parser.add_argument("--steps-per-sample", type=int, default=6)
    parser.add_argument("--batch", type=int, default=8)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--runs", type=Path, default=Path("runs"))
    parser.add_argument("--out", type=Path, default=SHIPPED / "heads")
    args = parser.parse_args(argv)
    sizes = tuple(args.sizes)
    args.runs.mkdir(parents=True, exist_ok=True)
    args.out.mkdir(parents=True, exist_ok=True)
    torch.manual_seed(args.seed)
    rng = np.random.default_rng(args.seed)

    registry.path("synthesis-bin"), registry.path("mapping-bin")
    published = ir.read(registry.path("synthesis-xml"))
    z_to_w = mapping_net.load_published(ir.read(registry.path("mapping-xml")))
    mean_w = np.load(SHIPPED / "mean_w.npy")

    def sample(count: int) -> F32:
        return sample_w_plus(rng, count, lambda z: z_to_w(torch.from_numpy(z)).numpy(), mean_w)

    request = compile_features(ms.load_published(published), sizes, args.runs)
    heads = {size: ms.Synthesis(size).head.train() for size in sizes}
    optimizers = {size: torch.optim.AdamW(head.parameters(), 2e-3) for size, head in heads.items()}
    channels = {size: (512, *ms.BLOCK_CHANNELS)[ms.HEADS[size].blocks] for size in sizes}
    buffers = {size: Patches(channels[size], 1500) for size in sizes}
    style_layer = {size: 2 * ms.HEADS[size].blocks + 1 for size in sizes}
    held_out = sample(24)
    started = time.monotonic()

    for step, w_plus in enumerate(track(sample(args.samples), description="Fitting heads")):
        result = request.infer([w_plus[None]])
        outputs = [np.array(result[i]) for i in range(2 * len(sizes))]
        progress = step / args.samples
        for k, size in enumerate(sizes):
            buffers[size].add(outputs[2 * k][0], outputs[2 * k + 1][0], w_plus[style_layer[size]], rng)
            if step < 8:
                continue
            for group in optimizers[size].param_groups:
                group["lr"] = 2e-3 * (0.02 + 0.98 * 0.5 * (1 + np.cos(np.pi * progress)))
            for _ in range(args.steps_per_sample):
                features, styles, images = buffers[size].batch(args.batch, rng)
                # The zero padding of the 3x3 output is right only at the picture's own border: leave a rim out.
                error = (heads[size](features, styles) - images)[..., 2:-2, 2:-2]
                loss = (error * error).mean()
                optimizers[size].zero_grad(set_to_none=True)
                loss.backward()
                optimizers[size].step()

    report = {}
    for k, size in enumerate(sizes):
        head = heads[size].eval()
        values = []
        for w_plus in held_out:
            result = request.infer([w_plus[None]])
            features, image = np.array(result[2 * k]), np.array(result[2 * k + 1])
            style = torch.from_numpy(w_plus[None, style_layer[size]])
            with torch.no_grad():
                values.append(psnr(head(torch.from_numpy(features), style).numpy(), image))
        report[size] = {"psnr_db": float(np.mean(values)), "psnr_db_worst": float(np.min(values))}
        state = {name: value.numpy().astype(np.float16) for name, value in head.state_dict().items()}
        np.savez_compressed(args.out / f"head-{size}.npz", **state)
    report["run"] = {"samples": args.samples, "seed": args.seed, "seconds": time.monotonic() - started}
    (args.out / f"heads-{'-'.join(map(str, sizes))}.json").write_text(json.dumps(report, indent=1) + "\n")
    print(json.dumps(report))


if __name__ == "__main__":
    main()
