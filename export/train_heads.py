"""Trains the image heads at 256 and 512 px against the area-reduced 1024 px picture.

The published generator has one head, at 1024 px. A smaller picture needs only the first blocks, but its head was
stripped; here it is fitted on the generator's own features, in pieces of pictures (`export.head_patches`).
"""

from __future__ import annotations

import argparse
import copy
import json
import math
from collections.abc import Sequence
from pathlib import Path
from typing import TypeAlias, cast

import numpy as np
import numpy.typing as npt
import torch
from rich.progress import track
from torch import Tensor, nn
from torch.nn import functional as F

from export.head_patches import FACES, FRONT_SIZE, PIECE, STYLES_FROM, PieceMaker, collect
from export.sampling import sample_w_plus
from export.schedule import rate_share
from models import ir, latent, registry, zoo
from models.arrays import F32
from models.networks import mapping as mapping_net
from models.networks import mobile_stylegan as ms

HELD_OUT, HELD_OUT_SEED = 32, 10_000  # faces the figures come from
RIM = 1  # features around a piece that the 3x3 convolution's zero padding makes wrong
AVERAGED = 0.998  # of the weights' running mean that one step keeps: what a late step jitters stays out
RIDGE = 1e-4  # of the mean square, in the least squares that a head starts from
STYLE_SHARE = 0.1  # of the learning rate, for what reads styles
CLIPPED = 0.1  # norm of a step's gradient: few pieces are far worse than the others
CORNERS = PIECE // 2 * np.array(((0, 0), (0, 1), (1, 0), (1, 1)))


Head: TypeAlias = ms.LowHead | ms.HiddenHead


