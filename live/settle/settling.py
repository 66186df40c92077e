"""What is known of one person, and how a step makes it better: good views of the face, and the offset they share.

Pure logic: the thread that takes the steps is in live.settle.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np

from models.arrays import F32
from models.inversion import STEPS, Descent, Gradients, View, compare, descend, rate_of, start
from models.latent import distance, std_w

MOST_VIEWS = 6
NEW = 0.16  # distance of latents from which a view shows something new; a face at rest stays within 0.05
NEWER = 1.25  # where there is room for no more views: how much farther apart the views must come to be
FOLLOW_STEPS = 40  # for a view that came after the first
LOSS_FALLS = 0.005  # share by which the loss must have fallen
FALLING_STEPS = 40  # in so many steps; else it is as good as it gets
SPEED = 0.02  # standard deviations of W a second by which a face may change; the whole way is about 0.25
EASE_SECONDS = 1.5  # in which most of the last of it comes
ARRIVED = 1e-3  # standard deviations of W; nobody sees less


@dataclass(frozen=True)
class Kept:
    """A view that the fit looks at.

    Attributes:
        view: the picture and the encoder's latent.
        sharpness: see models.inversion.sharpness.
        before: loss without an offset; None = not measured yet.
        newest: loss when it was last looked at; None = as above.
    """

    view: View
    sharpness: float
    before: float | None = None
    newest: float | None = None


@dataclass(frozen=True)
class Settling:
    """The fit of one person.

    Attributes:
        views: of them, the newest last; at least one.
        descent: the optimisation.
        left: steps still to be taken.
        best: float32 [1, 18, 512] in standard deviations of W, the offset of the least loss so far.
        best_loss: mean over the views; inf = not known for these views.
        best_number: the step that gave it.
    """

    views: tuple[Kept, ...]
    descent: Descent
    left: int
    best: F32
    best_loss: float
    best_number: int

    @property
    def progress(self) -> float:
        """Share of the steps that are done, in [0, 1]."""
        return self.descent.number / max(1, self.descent.number + self.left)

    @property
    def losses(self) -> tuple[float, float] | None:
        """Mean loss over the views: without an offset, and when last looked at; None = not measured yet."""
        pairs = [(kept.before, kept.newest) for kept in self.views]
        known = [(before, newest) for before, newest in pairs if before is not None and newest is not None]
        if len(known) < len(pairs):
            return None
        return float(np.mean([before for before, _ in known])), float(np.mean([newest for _, newest in known]))


@dataclass(frozen=True)
class Settled:
    """What came of one person.

    Attributes:
        steps: taken.
        left: to be taken, as far as is known.
        views: that were looked at.
        loss_before: mean over them without an offset; see models.inversion.
        loss: the same with it.
    """

    steps: int
    left: int
    views: int
    loss_before: float
    loss: float


def is_new(views: Sequence[Kept], latent: F32) -> bool:
    """Whether a picture with this latent would show what none of the views does."""
    if not views:
        return True
    nearest = min(distance(kept.view.latent, latent, std_w()) for kept in views)
    if len(views) < MOST_VIEWS:
        return nearest > NEW
    return nearest > max(NEW, NEWER * _closest(views)[0])


def add(settling: Settling | None, kept: Kept) -> Settling:
    """Takes a view into the fit; where there are enough, in place of one that is much like another."""
    if settling is None:
        nothing = np.zeros_like(kept.view.latent)
        return Settling((kept,), start(kept.view.latent), STEPS, nothing, np.inf, 0)
    views = settling.views
    if len(views) == MOST_VIEWS:
        _, older = _closest(views)
        views = views[:older] + views[older + 1 :]
    left = max(settling.left, FOLLOW_STEPS)
    return replace(settling, views=(*views, kept), left=left, best_loss=np.inf)


def step(settling: Settling, gradients: Gradients) -> Settling:
    """One run of the gradients: a new view is measured without an offset first, then each takes its turn."""
    views, descent = settling.views, settling.descent
    unmeasured = next((i for i, kept in enumerate(views) if kept.before is None), None)
    if unmeasured is not None:
        view = views[unmeasured].view
        seen, before, _ = compare(view, view.latent, gradients)
        if descent.offset.any():
            seen = replace(seen, wish=None)  # that was for a picture without the offset
        return replace(settling, views=_put(views, unmeasured, replace(views[unmeasured], view=seen, before=before)))
    turn = next((i for i, kept in enumerate(views) if kept.newest is None), descent.number % len(views))
    total = descent.number + settling.left
    rate = rate_of(descent.number + 1, left=settling.left / (total + 1))
    after, seen, loss = descend(descent, views[turn].view, gradients, rate)
    views = _put(views, turn, replace(views[turn], view=seen, newest=loss))
    settling = replace(settling, views=views, descent=after, left=settling.left - 1)
    return _judge(settling, descent.offset)


def approach(shown: F32, aim: F32, dt: float) -> F32:
    """An offset on its way to another, `dt` seconds later; both in standard deviations of W.

    It never gets faster than `SPEED`, so that nobody sees it move; and it arrives, so that a face at rest is at rest.
    """
    way = aim - shown
    length = float(np.sqrt(np.mean(way**2)))
    if length < ARRIVED:
        return aim
    share = min(1 - math.exp(-dt / EASE_SECONDS), SPEED * dt / length)
    return np.asarray(shown + np.float32(share) * way, np.float32)


def _put(views: tuple[Kept, ...], i: int, kept: Kept) -> tuple[Kept, ...]:
    return (*views[:i], kept, *views[i + 1 :])


def _judge(settling: Settling, offset: F32) -> Settling:
    """Keeps an offset whose loss was just measured, if it is the best; stops if none has been for long."""
    losses = settling.losses
    if losses is None:
        return settling
    if losses[1] < settling.best_loss * (1 - LOSS_FALLS):
        return replace(settling, best=offset, best_loss=losses[1], best_number=settling.descent.number)
    stuck = settling.descent.number - settling.best_number > FALLING_STEPS
    return replace(settling, left=0) if stuck else settling


def _closest(views: Sequence[Kept]) -> tuple[float, int]:
    """Distance of the two views that are most alike, and which of them is the older one."""
    return min(
        (distance(a.view.latent, b.view.latent, std_w()), i) for i, a in enumerate(views) for b in views[i + 1 :]
    )
