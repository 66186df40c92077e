"""Notices what comes before a face: a hand, a cup, a microphone.

The face's own look is remembered, averaged over seconds in the canonical face; what differs from it now, and is
neither an expression nor a change of the light, hides the face.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import cv2
import numpy as np

from live.render.canonical import to_canonical
from live.render.face_parts import face_parts
from models.alignment import crop, to_crop_matrix, to_unit_matrix, transform_points
from models.arrays import F32, U8

SIZE = 64  # pixels of the canonical face at which looks are compared
_FREE, _HIDDEN = 7.0, 14.0  # distance in CIE Lab up to which a face is free, and from which on it is hidden
_LEARN_SECONDS = 1.5  # in which a look is learned where the face is free
_ADMIT_SECONDS = 30.0  # and where it is not: a scarf that stays becomes part of the face
_SPREAD = 5  # pixels by which hidden parts are grown: an occluder's rim looks half like skin
_BLUR = 1.2  # pixels
_REACH = 3.0  # pixels, over which mouth and eyes ask their surroundings


@dataclass(frozen=True)
class Look:
    """How a face has looked so far.

    Attributes:
        lab: float32 [SIZE, SIZE, 3], CIE Lab, canonical.
        free: float32 [SIZE, SIZE] in [0, 1], where it was free of occluders at `t`.
        t: seconds.
    """

    lab: F32
    free: F32
    t: float


def find_free(rgb: U8, landmarks: F32, t: float, look: Look | None) -> tuple[F32, Look]:
    """Where the face is free of occluders.

    Args:
        rgb: uint8 [H, W, 3].
        landmarks: float32 [478, 2], the face in it, frame pixels.
        t: seconds.
        look: what the last call returned for this face; None at first.

    Returns:
        float32 [SIZE, SIZE] in [0, 1], canonical, 1 = free; and the look.
    """
    seen = _seen(rgb, landmarks)
    if look is None or t < look.t:
        everywhere = np.ones((SIZE, SIZE), np.float32)
        return everywhere, Look(seen, everywhere, t)
    difference = seen - look.lab
    telling = face_parts(SIZE).telling
    # Of a lamp or the exposure, the same all over; told by what was free, for an occluder comes in from the side.
    known = (telling > 0.5) & (look.free > 0.5)
    light = np.median(difference[known], axis=0) if known.any() else 0
    distance = np.sqrt(((difference - light) ** 2).sum(axis=-1))
    hidden = np.clip((distance - _FREE) / (_HIDDEN - _FREE), 0, 1) * telling
    # Mouth and eyes tell nothing themselves; they are hidden as far as their surroundings are.
    around = cv2.GaussianBlur(hidden, (0, 0), _REACH) / np.maximum(cv2.GaussianBlur(telling, (0, 0), _REACH), 1e-3)
    hidden = np.maximum(hidden, np.clip(4 * around - 0.6, 0, 1) * (1 - telling))
    hidden = cv2.dilate(hidden, cv2.getStructuringElement(cv2.MORPH_ELLIPSE, (_SPREAD, _SPREAD)))
    free = np.asarray(1 - cv2.GaussianBlur(hidden, (0, 0), _BLUR), np.float32)

    dt = t - look.t
    learn, admit = (1 - math.exp(-dt / seconds) for seconds in (_LEARN_SECONDS, _ADMIT_SECONDS))
    rate = (admit + (learn - admit) * free)[..., None].astype(np.float32)
    return free, Look(look.lab + rate * difference, free, t)


def _seen(rgb: U8, landmarks: F32) -> F32:
    """The face now, canonical and blurred, CIE Lab."""
    square = crop(rgb, to_crop_matrix(landmarks, SIZE), SIZE)
    points = transform_points(to_unit_matrix(landmarks), landmarks).astype(np.float32)
    canonical = to_canonical(square, points, SIZE) * np.float32(1 / 255)
    return np.asarray(cv2.cvtColor(cv2.GaussianBlur(canonical, (0, 0), _BLUR), cv2.COLOR_RGB2LAB), np.float32)
