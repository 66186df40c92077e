"""Gives what the generator draws the camera's sharpness, so that it looks like the camera's own.

Many webcams are soft, and the generator draws skin anew in every picture: the plain difference of two is full of
grain.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import cv2
import numpy as np

from models.arrays import F32

_COARSE = 64  # pixels a side at which all pictures are as sharp
_SOFTEST = 2  # bands of detail, each twice as wide, in which a camera's frame may be soft
_PORES = 128  # pixels a side at which pictures have no pores, and every difference in detail is a change
_WINDOW = 1 / 32  # of the side: what detail is summed up over
_LEAST = 1e-4  # strength of detail, of [0, 1], that nobody sees; so that skin without any divides by something


def difference(old: F32, new: F32, camera: F32, skin: F32) -> tuple[F32, F32]:
    """What an edit changes, new - old, and its picture, new, both with the camera's sharpness.

    Each band of detail is as strong as the camera has it, at most. Of the finest, the difference is kept as far as
    there is more or less of it than there was: pores and stubble that lie elsewhere are no change and would be grain
    on top of the camera's own, a wrinkle is one.

    Args:
        old: float32 [S, S, 3] RGB in [0, 1], the reconstruction of the camera's face.
        new: the same after an edit.
        camera: the camera's face itself, in the same place.
        skin: float32 [S, S], weights of where sharpness is compared.

    Returns:
        Both float32 [S, S, 3].
    """
    levels = max(0, math.ceil(math.log2(old.shape[0] / _COARSE)))
    (old_bands, old_rest), (new_bands, sharp), (camera_bands, _) = (_pyramid(p, levels) for p in (old, new, camera))
    changed = np.asarray(sharp - old_rest, np.float32)
    for before, after, seen in zip(reversed(old_bands), reversed(new_bands), reversed(camera_bands), strict=True):
        size, power = after.shape[1::-1], _squared(before)
        share = _share(power, _squared(seen), skin)
        change = after - before
        kept = np.full(after.shape[:2], share, np.float32)
        if min(size) > _PORES:
            change_of_power = np.abs(_around(_squared(after) - power))
            kept *= np.sqrt(np.minimum(change_of_power / (_around(_squared(change)) + np.float32(_LEAST**2)), 1))
        changed = _enlarged(changed, size) + cv2.multiply(change, cv2.merge([kept, kept, kept]))
        sharp = np.asarray(cv2.scaleAdd(after, share, _enlarged(sharp, size)), np.float32)
    return changed, sharp


def soften(picture: F32, camera: F32, skin: F32) -> F32:
    """A generated picture with no band of detail stronger than the camera has it.

    Args:
        picture: float32 [h, w, 3] RGB in [0, 1], as it lies in the frame.
        camera: likewise, the frame.
        skin: float32 [h, w], weights of where they are compared; not 0 everywhere.

    Returns:
        float32 [h, w, 3].
    """
    (bands, soft), (camera_bands, _) = _pyramid(picture, _SOFTEST), _pyramid(camera, _SOFTEST)
    for band, seen in zip(reversed(bands), reversed(camera_bands), strict=True):
        share = _share(_squared(band), _squared(seen), skin)
        soft = np.asarray(cv2.scaleAdd(band, share, _enlarged(soft, band.shape[1::-1])), np.float32)
    return soft


def _pyramid(picture: F32, levels: int) -> tuple[list[F32], F32]:
    """A Laplacian pyramid (Burt and Adelson, 1983): the bands of detail, finest first, and what is left."""
    bands = []
    for _ in range(levels):
        smaller = np.asarray(cv2.pyrDown(picture), np.float32)
        bands.append(picture - _enlarged(smaller, picture.shape[1::-1]))
        picture = smaller
    return bands, picture


def _enlarged(picture: F32, size: Sequence[int]) -> F32:
    return np.asarray(cv2.pyrUp(picture, dstsize=size), np.float32)


def _squared(band: F32) -> F32:
    """Summed over the colours; float32 [S, S]."""
    return np.asarray(cv2.transform(cv2.multiply(band, band), np.ones((1, 3), np.float32)), np.float32)


def _around(power: F32) -> F32:
    """Its mean around each pixel."""
    side = round(_WINDOW * power.shape[0]) | 1
    return np.asarray(cv2.blur(power, (side, side)), np.float32)


def _share(power: F32, camera: F32, skin: F32) -> float:
    """How much of a band is left for it to be no stronger than the camera's, by the power of both."""
    weight = np.asarray(cv2.resize(skin, power.shape[::-1], interpolation=cv2.INTER_AREA), np.float32)
    return min(1.0, _strength(camera, weight) / max(_strength(power, weight), _LEAST))


def _strength(power: F32, skin: F32) -> float:
    """Root mean square over the skin."""
    return float(np.sqrt((skin * power).sum() / (3 * skin.sum())))
