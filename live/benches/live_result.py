"""What one run of the benchmark came to, and its line in the table."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

LATENCY = "capture_to_sink"
FRAME_STAGES = ("track", "render", "send")  # what every camera frame goes through, on one thread
_WIDTHS = (26, 7, 11, 17, 13, 8, 8, 10)


@dataclass(frozen=True)
class Measurement:
    """The figures of a run.

    Attributes:
        engine: what really ran the generator.
        fps: frames shown a second.
        latency_ms: p50, p95 and p99 from capture to the sink's return.
        frame_ms: of work on a camera frame: medians of FRAME_STAGES, added up.
        updates: synthesis results used a second.
        dropped: frames that newer ones replaced, by the stage they waited for.
        cpu: CPU seconds a second, by thread.
        memory_mb: most memory resident.
        start_up_seconds: from the start of the process to the first morphed frame; None = there was none.
    """

    engine: str
    fps: float
    latency_ms: dict[str, float]
    frame_ms: float
    updates: float
    dropped: dict[str, int]
    cpu: dict[str, float]
    memory_mb: float
    start_up_seconds: float | None

    @staticmethod
    def of(report: dict[str, Any]) -> Measurement:
        """Picks the figures out of a report; see live.report."""
        latency = report["milliseconds"][LATENCY]
        return Measurement(
            engine=report["models"][0]["engine"],
            fps=report["fps"],
            latency_ms={name: latency[name] for name in ("p50", "p95", "p99")},
            frame_ms=sum(report["milliseconds"][stage]["p50"] for stage in FRAME_STAGES),
            updates=report["updates"],
            dropped=report["frames"]["dropped_by"],
            cpu={name: used / report["seconds"] for name, used in report["cpu_seconds"].items()},
            memory_mb=report["memory_mb"],
            start_up_seconds=report["start_up_seconds"]["first_morphed_frame"],
        )


@dataclass(frozen=True)
class Result:
    """One cell's outcome.

    Attributes:
        group, label: its place in table and plot.
        arguments: of the application.
        measured: the figures; None = the run failed.
        problem: why it failed.
    """

    group: str
    label: str
    arguments: tuple[str, ...]
    measured: Measurement | None
    problem: str = ""


def heading(group: str) -> str:
    """A blank line, the group's name and the names of the table's columns."""
    names = ("", "fps", "updates/s", "ms p50/95/99", "dropped", "CPU", "MB", "start s")
    return "\n".join(["", group, _columns(names)])


def line(result: Result) -> str:
    """One cell's line of the table."""
    found = result.measured
    if found is None:
        return f"{result.label:<{_WIDTHS[0]}}failed: {result.problem}"
    start = found.start_up_seconds
    return _columns(
        (
            result.label,
            f"{found.fps:.1f}",
            f"{found.updates:.1f}",
            milliseconds(found),
            "+".join(map(str, found.dropped.values())),
            f"{sum(found.cpu.values()):.2f}",
            f"{found.memory_mb:.0f}",
            "-" if start is None else f"{start:.1f}",
        )
    )


def milliseconds(found: Measurement) -> str:
    """The three percentiles of latency."""
    return " / ".join(f"{ms:.0f}" for ms in found.latency_ms.values())


def _columns(texts: tuple[str, ...]) -> str:
    others = (f"{text:>{width}}" for text, width in zip(texts[1:], _WIDTHS[1:], strict=True))
    return f"{texts[0]:<{_WIDTHS[0]}}" + "".join(others)
