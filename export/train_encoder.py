"""Trains the encoder with its feedback on generated faces: crop and landmarks -> W+, the latent being known.

Reads the pool that `python -m export pool` fills, with fresh augmentation of every sample. The loss of an estimate is
the smooth L1 distance of standardised W+ plus the distance of what the latents show (export/latent_metric.py):
picture, geometry and identity, each in units in which guessing the mean face costs 1; of the last estimate also what
`python -m export surrogate` tells from the latents. The estimates before it count a little. The learning rate
follows a cosine of the time spent, so that a slow machine ends as well-tempered as a fast one. Stopped and started
again, it goes on.

No estimate is drawn, which would cost ten times as much; `python -m export polish` does that, from here.
"""

from __future__ import annotations

import argparse
import copy
import time
from collections.abc import Callable
from contextlib import ExitStack
from pathlib import Path
from typing import TypeAlias

import numpy as np
import torch
from rich.progress import Progress
from torch import Tensor
from torch.nn import functional as F

from export import latent_metric
from export.checkpoint import append_row, save_checkpoint
from export.embeddings import embeddings
from export.encoder_batches import Feed, Mixture
from export.pool import Pool, open_pool
from export.precision import autocast
from export.schedule import add_to_average, rate_share
from export.train_surrogate import FILE as SURROGATE
from export.train_surrogate import load_surrogate
from export.training_input import HELD_OUT, to_input
from models import latent, zoo
from models.arrays import F32
from models.networks.encoder import Encoder
from models.networks.refined_encoder import RefinedEncoder

Estimates: TypeAlias = Callable[[Tensor, Tensor], list[Tensor]]

GROUPS = {"coarse": slice(0, 4), "middle": slice(4, 8), "fine": slice(8, 18)}
AVERAGE = 0.999  # decay of the weight average
WEIGHTS = {"picture": 1.0, "geometry": 3.0, "identity": 1.0}  # of the metric's parts, against the latent's 2
LOOKS = {"landmarks": 6.0, "thumbnail": 0.5, "identity": 2.0}  # of what the latents look like
EARLIER = 0.15  # weight of every estimate before the last


def load_metric(folder: Path, pool: Pool, heads: Path, mean: F32, unit: F32) -> dict[str, Tensor]:
    """The rows of the latent metric, made once and kept in `folder`."""
    path = folder / "metric.npz"
    if not path.exists():
        picture = latent_metric.picture_rows(pool, heads, unit)
        geometry = latent_metric.geometry_rows(pool, unit)
        identity = latent_metric.identity_rows(pool, embeddings(pool), unit)
        np.savez(
            path,
            picture=latent_metric.normalised(picture, pool, mean, unit),
            geometry=latent_metric.normalised(geometry, pool, mean, unit),
            identity=latent_metric.normalised(identity, pool, mean, unit),
        )
    with np.load(path) as arrays:
        return {name: torch.from_numpy(arrays[name]) for name in arrays.files}


def losses_of(
    net: RefinedEncoder, estimates: list[Tensor], truth: Tensor, metric: dict[str, Tensor]
) -> dict[str, Tensor]:
    """Each part of the loss, weighted, of standardised W+ estimates [N, 18, 512] of a `truth` like them."""
    shares = [EARLIER] * (len(estimates) - 1) + [1.0]
    losses = {name: truth.new_zeros(()) for name in ("latent", *metric)}
    for share, estimate in zip(shares, estimates, strict=True):
        error = estimate - truth
        losses["latent"] = losses["latent"] + 2 * share * F.smooth_l1_loss(error, torch.zeros_like(error))
        for name, rows in metric.items():
            losses[name] = losses[name] + share * WEIGHTS[name] * (error.flatten(1) @ rows.T).square().sum(1).mean()
    with torch.no_grad():
        looks = net.surrogate(truth)
    for name, unlike in net.surrogate.unlike(net.surrogate(estimates[-1]) - looks).items():
        losses[f"look_{name}"] = LOOKS[name] * unlike
    return losses


def held_out_scores(net: RefinedEncoder, pool: Pool, metric: dict[str, Tensor]) -> dict[str, float]:
    """R2 of W+ by layer group and the share of each metric left unexplained, on clean held-out samples."""
    rows = slice(0, HELD_OUT)
    images, landmarks = to_input(pool.images[rows]), torch.from_numpy(np.array(pool.landmarks[rows]))
    encoder = net.encoder
    truth = (torch.from_numpy(pool.latents[rows].astype(np.float32)) - encoder.mean_w) / encoder.std_w
    with torch.no_grad():
        guess = torch.cat(
            [net.estimates(i, p)[-1] for i, p in zip(images.split(64), landmarks.split(64), strict=True)]
        )
        unlike = net.surrogate.unlike(net.surrogate(guess) - net.surrogate(truth))
    error = guess - truth
    scores = {
        f"r2_{name}": 1 - float(error[:, part].square().sum() / (truth - truth.mean(0))[:, part].square().sum())
        for name, part in GROUPS.items()
    }
    for name, rows_of in metric.items():
        share = (error.flatten(1) @ rows_of.T).square().sum() / (truth.flatten(1) @ rows_of.T).square().sum()
        scores[f"{name}_left"] = float(share)
    return scores | {f"look_{name}_left": float(value) for name, value in unlike.items()}


