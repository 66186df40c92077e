"""The loop with its real stages, on a real portrait and a real talking head."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, field
from pathlib import Path

import cv2
import numpy as np
import pytest

from live.effects import Effect, EffectStack
from live.engine import Limits, Loop, Outcome
from live.faces.track import FaceTracker
from live.frame import Frame
from live.loading import Models, load_models, make_pipeline, make_synthesizer
from live.observer import Moment, Observer
from live.options import Options
from live.outputs.sink import Sink
from live.render.cover import POLICIES
from live.sources.capture import Capture
from live.sources.clip import ClipSource
from live.sources.grab import SourceLost
from live.sources.pace import Pace
from live.sources.source import Source
from live.timing import Timings
from live.worker import SynthesisWorker
from models.arrays import F32, U8
from models.closing import Closing
from models.errors import UserError

BLANK: U8 = np.full((240, 320, 3), 90, np.uint8)


class Kept(Closing):
    """A sink that keeps what it is sent."""

    name = "kept"

    def __init__(self, fail_at: int | None = None) -> None:
        self.frames: list[Frame] = []
        self.closed = False
        self._fail_at = fail_at

    def send(self, frame: Frame) -> None:
        """Keeps the frame, or fails."""
        if len(self.frames) == self._fail_at:
            raise UserError("the disk is full; free some space")
        self.frames.append(frame)

    def close(self) -> None:
        """Remembers it."""
        self.closed = True


class Reel(Closing):
    """A source of given pictures; live, it runs by the clock, goes round, and is lost where a picture is None."""

    name, note = "reel", "a reel"

    def __init__(self, pictures: Sequence[U8 | None], *, fps: float = 25.0, live: bool = False) -> None:
        self.fps, self.live = fps, live
        self.size = (320, 240)
        self.closed = False
        self._pictures = pictures
        self._pace = Pace(fps, live=live)

    def read(self) -> Frame | None:
        """The next picture."""
        seq = self._pace.next()
        if not self.live and seq >= len(self._pictures):
            return None
        rgb = self._pictures[seq % len(self._pictures)]
        if rgb is None:
            raise SourceLost("the reel broke; is it still plugged in?")
        return Frame(rgb, seq, time.perf_counter())

    def close(self) -> None:
        """Remembers it."""
        self.closed = True


@dataclass
class Slow:
    """An effect that changes nothing and takes its time."""

    seconds: float
    name: str = "slow"
    label: str = "slow"
    active: bool = True
    place: int | None = None
    times: list[float] = field(default_factory=list)

    def toggle(self, t: float) -> None:
        """On or off."""
        self.active = not self.active

    def edit(self, w_plus: F32, t: float) -> F32:
        """The same latent, later."""
        time.sleep(self.seconds)
        self.times.append(t)
        return w_plus


class Watcher(Observer):
    """Keeps what it is shown and told."""

    on_screen = True

    def __init__(self) -> None:
        self.moments: list[Moment] = []
        self.told: list[str] = []

    def see(self, moment: Moment) -> bool:
        """Keeps it."""
        self.moments.append(moment)
        return True

    def tell(self, message: str) -> None:
        """Keeps it."""
        self.told.append(message)


@pytest.fixture(scope="module")
def models() -> Models:
    return load_models(256, "auto")


@pytest.fixture(scope="module")
def portrait(astronaut: U8) -> U8:
    """The astronaut's face and shoulders, 320 x 240."""
    return np.asarray(cv2.resize(astronaut[0:240, 64:384], (320, 240)), np.uint8)


Run = Callable[..., Outcome]


@pytest.fixture
def run(models: Models) -> Iterator[Run]:
    """Runs the loop over a source, with the real networks."""

    def run_loop(
        source: Source,
        sinks: Sequence[Sink],
        *,
        effects: Sequence[Effect] = (),
        mode: str = "portrait",
        on_lost: str = "blur",
        limits: Limits | None = None,
        observer: Observer | None = None,
        reopen: Callable[[], Source] | None = None,
        stop: threading.Event | None = None,
        timings: Timings | None = None,
    ) -> Outcome:
        timings = timings or Timings()
        fps = None if source.live else source.fps
        with source, FaceTracker(models.landmarker, fps=fps) as tracker, ExitStack() as opened:
            stack = EffectStack(effects)
            synthesizer = make_synthesizer(models, stack, timings)
            worker = opened.enter_context(SynthesisWorker(synthesizer)) if source.live else None
            pipeline = make_pipeline(
                models,
                Options(mode=mode, on_lost=on_lost),
                tracker=tracker,
                synthesizer=synthesizer,
                worker=worker,
                effects=stack,
                timings=timings,
            )
            loop = Loop(
                source=source,
                reopen=reopen or (lambda: source),
                pipeline=pipeline,
                sinks=sinks,
                observer=observer or Observer(),
                limits=limits or Limits(),
                governor=None,
                timings=timings,
            )
            return loop.run(stop or threading.Event())

    yield run_loop
    assert not {thread.name for thread in threading.enumerate()} & {"capture", "synthesize"}


