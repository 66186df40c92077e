"""Steadies a latent in time: a still face must not flicker, an expression must not lag.

The One-Euro filter (Casiez, Roussel, Vogel: "1 Euro Filter", CHI 2012) on W+ as one vector: one cut-off
frequency for all its numbers, raised with the speed of the whole, so that its layers stay in step.

The constants were chosen on a still portrait with sensor noise and on a talking head, at 10 and 30 frames a second:
from frame to frame the still face moves a fifth of what it does unfiltered or less, the talking one lags 20 to 40 ms.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np

from models.arrays import F32


@dataclass(frozen=True)
class SmoothingState:
    """What the filter remembers of one face: value and speed per second (float32 [1, 18, 512]), and when."""

    face_id: int
    t: float
    value: F32
    speed: F32


@dataclass(frozen=True)
class LatentSmoother:
    """The filter's constants.

    Attributes:
        min_cutoff: Hz, the cut-off of a face at rest; lower is steadier.
        beta: Hz per (root mean square of the speed of W+, per second); higher follows faster.
        speed_cutoff: Hz, the cut-off of the speed itself.
    """

    min_cutoff: float = 0.5
    beta: float = 8.0
    speed_cutoff: float = 1.0

    def smooth(self, w_plus: F32, face_id: int, t: float, state: SmoothingState | None) -> SmoothingState:
        """Takes the latent of `face_id` at time `t` seconds; the answer's `value` is the steadied one.

        A new face, or time running backwards (a clip starting over), starts afresh.
        """
        if state is None or state.face_id != face_id or t <= state.t:
            return SmoothingState(face_id, t, w_plus, np.zeros_like(w_plus))
        dt = t - state.t
        newest_speed = (w_plus - state.value) / np.float32(dt)
        speed = state.speed + _weight(self.speed_cutoff, dt) * (newest_speed - state.speed)
        cutoff = self.min_cutoff + self.beta * float(np.sqrt(np.mean(speed**2)))
        value = state.value + _weight(cutoff, dt) * (w_plus - state.value)
        return SmoothingState(face_id, t, value, speed)


def _weight(cutoff: float, dt: float) -> float:
    """The weight of the newest sample in an exponential filter of cut-off `cutoff` Hz."""
    return 1 / (1 + 1 / (2 * math.pi * cutoff * dt))
