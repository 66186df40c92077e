"""Draw what is going on over the picture: rate, latency, effects, messages, the keys."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache

from live.display.paint import LINE_HEIGHT, Colour, Layer, Panel, blend, text_mask
from models.arrays import U8

WHITE: Colour = (245, 246, 248)
GREY: Colour = (200, 205, 213)
ACCENT: Colour = (104, 226, 196)
AMBER: Colour = (255, 196, 92)
RED: Colour = (255, 82, 82)

SMALLEST_TEXT = 11  # pixels; below that letters run together
SMALLEST_HELP = 7  # pixels; better small than cut off
TEXT_AT_480 = 15  # pixels, in a picture 480 pixels high


@dataclass(frozen=True)
class ActiveEffect:
    """One effect that is on.

    Attributes:
        name: of the direction, or "deform".
        strength: in the effect's own unit.
        limit: the strength at which its bar is full, to either side.
    """

    name: str
    strength: float
    limit: float = 3.0


@dataclass(frozen=True)
class Hud:
    """All that is drawn over one picture.

    Attributes:
        fps, latency_ms, updates, size, held_back: see live.observer.Speed.
        dropped: frames that newer ones replaced, since the start.
        mode: name of the renderer.
        engine: name of the inference engine.
        effects: those that are on, in the order of their keys.
        settling: share done of learning the face, in [0, 1]; None = that is not asked for, or nobody is there.
        comparing: the camera's own picture is shown.
        recorded: seconds recorded so far; None = not recording.
        message: one sentence to tell now, such as that no face is seen; empty = none.
        help_visible: show the table of keys.
        bindings: (key, what it does) rows of that table.
    """

    fps: float
    latency_ms: tuple[float, float, float]
    updates: float
    size: int
    dropped: int
    mode: str
    engine: str
    held_back: bool = False
    effects: tuple[ActiveEffect, ...] = ()
    settling: float | None = None
    comparing: bool = False
    recorded: float | None = None
    message: str = ""
    help_visible: bool = False
    bindings: tuple[tuple[str, str], ...] = ()


def draw(rgb: U8, hud: Hud) -> U8:
    """Lay the display over a picture.

    Args:
        rgb: uint8 [H, W, 3], RGB; stays as it is.
        hud: what to show. Texts that do not fit are shortened or left out, the least important first.

    Returns:
        uint8 [H, W, 3], a new picture.
    """
    height, width = rgb.shape[:2]
    size = text_size(width, height)
    margin = round(size * 0.8)
    room = max(8 * size, width - 2 * margin)
    picture: U8 = rgb.copy()
    if hud.recorded is not None:
        recording = _recording(int(hud.recorded), size)
        blend(picture, recording, width - margin - recording.width, margin)
        room_for_status = room - recording.width - margin
    else:
        room_for_status = room
    if hud.help_visible:
        keys = _help(hud.bindings, size, room, height - 2 * margin)
        blend(picture, keys, (width - keys.width) // 2, (height - keys.height) // 2)
        return picture
    blend(picture, _status(_status_words(hud), size, room_for_status), margin, margin)
    bottom = height - margin
    if hud.message:
        message = _message(hud.message, size, room)
        bottom -= message.height
        blend(picture, message, (width - message.width) // 2, bottom)
        bottom -= margin // 2
    if hud.effects and not hud.comparing:
        rows = tuple((effect.name, round(effect.strength, 1), effect.limit) for effect in hud.effects)
        effects = _effects(rows, size, room)
        blend(picture, effects, margin, bottom - effects.height)
    return picture


def text_size(width: int, height: int) -> int:
    """Height of the letters in pixels; grows more slowly than the picture, as larger ones need it less."""
    return max(SMALLEST_TEXT, round(TEXT_AT_480 * float((min(height, width * 0.75) / 480) ** 0.75)))


def _status_words(hud: Hud) -> tuple[tuple[str, Colour, bool], ...]:
    """(word, colour, bold) of the status line, the most important first."""
    shown = ("camera", AMBER, True) if hud.comparing else (hud.mode, WHITE, True)
    rate = (f"{hud.fps:.0f} fps", ACCENT, False)
    usual, p95, p99 = hud.latency_ms
    words = [shown, rate, (f"{usual:.0f} ms", WHITE, False)]
    if hud.updates:
        words.append((f"{hud.updates:.0f}/s of {hud.size} px", AMBER if hud.held_back else WHITE, False))
    if hud.settling is not None:
        words.append(("settled" if hud.settling >= 1 else f"settling {hud.settling:.0%}", WHITE, False))
    words.append((f"p95 {p95:.0f}, p99 {p99:.0f}", GREY, False))
    if hud.dropped:
        words.append((f"{hud.dropped} dropped", GREY, False))
    return (*words, (hud.engine, GREY, False))


@lru_cache(maxsize=64)
def _status(words: tuple[tuple[str, Colour, bool], ...], size: int, room: int) -> Layer:
    """The line at the top: as many words as fit."""
    padding, gap = round(size * 0.7), size
    # Every digit takes the place of the widest, so that the line does not twitch with the figures.
    places = [_width(re.sub(r"\d", "0", word), size, bold) for word, _, bold in words]
    while len(places) > 1 and sum(places) + gap * (len(places) - 1) + 2 * padding > room:
        places.pop()
    width = sum(places) + gap * (len(places) - 1) + 2 * padding
    height = round(size * 2.0)
    panel = Panel(width, height, radius=height // 2)
    x = padding
    for (word, colour, bold), place in zip(words, places, strict=False):
        panel.text(word, x, _centred(height, size), size, colour, bold=bold)
        x += place + gap
    return panel.finish(blur=size)


@lru_cache(maxsize=8)
def _recording(seconds: int, size: int) -> Layer:
    """A red light and the time recorded."""
    label = f"{seconds // 60}:{seconds % 60:02}"
    padding, light = round(size * 0.7), round(size * 0.7)
    width = 3 * padding + light + _width(label, size, True)
    height = round(size * 2.0)
    panel = Panel(width, height, radius=height // 2)
    panel.plate(padding, (height - light) // 2, light, light, RED, radius=light)
    panel.text(label, 2 * padding + light, _centred(height, size), size, WHITE, bold=True)
    return panel.finish(blur=size)


@lru_cache(maxsize=32)
def _effects(rows: tuple[tuple[str, float, float], ...], size: int, room: int) -> Layer:
    """Name, a bar from its middle to the strength, and the strength, per effect that is on."""
    padding, line = round(size * 0.7), round(size * 1.7)
    number_width = _width("−8.88", size, True)
    bar_width = size * 5
    longest = room - 2 * padding - bar_width - number_width - 2 * size
    names = [_shorten(name, size, longest) for name, _, _ in rows]
    name_width = max(_width(name, size, False) for name in names)
    width = 2 * padding + name_width + bar_width + number_width + 2 * size
    panel = Panel(width, line * len(rows) + padding, radius=size)
    bar_x = padding + name_width + size
    thickness = max(3, round(size * 0.3))
    for row, (name, (_, strength, limit)) in enumerate(zip(names, rows, strict=True)):
        top = padding // 2 + row * line
        panel.text(name, padding, top + _centred(line, size), size, WHITE)
        bar_y = top + (line - thickness) // 2
        panel.plate(bar_x, bar_y, bar_width, thickness, WHITE, radius=thickness // 2, opacity=0.22)
        half = bar_width // 2
        length = round(half * min(1.0, abs(strength) / limit))
        start = bar_x + half - (length if strength < 0 else 0)
        panel.plate(start, bar_y, length, thickness, ACCENT, radius=thickness // 2)
        panel.plate(bar_x + half - 1, bar_y - 2, 2, thickness + 4, WHITE, radius=0, opacity=0.6)
        number = f"{strength:+.1f}".replace("-", "−")
        panel.text(number, width - padding, top + _centred(line, size), size, WHITE, bold=True, right=True)
    return panel.finish(blur=size)


@lru_cache(maxsize=8)
def _message(message: str, size: int, room: int) -> Layer:
    """A sentence, in as many lines as it needs, with an amber bar."""
    padding, line = round(size * 0.8), round(size * 1.5)
    lines = _wrap(message, size, room - 3 * padding)
    width = 3 * padding + max(_width(text, size, False) for text in lines)
    height = line * len(lines) + padding
    panel = Panel(width, height, radius=size, opacity=0.68)
    stripe = max(3, size // 4)
    inset = round(size * 0.6)
    panel.plate(padding, inset, stripe, height - 2 * inset, AMBER, radius=stripe // 2)
    for row, text in enumerate(lines):
        panel.text(text, 2 * padding, padding // 2 + row * line + _centred(line, size), size, WHITE)
    return panel.finish(blur=size)


@lru_cache(maxsize=4)
def _help(bindings: tuple[tuple[str, str], ...], size: int, room: int, room_y: int) -> Layer:
    """The table of keys, in as many columns and as large letters as fit."""
    for letters in range(size, SMALLEST_HELP - 1, -1):
        for columns in (1, 2, 3):
            layout = _help_layout(bindings, letters, columns)
            if layout.width <= room and layout.height <= room_y:
                return _paint_help(bindings, layout)
    return _paint_help(bindings, _help_layout(bindings, SMALLEST_HELP, 2))


@dataclass(frozen=True)
class _HelpLayout:
    """Places in the table of keys, in pixels."""

    size: int
    rows: int
    cap_width: int
    column_widths: tuple[int, ...]

    @property
    def padding(self) -> int:
        return round(self.size * 1.2)

    @property
    def line(self) -> int:
        return round(self.size * 1.9)

    @property
    def title_height(self) -> int:
        return round(self.size * 2.4)

    @property
    def width(self) -> int:
        return self.padding * (len(self.column_widths) + 1) + sum(self.column_widths)

    @property
    def height(self) -> int:
        return self.padding * 3 // 2 + self.title_height + self.line * self.rows


def _help_layout(bindings: tuple[tuple[str, str], ...], size: int, columns: int) -> _HelpLayout:
    rows = -(-len(bindings) // columns)
    cap_width = max([round(size * 1.7), *(_width(key, size - 1, True) + round(size * 0.8) for key, _ in bindings)])
    widths = tuple(
        cap_width + round(size * 0.8) + max(_width(text, size, False) for _, text in bindings[first : first + rows])
        for first in range(0, len(bindings), max(1, rows))
    )
    return _HelpLayout(size=size, rows=rows, cap_width=cap_width, column_widths=widths)


def _paint_help(bindings: tuple[tuple[str, str], ...], layout: _HelpLayout) -> Layer:
    size, line = layout.size, layout.line
    panel = Panel(layout.width, layout.height, radius=round(size * 1.1), opacity=0.76)
    panel.text("Keys", layout.padding, layout.padding, round(size * 1.2), WHITE, bold=True)
    cap_height = round(size * 1.5)
    left = layout.padding
    for column, column_width in enumerate(layout.column_widths):
        shown = bindings[column * layout.rows : (column + 1) * layout.rows]
        for row, (key, text) in enumerate(shown):
            top = layout.padding + layout.title_height + row * line
            cap_y = top + (line - cap_height) // 2
            panel.plate(left, cap_y, layout.cap_width, cap_height, WHITE, radius=size // 3, opacity=0.18)
            label_x = left + (layout.cap_width - _width(key, size - 1, True)) // 2
            panel.text(key, label_x, top + _centred(line, size - 1), size - 1, WHITE, bold=True)
            text_x = left + layout.cap_width + round(size * 0.8)
            panel.text(text, text_x, top + _centred(line, size), size, WHITE)
        left += column_width + layout.padding
    return panel.finish(blur=2 * size)


def _width(text: str, size: int, bold: bool) -> int:
    return int(text_mask(text, size, bold=bold).shape[1])


def _centred(height: int, size: int) -> int:
    """Top of a line of text so that its letters stand in the middle of ``height``."""
    return round((height - size * LINE_HEIGHT) / 2)


def _shorten(text: str, size: int, room: int) -> str:
    """The text, with its end left out where it is wider than ``room`` pixels."""
    if _width(text, size, False) <= room:
        return text
    while len(text) > 1 and _width(text + "...", size, False) > room:
        text = text[:-1]
    return text + "..."


def _wrap(text: str, size: int, room: int) -> Sequence[str]:
    """The text in lines of at most ``room`` pixels, broken between words."""
    lines: list[str] = []
    for word in text.split():
        longer = f"{lines[-1]} {word}" if lines else word
        if lines and _width(longer, size, False) <= room:
            lines[-1] = longer
        else:
            lines.append(_shorten(word, size, room))
    return lines
