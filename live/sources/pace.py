"""When the next frame of a made-up camera is due."""

from __future__ import annotations

import time


class Pace:
    """Counts frames at a steady rate.

    Args:
        fps: frames per second.
        live: True = by the clock: wait until the next frame is due, and when late leave frames out as a
            camera would. False = count on, never wait.
    """

    def __init__(self, fps: float, *, live: bool) -> None:
        self._fps = fps
        self._live = live
        self._start: float | None = None
        self._seq = -1

    def next(self) -> int:
        """The number of the frame to give now."""
        self._seq += 1
        if self._live:
            now = time.perf_counter()
            if self._start is None:
                self._start = now
            self._seq = max(self._seq, int((now - self._start) * self._fps))
            time.sleep(max(0.0, self._start + self._seq / self._fps - now))
        return self._seq
