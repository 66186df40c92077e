"""What is shown while there is no face."""

from __future__ import annotations

import itertools

import numpy as np
import pytest

from live.render.cover import FADE_OUT_SECONDS, POLICIES, CoverState, close_cover, open_cover
from models.arrays import U8


def _checks(height: int, width: int) -> U8:
    """A camera picture full of detail the size of a face's features: 16 px checks."""
    y, x = np.indices((height, width)) // 16
    return np.repeat((((x + y) % 2) * 255).astype(np.uint8)[..., None], 3, axis=2)


CAMERA = _checks(480, 640)
MORPHED: U8 = np.full((480, 640, 3), (200, 30, 30), np.uint8)


def _detail(picture: U8) -> float:
    return float(np.abs(np.diff(picture.astype(np.float32), axis=1)).max())


@pytest.mark.parametrize("policy", ["blur", "hold", "slate"])
@pytest.mark.parametrize("since", [0.0, 0.1, 0.6, 30.0])
def test_the_camera_picture_never_flashes_through(policy: str, since: float) -> None:
    _, state = open_cover(policy, CAMERA, MORPHED, 1.0, CoverState())
    shown, state = close_cover(policy, CAMERA, 1.0 + since, state)
    assert shown.shape == MORPHED.shape
    assert _detail(shown) < 160 if policy == "slate" else _detail(shown) < 30  # a slate has letters


@pytest.mark.parametrize("policy", ["blur", "hold", "slate"])
def test_before_the_first_face_the_camera_picture_is_covered(policy: str) -> None:
    shown, _ = close_cover(policy, CAMERA, 0.0, CoverState())
    assert shown.shape == (480, 640, 3)
    assert np.abs(shown.astype(int) - CAMERA).mean() > 50


def test_blur_fades_in_half_a_second_and_back() -> None:
    _, state = open_cover("blur", CAMERA, MORPHED, 0.0, CoverState())
    reddish = []
    for step in range(1, 13):
        shown, state = close_cover("blur", CAMERA, step * 0.05, state)
        reddish.append(float(shown[..., 0].mean() - shown[..., 1].mean()))
    assert all(later <= earlier for earlier, later in itertools.pairwise(reddish))
    assert reddish[0] > 100  # the first frame without a face still shows the morphed one
    assert reddish[-1] < 5 and FADE_OUT_SECONDS <= 0.6  # the last is all blur
    shown, state = open_cover("blur", CAMERA, MORPHED, 0.65, state)
    assert 0 < state.level < 1
    shown, state = open_cover("blur", CAMERA, MORPHED, 1.0, state)
    assert np.array_equal(shown, MORPHED)


def test_hold_shows_the_last_morphed_picture() -> None:
    _, state = open_cover("hold", CAMERA, MORPHED, 0.0, CoverState())
    shown, _ = close_cover("hold", CAMERA, 60.0, state)
    assert np.array_equal(shown, MORPHED)


def test_pass_shows_the_camera() -> None:
    shown, _ = close_cover("pass", CAMERA, 0.0, CoverState())
    assert np.array_equal(shown, CAMERA)


@pytest.mark.parametrize("policy", list(POLICIES))
def test_every_policy_keeps_the_picture_type(policy: str) -> None:
    picture = POLICIES[policy](CAMERA, MORPHED)
    assert picture.dtype == np.uint8 and picture.ndim == 3
