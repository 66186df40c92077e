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


def blur(camera: U8, last: U8) -> U8:
    """The camera picture, cut to the shape of `last` and blurred beyond recognition."""
    height, width = last.shape[:2]
    scale = max(width / camera.shape[1], height / camera.shape[0])
    seen_w, seen_h = round(width / scale), round(height / scale)
    left, top = (camera.shape[1] - seen_w) // 2, (camera.shape[0] - seen_h) // 2
    seen = camera[top : top + seen_h, left : left + seen_w]
    samples_w = max(round(VEIL_SIDE * width / min(width, height)), 1)
    samples_h = max(round(VEIL_SIDE * height / min(width, height)), 1)
    samples = cv2.resize(seen, (samples_w, samples_h), interpolation=cv2.INTER_AREA)
    return np.asarray(cv2.resize(samples, (width, height), interpolation=cv2.INTER_CUBIC), np.uint8)


def slate(_camera: U8, last: U8) -> U8:
    """A plain dark picture that says why."""
    height, width = last.shape[:2]
    picture = np.full_like(last, SLATE_RGB)
    text, font, scale = "no face", cv2.FONT_HERSHEY_SIMPLEX, min(width, height) / 400
    (text_w, text_h), _ = cv2.getTextSize(text, font, scale, 1)
    origin = ((width - text_w) // 2, (height + text_h) // 2)
    cv2.putText(picture, text, origin, font, scale, (170, 172, 176), 1, cv2.LINE_AA)
    return picture


def hold(_camera: U8, last: U8) -> U8:
    """The last morphed picture, for as long as it takes."""
    return last


def bare(camera: U8, _last: U8) -> U8:
    """The camera picture as it is."""
    return camera


POLICIES: dict[str, Callable[[U8, U8], U8]] = {"blur": blur, "hold": hold, "slate": slate, "pass": bare}


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


def close_cover(
    policy: str, camera: U8, size: tuple[int, int], t: float, state: CoverState
) -> tuple[U8, CoverState]:
    """There is no face: the picture to show is the last morphed one, fading to the policy's.

    Args:
        policy: a name in POLICIES.
        camera: uint8 [H, W, 3], the camera picture.
        size: (width, height) of the picture when there is no last one.
        t: seconds.
        state: what the last call returned.
    """
    if policy == "pass":
        return camera, CoverState(state.last, 0.0, t)
    if state.last is None:
        blank = np.zeros((size[1], size[0], 3), np.uint8)
        instead = slate if policy == "hold" else POLICIES[policy]  # nothing to hold yet
        return instead(camera, blank), CoverState(None, 1.0, t)
    level = min(state.level + max(t - state.t, 0) / FADE_OUT_SECONDS, 1.0)
    picture = _blend(state.last, POLICIES[policy](camera, state.last), level)
    return picture, CoverState(state.last, level, t)


def _blend(base: U8, over: U8, level: float) -> U8:
    return np.asarray(cv2.addWeighted(base, 1 - level, over, level, 0), np.uint8)
