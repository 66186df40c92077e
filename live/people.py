"""Enrolments: what was learned of a person's face, in files that the user owns."""

from __future__ import annotations

import os
import re
import shlex
import shutil
import tempfile
import time
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
VIEWS = "views"  # folder of the pictures that were learned from, to learn from again
_MOST_BYTES = 1 << 20
_NAME = re.compile(r"\w[\w-]{0,39}")  # a folder's name on every system but for Windows's own, and no path
_DEVICES = re.compile(r"con|prn|aux|nul|(com|lpt)\d", re.IGNORECASE)
_NEW = ".new-"  # begins the name of a folder that is being written
_LEFT_SECONDS = 3600.0  # after which such a folder is one that a killed program left behind


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
    if not _NAME.fullmatch(name) or _DEVICES.fullmatch(name):
        raise UserError(f"{name!r} cannot be a person's name here; use 1 to 40 letters, digits, - and _")
    return name


def enrolled() -> list[str]:
    """Names of those who are enrolled, sorted."""
    return sorted(path.parent.name for path in people_folder().glob(f"*/{FILE}"))


def make_folder() -> Path:
    """Makes the folder of all enrolments, where there is none, and sees that it can be written to.

    Pictures of people that a killed program left in it are removed.

    Raises:
        UserError: it cannot be written to.
    """
    folder = people_folder()
    try:
        folder.mkdir(parents=True, exist_ok=True)
        for left in folder.glob(f"{_NEW}*"):
            if time.time() - left.stat().st_mtime > _LEFT_SECONDS:
                shutil.rmtree(left)
        with tempfile.TemporaryDirectory(dir=folder, prefix=_NEW):
            return folder
    except OSError as error:
        raise _cannot_write(folder, error) from error


def save(name: str, offset: F32, change: F32 | None, views: int, pictures: Mapping[str, U8]) -> Path:
    """Writes an enrolment, in place of one of that name.

    Args:
        name: see `check_name`.
        offset: see `Enrolment`.
        change: likewise; it is kept in float16.
        views: likewise.
        pictures: to keep beside it, uint8 [H, W, 3] RGB by file name; those to learn from again in `VIEWS`.

    Returns:
        Its folder.

    Raises:
        UserError: it cannot be written.
    """
    folder = make_folder() / check_name(name)
    try:
        with tempfile.TemporaryDirectory(dir=folder.parent, prefix=_NEW) as temporary:
            new = Path(temporary) / name
            new.mkdir()
            np.savez(
                new / FILE,
                version=np.array(VERSION),
                networks=np.array(_networks(tuned=change is not None)),
                created=np.array(f"{datetime.now():%Y-%m-%d %H:%M}"),
                views=np.array(views),
                offset=offset,
                change=np.zeros((1, 0), np.float16) if change is None else change.astype(np.float16),
            )
            for file, rgb in pictures.items():
                _, png = cv2.imencode(".png", cv2.cvtColor(rgb, cv2.COLOR_RGB2BGR))
                (new / file).parent.mkdir(exist_ok=True)
                (new / file).write_bytes(png.tobytes())
            _replace(folder, new, aside=Path(temporary) / "old")  # which is gone with the temporary folder
    except OSError as error:
        raise _cannot_write(folder, error) from error
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
    views = path.parent / VIEWS
    photos = f" --photos {shlex.quote(str(views))}" if views.is_dir() else ""
    again = f"enrol again: ./run.sh enrol --name {name}{photos}"
    if not {"version", "networks", "created", "views", "offset", "change"} <= arrays.keys():
        raise UserError(f"{path} is not an enrolment; {again}")
    tuned = arrays["change"].size > 0
    if arrays["version"].tolist() != VERSION or str(arrays["networks"]) != _networks(tuned=tuned):
        tune = " --tune" if tuned else ""
        raise UserError(
            f"{name!r} was enrolled with another generator, encoder or version of this program; {again}{tune}"
        )
    offset, change = arrays["offset"], arrays["change"]
    count = arrays["views"]
    whole = offset.shape == (1, LAYERS, STYLE_DIM) and change.shape in ((1, 0), (1, tuned_generator.LENGTH))
    typed = (
        offset.dtype == np.float32 and change.dtype == np.float16 and count.shape == () and count.dtype.kind == "i"
    )
    if not (whole and typed and np.isfinite(offset).all() and np.isfinite(change).all()):
        raise UserError(f"{path} is damaged; {again}")
    return Enrolment(name, offset, change.astype(np.float32) if tuned else None, int(count), str(arrays["created"]))


def delete(name: str) -> Path:
    """Removes an enrolment and its pictures; returns the folder that they were in.

    Raises:
        UserError: there is none of that name, or it cannot be removed.
    """
    folder = people_folder() / check_name(name)
    if not folder.is_dir():  # without its file too: a deletion that failed half-way leaves pictures
        raise UserError(f"nobody is enrolled as {name!r}; enrolled: {', '.join(enrolled()) or 'nobody'}")
    try:
        shutil.rmtree(folder)
    except OSError as error:
        raise UserError(f"cannot remove {folder}: {error.strerror}; remove it by hand") from error
    return folder


def _replace(folder: Path, new: Path, *, aside: Path) -> None:
    """Moves a folder aside, if there is one, and a new one into its place; back, should that fail."""
    if folder.exists():
        folder.rename(aside)
    try:
        new.rename(folder)
    except OSError:
        if aside.exists():
            aside.rename(folder)
        raise


def _networks(*, tuned: bool) -> str:
    """Hashes of the generator's weights, of the encoder and, for who is tuned, of the tuned back.

    To others the arrays mean nothing.
    """
    ours = [zoo.ENCODER, tuned_generator.BACK] if tuned else [zoo.ENCODER]
    return " ".join([registry.artefacts()["synthesis-bin"].sha256, *map(files.sha256, ours)])


def _cannot_write(folder: Path, error: OSError) -> UserError:
    return UserError(f"cannot write to {folder}: {error.strerror}; free space there, or set MORPHCAM_DATA")
