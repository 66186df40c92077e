"""Video files and network streams as sources."""

from __future__ import annotations

import math
import time
from pathlib import Path
from urllib.parse import urlsplit

import cv2

from live.frame import Frame
from live.sources.grab import Grabber, SourceLost
from models.closing import Closing
from models.errors import UserError

SCHEMES = ("http", "https", "rtsp", "rtsps", "rtmp", "rtmps", "srt", "udp", "tcp")
FALLBACK_FPS = 30.0  # of files and streams that do not say, or say nonsense
TIMEOUT_MS = 8000  # of a network stream, to open and between frames
_WHOLE = 0.9  # a file that has less than this share of the frames it announces is broken off


class ClipSource(Closing):
    """A video file, every frame of it, once.

    Args:
        path: the video file.

    Raises:
        UserError: the file is not a video, is empty or breaks off.
    """

    live = False

    def __init__(self, path: Path) -> None:
        if not path.is_file():
            raise UserError(f"{path} is not a file; expected a video or picture file")
        self._path = path
        self._grabber = _open_clip(path)
        announced = self._grabber.get(cv2.CAP_PROP_FRAME_COUNT)
        if announced > 1 and not _reaches(path, int(announced * _WHOLE)):
            self._grabber.close()
            raise UserError(
                f"{path} breaks off before the {announced:.0f} frames it announces; is the copy complete?"
            )
        first = self._grabber.read()
        if first is None:
            self._grabber.close()
            raise UserError(f"{path} has no frame that can be decoded; expected a video such as H.264 in MP4")
        self._first: Frame | None = Frame(first, 0, time.perf_counter())
        self._seq = 0
        self.name = path.name
        self.size = (first.shape[1], first.shape[0])
        self.fps = _plausible_fps(self._grabber)
        self.note = f"{path.name}: {self.size[0]}x{self.size[1]} at {self.fps:.4g} frames a second"

    def close(self) -> None:
        """Close the file."""
        self._grabber.close()

    def read(self) -> Frame | None:
        """The next frame; None = the file has ended."""
        if self._first is not None:
            first, self._first = self._first, None
            return Frame(first.rgb, 0, time.perf_counter())
        rgb = self._grabber.read()
        if rgb is None:
            return None
        self._seq += 1
        return Frame(rgb, self._seq, time.perf_counter())


class StreamSource(Closing):
    """A network stream. One of known length, such as an MP4 on a web server, is read like a file.

    Args:
        url: what FFmpeg can open, see SCHEMES.

    Raises:
        UserError: nothing answers, or not with a video.
    """

    def __init__(self, url: str) -> None:
        self.name = _without_credentials(url)
        timeouts = [cv2.CAP_PROP_OPEN_TIMEOUT_MSEC, TIMEOUT_MS, cv2.CAP_PROP_READ_TIMEOUT_MSEC, TIMEOUT_MS]
        self._grabber = Grabber(url, cv2.CAP_FFMPEG, timeouts)
        first = self._grabber.read() if self._grabber.opened else None
        if first is None:
            self._grabber.close()
            raise UserError(
                f"no video comes from {self.name} within {TIMEOUT_MS // 1000} s; "
                "check the address, the network and that the camera's stream is on"
            )
        self.live = not self._grabber.get(cv2.CAP_PROP_FRAME_COUNT) > 0
        self._first: Frame | None = Frame(first, 0, time.perf_counter())
        self._seq = 0
        self.size = (first.shape[1], first.shape[0])
        self.fps = _plausible_fps(self._grabber)
        kind = "live" if self.live else "recorded"
        self.note = f"{self.name}: {kind}, {self.size[0]}x{self.size[1]} at {self.fps:.4g} frames a second"

    def close(self) -> None:
        """Close the connection."""
        self._grabber.close()

    def read(self) -> Frame | None:
        """The next frame; None = a stream of known length has ended.

        Raises:
            SourceLost: a live stream stopped.
        """
        if self._first is not None:
            first, self._first = self._first, None
            return first
        rgb = self._grabber.read()
        if rgb is None:
            if self.live:
                raise SourceLost(f"the stream {self.name} stopped; check the network and the camera, start again")
            return None
        self._seq += 1
        return Frame(rgb, self._seq, time.perf_counter())


def _open_clip(path: Path) -> Grabber:
    try:
        with path.open("rb") as file:
            start = file.read(1024)
    except OSError as error:
        raise UserError(f"cannot read {path}: {error.strerror}") from error
    empty = not start
    # FFmpeg makes pictures of any text, a letter a block.
    grabber = None if empty or _is_text(start) else Grabber(str(path), cv2.CAP_FFMPEG)
    if grabber is None or not grabber.opened:
        raise UserError(
            f"{path} is empty" if empty else f"{path} is not a video or breaks off; expected MP4, MKV, AVI or MOV"
        )
    return grabber


def _is_text(start: bytes) -> bool:
    return all(byte >= 32 or byte in b"\t\n\r\f" for byte in start)


def _reaches(path: Path, frame: int) -> bool:
    """Whether a file can be decoded at a frame near its end: found by seeking, else by reading up to it."""
    grabber = _open_clip(path)
    try:
        if grabber.set(cv2.CAP_PROP_POS_FRAMES, frame) and grabber.skip():
            return True
    finally:
        grabber.close()
    grabber = _open_clip(path)
    try:
        return all(grabber.skip() for _ in range(frame))
    finally:
        grabber.close()


def _plausible_fps(grabber: Grabber) -> float:
    fps = grabber.get(cv2.CAP_PROP_FPS)
    return fps if math.isfinite(fps) and 1 <= fps <= 240 else FALLBACK_FPS


def _without_credentials(url: str) -> str:
    """An address that may be shown: no user name, no password."""
    parts = urlsplit(url)
    return parts._replace(netloc=parts.netloc.rpartition("@")[2], query="").geturl()
