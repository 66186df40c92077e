"""Half-transparent panels with smooth text, to lay over pictures.

A panel is painted once and blended many times: panels and text are remembered by what they show.
"""

from __future__ import annotations

import unicodedata
from dataclasses import dataclass
from functools import lru_cache
from typing import TypeAlias, cast

import cv2
import numpy as np

from models.arrays import F32, U8

Colour: TypeAlias = tuple[int, int, int]  # red, green, blue, each 0 to 255

SUPERSAMPLING = 4  # shapes are drawn this much larger and averaged down
LINE_HEIGHT = 1.35  # of the text size
BASELINE = 1.02  # of the text size, below the line's top


@dataclass(frozen=True)
class Layer:
    """A finished panel.

    Attributes:
        rgb: uint8 [H, W, 3], multiplied by the panel's opacity already.
        transmission: uint8 [H, W, 3], how much of the picture shows through: 0 nothing, 255 all of it.
        inside: uint8 [H, W], not 0 where the panel is: the picture behind is blurred there.
        blur: width of that blur in pixels.
    """

    rgb: U8
    transmission: U8
    inside: U8
    blur: int

    @property
    def width(self) -> int:
        """Pixels."""
        return int(self.rgb.shape[1])

    @property
    def height(self) -> int:
        """Pixels."""
        return int(self.rgb.shape[0])


@lru_cache(maxsize=512)
def text_mask(text: str, size: int, *, bold: bool = False) -> U8:
    """One line of text.

    Args:
        text: without line breaks.
        size: height of the letters, from the ascenders to the descenders, about, in pixels.
        bold: heavier letters.

    Returns:
        uint8 [line height, width], coverage: 0 nothing, 255 ink. Remembered: do not write into it.
    """
    return _outline_text(text, size, bold) if hasattr(cv2, "FontFace") else stroke_text(text, size, bold)


@lru_cache(maxsize=1)
def _sans() -> cv2.FontFace:
    return cv2.FontFace("sans")


def _outline_text(text: str, size: int, bold: bool) -> U8:
    """Text in the TrueType face that OpenCV 5 has built in."""
    weight = 600 if bold else 400
    _, _, width, _ = cv2.getTextSize((0, 0), text, (0, 0), _sans(), size, weight)
    mask = np.zeros((round(size * LINE_HEIGHT), width + 2), np.uint8)
    cv2.putText(mask, text, (0, round(size * BASELINE)), (255, 255, 255), _sans(), size, weight)
    return mask


