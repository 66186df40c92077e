"""``enrol``: learns a face from a few photographs or some seconds of camera, so that the morph is that person."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from live import people
from live.enrolment.choose import Group, choose, photographs
from live.enrolment.learn import learn
from live.enrolment.loss_plot import plot
from live.loading import load_models, make_demo
from live.options import OneLineParser
from live.sources.demo import DemoSource
from live.sources.source import Source, open_source
from models.arrays import U8
from models.errors import UserError
from models.inversion import (
    FEWEST_STEPS,
    STEPS,
    Gradients,
    View,
    compare,
    load_gradients,
    steps_for,
)
from models.latent import broadcast, mean_w
from models.runtime import ENGINES
from models.zoo import load_encoder

MOST_VIEWS = 8
CAMERA_VIEWS = 5  # one of each fifth of the time, the sharpest
LOOKS = 4  # frames a second that are looked at
MOST_FRAMES = 60  # of a longer time so many: they are kept in memory


@dataclass(frozen=True)
class Request:
    """A checked command line.

    Attributes:
        name: of the person.
        source: as of the mirror.
        photos: a picture or a folder of them, in place of the source; None = the source.
        seconds: of the source.
        steps: of the optimisation; None = as many as the pictures need.
        tune: whether the generator's last weights are changed for the person as well.
        preview: whether a window shows how it comes along, where there is a display.
        engine: a name in models.runtime.ENGINES, or "auto".
        listing: list who is enrolled, and nothing else.
        delete: who to delete, and nothing else; None = enrol.
    """

    name: str
    source: str
    photos: Path | None
    seconds: float
    steps: int | None
    tune: bool
    preview: bool
    engine: str
    listing: bool
    delete: str | None


def parse(arguments: Sequence[str]) -> Request:
    """Reads ``enrol``'s arguments.

    Raises:
        UserError: something is wrong with one of them.
    """
    parser = OneLineParser(
        prog="python -m live enrol",
        description="Learns a face, so that the morph is that person: then run the mirror with --identity NAME. All "
        "that is learned stays on this machine, in a folder of the person's name, which may be deleted.",
    )
    parser.add_argument("--name", default="me", help="what to call the person (default: %(default)s)")
    parser.add_argument("--source", default="auto", help="a camera, video or picture, as of the mirror")
    parser.add_argument("--photos", type=Path, help="a picture or a folder of pictures of the person, not the source")
    parser.add_argument("--seconds", type=float, default=6.0, help="of the source to look at (default: %(default)g)")
    parser.add_argument(
        "--steps",
        type=int,
        help=f"more is nearer and takes longer (default: {FEWEST_STEPS} to {STEPS} by how fast this machine is, "
        "of several pictures twice as many)",
    )
    parser.add_argument(
        "--tune",
        action="store_true",
        help="also change the generator's last layers for this person: nearer yet, at 256 px; some seconds more",
    )
    parser.add_argument(
        "--no-preview", action="store_false", dest="preview", help="no window that shows how it comes along"
    )
    parser.add_argument("--engine", choices=("auto", *ENGINES), default="auto")
    parser.add_argument("--list", action="store_true", dest="listing", help="list who is enrolled, and end")
    parser.add_argument("--delete", metavar="NAME", help="delete what was learned of a person, and end")
    parser.add_argument("--debug", action="store_true", help="show the traceback of an error")
    for network in ("--generator", "--encoder"):
        parser.add_argument(network, help="not here: people are enrolled with the default networks alone")
    given = vars(parser.parse_args(arguments))
    del given["debug"]
    if {given.pop("generator"), given.pop("encoder")} != {None}:
        raise UserError(
            "enrol takes no --generator and no --encoder: it descends the default generator's gradient, of which an "
            "exported generator has no graph"
        )
    request = Request(**given)
    people.check_name(request.name)
    if not 0 < request.seconds <= 600:
        raise UserError(f"--seconds {request.seconds:g}: expected a number above 0, at most 600")
    if request.steps is not None and not 1 <= request.steps <= 10_000:
        raise UserError(f"--steps {request.steps}: expected 1 to 10000")
    return request


def run(request: Request, say: Callable[[str], None]) -> None:
    """Does what was asked for.

    Raises:
        UserError: nobody is seen, or something cannot be read, run or written.
    """
    if request.listing:
        for name in people.enrolled():
            try:
                person = people.load(name)
                say(f"{name}: from {person.views} picture(s), {person.created}")
            except UserError as error:
                say(str(error))
        if not people.enrolled():
            say("nobody is enrolled")
        return
    if request.delete is not None:
        say(f"deleted {people.delete(request.delete)}")
        return
    people.make_folder()
    groups = look(request, say) if request.photos is None else photographs(request.photos, MOST_VIEWS, say)
    encoder, gradients = load_encoder(request.engine), load_gradients(request.engine)
    faces = choose(groups, encoder, gradients, MOST_VIEWS, say)
    if not faces:
        raise UserError("no face was found to enrol; face the camera in good light, or give other --photos")
    views = [face.view for face in faces]
    if request.name in people.enrolled():
        say(f"{request.name} is enrolled already: what was learned then will be replaced")
    steps = request.steps or steps_for(len(views), seconds_of_a_step(views[0], gradients))
    say(f"{len(views)} picture(s) of a face; {steps} steps on {gradients.picture.engine.name}")
    learned = learn(
        views, gradients, say, steps=steps, tune=request.tune, engine=request.engine, preview=request.preview
    )
    mean_face = broadcast(mean_w()[None])
    mean_loss = float(np.mean([compare(view, mean_face, gradients)[1] for view in views]))
    pictures = {f"{people.VIEWS}/{number}.png": face.crop for number, face in enumerate(faces, 1)} | {
        "loss.png": plot(
            f"{request.name}: how near the picture is", learned.losses, len(views), mean_loss, learned.tuning_losses
        ),
        "pictures.png": learned.pictures,
    }
    folder = people.save(request.name, learned.offset, learned.change, len(views), pictures)
    say(f"enrolled as {request.name} in {folder}; now: ./run.sh --identity {request.name}")


def seconds_of_a_step(view: View, gradients: Gradients) -> float:
    """How long a step of the fit takes here; the first ever takes longer and does not count."""
    times = []
    for _ in range(3):
        started = time.perf_counter()
        view, *_ = compare(view, view.latent, gradients)
        times.append(time.perf_counter() - started)
    return min(times)


def look(request: Request, say: Callable[[str], None]) -> list[Group]:
    """Frames of the source, in as many groups as there shall be views, in the order of time.

    Raises:
        UserError: it cannot be opened, or there is no camera: the demo's face is enrolled only if it is asked for.
    """

    def open_demo() -> Source:
        return make_demo(load_models(256, request.engine), live=False)

    frames: list[U8] = []
    with open_source(request.source, make_demo=open_demo, live_stills=False) as source:
        if request.source == "auto" and isinstance(source, DemoSource):
            raise UserError("there is no camera to see you; connect one, or give --photos PICTURE or --source")
        say(f"source: {source.note}")
        if source.live:
            say(f"for {request.seconds:g} s look into it, turn your head a little, talk, smile")
        started = time.perf_counter()
        every = max(1, round(source.fps * max(1 / LOOKS, request.seconds / MOST_FRAMES)))
        for number in range(round(request.seconds * source.fps)):
            frame = source.read()
            if frame is None or time.perf_counter() - started > 2 * request.seconds + 5:
                break
            if number % every == 0:
                frames.append(frame.rgb)
    if len(frames) > 1 and all(np.array_equal(frame, frames[0]) for frame in frames):
        frames = frames[:1]
    count = min(CAMERA_VIEWS, len(frames))
    names = [f"part {i + 1} of {count} of the source" for i in range(count)]
    parts = [frames[i * len(frames) // count : (i + 1) * len(frames) // count] for i in range(count)]
    return [Group(name, part) for name, part in zip(names, parts, strict=True)]
