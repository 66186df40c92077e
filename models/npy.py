"""Reads NumPy's ``.npy`` and ``.npz`` files of unknown origin: sizes are checked before memory is taken."""

from __future__ import annotations

import io
import math
import re
import zipfile
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from models.errors import UserError
from models.pickles.unpickle import DAMAGE, read_limited

_MAGIC = b"\x93NUMPY"
# What NumPy itself writes, with Python 2's long integers. NumPy's reader evaluates any Python literal here,
# which a hostile header can make it choke on.
_HEADER = re.compile(
    rb"\{'descr': '([^']{2,8})', 'fortran_order': (True|False), "
    rb"'shape': \(((?:\d{1,12}L?, ?)*(?:\d{1,12}L?)?)\),? *\}\s*"
)


def load_npy(path: Path, *, max_bytes: int) -> NDArray[Any]:
    """The array of a ``.npy`` file, of numbers or text; never unpickles.

    Raises:
        UserError: missing, damaged, larger than `max_bytes`, or an array of Python objects.
    """
    return _parse(read_limited(path, max_bytes), str(path))


def load_npz(path: Path, *, max_bytes: int) -> dict[str, NDArray[Any]]:
    """The arrays of a ``.npz`` file by name; never unpickles.

    Raises:
        UserError: as `load_npy`, `max_bytes` bounding both the file and what it unpacks to.
    """
    content = read_limited(path, max_bytes)
    arrays: dict[str, NDArray[Any]] = {}
    try:
        with zipfile.ZipFile(io.BytesIO(content)) as archive:
            left = max_bytes
            for info in archive.infolist():
                # The declared size may be a lie: read no more than is allowed, whatever it says.
                with archive.open(info) as member:
                    unpacked = member.read(left + 1)
                if len(unpacked) > left:
                    raise UserError(f"{path} unpacks to more than {max_bytes} bytes; is it the right file?")
                left -= len(unpacked)
                name = info.filename.removesuffix(".npy")
                arrays[name] = _parse(unpacked, f"{path}, array {name!r}")
    except DAMAGE as error:
        raise UserError(f"{path} is damaged or not an .npz file ({error}); get the file again") from error
    return arrays


def _parse(content: bytes, name: str) -> NDArray[Any]:
    """One ``.npy`` file's bytes: magic, version, header length, header, elements (numpy.lib.format)."""
    length_bytes = 2 if content[6:7] == b"\x01" else 4
    start = 8 + length_bytes
    end = start + int.from_bytes(content[8:start], "little")
    header = _HEADER.fullmatch(content[start:end])
    if not content.startswith(_MAGIC) or header is None:
        raise UserError(f"{name} is damaged or not a NumPy array of numbers; get the file again")
    try:
        dtype = np.dtype(header[1].decode("ascii"))
    except (TypeError, ValueError) as error:
        raise UserError(f"{name} has elements of the unknown type {header[1]!r}; save plain numbers") from error
    if dtype.hasobject:
        raise UserError(f"{name} holds pickled Python objects, which are not loaded; save plain numbers")
    shape = tuple(int(n) for n in re.findall(rb"\d+", header[3]))
    count = math.prod(shape)
    if dtype.itemsize == 0 or count * dtype.itemsize > len(content) - end:
        raise UserError(
            f"{name} is cut off: shape {list(shape)} of {dtype} does not fit in {len(content) - end} bytes; "
            "get the file again"
        )
    flat = np.frombuffer(content, dtype, count, end)
    return flat.reshape(shape, order="F" if header[2] == b"True" else "C")