def test_every_frame_of_a_clip_is_shown_in_order_at_its_own_time(run: Run, carphone: Path) -> None:
    kept, timings = Kept(), Timings()
    outcome = run(ClipSource(carphone), [kept], limits=Limits(frames=15), timings=timings)
    assert (outcome.counts.received, outcome.counts.shown, outcome.counts.dropped) == (15, 15, 0)
    assert [frame.seq for frame in kept.frames] == list(range(15))
    assert [frame.captured for frame in kept.frames] == pytest.approx([i / 29.97 for i in range(15)], abs=1e-3)
    assert outcome.counts.without_face == 0
    assert timings.summaries()["synthesize"].n == 15


def test_a_clip_ends_the_run(run: Run, portrait: U8) -> None:
    outcome = run(Reel([portrait] * 4), [Kept()])
    assert outcome.counts.shown == outcome.counts.received == 4


def test_seconds_of_a_recording_are_its_own(run: Run, portrait: U8) -> None:
    outcome = run(Reel([portrait] * 20, fps=25), [Kept()], limits=Limits(seconds=0.2))
    assert outcome.counts.shown == outcome.counts.received == 5


@pytest.mark.parametrize("mode", ["portrait", "paste"])
def test_a_real_face_is_morphed(run: Run, portrait: U8, mode: str) -> None:
    kept = Kept()
    outcome = run(Reel([portrait] * 2), [kept], mode=mode)
    assert outcome.counts.without_face == 0
    assert outcome.first_morphed is not None
    changed = np.abs(kept.frames[0].rgb.astype(int) - portrait).max(axis=2) > 8
    assert changed.mean() > (0.9 if mode == "portrait" else 0.005)
    if mode == "paste":
        assert changed.mean() < 0.5  # the rest is the camera's own


def test_effects_see_the_time_of_the_recording(run: Run, portrait: U8) -> None:
    slow = Slow(0.0)
    run(Reel([portrait] * 4, fps=10), [Kept()], effects=[slow])
    assert slow.times == pytest.approx([0.0, 0.1, 0.2, 0.3])


def test_a_live_source_drops_frames_rather_than_lag(run: Run, portrait: U8) -> None:
    kept, timings = Kept(), Timings()
    source = Reel([portrait], fps=60, live=True)
    outcome = run(source, [kept], effects=[Slow(0.1)], limits=Limits(seconds=2.0), timings=timings)
    counts = outcome.counts
    assert counts.received == counts.shown + counts.dropped
    assert counts.dropped > counts.shown > 2
    numbers = [frame.seq for frame in kept.frames]
    assert numbers == sorted(set(numbers))  # nothing out of order, nothing twice
    # The age of a frame does not grow with the number of those that came before it.
    busy = sum(timings.summaries()[s].p50 for s in ("track", "align", "encode", "edit", "synthesize", "render"))
    assert timings.summaries()["capture_to_sink"].p50 < busy + 100


def test_captured_survives_to_the_sinks_of_a_live_source(run: Run, portrait: U8) -> None:
    kept = Kept()
    before = time.perf_counter()
    run(Reel([portrait], fps=30, live=True), [kept], limits=Limits(frames=3))
    times = [frame.captured for frame in kept.frames]
    assert times == sorted(times)
    assert before < times[0] and times[-1] < time.perf_counter()


@pytest.mark.parametrize("live", [True, False])
def test_it_stops_within_a_second(run: Run, portrait: U8, live: bool) -> None:
    stop, asked = threading.Event(), [0.0]

    def ask() -> None:
        asked[0] = time.perf_counter()
        stop.set()

    threading.Timer(0.7, ask).start()
    run(Reel([portrait] * 100_000, live=live), [Kept()], stop=stop)
    assert time.perf_counter() - asked[0] < 1.0


