"""Cameras: which there are, and frames from one of them."""

from __future__ import annotations

import os
import platform
import re
import time
from dataclasses import dataclass
from pathlib import Path

import cv2

from live.frame import Frame
from live.sources.grab import Grabber, SourceLost
from live.sources.v4l2 import SYSFS, video_nodes
from models.closing import Closing
from models.errors import UserError

SIZE = (640, 480)  # asked for; a camera may give another
FPS = 30
_PROBED = 5  # numbers tried where the system cannot be asked
_HICCUPS = 5  # broken pictures in a row that a camera is forgiven
_BACKENDS = {
    "Linux": (cv2.CAP_V4L2,),
    "Darwin": (cv2.CAP_AVFOUNDATION,),
    "Windows": (cv2.CAP_MSMF, cv2.CAP_DSHOW),
}


@dataclass(frozen=True)
class CameraInfo:
    """A camera that can be listed.

    Attributes:
        spec: what to give as source: a number, or a device path.
        name: what its driver calls it.
        formats: what it offers, for reading.
        virtual: a loopback device, which shows what another program writes into it.
        problem: why it cannot be used; None = nothing known against it.
    """

    spec: str
    name: str
    formats: str = ""
    virtual: bool = False
    problem: str | None = None

    def __str__(self) -> str:
        details = [self.formats, "virtual" if self.virtual else "", self.problem or ""]
        shown = "; ".join(detail for detail in details if detail)
        return f"{self.spec}: {self.name}" + (f" ({shown})" if shown else "")


def list_cameras() -> list[CameraInfo]:
    """The cameras of this machine. Linux is asked without opening a stream; elsewhere numbers are tried."""
    if platform.system() == "Linux":
        return [
            CameraInfo(str(node.path), node.card, " ".join(node.formats), node.loopback, node.problem)
            for node in video_nodes()
        ]
    cameras = []
    for number in range(_PROBED):
        grabber = _open(number)
        if grabber is not None:
            width, height = grabber.get(cv2.CAP_PROP_FRAME_WIDTH), grabber.get(cv2.CAP_PROP_FRAME_HEIGHT)
            cameras.append(CameraInfo(str(number), f"camera {number}", f"{width:.0f}x{height:.0f}"))
            grabber.close()
    return cameras


class CameraSource(Closing):
    """A camera of this machine, read as fast as it gives pictures.

    Args:
        spec: number, or device path on Linux.

    Raises:
        UserError: there is no such camera, it may not be used, is busy, or gives no picture.
    """

    live = True

    def __init__(self, spec: str) -> None:
        if spec.isdigit():
            target: int | str = int(spec)
            device = Path(f"/dev/video{spec}")
        else:
            target = os.path.realpath(spec)  # names in /dev/v4l/by-id are links
            device = Path(target)
        if platform.system() == "Linux":
            _check_device(spec, device)
        self.name = f"camera {spec}" if spec.isdigit() else spec
        grabber = _open(target)
        first = grabber.read() if grabber is not None else None
        if grabber is None or first is None:
            if grabber is not None:
                grabber.close()
            raise UserError(f"{self.name} gives no picture; {_ADVICE.get(platform.system(), _ADVICE['Linux'])}")
        self._grabber = grabber
        self._first: Frame | None = Frame(first, 0, time.perf_counter())
        self._seq = 0
        self.size = (first.shape[1], first.shape[0])
        given = grabber.get(cv2.CAP_PROP_FPS)
        self.fps = given if 1 <= given <= 240 else float(FPS)
        label = SYSFS / device.name / "name"
        title = f" ({label.read_text().strip()})" if label.exists() else ""
        code = int(grabber.get(cv2.CAP_PROP_FOURCC)) & 0xFFFFFFFF
        fourcc = code.to_bytes(4, "little").decode("ascii", "replace")
        pixels = f" {fourcc}" if re.fullmatch(r"[A-Za-z0-9]{4}", fourcc) else ""
        self.note = f"{self.name}{title}: {self.size[0]}x{self.size[1]}{pixels} at {self.fps:.4g} frames a second"

    def close(self) -> None:
        """Let go of the camera."""
        self._grabber.close()

    def read(self) -> Frame:
        """The next frame.

        Raises:
            SourceLost: the camera stopped giving pictures.
        """
        if self._first is not None:
            first, self._first = self._first, None
            return first
        for _ in range(_HICCUPS):
            rgb = self._grabber.read()
            if rgb is not None:
                self._seq += 1
                return Frame(rgb, self._seq, time.perf_counter())
        raise SourceLost(f"{self.name} stopped giving pictures; is it still plugged in?")


_ADVICE = {
    "Linux": "is another program using it? Close that, or choose another source (--list cameras)",
    "Darwin": "allow the terminal to use the camera (System Settings, Privacy & Security, Camera), "
    "close other programs that use it, or choose another source (--list cameras)",
    "Windows": "allow desktop apps to use the camera (Settings, Privacy, Camera), close other programs that "
    "use it, or choose another source (--list cameras)",
}


def _open(target: int | str) -> Grabber | None:
    """The camera asked for MJPG at SIZE and FPS; None = no backend opens it."""
    for backend in _BACKENDS.get(platform.system(), (cv2.CAP_ANY,)):
        grabber = Grabber(target, backend)
        if grabber.opened:
            # The format first: uncompressed pictures do not fit through USB 2 at every size and rate.
            grabber.set(cv2.CAP_PROP_FOURCC, cv2.VideoWriter.fourcc(*"MJPG"))
            grabber.set(cv2.CAP_PROP_FRAME_WIDTH, SIZE[0])
            grabber.set(cv2.CAP_PROP_FRAME_HEIGHT, SIZE[1])
            grabber.set(cv2.CAP_PROP_FPS, FPS)
            grabber.set(cv2.CAP_PROP_BUFFERSIZE, 1)  # no old pictures waiting in the driver
            return grabber
        grabber.close()
    return None


def _check_device(spec: str, device: Path) -> None:
    """Say what is wrong with a Linux device better than OpenCV, which only fails to open it."""
    if not device.exists():
        known = ", ".join(f"{camera.spec} ({camera.name})" for camera in list_cameras())
        raise UserError(
            f"there is no camera {spec}; "
            + (f"there are: {known}" if known else "this machine has none: plug one in, or use --source demo")
        )
    if not (SYSFS / device.name).exists():
        raise UserError(f"{spec} is not a camera; expected a number or a device such as /dev/video0")
    if not os.access(device, os.R_OK | os.W_OK):
        raise UserError(
            f"you may not use {device}; add yourself to its group: sudo usermod -aG {device.group()} $USER, "
            "then log in again"
        )
