"""What cameras Linux has: asked of the kernel, which answers for busy ones too, and without a sound."""

from __future__ import annotations

import os
import struct
import sys
from dataclasses import dataclass
from pathlib import Path

SYSFS = Path("/sys/class/video4linux")

# linux/videodev2.h
_QUERYCAP = 0x80685600  # VIDIOC_QUERYCAP = _IOR('V', 0, struct v4l2_capability), 104 bytes
_ENUM_FMT = 0xC0405602  # VIDIOC_ENUM_FMT = _IOWR('V', 2, struct v4l2_fmtdesc), 64 bytes
_CAPABILITY = struct.Struct("=16s32s32sII I12x")  # driver, card, bus, version, capabilities, device_caps
_FORMAT = struct.Struct("=III32sII12x")  # index, type, flags, description, pixel format, media bus code
_CAP_CAPTURE = 0x00000001  # V4L2_CAP_VIDEO_CAPTURE
_CAP_OUTPUT = 0x00000002  # V4L2_CAP_VIDEO_OUTPUT
_CAP_DEVICE_CAPS = 0x80000000  # V4L2_CAP_DEVICE_CAPS: device_caps holds this node's own
_BUF_TYPE_CAPTURE = 1  # V4L2_BUF_TYPE_VIDEO_CAPTURE


@dataclass(frozen=True)
class VideoNode:
    """A /dev/video device that gives pictures.

    Attributes:
        path: such as /dev/video0.
        card: what the driver calls it.
        formats: four-character codes of its pixel formats.
        loopback: other programs can write into it too: a virtual camera.
        problem: why it cannot be asked; None = it can.
    """

    path: Path
    card: str
    formats: tuple[str, ...] = ()
    loopback: bool = False
    problem: str | None = None


def video_nodes() -> list[VideoNode]:
    """All capture devices, in the order of their numbers. Empty where there is no Video4Linux."""
    if not SYSFS.is_dir():
        return []
    names = [entry.name for entry in SYSFS.iterdir() if entry.name.startswith("video")]
    numbers = sorted(int(name[5:]) for name in names if name[5:].isdigit())
    nodes = [_ask(Path(f"/dev/video{number}")) for number in numbers]
    return [node for node in nodes if node is not None]


def _ask(path: Path) -> VideoNode | None:
    """What one device is; None = it gives no pictures (metadata, output only)."""
    if sys.platform == "win32":
        return None
    import fcntl  # absent on Windows

    label = SYSFS / path.name / "name"
    name = label.read_text().strip() if label.exists() else path.name
    try:
        device = os.open(path, os.O_RDWR | os.O_NONBLOCK)
    except OSError as error:
        return VideoNode(path, name, problem=error.strerror)
    try:
        answer = fcntl.ioctl(device, _QUERYCAP, bytes(_CAPABILITY.size))
        _, card, _, _, all_caps, device_caps = _CAPABILITY.unpack(answer)
        caps = device_caps if all_caps & _CAP_DEVICE_CAPS else all_caps
        if not caps & _CAP_CAPTURE:
            return None
        formats: list[str] = []
        while len(formats) < 64:
            try:
                question = _FORMAT.pack(len(formats), _BUF_TYPE_CAPTURE, 0, b"", 0, 0)
                answer = fcntl.ioctl(device, _ENUM_FMT, question)
            except OSError:  # EINVAL: past the last one
                break
            formats.append(struct.pack("=I", _FORMAT.unpack(answer)[4]).decode("ascii", "replace").strip())
        text = card.split(b"\0")[0].decode("utf-8", "replace")
        return VideoNode(path, text or name, tuple(formats), loopback=bool(caps & _CAP_OUTPUT))
    except OSError as error:
        return VideoNode(path, name, problem=error.strerror)
    finally:
        os.close(device)
