"""The loop: frames from the source, through the pipeline, to the outputs, until something says stop."""

from __future__ import annotations

import math
import threading
import time
from collections import Counter
from collections.abc import Callable, Generator, Sequence
from contextlib import closing
from dataclasses import dataclass, replace

from live.capture import Capture
from live.frame import Frame
from live.mailbox import Mailbox
from live.observer import Moment, Observer
from live.pipeline import Composite, Pipeline
from live.report import FrameCounts
from live.sink import Sink
from live.source import Source
from live.timing import Timings
from models.errors import UserError

PATIENCE_SECONDS = 30.0  # how long a lost camera is waited for where nobody sees the message
IDLE_SECONDS = 0.03  # how often keys are read while no frame comes


@dataclass(frozen=True)
class Limits:
    """When to stop by itself; None = never."""

    seconds: float | None = None
    frames: int | None = None


@dataclass(frozen=True)
class Outcome:
    """What a run came to.

    Attributes:
        counts: what became of the frames.
        seconds: of the clock, from the first frame shown to the last.
        first_frame, first_morphed: ``time.time()`` of these moments; None = there was none.
        messages: what went wrong on the way, with how often.
        failures: outputs that failed and were given up, each with its reason.
    """

    counts: FrameCounts
    seconds: float
    first_frame: float | None
    first_morphed: float | None
    messages: dict[str, int]
    failures: tuple[UserError, ...]

    @property
    def fps(self) -> float:
        """Frames shown per second of the run."""
        return (self.counts.shown - 1) / self.seconds if self.seconds > 0 else 0.0


