"""Send frames to a virtual camera that video calls and streaming programs can pick."""

from __future__ import annotations

import sys

import pyvirtualcam

from live.frame import Frame
from live.outputs.fit import fit
from models.closing import Closing
from models.errors import UserError

HOW_TO_INSTALL: dict[str, str] = {
    "linux": "load its driver: sudo apt install v4l2loopback-dkms && "
    'sudo modprobe v4l2loopback devices=1 exclusive_caps=1 card_label="morphcam"',
    "darwin": "install OBS Studio 30 or newer, start its virtual camera once, then quit OBS",
    "win32": "install OBS Studio (its virtual camera comes with it), then quit OBS",
}


class VirtualCamera(Closing):
    """Sink to a virtual camera device, RGB, at the size it was opened with.

    Args:
        size: width, height in pixels; frames of another size are scaled to fit, with black bars.
        fps: what the device declares to its readers; frames are sent when they come, not paced.
        device: None = the first free one; on Linux a path such as "/dev/video4".
    """

    def __init__(self, *, size: tuple[int, int], fps: float, device: str | None = None) -> None:
        self._size = size
        try:
            self._camera = pyvirtualcam.Camera(*size, fps, fmt=pyvirtualcam.PixelFormat.RGB, device=device)
        except RuntimeError as error:
            # The message lists every backend that was tried, one a line: the last one names the matter.
            reason = str(error).strip().splitlines()[-1].strip()
            wanted = f"the virtual camera {device}" if device else "a virtual camera"
            remedy = HOW_TO_INSTALL.get(sys.platform, "pyvirtualcam supports Linux, macOS and Windows only")
            raise UserError(f"cannot open {wanted} ({reason}); {remedy}") from error
        self.name = f"virtual camera {self._camera.device}"

    def send(self, frame: Frame) -> None:
        """Show one frame to whoever reads the device; returns at once."""
        self._camera.send(fit(frame.rgb, self._size))

    def close(self) -> None:
        """Release the device."""
        self._camera.close()
