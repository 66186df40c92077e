"""Which of MediaPipe's 478 face points are what, and where they lie in the canonical face.

The canonical face is an average face in FFHQ's square, upright, eyes and mouth open. Pictures warped onto it have
every part of the face in the same place, whoever it is and whatever they do.
"""

from __future__ import annotations

from functools import cache
from pathlib import Path

import numpy as np

from models.alignment import EYE_A, EYE_B
from models.arrays import F32

# The outline of the face from the top of the forehead, clockwise in the picture.
FACE_OVAL = (
    10, 338, 297, 332, 284, 251, 389, 356, 454, 323, 361, 288, 397, 365, 379, 378, 400, 377,
    152, 148, 176, 149, 150, 136, 172, 58, 132, 93, 234, 127, 162, 21, 54, 103, 67, 109,
)  # fmt: skip
LIPS = (61, 146, 91, 181, 84, 17, 314, 405, 321, 375, 291, 409, 270, 269, 267, 0, 37, 39, 40, 185)
# The inner edge of the lips, in order around the opening.
INNER_LIPS = (78, 95, 88, 178, 87, 14, 317, 402, 318, 324, 308, 415, 310, 311, 312, 13, 82, 81, 80, 191)
BROW_A = (70, 63, 105, 66, 107, 55, 65, 52, 53, 46)
BROW_B = (300, 293, 334, 296, 336, 285, 295, 282, 283, 276)
NOSE = (1, 4, 5, 195, 197, 6, 168, 98, 327, 2, 94, 129, 358, 64, 294)
CHEEKS = (50, 280, 101, 330, 205, 425, 207, 427, 216, 436, 147, 376, 117, 346)
CHIN = (199, 200, 175, 18, 32, 262, 171, 396)
FOREHEAD = (9, 8, 151, 108, 337, 69, 299)

# The irises in the eyes A and B: the middle, then four points of the rim.
IRIS_A = (468, 469, 470, 471, 472)
IRIS_B = (473, 474, 475, 476, 477)

# Single points: the middle of the inner lips and the corners of the mouth; the lids and corners of both eyes.
LIP_TOP, LIP_BOTTOM, MOUTH_A, MOUTH_B = 13, 14, 61, 291
LIDS = ((159, 145), (386, 374))
EYE_CORNERS = (33, 263)

_CANONICAL = Path(__file__).parent / "shipped" / "canonical_face.npy"


@cache
def canonical_face() -> F32:
    """float32 [478, 2] in [0, 1] of FFHQ's square, read-only."""
    landmarks: F32 = np.load(_CANONICAL, allow_pickle=False)
    landmarks.setflags(write=False)
    return landmarks


def mouth_opening(landmarks: F32) -> float:
    """Height of the gap between the lips as a share of the mouth's width; points [478, 2] in any unit."""
    gap = np.hypot(*(landmarks[LIP_TOP] - landmarks[LIP_BOTTOM]))
    return float(gap / max(np.hypot(*(landmarks[MOUTH_A] - landmarks[MOUTH_B])), 1e-6))


def eye_opening(landmarks: F32) -> float:
    """Mean height of both eyes as a share of the distance of their outer corners."""
    heights = [np.hypot(*(landmarks[upper] - landmarks[lower])) for upper, lower in LIDS]
    return float(np.mean(heights) / max(np.hypot(*(landmarks[EYE_CORNERS[0]] - landmarks[EYE_CORNERS[1]])), 1e-6))


__all__ = [
    "BROW_A", "BROW_B", "CHEEKS", "CHIN", "EYE_A", "EYE_B", "EYE_CORNERS", "FACE_OVAL", "FOREHEAD", "INNER_LIPS",
    "IRIS_A", "IRIS_B", "LIDS", "LIPS", "NOSE", "canonical_face", "eye_opening", "mouth_opening",
]  # fmt: skip
