"""Pictures out of OpenCV's VideoCapture: opened quietly, read as RGB, closed without hanging."""

from __future__ import annotations

import contextlib
import os
import threading
from collections.abc import Iterator

import cv2
import numpy as np

from models.arrays import U8
from models.errors import UserError

CLOSE_SECONDS = 2.0  # a read that hangs longer than this keeps its device until the program ends


class SourceLost(UserError):  # noqa: N818 - an event of the source, named as such
    """A source that was giving frames has stopped without having ended: unplugged, or cut off."""


class Grabber:
    """An open VideoCapture that one thread reads and another may close.

    Args:
        target: device number, device path, file path or URL.
        backend: a ``cv2.CAP_...`` backend; 0 = any.
        parameters: pairs of ``cv2.CAP_PROP_...`` and value, in one flat list, for opening.
    """

    def __init__(self, target: int | str, backend: int, parameters: list[int] | None = None) -> None:
        self._lock = threading.Lock()
        with quiet():
            if isinstance(target, int):
                self._capture = cv2.VideoCapture(target, backend, parameters or [])
            else:
                self._capture = cv2.VideoCapture(target, backend, parameters or [])

    @property
    def opened(self) -> bool:
        """Whether there is something to read from."""
        return bool(self._capture.isOpened())

    def get(self, prop: int) -> float:
        """A ``cv2.CAP_PROP_...`` as the device or file really has it."""
        return float(self._capture.get(prop))

    def set(self, prop: int, value: float) -> bool:
        """Ask for a value; devices may give another one or none."""
        with quiet():
            return bool(self._capture.set(prop, value))

    def skip(self) -> bool:
        """Go past one picture; False = there is none."""
        with self._lock, quiet():
            return bool(self._capture.grab())

    def read(self) -> U8 | None:
        """The next picture, uint8 [H, W, 3] RGB; None = none came."""
        with self._lock:
            given, bgr = self._capture.read()
        if not given or bgr is None or bgr.size == 0:
            return None
        return np.asarray(cv2.cvtColor(bgr, cv2.COLOR_BGR2RGB), np.uint8)

    def close(self) -> None:
        """Let go of the device or file; harmless when done already."""
        # Releasing under a read that hangs in the driver crashes some of OpenCV's backends.
        if self._lock.acquire(timeout=CLOSE_SECONDS):
            self._capture.release()
            self._lock.release()


@contextlib.contextmanager
def quiet() -> Iterator[None]:
    """Keep OpenCV and FFmpeg from writing on stderr what the caller says better in an error of its own."""
    os.environ.setdefault("OPENCV_FFMPEG_LOGLEVEL", "-8")  # FFmpeg's "quiet"; read when it first opens a file
    level = cv2.utils.logging.getLogLevel()
    cv2.utils.logging.setLogLevel(cv2.utils.logging.LOG_LEVEL_SILENT)
    try:
        yield
    finally:
        cv2.utils.logging.setLogLevel(level)
