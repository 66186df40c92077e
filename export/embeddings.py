"""Who the pool's faces are to a face recogniser: learned from by the encoder's metric and by the surrogate."""

from __future__ import annotations

import numpy as np
import torch
from rich.progress import track

from export.chips import cut_chips
from export.pool import Pool
from export.precision import autocast
from export.training_input import to_input
from models import registry
from models.arrays import F32
from models.networks.face_recogniser import EMBEDDING, load_recogniser

BATCH = 32


def embeddings(pool: Pool) -> F32:
    """Embeddings float32 [N, 128] of the pool's N faces; made once and kept beside them."""
    path = pool.counter.parent / "embeddings.npy"
    known = np.load(path) if path.exists() else np.empty((0, EMBEDDING), np.float32)
    missing = np.arange(len(known), pool.filled)
    if len(missing):
        net = load_recogniser(registry.path("identity")).to(memory_format=torch.channels_last)
        made = [known]
        for rows in track(np.array_split(missing, -(-len(missing) // BATCH)), description="Identities"):
            chips = cut_chips(to_input(np.array(pool.images[rows])), torch.from_numpy(np.array(pool.landmarks[rows])))
            with torch.no_grad(), autocast():
                made.append(net(chips.to(memory_format=torch.channels_last)).float().numpy())
        known = np.concatenate(made)
        np.save(path, known)
    return np.asarray(known[: pool.filled], np.float32)
