"""The command line: what it refuses, what it lists, how it ends."""

from __future__ import annotations

import json
import os
import pickle
import shlex
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import cv2
import numpy as np
import pytest

from live.__main__ import main
from live.effects import DeformSpec, DirectionSpec
from live.options import parse
from models import registry
from models.arrays import U8
from models.zoo import SIZES

ROOT = Path(__file__).parents[1]
NO_DISPLAY = {name: value for name, value in os.environ.items() if name not in ("DISPLAY", "WAYLAND_DISPLAY")}


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty current folder without a display, with one good direction, picture and clip in `given`."""
    given = tmp_path / "given"
    given.mkdir()
    rng = np.random.default_rng(0)
    np.save(given / "good.npy", rng.normal(size=(1, 512)).astype(np.float32))
    np.save(given / "wrong-shape.npy", np.ones((3, 100), np.float32))
    np.save(given / "not-finite.npy", np.full((1, 512), np.nan, np.float32))
    (given / "program.pt").write_bytes(pickle.dumps(print))
    (given / "text.mp4").write_text("this is no video\n")
    (given / "text.jpg").write_text("this is no picture\n")
    (given / "empty.jpg").touch()
    (given / "empty.mp4").touch()
    cv2.imwrite(str(given / "grey.png"), np.full((64, 64, 3), 128, np.uint8))
    writer = cv2.VideoWriter(str(given / "clip.avi"), cv2.VideoWriter.fourcc(*"MJPG"), 10, (64, 64))
    for _ in range(3):
        writer.write(np.full((64, 64, 3), 128, np.uint8))
    writer.release()
    here = tmp_path / "here"
    here.mkdir()
    monkeypatch.chdir(here)
    monkeypatch.delenv("DISPLAY", raising=False)
    monkeypatch.delenv("WAYLAND_DISPLAY", raising=False)
    return tmp_path


BAD_INPUTS = {
    "unknown option": "--smile",
    "stray argument": "face.jpg",
    "unknown direction": "--direction grin",
    "missing direction file": "--direction ../given/none.pt",
    "direction of a wrong shape": "--direction ../given/wrong-shape.npy",
    "direction that is not finite": "--direction ../given/not-finite.npy",
    "direction that is a program": "--direction ../given/program.pt",
    "direction given twice": "--direction ../given/good.npy=1 --direction ../given/good.npy=2",
    "strength NaN": "--direction ../given/good.npy=nan",
    "strength infinite": "--direction ../given/good.npy=inf",
    "strength not a number": "--direction ../given/good.npy=much",
    "deform layer out of range": "--deform 4-40",
    "deform depth not a number": "--deform 4-9=deep",
    "deform rate NaN": "--deform =1@nan",
    "deform twice for one face": "--deform fine --deform coarse",
    "edit of a face that is not followed": "--direction 2:../given/good.npy",
    "deform of a face that is not followed": "--faces 2 --deform 3:fine",
    "edit of face 0": "--direction 0:../given/good.npy",
    "no faces": "--faces 0",
    "a crowd of faces": "--faces 99",
    "unknown mode": "--mode mosaic",
    "size not offered": "--size 300",
    "unknown quality": "--quality best",
    "a fast picture of another size": "--quality fast --size 512",
    "a fast picture of a foreign generator": "--quality fast --generator ../given",
    "unknown engine": "--engine abacus",
    "engine that is not here": "--engine directml",
    "unknown policy": "--on-lost shrug",
    "negative seconds": "--seconds -1",
    "seconds NaN": "--seconds nan",
    "no frames": "--frames 0",
    "half a frame": "--frames 1.5",
    "missing source": "--source none.mp4",
    "source is a folder": "--source ../given",
    "source is text called .mp4": "--source ../given/text.mp4",
    "source is an empty video": "--source ../given/empty.mp4",
    "source is text called .jpg": "--source ../given/text.jpg",
    "source is an empty picture": "--source ../given/empty.jpg",
    "source of an unknown scheme": "--source gopher://example.org/face",
    "camera that is not there": "--source 97",
    "camera device that is not there": "--source /dev/video97",
    "output of an unknown kind": "--output face.txt",
    "output is a folder": "--output ../given",
    "output in a missing folder": "--output none/face.mp4",
    "output where nothing can be written": "--output /proc/face.mp4",
    "output is the source": "--source ../given/clip.avi --output ../given/clip.avi",
    "two windows": "--output window --output window",
    "window without a display": "--source ../given/grey.png --output window",
    "auto and another output": "--output auto --output null",
    "report in a missing folder": "--report none/report.json",
    "report is a folder": "--report ../given",
    "report is the source": "--source ../given/clip.avi --report ../given/clip.avi",
    "report is an output": "--output face.mp4 --report face.mp4",
    "unknown list": "--list friends",
    "unknown model to pull": "pull none",
    "doctor with an option": "doctor --smile",
}

# FFmpeg keeps the log level it was first used with, here by another test perhaps.
FRESH_PROCESS = ("--source ../given/text.mp4", "--source ../given/empty.mp4")


def tree(folder: Path) -> dict[str, bytes]:
    return {str(path): path.read_bytes() for path in sorted(folder.rglob("*")) if path.is_file()}


@pytest.mark.parametrize("arguments", BAD_INPUTS.values(), ids=BAD_INPUTS.keys())
def test_bad_input_is_one_line_exit_code_2_and_nothing_written(
    folder: Path, capfd: pytest.CaptureFixture[str], arguments: str
) -> None:
    given = arguments.split()
    if given[0] not in ("pull", "doctor") and "--output" not in given:
        given += ["--output", "out.mp4"]
    if given[0] not in ("pull", "doctor") and "--source" not in given:
        given += ["--source", "../given/grey.png"]
    before = tree(folder)
    if arguments in FRESH_PROCESS:
        process = start(*given, cwd=Path.cwd())
        code, text = process.wait(60), process.communicate()[1]
    else:
        code, text = main(given), capfd.readouterr().err
    lines = text.splitlines()
    assert len(lines) == 1, lines
    assert code == 2
    assert lines[0].startswith("morphcam: ") and len(lines[0]) > 30
    assert tree(folder) == before


def test_a_damaged_model_is_named_before_anything_is_written(
    folder: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    good = registry.cache_folder()
    monkeypatch.setenv("MORPHCAM_CACHE", str(folder / "cache"))
    shutil.copytree(good, registry.cache_folder(), ignore=shutil.ignore_patterns("compiled"))
    weights = registry.path("synthesis-bin")
    content = bytearray(weights.read_bytes())
    content[12345] ^= 1
    weights.write_bytes(content)
    before = tree(folder / "here")
    assert main(["--source", "../given/grey.png", "--output", "out.mp4"]) == 2
    lines = capfd.readouterr().err.splitlines()
    assert len(lines) == 1 and "synthesis-bin is damaged" in lines[0]
    assert tree(folder / "here") == before


def test_a_file_that_exists_survives_a_mistake_elsewhere(folder: Path) -> None:
    Path("out.mp4").write_bytes(b"an older film")
    assert main(["--source", "none.jpg", "--output", "out.mp4"]) == 2
    assert Path("out.mp4").read_bytes() == b"an older film"


def test_debug_shows_the_traceback(folder: Path, capfd: pytest.CaptureFixture[str]) -> None:
    assert main(["--direction", "grin", "--debug"]) == 2
    assert "Traceback" in capfd.readouterr().err


def test_good_arguments_are_understood(folder: Path) -> None:
    options = parse(
        shlex.split(
            "--source 0 --output window --output a.mp4 --output virtual-camera:/dev/video4 --direction smile "
            "--direction 2:age=-1.5 --deform 4-9=0.5@2 --deform 1:fine --faces 2 --mode paste --size 512 "
            "--seconds 1.5 --frames 3 --report r.json --on-lost hold"
        )
    )
    assert options.outputs == ("window", "a.mp4", "virtual-camera:/dev/video4")
    assert options.directions == (DirectionSpec("smile", 1.0), DirectionSpec("age", -1.5, place=1))
    assert options.deforms == (DeformSpec(range(4, 10), 0.5, 2.0), DeformSpec(range(8, 18), place=0))
    assert (options.faces, parse([]).faces) == (2, 1)
    assert (options.mode, options.size, options.seconds, options.frames) == ("paste", 512, 1.5, 3)
    assert (options.report, options.on_lost) == (Path("r.json"), "hold")
    assert (parse([]).quality, parse(["--quality", "fast", "--size", "256"]).quality) == ("full", "fast")
    assert parse([]).outputs == ("auto",)
    assert list(folder.glob("here/*")) == []


def test_help_names_every_option_and_shows_examples(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as ended:
        main(["--help"])
    assert ended.value.code == 0
    text = capsys.readouterr().out
    options = shlex.split(
        "source output direction deform faces mode size quality engine seconds frames report list debug on-lost"
    )
    assert all(f"--{option}" in text for option in options)
    assert "./run.sh --direction smile" in text and "doctor" in text and "pull" in text


@pytest.mark.parametrize("listing", ["directions", "cameras", "outputs"])
def test_lists_end_well(folder: Path, capsys: pytest.CaptureFixture[str], listing: str) -> None:
    assert main(["--list", listing]) == 0
    text = capsys.readouterr().out
    assert {"directions": "smile", "cameras": "camera", "outputs": "virtual-camera"}[listing] in text or (
        listing == "cameras" and "/dev/video" in text
    )


def test_the_doctor_looks_at_everything_and_tries_one_frame(folder: Path, capfd: pytest.CaptureFixture[str]) -> None:
    assert main(["doctor"]) == 0
    told = capfd.readouterr()
    lines = told.out.splitlines()
    assert told.err == ""
    names = ("Python", "model synthesis-bin", "engine", "encoder", "camera", "window", "virtual-camera", "video file")
    for name in names:
        assert any(line[5:].startswith(name) for line in lines), name
    assert any(line.startswith("ok   one frame through all stages: ") and " ms (" in line for line in lines)
    assert not any(line.startswith("FAIL") for line in lines)
    assert tree(folder / "here") == {}


def test_the_doctor_fails_without_models(
    folder: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("MORPHCAM_CACHE", str(folder / "empty cache"))
    assert main(["doctor"]) == 1
    lines = capfd.readouterr().out.splitlines()
    assert any(line.startswith("FAIL model synthesis-bin: ") and "run.sh pull" in line for line in lines)
    assert any(line.startswith("ok   video file") for line in lines)  # the rest is looked at all the same


def play(path: Path) -> list[U8]:
    capture = cv2.VideoCapture(str(path))
    frames: list[U8] = []
    while True:
        given, bgr = capture.read()
        if not given:
            return frames
        frames.append(np.asarray(bgr, np.uint8))


def test_without_camera_and_display_a_film_is_made_and_reported(
    folder: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    assert main(shlex.split("--source demo --direction smile --frames 8 --report report.json")) == 0
    films = list(Path().glob("morphcam-*.mp4"))
    assert len(films) == 1 and len(play(films[0])) == 8
    told = capfd.readouterr()
    assert str(films[0].absolute()) in told.out  # it says where
    assert told.err == ""
    report = json.loads(Path("report.json").read_text(encoding="utf-8"))
    assert report["frames"]["received"] == report["frames"]["shown"] == 8
    assert report["frames"]["dropped"] == 0
    stages = ["track", "align", "encode", "edit", "synthesize", "render", "send", "capture_to_sink"]
    assert list(report["milliseconds"]) == stages
    assert report["milliseconds"]["capture_to_sink"]["p95"] > report["milliseconds"]["synthesize"]["p50"]
    assert {model["name"]: len(model["sha256"]) for model in report["models"]}["generator"] == 64
    assert report["start_up_seconds"]["first_morphed_frame"] is not None
    assert report["size"] in SIZES


@pytest.mark.parametrize("unbuffered", ["", "1"])
def test_a_reader_that_has_seen_enough_is_no_error(
    tmp_path: Path, unbuffered: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(NO_DISPLAY, "PYTHONUNBUFFERED", unbuffered)
    with start("--list", "directions", cwd=tmp_path) as program:
        assert program.stdout is not None
        program.stdout.close()
        assert program.stderr is not None
        assert program.stderr.read() == ""
    assert program.returncode == 0


def start(*arguments: str, cwd: Path) -> subprocess.Popen[str]:
    return subprocess.Popen(
        [sys.executable, "-m", "live", *arguments],
        cwd=cwd,
        env={**NO_DISPLAY, "PYTHONPATH": os.pathsep.join([str(ROOT), os.environ.get("PYTHONPATH", "")])},
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


def wait_for(condition: Callable[[], bool], seconds: float = 60.0) -> None:
    end = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < end, "it did not happen in time"
        time.sleep(0.05)


@pytest.mark.skipif(sys.platform == "win32", reason="Windows cannot send these signals to a child")
@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_interrupted_it_ends_well_and_the_film_plays(folder: Path, number: signal.Signals) -> None:
    partial = folder / "here" / "out.partial.mp4"
    process = start("--source", "demo", "--seconds", "600", "--output", "out.mp4", cwd=folder / "here")
    wait_for(lambda: partial.exists() and partial.stat().st_size > 0)
    process.send_signal(number)
    out, err = process.communicate(timeout=20)
    assert (process.returncode, err) == (0, "")
    shown = int(out.partition("showed ")[2].split()[0])
    assert shown >= 1
    assert len(play(folder / "here" / "out.mp4")) == shown
    assert not partial.exists()