class Pieces:
    """The pieces of one head in memory, in quarters.

    Attributes:
        features: float16 [N, C, H, H].
        images: the pictures wanted, float16 [N, 3, R, R].
        styles: of the layers that the head reads, float32 [N, D].
        shares: how much each pixel counts, float32 [N, 1, R, R]: 0 in the rim, but where that is the whole picture's.
    """

    def __init__(self, size: int, files: Sequence[Path]) -> None:
        spec = ms.HEADS[size]
        channels = ms.BLOCK_CHANNELS[spec.blocks - 1] // (4 if spec.low else 1)
        layers = slice(spec.layers.start - STYLES_FROM, None)
        for k, path in enumerate(files):
            with np.load(path, allow_pickle=False) as arrays:
                features, images = quarters(arrays["features512"][:, :channels]), quarters(arrays[f"image{size}"])
                w_plus, starts = arrays["w_plus"][:, layers], arrays["start"]
            count = len(features)
            if k == 0:
                total = count * len(files)
                self.features = np.empty((total, *features.shape[1:]), np.float16)
                self.images = np.empty((total, *images.shape[1:]), np.float16)
                self.styles = np.empty((total, w_plus[0].size), np.float32)
                self.shares = np.empty((total, 1, *images.shape[2:]), np.float32)
            here = slice(k * count, (k + 1) * count)
            self.features[here], self.images[here] = features, images
            self.styles[here] = np.repeat(w_plus.reshape(len(w_plus), -1), 4, 0)
            self.shares[here] = inside((starts[:, None] + CORNERS).reshape(-1, 2), features.shape[2], images.shape[2])

    def some(self) -> slice:
        """About 300 of them, evenly spread."""
        return slice(None, None, max(1, len(self.features) // 300))

    def channel_sizes(self) -> F32:
        """Root mean square of each channel of the features, float32 [C]."""
        some = self.features[self.some()].astype(np.float32)
        return np.asarray(np.sqrt((some**2).mean((0, 2, 3))) + 1e-6, np.float32)

    def batch(self, count: int, rng: np.random.Generator) -> tuple[Tensor, Tensor, Tensor, Tensor]:
        """A random batch of features, styles, pictures and shares as float32 tensors."""
        chosen = rng.integers(0, len(self.features), count)
        arrays = (self.features, self.styles, self.images, self.shares)
        features, styles, images, shares = (torch.from_numpy(a[chosen].astype(np.float32)) for a in arrays)
        return features, styles, images, shares


def inside(starts: npt.NDArray[np.int64], features: int, size: int) -> F32:
    """The shares of quarters that begin at `starts` [N, 2] in the features at 64 px: [N, 1, size, size]."""
    shares = np.ones((len(starts), 1, size, size), np.float32)
    rim = RIM * size // features
    for share, (y, x) in zip(shares, starts, strict=True):
        for lines, start in ((share, y), (share.transpose(0, 2, 1), x)):
            lines[:, :rim] *= start == 0
            lines[:, -rim:] *= start == FRONT_SIZE - PIECE // 2
    return shares


def quarters(pieces: F32) -> F32:
    """[N, C, 2H, 2W] -> [4N, C, H, W]: a step learns more from many small pieces than from few large ones."""
    count, channels, height, width = pieces.shape
    parts = pieces.reshape(count, channels, 2, height // 2, 2, width // 2).transpose(0, 2, 4, 1, 3, 5)
    return parts.reshape(-1, channels, height // 2, width // 2)


def psnr(prediction: F32, target: F32) -> float:
    """DB of two pictures in [-1, 1], after clipping; infinite where they are equal."""
    error = float(np.mean((np.clip(prediction, -1, 1) - np.clip(target, -1, 1)) ** 2))
    return float(10 * np.log10(4 / error)) if error else math.inf


def initialise(head: Head, pieces: Pieces) -> None:
    """Starts a head from least squares: each channel scaled to unit size, the linear path solved for."""
    features, images = (a[pieces.some()].astype(np.float32) for a in (pieces.features, pieces.images))
    targets = images if isinstance(head, ms.LowHead) else haar(images)
    size = pieces.channel_sizes()
    rows = (features / size[:, None, None]).transpose(0, 2, 3, 1).reshape(-1, len(size))
    rows = np.concatenate([rows, np.ones((len(rows), 1), np.float32)], 1)
    gram = rows.T @ rows
    gram[np.diag_indices(len(gram))] += RIDGE * np.trace(gram) / len(gram)
    weights = np.linalg.solve(gram, rows.T @ targets.transpose(0, 2, 3, 1).reshape(len(rows), -1))
    with torch.no_grad():
        for parameter in (*head.modulation.parameters(), *head.style_bias.parameters(), *head.out.parameters()):
            parameter.zero_()
        head.modulation.affine.bias.copy_(torch.from_numpy(1 / size))
        head.linear.weight.copy_(torch.from_numpy(weights[:-1].T)[..., None, None])
        head.linear.bias.copy_(torch.from_numpy(weights[-1]))
        if isinstance(head, ms.LowHead):
            head.depthwise.weight.zero_()
            head.depthwise.weight[:, :, 1, 1] = 1
            head.hidden_modulation.affine.weight.zero_()
            head.hidden_modulation.affine.bias.fill_(1)


class Steered(nn.Module):
    """An affine map of styles as it is, and a change of it that sees them through the published network's eyes.

    A head reads some 1,500 numbers of styles, but a training set has fewer faces than that. What the missing layers
    make of them, their scales per channel, are few, and all that the picture depends on.
    """

    def __init__(self, affine: nn.Linear, seen: nn.Linear, unit: Tensor) -> None:
        super().__init__()
        self.affine = affine.requires_grad_(False)
        self.seen = seen.requires_grad_(False)
        self.change = nn.Linear(seen.out_features, affine.out_features)
        nn.init.zeros_(self.change.weight)
        nn.init.zeros_(self.change.bias)
        self.register_buffer("unit", unit)

    def forward(self, styles: Tensor) -> Tensor:  # noqa: D102 - described by the class
        return cast(Tensor, self.affine(styles) + self.unit * self.change(self.seen(styles)))

    def folded(self) -> nn.Linear:
        """Both as one affine map."""
        weight = self.unit[:, None] * self.change.weight
        self.affine.weight.copy_(self.affine.weight + weight @ self.seen.weight)
        self.affine.bias.copy_(self.affine.bias + weight @ self.seen.bias + self.unit * self.change.bias)
        return self.affine


def scales_seen(net: ms.Synthesis, styles: F32) -> nn.Linear:
    """Styles of W+ layers 13 to 15 -> the missing layers' scales, each of zero mean and unit spread over `styles`."""
    block, head = cast(ms.Block, net.blocks[6]), cast(ms.BandHead, net.head)
    readers = ((0, block.up), (0, block.conv1.modulation), (1, block.conv2.modulation), (2, head.modulation))
    layers = len(styles[0]) // ms.STYLE_DIM
    rows = sum(modulation.affine.out_features for _, modulation in readers)
    seen = nn.Linear(layers * ms.STYLE_DIM, rows)
    with torch.no_grad():
        seen.weight.zero_()
        start = 0
        for layer, modulation in readers:
            stop = start + modulation.affine.out_features
            columns = slice(layer * ms.STYLE_DIM, (layer + 1) * ms.STYLE_DIM)
            seen.weight[start:stop, columns] = modulation.affine.weight
            start = stop
        scales = torch.from_numpy(styles) @ seen.weight.T
        spread = scales.std(0) + 1e-6
        seen.weight /= spread[:, None]
        seen.bias.copy_(-scales.mean(0) / spread)
    return seen


def haar(images: F32) -> F32:
    """Haar bands of pictures [N, 3, 2H, 2W] in the generator's order: [N, 12, H, W], LL, LH, HL, HH."""
    a, b = images[:, :, 0::2, 0::2], images[:, :, 0::2, 1::2]
    c, d = images[:, :, 1::2, 0::2], images[:, :, 1::2, 1::2]
    return np.float32(0.5) * np.concatenate([a + b + c + d, a + b - c - d, a - b + c - d, a - b - c + d], 1)


def pictures(head: Head, features: Tensor, styles: Tensor) -> Tensor:
    """What `head` makes of features that need no gradient."""
    if isinstance(head, ms.LowHead):
        return cast(Tensor, head(features, styles))
    # The scale goes to the weights, where it costs least.
    count, _, height, width = features.shape
    weight = torch.cat((head.linear.weight, head.hidden.weight)).flatten(1)
    scaled = weight * head.modulation(styles).flatten(2).transpose(1, 2)
    rows = torch.baddbmm(torch.cat((head.linear.bias, head.hidden.bias))[:, None], scaled, features.flatten(2))
    linear, hidden = rows.reshape(count, -1, height, width).split(
        [head.linear.out_channels, head.hidden.out_channels], dim=1
    )
    bands = linear + head.out(F.leaky_relu(hidden, 0.2)) + head.style_bias(styles)[..., None, None]
    return ms.inverse_haar(bands)


def clipped_error(prediction: Tensor, target: Tensor) -> Tensor:
    """What is left after clipping to [-1, 1]; where only the prediction is out, it is drawn back."""
    target = target.clamp(-1, 1)
    both_out = (target.abs() == 1) & (prediction * target >= 1)
    return torch.where(both_out, torch.zeros_like(target), prediction - target)


def squared_error(prediction: Tensor, target: Tensor, share: Tensor) -> Tensor:
    """Mean square of `clipped_error`, weighted."""
    error = clipped_error(prediction, target) * share
    return error.square().sum() / (3 * share.sum())


def fit(
    size: int,
    start: Path | None,
    full: ms.Synthesis,
    pieces: Pieces,
    steps: int,
    batch: int,
    rng: np.random.Generator,
    *,
    rate: float,
) -> Head:
    """A head fitted to the pieces by Adam, the learning rate falling by a cosine; goes on from the file `start`."""
    net = ms.Synthesis(size)
    head = cast(Head, net.head)
    if start is None:
        initialise(head, pieces)
    else:
        ms.load_head(net, start)
    seen = scales_seen(full, pieces.styles)
    head.modulation.affine = Steered(head.modulation.affine, seen, torch.from_numpy(1 / pieces.channel_sizes()))
    head.style_bias = Steered(head.style_bias, seen, torch.ones(head.style_bias.out_features))
    if isinstance(head, ms.LowHead):
        affine = head.hidden_modulation.affine
        head.hidden_modulation.affine = Steered(affine, seen, torch.ones(affine.out_features))
    averaged = copy.deepcopy(head).requires_grad_(False)
    trained = {name: parameter for name, parameter in head.named_parameters() if parameter.requires_grad}
    means = dict(averaged.named_parameters())
    # The style paths sum over hundreds of numbers of order one: a step there moves the picture most.
    style = [parameter for name, parameter in trained.items() if "change" in name]
    others = [parameter for name, parameter in trained.items() if "change" not in name]
    optimizer = torch.optim.Adam([{"params": style, "share": STYLE_SHARE}, {"params": others, "share": 1.0}])
    for step in track(range(steps), description=f"Fitting {size} px"):
        for group in optimizer.param_groups:
            group["lr"] = rate * group["share"] * rate_share(step, 100, step / steps, least=0.02)
        features, styles, images, shares = pieces.batch(batch, rng)
        loss = squared_error(pictures(head, features, styles), images, shares)
        optimizer.zero_grad(set_to_none=True)
        loss.backward()
        nn.utils.clip_grad_norm_(head.parameters(), CLIPPED)
        optimizer.step()
        with torch.no_grad():
            for name, parameter in trained.items():
                means[name].lerp_(parameter, 1 - min(AVERAGED, step / (step + 10)))
    for module in averaged.modules():
        for name, child in list(module.named_children()):
            if isinstance(child, Steered):
                setattr(module, name, child.folded())
    return averaged.eval()


def held_out_ratios(heads: dict[int, Head], maker: PieceMaker, faces: F32) -> dict[int, list[float]]:
    """Size -> dB of each face, whole."""
    ratios: dict[int, list[float]] = {size: [] for size in heads}
    for w_plus in track(faces, description="Comparing faces"):
        found = maker.make(maker.front(w_plus), w_plus, 0, 0)
        for size, head in heads.items():
            features = torch.from_numpy(found["features512"][:, : head.linear.in_channels])
            styles = torch.from_numpy(w_plus[None, ms.HEADS[size].layers].reshape(1, -1))
            with torch.no_grad():
                ratios[size].append(psnr(head(features, styles).numpy(), found[f"image{size}"]))
    return ratios


def main(argv: list[str] | None = None) -> None:
    """Command line of `python -m export heads`."""
    parser = argparse.ArgumentParser(prog="python -m export heads", description=__doc__)
    parser.add_argument("--sizes", type=int, nargs="+", default=[256, 512], choices=[256, 512])
    parser.add_argument("--samples", type=int, default=1000, help=f"faces seen, in steps of {FACES}")
    parser.add_argument("--steps", type=int, default=6000)
    parser.add_argument("--batch", type=int, default=16, help="quarters of pieces in a step")
    parser.add_argument("--rate", type=float, default=5e-4, help="learning rate at its highest")
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--runs", type=Path, default=Path("runs"), help="pieces are kept in heads/ here")
    parser.add_argument("--resume", type=Path, metavar="DIR", help="go on from the heads in this folder")
    parser.add_argument("--out", type=Path, default=zoo.SHIPPED / "heads")
    args = parser.parse_args(argv)
    args.out.mkdir(parents=True, exist_ok=True)
    torch.manual_seed(args.seed)

    z_to_w = mapping_net.load_published(ir.read(registry.path("mapping-xml")))
    net = ms.load_published(ir.read(registry.path("synthesis-xml")))

    def sample(count: int, rng: np.random.Generator) -> F32:
        return sample_w_plus(rng, count, lambda z: z_to_w(torch.from_numpy(z)).numpy(), latent.mean_w())

    folder = args.runs / "heads"
    files = collect(net, sample, args.samples, args.seed, folder)
    heads = {}
    for size in args.sizes:
        start = args.resume / f"head-{size}.npz" if args.resume else None
        rng = np.random.default_rng(args.seed)
        heads[size] = fit(size, start, net, Pieces(size, files), args.steps, args.batch, rng, rate=args.rate)
    held_out = sample(HELD_OUT, np.random.default_rng(HELD_OUT_SEED))
    for size, ratios in held_out_ratios(heads, PieceMaker(net, FRONT_SIZE, folder), held_out).items():
        report = {
            "held_out_faces": HELD_OUT,
            "psnr_db": float(np.mean(ratios)),
            "psnr_db_worst": float(np.min(ratios)),
        }
        state = {name: value.numpy().astype(np.float16) for name, value in heads[size].state_dict().items()}
        np.savez_compressed(args.out / f"head-{size}.npz", **state)
        (args.out / f"head-{size}.json").write_text(json.dumps(report, indent=1) + "\n")
        print(size, json.dumps(report))


if __name__ == "__main__":
    main()
