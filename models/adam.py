"""Adam (Kingma and Ba, arXiv:1412.6980), as a function from one state to the next."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from models.arrays import F32

MEAN_DECAY, SQUARE_DECAY = 0.9, 0.99  # of the averages; what it is used for ends after too few steps for 0.999


@dataclass(frozen=True)
class Adam:
    """What is remembered of the gradients.

    Attributes:
        number: of gradients seen.
        mean: float32, their decaying average.
        square: float32 of the same shape, likewise of their squares.
    """

    number: int
    mean: F32
    square: F32


def begin(values: F32) -> Adam:
    """Before the first gradient at values of this shape."""
    nothing = np.zeros_like(values)
    return Adam(0, nothing, nothing)


def step(state: Adam, gradient: F32) -> tuple[Adam, F32]:
    """Takes one gradient; returns also what to move by, times a rate: about -1 to 1 in every entry."""
    number = state.number + 1
    mean = MEAN_DECAY * state.mean + (1 - MEAN_DECAY) * gradient
    square = SQUARE_DECAY * state.square + (1 - SQUARE_DECAY) * gradient**2
    unbiased_mean = mean / (1 - MEAN_DECAY**number)
    unbiased_square = square / (1 - SQUARE_DECAY**number)
    return Adam(number, mean, square), -unbiased_mean / (np.sqrt(unbiased_square) + np.float32(1e-8))
