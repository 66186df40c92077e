"""Emit finished frames: to a window, a virtual camera, a video file, or nowhere."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Protocol

from live.frame import Frame
from live.outputs.video import FORMATS, VideoFile
from live.outputs.virtual_camera import VirtualCamera
from live.outputs.window import Window, missing_display
from models.closing import Closing
from models.errors import UserError

OUTPUTS: dict[str, str] = {
    "window": "a window on the screen, with hotkeys",
    "virtual-camera": "a camera for video calls; virtual-camera:DEVICE picks one, such as /dev/video4",
    "FILE" + "|".join(FORMATS): "a video file; one that exists is replaced when the new one is complete",
    "null": "nowhere: to measure, or with --report",
}


class Sink(Protocol):
    """Takes finished frames. A context manager; leaving it finishes what was begun, after errors too."""

    @property
    def name(self) -> str:
        """What it is, for messages."""
        ...

    def send(self, frame: Frame) -> None:
        """Emit one frame; takes a few milliseconds at most, and keeps no more than one frame back."""
        ...

    def close(self) -> None:
        """Finish; a second call does nothing."""
        ...

    def __enter__(self) -> Sink: ...

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None: ...


class NullSink(Closing):
    """Sink that takes frames and emits nothing."""

    name = "null"

    def send(self, frame: Frame) -> None:
        """Forget the frame."""

    def close(self) -> None:
        """Nothing to finish."""


@dataclass(frozen=True)
class Output:
    """One kind of output and whether it works here.

    Attributes:
        name: what to write after ``--output``.
        description: what it is.
        problem: why it does not work here and what to do; None = it works.
    """

    name: str
    description: str
    problem: str | None


def open_sink(spec: str, size: tuple[int, int], fps: float) -> Sink:
    """Open an output.

    Args:
        spec: "window", "virtual-camera", "virtual-camera:DEVICE", "null", or a file name that ends in .mp4,
            .mkv or .avi.
        size: width, height in pixels of the frames to come.
        fps: the rate of a video file, and what a virtual camera declares.

    Raises:
        UserError: there is no such output, or it does not work here; says which there are, or what to do.
    """
    kind, _, device = spec.partition(":")
    if kind == "virtual-camera":
        return VirtualCamera(size=size, fps=fps, device=device or None)
    if spec == "window":
        return Window(size=size)
    if spec == "null":
        return NullSink()
    if Path(spec).suffix.lower() in FORMATS:
        return VideoFile(Path(spec).expanduser(), size=size, fps=fps)
    raise UserError(f"no output {spec!r}; choose one of: {', '.join(OUTPUTS)}")


def list_outputs() -> tuple[Output, ...]:
    """Every kind of output, and why some do not work here; opens the virtual camera for a moment."""
    problems = {"window": missing_display(), "virtual-camera": _virtual_camera_problem()}
    return tuple(Output(name, description, problems.get(name)) for name, description in OUTPUTS.items())


def _virtual_camera_problem() -> str | None:
    try:
        VirtualCamera(size=(640, 480), fps=30.0).close()
    except UserError as error:
        return str(error)
    return None
