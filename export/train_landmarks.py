"""Trains the landmark regressor: W+ -> the landmarks of the generated face, so that no detector need run on it.

What counts is by how much an edit moves each point. Besides faces of the pool, pairs of a face and its edit are
learned from, and the loss is on the differences within a pair as much as on the points themselves.
"""

from __future__ import annotations

import argparse
import json
import time
from pathlib import Path

import numpy as np
import torch
from rich.progress import Progress
from torch import Tensor

from export.edited_samples import load_edited, make_edited, random_edit
from export.pool import Pool, open_pool
from export.schedule import rate_share
from export.ship_encoder import export_graph
from models import latent, zoo
from models.arrays import F32
from models.face_mesh import BROW_A, BROW_B, EYE_A, EYE_B, FACE_OVAL, LIPS, NOSE
from models.landmarker import BLENDSHAPES
from models.networks.landmark_regressor import GEOMETRY_LAYERS, LandmarkRegressor

HELD_OUT = 512  # first rows of the pool, and their edits: never trained on
COMPONENTS = 64
PIXELS = 256  # figures are given in pixels of such a picture
REGIONS = {"lips": LIPS, "eyes": (*EYE_A, *EYE_B), "brows": (*BROW_A, *BROW_B), "nose": NOSE, "outline": FACE_OVAL}
OPEN_JAW = 0.25  # blendshape from which on a mouth is open: such faces make the canonical one
FRONTAL = 12.0  # degrees of yaw


def canonical_face(pool: Pool) -> F32:
    """The mean landmarks of faces that look ahead with their mouth open: float32 [478, 2] in [0, 1]."""
    n = pool.filled
    open_mouth = pool.blendshapes[:n, BLENDSHAPES.index("jawOpen")] > OPEN_JAW
    chosen = open_mouth & (np.abs(pool.pose[:n, 0]) < FRONTAL)
    return np.asarray(pool.landmarks[:n][chosen].mean(axis=0), np.float32)


def principal_components(landmarks: F32) -> tuple[Tensor, Tensor]:
    """The mean face [478, 2] and the first principal components [COMPONENTS, 956], scaled by their deviation."""
    flat = landmarks.reshape(len(landmarks), -1)
    mean = flat.mean(axis=0)
    _, values, rows = np.linalg.svd(flat - mean, full_matrices=False)
    scaled = rows[:COMPONENTS] * (values[:COMPONENTS, None] / np.sqrt(len(flat)))
    return torch.from_numpy(mean.reshape(-1, 2).copy()), torch.from_numpy(scaled.astype(np.float32))


def displacement_errors(net: LandmarkRegressor, pool: Pool, edits: Path) -> dict[str, float]:
    """Mean error of how far an edit moves the points, on held-out faces, in pixels at 256 px; and of no answer."""
    pairs = load_edited(edits)
    held = pairs.rows < HELD_OUT
    rows = pairs.rows[held]
    before = torch.from_numpy(pool.latents[rows].astype(np.float32))
    after = torch.from_numpy(pairs.latents[held].astype(np.float32))
    truth = pairs.landmarks[held] - pool.landmarks[rows]
    with torch.no_grad():
        error = (net(after) - net(before)).numpy() - truth
        position = net(before).numpy() - pool.landmarks[rows]

    def pixels(difference: F32, points: tuple[int, ...] | slice) -> float:
        return float(np.linalg.norm(difference[:, points], axis=-1).mean() * PIXELS)

    everywhere = slice(0, 468)
    figures = {f"displacement_{name}": pixels(error, points) for name, points in REGIONS.items()}
    return {
        "displacement": pixels(error, everywhere),
        **figures,
        "displacement_if_none": pixels(truth, everywhere),
        "displacement_lips_if_none": pixels(truth, LIPS),
        "position": pixels(position, everywhere),
    }


