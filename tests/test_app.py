"""The whole application in a real window: real key presses, real screenshots."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import cv2
import numpy as np
import pytest

from live.outputs.fit import fit
from models.arrays import U8
from models.landmarker import BLENDSHAPES, Landmarker
from tests.desktop import needs_x, xdotool

ROOT = Path(__file__).parents[1]
START_SECONDS = 60.0  # cold caches and a busy machine
REACT_SECONDS = 20.0
SMILE = [BLENDSHAPES.index(name) for name in ("mouthSmileLeft", "mouthSmileRight")]

pytestmark = needs_x


class App:
    """The running application.

    Attributes:
        camera: uint8 [H, W, 3], the picture its camera sees.
        folder: where it runs; pictures and videos go to folders in it.
    """

    def __init__(self, folder: Path, camera: U8, *arguments: str) -> None:
        self.folder = folder
        self.camera = camera
        cv2.imwrite(str(folder / "camera.png"), camera[:, :, ::-1])
        self.process = subprocess.Popen(
            [sys.executable, "-m", "live", "--source", "camera.png", "--report", "report.json", *arguments],
            cwd=folder,
            env={
                **os.environ,
                "PYTHONPATH": os.pathsep.join([str(ROOT), os.environ.get("PYTHONPATH", "")]),
                "XDG_PICTURES_DIR": str(folder / "pictures"),
                "XDG_VIDEOS_DIR": str(folder / "videos"),
            },
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )
        assert self.process.stdout is not None
        # Not before: the window that probes the display, for a moment, has the same name.
        assert any("output: window" in line for line in self.process.stdout), self.process.communicate()[1]
        self.wait(lambda: xdotool("getactivewindow", "getwindowname") == "morphcam", START_SECONDS)
        self.wait(lambda: bool(self.shot().any()), START_SECONDS)

    def wait(self, condition: Callable[[], bool], seconds: float = REACT_SECONDS) -> None:
        """Waits until something has come true."""
        end = time.monotonic() + seconds
        while not condition():
            assert self.process.poll() is None, self.process.communicate()[1]
            assert time.monotonic() < end, f"nothing happened in {seconds} s"
            time.sleep(0.1)

    def press(self, key: str) -> None:
        """Presses a key, and leaves the time in which a second press would count as the first one held."""
        xdotool("key", key)
        time.sleep(0.4)

    def shot(self) -> U8:
        """What the window shows now, uint8 [h, w, 3]."""
        # Of the whole screen: asking for one window makes ImageMagick wait for a busy program's answer.
        screen = self.folder / "screen.png"
        subprocess.run(["import", "-window", "root", str(screen)], check=True, timeout=REACT_SECONDS)
        bgr = cv2.imread(str(screen))
        assert bgr is not None
        command = ["xwininfo", "-id", xdotool("getactivewindow")]
        told = subprocess.run(command, check=True, capture_output=True, text=True, timeout=REACT_SECONDS).stdout
        names = ("Absolute upper-left X", "Absolute upper-left Y", "Width", "Height")
        left, top, width, height = (int(told.partition(f"{name}:")[2].split()[0]) for name in names)
        return np.ascontiguousarray(bgr[top : top + height, left : left + width, ::-1], np.uint8)

    def likeness(self, shot: U8) -> float:
        """Correlation of the middle of a screenshot with that of the camera's picture; 1 = the same."""
        height, width = shot.shape[:2]
        middle = (slice(height // 4, -height // 4), slice(width // 4, -width // 4))
        camera = fit(self.camera, (width, height))
        return float(np.corrcoef(shot[middle].ravel(), camera[middle].ravel())[0, 1])

    def end(self) -> tuple[int, str]:
        """Waits for its end; exit code and what it said on stderr."""
        _, err = self.process.communicate(timeout=REACT_SECONDS)
        return self.process.returncode, err


@pytest.fixture
def app(display: str, tmp_path: Path, astronaut: U8) -> Iterator[App]:
    camera = np.ascontiguousarray(astronaut[0:240, 64:384])
    arguments = ("--mode", "portrait", "--output", "window", "--direction", "smile=-2")  # she smiles
    running = App(tmp_path, camera, *arguments)
    yield running
    if running.process.poll() is None:
        running.process.kill()
        running.process.communicate()


def top_left(shot: U8) -> U8:
    """Where the status line is."""
    return shot[: shot.shape[0] // 12, : shot.shape[1] // 4]


def changed(before: U8, after: U8) -> float:
    """Share of the pixels that differ visibly."""
    return float((np.abs(before.astype(int) - after).max(axis=2) > 24).mean())


def test_keys_change_what_the_window_shows(app: App, landmarker_model: Path) -> None:
    with Landmarker(landmarker_model) as landmarker:

        def smile() -> float:
            """How much the face in the window smiles, 0 to 1; -1 = there is no face."""
            faces = landmarker.detect(app.shot())
            return float(faces[0].blendshapes[SMILE].mean()) if faces else -1.0

        app.wait(lambda: smile() >= 0)
        serious = smile()
        app.press("1")
        app.wait(lambda: smile() > serious + 0.2)
    plain = app.shot()
    assert app.likeness(plain) < 0.98  # the generator's picture, not the camera's
    assert (top_left(plain) > 200).any()  # the status line's white letters

    app.press("h")
    app.wait(lambda: changed(plain, app.shot()) > 0.1)
    app.press("h")
    app.wait(lambda: changed(plain, app.shot()) < 0.1)

    app.press("space")
    app.wait(lambda: app.likeness(app.shot()) > 0.98)
    app.press("space")
    app.wait(lambda: app.likeness(app.shot()) < 0.98)

    app.press("d")  # the face begins to move by itself
    app.wait(lambda: changed(plain, app.shot()) > 0.02)

    app.press("s")
    app.wait(lambda: len(list(app.folder.glob("pictures/morphcam/*.png"))) == 1)
    snapshot = cv2.imread(str(next(app.folder.glob("pictures/morphcam/*.png"))))
    assert snapshot is not None and snapshot.shape == app.camera.shape

    app.press("r")
    app.wait(lambda: len(list(app.folder.glob("videos/morphcam/*.partial.mp4"))) == 1)
    time.sleep(1.0)
    app.press("r")
    app.wait(lambda: not list(app.folder.glob("videos/morphcam/*.partial.mp4")))
    film = cv2.VideoCapture(str(next(app.folder.glob("videos/morphcam/*.mp4"))))
    given, picture = film.read()
    assert given and picture.shape == app.camera.shape

    portrait = app.shot()
    app.press("m")
    app.wait(lambda: changed(portrait, app.shot()) > 0.2)
    app.press("q")
    assert app.end() == (0, "")
    report = json.loads((app.folder / "report.json").read_text(encoding="utf-8"))
    assert report["mode"] == "transfer"
    assert report["frames"]["shown"] > 10 and report["messages"] == {}


def test_a_closed_window_ends_the_program_well(app: App) -> None:
    app.press("alt+F4")
    assert app.end() == (0, "")
    assert (app.folder / "report.json").exists()