def test_a_source_that_gives_nothing_still_stops_in_time(run: Run) -> None:
    class Silent(Reel):
        def read(self) -> Frame | None:
            time.sleep(1.0)
            return None

    assert run(Silent([BLANK], live=True), [Kept()], limits=Limits(seconds=0.2)).counts.shown == 0


def likeness(shown: U8, camera: U8) -> float:
    """Correlation of two pictures' fine detail, by which a face is known: 1 = the same."""
    a, b = (rgb.astype(np.float32) - cv2.GaussianBlur(rgb, (0, 0), 6) for rgb in (shown, camera))
    return float(np.corrcoef(a.ravel(), b.ravel())[0, 1]) if a.any() else 0.0


@pytest.mark.parametrize("policy", POLICIES)
@pytest.mark.parametrize("mode", ["portrait", "paste"])
def test_the_unmorphed_face_flashes_through_with_pass_alone(run: Run, portrait: U8, policy: str, mode: str) -> None:
    # Upside down, the tracker finds no face; for people it is still one.
    turned: U8 = np.ascontiguousarray(portrait[::-1, ::-1])
    kept = Kept()
    reel = Reel([turned] * 2 + [portrait] * 2 + [turned] * 14)
    outcome = run(reel, [kept], mode=mode, on_lost=policy)
    assert (outcome.counts.faces_lost, outcome.counts.without_face) == (1, 16)
    without_face = [likeness(frame.rgb, turned) for frame in kept.frames if frame.seq not in (2, 3)]
    if policy == "pass":
        assert min(without_face) > 0.99
    else:
        assert max(without_face) < 0.35


def test_an_output_that_fails_is_given_up_and_the_others_go_on(run: Run, portrait: U8) -> None:
    bad, good, watcher = Kept(fail_at=2), Kept(), Watcher()
    outcome = run(Reel([portrait] * 5, fps=1000), [bad, good], observer=watcher)
    assert (len(bad.frames), len(good.frames), bad.closed) == (2, 5, True)
    assert [str(failure) for failure in outcome.failures] == ["the disk is full; free some space"]
    assert watcher.told == ["the disk is full; free some space"]
    assert outcome.messages == {"the disk is full; free some space": 1}


def test_when_the_only_output_fails_the_run_ends_with_its_error(run: Run, portrait: U8) -> None:
    with pytest.raises(UserError, match="disk is full"):
        run(Reel([portrait] * 5), [Kept(fail_at=1)])


def test_a_lost_camera_comes_back(run: Run, portrait: U8) -> None:
    first, second = Reel([portrait] * 2 + [None], live=True), Reel([portrait], live=True)
    kept, watcher = Kept(), Watcher()
    attempts: Iterator[UserError | Source] = iter([UserError("not yet"), UserError("not yet"), second])

    def reopen() -> Source:
        attempt = next(attempts)
        if isinstance(attempt, UserError):
            raise attempt
        return attempt

    run(first, [kept], limits=Limits(frames=6), observer=watcher, reopen=reopen)
    assert first.closed and second.closed
    assert watcher.told == ["the reel broke; is it still plugged in?"]
    numbers = [frame.seq for frame in kept.frames]
    assert numbers == sorted(set(numbers)) and len(numbers) == 6
    assert any(moment.camera is None for moment in watcher.moments)  # the window lived on meanwhile


def test_a_camera_that_stays_away_ends_the_capture_with_its_error() -> None:
    def reopen() -> Source:
        raise UserError("no such camera")

    with Capture(Reel([BLANK, None], live=True), reopen=reopen, patience=0.0) as capture:
        end = time.monotonic() + 10
        while capture.failure is None and time.monotonic() < end:
            capture.frames.take(0.1)
    assert isinstance(capture.failure, SourceLost)
    assert capture.frames.ended


def test_a_recording_on_the_screen_runs_no_faster_than_its_own_speed(run: Run) -> None:
    watcher = Watcher()
    start = time.perf_counter()
    run(Reel([BLANK] * 11, fps=10), [Kept()], observer=watcher)
    assert time.perf_counter() - start >= 1.0
    assert [moment.t for moment in watcher.moments] == pytest.approx([i / 10 for i in range(11)])
