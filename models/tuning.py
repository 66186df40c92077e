"""Changes the generator's last weights for one person, so that it can draw what W+ cannot say of them.

The idea is that of pivotal tuning (Roich et al., "Pivotal Tuning for Latent-based Editing of Real Images",
arXiv:2106.05744): the latents stay where they are, found before, and a few weights give way. What keeps the change
near them is a pull to the weights as they were. The loss is the inversion's, without the recogniser: weights that
have learned to please it draw edits weaker. And the grain that is fitted must not be a grid, which is what these
weights make most easily.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np

from models import adam
from models.arrays import F32
from models.inversion import TEXTURE, View
from models.texture import texture_loss, weave_loss
from models.tuned_generator import LENGTH, TuningGradient

STEPS = 160
RATE = 0.01  # largest step, in units of a weight tensor's root mean square
WARM_UP = 5  # steps
PULL = 1e-5  # loss per squared unit, summed over the change


@dataclass(frozen=True)
class Step:
    """Where the optimisation is.

    Attributes:
        number: steps done.
        loss: of the view that this step looked at, before it.
        change: float32 [1, P], so far; see models.networks.tuned_back.
    """

    number: int
    loss: float
    change: F32


def fit_change(views: Sequence[View], offset: F32, gradient: TuningGradient, steps: int = STEPS) -> Iterator[Step]:
    """Fits the change that the views share, one view a step, in turn.

    Args:
        views: at least one.
        offset: float32 [1, 18, 512], added to the latent of each.
        gradient: of the generator, at the views' size.
        steps: how many; the step's length fades out over the second half.

    Yields:
        After each step, where it is.
    """
    latents = [view.latent + offset for view in views]
    features = [gradient.features(latent) for latent in latents]
    wishes = [np.zeros_like(view.target) for view in views]  # as `View.wish`
    change = np.zeros((1, LENGTH), np.float32)
    state = adam.begin(change)
    for number in range(1, steps + 1):
        i = number % len(views)
        view = views[i]
        pixels, slope, image = gradient.at(features[i], latents[i], change, view.target, view.weight, wishes[i])
        texture, at_texture = texture_loss(image, view.target, view.weight)
        weave, at_weave = weave_loss(image, view.weight)
        wishes[i] = np.asarray(TEXTURE * (at_texture + at_weave), np.float32)
        state, move = adam.step(state, slope + np.float32(2 * PULL) * change)
        rate = RATE * min(1.0, number / WARM_UP, 2 * (1 - number / (steps + 1)))
        change = np.asarray(change + rate * move, np.float32)
        yield Step(number, pixels + TEXTURE * (texture + weave), change)
