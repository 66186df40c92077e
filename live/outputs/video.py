"""Write frames to a video file that plays at true speed, and is playable however the writing ends."""

from __future__ import annotations

import contextlib
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path
from typing import cast

import av
import numpy as np
from av import VideoStream
from av.container import OutputContainer
from av.video.reformatter import ColorRange, Colorspace

from live.frame import Frame
from live.outputs.fit import fit
from models.arrays import U8
from models.closing import Closing
from models.errors import UserError


@dataclass(frozen=True)
class Format:
    """How one kind of file is written.

    Attributes:
        codec: FFmpeg's name of the encoder.
        codec_options: options of the encoder.
        container_options: options of the file format.
    """

    codec: str
    codec_options: dict[str, str]
    container_options: dict[str, str]


# Quality is fixed, the bit rate follows the picture. "ultrafast" takes two thirds of the time of "veryfast", for
# more bits at the same quality; "zerolatency" keeps no frames back: a steady pace.
_H264 = {"preset": "ultrafast", "crf": "18", "tune": "zerolatency"}

FORMATS: dict[str, Format] = {
    # Fragments while it is written, so that even a killed process leaves a playable file; plain once closed.
    ".mp4": Format("libx264", _H264, {"movflags": "hybrid_fragmented", "flush_packets": "1"}),
    ".mkv": Format("libx264", _H264, {"flush_packets": "1"}),
    # AVI has no agreed way to hold H.264; MPEG-4 Part 2 is what its players expect.
    ".avi": Format("mpeg4", {"qmin": "2", "qmax": "5"}, {}),
}

SMPTE170M = 6  # ITU-T H.273 matrix coefficients: BT.601, what RGB readers assume unless told otherwise
BT709 = 1  # ITU-T H.273 primaries and transfer: those of sRGB cameras
ENCODER_THREADS = 2  # the networks need the cores


class VideoFile(Closing):
    """Sink to a video file: .mp4 and .mkv hold H.264, .avi holds MPEG-4 Part 2; no sound.

    The rate is constant. A frame's place follows from its ``captured`` time: of several frames in one period
    the newest is kept, and a frame is repeated until the next one comes.

    While it is written the file is called ``NAME.partial.EXT``; ``close`` gives it its name and replaces a
    file that had it. Leaving the ``with`` block closes it, on Ctrl-C and errors too. Without a single frame,
    no file is left.

    Args:
        path: where the video goes; its ending picks the format.
        size: width, height in pixels; frames of another size are scaled to fit, with black bars. The codecs
            want even numbers: an odd last column or row is left out.
        fps: frames per second of the file.
    """

    def __init__(self, path: Path, *, size: tuple[int, int], fps: float) -> None:
        if path.suffix.lower() not in FORMATS:
            raise UserError(f"cannot write a video to {path}: its name must end in {', '.join(FORMATS)}; rename it")
        if path.is_dir():
            raise UserError(f"cannot write {path}: it is a folder; give the name of a file")
        self.path = path
        self.name = f"video file {path}"
        self.partial = path.with_name(f"{path.stem}.partial{path.suffix}")
        self._size = size
        self._rate = Fraction(fps).limit_denominator(1001)
        self._first: float | None = None  # captured time of the first frame
        self._pending: U8 | None = None  # newest frame, not written yet: its period is not over
        self._slot = 0  # the pending frame's place in the file, in periods
        # Opened with the first frame: FFmpeg 8 crashes when it closes a hybrid MP4 without one.
        self._container: OutputContainer | None = None
        self._open = True
        try:
            self.partial.write_bytes(b"")
        except OSError as error:
            raise UserError(
                f"cannot write {path}: {error.strerror}; name a file in a folder that exists and is writable"
            ) from error

    def send(self, frame: Frame) -> None:
        """Take one frame; encodes the one before it, which takes milliseconds (about 4 at 640x480)."""
        if self._first is None:
            self._first = frame.captured
        # A clock that stands still or runs back (a looped source) must not stop the film.
        slot = max(self._slot, round((frame.captured - self._first) * float(self._rate)))
        self._write_pending_until(slot)
        self._pending, self._slot = fit(frame.rgb, self._size), slot

    def close(self) -> None:
        """Finish the file and give it its name; a second call does nothing."""
        if not self._open:
            return
        self._write_pending_until(self._slot + 1)
        self._open = False
        try:
            if self._container is None:
                self.partial.unlink()
                return
            self._container.mux(self._stream.encode(None))
            self._container.close()
            self.partial.replace(self.path)
        except OSError as error:
            raise self._give_up(error) from error

    def _write_pending_until(self, slot: int) -> None:
        """Fill the periods from the pending frame's own up to, not including, ``slot`` with it."""
        if self._pending is None or slot <= self._slot:
            return
        try:
            container = self._container or self._start()
            pixels = np.ascontiguousarray(self._pending[: self._stream.height, : self._stream.width])
            picture = av.VideoFrame.from_ndarray(pixels, format="rgb24")
            picture = picture.reformat(format="yuv420p", dst_colorspace=Colorspace.SMPTE170M)
            for picture.pts in range(self._slot, slot):
                container.mux(self._stream.encode(picture))
        except OSError as error:
            raise self._give_up(error) from error

    def _start(self) -> OutputContainer:
        """Open the file and its one stream, and write the file's head."""
        video_format = FORMATS[self.path.suffix.lower()]
        self._container = av.open(str(self.partial), "w", options=video_format.container_options)
        stream = self._container.add_stream(video_format.codec, rate=self._rate, options=video_format.codec_options)
        self._stream = cast(VideoStream, stream)
        self._stream.width, self._stream.height = self._size[0] // 2 * 2, self._size[1] // 2 * 2
        self._stream.pix_fmt = "yuv420p"
        context = self._stream.codec_context
        context.thread_count = ENCODER_THREADS
        context.gop_size = max(1, round(self._rate))  # a fragment, and a point to seek to, each second
        context.color_range = ColorRange.MPEG
        context.colorspace = SMPTE170M
        context.color_primaries = context.color_trc = BT709
        self._container.start_encoding()
        return self._container

    def _give_up(self, error: OSError) -> UserError:
        """Close what was written so far, under its partial name; the error to raise."""
        self._open = False
        if self._container is not None:
            with contextlib.suppress(OSError):  # the same disk fails once more while the end is written
                self._container.close()
        return UserError(
            f"stopped writing {self.path}: {error.strerror}; free some space or choose another disk"
            f" (what was written so far is in {self.partial})"
        )
