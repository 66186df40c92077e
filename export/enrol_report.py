"""Measures enrolment on photographs of people, one straight and one smiling of each.

The offset is fitted to the straight photograph alone. Is the person nearer, do the directions still do what they did,
and does the offset bring the person back in the smiling photograph too, which it has not seen?
"""

from __future__ import annotations

import argparse
import json
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from rich.console import Console
from rich.progress import track
from rich.table import Table

from export.evaluate import read_photo
from export.fidelity import Sample
from export.measure import IdentityMeter, Meter, eye_distance, identity_distance
from export.sheet import sheet, write_png
from models.alignment import to_rgb
from models.arrays import F32, U8
from models.directions import load_direction
from models.errors import UserError
from models.inversion import STEPS, View, fit_offset, make_view
from models.zoo import Generator, load_encoder, load_generator, load_picture_gradient

EDITS = ("smile", "mouth-open", "eyes-closed", "brows-up", "age", "gender", "yaw", "pitch")  # at strength 1
NEUTRAL, SMILING = "_neutral", "_smiling"
COLUMNS = ("photo", "encoder", "enrolled", "and smile=1", "another photo", "encoder", "enrolled")


class Lost(Exception):  # noqa: N818 - nothing is wrong with the program
    """A picture in which no face is found."""


@dataclass(frozen=True)
class Bench:
    """What pictures are made and measured with."""

    generator: Generator
    meter: Meter
    identity: IdentityMeter

    def sample(self, rgb: U8) -> Sample:
        """Measures a picture."""
        measures = self.meter.measure(rgb)
        if measures is None:
            raise Lost
        return Sample(rgb, measures, self.identity.embed(rgb, measures.detection.landmarks))

    def picture(self, w_plus: F32) -> Sample:
        """Generates and measures."""
        return self.sample(to_rgb(self.generator.synthesize(w_plus)))

    def person(self, straight: View, other: View, offset: F32) -> tuple[dict[str, float], list[U8]]:
        """Figures of one person, and the pictures of `COLUMNS`."""
        photo, second_photo = self.sample(to_rgb(straight.target)), self.sample(to_rgb(other.target))
        before, after = self.picture(straight.latent), self.picture(straight.latent + offset)
        second_before, second_after = self.picture(other.latent), self.picture(other.latent + offset)
        figures = {
            "identity_before": identity_distance(photo.identity, before.identity),
            "identity": identity_distance(photo.identity, after.identity),
            "landmarks_before": _landmark_error(photo, before),
            "landmarks": _landmark_error(photo, after),
            "other_identity_before": identity_distance(second_photo.identity, second_before.identity),
            "other_identity": identity_distance(second_photo.identity, second_after.identity),
        }
        edited = {}
        for name in EDITS:
            step = load_direction(name).vector
            plain, edited[name] = self.picture(straight.latent + step), self.picture(straight.latent + offset + step)
            figures[f"effect_{name}_before"] = plain.measures.attribute(name) - before.measures.attribute(name)
            figures[f"effect_{name}"] = edited[name].measures.attribute(name) - after.measures.attribute(name)
        samples = (photo, before, after, edited["smile"], second_photo, second_before, second_after)
        return figures, [sample.rgb for sample in samples]


def _landmark_error(photo: Sample, made: Sample) -> float:
    """Mean distance of the landmarks, as a fraction of the distance between the eye centres."""
    landmarks = photo.measures.detection.landmarks
    distances = np.linalg.norm(made.measures.detection.landmarks - landmarks, axis=1)
    return float(distances.mean()) / eye_distance(landmarks)


def kept(rows: Sequence[Mapping[str, float]], name: str) -> float:
    """Share of a direction's effect that is left with the offset, over all people."""
    return sum(row[f"effect_{name}"] for row in rows) / sum(row[f"effect_{name}_before"] for row in rows)


def main(argv: list[str] | None = None) -> None:
    """Command line of `python -m export enrol`."""
    parser = argparse.ArgumentParser(prog="python -m export enrol", description=__doc__)
    parser.add_argument("--photos", type=Path, required=True, help="folder of NAME_neutral.jpg and NAME_smiling.jpg")
    parser.add_argument("--people", type=int, default=12, help="how many of them, evenly picked")
    parser.add_argument("--steps", type=int, default=STEPS)
    parser.add_argument("--out", type=Path, default=Path("runs/enrol"))
    args = parser.parse_args(argv)
    paths = sorted(args.photos.glob(f"*{NEUTRAL}.*"))
    if not paths:
        raise UserError(f"{args.photos} has no pictures NAME{NEUTRAL}.jpg; each needs a NAME{SMILING}.jpg beside it")
    paths = paths[:: max(1, len(paths) // args.people)][: args.people]
    args.out.mkdir(parents=True, exist_ok=True)
    encoder, gradient = load_encoder(), load_picture_gradient()
    rows: dict[str, dict[str, float]] = {}
    pictures: list[list[U8]] = []
    with Meter() as meter:
        bench = Bench(load_generator(gradient.size, precision="float32"), meter, IdentityMeter())
        for path in track(paths, "people"):
            views = []
            for name in (path, path.with_name(path.name.replace(NEUTRAL, SMILING))):
                rgb = read_photo(name)
                found = meter.measure(rgb)
                if found is not None:
                    views.append(make_view(rgb, found.detection.landmarks, encoder, gradient.size))
            started, worked = time.perf_counter(), time.process_time()
            *_, last = fit_offset(views[:1], gradient, args.steps)
            seconds = {"seconds": time.perf_counter() - started, "cpu_seconds": time.process_time() - worked}
            try:
                figures, row = bench.person(views[0], views[1], last.offset)
            except (Lost, IndexError):
                print(f"{path.name}: no face is found in one of its pictures")
                continue
            rows[path.stem] = {name: round(value, 4) for name, value in (figures | seconds).items()}
            pictures.append(row)
            write_png(args.out / "enrolled.png", sheet(pictures, COLUMNS, 192))
            (args.out / "enrolled.json").write_text(json.dumps(rows, indent=1) + "\n")
    if not rows:
        raise UserError(f"no face is found in the pictures of {args.photos}")
    table = Table("", "median", "worst", title=f"{len(rows)} people, {args.steps} steps, {gradient.engine.name}")
    people = list(rows.values())
    for name in (name for name in people[0] if not name.startswith("effect_")):
        values = [row[name] for row in people]
        table.add_row(name.replace("_", " "), f"{np.median(values):.3f}", f"{max(values):.3f}")
    for name in EDITS:
        table.add_row(f"share kept of {name}'s effect", f"{kept(people, name):.2f}", "")
    Console().print(table)


if __name__ == "__main__":
    main()
