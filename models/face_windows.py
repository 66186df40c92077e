"""Where in a picture to look for a face that a look at the whole picture misses.

MediaPipe's detector sees the picture at 128 x 128 pixels: a face narrower than a tenth of it, or one that
fills it to the edges, is not found. Looking again at parts, or at the picture with a border around it, is
the remedy.
"""

from __future__ import annotations

from dataclasses import dataclass

import cv2
import numpy as np

from models.arrays import F32, U8

_PADDING = 0.3  # border of the padded picture, as a share of its sides
_DIVISIONS = (3, 6)  # tiles' sides as fractions of the picture's longer side
_OVERLAP = 0.25  # of neighbouring tiles: more than the narrowest face a tile can find
_LEAST_TILE = 96  # pixels; smaller ones hold no face worth finding
_ROOM = 2.5  # side of a window around a face, in face sizes: the detector's favourite framing


@dataclass(frozen=True)
class Window:
    """A rectangle of a picture, in whole pixels; it may reach beyond the picture's edges."""

    x: int
    y: int
    width: int
    height: int

    def cut(self, rgb: U8) -> U8:
        """The pixels inside, uint8 [height, width, 3]; what lies outside the picture repeats its edge."""
        height, width = rgb.shape[:2]
        left, top = max(0, -self.x), max(0, -self.y)
        right, bottom = max(0, self.x + self.width - width), max(0, self.y + self.height - height)
        inside = rgb[max(0, self.y) : self.y + self.height, max(0, self.x) : self.x + self.width]
        if left or top or right or bottom:
            inside = np.asarray(cv2.copyMakeBorder(inside, top, bottom, left, right, cv2.BORDER_REPLICATE), np.uint8)
        return np.ascontiguousarray(inside)


def whole(rgb: U8) -> Window:
    """The picture itself."""
    return Window(0, 0, rgb.shape[1], rgb.shape[0])


def search_levels(rgb: U8) -> list[list[Window]]:
    """Where to look again, likeliest first: the picture with a border, then ever smaller tiles."""
    height, width = rgb.shape[:2]
    pad_x, pad_y = round(width * _PADDING), round(height * _PADDING)
    levels = [[Window(-pad_x, -pad_y, width + 2 * pad_x, height + 2 * pad_y)]]
    for division in _DIVISIONS:
        side = max(width, height) // division
        if side >= _LEAST_TILE:
            levels.append(
                [
                    Window(x, y, min(side, width), min(side, height))
                    for y in _starts(height, side)
                    for x in _starts(width, side)
                ]
            )
    return levels


def around(landmarks: F32) -> Window:
    """A square window in which the face fills the share of the picture that the detector likes best."""
    low, high = landmarks.min(axis=0), landmarks.max(axis=0)
    side = max(8, round(float(face_size(landmarks)) * _ROOM))
    x, y = np.rint((low + high) / 2 - side / 2).astype(int)
    return Window(int(x), int(y), side, side)


def holds(window: Window, landmarks: F32) -> bool:
    """Whether a face followed in a window is still well inside it and of fitting size."""
    centre = (landmarks.min(axis=0) + landmarks.max(axis=0)) / 2
    size = face_size(landmarks)
    offset = np.abs(centre - [window.x + window.width / 2, window.y + window.height / 2])
    return bool(offset.max() < 0.5 * size and 0.6 < size * _ROOM / window.width < 1.6)


def face_size(landmarks: F32) -> float:
    """The longer side of the landmarks' bounding box, pixels."""
    return float((landmarks.max(axis=0) - landmarks.min(axis=0)).max())


def overlap(a: F32, b: F32) -> float:
    """Intersection over union of two faces' bounding boxes, in [0, 1]; landmarks float32 [N, 2]."""
    low = np.maximum(a.min(axis=0), b.min(axis=0))
    high = np.minimum(a.max(axis=0), b.max(axis=0))
    shared = float(np.prod(np.maximum(high - low, 0)))
    both = sum(float(np.prod(face.max(axis=0) - face.min(axis=0))) for face in (a, b))
    return shared / (both - shared) if both > shared else 0.0


def _starts(length: int, side: int) -> list[int]:
    """Evenly spread starts of overlapping spans that cover a length."""
    if side >= length:
        return [0]
    count = int(np.ceil((length - side) / (side * (1 - _OVERLAP)))) + 1
    return [int(start) for start in np.linspace(0, length - side, count).round()]