def main(argv: list[str] | None = None) -> None:
    """Command line of `python -m export encoder`."""
    parser = argparse.ArgumentParser(prog="python -m export encoder", description=__doc__)
    parser.add_argument("--minutes", type=float, default=90, help="time to train for, over all runs")
    parser.add_argument("--batch", type=int, default=32)
    parser.add_argument("--rate", type=float, default=1e-3)
    parser.add_argument("--anew", action="store_true", help="a schedule of its own for the trained encoder")
    parser.add_argument(
        "--compile", action="store_true", help="needs a C++ compiler and minutes to start; then faster"
    )
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--pool", type=Path, default=Path("runs/pool"))
    parser.add_argument("--heads", type=Path, default=zoo.SHIPPED / "heads")
    parser.add_argument("--run", type=Path, default=Path("runs/encoder"))
    args = parser.parse_args(argv)
    args.run.mkdir(parents=True, exist_ok=True)
    torch.set_num_threads(args.threads)
    torch.manual_seed(1)

    mean, unit = np.array(latent.mean_w()), np.array(latent.std_w())  # copies: torch wants to write
    pool = open_pool(args.pool)
    encoder = Encoder(torch.from_numpy(mean), torch.from_numpy(unit))
    net = RefinedEncoder(encoder, load_surrogate(args.run / SURROGATE)).to(memory_format=torch.channels_last)
    average = copy.deepcopy(net).eval().requires_grad_(False)
    learned = [p for p in net.parameters() if p.requires_grad]
    decayed = [p for p in learned if p.ndim > 1]
    plain = [p for p in learned if p.ndim <= 1]
    optimizer = torch.optim.AdamW([{"params": decayed, "weight_decay": 0.02}, {"params": plain, "weight_decay": 0}])
    step, spent = 0, 0.0
    last = args.run / "last.pt"
    if last.exists():
        saved = torch.load(last, weights_only=True)
        for ours, name in ((net, "net"), (average, "average")):
            # The surrogate is the folder's own: it may have been trained again.
            state = {key: value for key, value in saved[name].items() if not key.startswith("surrogate.")}
            ours.load_state_dict(state, strict=False)
        optimizer.load_state_dict(saved["optimizer"])
        step, spent = saved["step"], 0.0 if args.anew else saved["spent"]
    metric = load_metric(args.run, pool, args.heads, mean, unit)
    estimates_of: Estimates = net.estimates
    if args.compile:
        estimates_of = torch.compile(net.estimates, dynamic=False)

    def save() -> None:
        state = {"net": net.state_dict(), "average": average.state_dict(), "optimizer": optimizer.state_dict(),
                 "step": step, "spent": spent}  # fmt: skip
        save_checkpoint(last, state)

    budget, clock = args.minutes * 60, time.monotonic()
    log_path = args.run / "log.csv"
    running: dict[str, float] = {}
    with ExitStack() as stack:
        stack.callback(save)
        feed = stack.enter_context(Feed(pool, None, Mixture(args.batch), step + 1))
        progress = stack.enter_context(Progress())
        task = progress.add_task(f"step {step}", total=budget)
        while spent < budget:
            batch = feed.next()
            rate = args.rate * rate_share(step, 300, spent / budget, least=0.01)
            for group in optimizer.param_groups:
                group["lr"] = rate
            truth = (batch.latents - encoder.mean_w) / encoder.std_w
            with autocast():
                estimates = estimates_of(batch.images, batch.landmarks)
            losses = losses_of(net, estimates, truth, metric)
            loss = torch.stack(list(losses.values())).sum()
            optimizer.zero_grad(set_to_none=True)
            loss.backward()
            torch.nn.utils.clip_grad_norm_(learned, 1.0)
            optimizer.step()
            step += 1
            now = time.monotonic()
            spent, clock = spent + now - clock, now
            progress.update(task, completed=spent, description=f"step {step}, loss {float(loss.detach()):.3f}")
            add_to_average(average, net, step, AVERAGE)
            for ours, theirs in zip(average.buffers(), net.buffers(), strict=True):
                ours.copy_(theirs)
            for name, value in losses.items():
                now_is = float(value.detach())
                running[name] = 0.98 * running.get(name, now_is) + 0.02 * now_is
            if step % 250 == 0:
                row = {"step": step, "minutes": round(spent / 60, 2), "pool": pool.filled, "rate": rate,
                       **running, **held_out_scores(average, pool, metric)}  # fmt: skip
                append_row(log_path, row)
                progress.console.print({name: round(value, 4) for name, value in row.items()})
            if step % 500 == 0:
                save()


if __name__ == "__main__":
    main()
