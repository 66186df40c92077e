"""How grainy a picture is in each place, against another, and how woven; and which way it would be like it.

Pores, stubble and single hairs never fall on the very same pixels in two pictures of a face, so that a loss of pixels
is least where they are left out. What can be matched is how strong they are: the local energy of the finest band, a
statistic that textures are told by (Heeger and Bergen, "Pyramid-based texture analysis/synthesis", SIGGRAPH 1995).

A generator that makes a picture from one of half the size can have that energy cheaply, as a grid that falls on every
second or fourth pixel ("checkerboard artifacts", Odena et al., Distill 2016). The grain of a photograph falls on no
pixels more than on others.
"""

from __future__ import annotations

import cv2
import numpy as np

from models.arrays import F32

FINEST = 1.0  # pixels; what a blur by that much takes away is the band
RIM = 4  # pixels at the picture's edge that are left out: that blur reaches beyond it there
AROUND = 4.0  # pixels that the energy of a place is taken over
LEAST = 0.01  # energy, in units of [-1, 1], under which differences hardly count: 1.3 levels of 255
PERIODS = {2: 4.0, 4: 6.0}  # of grids, in pixels: by how many pixels of blur their strength in a place is taken
LEAST_WOVEN = 0.003  # strength of a grid under which it hardly counts


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
    return float((share * np.abs(energy - wanted)).sum()), _at_image(at_band, image)


def weave_loss(image: F32, weight: F32) -> tuple[float, F32]:
    """Says how strongly a picture's grain keeps to a grid.

    Args:
        image: float32 [1, 3, R, R], RGB in [-1, 1]; R divisible by the `PERIODS`.
        weight: float32 [1, 1, R, R], how much each pixel matters; of mean 1.

    Returns:
        Over all periods, the weighted mean of how far the local means of the finest band on every second or fourth
        pixel are from none (root mean square over the grid's places), and the gradient at the image, of its shape.
    """
    band = _band(image)
    at_band, loss = np.zeros_like(band), 0.0
    for period, pixels in PERIODS.items():
        grids, blur = _apart(band, period), pixels / period
        means = np.stack([_blur(grid, blur) for grid in grids])
        strength = np.sqrt((means * means).mean(axis=0) + np.float32(LEAST_WOVEN**2))
        share = _apart(weight[0, 0], period).mean(axis=0) / strength.size
        loss += float((share * (strength - np.float32(LEAST_WOVEN))).sum())
        at_means = share * means / (len(grids) * strength)
        at_band += _together(np.stack([_blur(one, blur) for one in at_means]), period)
    return loss, _at_image(at_band, image)


def _energy(image: F32) -> tuple[F32, F32]:
    """The finest band of the grey picture, and its root mean square around each pixel; float32 [R, R] each."""
    band = _band(image)
    return band, np.sqrt(_blur(band * band, AROUND) + np.float32(LEAST**2))


def _band(image: F32) -> F32:
    """The finest band of the grey picture, float32 [R, R]; 0 at the rim."""
    grey = np.asarray(image[0].mean(axis=0))
    return _inside(grey - _blur(grey, FINEST))


def _at_image(at_band: F32, image: F32) -> F32:
    """A gradient at the band, [R, R], as one at the image that it is of, of its shape."""
    at_band = _inside(at_band)
    at_grey = at_band - _blur(at_band, FINEST)
    return np.broadcast_to(at_grey / np.float32(image.shape[1]), image.shape)


def _inside(grey: F32) -> F32:
    inside = np.zeros_like(grey)
    inside[RIM:-RIM, RIM:-RIM] = grey[RIM:-RIM, RIM:-RIM]
    return inside


def _apart(grey: F32, period: int) -> F32:
    """[R, R] -> the pixels of each of the grids of that period, [period * period, R / period, R / period]."""
    side = len(grey) // period
    grids: F32 = grey.reshape(side, period, side, period).transpose(1, 3, 0, 2).reshape(-1, side, side)
    return grids


def _together(grids: F32, period: int) -> F32:
    """The inverse of `_apart`."""
    side = grids.shape[-1]
    grey: F32 = grids.reshape(period, period, side, side).transpose(2, 0, 3, 1).reshape(side * period, -1)
    return grey


def _blur(grey: F32, pixels: float) -> F32:
    # Black outside: so it is its own transpose.
    return np.asarray(cv2.GaussianBlur(grey, (0, 0), pixels, borderType=cv2.BORDER_CONSTANT), grey.dtype)
