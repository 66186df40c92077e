"""A camera, a render thread and a synthesis thread that share the cores, in arithmetic, for the governor."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from live.governor import Governor, Load, Plan

FPS = 30.0


@dataclass(frozen=True)
class Machine:
    """What the work costs, alone.

    Attributes:
        own: seconds of the render thread for a frame.
        contention: how much longer that takes while synthesis runs, as a share.
        synthesis: seconds of a run at 256 px; it grows with the area.
        screen: seconds of `own` for redrawing the window.
    """

    own: float
    contention: float
    synthesis: float
    screen: float = 0.002

    def run_seconds(self, plan: Plan) -> float:
        """Seconds of one synthesis run."""
        return self.synthesis * (plan.size / 256) ** 2

    def frame_seconds(self, plan: Plan) -> float:
        """Seconds of one frame on the render thread."""
        duty = min(1.0, plan.updates * self.run_seconds(plan))
        return (self.own - self.screen * (1 - 1 / plan.preview)) * (1 + self.contention * duty)


def drive(
    governor: Governor,
    machine: Machine,
    seconds: float,
    *,
    start: float = 0.0,
    slowdown: Callable[[float], float] = lambda t: 1.0,
    hiccup: Callable[[int], float] = lambda frame: 0.0,
) -> float:
    """Runs the mirror for a while.

    Args:
        governor: told of every frame.
        machine: what it runs on.
        seconds: of the camera.
        start: time it begins at.
        slowdown: time -> factor on all work, from what else runs there.
        hiccup: frame number -> seconds it takes longer.

    Returns:
        Share of the camera's frames that were shown.
    """
    now, last, shown = start, -1, 0
    while now < start + seconds:
        newest = int((now - start) * FPS + 1e-6)
        if newest == last:
            newest += 1
            now = start + newest / FPS
        plan, factor = governor.plan, slowdown(now)
        busy = machine.frame_seconds(plan) * factor + hiccup(newest)
        now += busy
        governor.adapt(Load(now, busy, newest - last - 1, machine.run_seconds(plan) * factor))
        last, shown = newest, shown + 1
    return shown / (last + 1)


def most_changes(governor: Governor, within: float) -> int:
    """The most changes that ever fell into so many seconds."""
    times = [t for t, _ in governor.changes]
    return max((sum(start <= t <= start + within for t in times) for start in times), default=0)
