"""Following one face with the real MediaPipe, and the filter that steadies it."""

from __future__ import annotations

from pathlib import Path

import cv2
import numpy as np
import pytest

from live.faces.align import align
from live.faces.steady import LandmarkFilter, Steadied
from live.faces.track import FaceTracker
from live.frame import FaceTrack, Frame
from models.alignment import invert, transform_points
from models.arrays import F32, U8
from models.face_windows import face_size

FPS = 30.0
LEFT_TO_RIGHT_EYE = (33, 263)


def filtered(frames: list[F32], times: list[float]) -> list[F32]:
    """The points of every moment, steadied."""
    smoothing, state, out = LandmarkFilter(), None, []
    for points, t in zip(frames, times, strict=True):
        state = smoothing.steady(points, t, state)
        out.append(state.points)
    return out


def square(size: float = 100.0) -> F32:
    return np.array([[0, 0], [size, 0], [size, size], [0, size]], np.float32)


def test_a_still_face_stands_still() -> None:
    """MediaPipe's own jitter, 0.2% of the face, is cut to less than a third from frame to frame."""
    rng = np.random.default_rng(0)
    raw = [square() + rng.normal(0, 0.2, (4, 2)).astype(np.float32) for _ in range(150)]
    steady = filtered(raw, [i / FPS for i in range(150)])
    moved = np.std(np.diff(raw[30:], axis=0)), np.std(np.diff(steady[30:], axis=0))
    assert moved[1] < moved[0] / 3


@pytest.mark.parametrize("fps", [10.0, 30.0, 60.0])
def test_a_swaying_head_is_not_left_behind(fps: float) -> None:
    """At 1.8 face sizes a second, the points lag by less than 10 ms."""
    times = [i / fps for i in range(int(4 * fps))]
    sway = [60 * np.sin(np.pi * t) for t in times]
    steady = filtered([square() + np.array([x, 0], np.float32) for x in sway], times)
    fastest = [i for i, t in enumerate(times) if t > 1 and abs(np.cos(np.pi * t)) > 0.9]
    lag = [abs(steady[i][0, 0] - sway[i]) / (60 * np.pi * abs(np.cos(np.pi * times[i]))) for i in fastest]
    assert max(lag) < 0.010


@pytest.mark.parametrize("scale", [0.1, 8.0])
def test_resolution_makes_no_difference(scale: float) -> None:
    rng = np.random.default_rng(0)
    raw = [square() + rng.normal(0, 1, (4, 2)).astype(np.float32) + np.float32(3 * i) for i in range(40)]
    times = [i / FPS for i in range(40)]
    larger = filtered([points * np.float32(scale) for points in raw], times)
    np.testing.assert_allclose(np.array(larger) / scale, np.array(filtered(raw, times)), rtol=1e-3, atol=1e-3)


def test_one_point_that_moves_does_not_unsettle_the_others() -> None:
    rng = np.random.default_rng(0)
    raw = [square() + rng.normal(0, 0.2, (4, 2)).astype(np.float32) for _ in range(90)]
    times = [i / FPS for i in range(90)]
    alone = filtered(raw, times)
    for i, points in enumerate(raw):
        raw[i] = points + np.array([[0, 0]] * 3 + [[0, 20 * np.sin(i / 3)]], np.float32)
    together = filtered(raw, times)
    assert np.abs(np.array(together)[:, :3] - np.array(alone)[:, :3]).max() < 0.15
    assert np.abs(np.array(together)[30:, 3] - np.array(raw)[30:, 3]).max() < 3


def test_time_that_stands_still_starts_afresh() -> None:
    start = Steadied(1.0, square(), np.ones((4, 2), np.float32))
    again = LandmarkFilter().steady(square() + np.float32(50), 1.0, start)
    np.testing.assert_array_equal(again.points, square() + np.float32(50))
    np.testing.assert_array_equal(again.speed, 0)


def moved(rgb: U8, x: float, y: float = -20.0, size: tuple[int, int] = (640, 480)) -> U8:
    """The picture moved into a frame of ``size`` (width, height)."""
    matrix = np.array([[1, 0, 64 + x], [0, 1, y]])
    return np.asarray(cv2.warpAffine(rgb, matrix, size, borderMode=cv2.BORDER_REPLICATE), np.uint8)


def run(tracker: FaceTracker, pictures: list[U8], start: int = 0) -> list[FaceTrack | None]:
    """Track one face through a recording's frames, numbered from ``start``."""
    return [only(tracker.track(Frame(rgb, start + i, 1000.0))) for i, rgb in enumerate(pictures)]


def only(tracks: tuple[FaceTrack, ...]) -> FaceTrack | None:
    """The one face of a tracker that follows one."""
    assert len(tracks) < 2
    return tracks[0] if tracks else None


def test_a_recording_is_timed_by_its_frames(landmarker_model: Path, astronaut: U8) -> None:
    """Offline, frames come as fast as they are processed; the result must not depend on how fast that is."""
    pictures = [moved(astronaut, 10 * i) for i in range(8)]
    slow = [Frame(rgb, i, i / FPS) for i, rgb in enumerate(pictures)]
    with FaceTracker(landmarker_model) as tracker:
        by_clock = [only(tracker.track(frame)) for frame in slow]
    with FaceTracker(landmarker_model, fps=FPS) as tracker:
        by_count = run(tracker, pictures)
    for a, b in zip(by_clock, by_count, strict=True):
        assert a is not None
        assert b is not None
        np.testing.assert_allclose(a.landmarks, b.landmarks, atol=1e-3)


