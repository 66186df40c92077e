"""Trains the encoder on generated faces: crop and landmarks -> W+, the latent being known.

Reads the pool that `python -m export pool` fills, with fresh augmentation of every sample. The loss is the
smooth L1 distance of standardised W+ plus the distance of what the latents show (export/latent_metric.py): picture,
geometry and identity, each in units in which guessing the mean face costs 1. The learning rate follows a cosine of
the time spent, so that a slow machine ends as well-tempered as a fast one. Stopped and started again, it goes on.
"""

from __future__ import annotations

import argparse
import copy
import csv
import math
import queue
import threading
import time
from pathlib import Path

import numpy as np
import torch
from rich.progress import Progress
from torch import Tensor
from torch.nn import functional as F

from export import latent_metric
from export.augment import disturb_landmarks, misalign, photograph
from export.measure import IdentityMeter
from export.pool import Pool, open_pool
from models import latent, zoo
from models.arrays import F32, U8
from models.networks.encoder import Encoder

HELD_OUT = 512  # first rows of the pool, never trained on
GROUPS = {"coarse": slice(0, 4), "middle": slice(4, 8), "fine": slice(8, 18)}
FEED_SECONDS = 300.0  # without a batch, after which training ends
AVERAGE = 0.999  # decay of the weight average
WEIGHTS = {"picture": 1.0, "geometry": 2.0, "identity": 1.0}  # of the metric's parts, against the latent's 2


def batches(
    pool: Pool, size: int, seed: int, quit_event: threading.Event, ready: queue.Queue[tuple[Tensor, ...]]
) -> None:
    """Feeds augmented batches to `ready`: images, landmarks, W+."""
    rng = np.random.default_rng(seed)
    while not quit_event.is_set():
        rows = np.sort(rng.integers(HELD_OUT, pool.filled, size))
        images, points = [], []
        for row in rows:
            image, landmarks = misalign(pool.images[row], pool.landmarks[row], rng)
            images.append(photograph(image, rng))
            points.append(disturb_landmarks(landmarks, rng))
        batch = (to_input(np.stack(images)), torch.from_numpy(np.stack(points)),
                 torch.from_numpy(pool.latents[rows].astype(np.float32)))  # fmt: skip
        while not quit_event.is_set():
            try:
                ready.put(batch, timeout=0.5)
                break
            except queue.Full:
                continue


def to_input(images: U8) -> Tensor:
    """uint8 [N, S, S, 3] -> float32 [N, 3, S, S] in [-1, 1]."""
    return torch.from_numpy(images).permute(0, 3, 1, 2).float().div_(127.5).sub_(1)


def load_metric(folder: Path, pool: Pool, heads: Path, mean: F32, unit: F32) -> dict[str, Tensor]:
    """The rows of the latent metric, made once and kept in `folder`."""
    path = folder / "metric.npz"
    if not path.exists():
        picture = latent_metric.picture_rows(pool, heads, unit)
        geometry = latent_metric.geometry_rows(pool, mean, unit)
        identity = latent_metric.identity_rows(pool, IdentityMeter(), mean, unit)
        np.savez(
            path,
            picture=latent_metric.normalised(picture, pool, mean, unit),
            geometry=latent_metric.normalised(geometry, pool, mean, unit),
            identity=latent_metric.normalised(identity, pool, mean, unit),
        )
    with np.load(path) as arrays:
        return {name: torch.from_numpy(arrays[name]) for name in arrays.files}


def held_out_scores(net: Encoder, pool: Pool, metric: dict[str, Tensor]) -> dict[str, float]:
    """R2 of W+ by layer group and the share of each metric left unexplained, on clean held-out samples."""
    rows = slice(0, HELD_OUT)
    images, landmarks = to_input(pool.images[rows]), torch.from_numpy(np.array(pool.landmarks[rows]))
    truth = (torch.from_numpy(pool.latents[rows].astype(np.float32)) - net.mean_w) / net.std_w
    with torch.no_grad():
        guess = torch.cat(
            [net.standardised(i, p) for i, p in zip(images.split(64), landmarks.split(64), strict=True)]
        )
    error = guess - truth
    scores = {
        f"r2_{name}": 1 - float(error[:, part].square().sum() / (truth - truth.mean(0))[:, part].square().sum())
        for name, part in GROUPS.items()
    }
    for name, rows_of in metric.items():
        share = (error.flatten(1) @ rows_of.T).square().sum() / (truth.flatten(1) @ rows_of.T).square().sum()
        scores[f"{name}_left"] = float(share)
    return scores


