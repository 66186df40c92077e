"""Labels the generated faces of a pool with everything directions are fitted to; resumable."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import cv2
import numpy as np
from rich.progress import track

from export.measure import COLUMNS, Meter, attribute_values
from export.pool import SIZE, Pool, open_pool
from models.arrays import F32, U8
from models.errors import UserError
from models.landmarker import Detection

SHARD = 500  # faces per cache file: what an interruption can lose
# Forehead and temples, corners of the eyes, ridge and base of the nose.
BONES = (
    10, 338, 297, 332, 284, 251, 389, 356, 454, 109, 67, 103, 54, 21, 162, 127, 234,
    33, 133, 263, 362, 168, 6, 197, 195, 5, 4, 1, 2, 98, 327,
)  # fmt: skip
REDUCED = 16  # side in pixels at which the surroundings of the face are looked at

# Where the reduced, aligned picture shows hair, clothes and background: outside an ellipse around the face.
_y, _x = np.mgrid[:REDUCED, :REDUCED] / (REDUCED - 1)
OUTSIDE = ((_x - 0.5) / 0.30) ** 2 + ((_y - 0.58) / 0.36) ** 2 > 1


@dataclass(frozen=True)
class Labels:
    """Generated faces and what was measured of them.

    Attributes:
        w_plus: float32 [N, 18, 512].
        columns: float32 [N, len(COLUMNS)].
        bones: float32 [N, 2 B], landmarks that no expression moves, in shares of the picture.
        surroundings: float32 [N, P], the pixels of the reduced picture that are not face, in [0, 255].
    """

    w_plus: F32
    columns: F32
    bones: F32
    surroundings: F32

    def values(self, attribute: str) -> F32:
        """float32 [N] of one attribute."""
        return attribute_values(self.columns, attribute)


def label(folder: Path, most: int) -> Labels:
    """Labels the first faces of a pool, at most so many, in whole shards.

    Landmarks, blendshapes and pose are the pool's own, measured at 256 px; age, gender and the rest are measured
    here on its 128 px pictures and kept beside them.
    """
    pool = open_pool(folder)
    shards = min(most, pool.filled) // SHARD
    if not shards:
        raise UserError(f"the pool in {folder} holds {pool.filled} faces; at least {SHARD} are needed")
    rows = shards * SHARD
    measured = folder / "measures"
    measured.mkdir(exist_ok=True)
    missing = [i for i in range(shards) if not _is_current(_path(measured, i))]
    if missing:
        with Meter() as meter:
            for i in track(missing, description=f"Labelling {len(missing) * SHARD} faces"):
                _save(_path(measured, i), _measure(pool, range(i * SHARD, (i + 1) * SHARD), meter))
    return Labels(
        w_plus=pool.latents[:rows].astype(np.float32),
        columns=np.concatenate([np.load(_path(measured, i)) for i in range(shards)]),
        bones=np.array(pool.landmarks[:rows, list(BONES)]).reshape(rows, -1),
        surroundings=np.stack([_surroundings(pool.images[row]) for row in range(rows)]),
    )


def _measure(pool: Pool, rows: range, meter: Meter) -> F32:
    """Columns [len(rows), len(COLUMNS)] of some faces of the pool."""
    columns = []
    for row in rows:
        landmarks = (pool.landmarks[row] * SIZE - 0.5).astype(np.float32)
        detection = Detection(landmarks, pool.blendshapes[row], pool.pose[row], 1.0)
        columns.append(meter.read(np.ascontiguousarray(pool.images[row]), detection).columns())
    return np.stack(columns)


def _surroundings(rgb: U8) -> F32:
    small = cv2.resize(rgb, (REDUCED, REDUCED), interpolation=cv2.INTER_AREA)
    return np.asarray(small[OUTSIDE], np.float32).ravel()


def _path(folder: Path, index: int) -> Path:
    return folder / f"{index:04d}.npy"


def _is_current(path: Path) -> bool:
    """Whether a shard is there and holds all that is measured today."""
    return path.exists() and np.load(path, mmap_mode="r").shape[1] == len(COLUMNS)


def _save(path: Path, columns: F32) -> None:
    """Writes a shard whole or not at all."""
    partial = path.with_suffix(".partial.npy")
    np.save(partial, columns)
    partial.replace(path)
