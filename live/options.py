"""The command line: what may be asked for, read and checked before anything is opened or written."""

from __future__ import annotations

import argparse
import math
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import NoReturn

from live.effects import DeformSpec, DirectionSpec, parse_deform, parse_direction
from live.effects.place import split_place
from live.outputs.video import FORMATS
from live.render import MODES, UNEDITED
from live.render.cover import POLICIES
from models.errors import UserError
from models.runtime import ENGINES
from models.zoo import QUALITIES, SIZES, STUDENT_SIZE, Quality

DEVICE_OUTPUTS = ("auto", "window", "virtual-camera", "null")
MOST_FACES = 4
LISTS = ("directions", "cameras", "outputs")

EPILOG = """\
examples:
  ./run.sh --direction smile                          the first camera, in a window, smiling
  ./run.sh --direction smile=2 --direction age=-1     twice the smile, a little younger
  ./run.sh --direction path/to/published.pt=3         a StyleGAN2-FFHQ direction from elsewhere
  ./run.sh --deform                                   a slow wave through the face
  ./run.sh --deform 4-9=0.8@0.5                       layers 4 to 9, 0.8 deep, a wave every 2 seconds
  ./run.sh --faces 2 --direction 1:smile --direction 2:age=2
                                                      two faces, each with an edit of its own
  ./run.sh --source clip.mp4 --output smiling.mp4 --mode paste --direction smile
  ./run.sh --output window --output virtual-camera    a mirror that video calls can use as a camera
  ./run.sh --source demo --output null --seconds 20 --report speed.json
  ./run.sh --generator DIR --encoder DIR --directions DIR
                                                      your own networks, from python -m export
  ./run.sh enrol --name me --seconds 6                learns your face; then: ./run.sh --identity me
  ./run.sh doctor                                     says, line by line, what works here
  ./run.sh pull                                       fetches and verifies the models, nothing else

In the window, h shows the keys; q or Esc ends. Ctrl-C ends a run without a window: outputs are finished
properly and the exit code is 0. A bad argument or a missing file or device: one line, exit code 2.
"""


@dataclass(frozen=True)
class Options:
    """A checked command line.

    Attributes:
        source: camera number or device path, file, URL, "demo" or "auto".
        outputs: "auto", "window", "virtual-camera[:DEVICE]", "null" or a video file's path; at least one.
        directions: in the order given.
        deforms: the deform loops that are on from the start.
        mode: a name in live.render.MODES, or UNEDITED.
        size: pixels of the generator's square picture; None = 256, or what an exported generator makes.
        quality: a name in models.zoo.QUALITIES, of the default generator at 256 px.
        generator, encoder: exported networks, see models.pair; None = the default ones.
        directions_folder: of direction files that come before the shipped ones; None = there is none.
        engine: a name in models.runtime.ENGINES, or "auto".
        identities: who is at which place, see live.people.
        settle: whether the inversion of whoever stays is improved meanwhile, see live.settle.
        faces: how many are followed at most.
        on_lost: a name in live.render.cover.POLICIES.
        fps: frames a second that the governor holds.
        live: whether a video plays at its own speed, as a camera would.
        seconds: stop after so much time; None = no limit.
        frames: stop after so many frames shown; None = no limit.
        report: where the JSON report goes; None = none.
        listing: what to list instead of running; None = run.
        debug: show tracebacks.
    """

    source: str = "auto"
    outputs: tuple[str, ...] = ("auto",)
    directions: tuple[DirectionSpec, ...] = ()
    deforms: tuple[DeformSpec, ...] = ()
    mode: str = "transfer"
    size: int | None = None
    quality: Quality = "full"
    generator: Path | None = None
    encoder: Path | None = None
    directions_folder: Path | None = None
    engine: str = "auto"
    identities: tuple[tuple[int, str], ...] = ()
    settle: bool = False
    faces: int = 1
    on_lost: str = "blur"
    fps: float = 30.0
    live: bool = False
    seconds: float | None = None
    frames: int | None = None
    report: Path | None = None
    listing: str | None = None
    debug: bool = False


class OneLineParser(argparse.ArgumentParser):
    """An argument parser whose complaints are one line, without the usage before it."""

    def error(self, message: str) -> NoReturn:
        """Turns argparse's complaint into the one kind of error."""
        raise UserError(f"{message}; see --help")


