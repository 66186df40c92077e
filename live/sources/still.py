"""A picture file as a source: the same picture, over and over."""

from __future__ import annotations

import time
from pathlib import Path

import cv2
import numpy as np

from live.frame import Frame
from live.sources.grab import quiet
from live.sources.pace import Pace
from models.arrays import U8
from models.closing import Closing
from models.errors import UserError

SUFFIXES = (".jpg", ".jpeg", ".png", ".webp", ".bmp", ".tif", ".tiff")
FPS = 30.0
LONGEST_SIDE = 1920  # pixels; larger pictures are shrunk to what a camera would give
BACKDROP = 128  # grey level seen through transparent pixels


class StillSource(Closing):
    """A still picture, looped.

    Args:
        path: the picture file.
        live: see Source.

    Raises:
        UserError: the file is not a picture.
    """

    def __init__(self, path: Path, *, live: bool = True) -> None:
        self._rgb = read_picture(path)
        self._pace = Pace(FPS, live=live)
        height, width = self._rgb.shape[:2]
        self.name = path.name
        self.size = (width, height)
        self.fps = FPS
        self.live = live
        self.note = f"{path.name}: a still of {width}x{height}, {FPS:g} times a second"

    def close(self) -> None:
        """Nothing is held open."""

    def read(self) -> Frame:
        """The picture again."""
        seq = self._pace.next()
        return Frame(self._rgb, seq, time.perf_counter())


def read_picture(path: Path) -> U8:
    """Read a picture file as people see it: turned upright, 8 bits, transparency over grey.

    Returns:
        uint8 [H, W, 3] RGB, no side longer than LONGEST_SIDE.

    Raises:
        UserError: the file cannot be read or is not a picture.
    """
    try:
        encoded = np.fromfile(path, np.uint8)  # not cv2.imread: on Windows it opens ASCII names only
    except OSError as error:
        raise UserError(f"cannot read {path}: {error.strerror}") from error
    try:
        with quiet():
            upright = cv2.imdecode(encoded, cv2.IMREAD_COLOR) if encoded.size else None
            stored = cv2.imdecode(encoded, cv2.IMREAD_UNCHANGED) if encoded.size else None
    except cv2.error as error:
        raise UserError(f"cannot decode {path}: {error.err}; expected a JPEG, PNG, WebP, BMP or TIFF") from error
    if upright is None or stored is None:
        raise UserError(f"{path} is not a whole picture; expected a JPEG, PNG, WebP, BMP or TIFF file")

    rgb = cv2.cvtColor(upright, cv2.COLOR_BGR2RGB)
    if stored.ndim == 3 and stored.shape[2] == 4:
        most = 65535 if stored.dtype == np.uint16 else 255
        alpha = stored[..., 3:].astype(np.float32) / np.float32(most)
        colour = stored[..., 2::-1].astype(np.float32) * np.float32(255 / most)
        rgb = np.rint(colour * alpha + BACKDROP * (1 - alpha)).astype(np.uint8)
    shrink = LONGEST_SIDE / max(rgb.shape[:2])
    if shrink < 1:
        size = (max(1, round(rgb.shape[1] * shrink)), max(1, round(rgb.shape[0] * shrink)))
        rgb = cv2.resize(rgb, size, interpolation=cv2.INTER_AREA)
    return np.asarray(rgb, np.uint8)
