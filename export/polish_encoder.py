"""Polishes the shipped encoder: learns on from its ONNX graph, by what the generator draws of its estimates.

It needs no surrogate and no metric, as `python -m export encoder` does, only the pool of generated faces. Of some of
a batch and of photographs the estimate is drawn by the generator, and compared as pictures and by a face recogniser
(export/likeness.py); of all generated ones the latents count, and where the landmark regressor sees the points. The
learning rate follows a cosine of the time spent. Stopped and started again, it goes on; when its time is up the graph
is written, which `--ship` does at any time.
"""

from __future__ import annotations

import argparse
import copy
import json
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

from export.checkpoint import append_row, save_checkpoint
from export.evaluate import photo_paths
from export.face_region import cut
from export.likeness import SCALE, Likeness, read_portraits
from export.pool import Pool, open_pool
from export.precision import autocast
from export.ship_encoder import export_encoder
from export.shipped_networks import read_encoder, read_regressor
from export.train_encoder import FEED_SECONDS, Batch, Mixture, batches, likeness_losses, trained_on
from export.training_input import to_input
from models import zoo
from models.errors import UserError
from models.face_mesh import EYE_A, EYE_B
from models.files import sha256
from models.networks.landmark_regressor import LandmarkRegressor
from models.networks.refined_encoder import FoldedEncoder

AVERAGE = 0.99  # decay of the weight average
LATENT = 2.0  # weight of the smooth L1 of standardised W+
POINTS = 100.0  # weight of the landmarks' squared error, in eye distances
WARM = 100  # steps until the rate is whole
COMPARED = 32  # held-out faces
EVERY = 100  # steps between two looks at them, and checkpoints


def eye_distances(landmarks: Tensor) -> Tensor:
    """[N, 478, 2] -> [N]."""
    middle_a, middle_b = (landmarks[:, list(eye)].mean(1) for eye in (EYE_A, EYE_B))
    return (middle_a - middle_b).norm(dim=1)


def latent_losses(
    net: FoldedEncoder, regressor: LandmarkRegressor, estimate: Tensor, truth: Tensor
) -> dict[str, Tensor]:
    """The weighted parts of the loss that need no picture; both W+ [N, 18, 512]."""
    error = (estimate - truth) / net.encoder.std_w
    with torch.no_grad():
        known = regressor(truth)
    off = (regressor(estimate) - known) / eye_distances(known)[:, None, None]
    return {
        "latent": LATENT * F.smooth_l1_loss(error, torch.zeros_like(error)),
        "points": POINTS * off.square().sum(2).mean(),
    }


def held_out_scores(
    net: FoldedEncoder, likeness: Likeness, regressor: LandmarkRegressor, pool: Pool
) -> dict[str, float]:
    """Medians over clean held-out faces: identity distance, picture loss, landmark error in eye distances."""
    scores = []
    for row in range(COMPARED):
        rows = slice(row, row + 1)
        image, landmarks = to_input(pool.images[rows]), torch.from_numpy(np.array(pool.landmarks[rows]))
        with torch.no_grad():
            estimate = net(image, landmarks)
            identity, picture = likeness(estimate, cut(image, SCALE), landmarks)
            known = regressor(torch.from_numpy(pool.latents[rows].astype(np.float32)))
            off = (regressor(estimate) - known).norm(dim=2).mean(1) / eye_distances(known)
        scores.append((math.sqrt(float(identity)), float(picture), float(off)))
    medians = np.median(scores, axis=0)
    return {"identity": float(medians[0]), "picture": float(medians[1]), "points_off": float(medians[2])}


def ship(net: FoldedEncoder, pool: Pool, out: Path, polished: dict[str, float]) -> None:
    """Writes the graph, and beside it the figures of its training."""
    path = out.with_suffix(".json")
    figures = json.loads(path.read_text(encoding="utf-8")) if path.exists() else {}
    errors = export_encoder(net, pool, out)
    figures |= {"polished": polished, "float16_error_in_standard_deviations": errors, "sha256": sha256(out)}
    path.write_text(json.dumps(figures, indent=1) + "\n", encoding="utf-8")
    print(json.dumps(figures))


