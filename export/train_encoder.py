"""Trains the encoder with its feedback on generated faces: crop and landmarks -> W+, the latent being known.

Reads the pool that `python -m export pool` fills, with fresh augmentation of every sample. The loss of an estimate is
the smooth L1 distance of standardised W+ plus the distance of what the latents show (export/latent_metric.py):
picture, geometry and identity, each in units in which guessing the mean face costs 1; of the last estimate also what
`python -m export surrogate` tells from the latents. The estimates before it count a little. The learning rate
follows a cosine of the time spent, so that a slow machine ends as well-tempered as a fast one. Stopped and started
again, it goes on.

Of some faces of a batch the estimate is drawn by the generator, and compared as the eye and a face recogniser see it
(export/likeness.py). That needs no latent: photographs can take part. It costs ten times as much as a face that is
not drawn, and is for an encoder that has been trained without.
"""

from __future__ import annotations

import argparse
import copy
import queue
import threading
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TypeAlias

import numpy as np
import torch
from rich.progress import Progress
from torch import Tensor
from torch.nn import functional as F

from export import latent_metric
from export.augment import disturb_landmarks, misalign, photograph
from export.checkpoint import append_row, save_checkpoint
from export.embeddings import embeddings
from export.evaluate import photo_paths
from export.face_region import cut
from export.likeness import SCALE, Likeness, Portraits, read_portraits
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
FEED_SECONDS = 300.0  # without a batch, after which training ends
AVERAGE = 0.999  # decay of the weight average
WEIGHTS = {"picture": 1.0, "geometry": 3.0, "identity": 1.0}  # of the metric's parts, against the latent's 2
LOOKS = {"landmarks": 6.0, "thumbnail": 0.5, "identity": 2.0}  # of what the latents look like
DRAWN = {"identity": 4.0, "picture": 0.5}  # of what the generator makes of them
EARLIER = 0.15  # weight of every estimate before the last


@dataclass(frozen=True)
class Batch:
    """What a step learns from: generated faces, then photographs.

    Attributes:
        images: float32 [N + P, 3, 128, 128], augmented.
        landmarks: float32 [N + P, 478, 2], augmented.
        latents: float32 [N, 18, 512], W+ of the generated ones.
        clean: float32 [D + P, 3, 128, 128], as they are: the first generated ones, and the photographs.
        points: float32 [N + P, 478, 2], the landmarks as they are.
    """

    images: Tensor
    landmarks: Tensor
    latents: Tensor
    clean: Tensor
    points: Tensor


@dataclass(frozen=True)
class Mixture:
    """How many faces of each kind a batch has, and of how many generated ones the estimate is drawn."""

    generated: int
    drawn: int
    portraits: int


def batches(
    pool: Pool,
    portraits: Portraits | None,
    mixture: Mixture,
    seed: int,
    quit_event: threading.Event,
    ready: queue.Queue[Batch],
) -> None:
    """Feeds augmented batches to `ready`."""
    rng = np.random.default_rng(seed)
    while not quit_event.is_set():
        rows = rng.integers(HELD_OUT, pool.filled, mixture.generated)
        faces, points = pool.images[rows], pool.landmarks[rows]
        if portraits is not None:
            chosen = rng.integers(0, len(portraits.images), mixture.portraits)
            faces = np.concatenate([faces, portraits.images[chosen]])
            points = np.concatenate([points, portraits.landmarks[chosen]])
        images, landmarks = [], []
        for face, known in zip(faces, points, strict=True):
            image, moved = misalign(face, known, rng)
            images.append(photograph(image, rng))
            landmarks.append(disturb_landmarks(moved, rng))
        batch = Batch(
            to_input(np.stack(images)),
            torch.from_numpy(np.stack(landmarks)),
            torch.from_numpy(pool.latents[rows].astype(np.float32)),
            to_input(np.concatenate([faces[: mixture.drawn], faces[mixture.generated :]])),
            torch.from_numpy(points),
        )
        while not quit_event.is_set():
            try:
                ready.put(batch, timeout=0.5)
                break
            except queue.Full:
                continue


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


