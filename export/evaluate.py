"""Measures the inversion: how much of a face survives encoder and generator, and what edits do to it.

Generated faces are held out by their seed; they are taken as the generator made them, with landmarks detected
on the picture. Photographs go through the live chain's own steps: landmarks, FFHQ crop, encoder, generator.
Landmark errors are fractions of the distance between the eye centres (means of the two eye contours).
"""

from __future__ import annotations

import argparse
import json
import math
import platform
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import get_args

import numpy as np
from rich.console import Console
from rich.progress import track
from rich.table import Table

from export.fidelity import (
    LAYER_GROUPS,
    Summary,
    distance_from_w,
    r2_by_layers,
    summarise,
)
from export.inversion_bench import SIZE, Bench, Edit, Results
from export.measure import Meter
from export.photographs import HELD_OUT_HELP, held_out, names_of, photo_paths
from export.sampling import MIXED_SHARE, PSI_RANGE, sample_w_plus
from export.sheet import sheet, write_png
from export.steadiness import measure_clip
from export.steadiness import table as steadiness_table
from models import latent
from models.directions import load_direction, shipped_directions
from models.engine import Precision
from models.errors import UserError
from models.zoo import load_encoder, load_generator, load_mapping

SEED = 20_000  # far from the seeds of training
SHEET_ROWS = 16
REACH = 2.0  # strength of an edit
GENERATED = "generated"  # name of their set


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


def table(name: str, results: Results) -> Table:
    """The table of the terminal for one set of faces."""
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
    return shown


def edits_table(name: str, results: Results, true_change: Mapping[str, Sequence[float]]) -> Table:
    """What is left of each edit; for `true_change` see `_edits`."""
    shown = Table(title=f"{name}: edits of the reconstructions")
    shown.add_column("")
    against = "of the latents'" if results.true_change else "of that on generated faces"
    for column in ("identity distance, median", "change of its attribute, mean", against, "faces"):
        shown.add_column(column, justify="right")
    for caption, edit in _edits(results, true_change).items():
        change, share = edit["change_mean"], edit["share_of_true_change"]
        shown.add_row(
            caption,
            f"{edit['identity_median']:.3f}",
            "" if change is None else f"{change:+.3g}",
            "" if share is None else f"{share:.0%}",
            f"{edit['faces']}",
        )
    return shown


def edits_of(texts: Sequence[str]) -> list[Edit]:
    """Edits from the command line: "smile=1.5", "path/to/smile.pt", or "all", the shipped ones as far as `REACH`.

    Raises:
        UserError: a strength is no number, or there is no such direction.
    """
    edits: dict[str, Edit] = {}
    for text in texts:
        if text == "all":
            shipped = map(load_direction, shipped_directions())
            found = [Edit(direction, min(REACH, direction.range[1])) for direction in shipped]
        else:
            name, strength = _parsed(text)
            found = [Edit(load_direction(name), strength)]
        edits |= {edit.caption: edit for edit in found}
    return list(edits.values())


def _parsed(text: str) -> tuple[str, float]:
    name, equals, strength = text.rpartition("=")
    if not equals:
        return text, REACH
    try:
        number = float(strength)
    except ValueError:
        number = math.nan
    if not math.isfinite(number):
        raise UserError(f"--edit {text}: {strength!r} is no strength; expected NAME=NUMBER, such as smile=1.5")
    return name, number


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
    parser.add_argument(
        "--edit",
        action="append",
        metavar="NAME[=X]",
        help=f"an edit to measure, X being {REACH:g} if not given; NAME may be a file; or all, for the shipped ones; "
        "repeatable (default: smile and age)",
    )
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
    edits = edits_of(args.edit or ["smile", "age"])
    args.out.mkdir(parents=True, exist_ok=True)

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
        console.print(table(name, results))
        console.print(edits_table(name, results, true_change))
    for name, steadiness in clips.items():
        console.print(steadiness_table(name, steadiness))
    console.print(f"written: {path} and contact sheets beside it")
