"""Timings and the report written from them."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest

from live.report import FrameCounts, ModelInfo, Report, StartUp, describe_machine, write
from live.timing import Histogram, Timings


def _report(timings: Timings) -> Report:
    return Report(
        command=["python", "-m", "live"],
        source="clip.mp4",
        outputs=["null"],
        mode="portrait",
        size=256,
        frames=FrameCounts(received=3, shown=2, dropped=1, dropped_by={"capture": 1}),
        seconds=1.5,
        fps=1.33,
        updates=1.2,
        cpu_seconds={"render": 0.2},
        memory_mb=300.0,
        governed=[(1.0, "at most 12 updates a second: 99% busy")],
        milliseconds=timings.summaries(),
        start_up_seconds=StartUp(models_loaded=0.5, first_frame=0.6),
        models=[ModelInfo("generator", "onnxruntime", "00ff")],
        machine=describe_machine(),
        messages={"the camera was lost": 1},
    )


@pytest.mark.parametrize("scale_ms", [0.05, 20.0, 900.0])
def test_percentiles_agree_with_numpy_within_two_per_cent(scale_ms: float) -> None:
    durations = np.random.default_rng(1).gamma(4.0, scale_ms / 4, 5000)
    histogram = Histogram()
    for ms in durations:
        histogram.add(ms / 1000)
    summary = histogram.summary()
    expected = np.percentile(durations, [50, 95, 99])
    assert summary.n == 5000
    assert summary.mean == pytest.approx(durations.mean(), rel=1e-6)
    assert [summary.p50, summary.p95, summary.p99] == pytest.approx(expected, rel=0.02)


def test_zero_and_endless_durations_are_counted_too() -> None:
    histogram = Histogram()
    histogram.add(0.0)
    histogram.add(1e6)
    assert histogram.summary().n == 2


def test_stages_are_reported_in_the_order_they_ran() -> None:
    timings = Timings()
    for stage in ("track", "align", "track"):
        with timings.measure(stage):
            pass
    assert list(timings.summaries()) == ["track", "align"]
    assert timings.summaries()["track"].n == 2
    assert timings.last_ms("track") > 0
    assert timings.last_ms("never") == 0


def test_a_report_is_json_with_everything_in_it(tmp_path: Path) -> None:
    timings = Timings()
    timings.add("capture_to_sink", 0.1)
    path = tmp_path / "report.json"
    write(_report(timings), path)
    read = json.loads(path.read_text(encoding="utf-8"))
    assert read["frames"] == {
        "received": 3,
        "shown": 2,
        "dropped": 1,
        "dropped_by": {"capture": 1},
        "without_face": 0,
        "faces_lost": 0,
    }
    assert read["milliseconds"]["capture_to_sink"]["p95"] == pytest.approx(100, rel=0.01)
    assert read["start_up_seconds"]["first_morphed_frame"] is None
    assert read["models"] == [{"name": "generator", "engine": "onnxruntime", "sha256": "00ff"}]
    assert read["machine"]["cpu"] and read["machine"]["cores_logical"] >= 1
    assert "numpy" in read["machine"]["packages"]


def test_a_failed_write_leaves_the_old_report_and_nothing_else(tmp_path: Path) -> None:
    path = tmp_path / "report.json"
    path.mkdir()  # a folder cannot be replaced by a file
    with pytest.raises(OSError):
        write(_report(Timings()), path)
    assert list(tmp_path.iterdir()) == [path]
