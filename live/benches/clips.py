"""The clips that the benchmark plays."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import cv2
import numpy as np

from live.frame import Frame
from live.loading import load_models, make_demo
from live.outputs.video import VideoFile
from live.sources.clip import ClipSource
from live.sources.demo import FPS, SIZE
from models.arrays import U8


def make_standard(path: Path, frames: int) -> Path:
    """A moving face, 640x480 at 30 frames a second: the same pictures wherever it is made."""
    demo = make_demo(load_models(256, "auto"), live=False)
    with VideoFile(path, size=SIZE, fps=FPS) as video:
        for seq in range(frames):
            video.send(Frame(demo.picture(seq), seq, seq / FPS))
    return path


def alter(clip: Path, path: Path, change: Callable[[U8], U8]) -> Path:
    """A clip with every picture changed: uint8 [H, W, 3] -> uint8 [H', W', 3]."""
    with ClipSource(clip) as source:
        pictures = (change(frame.rgb) for frame in iter(source.read, None))
        first = next(pictures)
        with VideoFile(path, size=(first.shape[1], first.shape[0]), fps=source.fps) as video:
            for seq, rgb in enumerate([first, *pictures]):
                video.send(Frame(rgb, seq, seq / source.fps))
    return path


def pad_to_1080p(rgb: U8) -> U8:
    """The picture, as it is, in the middle of one of 1920x1080."""
    height, width = rgb.shape[:2]
    left, top = (1920 - width) // 2, (1080 - height) // 2
    around = (top, 1080 - height - top, left, 1920 - width - left)
    return np.asarray(cv2.copyMakeBorder(rgb, *around, cv2.BORDER_REPLICATE), np.uint8)


def beside_its_mirror_image(rgb: U8) -> U8:
    """The picture and its mirror image side by side: two faces."""
    return np.concatenate([rgb, rgb[:, ::-1]], axis=1)
