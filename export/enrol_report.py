"""Measures enrolment on photographs of people, one straight and one smiling of each.

The offset is fitted to the straight photograph alone, then the generator is tuned to it. Is the person nearer, is
skin as sharp as it was, do the directions still do what they did, and is the person nearer in the smiling photograph
too, which nothing was fitted to? Of some people, what a second view brings; both photographs mirrored are unseen.
"""

from __future__ import annotations

import argparse
import json
import math
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
from rich.console import Console
from rich.progress import track
from rich.table import Table

from export.fidelity import Sample
from export.measure import IdentityMeter, Measures, Meter, eye_distance, identity_distance
from export.photographs import HELD_OUT_HELP, NEUTRAL, SMILING, mirror_image, read_photo, smiling_of, straight_faces
from export.sheet import sheet, write_png
from models import tuning
from models.alignment import to_rgb, to_tensor
from models.arrays import F32, U8
from models.directions import load_direction
from models.errors import UserError
from models.inversion import STEPS, Gradients, View, fit_offset, load_gradients, make_view, sharpness, steps_for
from models.irises import iris_loss
from models.tuned_generator import TunedParts, TuningGradient, load_tuned_parts, load_tuning_gradient
from models.zoo import Encoder, Generator, load_encoder, load_generator

EDITS = ("smile", "mouth-open", "eyes-closed", "brows-up", "age", "gender", "yaw", "pitch")
STRENGTHS = (1, 2)
STAGES = ("encoder", "enrolled", "tuned")
SHOWN = ("smile", "age")  # at strength 2, in the sheet
COLUMNS = (
    "photo",
    *(f"{stage}{edit}" for stage in STAGES for edit in ("", *(f", {name}=2" for name in SHOWN))),
    "another photo",
    *STAGES,
)
LIPS = (13, 14)  # MediaPipe's inner lips, upper and lower


class Lost(Exception):  # noqa: N818 - nothing is wrong with the program
    """A picture in which no face is found."""


@dataclass(frozen=True)
class Person:
    """Two photographs of a person, and the same two mirrored."""

    straight: View
    smiling: View
    mirrored_straight: View
    mirrored_smiling: View


@dataclass(frozen=True)
class Stage:
    """One way to a picture of a view: its latent and an offset, through a generator."""

    generator: Generator
    offset: F32

    def picture(self, view: View, step: F32 | float = 0.0) -> U8:
        """uint8 RGB [R, R, 3], with a step in W+ besides."""
        return to_rgb(self.generator.synthesize(np.asarray(view.latent + self.offset + step, np.float32)))