def stroke_text(text: str, size: int, bold: bool) -> U8:
    """Text in the stroke font of OpenCV 4, which has ASCII only; drawn large and averaged down to be smooth.

    Args and result as of ``text_mask``.
    """
    ascii_text = unicodedata.normalize("NFKD", text.replace("−", "-")).encode("ascii", "ignore").decode()
    large = size * SUPERSAMPLING
    scale = cv2.getFontScaleFromHeight(cv2.FONT_HERSHEY_SIMPLEX, round(large * 0.7), 1)
    thickness = max(1, round(large * (0.14 if bold else 0.09)))
    (width, _), _ = cv2.getTextSize(ascii_text, cv2.FONT_HERSHEY_SIMPLEX, scale, thickness)
    columns = max(1, -(-width // SUPERSAMPLING))
    rows = round(size * LINE_HEIGHT)
    mask = np.zeros((rows * SUPERSAMPLING, columns * SUPERSAMPLING), np.uint8)
    origin = (0, round(large * BASELINE))
    cv2.putText(mask, ascii_text, origin, cv2.FONT_HERSHEY_SIMPLEX, scale, 255, thickness, cv2.LINE_AA)
    return cast(U8, cv2.resize(mask, (columns, rows), interpolation=cv2.INTER_AREA))


@lru_cache(maxsize=128)
def rounded_mask(width: int, height: int, radius: int) -> U8:
    """A filled rectangle with round corners: uint8 [height, width] coverage. Do not write into it."""
    s = SUPERSAMPLING
    mask = np.zeros((height * s, width * s), np.uint8)
    r = min(radius, height // 2, width // 2) * s
    right, bottom = width * s - 1, height * s - 1
    cv2.rectangle(mask, (r, 0), (right - r, bottom), 255, cv2.FILLED)
    cv2.rectangle(mask, (0, r), (right, bottom - r), 255, cv2.FILLED)
    for x in (r, right - r):
        for y in (r, bottom - r):
            cv2.circle(mask, (x, y), r, 255, cv2.FILLED)
    return cast(U8, cv2.resize(mask, (width, height), interpolation=cv2.INTER_AREA))


class Panel:
    """A rounded dark plate that text and shapes are painted on. Positions and sizes in pixels.

    Args:
        width: of the plate.
        height: of the plate.
        radius: of its corners.
        opacity: of the plate, 0 to 1; what is painted on it has its own.
    """

    def __init__(self, width: int, height: int, *, radius: int, opacity: float = 0.66) -> None:
        self._rgb: F32 = np.zeros((height, width, 3), np.float32)  # 0 to 255, multiplied by alpha
        self._alpha: F32 = np.zeros((height, width, 1), np.float32)
        self._inside = rounded_mask(width, height, radius)
        self.paint(self._inside, 0, 0, (14, 16, 20), opacity)
        # A faint bright rim parts it from dark pictures.
        edge = self._inside.copy()
        edge[1:-1, 1:-1] -= np.minimum(rounded_mask(width - 2, height - 2, radius - 1), edge[1:-1, 1:-1])
        self.paint(edge, 0, 0, (255, 255, 255), 0.16)

    def paint(self, mask: U8, x: int, y: int, colour: Colour, opacity: float = 1.0) -> None:
        """Lay a colour over the panel through a coverage mask (uint8 [h, w]) whose corner is at x, y."""
        mask = mask[: max(0, self._alpha.shape[0] - y), : max(0, self._alpha.shape[1] - x)]
        cover = mask[:, :, None].astype(np.float32) * np.float32(opacity / 255)
        area = np.s_[y : y + mask.shape[0], x : x + mask.shape[1]]
        self._rgb[area] += (np.asarray(colour, np.float32) - self._rgb[area]) * cover
        self._alpha[area] += (1 - self._alpha[area]) * cover

    def text(
        self, text: str, x: int, y: int, size: int, colour: Colour, *, bold: bool = False, right: bool = False
    ) -> None:
        """Write a line whose top is at y and whose left (or right) end is at x."""
        mask = text_mask(text, size, bold=bold)
        self.paint(mask, x - mask.shape[1] if right else x, y, colour)

    def plate(
        self, x: int, y: int, width: int, height: int, colour: Colour, *, radius: int, opacity: float = 1.0
    ) -> None:
        """A filled rectangle with round corners."""
        if width > 0 and height > 0:
            self.paint(rounded_mask(width, height, radius), x, y, colour, opacity)

    def finish(self, *, blur: int) -> Layer:
        """The panel, ready to blend; ``blur`` is the width in pixels of the blur of what is behind it."""
        transmission = np.repeat((1 - self._alpha) * 255, 3, axis=2)
        return Layer(
            rgb=np.rint(self._rgb).astype(np.uint8),
            transmission=np.rint(transmission).astype(np.uint8),
            inside=self._inside,
            blur=blur,
        )


def _blur(picture: U8, width: int) -> U8:
    """A soft blur about ``width`` pixels wide, at the price of one on a sixteenth of the picture."""
    height, columns = picture.shape[:2]
    small = cv2.resize(picture, (-(-columns // 4), -(-height // 4)), interpolation=cv2.INTER_AREA)
    core = max(3, width // 4 | 1)
    blurred = cv2.blur(cv2.blur(small, (core, core)), (core, core))
    return cast(U8, cv2.resize(blurred, (columns, height), interpolation=cv2.INTER_LINEAR))


def blend(picture: U8, layer: Layer, x: int, y: int) -> None:
    """Lay a panel over a picture, in place.

    Args:
        picture: uint8 [H, W, 3], RGB; changed.
        layer: what to lay over it; parts outside the picture are left out.
        x: where its left pixels go.
        y: where its top pixels go.
    """
    left, top = max(0, x), max(0, y)
    right = min(picture.shape[1], x + layer.width)
    bottom = min(picture.shape[0], y + layer.height)
    if left >= right or top >= bottom:
        return
    part = np.s_[top - y : bottom - y, left - x : right - x]
    behind = picture[top:bottom, left:right]
    cv2.copyTo(_blur(behind, layer.blur), layer.inside[part], behind)
    dimmed = cv2.multiply(behind, layer.transmission[part], scale=1 / 255)
    behind[...] = cv2.add(dimmed, layer.rgb[part])
