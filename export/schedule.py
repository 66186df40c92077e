"""What trainers share from step to step: the rate's rise and fall, what it is measured in, the mean they ship."""

from __future__ import annotations

import math

import torch
from torch import Tensor, nn

LEAST_SIZE = 1e-3  # of a parameter's values, that a step is measured by


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


def size_of(parameter: Tensor) -> float:
    """Root mean square of a parameter's values, the unit of its steps: parameters differ by orders of magnitude.

    Of a matrix [outputs, inputs] that begins at zero it is what PyTorch would have begun with.
    """
    if parameter.ndim > 1 and not parameter.detach().any():
        return float((3 * parameter[0].numel()) ** -0.5)
    return max(LEAST_SIZE, float(parameter.detach().square().mean().sqrt()))


def add_to_average(average: nn.Module, net: nn.Module, step: int, decay: float) -> None:
    """Takes the parameters of `net` after step `step` into the running mean, early ones with more weight."""
    share = 1 - min(decay, step / (step + 20))
    with torch.no_grad():
        for mean, parameter in zip(average.parameters(), net.parameters(), strict=True):
            if parameter.requires_grad:
                mean.lerp_(parameter, share)
