"""Finds directions in W+: labels generated faces, fits, removes leaks, sets the unit of strength, tabulates.

Strength 1 makes a clearly visible, natural change; +-3 is the sensible limit. With --smile-of, the smile alone is
made, from photographs of people. With --from-pairs or --from-labels, directions are made from pictures of yours
instead; with --of and --hold, from a direction there is.
"""

from __future__ import annotations

import argparse
import json
import re
from pathlib import Path

import numpy as np

from export.direction_effects import Editor, calibrated, slopes, without_leaks
from export.direction_fit import Gradients, fit, step
from export.direction_hold import holding
from export.direction_kin import kin
from export.direction_recipes import LOOSE, NUISANCES, RECIPES, UNITS, Recipe
from export.direction_table import as_json, markdown, measure_effects
from export.heat_map import draw_heat_map
from export.labelling import label
from export.measure import IdentityMeter, Meter
from export.own_directions import Pictures, encode, from_folders, from_table
from export.own_directions import make as make_own
from export.photographs import NEUTRAL, SMILING, smiling_of, straight_faces, trained_on
from export.sampling import sample_w_plus
from export.sheet import sheet, write_png
from models import registry
from models.alignment import to_rgb
from models.arrays import F32
from models.directions import load_direction, shipped_directions
from models.errors import UserError
from models.landmarker import Landmarker
from models.latent import EVERY_LAYER, mean_w, move
from models.zoo import Generator, Mapping, load_encoder, load_generator, load_mapping

SIZE = 256
OUT = Path(__file__).parent.parent / "models" / "shipped" / "directions"
TUNING_SEED, TABLE_SEED, STRIP_SEED = 12, 13, 14  # of faces never labelled
RANGE = (-3.0, 3.0)
STRIP_STRENGTHS = (-3, -2, -1, 0, 1, 2, 3)
LEAK_REACH = 1.5
SMILE_LENGTH = np.float32(1.2)  # of the mean smile: it takes that for others to smile as much as those it is of
SMILE_WITHOUT_GLASSES = np.float32(0.15)  # of that direction: eyes as narrow as laughter makes them get dark glasses
SHOWN = 8  # attributes that an own direction moves most
KIN = 3  # shipped directions that it is likest


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
    helpers = {} if raw else {name: Recipe(name, "", EVERY_LAYER, 1.0) for name in NUISANCES}
    recipes = RECIPES | helpers
    directions = {name: step(gradients, recipe, raw=raw) for name, recipe in recipes.items()}
    if not raw:
        names = tuple(recipe.attribute for recipe in recipes.values())
        held = np.array([[name not in (*LOOSE, *recipe.free) for name in names] for recipe in recipes.values()])
        leaks = slopes(editor, faces, directions, names, base, LEAK_REACH)
        directions = without_leaks(directions, leaks, held)
    return {name: calibrated(editor, faces, directions[name], recipe, base) for name, recipe in RECIPES.items()}


def fresh_faces(seed: int, count: int, mapping: Mapping) -> F32:
    """Faces that were not labelled: float32 W+ [count, 18, 512]."""
    return sample_w_plus(np.random.default_rng(seed), count, mapping.map, mean_w())


def save(path: Path, direction: F32, description: str, limits: tuple[float, float] = RANGE) -> None:
    """Writes a shipped direction; half precision is finer than a strength's last shown digit."""
    np.savez_compressed(
        path,
        vector=direction.astype(np.float16),
        description=np.array(description),
        range=np.array(limits, np.float32),
    )


def make(args: argparse.Namespace, generator: Generator, mapping: Mapping) -> None:
    """Labels, fits, calibrates and writes every direction of `RECIPES`."""
    labels = label(args.pool, args.samples)
    names = (*(recipe.attribute for recipe in RECIPES.values()), *NUISANCES)
    gradients = fit(labels, names)
    for name, correlation in zip(names, gradients.correlation, strict=True):
        print(f"{name:>12}: prediction and label correlate to {correlation:.2f} on faces left out")
    with Meter() as meter:
        editor = Editor(generator.synthesize, meter)
        faces = fresh_faces(TUNING_SEED, args.tuning_faces, mapping)
        for name, direction in find(editor, gradients, faces, raw=args.raw).items():
            save(args.out / f"{name}.npz", direction, RECIPES[name].description)


