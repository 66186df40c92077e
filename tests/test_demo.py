"""The demo: a face that belongs to nobody, before a camera that is not there."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from live.sources.camera import list_cameras
from live.sources.demo import FPS, SIZE, DemoSource
from live.sources.source import open_source
from models.arrays import F32
from models.landmarker import Landmarker
from models.zoo import load_generator, load_mapping


def painted(w_plus: F32) -> F32:
    """Stands for the generator: a slope in a colour that is the latent's first numbers."""
    colour = np.tanh(w_plus[0, 0, :3]).reshape(1, 3, 1, 1)
    return np.asarray(colour * np.linspace(0.2, 1, 64).reshape(1, 1, 1, 64) * np.ones((1, 1, 64, 1)), np.float32)


def mapped(z: F32) -> F32:
    return np.asarray(z * 0.7, np.float32)


def test_the_demo_is_the_same_every_time_and_moves() -> None:
    first, again = (DemoSource(painted, mapped, live=False) for _ in range(2))
    frames = [first.read() for _ in range(60)]
    assert frames[0].rgb.shape == (SIZE[1], SIZE[0], 3)
    assert frames[0].rgb.dtype == np.uint8
    for seq in (0, 30, 59):
        np.testing.assert_array_equal(again.picture(seq), frames[seq].rgb)
    assert not np.array_equal(frames[0].rgb, frames[59].rgb)
    other = DemoSource(painted, mapped, people=(1, 2), live=False)
    assert not np.array_equal(other.picture(0), frames[0].rgb)


def test_the_demo_moves_smoothly_and_for_ever() -> None:
    demo = DemoSource(painted, mapped, live=False)
    steps = [
        np.abs(demo.picture(seq).astype(int) - demo.picture(seq + 1)).mean() for seq in (0, 74, 449, 674, 100_000)
    ]
    assert max(steps) < 3
    assert min(steps) > 0


def test_above_and_beside_the_demos_head_is_background() -> None:
    grey, black = 150.0, -1.0

    def head(w_plus: F32) -> F32:
        """A black head on grey that reaches the top of the picture, as hair does."""
        y, x = (np.mgrid[:64, :64] + 0.5) / 64
        inside = ((x - 0.5) / 0.4) ** 2 + ((y - 0.55) / 0.6) ** 2 < 1
        return np.repeat(np.where(inside, black, grey / 127.5 - 1).astype(np.float32)[None, None], 3, axis=1)

    picture = DemoSource(head, mapped, live=False).picture(0).astype(float)
    height, width = picture.shape[:2]
    assert picture[height // 2, width // 2].max() < 10
    for y, x in ((3, width // 2), (3, width // 3), (90, 3), (90, width - 4)):
        assert abs(picture[y, x] - grey).max() < 6, (y, x)


def test_the_demo_turns_its_head_as_it_is_told_to() -> None:
    seen: list[F32] = []

    def watching(w_plus: F32) -> F32:
        seen.append(w_plus)
        return painted(w_plus)

    DemoSource(watching, mapped, live=False)
    plain = np.concatenate(seen)
    seen.clear()
    sway = np.zeros((1, 18, 512), np.float32)
    sway[0, :, 7] = 1
    DemoSource(watching, mapped, sway=sway, live=False)
    added = np.concatenate(seen) - plain
    assert added[:, 0, 7].max() > 0.9
    assert added[:, 0, 7].min() < -0.9
    assert np.abs(np.delete(added, 7, axis=2)).max() < 1e-5


def test_the_demo_shows_a_face_that_can_be_found(landmarker_model: Path) -> None:
    demo = DemoSource(load_generator(256).synthesize, load_mapping().map, live=False)
    with Landmarker(landmarker_model, video=True, max_faces=2) as landmarker:
        for seq in range(0, int(25 * FPS), 15):
            (face,) = landmarker.detect(demo.picture(seq), round(seq * 1000 / FPS))
            assert face.score == 1.0, f"partly outside in frame {seq}"


@pytest.mark.skipif(any(not camera.virtual for camera in list_cameras()), reason="this machine has a camera")
def test_auto_without_a_camera_is_the_demo_and_says_so() -> None:
    demo = DemoSource(painted, mapped, live=False)
    source = open_source("auto", make_demo=lambda: demo)
    assert source is demo
    assert "no camera" in source.note
    assert "demo" in source.note