def main(argv: list[str] | None = None) -> None:
    """Command line of `python -m export encoder`."""
    parser = argparse.ArgumentParser(prog="python -m export encoder", description=__doc__)
    parser.add_argument("--minutes", type=float, default=90, help="time to train for, over all runs")
    parser.add_argument("--batch", type=int, default=32)
    parser.add_argument("--rate", type=float, default=1e-3)
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--pool", type=Path, default=Path("runs/pool"))
    parser.add_argument("--heads", type=Path, default=zoo.SHIPPED / "heads")
    parser.add_argument("--run", type=Path, default=Path("runs/encoder"))
    args = parser.parse_args(argv)
    args.run.mkdir(parents=True, exist_ok=True)
    torch.set_num_threads(args.threads)
    torch.manual_seed(1)
    progress = Progress()

    mean, unit = np.array(latent.mean_w()), np.array(latent.std_w())  # copies: torch wants to write
    pool = open_pool(args.pool)
    net = Encoder(torch.from_numpy(mean), torch.from_numpy(unit)).to(memory_format=torch.channels_last)
    average = copy.deepcopy(net).eval().requires_grad_(False)
    decayed = [p for p in net.parameters() if p.ndim > 1]
    plain = [p for p in net.parameters() if p.ndim <= 1]
    optimizer = torch.optim.AdamW([{"params": decayed, "weight_decay": 0.02}, {"params": plain, "weight_decay": 0}])
    step, spent = 0, 0.0
    last = args.run / "last.pt"
    if last.exists():
        saved = torch.load(last, weights_only=True)
        net.load_state_dict(saved["net"])
        average.load_state_dict(saved["average"])
        optimizer.load_state_dict(saved["optimizer"])
        step, spent = saved["step"], saved["spent"]
    metric = load_metric(args.run, pool, args.heads, mean, unit)

    def save() -> None:
        state = {"net": net.state_dict(), "average": average.state_dict(), "optimizer": optimizer.state_dict(),
                 "step": step, "spent": spent}  # fmt: skip
        torch.save(state, last.with_suffix(".tmp"))
        last.with_suffix(".tmp").replace(last)

    quit_event = threading.Event()
    ready: queue.Queue[tuple[Tensor, ...]] = queue.Queue(4)
    feeder = threading.Thread(target=batches, args=(pool, args.batch, step + 1, quit_event, ready), name="feed")
    feeder.start()
    budget, clock = args.minutes * 60, time.monotonic()
    log_path = args.run / "log.csv"
    running: dict[str, float] = {}
    task = progress.add_task(f"step {step}", total=budget)
    progress.start()
    try:
        while spent < budget:
            try:
                images, landmarks, w_plus = ready.get(timeout=FEED_SECONDS)
            except queue.Empty:
                raise SystemExit("no batch came; what the feeding thread said is above") from None
            cosine = 0.01 + 0.99 * 0.5 * (1 + math.cos(math.pi * spent / budget))
            rate = args.rate * min(1.0, (step + 1) / 300) * cosine
            for group in optimizer.param_groups:
                group["lr"] = rate
            truth = (w_plus - net.mean_w) / net.std_w
            with torch.autocast("cpu", torch.bfloat16):
                guess = net.standardised(images, landmarks)
            error = guess.float() - truth
            losses = {"latent": F.smooth_l1_loss(error, torch.zeros_like(error)) * 2}
            for name, rows in metric.items():
                losses[name] = (error.flatten(1) @ rows.T).square().sum(1).mean() * WEIGHTS[name]
            loss = torch.stack(list(losses.values())).sum()
            optimizer.zero_grad(set_to_none=True)
            loss.backward()
            torch.nn.utils.clip_grad_norm_(net.parameters(), 1.0)
            optimizer.step()
            step += 1
            now = time.monotonic()
            spent, clock = spent + now - clock, now
            progress.update(task, completed=spent, description=f"step {step}, loss {float(loss):.3f}")
            decay = min(AVERAGE, step / (step + 20))
            with torch.no_grad():
                for ours, theirs in zip(average.parameters(), net.parameters(), strict=True):
                    ours.lerp_(theirs, 1 - decay)
                for ours, theirs in zip(average.buffers(), net.buffers(), strict=True):
                    ours.copy_(theirs)
            for name, value in losses.items():
                running[name] = 0.98 * running.get(name, float(value)) + 0.02 * float(value)
            if step % 250 == 0:
                row = {"step": step, "minutes": round(spent / 60, 2), "pool": pool.filled, "rate": rate,
                       **running, **held_out_scores(average, pool, metric)}  # fmt: skip
                with log_path.open("a", newline="") as file:
                    writer = csv.DictWriter(file, row)
                    if file.tell() == 0:
                        writer.writeheader()
                    writer.writerow(row)
                progress.console.print({name: round(value, 4) for name, value in row.items()})
            if step % 500 == 0:
                save()
    finally:
        progress.stop()
        quit_event.set()
        feeder.join()
        save()


if __name__ == "__main__":
    main()
