"""Draws how a loss fell, on logarithmic axes."""

from __future__ import annotations

from collections.abc import Sequence

import cv2
import numpy as np

from live.display.paint import Colour, text_mask
from models.arrays import F64, U8

WIDTH, HEIGHT = 900, 560
LEFT, RIGHT, TOP, BOTTOM = 90, 40, 70, 60  # margins
INK, FAINT, RULE = (28, 32, 38), (122, 130, 140), (228, 231, 235)
CURVE, REFERENCE = (58, 124, 200), (214, 120, 56)
TEXT = 17
FRACTION_BITS = 4  # of the line's coordinates, for smooth drawing


def plot(title: str, losses: Sequence[float], views: int, mean_face: float, tuned: Sequence[float] = ()) -> U8:
    """The loss at each step, over the loss of the mean face.

    Args:
        title: written above.
        losses: positive, one a step; of `views` pictures in turn, over which they are averaged.
        views: at least 1.
        mean_face: the loss of the mean face.
        tuned: of the steps after these, in which the recogniser counts no more: a curve of its own.

    Returns:
        uint8 [560, 900, 3], RGB.
    """
    picture: U8 = np.full((HEIGHT, WIDTH, 3), 255, np.uint8)
    curves = [_averaged(losses, views, 0)] + ([_averaged(tuned, views, len(losses))] if tuned else [])
    shown, total = np.concatenate([averaged for _, averaged in curves]), len(losses) + len(tuned)
    low, high = min(shown.min(), mean_face) / 1.2, max(shown.max(), mean_face) * 1.2

    def place(step: F64, loss: F64) -> F64:
        x = LEFT + (WIDTH - LEFT - RIGHT) * np.log(step) / np.log(max(total, 2))
        y = TOP + (HEIGHT - TOP - BOTTOM) * np.log(high / loss) / np.log(high / low)
        return np.stack([x, y], axis=-1)

    for loss in _ticks(low, high):
        _, y = place(np.float64(1), np.float64(loss)).round().astype(int)
        picture[y, LEFT : WIDTH - RIGHT] = RULE
        _text(picture, f"{loss:g}", LEFT - 12, y - TEXT // 2 - 3, FAINT, right=True)
    for step in _ticks(1, total):
        x, _ = place(np.float64(step), np.float64(high)).round().astype(int)
        picture[TOP : HEIGHT - BOTTOM, x] = RULE
        _text(picture, f"{step:g}", x - 4, HEIGHT - BOTTOM + 8, FAINT)
    _line(picture, place(np.array([1.0, total]), np.full(2, mean_face)), REFERENCE)
    for steps, averaged in curves:
        _line(picture, place(steps, averaged), CURVE)
    if tuned:
        x, _ = place(np.float64(len(losses)), np.float64(high)).round().astype(int)
        picture[TOP : HEIGHT - BOTTOM, x] = FAINT
        _text(picture, "then tuned, without the recogniser", x - 8, HEIGHT - BOTTOM - 30, FAINT, right=True)
    _text(picture, title, LEFT, 20, INK, bold=True)
    _text(picture, f"the mean face: {mean_face:.2f}", WIDTH - RIGHT, 20, REFERENCE, right=True)
    _text(picture, "loss over steps, both logarithmic", LEFT, 44, FAINT)
    _text(picture, f"at the end: {shown[-1]:.2f}", WIDTH - RIGHT, 44, CURVE, right=True)
    return picture


def _averaged(losses: Sequence[float], views: int, before: int) -> tuple[F64, F64]:
    """Steps, counted on from those before, and the mean loss over the views at each."""
    window = min(views, len(losses))
    steps = before + np.arange(window, len(losses) + 1, dtype=np.float64)
    return steps, np.convolve(losses, np.full(window, 1 / window), "valid")


def _ticks(low: float, high: float) -> list[float]:
    """1, 2 and 5 times powers of ten within a range."""
    powers = range(int(np.floor(np.log10(low))), int(np.ceil(np.log10(high))) + 1)
    return [tick for power in powers for digit in (1, 2, 5) if low <= (tick := digit * 10.0**power) <= high]


def _line(picture: U8, points: F64, colour: Colour) -> None:
    fixed = np.rint(points * 2**FRACTION_BITS).astype(np.int32)
    cv2.polylines(picture, [fixed], False, colour, 2, cv2.LINE_AA, FRACTION_BITS)


def _text(picture: U8, text: str, x: int, y: int, colour: Colour, *, bold: bool = False, right: bool = False) -> None:
    """Writes a line whose top is at y and whose left (or right) end is at x."""
    mask = text_mask(text, TEXT, bold=bold)
    left = x - mask.shape[1] if right else x
    area = picture[y : y + mask.shape[0], left : left + mask.shape[1]]
    cover = mask[: area.shape[0], : area.shape[1], None] / 255
    area[...] = np.rint(area + (np.asarray(colour) - area.astype(float)) * cover)