def main(argv: list[str] | None = None) -> None:
    """Command line of `python -m export polish`."""
    parser = argparse.ArgumentParser(prog="python -m export polish", description=__doc__)
    parser.add_argument("--minutes", type=float, default=90, help="time to train for, over all runs")
    parser.add_argument("--batch", type=int, default=24)
    parser.add_argument("--drawn", type=int, default=8, help="faces of a batch whose estimate is drawn")
    parser.add_argument("--rate", type=float, default=2e-4)
    parser.add_argument("--photos", type=Path, metavar="DIR", help="every other person here takes part, unlabelled")
    parser.add_argument("--portraits", type=int, default=2, help="photographs in a batch")
    parser.add_argument("--ship", action="store_true", help="write the graph of the last checkpoint; train no more")
    parser.add_argument(
        "--compile", action="store_true", help="needs a C++ compiler and minutes to start; then faster"
    )
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--pool", type=Path, default=Path("runs/pool"))
    parser.add_argument("--heads", type=Path, default=zoo.SHIPPED / "heads")
    parser.add_argument("--run", type=Path, default=Path("runs/polish"))
    parser.add_argument("--from", dest="start", type=Path, default=zoo.SHIPPED / "encoder.onnx", help="the encoder")
    parser.add_argument("--out", type=Path, default=zoo.SHIPPED / "encoder.onnx")
    args = parser.parse_args(argv)
    args.run.mkdir(parents=True, exist_ok=True)
    torch.set_num_threads(args.threads)
    torch.manual_seed(1)
    pool = open_pool(args.pool)
    net = read_encoder(args.start).to(memory_format=torch.channels_last)
    average = copy.deepcopy(net).requires_grad_(False)
    optimizer = torch.optim.AdamW([p for p in net.parameters() if p.requires_grad], weight_decay=0.0)
    step, spent, last = 0, 0.0, args.run / "last.pt"
    if last.exists():
        saved = torch.load(last, weights_only=True)
        net.load_state_dict(saved["net"])
        average.load_state_dict(saved["average"])
        optimizer.load_state_dict(saved["optimizer"])
        step, spent = saved["step"], saved["spent"]
    elif args.ship:
        raise UserError(f"no checkpoint {last}; polish first, without --ship")

    portraits = read_portraits(trained_on(photo_paths(args.photos))) if args.photos else None
    mixture = Mixture(args.batch, args.drawn, args.portraits if portraits else 0)
    likeness, regressor = Likeness(args.heads), read_regressor(zoo.SHIPPED / "landmarks.onnx")
    judge = likeness
    if args.compile:
        likeness = copy.deepcopy(likeness)  # the judge looks at one face at a time: that is not worth compiling for
        likeness.region.compile(dynamic=False)
        likeness.recogniser.compile(dynamic=False)

    def save() -> None:
        state = {"net": net.state_dict(), "average": average.state_dict(), "optimizer": optimizer.state_dict(),
                 "step": step, "spent": spent}  # fmt: skip
        save_checkpoint(last, state)

    quit_event = threading.Event()
    ready: queue.Queue[Batch] = queue.Queue(4)
    feeder = threading.Thread(
        target=batches, args=(pool, portraits, mixture, step + 1, quit_event, ready), name="feed"
    )
    feeder.start()
    budget, clock = 0.0 if args.ship else args.minutes * 60, time.monotonic()
    running: dict[str, float] = {}
    with Progress() as progress:
        task = progress.add_task(f"step {step}", total=budget, completed=int(spent))
        try:
            while spent < budget:
                try:
                    batch = ready.get(timeout=FEED_SECONDS)
                except queue.Empty:
                    raise SystemExit("no batch came; what the feeding thread said is above") from None
                cosine = 0.01 + 0.99 * 0.5 * (1 + math.cos(math.pi * spent / budget))
                for group in optimizer.param_groups:
                    group["lr"] = args.rate * min(1.0, (step + 1) / WARM) * cosine
                estimate = net(batch.images, batch.landmarks)
                losses = latent_losses(net, regressor, estimate[: args.batch], batch.latents)
                with autocast():
                    losses |= likeness_losses(likeness, args.drawn, estimate, batch)
                loss = torch.stack(list(losses.values())).sum()
                optimizer.zero_grad(set_to_none=True)
                loss.backward()
                torch.nn.utils.clip_grad_norm_(net.parameters(), 1.0)
                optimizer.step()
                step += 1
                now = time.monotonic()
                spent, clock = spent + now - clock, now
                progress.update(task, completed=spent, description=f"step {step}, loss {float(loss.detach()):.3f}")
                decay = min(AVERAGE, step / (step + 20))
                with torch.no_grad():
                    for ours, theirs in zip(average.parameters(), net.parameters(), strict=True):
                        ours.lerp_(theirs, 1 - decay)
                for name, value in losses.items():
                    now_is = float(value.detach())
                    running[name] = 0.98 * running.get(name, now_is) + 0.02 * now_is
                if step % EVERY == 0:
                    scores = held_out_scores(average, judge, regressor, pool)
                    row = {"step": step, "minutes": round(spent / 60, 2), **running, **scores}
                    append_row(args.run / "log.csv", row)
                    progress.console.print({name: round(value, 4) for name, value in row.items()})
                    save()
        finally:
            quit_event.set()
            feeder.join()
            save()
    ship(average, pool, args.out, {"steps": step, "minutes": round(spent / 60, 1)})


if __name__ == "__main__":
    main()
