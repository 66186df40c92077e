"""Takes the difference of two generated pictures so that, added to the camera's, it looks like the camera's own.

Many webcams are soft, and the generator draws skin anew in every picture: the plain difference is full of grain.
"""

from __future__ import annotations

from collections.abc import Sequence

import cv2
import numpy as np

from models.arrays import F32

_COARSE = 64  # pixels a side at which all pictures are as sharp
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
    (old_bands, old_rest), (new_bands, sharp), (camera_bands, _) = map(_pyramid, (old, new, camera))
    changed = np.asarray(sharp - old_rest, np.float32)
    for before, after, seen in zip(reversed(old_bands), reversed(new_bands), reversed(camera_bands), strict=True):
        size = after.shape[1::-1]
        weight = np.asarray(cv2.resize(skin, size, interpolation=cv2.INTER_AREA), np.float32)
        power = _squared(before)
        share = min(1.0, _strength(_squared(seen), weight) / max(_strength(power, weight), _LEAST))
        change = after - before
        kept = np.full(after.shape[:2], share, np.float32)
        if min(size) > _PORES:
            change_of_power = np.abs(_around(_squared(after) - power))
            kept *= np.sqrt(np.minimum(change_of_power / (_around(_squared(change)) + np.float32(_LEAST**2)), 1))
        changed = _enlarged(changed, size) + cv2.multiply(change, cv2.merge([kept, kept, kept]))
        sharp = np.asarray(cv2.scaleAdd(after, share, _enlarged(sharp, size)), np.float32)
    return changed, sharp


def _pyramid(picture: F32) -> tuple[list[F32], F32]:
    """A Laplacian pyramid (Burt and Adelson, 1983): the bands of detail, finest first, and what is left."""
    bands = []
    while picture.shape[0] > _COARSE:
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


def _strength(power: F32, skin: F32) -> float:
    """Root mean square over the skin."""
    return float(np.sqrt((skin * power).sum() / (3 * skin.sum())))
