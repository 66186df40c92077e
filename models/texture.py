"""How grainy a picture is in each place, against another, and which way it would be as grainy.

Pores, stubble and single hairs never fall on the very same pixels in two pictures of a face, so that a loss of pixels
is least where they are left out. What can be matched is how strong they are: the local energy of the finest band, a
statistic that textures are told by (Heeger and Bergen, "Pyramid-based texture analysis/synthesis", SIGGRAPH 1995).
"""

from __future__ import annotations

import cv2
import numpy as np

from models.arrays import F32

FINEST = 1.0  # pixels; what a blur by that much takes away is the band
RIM = 4  # pixels at the picture's edge that are left out: that blur reaches beyond it there
AROUND = 4.0  # pixels that the energy of a place is taken over
LEAST = 0.01  # energy, in units of [-1, 1], under which differences hardly count: 1.3 levels of 255


def texture_loss(image: F32, target: F32, weight: F32) -> tuple[float, F32]:
    """Compares two pictures.

    Args:
        image: float32 [1, 3, R, R], RGB in [-1, 1].
        target: likewise.
        weight: float32 [1, 1, R, R], how much each pixel matters; of mean 1.

    Returns:
        The weighted mean absolute difference of their local energies, and its gradient at the image, of its shape.
    """
    band, energy = _energy(image)
    _, wanted = _energy(target)
    share = weight[0, 0] / weight.size
    at_energy = share * np.sign(energy - wanted)
    at_band = band * _blur(at_energy / energy, AROUND)
    at_grey = at_band - _blur(at_band, FINEST)
    gradient = np.broadcast_to(at_grey / np.float32(image.shape[1]), image.shape)
    return float((share * np.abs(energy - wanted)).sum()), gradient


def _energy(image: F32) -> tuple[F32, F32]:
    """The finest band of the grey picture, and its root mean square around each pixel; float32 [R, R] each."""
    grey = np.asarray(image[0].mean(axis=0))
    band, inside = np.zeros_like(grey), slice(RIM, -RIM)
    band[inside, inside] = (grey - _blur(grey, FINEST))[inside, inside]
    return band, np.sqrt(_blur(band * band, AROUND) + np.float32(LEAST**2))


def _blur(grey: F32, pixels: float) -> F32:
    # Black outside: so it is its own transpose.
    return np.asarray(cv2.GaussianBlur(grey, (0, 0), pixels, borderType=cv2.BORDER_CONSTANT), grey.dtype)
