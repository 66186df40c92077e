"""Measures the inversion: how much of a face survives encoder and generator, and what edits do to it.

Generated faces are held out by their seed; they are taken as the generator made them, with landmarks detected
on the picture. Photographs go through the live chain's own steps: landmarks, FFHQ crop, encoder, generator.
Landmark errors are fractions of the distance between the eye centres (means of the two eye contours).
"""

from __future__ import annotations

import argparse
import json
import platform
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Protocol, get_args

import cv2
import numpy as np
from rich.console import Console
from rich.progress import track
from rich.table import Table

from export.fidelity import (
    LAYER_GROUPS,
    Fidelity,
    Sample,
    Summary,
    compare,
    distance_from_w,
    r2_by_layers,
    summarise,
)
from export.measure import IdentityMeter, Meter, identity_distance
from export.photographs import HELD_OUT_HELP, held_out, names_of, photo_paths, read_photo
from export.sampling import MIXED_SHARE, PSI_RANGE, sample_w_plus
from export.sheet import sheet, write_png
from export.steadiness import measure_clip
from export.steadiness import table as steadiness_table
from models import latent
from models.alignment import crop, to_crop_matrix, to_rgb, to_tensor
from models.arrays import F32, U8
from models.directions import Direction, load_direction
from models.engine import Precision
from models.errors import UserError
from models.zoo import load_encoder, load_generator, load_mapping

SIZE = 256  # side of the pictures compared
SEED = 20_000  # far from the seeds of training
NO_SMILE = 0.3  # a face below smiles too little to hide what a smile direction adds
SHEET_ROWS = 16
GENERATED = "generated"  # name of their set


class Encoder(Protocol):
    """Aligned crop -> W+."""

    @property
    def size(self) -> int:
        """Side in pixels of the crop it takes."""

    def encode(self, image: F32, landmarks: F32) -> F32:
        """Crop [1, 3, S, S] in [-1, 1], landmarks [1, 478, 2] in [0, 1] -> W+ [1, 18, 512]."""


class Generator(Protocol):
    """W+ -> picture."""

    def synthesize(self, w_plus: F32) -> F32:
        """W+ [1, 18, 512] -> RGB [1, 3, R, R], about [-1, 1]."""


@dataclass(frozen=True)
class Case:
    """One face to invert.

    Attributes:
        name: of the photograph or the sample.
        rgb: uint8 [SIZE, SIZE, 3], aligned.
        image: float32 [1, 3, S, S], the encoder's input.
        w_plus: float32 [18, 512], where it is known.
    """

    name: str
    rgb: U8
    image: F32
    w_plus: F32 | None = None


@dataclass
class Results:
    """What has been measured of one set of faces.

    Attributes:
        rows: input against reconstruction, a face each.
        truth: float32 [18, 512] latents, where they are known.
        estimate: float32 [18, 512] latents, of every face.
        edited_identity: distances from the input to the edited face, by edit.
        edited_change: change of the edit's own attribute against the reconstruction, by edit.
        true_change: of the same faces, where the true latent is edited, not the estimate: what could have been.
        pictures: rows of the contact sheet.
        lost: names of the faces in which, or in whose reconstruction, no face was found.
    """

    rows: list[Fidelity] = field(default_factory=list)
    truth: list[F32] = field(default_factory=list)
    estimate: list[F32] = field(default_factory=list)
    edited_identity: dict[str, list[float]] = field(default_factory=dict)
    edited_change: dict[str, list[float]] = field(default_factory=dict)
    true_change: dict[str, list[float]] = field(default_factory=dict)
    pictures: list[list[U8]] = field(default_factory=list)
    lost: list[str] = field(default_factory=list)


@dataclass(frozen=True)
class Edit:
    """An edit that is measured on the reconstructions."""

    direction: Direction
    strength: float

    @property
    def caption(self) -> str:
        """Name and strength, as on the command line of the live application."""
        return f"{self.direction.name}={self.strength:+g}"


