"""Settling on a face while the mirror runs: the thread, whose offset it is, and what is seen of it."""

from __future__ import annotations

import threading
import time
import weakref
from collections.abc import Callable
from dataclasses import replace
from itertools import pairwise
from pathlib import Path

import cv2
import numpy as np
import pytest

from live.__main__ import main
from live.display.hud import Hud, draw
from live.effects import EffectStack
from live.faces.track import FaceTracker
from live.frame import FaceTrack, Frame
from live.options import parse
from live.render import make_mode
from live.settle.settle import CHOICE_SECONDS, LOOKS_SECONDS, PEOPLE, Settler
from live.settle.settling import SPEED
from live.synthesis import Request, Synthesizer
from live.timing import Timings
from models.arrays import F32, U8
from models.inversion import Gradients, load_gradients
from models.landmarker import Landmarker
from models.latent import mean_w, std_w
from models.zoo import Encoder, Generator, load_encoder, load_generator, load_landmark_regressor
from tests import bowls

MOST_CHANGE = 2.0  # levels of 255, mean over the picture, from one shown picture to the next
PATIENCE = 20.0  # seconds of a busy machine


@pytest.fixture(autouse=True)
def _at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    """Other programs on a busy machine would leave no idle time."""
    monkeypatch.setattr("live.settle.settle.step_aside", lambda: True)


@pytest.fixture(scope="module")
def encoder() -> Encoder:
    return load_encoder()


@pytest.fixture(scope="module")
def generator() -> Generator:
    return load_generator(256)


@pytest.fixture(scope="module")
def face(landmarker_model: Path, astronaut: U8) -> FaceTrack:
    with Landmarker(landmarker_model) as landmarker:
        (found,) = landmarker.detect(astronaut)
    return FaceTrack(found.landmarks, found.blendshapes, found.pose, 3, found.score, person=7)


@pytest.fixture(scope="module")
def latent(encoder: Encoder, astronaut: U8, face: FaceTrack) -> F32:
    from models.inversion import make_view

    return make_view(astronaut, face.landmarks, encoder, 256).latent


def towards(goal: F32) -> Gradients:
    """In place of pictures: its loss falls towards an offset in standard deviations of W, from any latent."""
    start: list[F32] = []

    def away(w_plus: F32) -> F32:
        start[:] = start or [w_plus]
        return np.asarray((w_plus - start[0]) / std_w() - goal, np.float32)

    return bowls.bowl(away, size=256)


def towards_a_goal() -> Gradients:
    return towards(0.12 * np.random.default_rng(1).choice([-1, 1], (1, 18, 512)).astype(np.float32))


def until(true: Callable[[], bool]) -> None:
    end = time.monotonic() + PATIENCE
    while not true():
        assert time.monotonic() < end, "it never comes"
        time.sleep(0.01)


def stay(settler: Settler, rgb: U8, face: FaceTrack, latent: F32, start: float, seconds: float) -> float:
    """Looks at a face for so long, at once; the time then."""
    t = start
    while t < start + seconds:
        settler.look(Frame(rgb, 0, t), face, latent, t, hurried=True)
        t += LOOKS_SECONDS
    return t


def learn(settler: Settler, rgb: U8, face: FaceTrack, latent: F32) -> float:
    """Settles on a face to the end; the time then."""
    t = stay(settler, rgb, face, latent, 0.0, 2 * CHOICE_SECONDS)

    def done() -> bool:
        settler.look(Frame(rgb, 0, t), face, latent, t, hurried=True)
        return settler.progress() == 1.0

    until(done)
    return t


def test_what_is_learned_belongs_to_the_person(astronaut: U8, face: FaceTrack, latent: F32) -> None:
    with Settler(towards_a_goal) as settler:
        assert settler.offset(7, 0.0) is None
        t = learn(settler, astronaut, face, latent)
        first = settler.offset(7, t)
        assert first is not None
        assert 0 < float(np.sqrt(np.mean((first / std_w()) ** 2))) < 0.6 * SPEED
        assert settler.offset(8, t + 1) is None, "somebody else starts from nothing"
        back = settler.offset(7, t + 60)
        assert back is not None
        all_of_it = float(np.sqrt(np.mean((back / std_w()) ** 2)))
        assert all_of_it > 4 * SPEED, "nobody saw them meanwhile: nothing is there to jump from"
        (one,) = settler.settled()
        assert one.steps > 0
        assert one.left == 0
        assert one.loss < 0.5 * one.loss_before


