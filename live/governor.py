"""Decides what may be spent, so that every camera frame is shown in time.

Each frame it is told how hard the render thread worked. It reacts to what lasts: five strained half seconds in a
row make it step down its ladder of plans, one rung each; it steps up again when there has been room for a while. A
step up that turns out to be too much makes the next try wait longer, unless the load has fallen since.

Pure logic: time comes with the measurements, so that a recorded load can be replayed.
"""

from __future__ import annotations

import math
from collections import deque
from collections.abc import Sequence
from dataclasses import dataclass

RATES = (math.inf, 12.0, 6.0, 3.0, 1.0)  # synthesis runs a second; each rung at least halves the cost
PREVIEWS = (1, 3)
START_SECONDS = 3.0  # not judged: everything runs for the first time
SLICE_SECONDS = 0.5  # measurements are averaged over so long; a hiccup and the frames it costs spoil two at most
STRAINED = 0.97  # of the time there is; five slices in a row above this are one rung too many
STRAINED_SLICES = 5
CALM = 0.9  # most of the time there is that may be used for a step up
CALM_SLICES = 10  # of which four fifths must be calm
LOSS_WEIGHT = 3.0  # a twentieth of the frames lost is as bad as 0.15 more work
REACHED = 0.9  # of the time spent on synthesis: a rate that takes more limits nothing
WAITS = (8.0, 16.0, 32.0, 64.0, 600.0)  # seconds from the last change to a step up, by steps that failed before
PROBATION_SECONDS = 60.0  # a step up has failed when strain follows so soon
FALLEN = 0.8  # of the strain before a step that failed: the load is another one, and the waiting forgotten
REMEMBERED = 100  # changes


@dataclass(frozen=True)
class Load:
    """One camera frame's work.

    Attributes:
        t: seconds, when it was done.
        busy: seconds the render thread worked on it, waiting excluded.
        dropped: camera frames lost since the frame before.
        synthesis: seconds the newest synthesis run took; 0 = there was none yet.
    """

    t: float
    busy: float
    dropped: int
    synthesis: float


@dataclass(frozen=True)
class Plan:
    """What may be spent.

    Attributes:
        updates: most synthesis runs a second, over all faces; inf = as fast as it goes.
        size: pixels per side of the generator's picture.
        preview: the window is redrawn every so many frames.
    """

    updates: float
    size: int
    preview: int


class Governor:
    """Holds a frame rate by lowering the synthesis rate, then its size, then how often the window is redrawn.

    Once the load has gone it is back at the best plan within a minute, from the lowest plan too. Under a load that
    stays the same it comes to rest within three minutes; from then on it tries a step up once in ten minutes.

    Args:
        fps: camera frames to be shown a second.
        sizes: that the generator can be run at, largest first.

    Attributes:
        fps: as given.
        changes: (seconds, what was done and why), the newest last.
    """

    def __init__(self, fps: float, sizes: Sequence[int]) -> None:
        self.fps = fps
        self._ladder = (
            *(Plan(rate, sizes[0], PREVIEWS[0]) for rate in RATES),
            *(Plan(RATES[-1], size, PREVIEWS[0]) for size in sizes[1:]),
            *(Plan(RATES[-1], sizes[-1], preview) for preview in PREVIEWS[1:]),
        )
        self._rung = 0
        self.changes: deque[tuple[float, str]] = deque(maxlen=REMEMBERED)
        self._slice: list[Load] = []
        self._slice_start = self._changed = math.nan  # until the first frame has come
        self._strains: deque[float] = deque(maxlen=CALM_SLICES)  # by slice, since the last change
        self._climbed: float | None = None  # when a step up was made that may yet fail
        self._failures = 0
        self._before_climb = math.inf  # usual strain when that step was made
        self._refused = math.inf  # least usual strain before a step up that failed

    @property
    def plan(self) -> Plan:
        """What may be spent now."""
        return self._ladder[self._rung]

    @property
    def holds_back(self) -> bool:
        """Whether less than the best plan is spent."""
        return self._rung > 0

    def adapt(self, load: Load) -> Plan:
        """Takes one frame's load; the plan from now on."""
        if math.isnan(self._slice_start):
            self._slice_start = self._changed = load.t + START_SECONDS
        if load.t < self._slice_start:
            return self.plan
        self._slice.append(load)
        if load.t - self._slice_start >= SLICE_SECONDS:
            self._strains.append(self._strain())
            self._slice, self._slice_start = [], load.t
            self._judge(load)
        return self.plan

    def _strain(self) -> float:
        """The slice's work as a share of the time there was, and more for frames that were lost."""
        shown = len(self._slice)
        seconds = self._slice[-1].t - self._slice_start
        given = shown + sum(load.dropped for load in self._slice)
        needed = min(self.fps * seconds, given)  # a slow camera wants less, a faster one no more than the target
        lost = max(0.0, 1 - shown / needed)
        busy = sum(load.busy for load in self._slice) / shown
        return busy * needed / seconds + LOSS_WEIGHT * lost

    def _judge(self, load: Load) -> None:
        if self._climbed is not None and load.t - self._climbed > PROBATION_SECONDS:
            self._climbed, self._failures, self._refused = None, 0, math.inf
        newest = list(self._strains)[-STRAINED_SLICES:]
        if len(newest) == STRAINED_SLICES and min(newest) > STRAINED:
            self._step_down(load, min(newest))
        elif len(self._strains) == CALM_SLICES:
            self._consider_step_up(load, usual=sorted(self._strains)[CALM_SLICES * 4 // 5 - 1])

    def _step_down(self, load: Load, strain: float) -> None:
        if self._climbed is not None:
            self._climbed, self._refused = None, min(self._refused, self._before_climb)
            self._failures = min(self._failures + 1, len(WAITS) - 1)
        self._go(range(self._rung + 1, len(self._ladder)), load, strain)

    def _consider_step_up(self, load: Load, usual: float) -> None:
        if usual < FALLEN * self._refused:
            self._failures = 0
        if usual < CALM and load.t - self._changed >= WAITS[self._failures]:
            self._before_climb = usual
            if self._go(range(self._rung - 1, -1, -1), load, usual):
                self._climbed = load.t

    def _go(self, rungs: range, load: Load, strain: float) -> bool:
        """Takes the first of the rungs that makes a difference, if there is one."""
        rung = next((rung for rung in rungs if self._differs(rung, load.synthesis)), None)
        if rung is None:
            return False
        self.changes.append((load.t, f"{_describe(self.plan, self._ladder[rung])}: {strain:.0%} busy"))
        self._rung, self._changed = rung, load.t
        self._strains.clear()
        return True

    def _differs(self, rung: int, synthesis: float) -> bool:
        """Whether a rung's rate is one that synthesis could exceed."""
        return rung == 0 or rung >= len(RATES) or RATES[rung] * synthesis < REACHED


def _describe(old: Plan, new: Plan) -> str:
    changes = []
    if new.updates != old.updates:
        changes.append(f"at most {new.updates:g} updates a second" if math.isfinite(new.updates) else "all updates")
    if new.size != old.size:
        changes.append(f"a face of {new.size} px")
    if new.preview != old.preview:
        which = "every frame" if new.preview == 1 else f"1 of {new.preview} frames"
        changes.append(f"{which} on the screen")
    return ", ".join(changes)
