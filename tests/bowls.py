"""Stands for what faces are fitted by: a bowl whose bottom is a goal, and a recogniser to whom all are the same."""

from __future__ import annotations

from collections.abc import Callable, Mapping

import numpy as np

from models.arrays import F32
from models.engine import Engine
from models.inversion import Gradients
from models.latent import std_w
from models.zoo import IdentityGradient, PictureGradient

STEEPNESS = 40.0  # a real loss is worth more than the pull to W, too


def bowl(away_from_goal: Callable[[F32], F32], size: int, floor: float = 0.1) -> Gradients:
    """Its loss is the mean distance of a latent from a goal, times `STEEPNESS`, and `floor`.

    Args:
        away_from_goal: float32 [1, 18, 512] of a latent, in standard deviations of W.
        size: pixels per side of the views.
        floor: what is left at the goal.
    """
    image = np.zeros((1, 3, size, size), np.float32)

    def picture(feeds: Mapping[str, F32]) -> dict[str, F32]:
        away = away_from_goal(feeds["w_plus"])
        loss = STEEPNESS * np.abs(away).mean(keepdims=True).ravel() + np.float32(floor)
        slope = np.float32(STEEPNESS / away.size) * np.sign(away) / std_w()
        return {"loss": loss, "gradient": slope, "image": image}

    def identity(feeds: Mapping[str, F32]) -> dict[str, F32]:
        return {"embedding": feeds["wanted"], "distance": np.zeros(1, np.float32), "gradient": image}

    return Gradients(
        PictureGradient(size, Engine("a bowl", {}, picture)),
        IdentityGradient(Engine("nobody", {"wanted": (1, 128)}, identity)),
    )
