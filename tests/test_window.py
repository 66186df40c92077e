"""The window on a real display with real key presses: Xvfb, a window manager, xdotool."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import pytest

from live.display.keys import Keyboard
from live.frame import Frame
from live.outputs.sink import open_sink
from live.outputs.window import Window, key_name
from models.arrays import U8
from models.errors import UserError
from tests.desktop import SCREEN_SIZE, WAIT, needs_x, screenshot, xdotool
from tests.pictures import SCREEN, assert_close

SIZE = (640, 480)


@pytest.fixture
def window(display: str) -> Iterator[Window]:
    sink = open_sink("window", SIZE, 30.0)
    assert isinstance(sink, Window)
    with sink:
        show(sink, lambda: xdotool("getactivewindow", "getwindowname") == "morphcam")
        settled = time.monotonic() + 0.3  # drawn, too
        show(sink, lambda: time.monotonic() > settled)
        yield sink


def picture() -> U8:
    y, x = np.mgrid[0 : SIZE[1], 0 : SIZE[0]]
    rgb = np.stack([x * 255 // SIZE[0], y * 255 // SIZE[1], np.full_like(x, 60)], axis=2).astype(np.uint8)
    rgb[100:200, 100:200] = (255, 0, 0)
    return rgb


def show(sink: Window, until: Callable[[], bool], rgb: U8 | None = None) -> list[str]:
    """Send frames and poll keys until a thing has come true; the keys that were pressed meanwhile."""
    keys: list[str] = []
    end = time.monotonic() + WAIT
    while not until():
        assert time.monotonic() < end, f"nothing happened in {WAIT} s; keys so far: {keys}"
        for _ in range(5):
            sink.send(Frame(picture() if rgb is None else rgb, 0, time.perf_counter()))
            if key := sink.poll_key():
                keys.append(key)
    return keys


def window_state() -> str:
    """The state of the focused window as the window manager tells it."""
    focused = xdotool("getactivewindow")
    if not focused:
        return ""
    shown = subprocess.run(["xprop", "-id", focused, "_NET_WM_STATE"], capture_output=True, text=True, check=False)
    return shown.stdout


@pytest.mark.parametrize(
    ("code", "name"),
    [
        (-1, None),
        (ord("a"), "a"),
        (ord("S"), "s"),
        (ord("+"), "+"),
        (ord("="), "="),
        (27, "escape"),
        (32, "space"),
        (0xFF51, None),  # left arrow on X11
        (0x250000, None),  # left arrow on Windows
        (0xFFAB, "+"),  # number pad, GTK
        (0xFFB7, "7"),
        (0x100000 | ord("q"), "q"),  # number lock on, GTK
    ],
)
def test_key_codes_of_all_systems_get_one_name(code: int, name: str | None) -> None:
    assert key_name(code) == name


@pytest.mark.skipif(sys.platform != "linux", reason="only X11 can be missing")
@pytest.mark.parametrize(
    ("variables", "reason"),
    [
        ({}, "there is no display"),
        ({"WAYLAND_DISPLAY": "wayland-0"}, "enable XWayland"),
        ({"DISPLAY": ":12345"}, "could not connect to display :12345"),
    ],
)
def test_without_a_display_there_is_one_clear_line(
    monkeypatch: pytest.MonkeyPatch, variables: dict[str, str], reason: str
) -> None:
    for name in ("DISPLAY", "WAYLAND_DISPLAY"):
        monkeypatch.delenv(name, raising=False)
    for name, value in variables.items():
        monkeypatch.setenv(name, value)
    with pytest.raises(UserError, match="cannot open a window") as caught:
        open_sink("window", SIZE, 30.0)
    assert reason in str(caught.value) and "\n" not in str(caught.value)


@needs_x
def test_pressed_keys_arrive_under_their_names(window: Window) -> None:
    expected = {
        "1": "1",
        "plus": "+",
        "equal": "=",
        "minus": "-",
        "KP_Add": "+",
        "KP_Subtract": "-",
        "KP_3": "3",
        "space": "space",
        "S": "s",
        "Escape": "escape",
    }
    for pressed, name in expected.items():
        xdotool("key", pressed)
        keys: list[str] = []
        end = time.monotonic() + WAIT
        while not keys and time.monotonic() < end:
            keys += filter(None, [window.poll_key()])
        assert keys == [name], pressed


@needs_x
def test_a_held_space_compares_until_it_is_let_go(window: Window) -> None:
    keyboard = Keyboard()

    def run(seconds: float) -> bool:
        end = time.monotonic() + seconds
        while time.monotonic() < end:
            if key := window.poll_key():
                keyboard.press(key, time.monotonic())
        return keyboard.comparing(time.monotonic())

    xdotool("keydown", "space")
    during = run(1.5)  # the display repeats a key after 0.66 s
    xdotool("keyup", "space")
    assert during
    assert not run(0.5)


@needs_x
def test_the_window_shows_the_picture(window: Window, tmp_path: Path) -> None:
    shown = screenshot(tmp_path / "screen.png")
    assert shown.shape[0] >= 640, "a small camera picture is enlarged"
    assert_close(shown, window.fit(picture()), psnr=SCREEN)


@needs_x
def test_full_screen_fills_the_screen_with_black_bars_and_goes_back(window: Window, tmp_path: Path) -> None:
    window.toggle_full_screen()
    show(window, lambda: "FULLSCREEN" in window_state())
    show(window, lambda: window.fit(picture()).shape == (SCREEN_SIZE[1], SCREEN_SIZE[0], 3))
    end = time.monotonic() + 0.3  # until it is drawn, too
    show(window, lambda: time.monotonic() > end)
    shown = screenshot(tmp_path / "screen.png")
    assert_close(shown, window.fit(picture()), psnr=SCREEN)
    assert not shown[:, :100].any() and not shown[:, -100:].any() and shown[:, 640].any()
    window.toggle_full_screen()
    show(window, lambda: "FULLSCREEN" not in window_state())


@needs_x
def test_closing_by_the_window_manager_is_noticed(window: Window) -> None:
    xdotool("key", "alt+F4")
    show(window, lambda: window.closed)
    window.send(Frame(picture(), 0, 0.0))
    assert window.poll_key() is None
    assert xdotool("search", "--onlyvisible", "--name", "^morphcam$") == "", "sending does not open it again"
    window.close()


@needs_x
def test_opening_and_drawing_prints_nothing(display: str) -> None:
    code = (
        "import numpy as np; from live.frame import Frame; from live.outputs.window import Window\n"
        "with Window(size=(64, 64)) as window:\n"
        "    window.send(Frame(np.zeros((64, 64, 3), np.uint8), 0, 0.0)); window.poll_key()"
    )
    done = subprocess.run(
        [sys.executable, "-c", code],
        cwd=Path(__file__).parents[1],
        env={**os.environ, "QT_QPA_PLATFORM": "wayland", "XDG_SESSION_TYPE": "wayland"},
        capture_output=True,
        text=True,
        timeout=60,
        check=True,
    )
    assert done.stdout + done.stderr == ""


@needs_x
def test_a_window_opens_after_what_writes_videos_was_imported(display: str) -> None:
    code = (
        "import live.outputs.video\n"  # PyAV
        "from live.outputs.window import Window\n"
        "with Window(size=(64, 64)) as window:\n"
        "    window.poll_key()"
    )
    subprocess.run([sys.executable, "-c", code], cwd=Path(__file__).parents[1], timeout=60, check=True)
