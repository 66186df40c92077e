"""Bring a picture to a fixed size without bending it."""

from __future__ import annotations

import cv2
import numpy as np

from models.arrays import U8


def fit(rgb: U8, size: tuple[int, int]) -> U8:
    """Scale a picture to fit ``size`` and centre it between black bars.

    Args:
        rgb: uint8 [H, W, 3].
        size: wanted width, height in pixels.

    Returns:
        uint8 [height, width, 3]; the input itself where it has that size already.
    """
    width, height = size
    if rgb.shape[:2] == (height, width):
        return rgb
    scale = min(width / rgb.shape[1], height / rgb.shape[0])
    inner = (max(1, round(rgb.shape[1] * scale)), max(1, round(rgb.shape[0] * scale)))
    scaled = cv2.resize(rgb, inner, interpolation=cv2.INTER_AREA if scale < 1 else cv2.INTER_LINEAR)
    fitted = np.zeros((height, width, 3), np.uint8)
    left, top = (width - inner[0]) // 2, (height - inner[1]) // 2
    fitted[top : top + inner[1], left : left + inner[0]] = scaled
    return fitted
