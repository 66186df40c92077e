"""Makes the README's picture: generated faces, and what the application makes of them when it runs."""

from __future__ import annotations

import argparse
import tempfile
from pathlib import Path

import cv2
import numpy as np

from export.sheet import sheet, write_jpeg
from export.transfer_report import SIZE, morph, write_film
from models import latent, zoo
from models.alignment import to_rgb
from models.arrays import U8
from models.directions import load_direction

SEEDS = (53, 49, 50)
PSI = 0.7
STRAIGHT = -1.0  # of the smile direction: most generated faces smile, and nobody would see one added
EDITS: dict[str, list[str]] = {
    "smile=1.5": ["--direction", "smile=1.5"],
    "age=2.5": ["--direction", "age=2.5"],
    "age=-2": ["--direction", "age=-2"],
    "beard=2": ["--direction", "beard=2"],
    "gender=2": ["--direction", "gender=2"],
    "smile=1.5, portrait": ["--direction", "smile=1.5", "--mode", "portrait"],
}
TILE = 224  # pixels


def camera_pictures() -> list[U8]:
    """The faces in frames as of a camera, uint8 [480, 640, 3] RGB."""
    generator, mapping = zoo.load_generator(512), zoo.load_mapping()
    z = np.stack([np.random.default_rng(seed).standard_normal(512) for seed in SEEDS]).astype(np.float32)
    w_plus = latent.truncate(latent.broadcast(mapping.map(z)), latent.mean_w(), PSI)
    w_plus = latent.move(w_plus, load_direction("smile").vector, STRAIGHT)
    width, height = SIZE
    frames = []
    for row in w_plus:
        face = cv2.resize(to_rgb(generator.synthesize(row[None])), (height, height), interpolation=cv2.INTER_AREA)
        side = (width - height) // 2
        frames.append(np.asarray(cv2.copyMakeBorder(face, 0, 0, side, side, cv2.BORDER_REFLECT), np.uint8))
    return frames


def square(frame: U8) -> U8:
    """The middle of a frame of the film's size."""
    width, height = SIZE
    side = (width - height) // 2
    return frame[:, side : side + height]


def main(argv: list[str] | None = None) -> None:
    """Command line of `python -m export overview`."""
    parser = argparse.ArgumentParser(prog="python -m export overview", description=__doc__)
    parser.add_argument("--out", type=Path, default=zoo.SHIPPED / "pictures" / "overview.jpg")
    args = parser.parse_args(argv)
    frames = camera_pictures()
    columns = {"camera": frames}
    with tempfile.TemporaryDirectory() as folder:
        film = Path(folder) / "camera.mp4"
        write_film(frames, film)
        for name, edit in EDITS.items():
            columns[name] = morph(film, Path(folder) / "edited.mp4", edit)
    rows = [[square(frame) for frame in row] for row in zip(*columns.values(), strict=True)]
    picture = sheet(rows, list(columns), TILE)
    write_jpeg(args.out, picture)


if __name__ == "__main__":
    main()
