"""The benchmark's plot."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import groupby, pairwise

from live.benches.chart import Bar, Column, Row, draw
from live.benches.live_result import Result, milliseconds
from live.display.paint import Colour
from live.report import Machine
from models.arrays import U8

FPS: Colour = (58, 124, 200)
UPDATES: Colour = (46, 158, 128)
LATENCIES: tuple[Colour, ...] = ((214, 120, 56), (233, 170, 122), (246, 213, 188))  # p50, p95, p99
THREADS: dict[str, Colour] = {  # as live.engine.Outcome names them
    "capture": (148, 156, 166),
    "render": (58, 124, 200),
    "synthesize": (46, 158, 128),
    "engines": (150, 205, 184),
}
TARGET_FPS, TARGET_MS = 30.0, 66.0


def plot(results: Sequence[Result], machine: Machine, note: str) -> U8:
    """Draws the results: uint8 [H, W, 3], RGB."""
    rows = []
    for group, members in groupby(results, key=lambda result: result.group):
        rows.append(Row(group))
        rows += [_row(result) for result in members]
    columns = (
        Column("frames shown a second", "the line: 30", TARGET_FPS),
        Column("ms from capture to output", "median / 95% / 99%; the line: 66", TARGET_MS),
        Column("updates a second", "synthesis results used"),
        Column("CPU", "seconds a second, by thread"),
    )
    packages = ", ".join(f"{name} {version}" for name, version in machine.packages.items())
    return draw(
        "morphcam, live",
        (note, f"{machine.cores_logical} cores of {machine.cpu}, {machine.os}, Python {machine.python}", packages),
        columns,
        rows,
        tuple(THREADS.items()),
    )


def _row(result: Result) -> Row:
    found = result.measured
    if found is None:
        return Row(result.label, problem=result.problem)
    ends = [0.0, *found.latency_ms.values()]
    latency = tuple((high - low, colour) for (low, high), colour in zip(pairwise(ends), LATENCIES, strict=True))
    return Row(
        result.label,
        (
            Bar(((found.fps, FPS),), f"{found.fps:.1f}"),
            Bar(latency, milliseconds(found)),
            Bar(((found.updates, UPDATES),), f"{found.updates:.1f}"),
            Bar(
                tuple((found.cpu.get(name, 0.0), colour) for name, colour in THREADS.items()),
                f"{sum(found.cpu.values()):.2f}",
            ),
        ),
    )
