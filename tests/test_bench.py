"""The benchmark: its clips, its table and plot, and the command itself."""

from __future__ import annotations

import json
from pathlib import Path

import cv2
import numpy as np
import pytest

from live.__main__ import main
from live.benches import clips
from live.benches.chart import ALARM
from live.benches.live_plot import THREADS, plot
from live.benches.live_result import Measurement, Result, heading, line
from live.report import describe_machine
from live.sources.clip import ClipSource
from models.arrays import U8


def measured(fps: float) -> Measurement:
    return Measurement(
        engine="openvino CPU float32",
        fps=fps,
        latency_ms={"p50": 31.4, "p95": 55.0, "p99": 80.0},
        frame_ms=25.0,
        updates=6.5,
        dropped={"capture": 3, "synthesize": 2},
        cpu=dict.fromkeys(THREADS, 0.25),
        memory_mb=701.2,
        start_up_seconds=2.5,
    )


def result(label: str, fps: float | None, problem: str = "") -> Result:
    return Result("modes", label, (), None if fps is None else measured(fps), problem)


def colours(picture: U8) -> set[tuple[int, ...]]:
    return {tuple(map(int, colour)) for colour in np.unique(picture.reshape(-1, 3), axis=0)}


@pytest.mark.parametrize(
    "arguments",
    [
        "bench",
        "bench studio --out here",
        "bench live",
        "bench live --out here --modes mosaic",
        "bench live --out here --sizes 300",
        "bench live --out here --engines abacus",
        "bench live --out here --seconds nan",
        "bench live --out here --seconds 0",
        "bench live --out here --source none.mp4",
        "bench live --out a-file",
    ],
)
def test_what_does_not_exist_is_one_line_and_exit_code_2(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str], arguments: str
) -> None:
    monkeypatch.chdir(tmp_path)
    Path("a-file").write_text("not a folder")
    assert main(arguments.split()) == 2
    told = capfd.readouterr()
    assert told.out == "" and len(told.err.splitlines()) == 1
    assert [path.name for path in tmp_path.iterdir()] == ["a-file"]


def test_a_line_of_the_table_stands_under_its_heading() -> None:
    head, row = heading("modes").splitlines()[-1], line(result("transfer 256 auto", 29.94))
    assert len(head) == len(row)
    assert " ".join(row.split()) == "transfer 256 auto 29.9 6.5 31 / 55 / 80 3+2 1.00 701 2.5"
    assert line(result("paste 256 cuda", None, "no GPU")).split(maxsplit=3)[3] == "failed: no GPU"


def test_the_plot_shows_what_was_measured_and_what_failed() -> None:
    machine = describe_machine()
    good = plot([result("a", 30.0)], machine, "a clip")
    both = plot([result("a", 30.0), result("b", None, "it broke")], machine, "a clip")
    assert both.shape[0] > good.shape[0] and both.shape[1] == good.shape[1]
    assert ALARM in colours(both) - colours(good)
    assert set(THREADS.values()) <= colours(good)
    slow = plot([result("a", 30.0), result("b", 15.0)], machine, "a clip")
    blue = (slow == THREADS["render"]).all(axis=2).sum(axis=1)  # the frame rate's bars have this colour too
    long, short = np.unique(blue[blue > 0])[-1], np.unique(blue[blue > 20])[0]
    assert long > 1.4 * short


def test_the_clip_is_made_larger_and_doubled_around_the_same_face(tmp_path: Path, astronaut: U8) -> None:
    camera = np.asarray(cv2.resize(astronaut, (640, 480)), np.uint8)
    large = clips.pad_to_1080p(camera)
    assert large.shape == (1080, 1920, 3)
    assert (large[300:780, 640:1280] == camera).all()
    double = clips.beside_its_mirror_image(camera)
    assert (double[:, :640] == camera).all() and (double[:, :639:-1] == camera).all()


def test_the_standard_clip_plays_as_it_was_made(tmp_path: Path) -> None:
    standard = clips.make_standard(tmp_path / "standard.mp4", 4)
    double = clips.alter(standard, tmp_path / "double.mp4", clips.beside_its_mirror_image)
    for path, size in ((standard, (640, 480)), (double, (1280, 480))):
        with ClipSource(path) as clip:
            frames = list(iter(clip.read, None))
            assert (clip.size, clip.fps, len(frames)) == (size, 30.0, 4)


@pytest.mark.slow
def test_every_cell_is_measured_and_a_failed_one_is_told(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    out = tmp_path / "results"
    arguments = ["--modes", "transfer", "--sizes", "256", "--engines", "auto", "directml", "--seconds", "3"]
    assert main(["bench", "live", *arguments, "--out", str(out)]) == 1  # no DirectML here
    table = capfd.readouterr().out
    told = json.loads((out / "bench.json").read_text(encoding="utf-8"))
    cells = {cell["label"]: cell for cell in told["cells"]}
    assert list(cells) == [
        "camera",
        "transfer 256 auto",
        "transfer 256 directml",
        "640x480, one face",
        "1920x1080, the same face",
        "1280x480, two faces",
    ]
    assert all(label in table for label in cells)
    failed = cells.pop("transfer 256 directml")
    assert failed["measured"] is None and "directml" in failed["problem"]
    for label, cell in cells.items():
        found = cell["measured"]
        assert found["fps"] > 1, label
        assert (found["updates"] > 0) <= (label != "camera")
        assert found["latency_ms"]["p50"] <= found["latency_ms"]["p95"] <= found["latency_ms"]["p99"]
        assert sum(found["cpu"].values()) > 0.05 and found["memory_mb"] > 100
        # Three seconds may be too short for a first morphed frame; not for all of them.
        assert found["start_up_seconds"] is None or found["start_up_seconds"] > 0.5, label
    assert any(cell["measured"]["updates"] > 0 and cell["measured"]["start_up_seconds"] for cell in cells.values())
    assert set(told["scaling"]) == {"1920x1080, the same face", "1280x480, two faces"}
    assert told["machine"]["cores_logical"] >= 1
    assert cv2.imread(str(out / "bench.png")) is not None
