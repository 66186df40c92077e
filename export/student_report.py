"""Measures the student against the generator it stands for: the same faces, and the same edits of them.

Does it draw the same person, in the same place, and does an edit do to its face what it does to the other's? Writes a
sheet of both as well.
"""

from __future__ import annotations

import argparse
import json
from pathlib import Path
from typing import Any

import numpy as np
from rich.progress import track

from export.directions import fresh_faces
from export.enrol_report import EDITS, attribute
from export.measure import IdentityMeter, Measures, Meter, eye_distance, identity_distance
from export.sheet import sheet, write_jpeg
from export.train_heads import psnr
from models import zoo
from models.alignment import to_rgb
from models.arrays import F32, U8
from models.directions import load_direction
from models.errors import UserError
from models.latent import move
from models.networks.student import SIZE

SEED = 15  # of faces that nothing was trained or measured on
STRENGTH = 2.0
SHOWN = ("smile", "age")
SHOWN_FACES = 4


def compare(faces: F32, full: zoo.Generator, fast: zoo.Generator, meter: Meter) -> dict[str, Any]:
    """Figures over faces float32 W+ [N, 18, 512]; those that are not found in every picture are left out.

    Raises:
        UserError: none is found.
    """
    identity = IdentityMeter()
    directions = {name: load_direction(name).vector[0] for name in EDITS}
    plain: list[tuple[float, float, float]] = []
    effects: dict[str, list[tuple[float, float]]] = {name: [] for name in EDITS}
    for face in track(faces, description="Comparing"):
        pictures = [generator.synthesize(face[None]) for generator in (full, fast)]
        shown = [to_rgb(picture) for picture in pictures]
        both = [meter.measure(rgb) for rgb in shown]
        if both[0] is None or both[1] is None:
            continue
        points = [measures.detection.landmarks for measures in both if measures is not None]
        who = [identity.embed(rgb, p) for rgb, p in zip(shown, points, strict=True)]
        moved = float(np.linalg.norm(points[1] - points[0], axis=1).mean()) / eye_distance(points[0])
        plain.append((psnr(pictures[1], pictures[0]), identity_distance(*who), moved))
        for name, direction in directions.items():
            edited = move(face[None], direction, STRENGTH)
            pair = [
                _effect(meter, generator, edited, before, name)
                for generator, before in zip((full, fast), both, strict=True)
            ]
            if pair[0] is not None and pair[1] is not None:
                effects[name].append((pair[0], pair[1]))
    if not plain:
        raise UserError("no face is found in any of the pictures; take more --faces")
    ratios, distances, landmarks = np.array(plain).T
    return {
        "faces": len(plain),
        "psnr_db": float(np.mean(ratios)),
        "identity_distance": float(np.median(distances)),
        "landmarks_of_eye_distance": float(np.median(landmarks)),
        "effects": {
            name: {"full": float(np.mean(pairs, 0)[0]), "fast": float(np.mean(pairs, 0)[1])}
            for name, pairs in effects.items()
            if pairs
        },
    }


def _effect(meter: Meter, generator: zoo.Generator, edited: F32, before: Measures | None, name: str) -> float | None:
    after = meter.measure(to_rgb(generator.synthesize(edited)))
    return None if before is None or after is None else attribute(after, name) - attribute(before, name)


def draw(faces: F32, full: zoo.Generator, fast: zoo.Generator) -> U8:
    """A sheet of faces as both draw them, plain and edited; uint8 [H, W, 3], RGB."""
    steps = [(name, load_direction(name).vector[0]) for name in SHOWN]
    rows = []
    for face in faces:
        latents = [face[None], *(move(face[None], vector, STRENGTH) for _, vector in steps)]
        rows.append([to_rgb(generator.synthesize(w_plus)) for w_plus in latents for generator in (full, fast)])
    edits = ["", *(f", {name}={STRENGTH:g}" for name in SHOWN)]
    return sheet(rows, [f"{quality}{edit}" for edit in edits for quality in zoo.QUALITIES], SIZE)


def main(argv: list[str] | None = None) -> None:
    """Command line of `python -m export compare`."""
    parser = argparse.ArgumentParser(prog="python -m export compare", description=__doc__)
    parser.add_argument("--faces", type=int, default=32)
    parser.add_argument("--engine", default="auto")
    parser.add_argument(
        "--out", type=Path, default=zoo.SHIPPED, help="folder of student.json and pictures/student.jpg"
    )
    args = parser.parse_args(argv)
    if args.faces < 1:
        raise UserError(f"--faces {args.faces}: give a number of faces, at least 1")
    mapping = zoo.load_mapping(args.engine)
    full, fast = zoo.load_generator(SIZE, args.engine, "float32"), zoo.load_student(args.engine, "float32")
    faces = fresh_faces(SEED, max(args.faces, SHOWN_FACES), mapping)
    with Meter() as meter:
        figures = compare(faces[: args.faces], full, fast, meter)
    path = args.out / "student.json"
    known = json.loads(path.read_text(encoding="utf-8")) if path.exists() else {}
    path.write_text(json.dumps(known | {"compared": figures}, indent=1) + "\n", encoding="utf-8")
    picture = args.out / "pictures" / "student.jpg"
    picture.parent.mkdir(exist_ok=True)
    write_jpeg(picture, draw(faces[:SHOWN_FACES], full, fast))
    print(json.dumps(figures, indent=1))


if __name__ == "__main__":
    main()