def likeness_losses(likeness: Likeness, drawn: int, estimate: Tensor, batch: Batch) -> dict[str, Tensor]:
    """The weighted parts of the loss that the generator draws: of the first `drawn` faces and of the photographs.

    Args:
        likeness: draws and compares.
        drawn: how many.
        estimate: W+ [N + P, 18, 512].
        batch: what they were to be.
    """
    rows = [*range(drawn), *range(len(batch.latents), len(estimate))]
    losses = likeness(estimate[rows], cut(batch.clean, SCALE), batch.points[rows])
    return {f"drawn_{name}": DRAWN[name] * loss for name, loss in zip(DRAWN, losses, strict=True)}


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


def trained_on(paths: Sequence[Path]) -> list[Path]:
    """The photographs ``NAME_anything`` of every other person, by name: the others are there to be measured on."""
    people = sorted({path.name.split("_")[0] for path in paths})
    return [path for path in paths if path.name.split("_")[0] in people[::2]]


def main(argv: list[str] | None = None) -> None:
    """Command line of `python -m export encoder`."""
    parser = argparse.ArgumentParser(prog="python -m export encoder", description=__doc__)
    parser.add_argument("--minutes", type=float, default=90, help="time to train for, over all runs")
    parser.add_argument("--batch", type=int, default=32)
    parser.add_argument("--rate", type=float, default=1e-3)
    parser.add_argument("--anew", action="store_true", help="a schedule of its own for the trained encoder")
    parser.add_argument("--drawn", type=int, default=0, help="faces of a batch whose estimate is drawn")
    parser.add_argument("--photos", type=Path, metavar="DIR", help="every other person here takes part, unlabelled")
    parser.add_argument("--portraits", type=int, default=2, help="photographs in a batch")
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
    progress = Progress()

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
    portraits = read_portraits(trained_on(photo_paths(args.photos))) if args.photos else None
    mixture = Mixture(args.batch, args.drawn, args.portraits if portraits else 0)
    likeness = Likeness(args.heads) if mixture.drawn or mixture.portraits else None
    estimates_of: Estimates = net.estimates
    if args.compile:
        estimates_of = torch.compile(net.estimates, dynamic=False)
        if likeness is not None:
            likeness.region.compile(dynamic=False)
            likeness.recogniser.compile(dynamic=False)

    def save() -> None:
        state = {"net": net.state_dict(), "average": average.state_dict(), "optimizer": optimizer.state_dict(),
                 "step": step, "spent": spent}  # fmt: skip
        save_checkpoint(last, state)

    quit_event = threading.Event()
    ready: queue.Queue[Batch] = queue.Queue(4)
    feeding = (pool, portraits, mixture, step + 1, quit_event, ready)
    feeder = threading.Thread(target=batches, args=feeding, name="feed")
    feeder.start()
    budget, clock = args.minutes * 60, time.monotonic()
    log_path = args.run / "log.csv"
    running: dict[str, float] = {}
    task = progress.add_task(f"step {step}", total=budget)
    progress.start()
    try:
        while spent < budget:
            try:
                batch = ready.get(timeout=FEED_SECONDS)
            except queue.Empty:
                raise SystemExit("no batch came; what the feeding thread said is above") from None
            rate = args.rate * rate_share(step, 300, spent / budget, least=0.01)
            for group in optimizer.param_groups:
                group["lr"] = rate
            truth = (batch.latents - encoder.mean_w) / encoder.std_w
            with autocast():
                estimates = estimates_of(batch.images, batch.landmarks)
            losses = losses_of(net, [estimate[: len(truth)] for estimate in estimates], truth, metric)
            if likeness is not None:
                w_plus = encoder.mean_w + encoder.std_w * estimates[-1]
                with autocast():
                    losses |= likeness_losses(likeness, mixture.drawn, w_plus, batch)
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
    finally:
        progress.stop()
        quit_event.set()
        feeder.join()
        save()


if __name__ == "__main__":
    main()
