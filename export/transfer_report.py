"""Measures the live application on photographs of people, one straight and one smiling of each.

The straight faces are put into a film, the application makes them smile, and its film is measured: does the smile
come, does the person stay, and is the edited smile the person's own? The application runs as users run it, in a
process of its own.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import av
import cv2
import numpy as np
from rich.console import Console
from rich.table import Table

from export.measure import IdentityMeter, Measures, Meter, identity_distance
from export.photographs import HELD_OUT_HELP, NEUTRAL, SMILING, smiling_of, straight_faces
from models.alignment import to_unit_matrix, transform_points
from models.arrays import F32, F64, U8
from models.errors import UserError

SIZE = (640, 480)  # of the film, pixels
FPS = 10
SHOWN, BLANK = 8, 14  # frames of a face, and of nothing after it: long enough to be another face


@dataclass(frozen=True)
class Person:
    """What is known of somebody: both photographs, measured."""

    straight: U8
    before: Measures
    own: Measures
    before_identity: F32
    own_identity: F32


def read_people(paths: Sequence[Path], meter: Meter, identity: IdentityMeter) -> list[Person]:
    """People of whom there are NAME_neutral, as in `paths`, and NAME_smiling pictures.

    Raises:
        UserError: there are none.
    """
    people = []
    for path in paths:
        pair = [_read(path), _read(smiling_of(path))]
        before, own = (meter.measure(rgb) for rgb in pair)
        if before is None or own is None:
            continue
        embedded = [identity.embed(pair[i], m.detection.landmarks) for i, m in enumerate((before, own))]
        people.append(Person(pair[0], before, own, *embedded))
    if not people:
        raise UserError(f"--photos has no pairs NAME{NEUTRAL}.jpg and NAME{SMILING}.jpg with a face in both")
    return people


def _read(path: Path) -> U8:
    """A photograph in the middle of a frame of the film's size; uint8 [480, 640, 3] RGB."""
    bgr = cv2.imread(str(path))
    if bgr is None:
        raise UserError(f"cannot read the picture {path}; every NAME{NEUTRAL} needs a NAME{SMILING} beside it")
    width, height = SIZE
    scale = min(height / bgr.shape[0], width / bgr.shape[1])
    small = cv2.resize(bgr, None, fx=scale, fy=scale, interpolation=cv2.INTER_AREA)
    frame = np.full((height, width, 3), 128, np.uint8)
    top, left = (height - small.shape[0]) // 2, (width - small.shape[1]) // 2
    frame[top : top + small.shape[0], left : left + small.shape[1]] = cv2.cvtColor(small, cv2.COLOR_BGR2RGB)
    return frame


def write_film(faces: list[U8], path: Path) -> None:
    """Each face, uint8 [480, 640, 3] RGB, for a moment, then nothing for a moment."""
    blank = np.full_like(faces[0], 128)
    with av.open(str(path), "w") as container:
        stream = container.add_stream("libx264", rate=FPS)
        stream.width, stream.height = SIZE
        stream.pix_fmt, stream.options = "yuv444p", {"crf": "4"}
        for face in faces:
            for rgb in [face] * SHOWN + [blank] * BLANK:
                container.mux(stream.encode(av.VideoFrame.from_ndarray(rgb, format="rgb24")))
        container.mux(stream.encode())


def morph(film: Path, out: Path, edit: list[str]) -> list[U8]:
    """Runs the application over a film, with arguments that say what to edit; one frame of each face.

    Raises:
        UserError: it failed.
    """
    command = [sys.executable, "-m", "live", "--source", str(film), "--output", str(out), *edit]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode != 0:
        raise UserError(f"the application failed: {done.stderr.strip()[-300:]}")
    with av.open(str(out)) as container:
        frames = [frame.to_ndarray(format="rgb24") for frame in container.decode(video=0)]
    return frames[SHOWN - 1 :: SHOWN + BLANK]


def _aligned(measures: Measures) -> F64:
    landmarks = measures.detection.landmarks
    return transform_points(to_unit_matrix(landmarks), landmarks)


def compare(person: Person, rgb: U8, meter: Meter, identity: IdentityMeter) -> dict[str, float] | None:
    """One person's figures; None = no face was found any more."""
    after = meter.measure(rgb)
    if after is None:
        return None
    embedded = identity.embed(rgb, after.detection.landmarks)
    edit, own = (_aligned(m) - _aligned(person.before) for m in (after, person.own))
    return {
        "identity": identity_distance(person.before_identity, embedded),
        "identity_to_own_smile": identity_distance(person.own_identity, embedded),
        "identity_of_own_smile": identity_distance(person.before_identity, person.own_identity),
        "smile_before": person.before.attribute("smile"),
        "smile": after.attribute("smile"),
        "own_smile": person.own.attribute("smile"),
        "field_cosine": float((edit * own).sum() / (np.linalg.norm(edit) * np.linalg.norm(own))),
        "field_size": float(np.linalg.norm(edit) / np.linalg.norm(own)),
    }


def main(argv: list[str] | None = None) -> None:
    """Command line of `python -m export transfer`."""
    parser = argparse.ArgumentParser(prog="python -m export transfer", description=__doc__)
    parser.add_argument("--photos", type=Path, required=True, help="folder of NAME_neutral.jpg and NAME_smiling.jpg")
    parser.add_argument("--held-out", action="store_true", help=HELD_OUT_HELP)
    parser.add_argument("--strengths", type=float, nargs="+", default=[0.5, 1.0, 1.5, 2.0])
    parser.add_argument("--mode", default="transfer")
    parser.add_argument("--out", type=Path, default=Path("runs/transfer"))
    args = parser.parse_args(argv)
    args.out.mkdir(parents=True, exist_ok=True)
    identity = IdentityMeter()
    results: dict[str, dict[str, float]] = {}
    with Meter() as meter, tempfile.TemporaryDirectory() as folder:
        people = read_people(straight_faces(args.photos, only_held_out=args.held_out), meter, identity)
        film = Path(folder) / "straight.mp4"
        write_film([person.straight for person in people], film)
        for strength in args.strengths:
            edit = ["--mode", args.mode, "--direction", f"smile={strength}"]
            faces = morph(film, args.out / f"smile-{strength:g}.mp4", edit)
            rows = [compare(p, rgb, meter, identity) for p, rgb in zip(people, faces, strict=True)]
            found = [row for row in rows if row is not None]
            if not found:
                raise UserError(f"at strength {strength:g} no face was left to measure")
            results[f"{strength:g}"] = {
                "faces": len(found),
                **{name: round(float(np.median([row[name] for row in found])), 3) for name in found[0]},
            }
    (args.out / "transfer.json").write_text(json.dumps(results, indent=1) + "\n")
    table = Table(title=f"Medians over {len(people)} people, mode {args.mode}")
    table.add_column("")
    for strength_name in results:
        table.add_column(f"smile={strength_name}")
    for name in next(iter(results.values())):
        table.add_row(name.replace("_", " "), *(f"{figures[name]:g}" for figures in results.values()))
    Console().print(table)


if __name__ == "__main__":
    main()
