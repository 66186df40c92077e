"""Folders of photographs of people: which there are, who of them is learned from, and how one is read."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from pathlib import Path

import cv2
import numpy as np

from models.arrays import U8
from models.errors import UserError

SUFFIXES = (".jpg", ".jpeg", ".png", ".bmp", ".webp")
NEUTRAL, SMILING = "_neutral", "_smiling"  # ends of the names of two photographs of a person
HELD_OUT_HELP = "of each DIR, measure only people whom `polish` with that DIR leaves out"


def read_photo(path: Path) -> U8:
    """uint8 [H, W, 3], RGB.

    Raises:
        UserError: it is no picture.
    """
    encoded = np.frombuffer(path.read_bytes(), np.uint8)
    decoded = cv2.imdecode(encoded, cv2.IMREAD_COLOR) if encoded.size else None
    if decoded is None:
        raise UserError(f"{path} is not a picture that can be read; expected JPEG, PNG, BMP or WebP")
    return np.asarray(cv2.cvtColor(decoded, cv2.COLOR_BGR2RGB), np.uint8)


def mirror_image(rgb: U8) -> U8:
    """uint8 [H, W, 3], left and right exchanged."""
    return np.ascontiguousarray(rgb[:, ::-1])


def photo_paths(folder: Path) -> list[Path]:
    """The photographs of a folder, sorted by name; hidden files are none.

    Raises:
        UserError: there is no such folder, or none in it.
    """
    if not folder.is_dir():
        raise UserError(f"{folder} is not a folder; give a folder of face photographs")
    found = (path for path in folder.iterdir() if path.suffix.lower() in SUFFIXES)
    paths = sorted(path for path in found if not path.name.startswith("."))
    if not paths:
        raise UserError(f"{folder} holds no photographs; expected files of {', '.join(SUFFIXES)}")
    return paths


def straight_faces(folder: Path, *, only_held_out: bool) -> list[Path]:
    """The photographs NAME_neutral of a folder, sorted by name; of everybody, or of those held out."""
    paths = sorted(folder.glob(f"*{NEUTRAL}.*"))
    return held_out(paths) if only_held_out else paths


def smiling_of(straight: Path) -> Path:
    """Where the photograph NAME_smiling of somebody's NAME_neutral is."""
    return straight.with_name(straight.name.replace(NEUTRAL, SMILING))


def trained_on(paths: Sequence[Path]) -> list[Path]:
    """The photographs ``NAME_anything`` of every other person, by name: the others are there to be measured on."""
    people = _people(paths)[::2]
    return [path for path in paths if _person(path) in people]


def held_out(paths: Sequence[Path]) -> list[Path]:
    """The others."""
    people = _people(paths)[1::2]
    return [path for path in paths if _person(path) in people]


def names_of(paths: Iterable[Path], taken: Iterable[str] = ()) -> dict[str, Path]:
    """Files or folders by their last names, with a number where several have the same."""
    named: dict[str, Path] = {}
    for path in paths:
        name, number = path.resolve().name, 1
        while name in named or name in taken:
            number += 1
            name = f"{path.resolve().name}-{number}"
        named[name] = path
    return named


def _people(paths: Iterable[Path]) -> list[str]:
    return sorted({_person(path) for path in paths})


def _person(path: Path) -> str:
    return path.name.split("_")[0]
