"""Chooses what a face is learned from: of each photograph, or part of a film, the sharpest face, of one person."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np

from live.sources.still import SUFFIXES, read_picture
from models import registry
from models.alignment import crop, to_crop_matrix
from models.arrays import F32, U8
from models.errors import UserError
from models.face_chip import SAME_PERSON
from models.face_windows import face_size
from models.inversion import Gradients, View, make_view, sharpness
from models.landmarker import Landmarker
from models.zoo import Encoder

MOST_FACES = 4  # that are looked at in a picture
KEPT_SIZE = 512  # pixels of a kept crop; the fit takes 256


@dataclass(frozen=True)
class Group:
    """Pictures that one view is taken of.

    Attributes:
        name: of the photograph, or when in the film they were.
        pictures: uint8 [H, W, 3] RGB.
    """

    name: str
    pictures: Sequence[U8]


@dataclass(frozen=True)
class Face:
    """A face in one of them.

    Attributes:
        view: as the fit needs it.
        identity: float32 [1, 128], the recogniser's embedding; the view has it too.
        crop: uint8 [512, 512, 3] RGB, aligned.
        size: pixels in the picture.
    """

    view: View
    identity: F32
    crop: U8
    size: float


def photographs(path: Path, most: int, say: Callable[[str], None]) -> Iterable[Group]:
    """The picture, or those in the folder: first `most` of them, evenly picked, then the others.

    What cannot be read is told and left out, as the file systems of cameras and phones hold all sorts.

    Raises:
        UserError: there are none, or the only one cannot be read.
    """
    if not path.exists():
        raise UserError(f"there is no {path}; give a picture or a folder of pictures")
    if path.is_file():
        yield Group(path.name, [read_picture(path)])
        return
    files = sorted(f for f in path.iterdir() if f.suffix.lower() in SUFFIXES and not f.name.startswith("."))
    if not files:
        raise UserError(f"{path} has no pictures; expected files ending in {', '.join(SUFFIXES)}")
    count = min(most, len(files))
    first = [files[i * len(files) // count] for i in range(count)]
    for file in [*first, *(file for file in files if file not in first)]:
        try:
            picture = read_picture(file)
        except UserError as error:
            say(f"left out: {error}")
            continue
        yield Group(file.name, [picture])


def choose(
    groups: Iterable[Group], encoder: Encoder, gradients: Gradients, most: int, say: Callable[[str], None]
) -> list[Face]:
    """One face of each of the first `most` groups that have any, all of the person who is in most of them.

    Of several people who are in as many it is the one who is largest in a picture. Groups without a face, or without
    that person, are told and left out.
    """
    found: list[tuple[str, list[Face]]] = []
    with Landmarker(registry.path("face-landmarker"), max_faces=MOST_FACES) as landmarker:
        for group in groups:
            faces = [
                _face(rgb, detected.landmarks, encoder, gradients)
                for rgb in group.pictures
                for detected in landmarker.detect(rgb)
            ]
            if faces:
                found.append((group.name, faces))
            else:
                say(f"left out: no face in {group.name}")
            if len(found) == most:
                break
    if not found:
        return []
    person = _person([faces for _, faces in found])
    chosen = []
    for name, faces in found:
        theirs = [face for face in faces if _distance(face, person) < SAME_PERSON]
        if theirs:
            chosen.append(max(theirs, key=lambda face: sharpness(face.view)))
        else:
            say(f"left out: {name} shows another person than most")
    return chosen


def _face(rgb: U8, landmarks: F32, encoder: Encoder, gradients: Gradients) -> Face:
    view = make_view(rgb, landmarks, encoder, gradients.picture.size)
    identity = gradients.identity.embed(view.target, view.down, view.across)
    kept = crop(rgb, to_crop_matrix(landmarks, KEPT_SIZE), KEPT_SIZE)
    return Face(replace(view, identity=identity), identity, kept, face_size(landmarks))


def _person(groups: Sequence[Sequence[Face]]) -> Face:
    """The face nearest to all groups, of each to the face that is most like it."""

    def away(face: Face) -> float:
        return sum(min(SAME_PERSON, *(_distance(face, other) for other in faces)) for faces in groups)

    return min((face for faces in groups for face in faces), key=lambda face: (away(face), -face.size))


def _distance(a: Face, b: Face) -> float:
    return float(np.linalg.norm(a.identity - b.identity))
