"""What an encoder learns from: batches of generated faces, and of photographs whose latents nobody knows."""

from __future__ import annotations

import queue
import threading
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from export.augment import disturb_landmarks, misalign, photograph
from export.photographs import read_photo
from export.pool import MADE_AT, SIZE, Pool
from export.training_input import HELD_OUT, to_input
from models import registry
from models.alignment import crop, to_crop_matrix, transform_points
from models.arrays import F32, U8
from models.errors import UserError
from models.landmarker import Landmarker

SECONDS = 300.0  # without a batch, after which training ends


@dataclass(frozen=True)
class Portraits:
    """Photographs of people, aligned.

    Attributes:
        images: uint8 [N, 128, 128, 3], RGB, as the encoder sees them.
        pictures: uint8 [N, 256, 256, 3], RGB, the same at twice the size.
        landmarks: float32 [N, 478, 2], in [0, 1].
    """

    images: U8
    pictures: U8
    landmarks: F32


@dataclass(frozen=True)
class Batch:
    """What a step learns from: generated faces, then photographs.

    Attributes:
        images: float32 [N + P, 3, 128, 128] in [-1, 1], augmented.
        landmarks: float32 [N + P, 478, 2], augmented.
        latents: float32 [N, 18, 512], W+ of the generated ones.
        wanted: float32 [D + P, 3, 256, 256], as they are: the first generated ones, and the photographs.
        points: float32 [D + P, 478, 2], their landmarks as they are.
    """

    images: Tensor
    landmarks: Tensor
    latents: Tensor
    wanted: Tensor
    points: Tensor


@dataclass(frozen=True)
class Mixture:
    """What a batch consists of.

    Attributes:
        generated: faces of the pool.
        drawn: of how many of them the estimate is drawn.
        portraits: photographs; their estimates are drawn too.
        clean: share of all that are not augmented.
    """

    generated: int
    drawn: int = 0
    portraits: int = 0
    clean: float = 0.0

    @property
    def to_draw(self) -> list[int]:
        """Rows of a batch whose estimate is drawn."""
        return [*range(self.drawn), *range(self.generated, self.generated + self.portraits)]


class Feed:
    """Makes augmented batches on a thread of its own; a context manager.

    Args:
        pool: generated faces; with whole pictures, if some are to be drawn.
        portraits: photographs; None where the mixture has none.
        mixture: what a batch consists of.
        seed: of what is chosen and how it is augmented.
    """

    def __init__(self, pool: Pool, portraits: Portraits | None, mixture: Mixture, seed: int) -> None:
        self._pool, self._portraits, self._mixture = pool, portraits, mixture
        self._rng = np.random.default_rng(seed)
        self._ready: queue.Queue[Batch] = queue.Queue(4)
        self._quit = threading.Event()
        self._thread = threading.Thread(target=self._run, name="feed")

    def __enter__(self) -> Feed:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._quit.set()
        self._thread.join()

    def next(self) -> Batch:
        """The next batch; ends the program if none comes."""
        try:
            return self._ready.get(timeout=SECONDS)
        except queue.Empty:
            raise SystemExit("no batch came; what the feeding thread said is above") from None

    def _run(self) -> None:
        while not self._quit.is_set():
            batch = self._make()
            while not self._quit.is_set():
                try:
                    self._ready.put(batch, timeout=0.5)
                    break
                except queue.Full:
                    continue

    def _make(self) -> Batch:
        mixture, rng = self._mixture, self._rng
        rows = rng.integers(HELD_OUT, self._pool.filled, mixture.generated)
        faces, points = self._pool.images[rows], self._pool.landmarks[rows]
        wanted = self._pool.pictures[rows[: mixture.drawn]] if self._pool.pictures is not None else faces[:0]
        if self._portraits is not None:
            chosen = rng.integers(0, len(self._portraits.images), mixture.portraits)
            faces = np.concatenate([faces, self._portraits.images[chosen]])
            points = np.concatenate([points, self._portraits.landmarks[chosen]])
            wanted = np.concatenate([wanted, self._portraits.pictures[chosen]])
        images, landmarks = [], []
        for face, known in zip(faces, points, strict=True):
            clean = rng.random() < mixture.clean
            image, moved = (face, known) if clean else misalign(face, known, rng)
            images.append(image if clean else photograph(image, rng))
            landmarks.append(moved if clean else disturb_landmarks(moved, rng))
        return Batch(
            to_input(np.stack(images)),
            torch.from_numpy(np.stack(landmarks)),
            torch.from_numpy(self._pool.latents[rows].astype(np.float32)),
            to_input(wanted),
            torch.from_numpy(points[mixture.to_draw]),
        )


def read_portraits(paths: Sequence[Path]) -> Portraits:
    """The largest face of each photograph; those without one are left out.

    Raises:
        UserError: there is none at all.
    """
    images, pictures, landmarks = [], [], []
    with Landmarker(registry.path("face-landmarker")) as landmarker:
        for path in paths:
            photo = read_photo(path)
            if faces := landmarker.detect(photo):
                matrix = to_crop_matrix(faces[0].landmarks, SIZE)
                images.append(crop(photo, matrix, SIZE))
                pictures.append(crop(photo, to_crop_matrix(faces[0].landmarks, MADE_AT), MADE_AT))
                landmarks.append((transform_points(matrix, faces[0].landmarks) + 0.5) / SIZE)
    if not images:
        raise UserError("no face was found in any of the photographs to learn from")
    return Portraits(np.stack(images), np.stack(pictures), np.stack(landmarks).astype(np.float32))
