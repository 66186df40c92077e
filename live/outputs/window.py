"""Show frames in a window on the screen, and read its keys."""

from __future__ import annotations

import os
import subprocess
import sys

import cv2

from live.frame import Frame
from live.outputs.fit import fit
from models.arrays import U8
from models.closing import Closing
from models.errors import UserError

FIRST_HEIGHT = 640  # pixels a small picture is enlarged to when the window opens; fits on any laptop
PROBE_SECONDS = 20.0

NAMED_KEYS: dict[int, str] = {27: "escape", 32: "space"}
# X11 key symbols of the number pad, which GTK builds of OpenCV report as they are; the others send ASCII.
NUMBER_PAD: dict[int, str] = {0xFFAB: "+", 0xFFAD: "-", **{0xFFB0 + digit: str(digit) for digit in range(10)}}


def key_name(code: int) -> str | None:
    """The name of a key from what ``cv2.waitKeyEx`` returned; None = no key, or one without a character.

    The low 16 bits are the character on every system (X11 key symbols on Linux); above them GTK puts
    modifiers and Windows the codes of keys without a character. Caps lock and shift make no difference.
    """
    if code < 0:
        return None
    low = code & 0xFFFF
    if low in NAMED_KEYS:
        return NAMED_KEYS[low]
    if low in NUMBER_PAD:
        return NUMBER_PAD[low]
    return chr(low).lower() if 0x21 <= low <= 0x7E else None


def missing_display() -> str | None:
    """Why no window can be opened here, with what to do; None = windows work.

    On Linux, Qt ends the whole process when it cannot reach the display or misses a library, so that a child
    process tries first (about half a second).
    """
    if sys.platform != "linux":
        return None
    if not os.environ.get("DISPLAY"):
        if os.environ.get("WAYLAND_DISPLAY"):
            return "OpenCV's windows need an X display: enable XWayland so that DISPLAY is set"
        return "there is no display (DISPLAY is not set): run it in a desktop session, or choose another output"
    try:
        subprocess.run(
            [sys.executable, "-c", "import cv2; cv2.namedWindow('morphcam')"],
            env=_environment(),
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            timeout=PROBE_SECONDS,
            check=True,
        )
    except subprocess.TimeoutExpired:
        return f"the display {os.environ['DISPLAY']} does not answer: check DISPLAY, or choose another output"
    except subprocess.CalledProcessError as error:
        lines = [line.strip() for line in error.stderr.splitlines() if line.strip()]
        reason = lines[0] if lines else f"OpenCV's window test ended with code {error.returncode}"
        return f"{reason}: check DISPLAY and the X libraries, or choose another output"
    return None


def _environment() -> dict[str, str]:
    """The environment in which Qt starts: xcb is the only platform plugin that OpenCV's wheels bring."""
    return {**os.environ, "QT_QPA_PLATFORM": "xcb"}


class Window(Closing):
    """Sink to a resizable window. Open it, send to it and poll it on the main thread only.

    Args:
        size: width, height in pixels of the frames to come, for the window's first size; any may be sent.
        title: what the title bar says.
    """

    def __init__(self, *, size: tuple[int, int], title: str = "morphcam") -> None:
        problem = missing_display()
        if problem is not None:
            raise UserError(f"cannot open a window: {problem}")
        self.name = "window"
        self._title = title
        self._full_screen = False
        self._closed = False
        if sys.platform == "linux":
            os.environ.update(_environment())
        try:
            # GUI_NORMAL: without the tool bar and the context menu of the Qt builds.
            cv2.namedWindow(title, cv2.WINDOW_NORMAL | cv2.WINDOW_FREERATIO | cv2.WINDOW_GUI_NORMAL)
        except cv2.error as error:
            raise UserError(
                "cannot open a window: this OpenCV was built without one (opencv-python-headless?);"
                " install opencv-contrib-python alone, or choose another output"
            ) from error
        scale = max(1.0, FIRST_HEIGHT / size[1])
        cv2.resizeWindow(title, round(size[0] * scale), round(size[1] * scale))

    def fit(self, rgb: U8) -> U8:
        """The picture at the window's present size, between black bars.

        ``send`` does the same, but text is sharper where it is drawn after this. (OpenCV's Qt windows would
        repeat pixels to enlarge a picture, and leave light grey bars.)

        Args:
            rgb: uint8 [H, W, 3].

        Returns:
            uint8 [window height, window width, 3]; the input itself once the window is closed.
        """
        if self.closed:
            return rgb
        _, _, width, height = cv2.getWindowImageRect(self._title)
        return fit(rgb, (max(1, width), max(1, height)))

    def send(self, frame: Frame) -> None:
        """Show one frame; it appears at the next ``poll_key``. Does nothing once the window is closed."""
        if not self.closed:  # imshow would open a new window
            cv2.imshow(self._title, cv2.cvtColor(self.fit(frame.rgb), cv2.COLOR_RGB2BGR))

    def poll_key(self) -> str | None:
        """Let the window draw and react, for about a millisecond; the name of the key that was pressed."""
        return key_name(cv2.waitKeyEx(1))

    def toggle_full_screen(self) -> None:
        """Fill the screen, or go back to the window."""
        self._full_screen = not self._full_screen
        state = cv2.WINDOW_FULLSCREEN if self._full_screen else cv2.WINDOW_NORMAL
        cv2.setWindowProperty(self._title, cv2.WND_PROP_FULLSCREEN, state)

    @property
    def closed(self) -> bool:
        """Whether the window is gone: its X button was pressed, or ``close`` was called."""
        if not self._closed:
            try:
                self._closed = cv2.getWindowProperty(self._title, cv2.WND_PROP_VISIBLE) < 1
            except cv2.error:  # how the Qt builds answer once the last window is gone
                self._closed = True
        return self._closed

    def close(self) -> None:
        """Take the window away."""
        if not self.closed:
            cv2.destroyWindow(self._title)
            cv2.waitKeyEx(1)  # the window system hears of it only now
