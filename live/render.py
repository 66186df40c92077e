"""Make the picture that is shown from the camera's frame and the generated face."""

from __future__ import annotations

from dataclasses import replace
from typing import Protocol

import cv2
import numpy as np

from live.colour import match_colour
from live.frame import AlignedCrop, FaceTrack, Frame
from live.mask import Region, face_region
from live.seam import agreement
from models.alignment import invert
from models.arrays import F32, F64, U8

_PORTRAIT_FADE = 0.04  # of the portrait's side, over which its edge fades into the backdrop
_MOST_STEP = 1.5  # portrait pixels per frame pixel beyond which a warp alone would alias
_BACKDROP_SIDE = 32  # pixels of the picture the backdrop is enlarged from: beyond recognition
_BACKDROP_BLUR = 2.5  # pixels of that
_BACKDROP_LIGHT = 0.35  # at the frame's edge; 1 beside the portrait


class Renderer(Protocol):
    """One way to show the generated face."""

    def render(self, frame: Frame, track: FaceTrack, crop: AlignedCrop, portrait: F32) -> Frame:
        """The picture to show.

        Args:
            frame: as captured.
            track: the face in it.
            crop: the face as it was cut out for the encoder.
            portrait: float32 [1, 3, R, R], RGB about [-1, 1], the generator's picture of it.

        Returns:
            A frame of the same size, `seq` and `captured`.
        """


class Portrait:
    """The generator's picture itself, as large as the frame allows: the art mirror."""

    def render(self, frame: Frame, track: FaceTrack, crop: AlignedCrop, portrait: F32) -> Frame:
        """The portrait in the middle; beside it its own edges carried on, blurred and darkening."""
        height, width = frame.rgb.shape[:2]
        side = min(height, width)
        picture = _to_bytes(_picture(portrait, side))
        shown = _backdrop(picture, height, width)
        if picture.shape[0] < side:
            picture = np.asarray(cv2.resize(picture, (side, side), interpolation=cv2.INTER_CUBIC), np.uint8)
        top, left = (height - side) // 2, (width - side) // 2
        square = shown[top : top + side, left : left + side]
        seen = _edge_fade(side, across=width > height, down=height > width)
        square[:] = cv2.blendLinear(picture, np.ascontiguousarray(square), seen, 1 - seen)
        return replace(frame, rgb=shown)


class Paste:
    """The generated face put back into the camera's frame, hair and surroundings left as they are."""

    def render(self, frame: Frame, track: FaceTrack, crop: AlignedCrop, portrait: F32) -> Frame:
        """The frame with the face replaced; pixels outside the face's soft mask stay exactly the camera's."""
        region = face_region(track.landmarks, crop.to_crop, frame.rgb.shape[:2])
        if region is None:
            return frame
        camera = frame.rgb[region.rows, region.columns].astype(np.float32)
        camera *= np.float32(1 / 255)
        generated = _place(portrait, _to_portrait(crop, portrait.shape[-1]), region)
        matched = match_colour(generated, camera, region.skin, region.scale)
        alpha = region.alpha * agreement(matched, camera, region.core)
        camera += (matched - camera) * alpha[..., None]
        shown = frame.rgb.copy()
        shown[region.rows, region.columns] = _to_bytes(camera)
        return replace(frame, rgb=shown)


RENDERERS: dict[str, Renderer] = {"portrait": Portrait(), "paste": Paste()}


def _to_portrait(crop: AlignedCrop, size: int) -> F64:
    """Frame pixels -> pixels of the portrait, which shows the crop's square at another size."""
    factor = size / crop.size
    matrix = crop.to_crop * factor
    matrix[:, 2] += (factor - 1) / 2  # pixel centres
    return matrix


def _place(portrait: F32, to_portrait: F64, region: Region) -> F32:
    """The portrait as it lies in a region of the frame, float32 [h, w, 3], RGB in [0, 1]."""
    size = portrait.shape[-1]
    step = float(np.hypot(*to_portrait[:, 0]))  # portrait pixels per frame pixel
    picture = _picture(portrait, max(1, round(size / step)) if step > _MOST_STEP else size)
    factor = picture.shape[0] / size
    to_picture = to_portrait * factor
    to_picture[:, 2] += (factor - 1) / 2  # pixel centres
    to_picture[:, 2] = to_picture @ (region.columns.start, region.rows.start, 1)
    height, width = region.alpha.shape
    placed = cv2.warpAffine(
        picture,
        invert(to_picture),
        (width, height),
        flags=cv2.INTER_CUBIC if step < 1 else cv2.INTER_LINEAR,
        borderMode=cv2.BORDER_REPLICATE,
    )
    return np.asarray(np.clip(placed, 0, 1), np.float32)  # cubic interpolation overshoots


def _picture(portrait: F32, most: int) -> F32:
    """The portrait, shrunk to at most `most` pixels a side: float32 [side, side, 3], RGB in [0, 1]."""
    planes = portrait[0]
    if planes.shape[-1] > most:
        planes = [cv2.resize(plane, (most, most), interpolation=cv2.INTER_AREA) for plane in planes]
    picture = cv2.merge(list(planes))
    picture = cv2.addWeighted(picture, 0.5, picture, 0, 0.5)
    return np.asarray(np.clip(picture, 0, 1, out=picture), np.float32)


def _to_bytes(picture: F32) -> U8:
    """float32 RGB about [0, 1] -> uint8, rounded and clipped; `picture` is used up."""
    picture *= 255
    picture += 0.5
    np.clip(picture, 0, 255, out=picture)
    return picture.astype(np.uint8)


def _edge_fade(side: int, *, across: bool, down: bool) -> F32:
    """How much of a square picture is seen over its backdrop: 1, falling to 0 at the edges that show."""
    position = (np.arange(side, dtype=np.float32) + 0.5) / side
    x = np.clip(np.minimum(position, 1 - position) / _PORTRAIT_FADE, 0, 1)
    fade = x * x * (3 - 2 * x)
    whole = np.ones_like(fade)
    return np.asarray((fade if down else whole)[:, None] * (fade if across else whole), np.float32)


def _backdrop(picture: U8, height: int, width: int) -> U8:
    """What lies beside a square picture in a frame: its edges mirrored outwards, blurred, darkening."""
    side = min(height, width)
    small_side = _BACKDROP_SIDE
    size = np.rint(np.array((width, height)) * (small_side / side)).astype(int)
    beside = size - small_side
    small = cv2.copyMakeBorder(
        cv2.resize(picture, (small_side, small_side), interpolation=cv2.INTER_AREA),
        *(beside[1] // 2, beside[1] - beside[1] // 2, beside[0] // 2, beside[0] - beside[0] // 2),
        cv2.BORDER_REFLECT,
    )
    small = cv2.GaussianBlur(small.astype(np.float32), (0, 0), _BACKDROP_BLUR)
    x, y = (np.abs(np.linspace(-1, 1, n)) * n / small_side - 1 for n in size)
    outside = np.maximum(np.maximum(x[None, :], y[:, None]), 0)
    light = 1 - (1 - _BACKDROP_LIGHT) * outside / max(outside.max(), 1e-6)
    small *= light[..., None].astype(np.float32)
    return np.asarray(cv2.resize(np.rint(small).astype(np.uint8), (width, height)), np.uint8)
