"""Trains the image heads at 256 and 512 px against the area-reduced 1024 px picture.

The published generator has one head, at 1024 px. A smaller picture needs only the first blocks, but its head was
stripped; here it is fitted on the generator's own features. Each step runs the whole network once (in OpenVINO,
no gradient), keeps a few patches per head in a replay buffer, and takes gradient steps on random patches.
"""

from __future__ import annotations

import argparse
import json
from pathlib import Path
from typing import cast

import numpy as np
import openvino as ov
import torch
from rich.progress import track
from torch import Tensor, nn
from torch.nn import functional as F

from export.sampling import sample_w_plus
from models import ir, latent, registry, zoo
from models.arrays import F32
from models.networks import mapping as mapping_net
from models.networks import mobile_stylegan as ms

HELD_OUT, HELD_OUT_SEED = 32, 10_000  # faces the figures come from
PATCH = 32  # feature pixels; the picture patch is twice that
PATCHES = 4  # per sample and head: colour is learned from many faces, not from many patches


class AllFeatures(nn.Module):
    """W+ -> features at each head's place and the 1024 px picture reduced to each head's size."""

    def __init__(self, net: ms.Synthesis, sizes: tuple[int, ...]) -> None:
        super().__init__()
        self.net = net
        self.sizes = sizes

    def forward(self, w_plus: Tensor) -> tuple[Tensor, ...]:  # noqa: D102 - described by the class
        x = self.net.conv1(self.net.constant, w_plus[:, 0])
        features = {}
        for i, block in enumerate(self.net.blocks):
            x = block(x, w_plus[:, 2 * i + 1], w_plus[:, 2 * i + 2])
            features[i + 1] = x
        image = self.net.head(x, w_plus[:, ms.LAST_LAYER])
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

    def __init__(self, channels: int, style_dim: int, capacity: int) -> None:
        self.features = np.zeros((capacity, channels, PATCH, PATCH), np.float16)
        self.images = np.zeros((capacity, 3, 2 * PATCH, 2 * PATCH), np.float16)
        self.styles = np.zeros((capacity, style_dim), np.float32)
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