def main(argv: list[str] | None = None) -> None:
    """Command line of `python -m export landmarks`."""
    parser = argparse.ArgumentParser(prog="python -m export landmarks", description=__doc__)
    parser.add_argument("--edits", type=int, default=7500, help="pairs of a face and its edit to make and learn from")
    parser.add_argument("--steps", type=int, default=6000)
    parser.add_argument("--batch", type=int, default=256)
    parser.add_argument("--rate", type=float, default=1e-3)
    parser.add_argument("--pool", type=Path, default=Path("runs/pool"))
    parser.add_argument("--heads", type=Path, default=zoo.SHIPPED / "heads")
    parser.add_argument("--run", type=Path, default=Path("runs/landmarks"))
    parser.add_argument("--out", type=Path, default=zoo.SHIPPED)
    args = parser.parse_args(argv)
    args.run.mkdir(parents=True, exist_ok=True)
    torch.manual_seed(1)
    pool = open_pool(args.pool)
    edits = args.run / "edited.npz"
    if not edits.exists():
        make_edited(pool, range(min(args.edits, pool.filled)), args.heads, edits, random_edit)

    pairs = load_edited(edits)
    taught = pairs.rows >= HELD_OUT
    pair_rows = torch.from_numpy(pairs.rows[taught])
    n = pool.filled
    latents = torch.from_numpy(np.array(pool.latents[:n, :GEOMETRY_LAYERS]))
    landmarks = torch.from_numpy(np.array(pool.landmarks[:n]))
    edited = torch.from_numpy(pairs.latents[taught][:, :GEOMETRY_LAYERS].copy())
    edited_landmarks = torch.from_numpy(pairs.landmarks[taught])
    every_face = np.concatenate([pool.landmarks[HELD_OUT:n], pairs.landmarks[taught]])
    mean_w, std_w = (torch.from_numpy(np.array(a)) for a in (latent.mean_w(), latent.std_w()))
    net = LandmarkRegressor(mean_w, std_w, *principal_components(every_face[::2]))
    weight = torch.ones(478, 1)
    weight[[*LIPS, *EYE_A, *EYE_B]] = 3.0

    def loss_of(difference: Tensor) -> Tensor:
        return ((difference * PIXELS).square() * weight).mean()

    optimizer = torch.optim.AdamW(net.parameters(), args.rate, weight_decay=0.15)
    started = time.monotonic()
    with Progress() as progress:
        task = progress.add_task("Landmarks", total=args.steps)
        for step in range(args.steps):
            for group in optimizer.param_groups:
                group["lr"] = args.rate * rate_share(step, 200, step / args.steps)
            alone = torch.randint(HELD_OUT, n, (args.batch,))
            paired = torch.randint(0, len(pair_rows), (args.batch // 2,))
            rows = torch.cat([alone, pair_rows[paired]])
            w_plus = torch.cat([latents[rows], edited[paired]]).float()
            truth = torch.cat([landmarks[rows], edited_landmarks[paired]])
            error = net(w_plus) - truth
            moved = error[len(rows) :] - error[len(alone) : len(rows)]
            loss = loss_of(error) + 2 * loss_of(moved)
            optimizer.zero_grad(set_to_none=True)
            loss.backward()
            optimizer.step()
            progress.update(task, advance=1, description=f"loss {float(loss.detach()):.2f}")
    net.eval()
    figures = displacement_errors(net, pool, edits)
    examples = torch.from_numpy(pool.latents[:8].astype(np.float32))
    export_graph(net, {"w_plus": examples}, "landmarks", args.out / "landmarks.onnx", tolerance=1e-3)
    np.save(args.out / "canonical_face.npy", canonical_face(pool))
    card = {
        "steps": args.steps,
        "minutes": round((time.monotonic() - started) / 60, 1),
        "faces": n - HELD_OUT,
        "pairs": len(pair_rows),
        "parameters": sum(p.numel() for p in net.parameters()),
        "pixels_at_256": {name: round(value, 3) for name, value in figures.items()},
    }
    (args.out / "landmarks.json").write_text(json.dumps(card, indent=1) + "\n")
    print(json.dumps(card))


if __name__ == "__main__":
    main()
