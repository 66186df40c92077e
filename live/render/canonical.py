"""Pictures of a face warped onto the canonical face, where everyone's parts are in the same place."""

from __future__ import annotations

from typing import Any

import cv2
import numpy as np

from live.render.bend import CONTROL, canonical_bending
from models.arrays import F32, U8
from models.face_mesh import canonical_face

_NO_MAP: Any = None  # OpenCV's stubs know only pairs of maps
_NODES = 64  # a side; the displacement is smooth


def to_canonical(picture: F32 | U8, landmarks: F32, size: int) -> F32:
    """Warps a picture of FFHQ's square.

    Args:
        picture: [S, S, C], any range.
        landmarks: float32 [478, 2] in [0, 1], where they are in it.
        size: pixels per side wanted.

    Returns:
        float32 [size, size, C] in the picture's range.
    """
    offset = canonical_bending(_NODES) @ (landmarks[CONTROL] - canonical_face()[CONTROL])
    offset = offset.reshape(_NODES, _NODES, 2)
    places = cv2.resize(offset, (size, size), interpolation=cv2.INTER_CUBIC)
    axis = (np.arange(size, dtype=np.float32) + np.float32(0.5)) / np.float32(size)
    places[..., 0] += axis[None, :]
    places[..., 1] += axis[:, None]
    side = picture.shape[0]
    places *= side
    places -= 0.5
    warped = cv2.remap(picture, places, _NO_MAP, cv2.INTER_LINEAR, borderMode=cv2.BORDER_REPLICATE)
    return np.asarray(warped, np.float32)
