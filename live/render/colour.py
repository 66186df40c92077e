"""Gives a generated face the colours of the camera's: its skin tone, its light, its shadows."""

from __future__ import annotations

from dataclasses import dataclass

import cv2
import numpy as np
from cv2.typing import MatLike

from models.arrays import F32

_STATISTICS_SIDE = 48  # pixels; light and skin tone are smooth
_REACH = 0.22  # standard deviation of the local mean, as a share of the face's width
_MOST_SHIFT = np.array([40.0, 25.0, 25.0], np.float32)  # CIE L*, a*, b*
# How much one skin may be lighter than another, and of another colour, as factors of R, G, B (which are not linear).
_SKIN_EXPOSURE = (0.6, 1.5)
_SKIN_TINT = (0.8, 1.25)
_SPREAD = (0.75, 1.25)  # limits of the change of contrast
_GREY_SHARE = 0.3  # of the change of hue, for grey pixels
_LEAST_CHROMA = 1.0  # so that grey faces divide by something
_LEAST_SKIN = 1e-3


@dataclass(frozen=True)
class ColourMap:
    """Moves pictures of a generated face towards the camera's colours: its light first, then, in CIE Lab, its skin.

    Attributes:
        light: float32 [3], factors of R, G, B by which the camera's scene is darker or of another colour.
        contrast: float32 [3], factors of L*, a*, b*.
        smooth: float32 [h, w, 3] at any size, what is added then; follows the light across the face.
        skin_chroma: of the generated skin; greyer pixels take less of the change of hue.
    """

    light: F32
    contrast: F32
    smooth: F32
    skin_chroma: float

    def apply(self, generated: F32) -> F32:
        """float32 [H, W, 3], RGB in [0, 1], of the same part of the face -> the same, about [0, 1]."""
        height, width = generated.shape[:2]
        smooth = cv2.resize(self.smooth, (width, height))
        planes = cv2.split(_lab(generated * self.light))
        # A change of skin tone is none of the light: it must not turn eyes and teeth, which are grey, blue.
        colourful = np.clip(cv2.magnitude(planes[1], planes[2]) / self.skin_chroma, _GREY_SHARE, 1)
        changes = [p * (c - 1) + s for p, c, s in zip(planes, self.contrast, cv2.split(smooth), strict=True)]
        lightness = planes[0] + changes[0]
        green_red, blue_yellow = (planes[i] + changes[i] * colourful for i in (1, 2))
        matched = cv2.merge([lightness, green_red, blue_yellow])
        return np.asarray(cv2.cvtColor(matched, cv2.COLOR_LAB2RGB), np.float32)


def fit_colour(generated: F32, camera: F32, skin: F32, scale: float) -> ColourMap | None:
    """The map of the generated face's local mean colour to the camera's, and of its contrast towards it.

    Reinhard et al., "Color Transfer between Images" (2001), in CIE Lab, with a mean that follows the light
    across the face: a face lit from one side stays lit from there.

    Args:
        generated: float32 [h, w, 3], RGB in [0, 1].
        camera: the same region of the camera's frame, likewise.
        skin: float32 [h, w] in [0, 1], where both show skin.
        scale: width of the face in pixels.

    Returns:
        None if there is too little skin to tell.
    """
    height, width = skin.shape
    factor = min(1.0, _STATISTICS_SIDE / max(height, width))
    size = (max(1, round(width * factor)), max(1, round(height * factor)))
    weight: F32 = np.asarray(cv2.resize(skin, size, interpolation=cv2.INTER_AREA), np.float32)
    total = float(weight.sum())
    if total < _LEAST_SKIN * weight.size:
        return None
    rgb_generated, rgb_camera = (
        np.asarray(cv2.resize(rgb, size, interpolation=cv2.INTER_AREA), np.float32) for rgb in (generated, camera)
    )
    light = _light(_mean(rgb_generated, weight), _mean(rgb_camera, weight))
    small_generated, small_camera = _lab(rgb_generated * light), _lab(rgb_camera)

    sigma = _REACH * scale * factor
    mean_generated = _local_mean(small_generated, weight, sigma)
    mean_camera = _local_mean(small_camera, weight, sigma)
    # Around the local mean: a lamp at one side is not contrast.
    spread_camera = _spread(small_camera - mean_camera, weight)
    contrast = np.clip(spread_camera / _spread(small_generated - mean_generated, weight), *_SPREAD)
    shift = np.clip(mean_camera - mean_generated, -_MOST_SHIFT, _MOST_SHIFT)
    # contrast * (x - mean_generated) + mean_generated + shift - x, of which `smooth` can be enlarged.
    smooth = shift - (contrast - 1) * mean_generated
    skin_chroma = float(np.hypot(*_mean(small_generated, weight)[1:])) + _LEAST_CHROMA
    return ColourMap(light, contrast.astype(np.float32), smooth.astype(np.float32), skin_chroma)


def _light(generated: F32, camera: F32) -> F32:
    """What of the difference of two mean skin colours no skin explains, and must be the light; float32 [3].

    Light multiplies: teeth in a dark room are dark, lips in blue light are not red. A tone of skin does not.
    """
    ratio = camera / np.maximum(generated, 1e-3)
    exposure = float(ratio.mean())
    tint = ratio / max(exposure, 1e-3)
    light = exposure / np.clip(exposure, *_SKIN_EXPOSURE) * tint / np.clip(tint, *_SKIN_TINT)
    return np.asarray(light, np.float32)


def _lab(rgb: MatLike) -> F32:
    return np.asarray(cv2.cvtColor(rgb, cv2.COLOR_RGB2LAB), np.float32)


def _local_mean(lab: F32, weight: F32, sigma: float) -> F32:
    """Normalised convolution: the weighted mean around each pixel, smoothly continued where no weight is."""
    overall = _mean(lab, weight)
    blurred_weight = cv2.GaussianBlur(weight, (0, 0), sigma)[..., None]
    blurred = cv2.GaussianBlur(lab * weight[..., None], (0, 0), sigma)
    prior = 0.05  # of the overall mean, which takes over far away from any skin
    mean: F32 = (blurred + prior * overall) / (blurred_weight + prior)
    return mean.astype(np.float32)


def _mean(lab: F32, weight: F32) -> F32:
    """Weighted mean, float32 [3]."""
    mean: F32 = (lab * weight[..., None]).sum(axis=(0, 1)) / weight.sum()
    return mean


def _spread(lab: F32, weight: F32) -> F32:
    """Weighted standard deviation of lightness, and twice that of both colour channels; float32 [3] > 0."""
    variance = _mean((lab - _mean(lab, weight)) ** 2, weight)
    variance[1:] = variance[1:].mean()  # apart, they would turn the hue
    spread: F32 = np.sqrt(variance + np.float32(1e-4))
    return spread
