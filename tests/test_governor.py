"""The governor, on machines made of arithmetic and under loads recorded from the running application."""

from __future__ import annotations

import json
import math
import random
from bisect import bisect
from collections.abc import Callable, Sequence
from pathlib import Path

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from live.governor import Governor, Load, Plan
from tests.plant import FPS, Machine, drive, most_changes

SIZES = (256, 128)
BEST = Plan(math.inf, 256, 1)
REST_SECONDS = 180.0
RETURN_SECONDS = 60.0
MOST_A_MINUTE = 20

machines = st.builds(
    Machine,
    own=st.floats(0.003, 0.06),
    contention=st.floats(0, 1),
    synthesis=st.floats(0.01, 0.5),
)
quick_machines = st.builds(
    Machine, own=st.floats(0.003, 0.015), contention=st.floats(0, 0.75), synthesis=st.floats(0.01, 0.5)
)


TEMPTING = Machine(own=0.021, contention=1.0, synthesis=0.1)  # calm with 3 updates a second, strained with 6


@given(machine=machines, sizes=st.sampled_from([(256,), SIZES]))
@example(machine=TEMPTING, sizes=SIZES)
@settings(max_examples=40)
def test_under_a_load_that_stays_the_same_it_comes_to_rest(machine: Machine, sizes: Sequence[int]) -> None:
    governor = Governor(FPS, sizes)
    drive(governor, machine, REST_SECONDS)
    before = len(governor.changes)
    drive(governor, machine, 400, start=REST_SECONDS)
    assert len(governor.changes) == before


@given(machine=quick_machines, slowdown=st.floats(1, 20))
@example(machine=Machine(own=0.013, contention=0.75, synthesis=0.1), slowdown=1.8)  # tempting while loaded
@example(machine=Machine(own=0.026, contention=0.0, synthesis=0.1), slowdown=1.5)  # always hard at work
@settings(max_examples=40)
def test_it_is_back_at_the_best_plan_soon_after_the_load_has_gone(machine: Machine, slowdown: float) -> None:
    governor = Governor(FPS, SIZES)
    drive(governor, machine, 200, slowdown=lambda t: slowdown)
    drive(governor, machine, RETURN_SECONDS, start=200)
    assert governor.plan == BEST


@given(
    machine=machines,
    loads=st.lists(st.tuples(st.floats(1, 30), st.floats(1, 6)), min_size=2, max_size=20),
)
@settings(max_examples=40)
def test_it_never_flutters_whatever_the_load_does(machine: Machine, loads: list[tuple[float, float]]) -> None:
    def slowdown(t: float) -> float:
        t %= sum(seconds for seconds, _ in loads)
        for seconds, factor in loads:
            if t < seconds:
                return factor
            t -= seconds
        return 1.0

    governor = Governor(FPS, SIZES)
    drive(governor, machine, 200, slowdown=slowdown)
    assert most_changes(governor, within=60) <= MOST_A_MINUTE


@given(machine=machines, slowdown=st.floats(1, 3))
@settings(max_examples=40)
def test_synthesis_rate_goes_first_then_size_then_the_screen(machine: Machine, slowdown: float) -> None:
    governor = Governor(FPS, SIZES)
    for second in range(30):
        drive(governor, machine, 1, start=second, slowdown=lambda t: slowdown)
        plan = governor.plan
        assert plan.updates >= 1
        assert plan.size == 256 or plan.updates == 1
        assert plan.preview == 1 or plan.size == 128


def test_a_load_that_can_be_met_is_met() -> None:
    machine = Machine(own=0.022, contention=1.0, synthesis=0.1)
    assert drive(Governor(FPS, (256,)), machine, 0.9) < 0.85  # the load is too high for the best plan
    governor = Governor(FPS, SIZES)
    drive(governor, machine, 10)
    assert drive(governor, machine, 20, start=10) > 0.99
    assert governor.plan == Plan(3.0, 256, 1)


def test_it_is_quick_down() -> None:
    governor = Governor(FPS, SIZES)
    drive(governor, Machine(own=0.05, contention=0.5, synthesis=0.05), 20)
    assert governor.plan == Plan(1.0, 128, 3)