@dataclass(frozen=True)
class Bench:
    """What people are enrolled and measured with."""

    encoder: Encoder
    gradients: Gradients
    tuning: TuningGradient
    parts: TunedParts
    generator: Generator
    meter: Meter
    identity: IdentityMeter

    def measure(self, rgb: U8) -> Measures:
        """Measures a picture, but for the identity."""
        measures = self.meter.measure(rgb)
        if measures is None:
            raise Lost
        return measures

    def attribute(self, rgb: U8, measures: Measures, name: str) -> float:
        """The value of one of `EDITS` in a picture and what was measured of it; of age, with the mirrored picture's.

        The age network prefers some years to others, which a mirrored face often meets elsewhere.
        """
        value = attribute(measures, name)
        return value if name != "age" else (value + attribute(self.measure(mirror_image(rgb)), name)) / 2

    def sample(self, rgb: U8) -> Sample:
        """Measures a picture."""
        measures = self.measure(rgb)
        return Sample(rgb, measures, self.identity.embed(rgb, measures.detection.landmarks))

    def view(self, rgb: U8) -> View:
        """A photograph as the optimisation needs it."""
        found = self.measure(rgb).detection
        return make_view(rgb, found.landmarks, self.encoder, self.gradients.picture.size)

    def person(self, path: Path) -> Person:
        """Reads the photographs of a person; `path` is that of the straight one."""
        straight, smiling = (read_photo(photo) for photo in (path, smiling_of(path)))
        return Person(*(self.view(rgb) for rgb in (straight, smiling, mirror_image(straight), mirror_image(smiling))))

    def distance(self, view: View, picture: U8) -> float:
        """Identity distance of a view and a picture made of it."""
        photo, made = self.sample(to_rgb(view.target)), self.sample(picture)
        return identity_distance(photo.identity, made.identity)

    def enrol(self, person: Person, steps: int, tuning_steps: int) -> tuple[dict[str, Stage], dict[str, float]]:
        """Fits the offset, then the last weights, to the straight photograph; returns the stages, and the times."""
        started = time.perf_counter()
        *_, fitted = fit_offset([person.straight], self.gradients, steps)
        learned = time.perf_counter()
        *_, tuned = tuning.fit_change([person.straight], fitted.offset, self.tuning, tuning_steps)
        seconds = {"seconds": learned - started, "tuning_seconds": time.perf_counter() - learned}
        stages = (
            Stage(self.generator, np.zeros_like(fitted.offset)),
            Stage(self.generator, fitted.offset),
            Stage(self.parts.generator(tuned.change), fitted.offset),
        )
        return dict(zip(STAGES, stages, strict=True)), seconds

    def figures(self, stage: Stage, person: Person) -> tuple[dict[str, float], list[U8], U8]:
        """Figures of a person at one stage, and pictures: straight, straight with the edits `SHOWN`, and smiling."""
        unseen = stage.picture(person.smiling)
        photo, made = self.sample(to_rgb(person.straight.target)), self.sample(stage.picture(person.straight))
        unedited = {name: self.attribute(made.rgb, made.measures, name) for name in EDITS}
        figures = {
            "identity": identity_distance(photo.identity, made.identity),
            "identity_unseen": self.distance(person.smiling, unseen),
            "landmarks": _landmark_error(photo, made),
            "sharpness": _sharpness(person.straight, made.rgb) / _sharpness(person.straight, photo.rgb),
            "eye_colour": _eye_colour(person.straight, made.rgb),
            "eye_colour_unseen": _eye_colour(person.smiling, unseen),
        }
        shown = []
        for name in EDITS:
            for strength in STRENGTHS:
                edited = stage.picture(person.straight, strength * load_direction(name).vector)
                after = self.attribute(edited, self.measure(edited), name)
                figures[f"effect_{name}_{strength}"] = after - unedited[name]
                if name in SHOWN and strength == STRENGTHS[-1]:
                    shown.append(edited)
        return figures, [made.rgb, *shown], unseen

    def views(self, person: Person, offset: F32, steps: int) -> dict[str, dict[str, float]]:
        """Identity distances of each view, by what the offset was fitted to; `offset` is of the straight view."""
        both, twice = [person.straight, person.smiling], steps * steps_for(2) // steps_for(1)
        *_, fitted = fit_offset(both, self.gradients, twice)
        offsets = {"straight": offset, "straight and smiling": fitted.offset}
        return {
            name: {
                kind: self.distance(view, Stage(self.generator, offset).picture(view))
                for kind, view in vars(person).items()
            }
            for name, offset in offsets.items()
        }


def attribute(measures: Measures, name: str) -> float:
    """The value of one of `EDITS`.

    Mouth-open is the lips' distance, as a fraction of the eyes': MediaPipe's blendshape is nearly 0 until the mouth
    is well open, so that a mouth that starts a little open gains more of it by the same movement.
    """
    if name != "mouth-open":
        return measures.attribute(name)
    landmarks = measures.detection.landmarks
    upper, lower = landmarks[list(LIPS)]
    return float(np.hypot(*(lower - upper))) / eye_distance(landmarks)


def _landmark_error(photo: Sample, made: Sample) -> float:
    """Mean distance of the landmarks, as a fraction of the distance between the eye centres."""
    landmarks = photo.measures.detection.landmarks
    distances = np.linalg.norm(made.measures.detection.landmarks - landmarks, axis=1)
    return float(distances.mean()) / eye_distance(landmarks)


def _sharpness(view: View, rgb: U8) -> float:
    """Strength of the fine structure of the face in a picture such as the view's; see models.inversion.sharpness."""
    return sharpness(replace(view, target=to_tensor(rgb)))


def _eye_colour(view: View, rgb: U8) -> float:
    """How far the mean colour of an iris in a picture such as the view's is from the view's, of 255."""
    distance, _ = iris_loss(to_tensor(rgb), view.target, view.irises)
    return distance * 127.5 / len(view.irises)


def kept(people: Sequence[Mapping[str, Mapping[str, float]]], name: str, strength: int, stage: str) -> float:
    """Share of a direction's effect on the encoder's faces that is left at a stage, over all people."""
    effect = f"effect_{name}_{strength}"
    return sum(person[stage][effect] for person in people) / sum(person["encoder"][effect] for person in people)


def kept_error(people: Sequence[Mapping[str, Mapping[str, float]]], name: str, strength: int, stage: str) -> float:
    """Standard error of `kept`, by leaving out each person in turn (the jackknife); NaN of one person."""
    n = len(people)
    if n < 2:
        return math.nan
    without = [kept([*people[:i], *people[i + 1 :]], name, strength, stage) for i in range(n)]
    return math.sqrt((n - 1) * float(np.var(without)))


