"""Directions from a user's own pictures: of two folders, or of a table of labels.

Each picture is inverted by the encoder. Two directions are made of the latents: the difference of the classes' means,
and the normal of a linear classifier (InterFaceGAN, Shen et al. 2020), which looks past what varies within classes.
Strength 1 of either takes the mean of the first class as far towards the second as their means lie apart.
"""

from __future__ import annotations

import csv
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from rich.progress import track

from export.photographs import mirror_image, photo_paths, read_photo
from models.alignment import crop, to_crop_matrix, to_tensor, transform_points
from models.arrays import F32, F64
from models.errors import UserError
from models.landmarker import Landmarker
from models.latent import LAYERS, STYLE_DIM, std_w
from models.zoo import Encoder

FEWEST = 4  # pictures of each class: below that, one person's looks are the direction
PENALTY = 1.0  # of the classifier, on the mean square of its standardised inputs
NEWTON_STEPS = 25
FOLDS = 5

Maker = Callable[[F64, F64], F64]


@dataclass(frozen=True)
class Pictures:
    """Pictures of two classes.

    Attributes:
        without: those without what the direction shall bring.
        having: those with it.
        pairs: whether the n-th of each belong together.
    """

    without: tuple[Path, ...]
    having: tuple[Path, ...]
    pairs: bool = False


@dataclass(frozen=True)
class OwnDirection:
    """A direction made from pictures.

    Attributes:
        vector: float32 [18, 512].
        accuracy: share of pictures that it puts into the right class while they are left out of its making; chance
            is 0.5, whatever the classes' sizes.
    """

    vector: F32
    accuracy: float


def from_folders(without: Path, having: Path) -> Pictures:
    """All pictures of two folders; where files of both have the same names, the pairs alone."""
    folders = [{path.stem: path for path in photo_paths(folder)} for folder in (without, having)]
    both = sorted(folders[0].keys() & folders[1].keys())
    first, second = (tuple(folder[stem] for stem in both or sorted(folder)) for folder in folders)
    return Pictures(first, second, pairs=bool(both))


def from_table(table: Path) -> Pictures:
    """Pictures named in a CSV with columns ``file`` and ``label``.

    Args:
        table: its files are relative to its own folder. Labels are numbers; those above halfway between the lowest
            and the highest are the class that has what the direction shall bring.

    Raises:
        UserError: the table is not one.
    """
    try:
        with table.open(encoding="utf-8-sig", newline="") as file:
            rows = [(row["file"], float(row["label"])) for row in csv.DictReader(file)]
    except (OSError, KeyError, ValueError, TypeError) as error:
        raise UserError(
            f"{table} cannot be used: {error!r}; expected a CSV with the columns file,label and numbers as labels"
        ) from error
    labels = [label for _, label in rows]
    if not rows or min(labels) == max(labels):
        raise UserError(f"{table} has no two classes of pictures; expected labels such as 0 and 1")
    middle = (min(labels) + max(labels)) / 2
    paths = [table.parent / name for name, _ in rows]
    missing = [path for path in paths if not path.is_file()]
    if missing:
        raise UserError(f"{table} names {missing[0]}, which is no file; names are relative to the table's own folder")
    without, having = (
        tuple(path for path, label in zip(paths, labels, strict=True) if (label > middle) is wanted)
        for wanted in (False, True)
    )
    return Pictures(without, having)


def encode(
    pictures: Pictures, encoder: Encoder, landmarker: Landmarker, *, mirrored: bool = False
) -> tuple[tuple[F32, F32], list[Path]]:
    """The latents of the largest face of each picture, or of its mirror image.

    Returns:
        Of both classes, float32 W+ [N, 18, 512]; and the pictures without a face, which with the other halves of
        their pairs are left out.
    """
    classes = [
        [_encode(path, encoder, landmarker, mirrored) for path in track(paths, description="Looking at pictures")]
        for paths in (pictures.without, pictures.having)
    ]
    paths = [*pictures.without, *pictures.having]
    faceless = [path for path, w_plus in zip(paths, [*classes[0], *classes[1]], strict=True) if w_plus is None]
    if pictures.pairs:
        whole = [pair for pair in zip(*classes, strict=True) if all(half is not None for half in pair)]
        classes = [[pair[i] for pair in whole] for i in (0, 1)]
    without, having = ([w_plus for w_plus in latents if w_plus is not None] for latents in classes)
    return (np.array(without, np.float32), np.array(having, np.float32)), faceless