def test_nothing_is_learned_of_a_face_that_moves_turns_away_or_is_hidden(
    astronaut: U8, face: FaceTrack, latent: F32
) -> None:
    with Settler(towards_a_goal) as settler:
        turned = replace(face, pose=np.array([40, 0, 0], np.float32))
        cut_off = replace(face, score=0.9)
        for track in (turned, cut_off):
            stay(settler, astronaut, track, latent, 0.0, 3 * CHOICE_SECONDS)
        for i in range(12):
            fast = replace(face, landmarks=face.landmarks + np.float32(10 * i))
            settler.look(Frame(astronaut, 0, 0.0), fast, latent, 10 + i * LOOKS_SECONDS, hurried=True)
        time.sleep(0.6)
        assert settler.progress() is None
    with Settler(towards_a_goal) as settler:
        settler.look(Frame(astronaut, 0, 0.0), face, latent, 0.0, hurried=True)
        x, y = face.landmarks.min(axis=0).astype(int)
        hand = astronaut.copy()
        hand[y : y + 60, x : x + 50] = (40, 200, 60)
        stay(settler, hand, face, latent, LOOKS_SECONDS, 2 * CHOICE_SECONDS)
        time.sleep(0.6)
        assert settler.progress() is None


def test_no_step_is_taken_while_the_face_moves_and_there_is_no_time(
    astronaut: U8, face: FaceTrack, latent: F32
) -> None:
    with Settler(towards_a_goal) as settler:
        t = stay(settler, astronaut, face, latent, 0.0, 2 * CHOICE_SECONDS)
        moving = latent + 0.1 * std_w()
        settler.look(Frame(astronaut, 0, t), face, moving, t, hurried=True)
        until(lambda: settler.progress() is not None)
        time.sleep(0.3)
        settler.look(Frame(astronaut, 0, t), face, latent - 0.1 * std_w(), t + 0.3, hurried=True)
        before = settler.progress()
        time.sleep(0.5)
        assert settler.progress() == before
        settler.look(Frame(astronaut, 0, t), face, moving, t + 0.6, hurried=False)
        until(lambda: settler.progress() != before)


def test_of_a_crowd_only_the_last_are_remembered(astronaut: U8, face: FaceTrack, latent: F32) -> None:
    with Settler(towards_a_goal) as settler:
        t = learn(settler, astronaut, face, latent)
        assert settler.offset(7, t) is not None
        for person in range(100, 100 + PEOPLE):
            assert settler.offset(person, t) is None
        assert settler.offset(7, t) is None


