"""What an edit changes, as the camera would have seen it."""

from __future__ import annotations

import cv2
import numpy as np
import pytest

from live.render.detail import difference, soften
from models.arrays import F32

SIDE = 256
ALL: F32 = np.ones((SIDE, SIDE), np.float32)


def grain(seed: int, strength: float = 0.03) -> F32:
    """Skin with pores, float32 [256, 256, 3]; another seed, other pores."""
    noise = np.random.default_rng(seed).normal(0, strength, (SIDE, SIDE, 1))
    return np.asarray(0.5 + np.repeat(noise, 3, axis=2), np.float32)


def fine(picture: F32) -> float:
    """Strength of the finest detail."""
    return float((picture - cv2.GaussianBlur(picture, (0, 0), 1)).std())


def test_no_edit_is_no_difference() -> None:
    changed, sharp = difference(grain(0), grain(0), grain(1, 0.1), ALL)
    assert not changed.any()
    assert sharp == pytest.approx(grain(0), abs=1e-5)


def test_pores_that_lie_elsewhere_are_no_grain_on_top_of_the_camera_s() -> None:
    camera = grain(2)
    changed, _ = difference(grain(0), grain(1), camera, ALL)
    assert fine(grain(1) - grain(0)) > 1.3 * fine(camera)
    assert fine(changed) < 0.5 * fine(camera)
    assert fine(camera + changed) < 1.15 * fine(camera)


def test_a_wrinkle_is_added_and_so_is_a_shade() -> None:
    wrinkled, shaded = grain(1), grain(0) + np.float32(0.1)
    cv2.line(wrinkled, (60, 100), (190, 110), (0.2, 0.2, 0.2), 3, cv2.LINE_AA)
    changed, _ = difference(grain(0), wrinkled, grain(2), ALL)
    assert changed[104:106, 118:126].mean() == pytest.approx(-0.3, rel=0.2)
    changed, _ = difference(grain(0), shaded, grain(2), ALL)
    assert changed == pytest.approx(np.full_like(changed, 0.1), abs=1e-4)


@pytest.mark.parametrize("times", [1, 2])
def test_before_a_soft_camera_the_new_picture_is_soft_as_well(times: int) -> None:
    side = times * SIDE
    new, camera = (
        np.asarray(cv2.resize(picture, (side, side), interpolation=cv2.INTER_CUBIC), np.float32)
        for picture in (grain(1), cv2.GaussianBlur(grain(2), (0, 0), 1.5))
    )
    old = np.ascontiguousarray(new[::-1])
    _, sharp = difference(old, new, camera, np.ones((side, side), np.float32))
    assert fine(new) > 8 * fine(camera)
    assert fine(camera) / 2 < fine(sharp) < 3 * fine(camera)


def test_a_noisy_camera_makes_no_noise_of_the_generator_s_picture() -> None:
    _, sharp = difference(grain(0), grain(1), grain(2, 0.2), ALL)
    assert sharp == pytest.approx(grain(1), abs=1e-5)


def test_a_picture_is_as_soft_as_the_camera_and_no_softer() -> None:
    drawn, soft = grain(0), cv2.GaussianBlur(grain(1), (0, 0), 1.2).astype(np.float32)
    assert fine(drawn) > 5 * fine(soft)
    assert fine(soft) / 2 < fine(soften(drawn, soft, ALL)) < 2 * fine(soft)
    assert soften(drawn, grain(1, 0.1), ALL) == pytest.approx(drawn, abs=1e-5)


def test_only_what_both_show_as_skin_says_how_soft_the_camera_is() -> None:
    drawn, camera, skin = grain(0), grain(1), ALL.copy()
    camera[:, : SIDE // 2] = 0.5
    skin[:, : SIDE // 2] = 0
    assert fine(soften(drawn, camera, skin)) == pytest.approx(fine(drawn), rel=0.1)
    assert fine(soften(drawn, camera, np.ascontiguousarray(skin[:, ::-1]))) < 0.3 * fine(drawn)


def test_softening_moves_no_edge_and_no_light() -> None:
    drawn = np.full((150, 111, 3), 0.2, np.float32)
    drawn[60:, :50] = 0.8
    softened = soften(drawn, np.full_like(drawn, 0.5), np.ones((150, 111), np.float32))
    assert softened.mean() == pytest.approx(drawn.mean(), abs=2e-3)
    assert softened[55:65, 20].mean() == pytest.approx(0.5, abs=0.05)
    assert softened[120:140, 10:35] == pytest.approx(np.full((20, 25, 3), 0.8), abs=1e-3)
