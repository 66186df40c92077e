"""What the benchmark of the networks came to, and the table of it."""

from __future__ import annotations

import statistics
from collections.abc import Sequence
from dataclasses import dataclass

from rich import box
from rich.console import RenderableType
from rich.table import Table

from models import arithmetic

# Widths that make 80 columns together.
_FIRST = 32  # "onnxruntime-tensorrt GPU float16"
_COLUMNS = {"median\nms": 8, "95%\nms": 8, "CPU\nms": 7, "times\nfloor": 7, "times\npublished": 10}


@dataclass(frozen=True)
class Cell:
    """One network in one engine.

    Attributes:
        model: the network.
        engine: as asked for, a name in models.runtime.ENGINES.
        asked: the precision asked for.
        name: engine, device and precision that ran it.
        batch: how many at once.
        multiplications: of one run, in convolutions and matrix products; 0 = not known.
        median_ms: on the clock.
        p95_ms: likewise, what 95% stay below.
        processor_ms: median of the time of all processor threads together.
        times_floor: median of the time in units of what the multiplications take at the speed of a large float32
            matrix product on the CPU, in the same turn; None = their number is not known.
        times_published: median of the time in units of the published graph's, in the same turn; None = there is none.
    """

    model: str
    engine: str
    asked: str
    name: str
    batch: int
    multiplications: int
    median_ms: float
    p95_ms: float
    processor_ms: float
    times_floor: float | None
    times_published: float | None


@dataclass(frozen=True)
class Absent:
    """One network that one engine does not run here, and why."""

    model: str
    engine: str
    asked: str
    reason: str


@dataclass(frozen=True)
class Result:
    """One network in all engines.

    Attributes:
        model: the network.
        multiplications: of one run; 0 = not known.
        peak_gflops: median speed of the matrix product meanwhile.
        published_ms: median time of the published graph; None = there is none.
        cells: what was measured.
        absent: what could not be.
    """

    model: str
    multiplications: int
    peak_gflops: float
    published_ms: float | None
    cells: list[Cell]
    absent: list[Absent]


def table_of(result: Result) -> RenderableType:
    """The table of one network."""
    table = Table(
        box=box.SIMPLE_HEAD,
        pad_edge=False,
        padding=0,
        title=f"{result.model}, {result.multiplications / 1e9:.3g} G multiplications"
        if result.multiplications
        else result.model,
        title_justify="left",
        title_style="bold",
    )
    table.add_column("", width=_FIRST)
    for name, width in _COLUMNS.items():
        table.add_column(name, justify="right", width=width)
    for cell in result.cells:
        table.add_row(
            cell.name,
            _ms(cell.median_ms),
            _ms(cell.p95_ms),
            _ms(cell.processor_ms),
            _ratio(cell.times_floor),
            _ratio(cell.times_published),
        )
    if result.published_ms is not None:
        table.add_row("the published package's graph", _ms(result.published_ms), "", "", "", "1")
    return table


def legend(results: Sequence[Result], library: str, *, turns: int, warm_up: int) -> str:
    """What the columns mean, and why engines are not there."""
    peak = statistics.median(result.peak_gflops for result in results)
    size = f"{arithmetic.SIDE} x {arithmetic.SIDE}"
    lines = [
        f"median, 95%: of {turns} turns on the clock, in each of which everything runs once;",
        f"    {warm_up} turns before them, a warm-up, do not count",
        "CPU: of all processor threads together, median",
        "times floor: times what its multiplications take at the speed of a float32",
        f"    matrix product ({size}, {library} on the CPU, median {peak:.0f} GFLOP/s)",
        "times published: times what the published package's own graph takes, in",
        "    OpenVINO without settings; both ratios turn by turn",
        *(f"not here: {line}" for line in absences(results)),
    ]
    return "\n".join(lines)


def absences(results: Sequence[Result]) -> list[str]:
    """Why engines are not in the table, one line for each reason."""
    measured = {cell.engine for result in results for cell in result.cells}
    reasons: dict[tuple[str, str], list[Absent]] = {}
    for absence in (absence for result in results for absence in result.absent):
        reasons.setdefault((absence.engine, absence.reason), []).append(absence)
    lines = []
    for (engine, reason), cases in reasons.items():
        which = engine
        if engine in measured or len([other for other, _ in reasons if other == engine]) > 1:
            of = ", ".join(dict.fromkeys(case.model for case in cases))
            which = f"{engine} {'/'.join(dict.fromkeys(case.asked for case in cases))} ({of})"
        lines.append(f"{which}: {reason}")
    return lines


def _ms(ms: float) -> str:
    return f"{ms:.1f}" if ms >= 1 else f"{ms:.2f}"


def _ratio(ratio: float | None) -> str:
    if ratio is None:
        return ""
    return f"{ratio:.2f}" if ratio < 10 else f"{ratio:.0f}"
