"""Who the pool's faces are to a face recogniser: learned from by the encoder's metric and by the surrogate."""

from __future__ import annotations

import numpy as np
from rich.progress import track

from export.measure import IdentityMeter
from export.pool import SIZE, Pool
from models.arrays import F32
from models.errors import UserError

EMBEDDED = 9216  # faces: an embedding takes a twelfth of a second


def embeddings(pool: Pool) -> F32:
    """Embeddings float32 [EMBEDDED, 128] of the pool's first faces, made once and kept beside them.

    Raises:
        UserError: there are fewer faces.
    """
    folder = pool.counter.parent
    path = folder / "embeddings.npy"
    if not path.exists():
        if pool.filled < EMBEDDED:
            raise UserError(
                f"the pool in {folder} has {pool.filled} faces so far, {EMBEDDED} are needed; "
                "let `python -m export pool` go on"
            )
        meter = IdentityMeter()
        pixels = pool.landmarks[:EMBEDDED] * SIZE - np.float32(0.5)
        pairs = zip(pool.images[:EMBEDDED], pixels, strict=True)
        np.save(path, np.stack([meter.embed(*pair) for pair in track(pairs, "Identities", total=EMBEDDED)]))
    return np.asarray(np.load(path), np.float32)