def make_smile(args: argparse.Namespace) -> None:
    """Writes the mean smile of people, in place of the one that `make` fits to generated faces.

    That holds what has a name of its own among the attributes, the eyes too; but people smile with them.

    Raises:
        UserError: there are too few, or somebody's photograph is missing.
    """
    straight = trained_on(straight_faces(args.smile_of, only_held_out=False))
    pictures = Pictures(tuple(straight), tuple(smiling_of(path) for path in straight), pairs=True)
    missing = [path.name for path in pictures.having if not path.is_file()]
    if missing or not straight:
        lacks = missing[0] if missing else f"NAME{NEUTRAL}.jpg"
        raise UserError(f"{args.smile_of} has no {lacks}; give a folder of pairs NAME{NEUTRAL}, NAME{SMILING}")
    encoder = load_encoder(args.engine)
    with Landmarker(registry.path("face-landmarker")) as landmarker:
        # With the mirrored ones, the smile leans to no side.
        sides = [encode(pictures, encoder, landmarker, mirrored=mirrored)[0] for mirrored in (False, True)]
    without, having = (np.concatenate(halves) for halves in zip(*sides, strict=True))
    mean = make_own(without, having)["means"].vector
    smile = SMILE_LENGTH * mean - SMILE_WITHOUT_GLASSES * load_direction("glasses").vector[0]
    save(args.out / "smile.npz", smile, RECIPES["smile"].description)
    print(f"{args.out / 'smile.npz'}: the mean smile of {len(sides[0][0])} people")


def load(folder: Path) -> dict[str, F32]:
    """The directions of `RECIPES` written to a folder, float32 [18, 512] each."""
    return {name: load_direction(str(folder / f"{name}.npz")).vector[0] for name in RECIPES}


def tabulate(args: argparse.Namespace, generator: Generator, mapping: Mapping) -> None:
    """Measures the directions on fresh faces; writes JSON, heat map and ranges, prints the README's table."""
    with Meter() as meter:
        editor = Editor(generator.synthesize, meter)
        faces = fresh_faces(TABLE_SEED, args.faces, mapping)
        directions = load(args.out)
        effects = measure_effects(editor, IdentityMeter(), faces, directions)
    for name, direction in directions.items():
        save(args.out / f"{name}.npz", direction, RECIPES[name].description, effects[name].range)
    path = args.out / "effects.json"
    path.write_text(json.dumps(as_json(effects, args.faces), indent=1) + "\n", encoding="utf-8")
    write_png(args.out / "leaks.png", draw_heat_map(effects))
    print(markdown(effects))


def from_pictures(args: argparse.Namespace, pictures: Pictures, generator: Generator, mapping: Mapping) -> None:
    """Writes NAME-means.npz and NAME-classifier.npz; says how well they tell pictures apart, what they move."""
    encoder = load_encoder(args.engine)
    with Landmarker(registry.path("face-landmarker")) as landmarker:
        classes, faceless = encode(pictures, encoder, landmarker)
    for path in faceless:
        print(f"no face in {path}: left out{', with the other half of its pair' if pictures.pairs else ''}")
    print(f"made of {len(classes[0])} and {len(classes[1])} pictures{', in pairs' if pictures.pairs else ''}")
    for kind, own in make_own(*classes).items():
        path = args.out / f"{args.name}-{kind}.npz"
        print(f"{path}: right about {own.accuracy:.0%} of pictures left out of its making (chance: 50%)")
        conclude(args, path, own.vector, f"{args.name}, from {sum(map(len, classes))} pictures", generator, mapping)


def conclude(
    args: argparse.Namespace, path: Path, direction: F32, description: str, generator: Generator, mapping: Mapping
) -> None:
    """Holds what --hold asks for, writes the direction and prints what it moves, in standard deviations per unit.

    And which of the shipped ones it is like.
    """
    faces = fresh_faces(TUNING_SEED, args.tuning_faces, mapping)
    with Meter() as meter:
        editor = Editor(generator.synthesize, meter)
        if args.hold:
            held = {name: load_direction(name).vector[0] for name in args.hold}
            direction = holding(editor, faces, direction, held)
        effect = measure_effects(editor, IdentityMeter(), faces, {path.stem: direction})[path.stem]
    save(path, direction, description, effect.range)
    moved = {name: effect.per_unit[name] / unit for name, (unit, _) in UNITS.items()}
    strongest = sorted(moved, key=lambda name: -abs(moved[name]))[:SHOWN]
    print("  moves " + ", ".join(f"{name} {moved[name]:+.2f}" for name in strongest))
    shipped = {name: load_direction(name).vector[0] for name in shipped_directions()}
    for name, alike in kin(direction, shipped, KIN).items():
        print(f"  like {name}: cosine " + ", ".join(f"{value:+.2f} {group}" for group, value in alike.items()))
    low, high = effect.range
    print(f"  same person from {low:+.2g} to {high:+.2g}; use it: ./run.sh --direction {path}")


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