class Bench:
    """The networks that take part.

    Args:
        encoder: under test.
        generator: 256 px.
        meter: measures pictures.
        edits: applied to each reconstruction.
    """

    def __init__(self, encoder: Encoder, generator: Generator, meter: Meter, edits: Sequence[Edit] = ()) -> None:
        self._encoder = encoder
        self._generator = generator
        self._meter = meter
        self._identity = IdentityMeter()
        self._edits = edits

    def generated(self, w_plus: F32) -> Iterator[Case]:
        """The faces of latents [N, 18, 512]."""
        for i, face in enumerate(w_plus):
            rgb = to_rgb(self._generator.synthesize(face[None]))
            size = self._encoder.size
            small = np.asarray(cv2.resize(rgb, (size, size), interpolation=cv2.INTER_AREA), np.uint8)
            yield Case(f"sample {i}", rgb, to_tensor(small), face)

    def photographs(self, paths: Sequence[Path], lost: list[str]) -> Iterator[Case]:
        """The largest face of each photograph; names of those without one, or that are none, go to `lost`."""
        for path in paths:
            try:
                photo = read_photo(path)
            except UserError:
                lost.append(path.name)
                continue
            measures = self._meter.measure(photo)
            if measures is None:
                lost.append(path.name)
                continue
            landmarks, size = measures.detection.landmarks, self._encoder.size
            rgb = crop(photo, to_crop_matrix(landmarks, SIZE), SIZE)
            small = crop(photo, to_crop_matrix(landmarks, size), size)
            yield Case(path.name, rgb, to_tensor(small))

    def run(self, cases: Iterator[Case], results: Results) -> Results:
        """Inverts, edits and measures every case."""
        for case in cases:
            before = self._sample(case.rgb)
            if before is None:
                results.lost.append(case.name)
                continue
            # Landmarks in [0, 1] run from edge to edge of the crop, pixel centres at half steps.
            landmarks = (before.measures.detection.landmarks + np.float32(0.5)) / np.float32(SIZE)
            estimate = self._encoder.encode(case.image, landmarks[None])
            after = self._sample(to_rgb(self._generator.synthesize(estimate)))
            if after is None:
                results.lost.append(case.name)
                continue
            results.rows.append(compare(before, after))
            results.estimate.append(estimate[0])
            pictures = [before.rgb, after.rgb]
            pictures += [self._edited(edit, estimate, before, after, case.w_plus, results) for edit in self._edits]
            if case.w_plus is not None:
                results.truth.append(case.w_plus)
            results.pictures.append(pictures)
        return results

    def _sample(self, rgb: U8) -> Sample | None:
        measures = self._meter.measure(rgb)
        if measures is None:
            return None
        return Sample(rgb, measures, self._identity.embed(rgb, measures.detection.landmarks))

    def _edited(
        self, edit: Edit, estimate: F32, before: Sample, after: Sample, truth: F32 | None, results: Results
    ) -> U8:
        rgb = self._moved(edit, estimate)
        sample = self._sample(rgb)
        if sample is None:
            results.lost.append(edit.caption)
            return rgb
        distance = identity_distance(before.identity, sample.identity)
        results.edited_identity.setdefault(edit.caption, []).append(distance)
        name = edit.direction.name
        if name == "smile" and before.measures.attribute(name) >= NO_SMILE:
            return rgb
        if truth is not None:
            measures = self._meter.measure(self._moved(edit, truth[None]))
            if measures is None:
                return rgb
            change = measures.attribute(name) - before.measures.attribute(name)
            results.true_change.setdefault(edit.caption, []).append(change)
        change = sample.measures.attribute(name) - after.measures.attribute(name)
        results.edited_change.setdefault(edit.caption, []).append(change)
        return rgb

    def _moved(self, edit: Edit, w_plus: F32) -> U8:
        return to_rgb(self._generator.synthesize(latent.move(w_plus, edit.direction.vector, edit.strength)))


def summary(results: Results, true_change: Mapping[str, Sequence[float]]) -> dict[str, object]:
    """Everything measured of one set, ready for JSON; for `true_change` see `_edits`."""
    report: dict[str, object] = {"faces": len(results.rows), "lost": results.lost}
    if results.rows:
        report["reconstruction"] = {name: asdict(s) for name, s in summarise(results.rows).items()}
    return report | {
        "r2": _r2(results),
        "distance_from_w": _distances_from_w(results),
        "edits": _edits(results, true_change),
    }


