"""Sheets of pictures to look at: rows of faces under captions."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import cv2
import numpy as np

from models.arrays import U8

CAPTION_HEIGHT = 24
GAP = 4
JPEG_QUALITY = 88


def sheet(rows: Sequence[Sequence[U8]], captions: Sequence[str], side: int) -> U8:
    """Lays pictures out in a grid.

    Args:
        rows: pictures, uint8 [S, S, 3] RGB of any S; every row as long as `captions`.
        captions: what the columns are.
        side: pixels per side at which each picture is shown.

    Returns:
        uint8 [H, W, 3], RGB.
    """
    step = side + GAP
    canvas = np.full((CAPTION_HEIGHT + len(rows) * step, len(captions) * step, 3), 255, np.uint8)
    for column, caption in enumerate(captions):
        origin = (column * step + 2, CAPTION_HEIGHT - 7)
        cv2.putText(canvas, caption, origin, cv2.FONT_HERSHEY_SIMPLEX, 0.5, (0, 0, 0), 1, cv2.LINE_AA)
    for i, row in enumerate(rows):
        for j, picture in enumerate(row):
            shrinks = picture.shape[0] > side
            method = cv2.INTER_AREA if shrinks else cv2.INTER_CUBIC
            top, left = CAPTION_HEIGHT + i * step, j * step
            canvas[top : top + side, left : left + side] = cv2.resize(picture, (side, side), interpolation=method)
    return canvas


def write_png(path: Path, rgb: U8) -> None:
    """Writes uint8 [H, W, 3] RGB; the path may hold any characters, which cv2.imwrite does not promise."""
    _, encoded = cv2.imencode(".png", cv2.cvtColor(rgb, cv2.COLOR_RGB2BGR))
    path.write_bytes(encoded.tobytes())


def write_jpeg(path: Path, rgb: U8) -> None:
    """Writes uint8 [H, W, 3] RGB as a picture for a document."""
    bgr = cv2.cvtColor(rgb, cv2.COLOR_RGB2BGR)
    _, encoded = cv2.imencode(".jpg", bgr, [cv2.IMWRITE_JPEG_QUALITY, JPEG_QUALITY])
    path.write_bytes(encoded.tobytes())
