"""Enrolments: what was learned of a person's face, in files that the user owns."""

from __future__ import annotations

import os
import re
import shutil
import tempfile
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path

import cv2
import numpy as np
import platformdirs

from models import files, registry, tuned_generator, zoo
from models.arrays import F32, U8
from models.errors import UserError
from models.latent import LAYERS, STYLE_DIM
from models.npy import load_npz

VERSION = 2
FILE = "identity.npz"
_MOST_BYTES = 1 << 20
_NAME = re.compile(r"\w[\w-]{0,39}")  # a folder's name on every system, and no path


@dataclass(frozen=True)
class Enrolment:
    """A person.

    Attributes:
        name: what the user calls them.
        offset: float32 [1, 18, 512], to be added to the encoder's latent of their face.
        change: float32 [1, P], of the generator's last weights, see models.tuned_generator; None = not tuned.
        views: how many pictures it was fitted to.
        created: local time, as YYYY-MM-DD HH:MM.
    """

    name: str
    offset: F32
    change: F32 | None
    views: int
    created: str


def people_folder() -> Path:
    """The folder of all enrolments: among the user's data, or in ``$MORPHCAM_DATA`` where that is set."""
    chosen = os.environ.get("MORPHCAM_DATA")
    root = Path(chosen).expanduser() if chosen else Path(platformdirs.user_data_dir("morphcam", appauthor=False))
    return root.absolute() / "people"


def check_name(name: str) -> str:
    """The name, if it may be one.

    Raises:
        UserError: it may not.
    """
    if not _NAME.fullmatch(name):
        raise UserError(f"{name!r} cannot be a person's name here; use 1 to 40 letters, digits, - and _")
    return name


def enrolled() -> list[str]:
    """Names of those who are enrolled, sorted."""
    return sorted(path.parent.name for path in people_folder().glob(f"*/{FILE}"))


def save(name: str, offset: F32, change: F32 | None, views: int, pictures: Mapping[str, U8]) -> Path:
    """Writes an enrolment, in place of one of that name.

    Args:
        name: see `check_name`.
        offset: see `Enrolment`.
        change: likewise; it is kept in float16.
        views: likewise.
        pictures: to keep beside it, uint8 [H, W, 3] RGB by file name.

    Returns:
        Its folder.

    Raises:
        UserError: it cannot be written.
    """
    folder = people_folder() / check_name(name)
    try:
        folder.parent.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(dir=folder.parent, prefix=".new-") as temporary:
            new = Path(temporary) / name
            new.mkdir()
            np.savez(
                new / FILE,
                version=np.array(VERSION),
                networks=np.array(_networks()),
                created=np.array(f"{datetime.now():%Y-%m-%d %H:%M}"),
                views=np.array(views),
                offset=offset,
                change=np.zeros((1, 0), np.float16) if change is None else change.astype(np.float16),
            )
            for file, rgb in pictures.items():
                _, png = cv2.imencode(".png", cv2.cvtColor(rgb, cv2.COLOR_RGB2BGR))
                (new / file).write_bytes(png.tobytes())
            if folder.exists():
                folder.rename(Path(temporary) / "old")  # and gone with the temporary folder
            new.rename(folder)
    except OSError as error:
        raise UserError(
            f"cannot write to {folder}: {error.strerror}; free space there, or set MORPHCAM_DATA"
        ) from error
    return folder


def load(name: str) -> Enrolment:
    """Reads an enrolment.

    Raises:
        UserError: there is none of that name, it is damaged, or was made with other networks.
    """
    path = people_folder() / check_name(name) / FILE
    if not path.exists():
        known = ", ".join(enrolled()) or "nobody"
        raise UserError(f"nobody is enrolled as {name!r} (enrolled: {known}); first: ./run.sh enrol --name {name}")
    arrays = load_npz(path, max_bytes=_MOST_BYTES)
    again = f"enrol again: ./run.sh enrol --name {name}"
    if not {"version", "networks", "created", "views", "offset", "change"} <= arrays.keys():
        raise UserError(f"{path} is not an enrolment; {again}")
    if int(arrays["version"]) != VERSION or str(arrays["networks"]) != _networks():
        raise UserError(f"{name!r} was enrolled with another generator, encoder or version of this program; {again}")
    offset, change = arrays["offset"], arrays["change"]
    whole = offset.shape == (1, LAYERS, STYLE_DIM) and change.shape in ((1, 0), (1, tuned_generator.LENGTH))
    typed = offset.dtype == np.float32 and change.dtype == np.float16
    if not (whole and typed and np.isfinite(offset).all() and np.isfinite(change).all()):
        raise UserError(f"{path} is damaged; {again}")
    tuned = change.astype(np.float32) if change.size else None
    return Enrolment(name, offset, tuned, int(arrays["views"]), str(arrays["created"]))


def delete(name: str) -> Path:
    """Removes an enrolment and its pictures; returns the folder that they were in.

    Raises:
        UserError: there is none of that name, or it cannot be removed.
    """
    folder = people_folder() / check_name(name)
    if not (folder / FILE).exists():
        raise UserError(f"nobody is enrolled as {name!r}; enrolled: {', '.join(enrolled()) or 'nobody'}")
    try:
        shutil.rmtree(folder)
    except OSError as error:
        raise UserError(f"cannot remove {folder}: {error.strerror}; remove it by hand") from error
    return folder


def _networks() -> str:
    """Hashes of the generator's weights, of the encoder and of the tuned back: to others the arrays mean nothing."""
    ours = (files.sha256(path) for path in (zoo.ENCODER, tuned_generator.BACK))
    return " ".join([registry.artefacts()["synthesis-bin"].sha256, *ours])
