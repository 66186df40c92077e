"""Shows how a fit comes along: the picture, and beside it what the generator makes of it so far."""

from __future__ import annotations

import time
from collections.abc import Callable

import numpy as np

from live.frame import Frame
from live.outputs.window import Window, missing_display
from models.alignment import to_rgb
from models.arrays import F32
from models.closing import Closing
from models.errors import UserError
from models.zoo import Generator

EVERY = 1.0  # seconds from one drawing to the next: each takes a generator pass from the fit


class Preview(Closing):
    """A window where there is a display, and nothing where there is none.

    Args:
        target: float32 [1, 3, R, R], RGB in [-1, 1].
        say: is told why there is none on a display that cannot show it.
        wanted: False = no window, display or not.
    """

    def __init__(self, target: F32, say: Callable[[str], None], *, wanted: bool = True) -> None:
        self._target = to_rgb(target)
        height, width = self._target.shape[:2]
        self._window: Window | None = None
        if wanted and missing_display() is None:
            try:
                self._window = Window(size=(2 * width, height), title="morphcam enrol")
            except UserError as problem:
                say(f"no preview: {problem}")
        self._drawn = -EVERY

    def show(self, generator: Generator, w_plus: F32) -> None:
        """Draws the picture of W+ [1, 18, 512] if it is time to; a window that the user closed stays closed."""
        if self._window is None or self._window.closed:
            return
        now = time.monotonic()
        if now - self._drawn >= EVERY:
            self._drawn = now
            self._window.send(
                Frame(np.hstack([self._target, to_rgb(generator.synthesize(w_plus))]), 0, time.perf_counter())
            )
        self._window.poll_key()

    def close(self) -> None:
        """Close the window."""
        if self._window is not None:
            self._window.close()