def check_own(args: argparse.Namespace) -> None:
    """Checks what own directions are asked for with.

    Raises:
        UserError: something is wrong with it.
    """
    if args.out is None:
        raise UserError("give --out DIR, a folder for directions of your own: without it are the shipped ones")
    if not re.fullmatch(r"\w[\w-]*", args.name):
        raise UserError(f"--name {args.name!r} is to be a file's name; use letters, digits, - and _")
    for name in args.hold or ():
        if name not in RECIPES:
            raise UserError(f"--hold {name}: no such attribute; choose from {', '.join(RECIPES)}")
        if name == args.of:
            raise UserError(f"--hold {name} would leave nothing of --of {name}")


def main(argv: list[str] | None = None) -> None:
    """Command line of `python -m export directions`."""
    parser = argparse.ArgumentParser(prog="python -m export directions", description=__doc__)
    parser.add_argument("--pool", type=Path, default=Path("runs/pool"), help="folder of generated faces")
    parser.add_argument("--samples", type=int, default=20_000, help="faces of the pool to label, at most")
    parser.add_argument("--tuning-faces", type=int, default=64, help="faces to measure leaks and strengths on")
    parser.add_argument("--raw", action="store_true", help="do not orthogonalise against other attributes")
    parser.add_argument("--out", type=Path, metavar="DIR", help=f"where NAME.npz are written (default: {OUT})")
    parser.add_argument("--engine", default="auto")
    parser.add_argument("--threads", type=int, default=0, help="of the generator; 0 = all cores")
    parser.add_argument("--table", action="store_true", help="only tabulate the directions there are")
    parser.add_argument("--faces", type=int, default=200, help="faces of the table")
    parser.add_argument("--strips", type=Path, metavar="DIR", help="only draw sheets of faces at all strengths")
    parser.add_argument("--strip-faces", type=int, default=6)
    parser.add_argument(
        "--smile-of",
        type=Path,
        metavar="DIR",
        help="only make the smile, from NAME_neutral and NAME_smiling of those people whom `polish` learns from",
    )
    own = parser.add_argument_group("from pictures of yours, or from another direction")
    own.add_argument("--from-pairs", type=Path, nargs=2, metavar=("A", "B"), help="folders: without and with it")
    own.add_argument("--from-labels", type=Path, metavar="CSV", help="a table with the columns file,label")
    own.add_argument("--of", metavar="DIRECTION", help="a shipped direction, or a file of one")
    own.add_argument("--hold", action="append", metavar="NAME", help="leave this attribute alone; may be repeated")
    own.add_argument("--name", default="own", help="what the files made are called")
    args = parser.parse_args(argv)
    if args.of or args.from_pairs or args.from_labels:
        check_own(args)
    elif args.hold:
        raise UserError("--hold needs a direction to change; give --of, --from-pairs or --from-labels")
    for name in ("samples", "tuning_faces", "faces", "strip_faces"):
        if getattr(args, name) < 1:
            option = name.replace("_", "-")
            raise UserError(f"--{option} {getattr(args, name)}: give a number of faces, at least 1")
    args.out = args.out or OUT
    args.out.mkdir(parents=True, exist_ok=True)
    generator, mapping = load_generator(SIZE, args.engine, threads=args.threads), load_mapping(args.engine)
    if args.from_pairs:
        from_pictures(args, from_folders(*args.from_pairs), generator, mapping)
    elif args.from_labels:
        from_pictures(args, from_table(args.from_labels), generator, mapping)
    elif args.of:
        direction = load_direction(args.of)
        kept = f", holding {', '.join(args.hold)}" if args.hold else ""
        path = args.out / f"{args.name}.npz"
        conclude(args, path, direction.vector[0], direction.name + kept, generator, mapping)
    elif args.smile_of:
        make_smile(args)
    elif args.strips:
        draw_strips(args, generator, mapping)
    elif args.table:
        tabulate(args, generator, mapping)
    else:
        make(args, generator, mapping)