def parse(arguments: Sequence[str]) -> Options:
    """Reads `arguments` and checks what can be checked without opening anything.

    Raises:
        UserError: something is wrong with one of them.
    """
    given = _parser().parse_args(arguments)
    options = Options(
        source=given.source,
        outputs=tuple(given.output or ["auto"]),
        directions=tuple(map(parse_direction, given.direction or [])),
        deforms=tuple(map(parse_deform, given.deform or [])),
        mode=given.mode,
        size=given.size,
        quality=_quality(given),
        generator=given.generator,
        encoder=given.encoder,
        directions_folder=given.directions,
        engine=given.engine,
        identities=tuple(map(_identity, given.identity or [])),
        settle=given.settle,
        faces=given.faces,
        on_lost=given.on_lost,
        fps=_fps(given.fps),
        live=given.live,
        seconds=None if given.seconds is None else _seconds(given.seconds),
        frames=None if given.frames is None else _frames(given.frames),
        report=given.report,
        listing=given.list,
        debug=given.debug,
    )
    _check_effects(options)
    if options.listing is None:
        _check_outputs(options)
        if options.report is not None:
            _check_writable(options.report, "--report")
    return options


def is_file_output(output: str) -> bool:
    """True if `output` names a file, not a device."""
    return output.partition(":")[0] not in DEVICE_OUTPUTS


def _parser() -> argparse.ArgumentParser:
    parser = OneLineParser(
        prog="python -m live",
        description="Morphs the face before the camera, live, in the latent space of a StyleGAN.",
        epilog=EPILOG,
        formatter_class=argparse.RawDescriptionHelpFormatter,
        allow_abbrev=False,
    )
    option = parser.add_argument
    option(
        "--source",
        default="auto",
        metavar="SOURCE",
        help="camera number or /dev/videoN, video or image file, URL, demo (a moving face that belongs to "
        "nobody), or auto: the first camera, else demo (default)",
    )
    option(
        "--output",
        action="append",
        metavar="OUTPUT",
        help="window, virtual-camera, FILE.mp4 / .mkv / .avi, null, or auto: a window if there is a display, "
        "else 10 s into an MP4 (default); may be given several times",
    )
    option(
        "--direction",
        action="append",
        metavar="[FACE:]NAME[=X]",
        help="an edit and its strength, 1 if not given, sensible from -3 to 3; NAME is one of --list "
        "directions or a .npz, .npy or .pt file; with FACE, for that one of --faces only; repeatable",
    )
    option(
        "--deform",
        action="append",
        nargs="?",
        const="",
        metavar="[FACE:][LAYERS][=DEPTH@HZ]",
        help="a deform loop: W+ layers such as 4-9 of 0-17, swung DEPTH far, HZ times a second; once for each face",
    )
    option(
        "--faces",
        type=int,
        choices=range(1, MOST_FACES + 1),
        default=Options.faces,
        help="how many faces to follow and edit, numbered from 1, left to right as first seen (default: %(default)s)",
    )
    option(
        "--identity",
        action="append",
        metavar="[FACE:]NAME",
        help="whose face it is, as learned by enrol: the generated face is that person's; with FACE, for that one "
        "of --faces, else the first; once for each face",
    )
    option(
        "--settle",
        action="store_true",
        help="learn the face of whoever stays before the camera from idle time, so that the generated face comes "
        "nearer to theirs; nothing of it is kept",
    )
    option(
        "--mode",
        choices=(*MODES, UNEDITED),
        default=Options.mode,
        metavar="{" + ",".join(MODES) + "}",
        help="transfer: your own picture with the change put onto it (default); paste: the generated face placed "
        "back into the frame; portrait: the generated picture itself",
    )
    option(
        "--size",
        type=int,
        metavar="{" + ",".join(map(str, SIZES)) + "}",
        help="pixels of the generated face (default: 256); --generator has one size, its own",
    )
    option(
        "--quality",
        choices=QUALITIES,
        help=f"of the default generator at {STUDENT_SIZE} px: full (default), or fast: in half to two thirds of "
        "the time, but hair, skin and backdrop plainer",
    )
    add_networks(parser)
    option(
        "--engine",
        choices=("auto", *ENGINES),
        default="auto",
        help="what runs the networks; auto: the fastest that works (default)",
    )
    option(
        "--on-lost",
        choices=tuple(POLICIES),
        default="blur",
        help="what to show while no face is found: fade to a blur (default), hold the last picture, a slate, "
        "or pass the bare camera picture",
    )
    option(
        "--fps",
        type=float,
        default=Options.fps,
        metavar="N",
        help="camera frames a second to hold, by synthesizing less often when the machine is slow (default: 30)",
    )
    option("--live", action="store_true", help="play a video at its own speed and drop what comes too late")
    option("--seconds", type=float, metavar="S", help="stop after so many seconds")
    option("--frames", type=int, metavar="N", help="stop after so many frames")
    option(
        "--report",
        type=Path,
        metavar="FILE.json",
        help="write counts, timings, model hashes and the machine to a file",
    )
    option("--list", choices=LISTS, help="list what there is, and end")
    option("--debug", action="store_true", help="show the traceback of an error")
    return parser


