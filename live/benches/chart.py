"""Draws a table of bars: a row for each thing measured, a column for each quantity."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from live.display.paint import Colour, rounded_mask, text_mask
from models.arrays import U8

PAPER: Colour = (255, 255, 255)
INK: Colour = (28, 32, 38)
FAINT: Colour = (122, 130, 140)
RULE: Colour = (228, 231, 235)
ALARM: Colour = (196, 48, 48)

WIDTH, MARGIN, LABELS = 1800, 48, 300  # pixels; LABELS is the first column, of the rows' names
ROW, BAR = 38, 20
VALUE = 170  # room for a bar's figures
TITLE, TEXT, SMALL = 32, 17, 15  # sizes of letters


@dataclass(frozen=True)
class Bar:
    """One figure.

    Attributes:
        parts: (length in the column's unit, colour), one after the other.
        text: written behind it.
    """

    parts: tuple[tuple[float, Colour], ...]
    text: str


@dataclass(frozen=True)
class Column:
    """A quantity.

    Attributes:
        title, note: written above.
        mark: a value that a line is drawn at; None = no line.
    """

    title: str
    note: str
    mark: float | None = None


@dataclass(frozen=True)
class Row:
    """A thing that was measured.

    Attributes:
        label: its name.
        bars: one for each column; empty = it is a heading, or failed.
        problem: why it could not be measured.
    """

    label: str
    bars: tuple[Bar, ...] = ()
    problem: str = ""


def draw(
    title: str,
    notes: Sequence[str],
    columns: Sequence[Column],
    rows: Sequence[Row],
    legend: Sequence[tuple[str, Colour]],
) -> U8:
    """Draws the chart.

    Args:
        title: of the whole.
        notes: lines below it.
        columns: from left to right.
        rows: from top to bottom.
        legend: what colours mean, below all.

    Returns:
        uint8 [H, 1800, 3], RGB.
    """
    top = MARGIN + round(TITLE * 1.5) + len(notes) * round(TEXT * 1.5) + 20
    body = top + 58
    height = body + len(rows) * ROW + 2 * MARGIN
    picture: U8 = np.full((height, WIDTH, 3), PAPER, np.uint8)
    _text(picture, title, MARGIN, MARGIN, TITLE, INK, bold=True)
    for i, note in enumerate(notes):
        _text(picture, note, MARGIN, MARGIN + round(TITLE * 1.5) + i * round(TEXT * 1.5), TEXT, FAINT)
    for i, row in enumerate(rows):
        y = body + i * ROW
        picture[y, MARGIN : WIDTH - MARGIN] = RULE
        heading = not (row.bars or row.problem)
        _text(picture, row.label, MARGIN, y + 9, TEXT, INK, bold=heading)
        _text(picture, row.problem, MARGIN + LABELS, y + 9, TEXT, ALARM)
    pitch = (WIDTH - 2 * MARGIN - LABELS) // len(columns)
    for i, column in enumerate(columns):
        x = MARGIN + LABELS + i * pitch
        _text(picture, column.title, x, top, TEXT, INK, bold=True)
        _text(picture, column.note, x, top + 25, SMALL, FAINT)
        _column(picture, column, [row.bars[i] if row.bars else None for row in rows], x, body, pitch - VALUE)
    x = MARGIN
    for name, colour in legend:
        _paint(picture, rounded_mask(14, 14, 3), x, height - MARGIN + 3, colour)
        x += 22 + _text(picture, name, x + 22, height - MARGIN, SMALL, FAINT) + 26
    return picture


def _column(picture: U8, column: Column, bars: Sequence[Bar | None], x: int, top: int, width: int) -> None:
    """One column's bars, to one scale."""
    lengths = [sum(length for length, _ in bar.parts) for bar in bars if bar is not None]
    scale = width / max([*lengths, column.mark or 0.0, 1e-9])
    for i, bar in enumerate(bars):
        if bar is None:
            continue
        y = top + i * ROW + (ROW - BAR) // 2 + 1
        at = float(x)
        for length, colour in bar.parts:
            picture[y : y + BAR, round(at) : round(at + length * scale)] = colour
            at += length * scale
        if column.mark is not None:
            mark = x + round(column.mark * scale)
            picture[y - 6 : y + BAR + 6, mark : mark + 2] = INK
            at = max(at, mark + 2) if at > mark - 16 - 10 * len(bar.text) else at
        _text(picture, bar.text, round(at) + 8, y - 1, TEXT, INK)


def _text(picture: U8, text: str, x: int, y: int, size: int, colour: Colour, *, bold: bool = False) -> int:
    """Writes a line whose top left corner is at x, y; its width."""
    if not text:
        return 0
    mask = text_mask(text, size, bold=bold)
    _paint(picture, mask, x, y, colour)
    return int(mask.shape[1])


def _paint(picture: U8, mask: U8, x: int, y: int, colour: Colour) -> None:
    """Lays a colour over the picture through a coverage mask, in place; what lies outside is left out."""
    behind = picture[y : y + mask.shape[0], x : x + mask.shape[1]]
    cover = mask[: behind.shape[0], : behind.shape[1], None] / 255
    behind[...] = np.rint(behind + (np.asarray(colour) - behind.astype(float)) * cover)
