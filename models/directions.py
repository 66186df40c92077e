"""Directions in W+ along which a face gains or loses one attribute: those shipped, and files of the wild."""

from __future__ import annotations

import difflib
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from models.arrays import F32
from models.errors import UserError
from models.latent import LAYERS, STYLE_DIM
from models.npy import load_npy, load_npz
from models.unpickle import Tree, load_tensors

SUFFIXES = (".pt", ".pth", ".npy", ".npz")

_SHIPPED = Path(__file__).parent / "shipped" / "directions"
# Those that get a key of their own in the window; the others follow by name.
_FIRST = ("smile", "mouth-open", "surprise", "eyes-closed", "age", "gender", "beard", "hair-length", "glasses")
_MOST_BYTES = 16 << 20  # a direction in float64 has 74 kB; collections of them are not directions
_MOST_VALUE = 1e4  # W has values of a few units
_NAMES = ("vector", "direction", "boundary", "w", "w_plus", "latent")  # what authors call the array
_SHAPES = ((STYLE_DIM,), (1, STYLE_DIM), (LAYERS, STYLE_DIM), (1, LAYERS, STYLE_DIM))
_DEFAULT_RANGE = (-3.0, 3.0)


@dataclass(frozen=True)
class Direction:
    """One direction, to be added to a latent times a strength.

    Attributes:
        name: what the user calls it: a shipped name, or a file's name without its suffix.
        vector: float32 [1, 18, 512]; a shipped one has the length at which strength 1 is clearly visible.
        description: one line, may be empty.
        range: strengths (lowest, highest) within which faces stay natural.
    """

    name: str
    vector: F32
    description: str = ""
    range: tuple[float, float] = _DEFAULT_RANGE


def shipped_directions() -> tuple[str, ...]:
    """Names of the directions that come with the application: those with keys first, then by name."""
    names = sorted(path.stem for path in _SHIPPED.glob("*.npz"))
    return tuple(sorted(names, key=lambda name: _FIRST.index(name) if name in _FIRST else len(_FIRST)))


def load_direction(name_or_path: str) -> Direction:
    """A shipped direction by its name, or one from a file.

    Args:
        name_or_path: such as "smile" or "path/to/smile.pt". A file is ``.npy``, ``.npz`` or ``.pt`` of
            shape [512], [1, 512], [18, 512] or [1, 18, 512], any float type.

    Raises:
        UserError: no such direction, or a file that is damaged, unsafe, of another shape or not finite.
    """
    path = Path(name_or_path)
    if path.suffix.lower() in SUFFIXES:
        return _from_file(path)
    if name_or_path in shipped_directions():
        return _shipped(name_or_path)
    near = difflib.get_close_matches(name_or_path, shipped_directions(), n=1)
    hint = f"did you mean {near[0]!r}? " if near else ""
    raise UserError(
        f"unknown direction {name_or_path!r}: {hint}known are {', '.join(shipped_directions()) or 'none'}, "
        f"or give a file ({', '.join(SUFFIXES)})"
    )


def _shipped(name: str) -> Direction:
    arrays = load_npz(_SHIPPED / f"{name}.npz", max_bytes=_MOST_BYTES)
    vector = _checked(arrays["vector"], name)
    description = str(arrays["description"]) if "description" in arrays else ""
    lowest, highest = arrays["range"].tolist() if "range" in arrays else _DEFAULT_RANGE
    return Direction(name, vector, description, (lowest, highest))


def _from_file(path: Path) -> Direction:
    suffix = path.suffix.lower()
    if suffix == ".npy":
        array = load_npy(path, max_bytes=_MOST_BYTES)
    elif suffix == ".npz":
        array = _only(load_npz(path, max_bytes=_MOST_BYTES), path)
    else:
        array = _only(_arrays(load_tensors(path, max_bytes=_MOST_BYTES)), path)
    return Direction(path.stem, _checked(array, str(path)))


def _arrays(content: Tree) -> dict[str, NDArray[Any]]:
    """The arrays at the top of a file, by name."""
    items: Iterable[tuple[str | int, Tree]] = ()
    if isinstance(content, np.ndarray):
        items = [("tensor", content)]
    elif isinstance(content, dict):
        items = content.items()
    elif isinstance(content, (list, tuple)):
        items = enumerate(content)
    return {str(name): value for name, value in items if isinstance(value, np.ndarray)}


def _only(arrays: dict[str, NDArray[Any]], path: Path) -> NDArray[Any]:
    """The only array of a file, or the one whose name says that it is the direction."""
    if len(arrays) == 1:
        return next(iter(arrays.values()))
    named = [name for name in _NAMES if name in arrays]
    if named:
        return arrays[named[0]]
    found = f"{len(arrays)} arrays ({', '.join(list(arrays)[:5])})" if arrays else "no array"
    raise UserError(f"{path} has {found}; expected one array, or one named {' or '.join(_NAMES[:4])}")


def _checked(array: NDArray[Any], name: str) -> F32:
    """Any accepted shape and float type -> float32 [1, 18, 512]."""
    if array.shape not in _SHAPES:
        expected = ", ".join(str(list(shape)) for shape in _SHAPES)
        raise UserError(f"{name} has shape {list(array.shape)}; expected one of {expected}")
    if array.dtype.kind != "f":
        raise UserError(f"{name} holds {array.dtype} values; expected float16, float32 or float64")
    with np.errstate(invalid="ignore"):  # of signalling NaNs, which the next lines refuse
        vector = np.array(np.broadcast_to(array, (1, LAYERS, STYLE_DIM)), np.float64)
    if not np.isfinite(vector).all():
        raise UserError(f"{name} has values that are not finite (NaN or infinity); get the file again")
    if np.abs(vector).max() > _MOST_VALUE:
        raise UserError(f"{name} has values up to {np.abs(vector).max():.3g}; expected at most {_MOST_VALUE:g}")
    if not vector.any():
        raise UserError(f"{name} is all zeros, which is no direction; get the file again")
    return vector.astype(np.float32)
