"""The picture of a face that dlib's networks look at: where it lies, and how the recogniser's is cut."""

from __future__ import annotations

import numpy as np

from models.arrays import F32, F64

# MediaPipe's points that lie where dlib's five-point predictor puts its parts 0..4: the outer and the inner
# corner of the eye on the picture's right, the same of the eye on its left, the base of the nose. Over 100
# photographs the two agree to 1 to 3% of the outer eye distance, and the embeddings of their chips to 0.07.
CHIP_POINTS = (263, 362, 33, 133, 2)
# dlib's mean face for those parts, in units of a chip without padding (image_transforms/interpolation.h).
CHIP_FACE: F64 = np.array(
    [
        [0.8595674595992, 0.2134981538014],
        [0.6460604764104, 0.2289674387677],
        [0.1205750620789, 0.2137274526848],
        [0.3340850613712, 0.2290642403242],
        [0.4901123135679, 0.6277975316475],
    ]
)
IDENTITY_CHIP = (150, 0.25)  # side in pixels, padding
SAME_PERSON = 0.6  # distances of the recogniser's embeddings below this are usually one person (dlib's own threshold)


def face_in_chip(size: int, padding: float) -> F64:
    """float64 [5, 2], where `CHIP_POINTS` lie in a chip, in its pixels.

    Args:
        size: side of the chip in pixels.
        padding: room around the face, in sides of a chip without any.
    """
    return np.asarray((CHIP_FACE + padding) / (2 * padding + 1) * size)


def chip_axis(size: int) -> F64:
    """float64 [size], where dlib's rounding puts the centres of a chip's pixels."""
    return np.linspace(1, size - 1, size)


def recogniser_axes(landmarks: F32, size: int) -> tuple[F32, F32]:
    """What cuts the recogniser's chip out of an aligned crop, whose eyes are level: ``down @ crop @ across.T``.

    Bilinear, as dlib's own of a face that is about as large as in the chip; moved and scaled, not turned by the few
    degrees that dlib would.

    Args:
        landmarks: float32 [478, 2], in pixels of the crop.
        size: its pixels per side, R.

    Returns:
        down and across, float32 [1, 150, R] each.
    """
    side, padding = IDENTITY_CHIP
    chip, face = face_in_chip(side, padding), landmarks[list(CHIP_POINTS)].astype(np.float64)
    centre, middle = chip.mean(axis=0), face.mean(axis=0)
    scale = ((chip - centre) * (face - middle)).sum() / ((chip - centre) ** 2).sum()  # least squares
    x, y = (scale * (chip_axis(side) - centre[axis]) + middle[axis] for axis in (0, 1))
    across, down = (
        np.clip(1 - np.abs(places[:, None] - np.arange(size)), 0, None).astype(np.float32) for places in (x, y)
    )
    return down[None], across[None]
