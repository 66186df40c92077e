"""Labels the generated faces of a pool with everything directions are fitted to; resumable."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np
from rich.progress import track

from export.measure import Meter, attribute_values
from export.pool import SIZE, Pool, open_pool
from models.arrays import F32
from models.errors import UserError
from models.landmarker import Detection

SHARD = 500  # faces per cache file: what an interruption can lose


@dataclass(frozen=True)
class Labels:
    """Generated faces and what was measured of them.

    Attributes:
        w_plus: float32 [N, 18, 512].
        columns: float32 [N, len(COLUMNS)].
    """

    w_plus: F32
    columns: F32

    def values(self, attribute: str) -> F32:
        """float32 [N] of one attribute."""
        return attribute_values(self.columns, attribute)


def label(folder: Path, most: int) -> Labels:
    """Labels the first faces of a pool, at most so many, in whole shards.

    Landmarks, blendshapes and pose are the pool's own, measured at 256 px; age, gender and the rest are measured
    here on its 128 px pictures and kept beside them.
    """
    if not (folder / "filled").exists():
        raise UserError(f"there is no pool of faces in {folder}; fill one: python -m export pool")
    pool = open_pool(folder)
    shards = min(most, pool.filled) // SHARD
    if not shards:
        raise UserError(f"the pool in {folder} holds {pool.filled} faces; at least {SHARD} are needed")
    measured = folder / "measures"
    measured.mkdir(exist_ok=True)
    missing = [i for i in range(shards) if not _path(measured, i).exists()]
    if missing:
        with Meter() as meter:
            for i in track(missing, description=f"Labelling {len(missing) * SHARD} faces"):
                _save(_path(measured, i), _measure(pool, range(i * SHARD, (i + 1) * SHARD), meter))
    rows = shards * SHARD
    return Labels(
        pool.latents[:rows].astype(np.float32),
        np.concatenate([np.load(_path(measured, i)) for i in range(shards)]),
    )


def _measure(pool: Pool, rows: range, meter: Meter) -> F32:
    """Columns [len(rows), len(COLUMNS)] of some faces of the pool."""
    columns = []
    for row in rows:
        landmarks = (pool.landmarks[row] * SIZE - 0.5).astype(np.float32)
        detection = Detection(landmarks, pool.blendshapes[row], pool.pose[row], 1.0)
        columns.append(meter.read(np.ascontiguousarray(pool.images[row]), detection).columns())
    return np.stack(columns)


def _path(folder: Path, index: int) -> Path:
    return folder / f"{index:04d}.npy"


def _save(path: Path, columns: F32) -> None:
    """Writes a shard whole or not at all."""
    partial = path.with_suffix(".partial.npy")
    np.save(partial, columns)
    partial.replace(path)
