"""``bench live``: how fast the mirror is on this machine, by mode, size and engine.

Each cell is a run of the application in a process of its own, which plays a clip at its own speed as a camera would
and writes its report; this only asks for the runs and puts the reports side by side.
"""

from __future__ import annotations

import json
import math
import subprocess
import sys
import tempfile
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from itertools import product
from pathlib import Path
from typing import Any

import cv2

from live.benches import clips
from live.benches.command_line import each_once, make_parser
from live.benches.live_plot import plot
from live.benches.live_result import Measurement, Result, heading, line
from live.render import MODES, UNEDITED
from live.report import describe_machine
from live.sources.clip import ClipSource
from live.sources.demo import FPS
from models.errors import UserError
from models.runtime import ENGINES
from models.zoo import QUALITIES, SIZES, STUDENT_SIZE

CHECKOUT = Path(__file__).parents[2]
SCALED_MODE = "transfer"
START_SECONDS = 120.0  # after which a run that has not ended is given up
FLOOR_GROUP, MODES_GROUP, SCALING_GROUP = "floor: capture, tracking and output alone", "modes", "scaling"
BASE = "640x480, one face"


@dataclass(frozen=True)
class Bench:
    """A checked command line; see --help.

    Attributes:
        source: the clip; None = the standard one.
        out: folder of the results.
    """

    source: Path | None
    modes: tuple[str, ...]
    sizes: tuple[int, ...]
    engines: tuple[str, ...]
    qualities: tuple[str, ...]
    seconds: float
    out: Path


@dataclass(frozen=True)
class Cell:
    """One run: what it is called and what is asked of the application."""

    group: str
    label: str
    clip: Path
    arguments: tuple[str, ...]


def parse(arguments: Sequence[str]) -> Bench:
    """Reads and checks a command line, and makes the folder for the results.

    Raises:
        UserError: something is wrong with one of the arguments.
    """
    what = "what to measure: the running application, or the networks (which has its own --help: bench models -h)"
    parser = make_parser(__doc__, ("live", "models"), what)
    option = parser.add_argument
    option("--source", type=Path, metavar="CLIP", help="a video file instead of the clip that is made for it")
    option("--modes", nargs="+", choices=tuple(MODES), default=tuple(MODES), help="default: all")
    option("--sizes", nargs="+", type=int, choices=SIZES, default=(256, 512), help="default: 256 512")
    option("--engines", nargs="+", choices=("auto", *ENGINES), default=("auto",), help="default: auto")
    option("--qualities", nargs="+", choices=QUALITIES, default=QUALITIES[:1], help="default: full")
    option("--seconds", type=float, default=10.0, metavar="S", help="of each run (default: 10)")
    option("--out", type=Path, required=True, metavar="DIR", help="folder for bench.json and bench.png")
    given = parser.parse_args(arguments)
    if given.what == "models":
        raise UserError("models must come first: bench models, then its options")
    if not (math.isfinite(given.seconds) and given.seconds >= 1):
        raise UserError(f"--seconds {given.seconds:g}: must be a number of 1 or more")
    if given.source is not None:
        ClipSource(given.source).close()
    try:
        given.out.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise UserError(f"--out {given.out}: {error.strerror}; give a folder that can be written to") from error
    once = each_once(given, "modes", "sizes", "engines", "qualities")
    return Bench(source=given.source, seconds=given.seconds, out=given.out, **once)


def run(bench: Bench, *, command: list[str], say: Callable[[str], None]) -> bool:
    """Measures all cells, and writes ``bench.json`` and ``bench.png``.

    Args:
        bench: what to measure.
        command: the command line, for the record.
        say: takes the lines of a table, as they come.

    Returns:
        Whether every cell could be measured.
    """
    results: list[Result] = []
    with tempfile.TemporaryDirectory() as temporary:
        folder = Path(temporary)
        say("making the clips")
        cells = _cells(bench, folder)
        group = ""
        for cell in cells:
            if cell.group != group:
                group = cell.group
                say(heading(group))
            results.append(_measure(cell, bench.seconds, folder / "report.json"))
            say(line(results[-1]))
    scaling = _scaling(results)
    for label, ratio in scaling.items():
        say(f"{label}: {ratio:.2f} times the work on a frame of 640x480")
    machine = describe_machine()
    content = {
        "command": command,
        "machine": asdict(machine),
        "cells": [asdict(result) for result in results],
        "scaling": scaling,
    }
    (bench.out / "bench.json").write_text(json.dumps(content, indent=2) + "\n", encoding="utf-8")
    clip = "the standard clip" if bench.source is None else bench.source.name
    picture = plot(results, machine, f"{clip}, played at its own speed for {bench.seconds:g} s a run")
    cv2.imwrite(str(bench.out / "bench.png"), picture[:, :, ::-1])
    say(f"written to {bench.out / 'bench.json'} and bench.png")
    return all(result.measured for result in results)


def _cells(bench: Bench, folder: Path) -> list[Cell]:
    """What to run; makes the clips in `folder`."""
    frames = round(bench.seconds * FPS)
    standard = clips.make_standard(folder / "standard.mp4", frames)
    large = clips.alter(standard, folder / "1920x1080.mp4", clips.pad_to_1080p)
    double = clips.alter(standard, folder / "two-faces.mp4", clips.beside_its_mirror_image)
    clip = standard if bench.source is None else bench.source.resolve()
    scaled = ("--mode", SCALED_MODE)
    return [
        Cell(FLOOR_GROUP, UNEDITED, clip, ("--mode", UNEDITED)),
        *(
            Cell(
                MODES_GROUP,
                f"{mode} {size} {engine}" + (" fast" if quality == "fast" else ""),
                clip,
                ("--mode", mode, "--size", str(size), "--engine", engine, "--quality", quality),
            )
            for mode, size, engine, quality in product(bench.modes, bench.sizes, bench.engines, bench.qualities)
            if quality == "full" or size == STUDENT_SIZE
        ),
        Cell(SCALING_GROUP, BASE, standard, scaled),
        Cell(SCALING_GROUP, "1920x1080, the same face", large, scaled),
        Cell(SCALING_GROUP, "1280x480, two faces", double, (*scaled, "--faces", "2")),
    ]


def _measure(cell: Cell, seconds: float, report: Path) -> Result:
    """Runs the application once."""
    report.unlink(missing_ok=True)
    asked = ("--source", str(cell.clip), "--live", "--output", "null", "--direction", "smile", *cell.arguments)
    arguments = (*asked, "--seconds", f"{seconds:g}", "--report", str(report))
    limit = seconds + START_SECONDS
    try:
        done = subprocess.run(
            [sys.executable, "-m", "live", *arguments],
            cwd=CHECKOUT,
            capture_output=True,
            text=True,
            timeout=limit,
            check=False,
        )
    except subprocess.TimeoutExpired:
        return Result(cell.group, cell.label, arguments, None, f"did not end within {limit:.0f} s")
    if done.returncode != 0:
        problem = done.stderr.strip().splitlines() or [f"ended with {done.returncode}"]
        return Result(cell.group, cell.label, arguments, None, problem[-1].removeprefix("morphcam: "))
    told: dict[str, Any] = json.loads(report.read_text(encoding="utf-8"))
    return Result(cell.group, cell.label, arguments, Measurement.of(told))


def _scaling(results: Sequence[Result]) -> dict[str, float]:
    """Label -> work on a camera frame, against that of 640x480 with one face."""
    work = {
        result.label: result.measured.frame_ms
        for result in results
        if result.group == SCALING_GROUP and result.measured
    }
    base = work.pop(BASE, None)
    return {label: ms / base for label, ms in work.items()} if base else {}
