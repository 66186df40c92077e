"""Labels generated faces: draws latents in W, makes their pictures, measures them; resumable."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from rich.progress import track

from export.measure import COLUMNS, Meter, attribute_values
from models.alignment import to_rgb
from models.arrays import F32
from models.latent import broadcast

SHARD = 100  # faces per cache file: what an interruption can lose
# Truncation, uniform: mostly natural faces, with enough spread for rare attributes.
PSI_RANGE = (0.5, 0.9)


@dataclass(frozen=True)
class Labels:
    """Generated faces and what was measured of them.

    Attributes:
        w: float32 [N, 512], truncated.
        columns: float32 [N, len(COLUMNS)].
    """

    w: F32
    columns: F32

    def values(self, attribute: str) -> F32:
        """float32 [N] of one attribute."""
        return attribute_values(self.columns, attribute)


def label(
    count: int,
    seed: int,
    mapping: Callable[[F32], F32],
    synthesize: Callable[[F32], F32],
    mean_w: F32,
    cache: Path,
) -> Labels:
    """Labels at least `count` drawn faces, less those in which no face is found.

    Args:
        count: faces to draw, rounded up to whole shards.
        seed: shard i draws from the generator seeded with (seed, i), so that more faces extend fewer.
        mapping: z [N, 512] -> w [N, 512].
        synthesize: W+ [N, 18, 512] -> RGB [N, 3, R, R] about [-1, 1].
        mean_w: float32 [512].
        cache: folder of the shards already labelled.
    """
    cache.mkdir(parents=True, exist_ok=True)
    shards = -(-count // SHARD)
    missing = [i for i in range(shards) if not _shard_path(cache, seed, i).exists()]
    if missing:
        with Meter() as meter:
            for i in track(missing, description=f"Labelling {len(missing) * SHARD} faces"):
                w = draw(np.random.default_rng((seed, i)), SHARD, mapping, mean_w)
                _save(_shard_path(cache, seed, i), w, measure_faces(w, synthesize, meter))
    loaded = [np.load(_shard_path(cache, seed, i)) for i in range(shards)]
    w = np.concatenate([shard["w"] for shard in loaded])
    columns = np.concatenate([shard["columns"] for shard in loaded])
    found = ~np.isnan(columns[:, 0])
    return Labels(w[found], columns[found])


def draw(rng: np.random.Generator, count: int, mapping: Callable[[F32], F32], mean_w: F32) -> F32:
    """Truncated w, float32 [count, 512]."""
    z = rng.standard_normal((count, 512)).astype(np.float32)
    psi = rng.uniform(*PSI_RANGE, (count, 1)).astype(np.float32)
    return np.asarray(mean_w + psi * (mapping(z) - mean_w), np.float32)


def measure_faces(w: F32, synthesize: Callable[[F32], F32], meter: Meter) -> F32:
    """Columns [N, len(COLUMNS)] of the faces of w [N, 512] or W+ [N, 18, 512]; NaN where none is found."""
    w_plus = broadcast(w) if w.ndim == 2 else w
    columns = np.full((len(w_plus), len(COLUMNS)), np.nan, np.float32)
    for i in range(len(w_plus)):
        measures = meter.measure(to_rgb(synthesize(w_plus[i : i + 1])))
        if measures is not None:
            columns[i] = measures.columns()
    return columns


def _shard_path(cache: Path, seed: int, index: int) -> Path:
    return cache / f"{seed}-{index:04d}.npz"


def _save(path: Path, w: F32, columns: F32) -> None:
    """Writes a shard whole or not at all."""
    partial = path.with_suffix(".partial.npz")
    np.savez(partial, w=w, columns=columns)
    partial.replace(path)
