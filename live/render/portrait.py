"""The generator's picture itself, as large as the frame allows: the art mirror."""

from __future__ import annotations

from dataclasses import replace

import cv2
import numpy as np

from live.frame import FaceTrack, Frame
from live.render.mode import Inversion
from live.render.pixels import to_bytes, to_picture
from models.arrays import F32, U8
from models.zoo import Generator

_FADE = 0.04  # of the portrait's side, over which its edge fades into the backdrop
_BACKDROP_SIDE = 32  # pixels of the picture the backdrop is enlarged from: beyond recognition
_BACKDROP_BLUR = 2.5  # pixels of that
_BACKDROP_LIGHT = 0.35  # at the frame's edge; 1 beside the portrait


class Portrait:
    """Shows float32 [1, 3, R, R], RGB about [-1, 1], the picture generated for a frame, in that frame's place."""

    late = False
    synthesizes = True

    def make(self, face: Inversion, generator: Generator) -> F32:
        """The edited face's picture."""
        return generator.synthesize(face.edited)

    def unedited(self, size: int) -> None:
        """Without an edit the face is generated all the same."""

    def render(self, frame: Frame, track: FaceTrack, made: F32, t: float) -> Frame:
        """The portrait in the middle; beside it its own edges carried on, blurred and darkening."""
        height, width = frame.rgb.shape[:2]
        side = min(height, width)
        picture = to_bytes(to_picture(made, side))
        shown = _backdrop(picture, height, width)
        if picture.shape[0] < side:
            picture = np.asarray(cv2.resize(picture, (side, side), interpolation=cv2.INTER_CUBIC), np.uint8)
        top, left = (height - side) // 2, (width - side) // 2
        square = shown[top : top + side, left : left + side]
        seen = _edge_fade(side, across=width > height, down=height > width)
        square[:] = cv2.blendLinear(picture, np.ascontiguousarray(square), seen, 1 - seen)
        return replace(frame, rgb=shown)


def _edge_fade(side: int, *, across: bool, down: bool) -> F32:
    """How much of a square picture is seen over its backdrop: 1, falling to 0 at the edges that show."""
    position = (np.arange(side, dtype=np.float32) + 0.5) / side
    x = np.clip(np.minimum(position, 1 - position) / _FADE, 0, 1)
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
