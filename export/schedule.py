"""What every trainer does from step to step: the rate's rise and fall, and the mean of the weights it ships."""

from __future__ import annotations

import math

import torch
from torch import nn


def rate_share(step: int, warm: int, done: float, least: float = 0.0) -> float:
    """Share of the learning rate: rises over the first `warm` steps, falls by a cosine.

    Args:
        step: from 0.
        warm: steps.
        done: of the training, in [0, 1].
        least: where the cosine ends.
    """
    cosine = 0.5 * (1 + math.cos(math.pi * done))
    return min(1.0, (step + 1) / warm) * (least + (1 - least) * cosine)


def add_to_average(average: nn.Module, net: nn.Module, step: int, decay: float) -> None:
    """Takes the parameters of `net` after step `step` into the running mean, early ones with more weight."""
    share = 1 - min(decay, step / (step + 20))
    with torch.no_grad():
        for mean, parameter in zip(average.parameters(), net.parameters(), strict=True):
            if parameter.requires_grad:
                mean.lerp_(parameter, share)