def _encode(path: Path, encoder: Encoder, landmarker: Landmarker, mirrored: bool) -> F32 | None:
    photo = read_photo(path)
    if mirrored:
        photo = mirror_image(photo)
    faces = landmarker.detect(photo)
    if not faces:
        return None
    to_crop = to_crop_matrix(faces[0].landmarks, encoder.size)
    image = to_tensor(crop(photo, to_crop, encoder.size))
    # Landmarks in [0, 1] run from edge to edge of the crop, pixel centres at half steps.
    landmarks = (transform_points(to_crop, faces[0].landmarks) + 0.5) / encoder.size
    return encoder.encode(image, landmarks[None].astype(np.float32))[0]


def make(without: F32, having: F32) -> dict[str, OwnDirection]:
    """Both kinds of direction between two classes of latents, float32 W+ [N, 18, 512] each.

    Raises:
        UserError: too few of them.
    """
    if min(len(without), len(having)) < FEWEST:
        raise UserError(
            f"{len(without)} and {len(having)} pictures with a face are too few; give at least {FEWEST} of each"
        )
    latents = np.concatenate([without, having])
    x = (latents / std_w()).reshape(len(latents), -1).astype(np.float64)
    classes = np.repeat([0.0, 1.0], [len(without), len(having)])
    makers: dict[str, Maker] = {"means": difference_of_means, "classifier": classifier_normal}
    made = {}
    for name, maker in makers.items():
        vector = maker(x, classes).reshape(LAYERS, STYLE_DIM) * std_w()
        made[name] = OwnDirection(vector.astype(np.float32), _accuracy(maker, x, classes))
    return made


def difference_of_means(x: F64, classes: F64) -> F64:
    """From the mean of class 0 to that of class 1: float64 [P], of x [N, P] and classes [N]."""
    return np.asarray(x[classes == 1].mean(axis=0) - x[classes == 0].mean(axis=0))


def classifier_normal(x: F64, classes: F64) -> F64:
    """The normal of logistic regression, as long as the means are apart along it: float64 [P].

    The weights lie in the span of the pictures, w = X' a; Newton's method finds a.
    """
    apart = difference_of_means(x, classes)
    centred = x - (x[classes == 0].mean(axis=0) + x[classes == 1].mean(axis=0)) / 2
    kernel = centred @ centred.T / centred.shape[1]
    # Each class counts half, however many pictures it has.
    weight = np.where(classes == 1, 0.5 / classes.sum(), 0.5 / (len(classes) - classes.sum())) * len(classes)
    a = np.zeros(len(x))
    for _ in range(NEWTON_STEPS):
        probability = 1 / (1 + np.exp(-kernel @ a))
        curvature = np.maximum(weight * probability * (1 - probability), 1e-9)
        # At the optimum, PENALTY a = weight (classes - probability).
        wanted = kernel @ a + weight * (classes - probability) / curvature
        a = np.linalg.solve(kernel + PENALTY * np.diag(1 / curvature), wanted)
    normal = centred.T @ a
    return np.asarray(normal * (apart @ normal) / (normal @ normal))


def _accuracy(maker: Maker, x: F64, classes: F64) -> float:
    # The same fold for the n-th picture of each class: of a pair, neither half may tell about the other.
    fold = np.concatenate([np.arange(int((classes == c).sum())) % FOLDS for c in (0, 1)])
    right = np.zeros(len(x), bool)
    for left_out in range(FOLDS):
        seen, known = x[fold != left_out], classes[fold != left_out]
        direction = maker(seen, known)
        threshold = (seen[known == 0].mean(axis=0) + seen[known == 1].mean(axis=0)) @ direction / 2
        unseen = fold == left_out
        right[unseen] = (x[unseen] @ direction > threshold) == (classes[unseen] == 1)
    return float((right[classes == 0].mean() + right[classes == 1].mean()) / 2)
