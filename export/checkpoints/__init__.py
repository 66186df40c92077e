"""Networks as others have published them, read into our own definitions."""

from __future__ import annotations

import hashlib
from pathlib import Path

from export.checkpoints.generator import GeneratorCheckpoint, assemble, load_generator
from export.checkpoints.official import read_official
from export.checkpoints.rosinality import read_rosinality
from models.pickles.pickle_opcodes import Budget
from models.pickles.unpickle import DEFAULT_LIMIT, is_torch_file, read_limited, reading

__all__ = ["GeneratorCheckpoint", "load_generator", "read_generator"]


def read_generator(path: Path, *, max_bytes: int = DEFAULT_LIMIT) -> GeneratorCheckpoint:
    """A StyleGAN2 generator out of a published file, without running anything the file says.

    Args:
        path: a network pickle of stylegan2-ada-pytorch or stylegan3 (``.pkl``), or a checkpoint of
            rosinality/stylegan2-pytorch (``.pt``). The content tells which, not the name.
        max_bytes: a larger file is refused before it is read.

    Raises:
        UserError: missing, too large, damaged, unsafe, or no generator that `StyleGAN2Config` can describe.
    """
    content = read_limited(path, max_bytes)
    budget = Budget(len(content))
    with reading(path, "a generator's file"):
        parts = (read_rosinality if is_torch_file(content) else read_official)(content, budget)
        synthesis, mapping, mean_w = assemble(parts, source=str(path), most_elements=len(content))
    return GeneratorCheckpoint(
        parts.config, synthesis, mapping, mean_w, source=path.name, sha256=hashlib.sha256(content).hexdigest()
    )
