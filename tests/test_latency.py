"""The latency that is reported, against a clock that is in the picture itself."""

from __future__ import annotations

import sys
import threading
import time

import cv2
import numpy as np
import pytest

from live import session
from live.effects import parse_direction
from live.frame import Frame
from live.options import Options
from live.sources.pace import Pace
from models.arrays import F64, U8
from models.closing import Closing

BITS = 20  # of milliseconds: the clock goes round in 17 minutes
BLOCK = 16  # pixels
ROUND = 1 << BITS


def write_clock(rgb: U8, moment: float) -> None:
    """Writes a moment of ``time.perf_counter()`` into the bottom of a picture 320 wide: black and white blocks."""
    ms = int(moment * 1000) % ROUND
    bits = [255 * (ms >> bit & 1) for bit in range(BITS)]
    rgb[-BLOCK:] = np.repeat(np.array(bits, np.uint8), BLOCK)[None, :, None]


def read_clock(rgb: U8) -> int:
    """Milliseconds, as written."""
    blocks = rgb[-BLOCK:].reshape(BLOCK, BITS, BLOCK, 3).mean(axis=(0, 2, 3))
    return sum(1 << bit for bit in range(BITS) if blocks[bit] > 127)


def since(ms: int, moment: float) -> int:
    """Milliseconds from the clock's `ms` to a moment of ``time.perf_counter()``."""
    return (int(moment * 1000) - ms + ROUND // 2) % ROUND - ROUND // 2


class Clock(Closing):
    """A camera that sees a face above a clock; as a sink, it notes how old the pictures are that reach it."""

    name, note = "clock", "a face and a clock"
    size, fps, live = (320, 240), 30.0, True

    def __init__(self, portrait: U8) -> None:
        self.ages: list[int] = []  # milliseconds, by the clock
        self.stamp_errors: list[int] = []  # milliseconds from the clock to the frame's own stamp
        self._portrait = portrait
        self._pace = Pace(self.fps, live=True)

    def read(self) -> Frame:
        """The next frame, with the time in it."""
        seq = self._pace.next()
        rgb, moment = np.array(self._portrait), time.perf_counter()
        write_clock(rgb, moment)
        return Frame(rgb, seq, moment)

    def send(self, frame: Frame) -> None:
        """Reads the clock."""
        ms = read_clock(frame.rgb)
        self.stamp_errors.append(since(ms, frame.captured))
        self.ages.append(since(ms, time.perf_counter()))

    def close(self) -> None:
        """Nothing is held open."""


@pytest.fixture
def clock(astronaut: U8, monkeypatch: pytest.MonkeyPatch) -> Clock:
    """In place of every source and of every output."""
    made = Clock(np.asarray(cv2.resize(astronaut[0:240, 64:384], Clock.size), np.uint8))
    monkeypatch.setattr(session, "open_source", lambda *_, **__: made)
    monkeypatch.setattr(session, "open_sink", lambda *_: made)
    return made


def test_the_clock_can_be_read() -> None:
    rgb: U8 = np.zeros((240, 320, 3), np.uint8)
    before = time.perf_counter()
    write_clock(rgb, before)
    assert since(read_clock(rgb), before) == 0
    assert since(read_clock(rgb), before + 0.25) in range(248, 253)
    assert since(ROUND - 1, 0.004) == 5  # over midnight


@pytest.mark.parametrize("mode", ["camera", "transfer"])
def test_the_reported_latency_is_that_of_the_pixels(clock: Clock, mode: str) -> None:
    options = Options(
        outputs=("null",), directions=(parse_direction("smile"),), mode=mode, on_lost="pass", seconds=4.0
    )
    report = session.run(options, command=[], say=lambda line: None, stop=threading.Event())
    ages: F64 = np.array(clock.ages, np.float64)
    assert len(ages) == report.frames.shown > 30
    assert report.frames.without_face < report.frames.shown / 2
    # The stamp and the pixels are of the same moment: no frame is shown under a younger one's name.
    assert not any(clock.stamp_errors)
    # What is reported ends when the sink returns, which may have to wait for a turn among the threads.
    turn = 1000 * sys.getswitchinterval()
    told = report.milliseconds["capture_to_sink"]
    for reported, percent in ((told.p50, 50), (told.p95, 95)):
        seen = float(np.percentile(ages, percent))
        assert reported == pytest.approx(seen, rel=0.1, abs=3.0 + turn)
    assert (report.updates > 0) == (mode == "transfer")