@pytest.mark.parametrize("every", [600, 97])
@pytest.mark.parametrize("seconds", [0.08, 0.4, 2.0])
def test_a_hiccup_changes_nothing(seconds: float, every: int) -> None:
    governor = Governor(FPS, SIZES)
    machine = Machine(own=0.018, contention=0.3, synthesis=0.1)
    drive(governor, machine, 300, hiccup=lambda frame: seconds if frame % every == every - 1 else 0.0)
    assert list(governor.changes) == []


@pytest.mark.parametrize("seed", range(3))
def test_a_noisy_load_near_the_limit_makes_few_changes(seed: int) -> None:
    noise = random.Random(seed)
    governor = Governor(FPS, SIZES)
    machine = Machine(own=0.022, contention=0.5, synthesis=0.1)
    drive(governor, machine, 1800, hiccup=lambda frame: noise.gauss(0, 0.005))
    assert len(governor.changes) <= 30


@pytest.mark.parametrize(("target", "camera"), [(30.0, 15.0), (30.0, 60.0)])
def test_the_cameras_own_rate_is_no_strain(target: float, camera: float) -> None:
    governor = Governor(target, SIZES)
    for frame in range(round(60 * camera)):  # every second frame of the faster camera is one too many
        if camera < target or frame % 2 == 0:
            busy = 0.6 / min(target, camera)
            governor.adapt(Load(frame / camera, busy, dropped=int(camera > target), synthesis=0.1))
    assert governor.plan == BEST and list(governor.changes) == []


@pytest.mark.parametrize(("lost_every", "strained"), [(15, False), (5, True)])
def test_frames_lost_are_strain_though_the_thread_has_time(lost_every: int, strained: bool) -> None:
    governor = Governor(FPS, SIZES)
    for frame in range(900):
        if frame % lost_every:
            governor.adapt(Load(frame / FPS, 0.5 / FPS, dropped=int(frame % lost_every == 1), synthesis=0.1))
    assert (governor.plan != BEST) == strained


def recorded(name: str) -> Callable[[float], float]:
    """Time -> how much slower than RECORDED the render thread was then; the recording goes round."""
    text = (Path(__file__).parent / "traces" / f"{name}.json").read_text(encoding="utf-8")
    loads: list[list[float]] = json.loads(text)["loads"]
    times = [t for t, *_ in loads]
    return lambda t: loads[bisect(times, t % times[-1]) % len(loads)][1] / RECORDED.own


# What synthesis adds to a frame was measured too: a run without limit against one of one update a second.
RECORDED = Machine(own=0.025, contention=0.04, synthesis=0.22)


def test_under_a_recorded_idle_run_nothing_changes() -> None:
    governor = Governor(FPS, SIZES)
    assert drive(governor, RECORDED, 200, slowdown=recorded("idle")) > 0.98
    assert list(governor.changes) == []


def test_a_recorded_burst_of_load_is_met_and_forgotten() -> None:
    governor = Governor(FPS, SIZES)
    drive(governor, RECORDED, 31, slowdown=recorded("busy"))
    assert governor.plan.updates == 1.0  # for twenty seconds others took the cores
    drive(governor, RECORDED, RETURN_SECONDS, start=31, slowdown=recorded("idle"))
    assert governor.plan == BEST


@pytest.mark.parametrize("contention", [0.04, 0.5])
def test_recorded_bursts_without_end_do_not_make_it_flutter(contention: float) -> None:
    governor = Governor(FPS, SIZES)
    machine = Machine(RECORDED.own, contention, RECORDED.synthesis)
    drive(governor, machine, 600, slowdown=recorded("busy"))
    assert 3 <= len(governor.changes) <= 12


def test_a_change_says_what_was_done_and_why() -> None:
    governor = Governor(FPS, SIZES)
    drive(governor, Machine(own=0.05, contention=0.2, synthesis=0.1), 20)
    drive(governor, Machine(own=0.01, contention=0.2, synthesis=0.1), 60, start=20)
    texts = [text.partition(": ") for _, text in governor.changes]
    assert [what for what, _, _ in texts] == [
        "at most 6 updates a second",
        "at most 3 updates a second",
        "at most 1 updates a second",
        "a face of 128 px",
        "1 of 3 frames on the screen",
        "every frame on the screen",
        "a face of 256 px",
        "at most 3 updates a second",
        "at most 6 updates a second",
        "all updates",
    ]
    assert all(why.endswith("% busy") for _, _, why in texts)
