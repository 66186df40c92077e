"""Effects: what they add to the latent, and that nothing jumps when they are switched."""

from __future__ import annotations

from itertools import pairwise

import numpy as np
import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from live.effects import (
    DeformLoop,
    DeformSpec,
    DirectionEffect,
    DirectionSpec,
    Effect,
    EffectStack,
    parse_deform,
    parse_direction,
)
from live.effects.ease import GLIDE, Ease
from models.arrays import F32
from models.directions import Direction
from models.errors import UserError
from models.latent import std_w

FRAME = 1 / 30  # seconds

times = st.floats(0, 1e5)
values = st.floats(-10, 10)


def direction(name: str = "smile", seed: int = 3) -> Direction:
    vector = np.random.default_rng(seed).standard_normal((1, 18, 512), np.float32)
    return Direction(name, vector, range=(-3.0, 3.0))


def w_plus() -> F32:
    return np.random.default_rng(1).standard_normal((1, 18, 512), np.float32)


def amount(effect: Effect, along: F32, t: float) -> float:
    """How far along a vector an effect moves the latent at ``t``."""
    moved = effect.edit(np.zeros((1, 18, 512), np.float32), t)
    return float((moved * along).sum() / (along * along).sum())


def test_a_new_effect_is_at_full_strength_from_the_first_frame() -> None:
    smile = direction()
    effect = DirectionEffect(smile, 1.5)
    np.testing.assert_allclose(effect.edit(w_plus(), 0.0), w_plus() + 1.5 * smile.vector, atol=1e-6)


def test_an_effect_that_is_off_returns_the_latent_itself() -> None:
    latent = w_plus()
    assert DirectionEffect(direction(), 2.0, active=False).edit(latent, 5.0) is latent
    assert DeformLoop(DeformSpec(), active=False).edit(latent, 5.0) is latent


@given(times)
def test_a_toggle_glides_there_and_back_without_a_jump(start: float) -> None:
    smile = direction()
    effect = DirectionEffect(smile, 2.0)
    effect.toggle(start)
    assert not effect.active
    shown = [amount(effect, smile.vector, start + i * FRAME) for i in range(16)]
    assert shown[0] == pytest.approx(2.0)
    assert shown[-1] == 0.0
    assert all(earlier >= later for earlier, later in pairwise(shown))
    effect.toggle(start + 1)
    shown = [amount(effect, smile.vector, start + 1 + i * FRAME) for i in range(16)]
    assert shown[0] == 0.0
    assert shown[-1] == pytest.approx(2.0)


@given(st.lists(st.floats(0, 2 * GLIDE), min_size=1, max_size=8), st.floats(-3, 3))
def test_no_series_of_toggles_makes_a_jump(pauses: list[float], strength: float) -> None:
    smile = direction()
    effect = DirectionEffect(smile, strength)
    t = 100.0
    for pause in pauses:
        before = amount(effect, smile.vector, t)
        effect.toggle(t)
        assert amount(effect, smile.vector, t) == pytest.approx(before, abs=1e-5)
        t += pause


@given(values, values, values, times, st.floats(0.01, 2 * GLIDE))
def test_easing_keeps_value_and_speed_when_retargeted(
    first: float, second: float, third: float, start: float, after: float
) -> None:
    ease = Ease.at(first).retarget(second, start)
    turn = start + after
    assume(abs(after - GLIDE) > 1e-3)  # the acceleration steps where the glide ends
    turned = ease.retarget(third, turn)
    assert turned.value(turn) == pytest.approx(ease.value(turn), abs=1e-9)
    step = 1e-4
    before = (ease.value(turn) - ease.value(turn - step)) / step
    behind = (turned.value(turn + step) - turned.value(turn)) / step
    assert behind == pytest.approx(before, abs=0.5)  # of speeds up to 20 * 1.5 / GLIDE = 75 a second
    assert turned.value(turn + 1.001 * GLIDE) == third  # with room for rounding


def test_a_held_key_keeps_the_strength_moving() -> None:
    """Retargeting at every frame must not restart from rest each time."""
    smile = direction()
    effect = DirectionEffect(smile, 0.0)
    for i in range(30):
        effect.change_strength(0.1, i * FRAME)
    assert effect.strength == pytest.approx(3.0)
    assert amount(effect, smile.vector, 30 * FRAME) > 2.0


def test_strength_changes_stay_within_the_range_but_keep_what_was_asked_for() -> None:
    effect = DirectionEffect(direction(), 2.9)
    effect.change_strength(0.5, 0.0)
    assert effect.strength == 3.0
    beyond = DirectionEffect(direction(), 5.0)
    beyond.change_strength(0.5, 0.0)
    assert beyond.strength == 5.0
    beyond.change_strength(-0.5, 0.0)
    assert beyond.strength == 4.5


def test_changing_the_strength_of_an_effect_that_is_off_leaves_it_off() -> None:
    smile = direction()
    effect = DirectionEffect(smile, 1.0, active=False)
    effect.change_strength(0.5, 0.0)
    assert amount(effect, smile.vector, 10.0) == 0.0
    effect.toggle(10.0)
    assert amount(effect, smile.vector, 11.0) == pytest.approx(1.5)