def initialise(head: ms.HiddenHead, patches: Patches) -> None:
    """Starts a head from least squares: each channel scaled to unit spread, the linear path solved for.

    The features of channels differ in size by orders of magnitude; from a random start Adam spends its steps on that.
    """
    chosen = np.arange(0, patches.filled, max(1, patches.filled // 160))
    features = patches.features[chosen].astype(np.float32)
    bands = haar(patches.images[chosen].astype(np.float32))
    spread = features.std((0, 2, 3)) + 1e-6
    rows = (features / spread[:, None, None]).transpose(0, 2, 3, 1).reshape(-1, len(spread))
    rows = np.concatenate([rows, np.ones((len(rows), 1), np.float32)], 1)
    targets = bands.transpose(0, 2, 3, 1).reshape(-1, 12)
    gram = rows.T @ rows
    gram[np.diag_indices(len(gram))] += 1e-3 * np.trace(gram) / len(gram)
    weights = np.linalg.solve(gram, rows.T @ targets)
    with torch.no_grad():
        head.modulation.affine.weight.zero_()
        head.modulation.affine.bias.copy_(torch.from_numpy(1 / spread))
        head.linear.weight.copy_(torch.from_numpy(weights[:-1].T)[..., None, None])
        head.linear.bias.copy_(torch.from_numpy(weights[-1]))
        head.out.weight.zero_()
        head.out.bias.zero_()
        head.style_bias.weight.zero_()
        head.style_bias.bias.zero_()


def haar(images: F32) -> F32:
    """Haar bands of pictures [N, 3, 2H, 2W] in the generator's order: [N, 12, H, W], LL, LH, HL, HH."""
    a, b = images[:, :, 0::2, 0::2], images[:, :, 0::2, 1::2]
    c, d = images[:, :, 1::2, 0::2], images[:, :, 1::2, 1::2]
    return np.float32(0.5) * np.concatenate([a + b + c + d, a + b - c - d, a - b + c - d, a - b - c + d], 1)


def fit(
    size: int, start: Path | None, patches: Patches, steps: int, batch: int, rng: np.random.Generator
) -> ms.HiddenHead:
    """A head fitted to the patches by Adam, the learning rate falling by a cosine; goes on from the file `start`."""
    net = ms.Synthesis(size)
    head = cast(ms.HiddenHead, net.head)
    if start is None:
        initialise(head, patches)
    else:
        ms.load_head(net, start)
    # The style paths multiply 512 numbers of order one: a step there moves the picture most.
    style = [*head.modulation.parameters(), *head.style_bias.parameters()]
    others = [*head.linear.parameters(), *head.hidden.parameters(), *head.out.parameters()]
    optimizer = torch.optim.AdamW([{"params": style, "share": 0.1}, {"params": others, "share": 1.0}])
    for step in track(range(steps), description=f"Fitting {size} px"):
        for group in optimizer.param_groups:
            group["lr"] = (
                1e-3 * group["share"] * min(1, (step + 1) / 100) * (0.51 + 0.49 * np.cos(np.pi * step / steps))
            )
        features, styles, images = patches.batch(batch, rng)
        # The zero padding of the 3x3 output is right only at the picture's own border: leave a rim out.
        error = (head(features, styles) - images)[..., 2:-2, 2:-2]
        loss = (error * error).mean()
        optimizer.zero_grad(set_to_none=True)
        loss.backward()
        optimizer.step()
    return head.eval()


def main(argv: list[str] | None = None) -> None:
    """Command line of `python -m export heads`."""
    parser = argparse.ArgumentParser(prog="python -m export heads", description=__doc__)
    parser.add_argument("--sizes", type=int, nargs="+", default=[256, 512])
    parser.add_argument("--samples", type=int, default=900, help="faces seen")
    parser.add_argument("--steps", type=int, default=3000)
    parser.add_argument("--batch", type=int, default=8)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--runs", type=Path, default=Path("runs"))
    parser.add_argument("--resume", type=Path, metavar="DIR", help="go on from the heads in this folder")
    parser.add_argument("--out", type=Path, default=zoo.SHIPPED / "heads")
    args = parser.parse_args(argv)
    sizes = tuple(args.sizes)
    args.runs.mkdir(parents=True, exist_ok=True)
    args.out.mkdir(parents=True, exist_ok=True)
    torch.manual_seed(args.seed)
    rng = np.random.default_rng(args.seed)

    published = ir.read(registry.path("synthesis-xml"))
    z_to_w = mapping_net.load_published(ir.read(registry.path("mapping-xml")))

    def sample(count: int, rng: np.random.Generator) -> F32:
        return sample_w_plus(rng, count, lambda z: z_to_w(torch.from_numpy(z)).numpy(), latent.mean_w())

    request = compile_features(ms.load_published(published), sizes, args.runs)
    channels = {size: (512, *ms.BLOCK_CHANNELS)[ms.HEADS[size].blocks] for size in sizes}
    layers = {size: ms.HEADS[size].layers for size in sizes}
    buffers = {
        size: Patches(channels[size], 512 * len(range(18)[layers[size]]), args.samples * PATCHES) for size in sizes
    }
    held_out = sample(HELD_OUT, np.random.default_rng(HELD_OUT_SEED))
    for w_plus in track(sample(args.samples, rng), description="Collecting features"):
        result = request.infer([w_plus[None]])
        for k, size in enumerate(sizes):
            features, image = np.array(result[2 * k][0]), np.array(result[2 * k + 1][0])
            buffers[size].add(features, image, w_plus[layers[size]].ravel(), rng)
    heads = {}
    for size in sizes:
        start = args.resume / f"head-{size}.npz" if args.resume else None
        heads[size] = fit(size, start, buffers[size], args.steps, args.batch, rng)

    for k, size in enumerate(sizes):
        values = []
        for w_plus in held_out:
            result = request.infer([w_plus[None]])
            features, image = np.array(result[2 * k]), np.array(result[2 * k + 1])
            styles = torch.from_numpy(w_plus[None, layers[size]].reshape(1, -1))
            with torch.no_grad():
                values.append(psnr(heads[size](torch.from_numpy(features), styles).numpy(), image))
        report = {
            "held_out_faces": HELD_OUT,
            "psnr_db": float(np.mean(values)),
            "psnr_db_worst": float(np.min(values)),
        }
        state = {name: value.numpy().astype(np.float16) for name, value in heads[size].state_dict().items()}
        np.savez_compressed(args.out / f"head-{size}.npz", **state)
        (args.out / f"head-{size}.json").write_text(json.dumps(report, indent=1) + "\n")
        print(size, json.dumps(report))


if __name__ == "__main__":
    main()
