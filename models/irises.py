"""What colour the eyes are in a picture, against another, and which way they would be of the same.

Everybody sees it, and pixels hardly count it: irises are two pixels of a thousand. Left to those, the eyes of most
people come out bluer than they are.
"""

from __future__ import annotations

import cv2
import numpy as np

from models.arrays import F32, U8
from models.face_mesh import EYE_A, EYE_B, IRIS_A, IRIS_B

_REACH = 0.85  # of an iris's radius: its rim is blurred
_LEAST_SEEN = 0.5  # of an iris; of one that lids hide more of, the rest counts less
_LEAST = 1e-3  # difference of colours, in units of [-1, 1], under which it hardly counts


def iris_weights(landmarks: F32, size: int) -> F32:
    """How much each pixel has of the mean colour of either iris.

    Args:
        landmarks: float32 [478, 2], pixels of the picture.
        size: its pixels per side, R.

    Returns:
        float32 [2, R, R]; the sum of each is 1, less where lids hide most of the iris.
    """
    return np.stack([_seen(landmarks, *parts, size) for parts in ((IRIS_A, EYE_A), (IRIS_B, EYE_B))])


def iris_loss(image: F32, target: F32, weights: F32) -> tuple[float, F32]:
    """Compares the mean colours of the irises of two pictures.

    Args:
        image: float32 [1, 3, R, R], RGB in [-1, 1].
        target: likewise.
        weights: float32 [2, R, R], see `iris_weights`.

    Returns:
        The distances of the colours of either iris, summed, and their gradient at the image, of its shape.
    """
    apart = np.einsum("epq,cpq->ec", weights, image[0] - target[0])
    distances = np.sqrt((apart * apart).sum(axis=1) + np.float32(_LEAST**2))
    gradient = np.einsum("ec,epq->cpq", apart / distances[:, None], weights)
    return float((distances - np.float32(_LEAST)).sum()), gradient[None].astype(np.float32)


def _seen(landmarks: F32, iris: tuple[int, ...], eye: tuple[int, ...], size: int) -> F32:
    """The weights of one iris, where it lies between the lids."""
    middle, rim = landmarks[iris[0]], landmarks[list(iris[1:])]
    radius = _REACH * float(np.hypot(*(rim - middle).T).mean())
    shift = 4  # bits below the pixel
    disc, open_eye = np.zeros((2, size, size), np.uint8)
    x, y = (round(float(at) * (1 << shift)) for at in middle)
    cv2.circle(disc, (x, y), round(radius * (1 << shift)), 1, cv2.FILLED, cv2.LINE_8, shift)
    lids = cv2.convexHull(landmarks[list(eye)].astype(np.float32))[:, 0]
    cv2.fillPoly(open_eye, [np.rint(lids * (1 << shift)).astype(np.int32)], 1, cv2.LINE_8, shift)
    seen: U8 = disc & open_eye
    whole = max(float(seen.sum()), _LEAST_SEEN * np.pi * radius**2)
    return np.asarray(seen / max(whole, 1.0), np.float32)
