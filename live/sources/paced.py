"""A recording that runs at its own speed, as a camera would: what comes too late is lost."""

from __future__ import annotations

import time
from dataclasses import replace
from typing import Protocol

from live.frame import Frame
from models.closing import Closing


class Recording(Protocol):
    """What is played: a source that is not live."""

    name: str
    size: tuple[int, int]
    fps: float

    def close(self) -> None:
        """Let go of the file."""
        ...

    def read(self) -> Frame | None:
        """The next frame; None = it has ended."""
        ...


class PacedSource(Closing):
    """Plays a recording by the clock; frames are captured when they are due."""

    live = True

    def __init__(self, recording: Recording) -> None:
        self._recording = recording
        self._start: float | None = None
        self.name = recording.name
        self.size = recording.size
        self.fps = recording.fps
        self.note = f"{self.name}: {self.size[0]}x{self.size[1]}, played at {self.fps:.4g} frames a second"

    def close(self) -> None:
        """Let go of the file."""
        self._recording.close()

    def read(self) -> Frame | None:
        """The next frame, once it is due; None = the recording has ended."""
        frame = self._recording.read()
        if frame is None:
            return None
        now = time.perf_counter()
        if self._start is None:
            self._start = now
        due = self._start + frame.seq / self.fps
        if due > now:
            time.sleep(due - now)
        return replace(frame, captured=max(due, now))
