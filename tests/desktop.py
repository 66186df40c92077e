"""A desktop for the window tests: an X display of its own with a window manager, and xdotool's hand on its keys."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import cv2
import numpy as np
import pytest

from models.arrays import U8

SCREEN_SIZE = (1280, 800)
NEEDED = ("Xvfb", "xdotool", "openbox", "import", "xprop", "xwininfo")
WAIT = 10.0  # seconds until something that must happen counts as failed

needs_x = pytest.mark.skipif(
    sys.platform != "linux" or any(shutil.which(tool) is None for tool in NEEDED),
    reason=f"needs {', '.join(NEEDED)}: apt-get install xvfb xdotool openbox imagemagick x11-utils",
)


@pytest.fixture(scope="session")
def x_server() -> Iterator[str]:
    """An X display of its own, with a window manager; one for all, since Qt keeps to the first a process uses."""
    reading, writing = os.pipe()
    screen = f"{SCREEN_SIZE[0]}x{SCREEN_SIZE[1]}x24"
    server = subprocess.Popen(
        ["Xvfb", "-displayfd", str(writing), "-screen", "0", screen, "-nolisten", "tcp"],
        pass_fds=[writing],
        stderr=subprocess.DEVNULL,
    )
    os.close(writing)
    with os.fdopen(reading) as pipe:
        name = f":{pipe.readline().strip()}"
    manager = subprocess.Popen(
        ["openbox", "--sm-disable"], env={**os.environ, "DISPLAY": name}, stderr=subprocess.DEVNULL
    )
    yield name
    for process in (manager, server):
        process.terminate()
        process.wait(WAIT)


@pytest.fixture(scope="module")
def display(x_server: str) -> Iterator[str]:
    """That display, where windows open while the tests of a module run."""
    before = os.environ.get("DISPLAY")
    os.environ["DISPLAY"] = x_server
    yield x_server
    if before is None:
        del os.environ["DISPLAY"]
    else:
        os.environ["DISPLAY"] = before


def xdotool(*arguments: str) -> str:
    done = subprocess.run(["xdotool", *arguments], capture_output=True, text=True, timeout=WAIT, check=False)
    return done.stdout.strip()


def screenshot(path: Path) -> U8:
    """What the focused window shows, uint8 RGB [H, W, 3]."""
    subprocess.run(["import", "-window", xdotool("getactivewindow"), str(path)], check=True, timeout=WAIT)
    bgr = cv2.imread(str(path))
    assert bgr is not None
    return np.ascontiguousarray(bgr[:, :, ::-1], np.uint8)
