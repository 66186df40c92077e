"""Trains the network that tells what a latent looks like: W+ -> landmarks, thumbnail and identity of the face.

The encoder's feedback (models/networks/refined_encoder.py) stands on it: it stands in for the generator, at a
thousandth of its arithmetic.
"""

from __future__ import annotations

import argparse
import json
from pathlib import Path

import numpy as np
import torch
from rich.progress import Progress, track
from torch import Tensor

from export.embeddings import embeddings
from export.latent_metric import face_weight
from export.pool import Pool, open_pool
from export.precision import autocast
from export.schedule import rate_share
from export.training_input import HELD_OUT, to_input
from models.arrays import F32
from models.errors import UserError
from models.face_mesh import EYE_A, EYE_B, LIPS
from models.latent import mean_w, std_w
from models.networks.surrogate import (
    PARTS,
    THUMBNAIL,
    Surrogate,
    Whitening,
    empty_surrogate,
    weighted_points,
    weighted_thumbnails,
)

BACKDROP = 0.2  # weight of what is around the face, at most, against the face
EXPRESSIVE = 3.0  # weight of the points of lips and eyes
SPREAD_OF = 8192  # faces that the principal components come from
FILE = "surrogate.pt"


def whiten(rows: Tensor, scores: int) -> Whitening:
    """The first principal components of [N, D]."""
    mean = rows.mean(0)
    _, values, directions = torch.linalg.svd(rows - mean, full_matrices=False)
    deviations = values[:scores] / len(rows) ** 0.5
    return Whitening(mean, (directions[:scores] / deviations[:, None]).T.contiguous(), deviations / deviations.norm())


def make_surrogate(pool: Pool, embedded: F32) -> tuple[Surrogate, Tensor]:
    """An untrained network for the pool, and what it is to say: float32 [N, SCORES]."""
    weight = face_weight(THUMBNAIL)
    weight = torch.where(weight > 0.5, 1.0, BACKDROP * weight)
    importance = torch.ones(pool.landmarks.shape[1], 1)
    importance[[*LIPS, *EYE_A, *EYE_B]] = EXPRESSIVE
    n = pool.filled
    # What the untrained network would see of the pool, unwhitened.
    parts = {
        "landmarks": weighted_points(torch.from_numpy(np.array(pool.landmarks[:n])), importance.sqrt()),
        "thumbnail": torch.cat(
            [
                weighted_thumbnails(to_input(np.array(pool.images[rows])), weight)
                for rows in track(np.array_split(np.arange(n), -(-n // 512)), description="Thumbnails")
            ]
        ),
        "identity": torch.from_numpy(embedded),
    }
    shown = slice(HELD_OUT, HELD_OUT + SPREAD_OF)
    by = {name: whiten(parts[name][shown], part.stop - part.start) for name, part in PARTS.items()}
    truth = torch.cat([(parts[name] - by[name].mean) @ by[name].rows for name in PARTS], 1)
    return Surrogate(by["landmarks"], by["thumbnail"], by["identity"], importance, weight), truth


def load_surrogate(path: Path) -> Surrogate:
    """The trained network, in evaluation mode."""
    net = empty_surrogate()
    net.load_state_dict(torch.load(path, weights_only=True))
    return net.eval().requires_grad_(False)


def explained(net: Surrogate, latents: Tensor, truth: Tensor) -> dict[str, float]:
    """R2 of each part."""
    with torch.no_grad():
        left = net.unlike(net(latents) - truth)
        whole = net.unlike(truth - truth.mean(0))
    return {name: round(1 - float(left[name] / whole[name]), 4) for name in left}


def main(argv: list[str] | None = None) -> None:
    """Command line of `python -m export surrogate`."""
    parser = argparse.ArgumentParser(prog="python -m export surrogate", description=__doc__)
    parser.add_argument("--steps", type=int, default=4000)
    parser.add_argument("--batch", type=int, default=256)
    parser.add_argument("--rate", type=float, default=1e-3)
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--pool", type=Path, default=Path("runs/pool"))
    parser.add_argument("--run", type=Path, default=Path("runs/encoder"), help="folder of the encoder's training")
    args = parser.parse_args(argv)
    args.run.mkdir(parents=True, exist_ok=True)
    torch.set_num_threads(args.threads)
    torch.manual_seed(1)
    pool = open_pool(args.pool)
    if pool.filled < HELD_OUT + SPREAD_OF:
        raise UserError(
            f"the pool in {args.pool} has {pool.filled} faces so far, {HELD_OUT + SPREAD_OF} are needed; "
            "let `python -m export pool` go on"
        )
    net, truth = make_surrogate(pool, embeddings(pool))
    n = len(truth)
    mean, unit = torch.from_numpy(np.array(mean_w())), torch.from_numpy(np.array(std_w()))
    latents = torch.from_numpy(np.array(pool.latents[:n]))
    held = (latents[:HELD_OUT].float() - mean) / unit
    optimizer = torch.optim.AdamW(net.parameters(), args.rate, weight_decay=0.3)
    with Progress() as progress:
        task = progress.add_task("Surrogate", total=args.steps)
        for step in range(args.steps):
            for group in optimizer.param_groups:
                group["lr"] = args.rate * rate_share(step, 200, step / args.steps)
            rows = torch.randint(HELD_OUT, n, (args.batch,))
            with autocast():
                scores = net((latents[rows].float() - mean) / unit)
            loss = torch.stack(list(net.unlike(scores.float() - truth[rows]).values())).sum()
            optimizer.zero_grad(set_to_none=True)
            loss.backward()
            optimizer.step()
            progress.update(task, advance=1, description=f"loss {float(loss.detach()):.3f}")
            if (step + 1) % 500 == 0:
                progress.console.print(
                    step + 1, round(float(loss.detach()), 3), explained(net, held, truth[:HELD_OUT])
                )
    torch.save(net.state_dict(), args.run / FILE)
    figures = {"faces": n, "explained": explained(net.eval(), held, truth[:HELD_OUT])}
    (args.run / FILE).with_suffix(".json").write_text(json.dumps(figures) + "\n")
    print(json.dumps(figures))


if __name__ == "__main__":
    main()
