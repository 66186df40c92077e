"""Finds directions in W+: labels generated faces, fits, removes leaks, sets the unit of strength, tabulates.

Strength 1 makes a clearly visible, natural change; +-3 is the sensible limit.
"""

from __future__ import annotations

import argparse
import json
from pathlib import Path

import numpy as np

from export.direction_effects import Editor, calibrated, slopes, without_leaks
from export.direction_fit import NUISANCES, RECIPES, Gradients, Recipe, fit, step
from export.direction_table import as_json, markdown, measure_effects
from export.labelling import label
from export.measure import IdentityMeter, Meter
from export.sampling import sample_w_plus
from export.sheet import sheet, write_png
from models.alignment import to_rgb
from models.arrays import F32
from models.directions import load_direction
from models.errors import UserError
from models.latent import EVERY_LAYER, mean_w, move
from models.zoo import Generator, Mapping, load_generator, load_mapping

SIZE = 256
OUT = Path(__file__).parent.parent / "models" / "shipped" / "directions"
TUNING_SEED, TABLE_SEED, STRIP_SEED = 12, 13, 14  # of faces never labelled
RANGE = (-3.0, 3.0)
STRIP_STRENGTHS = (-3, -2, -1, 0, 1, 2, 3)
LEAK_REACH = 1.5
LEAK_ROUNDS = 1


def find(editor: Editor, gradients: Gradients, faces: F32, *, raw: bool) -> dict[str, F32]:
    """The directions, float32 [18, 512] each.

    Args:
        editor: edits and measures pictures.
        gradients: fitted to labelled faces, with the attributes of `RECIPES` and `NUISANCES`.
        faces: float32 W+ [N, 18, 512] to measure leaks and strengths on.
        raw: leave the leaks in.
    """
    base = np.stack([row for face in faces if (row := editor.columns(face)) is not None])
    if len(base) < len(faces):
        raise UserError("no face is found in some generated pictures; choose another number of --tuning-faces")
    directions = {name: step(gradients, recipe, raw=raw) for name, recipe in RECIPES.items()}
    if not raw:
        helpers = {name: step(gradients, Recipe(name, "", EVERY_LAYER, 1.0), raw=False) for name in NUISANCES}
        together = directions | helpers
        for _ in range(LEAK_ROUNDS):
            leaks = slopes(editor, faces, together, tuple(together), base, LEAK_REACH)
            together = without_leaks(together, leaks)
        directions = {name: together[name] for name in RECIPES}
    return {name: calibrated(editor, faces, directions[name], recipe, base) for name, recipe in RECIPES.items()}


def fresh_faces(seed: int, count: int, mapping: Mapping) -> F32:
    """Faces that were not labelled: float32 W+ [count, 18, 512]."""
    return sample_w_plus(np.random.default_rng(seed), count, mapping.map, mean_w())


def save(path: Path, direction: F32, description: str) -> None:
    """Writes a shipped direction; half precision is finer than a strength's last shown digit."""
    np.savez_compressed(
        path,
        vector=direction.astype(np.float16),
        description=np.array(description),
        range=np.array(RANGE, np.float32),
    )


def make(args: argparse.Namespace, generator: Generator, mapping: Mapping) -> None:
    """Labels, fits, calibrates and writes every direction of `RECIPES`."""
    labels = label(args.pool, args.samples)
    names = (*dict.fromkeys(recipe.attribute for recipe in RECIPES.values()), *NUISANCES)
    gradients = fit(labels, names)
    for name, correlation in zip(names, gradients.correlation, strict=True):
        print(f"{name:>12}: prediction and label correlate to {correlation:.2f} on faces left out")
    with Meter() as meter:
        editor = Editor(generator.synthesize, meter)
        faces = fresh_faces(TUNING_SEED, args.tuning_faces, mapping)
        for name, direction in find(editor, gradients, faces, raw=args.raw).items():
            save(args.out / f"{name}.npz", direction, RECIPES[name].description)


def load(folder: Path) -> dict[str, F32]:
    """The directions of `RECIPES` written to a folder, float32 [18, 512] each."""
    return {name: load_direction(str(folder / f"{name}.npz")).vector[0] for name in RECIPES}


def tabulate(args: argparse.Namespace, generator: Generator, mapping: Mapping) -> None:
    """Measures the directions on fresh faces; writes JSON, prints the README's tables."""
    with Meter() as meter:
        editor = Editor(generator.synthesize, meter)
        faces = fresh_faces(TABLE_SEED, args.faces, mapping)
        effects = measure_effects(editor, IdentityMeter(), faces, load(args.out))
    path = args.out / "effects.json"
    path.write_text(json.dumps(as_json(effects, args.faces), indent=1) + "\n", encoding="utf-8")
    print(markdown(effects))


def draw_strips(args: argparse.Namespace, generator: Generator, mapping: Mapping) -> None:
    """Writes a sheet per direction: the same faces at every strength of `STRIP_STRENGTHS`."""
    args.strips.mkdir(parents=True, exist_ok=True)
    faces = fresh_faces(STRIP_SEED, args.strip_faces, mapping)
    captions = [f"{strength:+d}" for strength in STRIP_STRENGTHS]
    for name, direction in load(args.out).items():
        rows = [
            [to_rgb(generator.synthesize(move(face[None], direction, strength))) for strength in STRIP_STRENGTHS]
            for face in faces
        ]
        write_png(args.strips / f"{name}.png", sheet(rows, captions, SIZE))


def main(argv: list[str] | None = None) -> None:
    """Command line of `python -m export directions`."""
    parser = argparse.ArgumentParser(prog="python -m export directions", description=__doc__)
    parser.add_argument("--pool", type=Path, default=Path("runs/pool"), help="folder of generated faces")
    parser.add_argument("--samples", type=int, default=20_000, help="faces of the pool to label, at most")
    parser.add_argument("--tuning-faces", type=int, default=64, help="faces to measure leaks and strengths on")
    parser.add_argument("--raw", action="store_true", help="do not orthogonalise against other attributes")
    parser.add_argument("--out", type=Path, default=OUT, metavar="DIR", help="where NAME.npz are written")
    parser.add_argument("--engine", default="auto")
    parser.add_argument("--threads", type=int, default=0, help="of the generator; 0 = all cores")
    parser.add_argument("--table", action="store_true", help="only tabulate the directions there are")
    parser.add_argument("--faces", type=int, default=200, help="faces of the table")
    parser.add_argument("--strips", type=Path, metavar="DIR", help="only draw sheets of faces at all strengths")
    parser.add_argument("--strip-faces", type=int, default=6)
    args = parser.parse_args(argv)
    for name in ("samples", "tuning_faces", "faces", "strip_faces"):
        if getattr(args, name) < 1:
            option = name.replace("_", "-")
            raise UserError(f"--{option} {getattr(args, name)}: give a number of faces, at least 1")
    args.out.mkdir(parents=True, exist_ok=True)
    generator, mapping = load_generator(SIZE, args.engine, threads=args.threads), load_mapping(args.engine)
    if args.strips:
        draw_strips(args, generator, mapping)
    elif args.table:
        tabulate(args, generator, mapping)
    else:
        make(args, generator, mapping)