def _distances_from_w(results: Results) -> dict[str, float]:
    """Medians, of the estimates and of the true latents."""
    known = {"estimate": results.estimate, "truth": results.truth}
    return {
        name: float(np.median(distance_from_w(np.stack(latents), latent.std_w())))
        for name, latents in known.items()
        if latents
    }


def _r2(results: Results) -> dict[str, float]:
    """R2 of W+ by group of layers; empty where the true latents are unknown."""
    if not results.truth:
        return {}
    truth, estimate = np.stack(results.truth), np.stack(results.estimate)  # known of all or of none
    return r2_by_layers(truth, estimate, latent.mean_w(), latent.std_w())


def _edits(results: Results, true_change: Mapping[str, Sequence[float]]) -> dict[str, dict[str, float | None]]:
    """What each edit does to identity and to its own attribute; None where no face could show it.

    Args:
        results: of one set.
        true_change: of generated faces; what a set whose true latents are unknown is compared with.
    """
    edits: dict[str, dict[str, float | None]] = {}
    for caption, distances in results.edited_identity.items():
        changes = results.edited_change.get(caption)
        edits[caption] = {
            "identity_median": float(np.median(distances)),
            "change_mean": float(np.mean(changes)) if changes else None,
            "share_of_true_change": _share(changes, (results.true_change or true_change).get(caption)),
            "faces": len(changes or ()),
        }
    return edits


def _share(changes: Sequence[float] | None, true_changes: Sequence[float] | None) -> float | None:
    """How much of an edit's effect survives the inversion."""
    return float(np.mean(changes) / np.mean(true_changes)) if changes and true_changes else None


LABELS = {
    "identity": ("identity distance", 1.0, ""),
    "landmarks": ("landmark error", 100.0, "% of eye distance"),
    "psnr": ("PSNR", 1.0, "dB"),
    "face_l1": ("face L1", 1.0, "levels"),
    "multiscale_l1": ("L1 over four scales", 1.0, "levels"),
    "smile": ("smile", 1.0, ""),
    "mouth_open": ("mouth open", 1.0, ""),
    "eyes_closed": ("eyes closed", 1.0, ""),
    "brows_up": ("brows up", 1.0, ""),
    "gaze_x": ("gaze, horizontal", 1.0, ""),
    "gaze_y": ("gaze, vertical", 1.0, ""),
    "yaw": ("yaw", 1.0, "degrees"),
    "pitch": ("pitch", 1.0, "degrees"),
    "roll": ("roll", 1.0, "degrees"),
    "age": ("age", 1.0, "years"),
}
"""Field of `Fidelity` -> how the table calls it, what it is multiplied by, unit."""


def table(name: str, results: Results, true_change: Mapping[str, Sequence[float]]) -> Table:
    """The table of the terminal for one set of faces; for `true_change` see `_edits`."""
    shown = Table(title=f"{name}: {len(results.rows)} faces, reconstruction against input")
    shown.add_column("")
    for column in ("median", "worst tenth", "mean", "bias"):
        shown.add_column(column, justify="right", no_wrap=True)
    summaries = summarise(results.rows) if results.rows else {}
    for key, numbers in summaries.items():
        label, factor, unit = LABELS[key]
        title = f"{label}, {unit}" if unit else label
        shown.add_row(title, *_cells(numbers, factor), end_section=key in ("multiscale_l1", "gaze_y", "age"))
    for group, r2 in _r2(results).items():
        first, last = LAYER_GROUPS[group].start, LAYER_GROUPS[group].stop - 1
        shown.add_row(f"R2 of W+, {group} ({first}-{last})", "", "", f"{r2:.3f}", "")
    for latents, distance in _distances_from_w(results).items():
        shown.add_row(f"distance from W, {latents}", f"{distance:.3f}", "", "", "")
    for caption, edit in _edits(results, true_change).items():
        if edit["share_of_true_change"] is not None:
            against = "" if results.true_change else ", of that on generated faces"
            shown.add_row(
                f"{caption}: share of its effect kept{against}", "", "", f"{edit['share_of_true_change']:.0%}", ""
            )
        shown.add_row(f"{caption}: identity distance", f"{edit['identity_median']:.3f}", "", "", "")
        if edit["change_mean"] is not None:
            title = f"{caption}: change of its attribute ({edit['faces']} faces)"
            shown.add_row(title, "", "", f"{edit['change_mean']:+.3g}", "")
    return shown


