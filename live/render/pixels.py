"""Between the generator's tensors and pictures."""

from __future__ import annotations

import cv2
import numpy as np

from models.arrays import F32, U8


def to_picture(portrait: F32, most: int) -> F32:
    """The portrait, shrunk to at most `most` pixels a side: float32 [side, side, 3], RGB in [0, 1]."""
    planes = portrait[0]
    if planes.shape[-1] > most:
        planes = [cv2.resize(plane, (most, most), interpolation=cv2.INTER_AREA) for plane in planes]
    picture = cv2.merge(list(planes))
    picture = cv2.addWeighted(picture, 0.5, picture, 0, 0.5)
    return np.asarray(np.clip(picture, 0, 1, out=picture), np.float32)


def to_bytes(picture: F32) -> U8:
    """float32 RGB about [0, 1] -> uint8, rounded and clipped; `picture` is used up."""
    picture *= 255
    picture += 0.5
    np.clip(picture, 0, 255, out=picture)
    return picture.astype(np.uint8)