def print_tables(rows: Mapping[str, Mapping[str, dict[str, float]]], views: Sequence[Mapping[str, dict[str, float]]],
                 engine: str) -> None:  # fmt: skip
    """Prints medians and shares, and what more views bring."""
    people = list(rows.values())
    table = Table("median (worst)", *STAGES, title=f"{len(people)} people, {engine}")
    for name in ("identity", "identity_unseen", "landmarks", "sharpness", "eye_colour", "eye_colour_unseen"):
        worst = min if name == "sharpness" else max
        cells = [[person[stage][name] for person in people] for stage in STAGES]
        table.add_row(name.replace("_", ", "), *(f"{np.median(cell):.3f} ({worst(cell):.3f})" for cell in cells))
    for name in ("seconds", "tuning_seconds"):
        table.add_row(name.replace("_", ", "), f"{np.median([person['times'][name] for person in people]):.0f}")
    for name in EDITS:
        for strength in STRENGTHS:
            of = people, name, strength
            shares = [f"{kept(*of, stage):.2f} (±{kept_error(*of, stage):.2f})" for stage in STAGES[1:]]
            mean = float(np.mean([person["encoder"][f"effect_{name}_{strength}"] for person in people]))
            table.add_row(f"share kept of {name}={strength}", f"(effect {mean:.2f})", *shares)
    Console().print(table)
    if views:
        kinds = list(next(iter(views[0].values())))
        table = Table("offset fitted to", *(kind.replace("_", ", ") for kind in kinds),
                      title=f"identity distance, means of {len(views)} people")  # fmt: skip
        for name in views[0]:
            means = [float(np.mean([person[name][kind] for person in views])) for kind in kinds]
            table.add_row(name, *(f"{mean:.3f}" for mean in means))
        Console().print(table)


def main(argv: list[str] | None = None) -> None:
    """Command line of `python -m export enrol`."""
    parser = argparse.ArgumentParser(prog="python -m export enrol", description=__doc__)
    parser.add_argument("--photos", type=Path, required=True, help="folder of NAME_neutral.jpg and NAME_smiling.jpg")
    parser.add_argument("--held-out", action="store_true", help=HELD_OUT_HELP)
    parser.add_argument("--people", type=int, default=12, help="how many of them, evenly picked")
    parser.add_argument("--viewed", type=int, default=2, help="of how many of these a second view is tried")
    parser.add_argument("--steps", type=int, default=STEPS)
    parser.add_argument("--tuning-steps", type=int, default=tuning.STEPS)
    parser.add_argument("--out", type=Path, default=Path("runs/enrol"))
    args = parser.parse_args(argv)
    paths = straight_faces(args.photos, only_held_out=args.held_out)
    if not paths:
        raise UserError(f"{args.photos} has no pictures NAME{NEUTRAL}.jpg; each needs a NAME{SMILING}.jpg beside it")
    paths = paths[:: max(1, len(paths) // args.people)][: args.people]
    args.out.mkdir(parents=True, exist_ok=True)
    gradients = load_gradients()
    rows: dict[str, dict[str, dict[str, float]]] = {}
    views: list[dict[str, dict[str, float]]] = []
    pictures: list[list[U8]] = []
    with Meter() as meter:
        bench = Bench(
            load_encoder(), gradients, load_tuning_gradient(), load_tuned_parts(),
            load_generator(gradients.picture.size, precision="float32"), meter, IdentityMeter(),
        )  # fmt: skip
        for path in track(paths, "people"):
            try:
                person = bench.person(path)
                stages, times = bench.enrol(person, args.steps, args.tuning_steps)
                measured = {name: bench.figures(stage, person) for name, stage in stages.items()}
                more = len(views) < args.viewed
                distances = bench.views(person, stages["enrolled"].offset, args.steps) if more else None
            except Lost:
                print(f"{path.name}: no face is found in one of its pictures")
                continue
            rows[path.stem] = {name: figures for name, (figures, *_) in measured.items()} | {"times": times}
            if distances is not None:
                views.append(distances)
            made = [rgb for _, shown, _ in measured.values() for rgb in shown]
            others = [unseen for *_, unseen in measured.values()]
            pictures.append([to_rgb(person.straight.target), *made, to_rgb(person.smiling.target), *others])
            write_png(args.out / "enrolled.png", sheet(pictures, COLUMNS, 192))
            report = {"people": rows, "views": views}
            (args.out / "enrolled.json").write_text(json.dumps(report, indent=1) + "\n")
    if not rows:
        raise UserError(f"no face is found in the pictures of {args.photos}")
    print_tables(
        rows, views, f"{args.steps} steps, then {args.tuning_steps} of tuning, {gradients.picture.engine.name}"
    )


if __name__ == "__main__":
    main()
