"""What trainers read of the pool: which faces are held out, and pictures as the networks take them."""

from __future__ import annotations

import torch
from torch import Tensor

from models.arrays import U8

HELD_OUT = 512  # first rows of the pool, never trained on


def to_input(images: U8) -> Tensor:
    """uint8 [N, S, S, 3] -> float32 [N, 3, S, S] in [-1, 1]."""
    return torch.from_numpy(images).permute(0, 3, 1, 2).float().div_(127.5).sub_(1)
