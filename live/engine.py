"""The loop: frames from the source, through the pipeline, to the outputs, until something says stop."""

from __future__ import annotations

import math
import threading
import time
from collections import Counter
from collections.abc import Callable, Generator, Sequence
from contextlib import closing
from dataclasses import dataclass, replace

from live.frame import Frame
from live.governor import Governor, Load
from live.observer import Moment, Observer, Speed
from live.outputs.sink import Sink
from live.pipeline import Composite, Pipeline
from live.report import FrameCounts, MemoryPeak
from live.sources.capture import Capture
from live.sources.source import Source
from live.timing import Timings
from models.errors import UserError

PATIENCE_SECONDS = 30.0  # how long a lost camera is waited for where nobody sees the message
SPEED_SECONDS = 0.5
IDLE_SECONDS = 0.03  # how often keys are read while no frame comes
AWAITING_SECONDS = 0.004  # the same while a synthesis is waited for that is shown as soon as it is there


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
        updates: syntheses that changed the picture.
        cpu_seconds: of the processor, by thread; "engines" is what the networks' own threads took.
        memory_mb: most that was resident, sampled.
        governed: (seconds, what the governor did).
        messages: what went wrong on the way, with how often.
        failures: outputs that failed and were given up, each with its reason.
    """

    counts: FrameCounts
    seconds: float
    first_frame: float | None
    first_morphed: float | None
    updates: int
    cpu_seconds: dict[str, float]
    memory_mb: float
    governed: tuple[tuple[float, str], ...]
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
        governor: holds the camera's rate; None = nothing needs to be held.
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
        governor: Governor | None,
        timings: Timings,
    ) -> None:
        self.sinks = list(sinks)
        self._source = source
        self._reopen = reopen
        self._pipeline = pipeline
        self._observer = observer
        self._limits = limits
        self._governor = governor
        self._timings = timings
        self._capture: Capture | None = None  # of a live source
        self._received = 0  # of a recording
        self._shown = 0
        self._messages: Counter[str] = Counter()
        self._failures: list[UserError] = []
        self._dropped_before = 0
        self._too_late = 0  # frames that came when the time was up
        self._processed = 0  # frames; those not shown had no synthesis, in a mode that waits for it
        self._memory = MemoryPeak()
        self._start = 0.0  # on the clock: of the run, then of the first frame of a live source
        self._first_shown = self._last_shown = 0.0
        self._first_frame: float | None = None
        self._first_morphed: float | None = None
        self._speed = Speed()
        self._speed_taken = time.perf_counter()
        self._shown_before = self._updates_before = 0

    def run(self, stop: threading.Event) -> Outcome:
        """Runs until the source ends, a limit is reached, the observer ends it or `stop` is set.

        Raises:
            UserError: the source failed, or every output did.
        """
        self._start = time.perf_counter()
        busy_before, process_before = time.thread_time(), time.process_time()
        frames = self._live_frames(stop) if self._source.live else self._recorded_frames(stop)
        with closing(frames):
            for frame in frames:
                if not self._turn(frame):
                    break
        threads = {"render": time.thread_time() - busy_before}
        if self._capture is not None:
            threads["capture"] = self._capture.cpu_seconds
        threads |= self._pipeline.cpu_seconds()
        threads["engines"] = max(time.process_time() - process_before - sum(threads.values()), 0.0)
        return Outcome(
            counts=self._counts(),
            seconds=self._last_shown - self._first_shown,
            first_frame=self._first_frame,
            first_morphed=self._first_morphed,
            updates=self._pipeline.updates_used,
            cpu_seconds={name: round(seconds, 3) for name, seconds in threads.items()},
            memory_mb=self._memory.peak_mb,
            governed=tuple(self._governor.changes) if self._governor is not None else (),
            messages=dict(self._messages),
            failures=tuple(self._failures),
        )

    def _live_frames(self, stop: threading.Event) -> Generator[Frame | None, None, None]:
        """The newest frame, again and again; None = no new one yet."""
        patience = math.inf if self._observer.on_screen else PATIENCE_SECONDS
        with Capture(self._source, reopen=self._reopen, patience=patience) as capture:
            self._capture = capture
            told = None
            while not (stop.is_set() or capture.frames.ended):
                lost = capture.lost
                if lost is not None and lost is not told:
                    told = lost
                    self.warn(str(lost))
                yield capture.frames.take(AWAITING_SECONDS if self._pipeline.awaits else IDLE_SECONDS)
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
            return self._within_limits(t) and self._show(t, None, self._pipeline.finish(t))
        if self._shown == 0 and self._source.live:
            self._start = frame.captured
        t = frame.captured - self._start if self._source.live else frame.seq / self._source.fps
        if not self._within_limits(t):
            self._too_late += 1
            return False
        started = time.perf_counter()
        self._processed += 1
        go_on = self._show(t, frame, self._pipeline.process(frame, t))
        self._memory.sample(t)
        if self._governor is not None and self._source.live:
            self._govern(self._governor, time.perf_counter() - started)
        t_next = t if self._source.live else (frame.seq + 1) / self._source.fps
        return go_on and self._within_limits(t_next)

    def _show(self, t: float, frame: Frame | None, composite: Composite | None) -> bool:
        """Gives a composite, if there is one, to the outputs and to the observer; False = that one ends the run."""
        if composite is not None:
            self._send(composite.frame, t)
            self._count(composite)
        return self._observe(t, frame if composite is None else composite.camera, composite)

    def _govern(self, governor: Governor, busy: float) -> None:
        dropped = 0 if self._capture is None else self._capture.frames.dropped
        load = Load(
            t=time.perf_counter() - self._start,
            busy=busy,
            dropped=dropped - self._dropped_before,
            synthesis=self._timings.last_ms("synthesize") / 1000,
        )
        self._dropped_before = dropped
        before = governor.plan
        plan = governor.adapt(load)
        if plan != before:
            self._observer.tell(f"Holding {governor.fps:g} fps: {governor.changes[-1][1]}")
        self._pipeline.updates, self._pipeline.size = plan.updates, plan.size

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
        self._last_shown = now
        self._shown += 1
        if self._first_morphed is None and composite.tracks:
            self._first_morphed = time.time()

    def _counts(self) -> FrameCounts:
        frames = None if self._capture is None else self._capture.frames
        dropped_by = {
            "capture": self._too_late + (0 if frames is None else frames.dropped),
            "synthesize": self._processed - self._shown,
        }
        return FrameCounts(
            received=self._received if frames is None else frames.received,
            shown=self._shown,
            dropped=sum(dropped_by.values()),
            dropped_by=dropped_by,
            without_face=self._pipeline.without_face,
            faces_lost=self._pipeline.faces_lost,
        )

    def _observe(self, t: float, frame: Frame | None, composite: Composite | None) -> bool:
        preview = 1 if self._governor is None else self._governor.plan.preview
        moment = Moment(t, frame, composite, self._counts(), self._measure_speed(), preview)
        if not self._observer.on_screen or frame is None:
            return self._observer.see(moment)
        with self._timings.measure("show"):
            return self._observer.see(moment)

    def _measure_speed(self) -> Speed:
        now = time.perf_counter()
        seconds = now - self._speed_taken
        if seconds >= SPEED_SECONDS:
            latency = self._timings.summary("capture_to_sink")
            updates = self._pipeline.updates_used
            governor = self._governor
            self._speed = Speed(
                fps=(self._shown - self._shown_before) / seconds,
                latency_ms=(latency.p50, latency.p95, latency.p99),
                updates=(updates - self._updates_before) / seconds,
                size=self._pipeline.size,
                held_back=governor is not None and governor.holds_back,
            )
            self._speed_taken, self._shown_before, self._updates_before = now, self._shown, updates
        return self._speed

    def _within_limits(self, t: float) -> bool:
        seconds, frames = self._limits.seconds, self._limits.frames
        return (seconds is None or t < seconds) and (frames is None or self._shown < frames)
