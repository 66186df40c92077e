"""What is drawn over the picture."""

from __future__ import annotations

import time
from dataclasses import replace

import numpy as np
import pytest

from live.display.hud import ActiveEffect, Hud, draw, text_size
from live.display.keys import help_rows
from live.display.paint import Panel, blend, stroke_text, text_mask
from models.arrays import U8

DIRECTIONS = ["smile", "age", "gender", "mouth-open", "eyes-closed", "brows-up", "yaw", "pitch"]
QUIET = Hud(
    fps=28.4, latency_ms=(31.2, 56.8, 64.4), updates=6.2, size=256, dropped=0, mode="paste", engine="openvino"
)
BUSY = Hud(
    fps=28.4,
    latency_ms=(31.2, 56.8, 64.4),
    updates=3.0,
    size=128,
    held_back=True,
    dropped=37,
    mode="paste",
    engine="openvino",
    effects=(ActiveEffect("smile", 1.5), ActiveEffect("age", -0.8), ActiveEffect("deform", 0.4, 1.0)),
    recorded=73.2,
    message="No face in sight: come into the picture, or turn on a light",
)
HELP = replace(QUIET, help_visible=True, bindings=help_rows(DIRECTIONS))
SIZES = [(640, 480), (1280, 720), (256, 256), (360, 640), (161, 121), (64, 48)]


def flat(width: int, height: int, level: int) -> U8:
    return np.full((height, width, 3), level, np.uint8)


def noise(width: int, height: int) -> U8:
    return np.random.default_rng(0).integers(0, 256, (height, width, 3), dtype=np.uint8)


def changed(before: U8, after: U8) -> tuple[int, int, int, int]:
    """Left, top, right, bottom (the last two excluded) of where two pictures differ."""
    rows, columns = np.nonzero((before != after).any(axis=2))
    return int(columns.min()), int(rows.min()), int(columns.max()) + 1, int(rows.max()) + 1


def luminance(rgb: U8) -> np.ndarray[tuple[int, ...], np.dtype[np.float64]]:
    """Relative luminance in [0, 1] by WCAG 2."""
    linear = (rgb / 255.0) ** 2.2
    return np.asarray(linear @ np.array([0.2126, 0.7152, 0.0722]), np.float64)


@pytest.mark.parametrize("hud", [QUIET, BUSY, HELP], ids=["quiet", "busy", "help"])
@pytest.mark.parametrize(("width", "height"), SIZES)
def test_the_picture_given_stays_as_it_is(width: int, height: int, hud: Hud) -> None:
    given = noise(width, height)
    copy = given.copy()
    drawn = draw(given, hud)
    assert (given == copy).all()
    assert drawn.shape == given.shape and drawn.dtype == np.uint8
    assert (drawn != given).any()


@pytest.mark.parametrize("level", [0, 128, 255])
def test_text_stands_out_on_any_background(level: int) -> None:
    background = flat(640, 480, level)
    drawn = draw(background, QUIET)
    left, top, right, bottom = changed(background, drawn)
    panel = luminance(drawn[top:bottom, left:right])
    ink, plate = float(np.quantile(panel, 0.99)), float(np.median(panel))
    assert (ink + 0.05) / (plate + 0.05) >= 4.5, "contrast for normal text by WCAG 2, level AA"


def test_what_is_behind_a_panel_is_calmed() -> None:
    background = noise(640, 480)
    panel = Panel(200, 100, radius=10)
    drawn = background.copy()
    blend(drawn, panel.finish(blur=15), 100, 100)
    inside = drawn[130:170, 130:270].astype(np.float64)
    assert inside.std() < background.std() / 10
    assert (drawn[:100] == background[:100]).all() and (drawn[:, 300:] == background[:, 300:]).all()


def test_the_middle_of_the_picture_stays_free() -> None:
    background = noise(640, 480)
    drawn = draw(background, BUSY)
    assert (drawn[60:370, 250:] == background[60:370, 250:]).all()


