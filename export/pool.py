"""Makes the endless sample stream: generated faces with their latents, landmarks, blendshapes and head pose.

Runs beside training, on one core: writes memory-mapped arrays to an ignored folder, in rounds, and the trainer
reads what is there. Started again, it goes on where it stopped.
"""

from __future__ import annotations

import argparse
from dataclasses import dataclass
from pathlib import Path

import cv2
import numpy as np
import torch
from numpy.typing import NDArray
from rich.progress import Progress

from export.default_generator import compile_generator
from export.sampling import sample_free_w_plus, sample_w_plus
from models import ir, latent, registry, zoo
from models.alignment import to_rgb
from models.arrays import F32, U8
from models.errors import UserError
from models.landmarker import Landmarker
from models.networks import mapping as mapping_net
from models.networks import mobile_stylegan as ms

SIZE = 128  # pixels of a stored picture
MADE_AT = 256  # pixels it is labelled at, and generated at where no more are asked for
CHUNK = 64  # samples between two updates of the counter


@dataclass(frozen=True)
class Pool:
    """The arrays of a pool folder, `filled` rows of which are valid.

    Attributes:
        images: uint8 [N, 128, 128, 3], RGB.
        latents: float16 [N, 18, 512], W+.
        landmarks: float32 [N, 478, 2], in [0, 1] of the picture.
        blendshapes: float32 [N, 52].
        pose: float32 [N, 3], yaw, pitch, roll in degrees.
        counter: the file that says how many rows are written.
        pictures: uint8 [N, 256, 256, 3], RGB, as the generator made them or reduced; None = not kept.
    """

    images: U8
    latents: NDArray[np.float16]
    landmarks: F32
    blendshapes: F32
    pose: F32
    counter: Path
    pictures: U8 | None = None

    @property
    def filled(self) -> int:
        """How many rows are written, of those that were there to be filled when the pool was opened."""
        return min(len(self.images), int(self.counter.read_text())) if self.counter.exists() else 0

    def count(self, filled: int) -> None:
        """Says that so many rows are written; a reader beside sees the old number or the new one."""
        new = self.counter.with_suffix(".new")
        new.write_text(str(filled))
        new.replace(self.counter)


def open_pool(folder: Path, capacity: int | None = None, *, pictures: bool = False) -> Pool:
    """Opens the pool in `folder`; with a capacity, makes or grows it, with whole pictures if they are asked for.

    Raises:
        UserError: there is none to open, or one that was begun without pictures.
    """
    if capacity is None and not (folder / "filled").exists():
        raise UserError(f"there is no pool of faces in {folder}; fill one: python -m export pool")
    shapes = {
        "images": ((SIZE, SIZE, 3), np.uint8),
        "latents": ((18, 512), np.float16),
        "landmarks": ((478, 2), np.float32),
        "blendshapes": ((52,), np.float32),
        "pose": ((3,), np.float32),
    }
    kept = (folder / "pictures.bin").exists()
    if pictures and not kept and (folder / "filled").exists():
        raise UserError(f"the pool in {folder} was begun without whole pictures; give another --folder")
    if pictures or kept:
        shapes["pictures"] = ((MADE_AT, MADE_AT, 3), np.uint8)
    arrays = {}
    for name, (shape, dtype) in shapes.items():
        path = folder / f"{name}.bin"
        row = int(np.prod(shape)) * np.dtype(dtype).itemsize
        if capacity is not None:
            folder.mkdir(parents=True, exist_ok=True)
            with path.open("ab") as file:
                if file.tell() < capacity * row:
                    file.truncate(capacity * row)
        rows = path.stat().st_size // row
        arrays[name] = np.memmap(path, dtype, "r" if capacity is None else "r+", shape=(rows, *shape))
    return Pool(**arrays, counter=folder / "filled")


def main(argv: list[str] | None = None) -> None:
    """Command line of `python -m export pool`."""
    parser = argparse.ArgumentParser(prog="python -m export pool", description=__doc__)
    parser.add_argument("--count", type=int, default=50_000)
    parser.add_argument("--folder", type=Path, default=Path("runs/pool"))
    parser.add_argument("--heads", type=Path, default=zoo.SHIPPED / "heads")
    parser.add_argument("--pictures", action="store_true", help="keep whole pictures, of 256 px")
    parser.add_argument(
        "--draw-at", type=int, choices=sorted(ms.HEADS), default=MADE_AT,
        help="pixels the generator draws; more than 256 are reduced to as many: what the student learns from",
    )  # fmt: skip
    parser.add_argument("--free", action="store_true", help="fill the rest with faces off W, as photographs are")
    parser.add_argument("--seed", type=int, default=1, help="another one makes other faces: of use in a new --folder")
    parser.add_argument("--threads", type=int, default=1)
    args = parser.parse_args(argv)
    torch.set_num_threads(1)
    pool = open_pool(args.folder, args.count, pictures=args.pictures)
    request = compile_generator(args.draw_at, args.heads, args.threads)
    z_to_w = mapping_net.load_published(ir.read(registry.path("mapping-xml")))
    sample = sample_free_w_plus if args.free else sample_w_plus
    row = pool.filled
    with Landmarker(registry.path("face-landmarker")) as landmarker, Progress() as progress:
        task = progress.add_task("Faces", total=args.count, completed=row)
        while row < args.count:
            # The seed of a chunk is the row it starts at: a continued run makes the faces of an unbroken one.
            rng = np.random.default_rng([args.seed, row])
            latents = sample(rng, CHUNK, lambda z: z_to_w(torch.from_numpy(z)).numpy(), latent.mean_w())
            for w_plus in latents:
                if row == args.count:
                    break
                drawn = to_rgb(np.array(request.infer([w_plus[None]])[0]))
                rgb = np.asarray(cv2.resize(drawn, (MADE_AT, MADE_AT), interpolation=cv2.INTER_AREA), np.uint8)
                faces = landmarker.detect(rgb)
                if not faces:
                    continue
                pool.images[row] = cv2.resize(rgb, (SIZE, SIZE), interpolation=cv2.INTER_AREA)
                if pool.pictures is not None:
                    pool.pictures[row] = rgb
                pool.latents[row] = w_plus
                pool.landmarks[row] = (faces[0].landmarks + 0.5) / MADE_AT
                pool.blendshapes[row] = faces[0].blendshapes
                pool.pose[row] = faces[0].pose
                row += 1
            pool.count(row)
            progress.update(task, completed=row)


if __name__ == "__main__":
    main()
