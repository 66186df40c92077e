"""The window that shows how a fit comes along, on a real display and without one."""

from __future__ import annotations

import time
from pathlib import Path

import numpy as np
import pytest

from live.enrolment.preview import Preview
from live.outputs.window import Window
from models.arrays import F32
from models.errors import UserError
from models.latent import broadcast, mean_w
from models.zoo import load_generator
from tests.desktop import WAIT, needs_x, screenshot, xdotool

TITLE = "morphcam enrol"


def red() -> F32:
    """A target, float32 [1, 3, 256, 256]."""
    target = np.full((1, 3, 256, 256), -1.0, np.float32)
    target[:, 0] = 1.0
    return target


@needs_x
def test_the_target_is_to_the_left_and_what_is_made_of_it_to_the_right(display: str, tmp_path: Path) -> None:
    generator, latent = load_generator(256), broadcast(mean_w()[None])
    with Preview(red(), print) as window:
        end, settled = time.monotonic() + 3 * WAIT, 0.0
        while settled == 0.0 or time.monotonic() < settled:
            assert time.monotonic() < end, "no window came"
            window.show(generator, latent)
            if settled == 0.0 and xdotool("getactivewindow", "getwindowname") == TITLE:
                settled = time.monotonic() + 1.5  # drawn, too
        shown = screenshot(tmp_path / "screen.png")
        width = shown.shape[1]
        is_red = (shown == (255, 0, 0)).all(axis=2)
        assert is_red[:, : width // 2].mean() > 0.2
        assert is_red[:, width // 2 :].mean() < 0.2
    assert xdotool("search", "--onlyvisible", "--name", TITLE) == "", "it is closed with the fit"


@needs_x
def test_what_is_not_wanted_is_not_shown(display: str) -> None:
    with Preview(red(), print, wanted=False) as window:
        window.show(load_generator(256), broadcast(mean_w()[None]))
        assert xdotool("search", "--onlyvisible", "--name", TITLE) == ""


def test_without_a_display_there_is_none_and_no_picture_is_made(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("DISPLAY", raising=False)
    monkeypatch.delenv("WAYLAND_DISPLAY", raising=False)
    generator = load_generator(256)
    monkeypatch.setattr(generator, "synthesize", lambda _: pytest.fail("a picture was made for nobody"))
    with Preview(red(), print) as window:
        window.show(generator, broadcast(mean_w()[None]))


def test_a_display_that_cannot_be_opened_is_told_and_the_fit_goes_on(monkeypatch: pytest.MonkeyPatch) -> None:
    def broken(**_: object) -> Window:
        raise UserError("the display has gone")

    monkeypatch.setattr("live.enrolment.preview.missing_display", lambda: None)
    monkeypatch.setattr("live.enrolment.preview.Window", broken)
    said: list[str] = []
    with Preview(red(), said.append) as window:
        window.show(load_generator(256), broadcast(mean_w()[None]))
    assert said == ["no preview: the display has gone"]
