"""Where the parts of a face are in the canonical face: soft masks, the same for everyone."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cache

import cv2
import numpy as np

from models.arrays import F32, U8
from models.face_mesh import BROW_A, BROW_B, EYE_A, EYE_B, FACE_OVAL, INNER_LIPS, LIPS, canonical_face

_FEATHER = 0.016  # standard deviation of soft edges, as a share of the picture's side
_LIP_FEATHER = 0.005
# The head around the face's oval, in halves of the oval's width and height.
_HEAD_SIDES, _HEAD_TOP, _HEAD_BOTTOM = 1.5, 1.8, 1.12
_HEAD_FADE = 0.3
_HEAD_RIM = (
    0.1  # of the square, inside its border, over which it ends: hair goes on where the generator's picture does not
)


@dataclass(frozen=True)
class FaceParts:
    """Masks float32 [S, S] in [0, 1].

    Attributes:
        mouth_rows, mouth_columns: the part of the picture that the mouth is in.
        face: inside the outline of the face.
        head: the face and the hair around it, fading out.
        mouth: float32 [h, w] of that part, between the lips.
        eyes: the open eyes with their lids.
        forehead: above the brows, where a fringe may fall.
        skin: the face without lips, eyes and brows.
        telling: where what is seen stays as it is while a face talks and blinks: an occluder shows here.
    """

    mouth_rows: slice
    mouth_columns: slice
    face: F32
    head: F32
    mouth: F32
    eyes: F32
    forehead: F32
    skin: F32
    telling: F32


@cache
def face_parts(size: int) -> FaceParts:
    """The masks for a canonical picture of size x size."""
    face = _soft(_filled(size, FACE_OVAL), _FEATHER * size)
    eyes = np.maximum(_filled(size, EYE_A, grown=1.3), _filled(size, EYE_B, grown=1.3))
    brows = np.maximum(_filled(size, BROW_A, grown=1.2), _filled(size, BROW_B, grown=1.2))
    lips = _filled(size, LIPS, grown=1.25)
    side = max(3, round(0.035 * size) | 1)
    within = cv2.erode(_filled(size, FACE_OVAL), np.ones((side, side), np.uint8))
    skin = np.asarray(within * (1 - np.maximum(np.maximum(eyes, brows), lips)), np.float32)
    telling = np.asarray(within * (1 - np.maximum(eyes, _filled(size, INNER_LIPS, grown=1.1))), np.float32)
    mouth = _soft(_filled(size, INNER_LIPS), _LIP_FEATHER * size)
    left, top, width, height = cv2.boundingRect((mouth > 0).astype(np.uint8))
    mouth_rows, mouth_columns = slice(top, top + height), slice(left, left + width)
    return FaceParts(
        mouth_rows=mouth_rows,
        mouth_columns=mouth_columns,
        face=face,
        head=_head(size),
        mouth=mouth[mouth_rows, mouth_columns],
        eyes=_soft(eyes, _FEATHER * size),
        forehead=_forehead(size),
        skin=skin,
        telling=telling,
    )


def _filled(size: int, points: tuple[int, ...], *, grown: float = 1.0) -> F32:
    """The convex hull of some points of the canonical face, grown about its middle."""
    outline = canonical_face()[list(points)]
    middle = outline.mean(axis=0)
    hull = cv2.convexHull((middle + grown * (outline - middle)).astype(np.float32))[:, 0]
    shift = 4  # bits below the pixel
    mask: U8 = np.zeros((size, size), np.uint8)
    corners = np.rint((hull * size - 0.5) * (1 << shift)).astype(np.int32)
    cv2.fillPoly(mask, [corners], 255, cv2.LINE_AA, shift)
    return np.asarray(mask * np.float32(1 / 255), np.float32)


def _soft(mask: F32, sigma: float) -> F32:
    return np.asarray(cv2.GaussianBlur(mask, (0, 0), sigma), np.float32)


def _forehead(size: int) -> F32:
    line = canonical_face()[[*BROW_A, *BROW_B], 1].min()
    y = (np.arange(size) + 0.5) / size
    above = np.clip(0.5 + (line - y) / (2 * _FEATHER), 0, 1)
    return np.repeat(above.astype(np.float32)[:, None], size, axis=1)


def _head(size: int) -> F32:
    """An ellipse about the face's oval, reaching farther up than down, and 0 on the square's border."""
    oval = canonical_face()[list(FACE_OVAL)]
    middle, half = (oval.min(axis=0) + oval.max(axis=0)) / 2, np.ptp(oval, axis=0) / 2
    axis = (np.arange(size) + 0.5) / size
    x, y = (axis - middle[0])[None, :], (axis - middle[1])[:, None]
    reach = np.where(y < 0, _HEAD_TOP, _HEAD_BOTTOM) * half[1]
    distance = np.hypot(x / (_HEAD_SIDES * half[0]), y / reach)
    inside = np.clip((0.5 - np.abs(axis - 0.5)) / _HEAD_RIM, 0, 1)
    rim = inside * inside * (3 - 2 * inside)
    ellipse = np.clip((1 + _HEAD_FADE / 2 - distance) / _HEAD_FADE, 0, 1)
    return np.asarray(ellipse * rim[None, :] * rim[:, None], np.float32)