class Loop:
    """Runs the stages over a source.

    Live sources are read on a thread of their own and only the newest frame counts; of a recording every frame
    is shown. The pipeline, the outputs and the observer run on the thread that calls `run`: windows must live
    on the main one.

    Args:
        source: opened.
        reopen: opens the source again, after it was lost.
        pipeline: makes the composites.
        sinks: take them, all of them; opened. One that fails is given up while something is left to show.
        observer: sees every turn.
        limits: when to stop by itself.
        timings: takes ``send``, ``show`` (on the screen) and ``capture_to_sink``.
    """

    def __init__(
        self,
        *,
        source: Source,
        reopen: Callable[[], Source],
        pipeline: Pipeline,
        sinks: Sequence[Sink],
        observer: Observer,
        limits: Limits,
        timings: Timings,
    ) -> None:
        self.sinks = list(sinks)
        self._source = source
        self._reopen = reopen
        self._pipeline = pipeline
        self._observer = observer
        self._limits = limits
        self._timings = timings
        self._mailbox: Mailbox[Frame] | None = None  # of a live source
        self._received = 0  # of a recording
        self._shown = 0
        self._messages: Counter[str] = Counter()
        self._failures: list[UserError] = []
        self._too_late = 0  # frames that came when the time was up
        self._start = 0.0  # on the clock: of the run, then of the first frame of a live source
        self._first_shown = self._last_shown = 0.0
        self._first_frame: float | None = None
        self._first_morphed: float | None = None
        self._fps = 0.0

    def run(self, stop: threading.Event) -> Outcome:
        """Runs until the source ends, a limit is reached, the observer ends it or `stop` is set.

        Raises:
            UserError: the source failed, or every output did.
        """
        self._start = time.perf_counter()
        frames = self._live_frames(stop) if self._source.live else self._recorded_frames(stop)
        with closing(frames):
            for frame in frames:
                if not self._turn(frame):
                    break
        return Outcome(
            counts=self._counts(),
            seconds=self._last_shown - self._first_shown,
            first_frame=self._first_frame,
            first_morphed=self._first_morphed,
            messages=dict(self._messages),
            failures=tuple(self._failures),
        )

    def _live_frames(self, stop: threading.Event) -> Generator[Frame | None, None, None]:
        """The newest frame, again and again; None = no new one yet."""
        patience = math.inf if self._observer.on_screen else PATIENCE_SECONDS
        with Capture(self._source, reopen=self._reopen, patience=patience) as capture:
            self._mailbox = capture.frames
            told = None
            while not (stop.is_set() or capture.frames.ended):
                lost = capture.lost
                if lost is not None and lost is not told:
                    told = lost
                    self.warn(str(lost))
                yield capture.frames.take(IDLE_SECONDS)
            if capture.failure is not None:
                raise capture.failure

    def _recorded_frames(self, stop: threading.Event) -> Generator[Frame | None, None, None]:
        """Every frame, in order."""
        started = time.perf_counter()
        while not stop.is_set():
            frame = self._source.read()
            if frame is None:
                return
            self._received += 1
            if self._observer.on_screen:
                # captured is when it is due, or latency would count the wait as work
                stop.wait(max(started + frame.seq / self._source.fps - time.perf_counter(), 0))
                frame = replace(frame, captured=time.perf_counter())
            yield frame

    def _turn(self, frame: Frame | None) -> bool:
        """Shows one frame, if there is one; False = that was the last."""
        if frame is None:
            t = time.perf_counter() - self._start
            return self._within_limits(t) and self._observe(t, None, None)
        if self._shown == 0 and self._source.live:
            self._start = frame.captured
        t = frame.captured - self._start if self._source.live else frame.seq / self._source.fps
        if not self._within_limits(t):
            self._too_late += 1
            return False
        composite = self._pipeline.process(frame, t)
        self._send(composite.frame, t)
        go_on = self._observe(t, frame, composite)
        self._count(composite)
        t_next = t if self._source.live else (frame.seq + 1) / self._source.fps
        return go_on and self._within_limits(t_next)

    def _send(self, frame: Frame, t: float) -> None:
        # A file's place in time is that of its source, not of the clock while it was made.
        stamped = frame if self._source.live else replace(frame, captured=t)
        with self._timings.measure("send"):
            for sink in list(self.sinks):
                try:
                    sink.send(stamped)
                except UserError as failure:
                    self._give_up(sink, failure)

    def _give_up(self, sink: Sink, failure: UserError) -> None:
        self.sinks.remove(sink)
        sink.close()
        if not (self.sinks or self._observer.on_screen):
            raise failure
        self._failures.append(failure)
        self.warn(str(failure))

    def warn(self, message: str) -> None:
        """Counts a message for the report and passes it on to the observer."""
        self._messages[message] += 1
        self._observer.tell(message)

    def _count(self, composite: Composite) -> None:
        now = time.perf_counter()
        self._timings.add("capture_to_sink", now - composite.frame.captured)
        if self._shown == 0:
            self._first_shown, self._first_frame = now, time.time()
        else:
            period = max(now - self._last_shown, 1e-6)
            self._fps += 0.1 * (1 / period - self._fps) if self._fps else 1 / period
        self._last_shown = now
        self._shown += 1
        if self._first_morphed is None and composite.track is not None:
            self._first_morphed = time.time()

    def _counts(self) -> FrameCounts:
        box = self._mailbox
        return FrameCounts(
            received=self._received if box is None else box.received,
            shown=self._shown,
            dropped=self._too_late + (0 if box is None else box.dropped),
            without_face=self._pipeline.without_face,
            faces_lost=self._pipeline.faces_lost,
        )

    def _observe(self, t: float, frame: Frame | None, composite: Composite | None) -> bool:
        latency = self._timings.last_ms("capture_to_sink")
        moment = Moment(t, frame, composite, self._counts(), self._fps, latency)
        if not self._observer.on_screen or frame is None:
            return self._observer.see(moment)
        with self._timings.measure("show"):
            return self._observer.see(moment)

    def _within_limits(self, t: float) -> bool:
        seconds, frames = self._limits.seconds, self._limits.frames
        return (seconds is None or t < seconds) and (frames is None or self._shown < frames)
