"""When a generator runs, and when it need not; the thread it runs on."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from live.effects import DirectionEffect, EffectStack
from live.frame import FaceTrack, Frame
from live.render import Mode, make_mode
from live.synthesis import Request, Synthesis, Synthesizer
from live.timing import Timings
from live.worker import SynthesisWorker
from models.arrays import U8
from models.directions import load_direction
from models.landmarker import Landmarker
from models.zoo import Encoder, Generator, load_encoder, load_generator, load_landmark_regressor


@pytest.fixture(scope="module")
def encoder() -> Encoder:
    return load_encoder()


@pytest.fixture(scope="module")
def generator() -> Generator:
    return load_generator(256)


@pytest.fixture(scope="module")
def transfer() -> Mode[object]:
    return make_mode("transfer", load_landmark_regressor())


@pytest.fixture(scope="module")
def request_of_a_face(landmarker_model: Path, astronaut: U8, transfer: Mode[object]) -> Request:
    with Landmarker(landmarker_model) as landmarker:
        (found,) = landmarker.detect(astronaut)
    track = FaceTrack(found.landmarks, found.blendshapes, found.pose, 3, found.score)
    return Request(Frame(astronaut, 0, 0.0), (track,), 0.0, transfer, 256)


def synthesizer(encoder: Encoder, generator: Generator, *effects: DirectionEffect) -> Synthesizer:
    return Synthesizer(
        encoder=encoder, load_generator=lambda _: generator, effects=EffectStack(effects), timings=Timings()
    )


def smile() -> DirectionEffect:
    return DirectionEffect(load_direction("smile"), 2.0)


def later(request: Request, t: float, rgb: U8 | None = None) -> Request:
    frame = Frame(request.frame.rgb if rgb is None else rgb, round(t * 30), t)
    return replace(request, frame=frame, t=t)


def test_without_an_edit_nothing_is_synthesized(
    encoder: Encoder, generator: Generator, request_of_a_face: Request
) -> None:
    maker = synthesizer(encoder, generator)
    made = [maker.make(later(request_of_a_face, t)).made[3] for t in (0.0, 0.1, 0.2)]
    assert maker.runs == 0
    assert all(one is made[0] for one in made)


def test_a_face_at_rest_is_synthesized_once_though_the_sensor_is_noisy(
    encoder: Encoder, generator: Generator, request_of_a_face: Request
) -> None:
    maker = synthesizer(encoder, generator, smile())
    rng = np.random.default_rng(0)
    for i in range(8):
        noisy = np.clip(request_of_a_face.frame.rgb + rng.normal(0, 2, request_of_a_face.frame.rgb.shape), 0, 255)
        maker.make(later(request_of_a_face, i / 7, noisy.astype(np.uint8)))
    assert maker.runs <= 2


@pytest.mark.parametrize("what", ["light", "edit", "size", "mode"])
def test_what_changes_is_synthesized_anew(
    encoder: Encoder, generator: Generator, request_of_a_face: Request, what: str
) -> None:
    effect = smile()
    maker = synthesizer(encoder, generator, effect)
    maker.make(request_of_a_face)
    following = later(request_of_a_face, 0.5)
    if what == "light":
        following = later(request_of_a_face, 0.5, (request_of_a_face.frame.rgb * 0.8).astype(np.uint8))
    elif what == "edit":
        effect.change_strength(-1.0, 0.0)
    elif what == "size":
        following = replace(following, size=512)
    else:
        following = replace(following, mode=make_mode("paste", load_landmark_regressor()))
    maker.make(following)
    assert maker.runs == 2


class Slow(Synthesizer):
    """Takes its time, and gives what it was asked for back."""

    def __init__(self) -> None:
        self.begun = threading.Semaphore(0)
        self.go_on = threading.Event()

    def make(self, request: Request) -> Synthesis:
        """Waits for a sign."""
        self.begun.release()
        assert self.go_on.wait(5)
        return Synthesis(request, {})


@pytest.fixture
def slow() -> Iterator[Slow]:
    maker = Slow()
    yield maker
    maker.go_on.set()


def test_of_several_requests_the_newest_is_made(slow: Slow, request_of_a_face: Request) -> None:
    with SynthesisWorker(slow) as worker:
        worker.requests.put(later(request_of_a_face, 0.0))
        assert slow.begun.acquire(timeout=5)  # at work on the first
        for t in (0.1, 0.2, 0.3):
            worker.requests.put(later(request_of_a_face, t))
        slow.go_on.set()
        assert slow.begun.acquire(timeout=5)
        end = time.monotonic() + 5
        while (newest := worker.newest()) is None or newest.request.t == 0.0:
            assert time.monotonic() < end
            time.sleep(0.01)
        assert newest.request.t == 0.3
        assert worker.requests.dropped == 2


def test_what_breaks_there_is_told_here(request_of_a_face: Request, encoder: Encoder) -> None:
    def broken(_size: int) -> Generator:
        raise OSError("the disk has gone")

    maker = Synthesizer(encoder=encoder, load_generator=broken, effects=EffectStack([smile()]), timings=Timings())
    with SynthesisWorker(maker) as worker:
        worker.requests.put(request_of_a_face)
        end = time.monotonic() + 10
        with pytest.raises(OSError, match="disk"):
            while time.monotonic() < end:
                worker.newest()
                time.sleep(0.01)


def test_it_stops_at_once_when_nothing_is_to_do(slow: Slow) -> None:
    with SynthesisWorker(slow):
        start = time.perf_counter()
    assert time.perf_counter() - start < 1.0
    assert "synthesize" not in {thread.name for thread in threading.enumerate()}
