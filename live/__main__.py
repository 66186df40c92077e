"""``python -m live``: the command line of the mirror; also ``bench``, ``doctor``, ``enrol`` and ``pull``."""

from __future__ import annotations

import os
import signal
import sys
import threading
import traceback
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from functools import partial
from types import FrameType
from typing import Any

from live.options import OneLineParser, Options, add_networks, parse
from live.report import Report
from models import registry
from models.errors import UserError

FINE, NOT_WORKING, USER_ERROR, INTERRUPTED = 0, 1, 2, 130  # exit codes


def main(arguments: Sequence[str] | None = None) -> int:
    """Runs a command line.

    Returns:
        The exit code: 0 = done, also after Ctrl-C or a closed window; 1 = the doctor found that the mirror would
        not run; 2 = something the user can put right, told in one line on stderr; 130 = Ctrl-C before there
        was anything to finish, or a second time.
    """
    given = list(sys.argv[1:] if arguments is None else arguments)
    command = COMMANDS.get(given[0]) if given else None
    try:
        return _run(given) if command is None else command(given[1:])
    except UserError as error:
        if "--debug" in given:
            traceback.print_exc()
        print(f"morphcam: {' '.join(str(error).split())}", file=sys.stderr)
        return USER_ERROR
    except KeyboardInterrupt:
        print("morphcam: interrupted", file=sys.stderr)
        return INTERRUPTED


def _run(arguments: list[str]) -> int:
    options = parse(arguments)
    if options.listing is not None:
        try:
            LISTINGS[options.listing](options)
            sys.stdout.flush()
        except BrokenPipeError:  # whoever read this has seen enough, such as `head`
            os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return FINE
    # Only here: these import the networks' engines, which --help and a mistyped option need not wait for.
    from live import report, session

    with _stopped_by_signals() as stop:
        done = session.run(options, command=["python", "-m", "live", *arguments], say=_say, stop=stop)
    if options.report is not None:
        report.write(done, options.report)
    _say(_summary(done))
    if done.failures:
        raise UserError(done.failures[0])
    return FINE


def _doctor(arguments: list[str]) -> int:
    parser = OneLineParser(prog="python -m live doctor", description="Says, line by line, what works here.")
    add_networks(parser)
    parser.add_argument("--debug", action="store_true", help="show the traceback of an error")
    given = parser.parse_args(arguments)
    from live.doctor import examine

    working = True
    for check in examine(
        Options(generator=given.generator, encoder=given.encoder, directions_folder=given.directions)
    ):
        mark = "ok  " if check.works else "FAIL" if check.needed else "-   "
        print(f"{mark} {check.name}: {check.detail}", flush=True)
        working = working and (check.works or not check.needed)
    print("the mirror would run" if working else "the mirror would not run; see the lines marked FAIL")
    return FINE if working else NOT_WORKING


def _pull(arguments: list[str]) -> int:
    parser = OneLineParser(prog="python -m live pull", description="Fetches and verifies the models.")
    parser.add_argument("names", nargs="*", metavar="NAME", help="models or groups of them; none = the default")
    parser.add_argument("--debug", action="store_true", help="show the traceback of an error")
    names = registry.choose(parser.parse_args(arguments).names)
    registry.pull(names)
    for name in names:
        print(f"{name}: {registry.path(name)}")
    return FINE


def _bench(arguments: list[str]) -> int:
    command = ["python", "-m", "live", "bench", *arguments]
    if arguments[:1] == ["models"]:
        from rich.console import Console

        from live.benches import bench_models

        measured = bench_models.run(bench_models.parse(arguments), command=command, show=Console().print)
    else:
        from live.benches import bench_live

        measured = bench_live.run(bench_live.parse(arguments), command=command, say=partial(print, flush=True))
    return FINE if measured else NOT_WORKING


def _enrol(arguments: list[str]) -> int:
    from live.enrolment import enrol

    enrol.run(enrol.parse(arguments), say=partial(print, flush=True))
    return FINE


COMMANDS: dict[str, Callable[[list[str]], int]] = {
    "bench": _bench,
    "doctor": _doctor,
    "enrol": _enrol,
    "pull": _pull,
}


def _list_directions(options: Options) -> None:
    from models.directions import Directions
    from models.pair import read_pair

    pair = read_pair(options.generator, options.encoder, options.size)
    directions = Directions.of(pair.space, options.directions_folder)
    for name in directions.names:
        direction = directions.load(name)
        low, high = direction.range
        print(f"{name:<17} {low:+g} to {high:+g}  {direction.description}".rstrip())


def _list_cameras(_options: Options) -> None:
    from live.sources.source import list_cameras

    cameras = list_cameras()
    for camera in cameras:
        print(camera)
    if not cameras:
        print("no camera found; --source demo needs none")


def _list_outputs(_options: Options) -> None:
    from live.outputs.sink import list_outputs

    for output in list_outputs():
        print(f"{output.name}: {output.description}" + (f" - {output.problem}" if output.problem else ""))


LISTINGS: dict[str, Callable[[Options], None]] = {
    "directions": _list_directions,
    "cameras": _list_cameras,
    "outputs": _list_outputs,
}


def _summary(done: Report) -> str:
    latency = done.milliseconds.get("capture_to_sink")
    timing = f", {latency.p50:.0f} ms from capture to output (95%: {latency.p95:.0f})" if latency else ""
    faceless = f", {done.frames.without_face} without a face" if done.frames.without_face else ""
    return (
        f"showed {done.frames.shown} frames at {done.fps:.1f} a second, {done.frames.dropped} dropped"
        f"{faceless}{timing}"
    )


def _say(line: str) -> None:
    print(f"morphcam: {line}", flush=True)


@contextmanager
def _stopped_by_signals() -> Iterator[threading.Event]:
    """An event that Ctrl-C and SIGTERM set; a second one of them ends the program at once."""
    stop = threading.Event()
    previous: dict[signal.Signals, Any] = {}

    def restore() -> None:
        for number, handler in previous.items():
            signal.signal(number, handler)

    def request_stop(_number: int, _frame: FrameType | None) -> None:
        stop.set()
        restore()

    for number in (signal.SIGINT, signal.SIGTERM):
        previous[number] = signal.signal(number, request_stop)
    try:
        yield stop
    finally:
        restore()


if __name__ == "__main__":
    sys.exit(main())
