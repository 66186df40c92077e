"""Save one picture as a PNG file."""

from __future__ import annotations

import contextlib
import os
import tempfile
from datetime import datetime
from itertools import count
from pathlib import Path

import cv2
import platformdirs

from models.arrays import U8
from models.errors import UserError


def pictures_folder() -> Path:
    """Where snapshots go unless the user says otherwise: ``morphcam`` in the user's pictures folder."""
    return platformdirs.user_pictures_path() / "morphcam"


def save_snapshot(rgb: U8, folder: Path | None = None) -> Path:
    """Save a picture under a name made of the time; nothing is overwritten, nothing is left half-written.

    Args:
        rgb: uint8 [H, W, 3].
        folder: made where it does not exist; None = ``pictures_folder()``.

    Returns:
        The new file, ``morphcam-YYYYMMDD-HHMMSS.png``, with ``-2``, ``-3``... where that is taken.

    Raises:
        UserError: the folder cannot be made or written.
    """
    folder = pictures_folder() if folder is None else folder
    encoded, png = cv2.imencode(".png", cv2.cvtColor(rgb, cv2.COLOR_RGB2BGR))
    assert encoded  # memory to memory, a picture of checked shape
    temporary: Path | None = None
    try:
        folder.mkdir(parents=True, exist_ok=True)
        with tempfile.NamedTemporaryFile(dir=folder, prefix=".morphcam-", suffix=".png", delete=False) as file:
            temporary = Path(file.name)
            file.write(png.tobytes())
        return _claim_name(temporary, folder)
    except OSError as error:
        if temporary is not None:
            with contextlib.suppress(OSError):  # the first error is the one to tell
                temporary.unlink()
        raise UserError(
            f"cannot save a snapshot in {folder}: {error.strerror}; choose a folder you can write to"
        ) from error


def _claim_name(temporary: Path, folder: Path) -> Path:
    """Give the finished file the first free name of this second."""
    stem = f"morphcam-{datetime.now():%Y%m%d-%H%M%S}"
    for number in count(1):
        path = folder / (f"{stem}.png" if number == 1 else f"{stem}-{number}.png")
        try:
            os.close(os.open(path, os.O_CREAT | os.O_EXCL | os.O_WRONLY))  # ours alone from here on
        except FileExistsError:
            continue
        temporary.chmod(path.stat().st_mode)  # temporary files are private, pictures follow the umask
        temporary.replace(path)
        return path
    raise AssertionError("count never ends")