@pytest.mark.parametrize(
    "other",
    [
        replace(BUSY, fps=9.0),
        replace(BUSY, latency_ms=(32.0, 57.0, 64.0)),
        replace(BUSY, dropped=38),
        replace(BUSY, updates=5.0),
        replace(BUSY, held_back=False),
        replace(BUSY, mode="portrait"),
        replace(BUSY, engine="onnxruntime"),
        replace(BUSY, effects=BUSY.effects[:2]),
        replace(BUSY, effects=(ActiveEffect("smile", -1.5), *BUSY.effects[1:])),
        replace(BUSY, effects=(ActiveEffect("smile", 1.5, 2.0), *BUSY.effects[1:])),
        replace(BUSY, comparing=True),
        replace(BUSY, recorded=None),
        replace(BUSY, recorded=74.0),
        replace(BUSY, message=""),
        replace(BUSY, help_visible=True),
    ],
)
def test_everything_it_is_told_is_seen(other: Hud) -> None:
    background = flat(1280, 720, 90)
    assert (draw(background, BUSY) != draw(background, other)).any()


@pytest.mark.parametrize("missing", range(len(HELP.bindings)))
def test_the_help_shows_every_key(missing: int) -> None:
    background = flat(640, 480, 90)
    key, text = HELP.bindings[missing]
    whole = draw(background, HELP)
    for row in ((key, " "), (" ", text)):
        bindings = (*HELP.bindings[:missing], row, *HELP.bindings[missing + 1 :])
        assert (draw(background, replace(HELP, bindings=bindings)) != whole).any(), row


@pytest.mark.parametrize(("width", "height"), SIZES[:4])
@pytest.mark.parametrize("hud", [BUSY, HELP], ids=["busy", "help"])
def test_nothing_is_cut_off(width: int, height: int, hud: Hud) -> None:
    background = flat(width, height, 255)
    left, top, right, bottom = changed(background, draw(background, hud))
    assert left > 0 and top > 0 and right < width and bottom < height


def test_long_names_and_messages_are_fitted() -> None:
    background = flat(320, 240, 200)
    long_name = replace(QUIET, effects=(ActiveEffect("a-direction-with-quite-a-long-name" * 3, 1.0),))
    for hud in (long_name, replace(QUIET, message="many words " * 12), replace(QUIET, message="w" * 200)):
        left, _, right, _ = changed(background, draw(background, hud))
        assert left > 0 and right < 320


def test_the_status_line_does_not_twitch_with_its_figures() -> None:
    background = flat(640, 480, 200)
    boxes = {changed(background, draw(background, replace(QUIET, fps=fps))) for fps in (11.0, 28.0, 88.0)}
    assert len(boxes) == 1


def test_text_grows_with_the_picture_but_never_gets_tiny() -> None:
    sizes = [text_size(width, height) for width, height in ((64, 48), (256, 256), (640, 480), (1920, 1080))]
    assert sizes == sorted(sizes) and sizes[0] >= 11 and sizes[-1] > sizes[2]


def test_both_fonts_write_smooth_text() -> None:
    for short, long in (
        (text_mask("age −1.5", 15), text_mask("mouth-open −1.5", 15)),
        (stroke_text("age −1.5", 15, False), stroke_text("mouth-open −1.5", 15, False)),
    ):
        assert short.max() > 200
        assert ((short > 20) & (short < 235)).mean() > 0.02, "edges are smoothed"
        assert long.shape[1] > short.shape[1]


def test_drawing_is_cheap() -> None:
    picture = noise(640, 480)
    took = []
    for frame in range(60):
        start = time.perf_counter()
        draw(picture, replace(BUSY, fps=20.0 + frame // 10))
        took.append(time.perf_counter() - start)
    # The quick ones tell what it costs; the slow ones tell what else runs on the machine.
    assert float(np.quantile(took, 0.2)) < 0.0015