def _cells(numbers: Summary, factor: float) -> list[str]:
    values = (numbers.median, numbers.worst_tenth, numbers.mean, numbers.bias)
    return ["" if value is None else f"{value * factor:.3g}" for value in values]


def main(argv: list[str] | None = None) -> None:
    """Command line of `python -m export evaluate`."""
    parser = argparse.ArgumentParser(
        prog="python -m export evaluate",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--photos", type=Path, action="append", default=[], metavar="DIR", help="repeatable")
    parser.add_argument("--held-out", action="store_true", help=HELD_OUT_HELP)
    parser.add_argument("--clip", type=Path, action="append", default=[], metavar="FILM", help="repeatable")
    parser.add_argument("--samples", type=int, default=512, help="generated faces; 0 = none")
    parser.add_argument("--seed", type=int, default=SEED, help="of the generated faces")
    parser.add_argument("--engine", default="auto")
    parser.add_argument("--precision", choices=get_args(Precision), default="auto", help="of the generator")
    parser.add_argument("--smile", type=float, default=2.0, help="strength of the smile on the contact sheet")
    parser.add_argument("--age", type=float, default=2.0, help="strength of the ageing on the contact sheet")
    parser.add_argument(
        "--out", type=Path, default=Path("runs/evaluation"), metavar="DIR", help="for JSON and contact sheets"
    )
    args = parser.parse_args(argv)
    if args.samples < 0:
        raise UserError(f"--samples {args.samples} is negative; give the number of generated faces, or 0")
    photos = {name: photo_paths(folder) for name, folder in names_of(args.photos, taken=[GENERATED]).items()}
    if args.held_out:
        photos = {name: held_out(paths) for name, paths in photos.items()}
    if not (photos or args.samples or args.clip):
        raise UserError("nothing to measure: give --photos DIR, --clip FILM, or --samples of at least 1")
    args.out.mkdir(parents=True, exist_ok=True)

    edits = [Edit(load_direction("smile"), args.smile), Edit(load_direction("age"), args.age)]
    encoder, generator = load_encoder(args.engine), load_generator(SIZE, args.engine, args.precision)
    clips = {name: measure_clip(path, encoder, generator) for name, path in names_of(args.clip).items()}
    sets: dict[str, Results] = {}
    with Meter() as meter:
        bench = Bench(encoder, generator, meter, edits)
        if args.samples:
            rng = np.random.default_rng(args.seed)
            w_plus = sample_w_plus(rng, args.samples, load_mapping(args.engine).map, latent.mean_w())
            cases = track(bench.generated(w_plus), "Generated faces", total=args.samples)
            sets[GENERATED] = bench.run(iter(cases), Results())
        for name, paths in photos.items():
            results = Results()
            cases = track(bench.photographs(paths, results.lost), f"Photographs of {name}", total=len(paths))
            sets[name] = bench.run(iter(cases), results)

    true_change = sets[GENERATED].true_change if GENERATED in sets else {}
    captions = ["input", "reconstruction", *(edit.caption for edit in edits)]
    for name, results in sets.items():
        picture = sheet(results.pictures[:SHEET_ROWS], captions, SIZE)
        write_png(args.out / f"sheet-{name}.png", picture)
    report = {
        "sets": {name: summary(results, true_change) for name, results in sets.items()},
        "clips": {name: asdict(steadiness) for name, steadiness in clips.items()},
        "samples": {"seed": args.seed, "psi": PSI_RANGE, "mixed_share": MIXED_SHARE},
        "layers": {name: [s.start, s.stop - 1] for name, s in LAYER_GROUPS.items()},
        "encoder_sha256": encoder.sha256,
        "generator_sha256": generator.sha256,
        "engine": generator.engine.name,
        "machine": platform.platform(),
    }
    path = args.out / "evaluate.json"
    path.write_text(json.dumps(report, indent=1) + "\n", encoding="utf-8")
    console = Console()
    for name, results in sets.items():
        console.print(table(name, results, true_change))
    for name, steadiness in clips.items():
        console.print(steadiness_table(name, steadiness))
    console.print(f"written: {path} and contact sheets beside it")
