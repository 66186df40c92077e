"""Fits a person's offset and, if asked for, the generator's last weights, before the user's eyes."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Protocol, TypeVar

import numpy as np
from rich.progress import BarColumn, Progress, TextColumn, TimeRemainingColumn

from live.enrolment.preview import Preview
from models import tuning
from models.alignment import to_rgb
from models.arrays import F32, U8
from models.inversion import Gradients, View, fit_offset
from models.tuned_generator import load_tuned_parts, load_tuning_gradient
from models.zoo import Generator, load_generator


@dataclass(frozen=True)
class Learned:
    """What came of the views.

    Attributes:
        losses: of every step of the offset's fit.
        tuning_losses: likewise of tuning, which leave out who is seen.
        offset: float32 [1, 18, 512], see live.people.
        change: float32 [1, P], likewise; None = not tuned.
        pictures: uint8 RGB, a row for each view: it, what the encoder alone makes of it, with the offset, and tuned.
    """

    losses: list[float]
    tuning_losses: list[float]
    offset: F32
    change: F32 | None
    pictures: U8


class Step(Protocol):
    """A step of either fit."""

    @property
    def number(self) -> int:
        """From 1."""

    @property
    def loss(self) -> float:
        """Of one view, before the step."""


S = TypeVar("S", bound=Step)


def learn(
    views: Sequence[View],
    gradients: Gradients,
    say: Callable[[str], None],
    *,
    steps: int,
    tune: bool,
    engine: str,
    preview: bool,
) -> Learned:
    """Fits all there is to fit to the views.

    Args:
        views: at least one.
        gradients: at the views' size.
        say: takes a line for the user.
        steps: of the offset's fit.
        tune: whether to change the generator's last weights too.
        engine: a name in models.runtime.ENGINES, or "auto".
        preview: whether a window shows the first view and what is made of it, where there is a display.
    """
    generator = load_generator(gradients.picture.size, engine)
    losses: list[float] = []
    tuning_losses: list[float] = []
    change: F32 | None = None
    with Preview(views[0].target, say, wanted=preview) as window:
        for step in _told("learning", fit_offset(views, gradients, steps), steps, losses, len(views)):
            latent = views[0].latent + step.offset
            window.show(generator, latent)
        made = [[view.latent for view in views], [view.latent + step.offset for view in views]]
        rows = [[to_rgb(view.target) for view in views], *(_pictures(generator, latents) for latents in made)]
        if tune:
            parts = load_tuned_parts(engine)
            fit = tuning.fit_change(views, step.offset, load_tuning_gradient(engine), tuning.STEPS)
            for tuned in _told("tuning", fit, tuning.STEPS, tuning_losses, len(views)):
                window.show(parts.generator(tuned.change), latent)
            change = tuned.change
            rows.append(_pictures(parts.generator(change), made[-1]))
    pictures = np.vstack([np.hstack(row) for row in zip(*rows, strict=True)])
    return Learned(losses, tuning_losses, step.offset, change, pictures)


def _pictures(generator: Generator, latents: Sequence[F32]) -> list[U8]:
    return [to_rgb(generator.synthesize(latent)) for latent in latents]


def _told(label: str, steps: Iterator[S], total: int, losses: list[float], views: int) -> Iterator[S]:
    """The steps as they are taken, behind a progress bar; their losses are added to `losses`."""
    columns = (TextColumn(label), BarColumn(), TextColumn("loss {task.fields[loss]:.2f}"), TimeRemainingColumn())
    with Progress(*columns) as progress:
        task = progress.add_task("", total=total, loss=0.0)
        for step in steps:
            losses.append(step.loss)
            progress.update(task, completed=step.number, loss=float(np.mean(losses[-views:])))
            yield step
