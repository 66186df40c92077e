"""The generated face put back into the camera's frame, hair and surroundings left as they are."""

from __future__ import annotations

from dataclasses import replace

import cv2
import numpy as np

from live.frame import FaceTrack, Frame
from live.render.colour import fit_colour
from live.render.detail import soften
from live.render.mask import Region, face_region
from live.render.mode import Inversion
from live.render.pixels import to_bytes, to_picture
from live.render.seam import agreement
from models.alignment import invert, to_crop_matrix
from models.arrays import F32, F64
from models.zoo import Generator

_MOST_STEP = 1.5  # portrait pixels per frame pixel beyond which a warp alone would alias


class Paste:
    """Places float32 [1, 3, R, R], RGB about [-1, 1], the face's newest generated picture, where the face is now."""

    late = True
    synthesizes = True

    def make(self, face: Inversion, generator: Generator) -> F32:
        """The edited face's picture."""
        return generator.synthesize(face.edited)

    def unedited(self, size: int) -> None:
        """Without an edit the face is generated all the same."""

    def render(self, frame: Frame, track: FaceTrack, made: F32, t: float) -> Frame | None:
        """The frame with the face replaced; pixels outside the face's soft mask stay exactly the camera's."""
        to_portrait = to_crop_matrix(track.landmarks, made.shape[-1])
        region = face_region(track.landmarks, to_portrait, frame.rgb.shape[:2])
        if region is None:
            return None
        camera = frame.rgb[region.rows, region.columns].astype(np.float32)
        camera *= np.float32(1 / 255)
        generated = _place(made, to_portrait, region)
        colour = fit_colour(generated, camera, region.skin, region.scale)
        matched = generated if colour is None else soften(colour.apply(generated), camera, region.skin)
        alpha = region.alpha * agreement(matched, camera, region.core)
        camera += (matched - camera) * alpha[..., None]
        shown = frame.rgb.copy()
        shown[region.rows, region.columns] = to_bytes(camera)
        return replace(frame, rgb=shown)


def _place(portrait: F32, to_portrait: F64, region: Region) -> F32:
    """The portrait as it lies in a region of the frame, float32 [h, w, 3], RGB in [0, 1]."""
    size = portrait.shape[-1]
    step = float(np.hypot(*to_portrait[:, 0]))  # portrait pixels per frame pixel
    picture = to_picture(portrait, max(1, round(size / step)) if step > _MOST_STEP else size)
    factor = picture.shape[0] / size
    matrix = to_portrait * factor
    matrix[:, 2] += (factor - 1) / 2  # pixel centres
    matrix[:, 2] = matrix @ (region.columns.start, region.rows.start, 1)
    height, width = region.alpha.shape
    placed = cv2.warpAffine(
        picture,
        invert(matrix),
        (width, height),
        flags=cv2.INTER_CUBIC if step < 1 else cv2.INTER_LINEAR,
        borderMode=cv2.BORDER_REPLICATE,
    )
    return np.asarray(np.clip(placed, 0, 1), np.float32)  # cubic interpolation overshoots
