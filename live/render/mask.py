"""Where in a frame the generated face goes: a soft mask of the face, hair and ears left out."""

from __future__ import annotations

from dataclasses import dataclass

import cv2
import numpy as np

from models.alignment import invert, transform_points
from models.arrays import F32, F64, U8
from models.face_mesh import FACE_OVAL, LIPS

# Each eye together with its brow: what is drawn differently there (glasses, make-up) is no skin either.
EYE_REGIONS = (
    (33, 7, 163, 144, 145, 153, 154, 155, 133, 55, 107, 66, 105, 63, 70),
    (263, 249, 390, 373, 374, 380, 381, 382, 362, 285, 336, 296, 334, 293, 300),
)

# How far the mask reaches from the middle of the oval, as a share of the oval.
_TOP = 0.86  # below the hairline, which the oval may touch
_SIDES = 0.93  # the generated cheek may be a little narrower than the camera's
_CHIN = 1.03  # a generated mouth that opens takes the chin down with it
_CORE = 0.2  # depth from which on the face is the generated one, come what may, as a share of its width
_FEATHER = 0.075  # half the width of the soft edge, as a share of the oval's width


@dataclass(frozen=True)
class Region:
    """The part of a frame that a face covers.

    Attributes:
        rows, columns: slices of the frame.
        alpha: float32 [h, w] in [0, 1], how much of the generated face is seen; 0 all along the border that
            is not the frame's own.
        core: float32 [h, w] in [0, 1], 0 at the mask's edge, 1 deep inside.
        skin: float32 [h, w] in [0, 1], where both faces show skin: the mask without lips, eyes and brows.
        scale: width of the face's oval in pixels.
    """

    rows: slice
    columns: slice
    alpha: F32
    core: F32
    skin: F32
    scale: float


def face_region(landmarks: F32, to_crop: F64, frame_shape: tuple[int, int]) -> Region | None:
    """The soft mask of a face and the rectangle it fills.

    Args:
        landmarks: float32 [478, 2], frame pixels.
        to_crop: float64 [2, 3], frame pixels -> upright crop pixels; says which way is up.
        frame_shape: the frame's height and width.

    Returns:
        None if the mask lies outside the frame.
    """
    outline = _outline(landmarks, to_crop)
    scale = float(np.hypot(*(landmarks[454] - landmarks[234])))
    # A profile's oval is narrow, its face is not: measure its height too.
    scale = max(scale, 0.7 * float(np.hypot(*(landmarks[152] - landmarks[10]))))
    reach = max(1, round(_FEATHER * scale))

    height, width = frame_shape
    low = np.floor(outline.min(axis=0)).astype(int) - reach - 1
    high = np.ceil(outline.max(axis=0)).astype(int) + reach + 2
    left, top = np.maximum(low, 0)
    right, bottom = np.minimum(high, (width, height))
    if left >= right or top >= bottom:
        return None

    # Drawn with its margin, also where that is outside the frame: an edge of the frame is no edge of the face.
    size = high - low
    filled = np.zeros((size[1], size[0]), np.uint8)
    _fill(filled, outline - low, 255)
    alpha = _soften(filled, reach)
    core = np.clip(2 * _soften(filled, max(1, round(_CORE * scale))) - 1, 0, 1)
    skin = np.asarray(cv2.erode(filled, np.ones((3, 3), np.uint8), iterations=reach // 2), np.uint8)
    for part in (LIPS, *EYE_REGIONS):
        points = landmarks[list(part)].astype(np.float64)
        middle = points.mean(axis=0)
        _fill(skin, cv2.convexHull((middle + 1.35 * (points - middle) - low).astype(np.float32))[:, 0], 0)
    inside = np.s_[top - low[1] : bottom - low[1], left - low[0] : right - low[0]]
    return Region(
        rows=slice(int(top), int(bottom)),
        columns=slice(int(left), int(right)),
        alpha=np.ascontiguousarray(alpha[inside]),
        core=core[inside],
        skin=skin[inside].astype(np.float32) * np.float32(1 / 255),
        scale=scale,
    )


def _outline(landmarks: F32, to_crop: F64) -> F64:
    """The oval, drawn in at the forehead and let out at the chin; float64 [36, 2] frame pixels."""
    upright = transform_points(to_crop, landmarks[list(FACE_OVAL)])
    middle = (upright.min(axis=0) + upright.max(axis=0)) / 2
    offset = upright - middle
    vertical = np.where(offset[:, 1] < 0, _TOP, _CHIN)
    return transform_points(invert(to_crop), middle + offset * np.column_stack([np.full(36, _SIDES), vertical]))


def _fill(mask: U8, polygon: F64 | F32, value: int) -> None:
    shift = 4  # bits below the pixel, so that a slowly moving face does not make its mask jitter
    cv2.fillPoly(mask, [np.rint(polygon * (1 << shift)).astype(np.int32)], value, cv2.LINE_AA, shift)


def _soften(filled: U8, reach: int) -> F32:
    """A soft edge `reach` pixels to either side of the hard one, and exactly 0 and 1 beyond.

    Two box blurs make a finite kernel of a smooth shape.
    """
    side = max(1, reach // 2) * 2 + 1
    soft = cv2.blur(cv2.blur(filled.astype(np.float32), (side, side)), (side, side))
    soft *= np.float32(1 / 255)
    return np.asarray(soft, np.float32)
