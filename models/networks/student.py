"""The student: the generator at 256 px with fewer channels from 64 px on, less than half its multiplications.

Up to 32 px it is the published generator, weight for weight; what comes after was trained by export.train_student.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np
import torch

from models.ir import IntermediateRepresentation
from models.networks import mobile_stylegan as ms
from models.zoo import STUDENT_SIZE

SIZE = STUDENT_SIZE
CHANNELS = (512, 512, 512, 384, 128, 64)  # of each block
NARROWED = range(3, 6)  # blocks, at 64, 128 and 256 px


def reads_published(name: str) -> bool:
    """Whether a parameter of the student is the published generator's own."""
    if name.startswith("head."):
        return False
    first = f"blocks.{NARROWED.start}."
    return (
        not name.startswith(tuple(f"blocks.{i}." for i in NARROWED))
        or name.endswith(".noise")
        or name.startswith((f"{first}up.", f"{first}conv1.modulation.", f"{first}conv1.depthwise."))
    )


def load_student(ir: IntermediateRepresentation, path: Path | None) -> ms.Synthesis:
    """The student, from the published weights and its own (``.npz``, any float dtype); None = those are to come."""
    published = ms.load_published(ir, SIZE)
    net = ms.Synthesis(SIZE, CHANNELS)
    ms.copy_gains(published, net)
    state = {name: value for name, value in published.state_dict().items() if reads_published(name)}
    if path is not None:
        with np.load(path, allow_pickle=False) as arrays:
            state |= {name: torch.from_numpy(arrays[name].astype(np.float32)) for name in arrays.files}
    net.load_state_dict(state, strict=path is not None)
    return net.eval().requires_grad_(False)
