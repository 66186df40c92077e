"""Several faces with the real MediaPipe: everybody keeps their place, whoever passes in front of them."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import cv2
import numpy as np
import pytest

from live.faces.track import FaceTracker
from live.frame import FaceTrack, Frame
from models.alignment import crop, to_crop_matrix, to_rgb
from models.arrays import F32, U8
from models.landmarker import Landmarker
from models.latent import broadcast, mean_w, truncate
from models.zoo import load_generator, load_mapping

FPS = 30.0
HEAD = 256  # pixels of a cut-out head
APART = 100  # pixels of distance at which nobody hides anybody
FACE = 180  # pixels: about the size of a face at scale 1


@dataclass(frozen=True)
class Head:
    """A head cut out of a portrait: float32 [256, 256, 3] RGB and its mask [256, 256] in [0, 1]."""

    rgb: F32
    mask: F32


@dataclass(frozen=True)
class At:
    """Where a head is in a frame of 640 x 480."""

    x: float
    y: float = 240.0
    scale: float = 0.8


def cut_out(landmarker: Landmarker, portrait: U8) -> Head:
    (face, *_) = landmarker.detect(portrait)
    rgb = crop(portrait, to_crop_matrix(face.landmarks, HEAD), HEAD)
    y, x = np.mgrid[:HEAD, :HEAD] / (HEAD - 1) - 0.5
    mask = np.clip((1.06 - (x / 0.36) ** 2 - (y / 0.48) ** 2) / 0.12, 0, 1)
    return Head(rgb.astype(np.float32), mask.astype(np.float32))


@pytest.fixture(scope="module")
def generated(landmarker_model: Path) -> list[Head]:
    """Three people who do not exist."""
    z = np.stack([np.random.default_rng(seed).standard_normal(512) for seed in (0, 1, 5)]).astype(np.float32)
    latents = truncate(broadcast(load_mapping().map(z)), mean_w(), 0.7)
    generator = load_generator(256)
    with Landmarker(landmarker_model) as landmarker:
        return [cut_out(landmarker, to_rgb(generator.synthesize(w_plus[None]))) for w_plus in latents]


@pytest.fixture(scope="module")
def real(landmarker_model: Path, faces_dir: Path) -> list[Head]:
    """Two people who agreed to be photographed."""
    heads = []
    with Landmarker(landmarker_model) as landmarker:
        for path in sorted(faces_dir.glob("*_neutral.jpg"))[:2]:
            bgr = cv2.imread(str(path), cv2.IMREAD_REDUCED_COLOR_2)
            assert bgr is not None
            heads.append(cut_out(landmarker, np.asarray(cv2.cvtColor(bgr, cv2.COLOR_BGR2RGB), np.uint8)))
    return heads


def picture(heads: Sequence[Head], places: Sequence[At | None], seed: int) -> U8:
    """The heads where they are, each in front of those before it, before a wall, with sensor noise."""
    frame = np.full((480, 640, 3), (130, 120, 110), np.float32)
    frame += np.linspace(-30, 30, 640, dtype=np.float32)[None, :, None]
    for head, at in zip(heads, places, strict=True):
        if at is None:
            continue
        shift = np.array([at.x, at.y]) - at.scale * (HEAD - 1) / 2
        matrix = np.column_stack([at.scale * np.eye(2), shift])
        mask = cv2.warpAffine(head.mask, matrix, (640, 480))[..., None]
        frame += mask * (cv2.warpAffine(head.rgb, matrix, (640, 480), borderMode=cv2.BORDER_REPLICATE) - frame)
    frame += np.random.default_rng(seed).normal(0, 3, frame.shape).astype(np.float32)
    return np.clip(frame, 0, 255).astype(np.uint8)


def follow(
    model: Path, heads: Sequence[Head], clip: Sequence[Sequence[At | None]], max_faces: int = 2
) -> list[tuple[FaceTrack, ...]]:
    with FaceTracker(model, fps=FPS, max_faces=max_faces) as tracker:
        return [tracker.track(Frame(picture(heads, places, i), i, 0.0)) for i, places in enumerate(clip)]


def whose(track: FaceTrack, places: Sequence[At | None]) -> int | None:
    """The head that a track is of; None = it lies between two of them, as a half-hidden face may for a frame."""
    x = float(track.landmarks[:, 0].mean())
    distances = [np.inf if at is None else abs(at.x - x) for at in places]
    nearest = int(np.argmin(distances))
    return nearest if distances[nearest] < 0.2 * FACE else None


def smooth(share: float) -> float:
    """From 0 to 1, gently; beyond both ends it rests."""
    x = min(max(share, 0.0), 1.0)
    return x * x * (3 - 2 * x)


def crossing(seconds: float) -> list[list[At]]:
    """Two change sides; the second passes in front."""
    ways = [smooth((i / FPS - 0.4) / seconds) for i in range(round((seconds + 1.0) * FPS))]
    return [[At(160 + 320 * way), At(480 - 320 * way, 250, 0.9)] for way in ways]


def hiding(behind: float = 470) -> list[list[At]]:
    """One steps behind the other and comes back on the side from which it went."""
    ways = [smooth((i / FPS - 0.4) / 0.6) - smooth((i / FPS - 1.3) / 0.6) for i in range(70)]
    return [[At(160 + (behind - 170) * way, scale=0.75), At(behind, 250, 0.95)] for way in ways]


def waiting() -> list[list[At]]:
    """One stays behind the other for longer than a moment and comes out on the other side."""
    ways = [(smooth((i / FPS - 0.4) / 0.6) + smooth((i / FPS - 2.2) / 0.6)) / 2 for i in range(100)]
    return [[At(160 + 320 * way, scale=0.75), At(320, 250, 1.0)] for way in ways]


CLIPS: dict[str, Callable[[], list[list[At]]]] = {
    "crossing": lambda: crossing(1.5),
    "crossing quickly": lambda: crossing(0.6),
    "hiding": hiding,
    "waiting": waiting,
}


@pytest.mark.parametrize("people", ["generated", "real"])
@pytest.mark.parametrize("clip", CLIPS)
def test_everybody_keeps_their_place(
    request: pytest.FixtureRequest, landmarker_model: Path, people: str, clip: str
) -> None:
    heads: list[Head] = request.getfixturevalue(people)[:2]
    places = CLIPS[clip]()
    tracks = follow(landmarker_model, heads, places)
    for now, found in zip(places, tracks, strict=True):
        if abs(now[0].x - now[1].x) > APART:
            assert all(whose(track, now) in (track.place, None) for track in found)
    start, end = tracks[0], tracks[-1]
    assert [track.place for track in start] == [track.place for track in end] == [0, 1]
    assert [whose(track, places[-1]) for track in end] == [0, 1]
    assert any(len(found) < 2 for found in tracks)  # somebody was hidden
    # The landmarks' filter goes on after a moment, and starts afresh after longer.
    assert start[1].face_id == end[1].face_id
    assert (start[0].face_id == end[0].face_id) == (clip != "waiting")


def test_a_bystander_does_not_take_the_place_of_somebody_who_is_hidden(
    landmarker_model: Path, generated: list[Head]
) -> None:
    places = [[At(570, 120, 0.5), *now] for now in hiding(behind=370)]
    tracks = follow(landmarker_model, [generated[2], *generated[:2]], places)
    assert any({whose(track, now) for track in found} == {2} for now, found in zip(places, tracks, strict=True))
    for now, found in zip(places, tracks, strict=True):
        assert 0 not in [whose(track, now) for track in found]
    assert [whose(track, places[-1]) for track in tracks[-1]] == [1, 2]


def test_who_leaves_has_their_place_until_somebody_else_comes(landmarker_model: Path, generated: list[Head]) -> None:
    left, right = At(160), At(480)
    clip: list[list[At | None]] = [
        *[[left, right, None]] * 10,
        *[[left, None, None]] * 60,  # gone for two seconds
        *[[left, At(400), None]] * 10,  # and back, elsewhere
        *[[left, None, None]] * 45,
        *[[left, None, right]] * 15,
    ]
    tracks = follow(landmarker_model, generated, clip)
    assert [track.place for track in tracks[5]] == [0, 1]
    assert [track.place for track in tracks[65]] == [0]
    assert [(track.place, whose(track, clip[78])) for track in tracks[78]] == [(0, 0), (1, 1)]
    assert tracks[78][1].face_id != tracks[5][1].face_id
    assert [(track.place, whose(track, clip[-1])) for track in tracks[-1]] == [(0, 0), (1, 2)]
    assert {found[0].face_id for found in tracks} == {0}


def test_places_run_from_left_to_right(landmarker_model: Path, generated: list[Head]) -> None:
    places = [At(500, scale=0.9), At(120, scale=0.6), At(310, scale=0.8)]
    (three,) = follow(landmarker_model, generated, [places], max_faces=3)
    assert [(track.place, whose(track, places)) for track in three] == [(0, 1), (1, 2), (2, 0)]
    (two,) = follow(landmarker_model, generated, [places], max_faces=2)
    assert [(track.place, whose(track, places)) for track in two] == [(0, 2), (1, 0)]  # the two largest