def test_who_left_is_forgotten_and_so_are_their_pictures(
    astronaut: U8, face: FaceTrack, latent: F32, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("live.settle.settle.FORGET_SECONDS", 0.3)
    monkeypatch.setattr("live.settle.settle.GONE_SECONDS", 0.3)
    with Settler(towards_a_goal) as settler:
        t = learn(settler, astronaut, face, latent)
        (there,) = settler.settled()
        picture = weakref.ref(settler._people[7].settling.views[0].view.target)  # type: ignore[union-attr]
        until(lambda: picture() is None)
        assert settler.settled() == [there], "what came of them is still told"
        assert settler.offset(7, t + 1) is None


def broken() -> Gradients:
    raise OSError("the disk has gone")


def test_what_breaks_there_is_told_and_it_ends_at_once(astronaut: U8, face: FaceTrack, latent: F32) -> None:
    with Settler(broken) as settler:
        stay(settler, astronaut, face, latent, 0.0, 2 * CHOICE_SECONDS)
        until(lambda: settler.problem is not None)
        assert settler.problem == "settling has ended: OSError: the disk has gone"
        assert not settler.wants(face, 60.0)
        stay(settler, astronaut, face, latent, 60.0, 1.0)
    with Settler(towards_a_goal):
        started = time.perf_counter()
    assert time.perf_counter() - started < 1.0
    assert "settle" not in {thread.name for thread in threading.enumerate()}


def test_the_mirror_goes_on_without_and_says_so_in_the_end(
    tmp_path: Path, astronaut: U8, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr("live.loading.load_gradients", lambda *_, **__: broken())
    path = tmp_path / "face.png"
    cv2.imwrite(str(path), cv2.cvtColor(astronaut, cv2.COLOR_RGB2BGR))
    options = ["--settle", "--source", str(path), "--live", "--output", "null", "--seconds", "6"]
    assert main([*options, "--mode", "portrait"]) == 2
    told = capsys.readouterr()
    assert told.err == "morphcam: settling has ended: OSError: the disk has gone\n"
    assert int(told.out.split("showed ")[1].split()[0]) > 20


def test_the_portrait_of_a_face_at_rest_changes_unseen_and_then_rests(
    astronaut: U8, face: FaceTrack, latent: F32, encoder: Encoder, generator: Generator
) -> None:
    """Eight pictures a second, as a slow machine makes: larger changes than a camera's thirty would show."""
    mode = make_mode("portrait", load_landmark_regressor())
    to_mean = (mean_w() - latent) / std_w()  # as visible a way as there is
    goal = 0.1 * to_mean / np.sqrt(np.mean(to_mean**2))
    with Settler(lambda: towards(goal)) as settler:
        maker = Synthesizer(
            encoder=encoder,
            load_generator=lambda _: generator,
            effects=EffectStack([]),
            timings=Timings(),
            settler=settler,
        )

        def picture(t: float) -> F32:
            made = maker.make(Request(Frame(astronaut, round(30 * t), t), (face,), t, mode, 256, hurried=True)).made
            return np.asarray(np.clip(made[3], -1, 1) * 127.5, np.float32)

        pictures = [picture(0.0)]
        learn(settler, astronaut, face, latent)
        pictures += [picture(2 + 0.125 * i) for i in range(80)]
        runs = maker.runs
        rest = [picture(12 + 0.25 * i) for i in range(4)]
        assert maker.runs == runs, "a face at rest is synthesized no more once all was eased in"
    changes = [float(np.abs(b - a).mean()) for a, b in pairwise(pictures)]
    assert max(changes) < MOST_CHANGE
    assert float(np.abs(rest[-1] - pictures[0]).mean()) > 2 * MOST_CHANGE, "at once it would be a jump"


@pytest.mark.slow
def test_a_real_face_comes_nearer(astronaut: U8, face: FaceTrack, latent: F32) -> None:
    with Settler(lambda: load_gradients(threads=1)) as settler:
        t = stay(settler, astronaut, face, latent, 0.0, 2 * CHOICE_SECONDS)

        def enough() -> bool:
            settler.look(Frame(astronaut, 0, t), face, latent, t, hurried=True)
            return bool(settler.settled()) and settler.settled()[0].steps >= 12

        started = time.monotonic()
        while not enough():
            assert time.monotonic() - started < 120
            time.sleep(0.1)
        (one,) = settler.settled()
    assert one.loss < 0.8 * one.loss_before


def test_a_person_keeps_their_number_while_they_are_remembered(landmarker_model: Path, astronaut: U8) -> None:
    empty = np.full_like(astronaut, 128)
    with FaceTracker(landmarker_model, fps=30.0) as tracker:

        def seen(rgb: U8, second: float) -> list[tuple[int, int]]:
            tracks = tracker.track(Frame(rgb, round(30 * second), 0.0))
            return [(track.person, track.face_id) for track in tracks]

        ((person, face_id),) = seen(astronaut, 0.0)
        assert seen(empty, 0.1) == []
        assert seen(empty, 4.0) == []
        ((again, other_face_id),) = seen(astronaut, 5.0)
        assert again == person, "known again within the memory"
        assert other_face_id != face_id, "though it is another track"
        assert seen(empty, 6.0) == []
        assert seen(empty, 20.0) == []
        ((later, _),) = seen(astronaut, 30.0)
        assert later != person, "forgotten by now"


def test_the_display_tells_how_far_it_is() -> None:
    hud = Hud(fps=30, latency_ms=(30, 40, 50), updates=3, size=256, dropped=0, mode="portrait", engine="openvino")
    grey = np.full((480, 640, 3), 90, np.uint8)
    plain, half, done = (draw(grey, replace(hud, settling=share)) for share in (None, 0.42, 1.0))
    assert (plain != half).any()
    assert (half != done).any()


def test_the_option_and_what_it_refuses(tmp_path: Path, astronaut: U8, capsys: pytest.CaptureFixture[str]) -> None:
    assert parse(["--settle"]).settle
    assert not parse([]).settle
    path = tmp_path / "face.png"
    cv2.imwrite(str(path), cv2.cvtColor(astronaut, cv2.COLOR_RGB2BGR))
    assert main(["--settle", "--source", str(path), "--output", "null", "--seconds", "1"]) == 2
    error = capsys.readouterr().err
    assert error.count("\n") == 1
    assert "add --live" in error
