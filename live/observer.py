"""What the loop tells whoever watches it."""

from __future__ import annotations

from dataclasses import dataclass

from live.frame import Frame
from live.pipeline import Composite
from live.report import FrameCounts


@dataclass(frozen=True)
class Speed:
    """How fast it goes, taken anew a few times a second.

    Attributes:
        fps: frames shown per second, lately.
        latency_ms: from capture to the composite's arrival at the outputs, milliseconds: p50, p95 and p99 so far.
        updates: syntheses per second, lately.
        size: pixels per side of the generated picture.
        held_back: whether the governor spends less on synthesis than could be asked for.
    """

    fps: float = 0.0
    latency_ms: tuple[float, float, float] = (0.0, 0.0, 0.0)
    updates: float = 0.0
    size: int = 0
    held_back: bool = False


@dataclass(frozen=True)
class Moment:
    """One turn of the loop, for the observer.

    Attributes:
        t: seconds since the first frame: of the recording for files, of the clock for live sources.
        camera: the frame as captured; None = none came since the last turn.
        composite: what was made of it; None = as above.
        counts: so far.
        speed: how fast it goes.
        preview: the window is to be redrawn every so many frames.
    """

    t: float
    camera: Frame | None
    composite: Composite | None
    counts: FrameCounts
    speed: Speed
    preview: int = 1


class Observer:
    """Sees every turn of the loop and may end it, as a window does. This one does nothing."""

    on_screen = False  # True = it shows the composites, so that recordings run at their own speed

    def see(self, moment: Moment) -> bool:
        """Called once a turn on the thread of ``Loop.run``; False = stop."""
        return True

    def tell(self, message: str) -> None:
        """Takes a message for the person in front of the screen."""