def test_noise_on_a_still_face_is_calmed_and_motion_followed(landmarker_model: Path, astronaut: U8) -> None:
    rng = np.random.default_rng(0)
    noisy = [
        np.clip(moved(astronaut, 0) + rng.normal(0, 4, (480, 640, 3)), 0, 255).astype(np.uint8) for _ in range(40)
    ]
    swaying = [moved(astronaut, 60 * np.sin(np.pi * i / FPS)) for i in range(60)]
    with FaceTracker(landmarker_model, fps=FPS) as tracker:
        still = [track.landmarks for track in run(tracker, noisy) if track]
        sway = [track.landmarks for track in run(tracker, swaying, 40) if track]
    assert (len(still), len(sway)) == (40, 60)
    size = face_size(still[0])
    assert np.sqrt(np.mean(np.diff(still[15:], axis=0) ** 2)) < 0.001 * size
    expected = still[-1].mean(0) + np.array([[60 * np.sin(np.pi * i / FPS), 0] for i in range(60)])
    assert np.abs(np.mean(sway, axis=1) - expected)[10:].max() < 0.04 * size


def test_a_real_head_is_followed_as_one(landmarker_model: Path, carphone_frames: list[U8]) -> None:
    with FaceTracker(landmarker_model, fps=29.97) as tracker:
        tracks = run(tracker, carphone_frames)
    assert all(track is not None for track in tracks)
    assert {track.face_id for track in tracks if track} == {0}


def test_a_face_that_leaves_is_none_and_another_later_is_new(
    landmarker_model: Path, astronaut: U8, carphone_frames: list[U8]
) -> None:
    nobody = np.full((480, 640, 3), 90, np.uint8)
    someone_else = np.asarray(cv2.resize(carphone_frames[0], (587, 480)), np.uint8)
    other = np.full((480, 640, 3), 90, np.uint8)
    other[:, :587] = someone_else
    with FaceTracker(landmarker_model, fps=FPS) as tracker:
        tracks = run(tracker, [moved(astronaut, 0)] * 3 + [nobody] * 45 + [other] * 20)
    assert [track.face_id for track in tracks[:3] if track] == [0, 0, 0]
    assert tracks[10:48] == [None] * 38
    assert [track.face_id for track in tracks[-5:] if track] == [1] * 5


def test_a_face_gone_for_a_moment_is_still_itself(landmarker_model: Path, astronaut: U8) -> None:
    here, nobody = moved(astronaut, 0), np.full((480, 640, 3), 90, np.uint8)
    with FaceTracker(landmarker_model, fps=FPS) as tracker:
        tracks = run(tracker, [here] * 5 + [nobody] * 8 + [here] * 8)
    assert None in tracks[5:13]
    assert tracks[-1] is not None
    assert tracks[-1].face_id == 0


def two_faces(astronaut: U8, left: float, right: float) -> U8:
    """The portrait twice, side by side, each with its own size as a factor."""
    frame = np.full((360, 600, 3), 90, np.uint8)
    for x, factor in ((0, left), (300, right)):
        picture = cv2.resize(astronaut[:360, 72:372], None, fx=factor, fy=factor, interpolation=cv2.INTER_AREA)
        part = picture[:360, :300]
        frame[: part.shape[0], x : x + part.shape[1]] = part
    return frame


def test_the_largest_face_is_chosen_and_kept(landmarker_model: Path, astronaut: U8) -> None:
    left_larger = two_faces(astronaut, 1.0, 0.75)
    right_larger = two_faces(astronaut, 0.85, 1.2)
    with FaceTracker(landmarker_model, fps=FPS) as tracker:
        first, *_ = run(tracker, [left_larger])
        later = run(tracker, [left_larger] * 2 + [right_larger] * 10, 1)
    assert first is not None
    assert first.landmarks[:, 0].mean() < 300
    assert all(track is not None and track.landmarks[:, 0].mean() < 300 for track in later)
    with FaceTracker(landmarker_model, fps=FPS) as tracker:
        (other,) = run(tracker, [right_larger])
    assert other is not None
    assert other.landmarks[:, 0].mean() > 300


@pytest.mark.parametrize("size", [128, 256])
def test_the_crop_shows_the_face_the_ffhq_way(landmarker_model: Path, astronaut: U8, size: int) -> None:
    with FaceTracker(landmarker_model) as tracker:
        (track,) = tracker.track(Frame(astronaut, 0, 0.0))
    aligned = align(Frame(astronaut, 0, 0.0), track, size)
    assert aligned.image.shape == (1, 3, size, size)
    assert aligned.image.dtype == np.float32
    assert aligned.landmarks.shape == (1, 478, 2)
    assert aligned.landmarks.dtype == np.float32
    left, right = aligned.landmarks[0, list(LEFT_TO_RIGHT_EYE)]
    # FFHQ's pictures have the eyes level, a little above the middle.
    assert abs((left - right)[1]) < 0.04
    assert 0.40 < (left + right)[1] / 2 < 0.50
    assert 0.4 < (left + right)[0] / 2 < 0.6
    back = transform_points(invert(aligned.to_crop), aligned.landmarks[0] * size - 0.5)
    np.testing.assert_allclose(back, track.landmarks, atol=1e-2)
    # Tip of the nose, chin, cheeks: skin, which the crop shows where its landmarks say.
    for point in (1, 199, 50, 280):
        x, y = (aligned.landmarks[0, point] * size - 0.5).round().astype(int)
        u, v = track.landmarks[point].round().astype(int)
        np.testing.assert_allclose((aligned.image[0, :, y, x] + 1) * 127.5, astronaut[v, u], atol=20)