def test_the_deform_loop_swings_as_a_sine_on_its_layers_alone() -> None:
    spec = DeformSpec(range(4, 9), depth=1.2, rate=0.5, seed=7)
    loop = DeformLoop(spec)
    zero = np.zeros((1, 18, 512), np.float32)
    peak = loop.edit(zero, 0.5)
    assert not peak[:, :4].any()
    assert not peak[:, 9:].any()
    spread = (peak[:, 4:9] / std_w()).std()
    assert spread == pytest.approx(1.2, rel=0.05)
    np.testing.assert_allclose(loop.edit(zero, 1.5), -peak, atol=1e-5)
    np.testing.assert_allclose(loop.edit(zero, 1.0), zero, atol=1e-5)
    np.testing.assert_allclose(loop.edit(zero, 2.5), peak, atol=1e-5)
    np.testing.assert_array_equal(DeformLoop(spec).edit(zero, 0.3), loop.edit(zero, 0.3))
    assert np.abs(DeformLoop(DeformSpec(seed=8)).edit(zero, 0.5) - peak).max() > 0.1


def test_the_deform_loop_fades_in_and_out() -> None:
    loop = DeformLoop(DeformSpec(rate=0.25), active=False)
    zero = np.zeros((1, 18, 512), np.float32)
    loop.toggle(10.0)
    assert loop.active
    sizes = [float(np.abs(loop.edit(zero, 10.0 + i * FRAME)).max()) for i in range(60)]
    assert sizes[0] == 0.0
    assert max(sizes) > 0.5
    assert max(abs(b - a) for a, b in pairwise(sizes)) < 0.25 * max(sizes)


def test_a_stack_adds_up_its_effects_and_names_those_that_are_on() -> None:
    smile, age = direction("smile", 3), direction("age", 4)
    stack = EffectStack([DirectionEffect(smile, 2.0), DirectionEffect(age, -1.0), DeformLoop(DeformSpec())])
    assert stack.labels() == ("smile +2", "age -1", "deform 4-7 1 @ 0.25 Hz")
    stack.effects[2].toggle(-10.0)
    assert stack.labels() == ("smile +2", "age -1")
    expected = w_plus() + 2 * smile.vector - age.vector
    np.testing.assert_allclose(stack.edit(w_plus(), 1.0), expected, atol=1e-5)
    latent = w_plus()
    assert EffectStack([]).edit(latent, 0.0) is latent


def test_effects_for_one_face_leave_the_others_alone() -> None:
    smile, age = direction("smile", 3), direction("age", 4)
    swing = DeformSpec(rate=0.25, place=1)
    stack = EffectStack([DirectionEffect(smile), DirectionEffect(age, 2.0, place=0), DeformLoop(swing)])
    assert stack.labels() == ("smile +1", "1:age +2", "2:deform 4-7 1 @ 0.25 Hz")
    everyone = w_plus() + smile.vector
    np.testing.assert_allclose(stack.edit(w_plus(), 1.0, 0), everyone + 2 * age.vector, atol=1e-5)
    np.testing.assert_allclose(stack.edit(w_plus(), 1.0, 1), DeformLoop(swing).edit(everyone, 1.0), atol=1e-5)
    np.testing.assert_allclose(stack.edit(w_plus(), 1.0, 2), everyone, atol=1e-5)


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("smile", DirectionSpec("smile", 1.0)),
        ("smile=2", DirectionSpec("smile", 2.0)),
        ("age=-1.5", DirectionSpec("age", -1.5)),
        ("path/to/smile.pt=3", DirectionSpec("path/to/smile.pt", 3.0)),
        ("a=b/smile.pt=0.5", DirectionSpec("a=b/smile.pt", 0.5)),
        ("a=b/smile.pt", DirectionSpec("a=b/smile.pt", 1.0)),
        ("1:smile", DirectionSpec("smile", 1.0, place=0)),
        ("2:age=-1.5", DirectionSpec("age", -1.5, place=1)),
        (r"C:\smile.pt=2", DirectionSpec(r"C:\smile.pt", 2.0)),
    ],
)
def test_direction_specs_are_read(text: str, expected: DirectionSpec) -> None:
    assert parse_direction(text) == expected


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("", DeformSpec()),
        ("4-8=1.2@0.5", DeformSpec(range(4, 9), 1.2, 0.5)),
        ("7", DeformSpec(range(7, 8))),
        ("0-17=2", DeformSpec(range(0, 18), 2.0)),
        ("fine=0.5", DeformSpec(range(8, 18), 0.5)),
        ("=2@1", DeformSpec(depth=2.0, rate=1.0)),
        ("coarse=@1", DeformSpec(range(0, 4), rate=1.0)),
        ("1:", DeformSpec(place=0)),
        ("2:4-8=1.2@0.5", DeformSpec(range(4, 9), 1.2, 0.5, place=1)),
    ],
)
def test_deform_specs_are_read(text: str, expected: DeformSpec) -> None:
    assert parse_deform(text) == expected


@pytest.mark.parametrize("text", ["smile=nan", "smile=inf", "smile=-inf", "smile=", "smile=x", "smile=1e9"])
def test_absurd_strengths_are_refused(text: str) -> None:
    with pytest.raises(UserError, match=r"strength of direction 'smile' is .* expected a number from -100 to"):
        parse_direction(text)


@pytest.mark.parametrize(
    "text",
    ["18", "8-4", "0-18", "-3", "eyes", "4-8=nan", "4-8=-1", "4-8=1@0", "4-8=1@inf", "4-8=1@1e6", "4-8=1e6"],
)
def test_absurd_deform_specs_are_refused(text: str) -> None:
    with pytest.raises(UserError, match=r"deform loop.*expected"):
        parse_deform(text)