def add_networks(parser: argparse.ArgumentParser) -> None:
    """Adds the options that put networks and directions of the user's in place of the default ones."""
    option = parser.add_argument
    option(
        "--generator",
        type=Path,
        metavar="FILE",
        help="a generator that python -m export wrote: its graph, its manifest, or the folder they are in",
    )
    option("--encoder", type=Path, metavar="FILE", help="an encoder, likewise; made for that generator")
    option(
        "--directions",
        type=Path,
        metavar="DIR",
        help="a folder of .npz, .npy or .pt directions, which get names and keys before the shipped ones; those are "
        "left out for a --generator with another W",
    )


def _check_effects(options: Options) -> None:
    if len({(spec.name, spec.place) for spec in options.directions}) < len(options.directions):
        raise UserError("--direction names one direction twice; give each once, with its strength: NAME=X")
    if len({spec.place for spec in options.deforms}) < len(options.deforms):
        raise UserError("--deform is given twice for the same face; give it once, or once for each: FACE:LAYERS")
    people = [place for place, _ in options.identities]
    if len(set(people)) < len(people):
        raise UserError("--identity is given twice for the same face; give it once, or once for each: FACE:NAME")
    effects = [*(spec.place for spec in options.directions), *(spec.place for spec in options.deforms)]
    for place in [*effects, *people]:
        if place is not None and place not in range(options.faces):
            raise UserError(
                f"there is no face {place + 1} to change; expected 1 to {options.faces}, or more with --faces"
            )


def _identity(text: str) -> tuple[int, str]:
    """``[FACE:]NAME`` as place and name; the first face's place is 0."""
    place, name = split_place(text)
    return (0 if place is None else place), name


def _quality(given: argparse.Namespace) -> Quality:
    if given.quality == "fast" and given.size not in (None, STUDENT_SIZE):
        raise UserError(f"--quality fast draws {STUDENT_SIZE} px, not {given.size}; leave out --quality or --size")
    if given.quality is not None and given.generator is not None:
        raise UserError("--quality is of the default generator; leave out --quality or --generator")
    return given.quality or Options.quality


def _seconds(seconds: float) -> float:
    if not (math.isfinite(seconds) and seconds > 0):
        raise UserError(f"--seconds {seconds:g}: must be a number above 0")
    return seconds


def _fps(fps: float) -> float:
    if not 1 <= fps <= 240:
        raise UserError(f"--fps {fps:g}: expected a number from 1 to 240")
    return fps


def _frames(frames: int) -> int:
    if frames < 1:
        raise UserError(f"--frames {frames}: must be 1 or more")
    return frames


def _check_outputs(options: Options) -> None:
    source = Path(options.source)
    for output in options.outputs:
        if options.outputs.count(output) > 1:
            raise UserError(f"--output {output} is given twice; give each output once")
        if output == "auto" and len(options.outputs) > 1:
            raise UserError("--output auto stands alone; name each output instead")
        if not is_file_output(output):
            continue
        path = Path(output)
        if path.suffix.lower() not in FORMATS:
            raise UserError(
                f"--output {output}: not an output; expected window, virtual-camera, null, auto "
                f"or a file ending in {', '.join(FORMATS)}"
            )
        _check_writable(path, "--output")
        if source.exists() and path.exists() and path.samefile(source):
            raise UserError(f"--output {output} is the source itself; give the output another name")
    if options.report is not None and str(options.report) in {options.source, *options.outputs}:
        raise UserError(f"--report {options.report} is the source or an output too; give it another name")


def _check_writable(path: Path, option: str) -> None:
    """Makes sure that `path` could be written, without touching it."""
    if path.is_dir():
        raise UserError(f"{option} {path} is a folder; give the name of a file in it")
    if not path.parent.is_dir():
        raise UserError(f"{option} {path}: there is no folder {path.parent}; make it first")
    try:
        if path.exists():
            path.open("r+b").close()
        else:  # permission bits tell nothing of read-only and virtual file systems; a nameless file does
            tempfile.TemporaryFile(dir=path.parent).close()
    except OSError as error:
        raise UserError(f"{option} {path}: cannot write there ({error.strerror}); choose another place") from error
