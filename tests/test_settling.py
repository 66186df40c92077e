"""The arithmetic of settling on a face: which views are kept, when steps end, how an offset is eased in."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from live.settle.settling import (
    FOLLOW_STEPS,
    MOST_VIEWS,
    NEW,
    SPEED,
    Kept,
    Settling,
    add,
    approach,
    is_new,
    step,
)
from models.arrays import F32
from models.inversion import STEPS, Gradients, View
from models.latent import distance, std_w
from tests import bowls

PIXEL = np.zeros((1, 3, 1, 1), np.float32)
WEIGHT = np.ones((1, 1, 1, 1), np.float32)
AXIS = np.zeros((1, 150, 1), np.float32)
NO_EYES = np.zeros((2, 1, 1), np.float32)


def noise(seed: int, size: float = 1.0) -> F32:
    """A latent so many standard deviations of W from zero."""
    values = np.random.default_rng(seed).standard_normal((1, 18, 512)).astype(np.float32)
    return np.asarray(values * (size / np.sqrt(np.mean(values**2))), np.float32)


def view(latent: F32) -> View:
    return View(latent, PIXEL, WEIGHT, AXIS, AXIS, NO_EYES)


def kept(latent: F32) -> Kept:
    return Kept(view(std_w() * latent), sharpness=1.0)


def bowl(goal: F32, floor: float = 0.1) -> Gradients:
    """Its goal is a latent, in standard deviations of W."""
    return bowls.bowl(lambda w_plus: np.asarray(w_plus / std_w() - goal, np.float32), size=1, floor=floor)


def settled(settling: Settling, gradients: Gradients, most: int = 1000) -> Settling:
    for _ in range(most):
        if settling.left == 0:
            return settling
        settling = step(settling, gradients)
    raise AssertionError("it never ends")


def test_a_view_is_measured_without_an_offset_before_the_first_step() -> None:
    goal = noise(1, 0.3)
    first = step(add(None, kept(noise(0, 0.0))), bowl(goal))
    assert first.descent.number == 0
    assert first.losses is None
    second = step(first, bowl(goal))
    assert second.descent.number == 1
    assert second.losses is not None
    assert (
        second.losses[0] == second.losses[1] == pytest.approx(0.1 + bowls.STEEPNESS * np.abs(goal).mean(), rel=1e-5)
    )


def test_the_offset_of_the_least_loss_is_kept_and_the_steps_end() -> None:
    goal = noise(1, 0.3)
    end = settled(add(None, kept(noise(0, 0.0))), bowl(goal))
    assert end.descent.number <= STEPS
    assert end.progress == 1.0
    nothing, wanted = np.zeros_like(goal), std_w() * goal
    assert distance(std_w() * end.best, wanted, std_w()) < 0.1 * distance(wanted, nothing, std_w())
    assert end.best_loss < 0.2 * bowls.STEEPNESS * np.abs(goal).mean()


def test_a_loss_that_no_longer_falls_ends_the_steps() -> None:
    end = settled(add(None, kept(noise(0, 0.0))), bowl(noise(0, 0.0), floor=5.0))
    assert 0 < end.descent.number < STEPS / 2


def test_a_new_view_is_followed_for_a_while_and_the_best_so_far_stays_meanwhile() -> None:
    gradient = bowl(noise(1, 0.3))
    end = settled(add(None, kept(noise(0, 0.0))), gradient)
    more = add(end, kept(noise(2, 0.05)))
    assert more.left == FOLLOW_STEPS
    assert more.best is end.best
    assert step(more, gradient).best is end.best  # only measured yet
    followed = settled(more, gradient)
    assert end.descent.number < followed.descent.number <= end.descent.number + FOLLOW_STEPS
    assert len(followed.views) == 2


def test_what_looks_the_same_is_not_new_and_what_does_not_is() -> None:
    views = (kept(noise(0)),)
    assert is_new((), std_w() * noise(0))
    assert not is_new(views, std_w() * (noise(0) + noise(1, 0.9 * NEW)))
    assert is_new(views, std_w() * (noise(0) + noise(1, 1.1 * NEW)))


@given(st.lists(st.tuples(st.integers(0, 30), st.floats(0.1, 1.0)), min_size=1, max_size=60))
def test_views_are_few_and_come_apart_so_that_endless_pictures_end_in_none_new(
    looks: list[tuple[int, float]],
) -> None:
    settling, closest = None, 0.0
    for seed, size in looks:
        latent = std_w() * noise(seed, size)
        if settling is not None and not is_new(settling.views, latent):
            continue
        full = settling is not None and len(settling.views) == MOST_VIEWS
        settling = add(settling, replace(kept(noise(0)), view=view(latent)))
        latents = [view.view.latent for view in settling.views]
        between = [distance(a, b, std_w()) for i, a in enumerate(latents) for b in latents[i + 1 :]]
        assert len(latents) <= MOST_VIEWS
        assert not between or min(between) > NEW
        if full:
            assert min(between) >= closest
        closest = min(between, default=0.0)


@given(st.integers(0, 1000), st.floats(0.0, 3.0), st.lists(st.floats(0.001, 0.5), min_size=1, max_size=50))
def test_an_offset_never_moves_faster_than_its_speed_nor_beyond_its_aim(
    seed: int, far: float, times: list[float]
) -> None:
    shown, aim = noise(seed, 0.1), noise(seed + 1, far)
    for dt in times:
        moved = approach(shown, aim, dt)
        before, after = (float(np.sqrt(np.mean((aim - at) ** 2))) for at in (shown, moved))
        assert float(np.sqrt(np.mean((moved - shown) ** 2))) <= SPEED * dt * (1 + 1e-3) + 1.1e-3
        assert after <= before
        shown = moved


def test_an_offset_arrives() -> None:
    shown, aim = np.zeros((1, 18, 512), np.float32), noise(3, 0.3)
    seconds = 0.0
    while shown is not aim:
        shown = approach(shown, aim, 0.1)
        seconds += 0.1
        assert seconds < 40
    assert seconds > 0.3 / SPEED
