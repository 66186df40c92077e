"""Where frames come from: a camera, a file, the network, or the demo."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from types import TracebackType
from typing import Protocol
from urllib.parse import urlsplit

from live.frame import Frame
from live.sources.camera import CameraInfo, CameraSource, list_cameras
from live.sources.clip import SCHEMES, ClipSource, StreamSource
from live.sources.grab import SourceLost
from live.sources.paced import PacedSource
from live.sources.still import SUFFIXES, StillSource
from models.errors import UserError

__all__ = ["CameraInfo", "Source", "SourceLost", "list_cameras", "open_source"]


class Source(Protocol):
    """Gives frames, one after the other. A context manager, for one reading thread.

    Attributes:
        name: short, for the display and the report.
        size: (width, height) of its frames, pixels, as really given.
        fps: frames per second, as really given.
        live: True = the moment counts: frames not read in time are lost, the newest wins. False = every frame
            is to be processed, however long it takes.
        note: one line for the user: what was opened, and what was passed over.
    """

    name: str
    size: tuple[int, int]
    fps: float
    live: bool
    note: str

    def __enter__(self) -> Source: ...

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None: ...

    def close(self) -> None:
        """Let go of the device; harmless when done already."""
        ...

    def read(self) -> Frame | None:
        """The next frame, stamped when it was captured; None = the source has ended.

        Raises:
            SourceLost: it stopped without having ended.
        """
        ...


def open_source(
    spec: str, *, make_demo: Callable[[], Source], live_stills: bool = True, live_clips: bool = False
) -> Source:
    """Open what a user asks for.

    Args:
        spec: "auto" (the first camera that opens, else the demo), "demo", a camera's number or device path, a
            network address, or the path of a video or picture.
        make_demo: makes the demo, when it is wanted.
        live_stills: see Source.live, for a picture file.
        live_clips: the same for a video.

    Raises:
        UserError: it does not exist, cannot be used or is none of these.
    """
    if spec == "auto":
        return _first_camera(make_demo)
    if spec == "demo":
        return make_demo()
    if spec.isdigit() or spec.startswith("/dev/"):
        return CameraSource(spec)
    if "://" in spec:
        if urlsplit(spec).scheme.lower() not in SCHEMES:
            raise UserError(f"cannot open '{spec}'; expected an address that begins with one of {', '.join(SCHEMES)}")
        return StreamSource(spec)
    path = Path(spec).expanduser()
    if not path.exists():
        raise UserError(
            f"there is no file '{spec}'; expected auto, demo, a camera's number or device, a video, a "
            "picture or a network address"
        )
    if path.suffix.lower() in SUFFIXES:
        return StillSource(path, live=live_stills)
    return PacedSource(ClipSource(path)) if live_clips else ClipSource(path)


def _first_camera(make_demo: Callable[[], Source]) -> Source:
    passed_over: list[str] = []
    for camera in list_cameras():
        # A virtual camera shows what a program writes into it: this one, perhaps.
        problem = "virtual" if camera.virtual else camera.problem
        if problem is None:
            try:
                return _noting(CameraSource(camera.spec), passed_over)
            except UserError as error:
                problem = str(error)
        passed_over.append(f"{camera.spec} ({camera.name}): {problem}")
    demo = make_demo()
    return _noting(demo, passed_over or ["no camera found"])


def _noting(source: Source, passed_over: list[str]) -> Source:
    if passed_over:
        source.note = f"{'; '.join(passed_over)}; showing {source.note}"
    return source
