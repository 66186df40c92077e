"""Moves the seam of a pasted face inwards where the generated face is not the camera's any more."""

from __future__ import annotations

import cv2
import numpy as np

from models.arrays import F32

_SIDE = 64  # pixels at which the two are compared: what matters is wider than a hair
_ALIKE, _UNLIKE = 12.0, 32.0  # distance in CIE Lab from which on they differ, and to which they may


def agreement(generated: F32, camera: F32, core: F32) -> F32:
    """How much of the generated face to show for it not to bring its background along.

    A generated head may be narrower than the camera's, or its hair may fall otherwise: then its background
    or its hair lies where the camera shows a cheek. Near the mask's edge such parts stay the camera's; deep
    inside, where a smile or an age is to be seen, differences are what is asked for.

    Args:
        generated: float32 [h, w, 3], RGB about [0, 1], colours matched.
        camera: float32 [h, w, 3], RGB in [0, 1].
        core: float32 [h, w] in [0, 1], 0 at the mask's edge, 1 deep inside.

    Returns:
        float32 [h, w] in [0, 1].
    """
    height, width = core.shape
    factor = min(1.0, _SIDE / max(height, width))
    size = (max(1, round(width * factor)), max(1, round(height * factor)))
    labs = [
        cv2.cvtColor(cv2.resize(rgb, size, interpolation=cv2.INTER_AREA), cv2.COLOR_RGB2LAB)
        for rgb in (generated, camera)
    ]
    distance = np.sqrt(((labs[0] - labs[1]) ** 2).sum(axis=-1))
    distance = cv2.dilate(distance, np.ones((5, 5), np.uint8))
    unlike = np.clip((cv2.GaussianBlur(distance, (0, 0), 1.5) - _ALIKE) / (_UNLIKE - _ALIKE), 0, 1)
    unlike = cv2.resize(unlike, (width, height), interpolation=cv2.INTER_LINEAR)
    return np.asarray(1 - unlike * (1 - core), np.float32)
