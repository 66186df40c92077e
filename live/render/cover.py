"""What is shown while there is no face to morph: never the bare camera picture, unless asked for.

A policy is a picture to fade to; the cover fades to it when the face is lost and back when it returns.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import cv2
import numpy as np

from models.arrays import U8

FADE_OUT_SECONDS = 0.5
FADE_IN_SECONDS = 0.25
VEIL_SIDE = 8  # a face spread over 8 x 8 samples cannot be recognised, by people or by machines
SLATE_RGB = (24, 26, 30)


def blur(camera: U8, _last: U8 | None) -> U8:
    """The camera picture, blurred beyond recognition."""
    height, width = camera.shape[:2]
    side = min(height, width)
    size = (round(VEIL_SIDE * width / side), round(VEIL_SIDE * height / side))
    samples = cv2.resize(camera, size, interpolation=cv2.INTER_AREA)
    return np.asarray(cv2.resize(samples, (width, height), interpolation=cv2.INTER_CUBIC), np.uint8)


def slate(camera: U8, _last: U8 | None) -> U8:
    """A plain dark picture that says why."""
    height, width = camera.shape[:2]
    picture = np.full_like(camera, SLATE_RGB)
    text, font, scale = "no face", cv2.FONT_HERSHEY_SIMPLEX, min(width, height) / 400
    (text_w, text_h), _ = cv2.getTextSize(text, font, scale, 1)
    origin = ((width - text_w) // 2, (height + text_h) // 2)
    cv2.putText(picture, text, origin, font, scale, (170, 172, 176), 1, cv2.LINE_AA)
    return picture


def hold(camera: U8, last: U8 | None) -> U8:
    """The last morphed picture, for as long as it takes; a slate before the first."""
    return slate(camera, None) if last is None else last


def bare(camera: U8, _last: U8 | None) -> U8:
    """The camera picture as it is."""
    return camera


POLICIES: dict[str, Callable[[U8, U8 | None], U8]] = {"blur": blur, "hold": hold, "slate": slate, "pass": bare}


@dataclass(frozen=True)
class CoverState:
    """How far the cover has closed.

    Attributes:
        last: uint8 [H, W, 3], the last morphed picture; None before the first.
        level: 0 = open, 1 = closed.
        t: seconds, when this was.
    """

    last: U8 | None = None
    level: float = 1.0
    t: float = 0.0


def open_cover(policy: str, camera: U8, morphed: U8, t: float, state: CoverState) -> tuple[U8, CoverState]:
    """A face was found: the picture to show is `morphed`, through what is left of the cover."""
    level = max(state.level - max(t - state.t, 0) / FADE_IN_SECONDS, 0.0) if state.last is not None else 0.0
    state = CoverState(morphed, level, t)
    if level == 0 or policy in {"hold", "pass"}:
        return morphed, state
    return _blend(morphed, POLICIES[policy](camera, morphed), level), state


def close_cover(policy: str, camera: U8, t: float, state: CoverState) -> tuple[U8, CoverState]:
    """There is no face: the picture to show is the last morphed one, fading to the policy's.

    Args:
        policy: a name in POLICIES.
        camera: uint8 [H, W, 3], the camera picture.
        t: seconds.
        state: what the last call returned.
    """
    cover = POLICIES[policy](camera, state.last)
    if policy == "pass" or state.last is None or state.last.shape != camera.shape:
        return cover, CoverState(state.last, 1.0, t)
    level = min(state.level + max(t - state.t, 0) / FADE_OUT_SECONDS, 1.0)
    return _blend(state.last, cover, level), CoverState(state.last, level, t)


def _blend(base: U8, over: U8, level: float) -> U8:
    return np.asarray(cv2.addWeighted(base, 1 - level, over, level, 0), np.uint8)
