"""Makes pairs of generated faces: one, and the same after an edit, both with their landmarks.

What an edit does to a face's geometry is learned from these; the first of each pair is a row of the pool.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from rich.progress import track

from export.default_generator import compile_generator
from export.pool import MADE_AT, Pool
from models import registry
from models.alignment import to_rgb
from models.arrays import F32
from models.directions import load_direction, shipped_directions
from models.landmarker import Landmarker
from models.latent import LAYERS, STYLE_DIM, move, std_w

WAVED_SHARE = 0.25  # of the edits are waves as of a deform loop, the others are one or two directions
MOST_STRENGTH = 3.0
MOST_DEPTH = 1.5


@dataclass(frozen=True)
class EditedSamples:
    """Pairs, row by row.

    Attributes:
        rows: int64 [N], the pool's rows that were edited.
        latents: float16 [N, 18, 512], the edited W+.
        landmarks: float32 [N, 478, 2] of the edited face, in [0, 1] of the picture.
    """

    rows: np.ndarray[tuple[int], np.dtype[np.int64]]
    latents: np.ndarray[tuple[int, ...], np.dtype[np.float16]]
    landmarks: F32


def random_edit(rng: np.random.Generator) -> F32:
    """An edit as users make them: float32 [1, 18, 512] to add to W+."""
    if rng.random() < WAVED_SHARE:
        first, last = np.sort(rng.integers(0, 12, 2))
        wave = np.zeros((1, LAYERS, STYLE_DIM), np.float32)
        wave[:, first : last + 1] = rng.standard_normal((last + 1 - first, STYLE_DIM)) * std_w()
        return wave * np.float32(rng.uniform(-MOST_DEPTH, MOST_DEPTH))
    names = rng.choice(shipped_directions(), rng.integers(1, 3), replace=False)
    moves = [load_direction(name).vector * np.float32(rng.uniform(-MOST_STRENGTH, MOST_STRENGTH)) for name in names]
    return np.asarray(sum(moves), np.float32)


def make_edited(pool: Pool, rows: range, heads: Path, path: Path, edit: Callable[[np.random.Generator], F32]) -> None:
    """Edits the pool's `rows`, finds the landmarks and writes both to `path` (.npz)."""
    request = compile_generator(MADE_AT, heads, 1)
    kept: list[int] = []
    latents, landmarks = [], []
    with Landmarker(registry.path("face-landmarker")) as landmarker:
        for row in track(rows, description="Edited faces"):
            w_plus = move(pool.latents[row : row + 1].astype(np.float32), edit(np.random.default_rng([2, row])), 1.0)
            faces = landmarker.detect(to_rgb(np.array(request.infer([w_plus])[0])))
            if faces:
                kept.append(row)
                latents.append(w_plus[0].astype(np.float16))
                landmarks.append((faces[0].landmarks + 0.5) / MADE_AT)
    np.savez(path, rows=np.array(kept), latents=np.stack(latents), landmarks=np.stack(landmarks).astype(np.float32))


def load_edited(path: Path) -> EditedSamples:
    """Reads what `make_edited` wrote."""
    with np.load(path) as arrays:
        return EditedSamples(arrays["rows"], arrays["latents"], arrays["landmarks"])
