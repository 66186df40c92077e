"""Directions in W+ along which a face gains or loses one attribute: those shipped, and files of the wild."""

from __future__ import annotations

import difflib
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from models.arrays import F32
from models.errors import UserError
from models.latent import LatentSpace, shipped_space
from models.npy import load_npy, load_npz
from models.pickles.unpickle import Tree, load_tensors

SUFFIXES = (".pt", ".pth", ".npy", ".npz")

_SHIPPED = Path(__file__).parent / "shipped" / "directions"
# Those that get a key of their own in the window; the others follow by name.
_FIRST = ("smile", "mouth-open", "surprise", "eyes-closed", "age", "gender", "beard", "hair-length", "glasses")
_MOST_BYTES = 16 << 20  # a direction in float64 has 74 kB; collections of them are not directions
_MOST_LETTERS = 100  # of a description, which is one line of a list
_MOST_VALUE = 1e4  # W has values of a few units
_NAMES = ("vector", "direction", "boundary", "w", "w_plus", "latent")  # what authors call the array
_DEFAULT_RANGE = (-3.0, 3.0)


@dataclass(frozen=True)
class Direction:
    """One direction, to be added to a latent times a strength.

    Attributes:
        name: what the user calls it: a shipped name, or a file's name without its suffix.
        vector: float32 [1, L, D] of its generator, as a rule [1, 18, 512]; a shipped one has the length at which
            strength 1 is clearly visible.
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
    """One for the default generator; see `Directions.load`."""
    return Directions().load(name_or_path)


@dataclass(frozen=True, eq=False)
class Directions:
    """What a generator can be moved along: the files of a folder, then the shipped ones.

    Attributes:
        space: of the generator's latents.
        files: of the folder, by the name that each has there.
        folder: where they lie; None = there is none.
        shipped: whether the shipped ones fit: they are directions of the default generator's W.
    """

    space: LatentSpace = field(default_factory=shipped_space)
    files: Mapping[str, Path] = field(default_factory=dict)
    folder: Path | None = None
    shipped: bool = True

    @classmethod
    def of(cls, space: LatentSpace, folder: Path | None) -> Directions:
        """Those for a generator's latents.

        Raises:
            UserError: the folder cannot be read, holds no directions, or two of one name.
        """
        files = {} if folder is None else _files_of(folder)
        return cls(space, files, folder, shipped=space.is_same(shipped_space()))

    @property
    def names(self) -> tuple[str, ...]:
        """Their names, in the order of the keys: the folder's by name, then the shipped ones that it has not."""
        shipped = shipped_directions() if self.shipped else ()
        return (*self.files, *(name for name in shipped if name not in self.files))

    def load(self, name_or_path: str) -> Direction:
        """One by its name, or from a file.

        Args:
            name_or_path: such as "smile" or "path/to/smile.pt". A file is ``.npy``, ``.npz`` or ``.pt`` of
                shape [512], [1, 512], [18, 512] or [1, 18, 512], any float type; of another generator, its own
                number of layers and of values in each.

        Raises:
            UserError: no such direction, or a file that is damaged, unsafe, of another shape or not finite.
        """
        path = Path(name_or_path)
        if path.suffix.lower() in SUFFIXES:
            return _from_file(path, self.space)
        if name_or_path in self.files:
            return _from_file(self.files[name_or_path], self.space)
        if self.shipped and name_or_path in shipped_directions():
            return _shipped(name_or_path)
        near = difflib.get_close_matches(name_or_path, self.names, n=1)
        hint = f"did you mean {near[0]!r}? " if near else ""
        foreign = "" if self.shipped else "; the shipped ones are for the default generator's W"
        raise UserError(
            f"unknown direction {name_or_path!r}: {hint}known are {', '.join(self.names) or 'none'}, "
            f"or give a file ({', '.join(SUFFIXES)}){foreign}"
        )


def _files_of(folder: Path) -> dict[str, Path]:
    """The direction files in a folder by name, in their names' order."""
    try:
        found = sorted(file for file in folder.iterdir() if file.suffix.lower() in SUFFIXES)
    except OSError as error:
        raise UserError(f"cannot read the folder of directions {folder}: {error.strerror}") from error
    files: dict[str, Path] = {}
    for file in sorted(found, key=lambda file: file.stem):
        if file.stem in files:
            raise UserError(
                f"{folder} has {files[file.stem].name} and {file.name}, both called {file.stem}; rename one"
            )
        files[file.stem] = file
    if not files:
        raise UserError(f"{folder} holds no directions; expected files ending in {', '.join(SUFFIXES)}")
    return files


def _shipped(name: str) -> Direction:
    return _from_file(_SHIPPED / f"{name}.npz", shipped_space())


def _from_file(path: Path, space: LatentSpace) -> Direction:
    suffix = path.suffix.lower()
    arrays: dict[str, NDArray[Any]] = {}
    if suffix == ".npy":
        array = load_npy(path, max_bytes=_MOST_BYTES)
    elif suffix == ".npz":
        arrays = load_npz(path, max_bytes=_MOST_BYTES)
        array = _only(arrays, path)
    else:
        array = _only(_arrays(load_tensors(path, max_bytes=_MOST_BYTES)), path)
    vector = _checked(array, str(path), space)
    return Direction(path.stem, vector, _description(arrays), _range(arrays))


def _description(arrays: Mapping[str, NDArray[Any]]) -> str:
    """What `export` writes beside a vector; of files of the wild nothing."""
    found = arrays.get("description")
    if found is None or found.dtype.kind != "U" or found.ndim > 0:
        return ""
    return " ".join(str(found).split())[:_MOST_LETTERS]


def _range(arrays: Mapping[str, NDArray[Any]]) -> tuple[float, float]:
    """Likewise."""
    found = arrays.get("range")
    if found is None or found.shape != (2,) or found.dtype.kind != "f" or not found[0] < 0 < found[1]:
        return _DEFAULT_RANGE
    return float(found[0]), float(found[1])


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


def _checked(array: NDArray[Any], name: str, space: LatentSpace) -> F32:
    """Any accepted shape and float type -> float32 [1, 18, 512]."""
    layers, style_dim = space.layers, space.style_dim
    shapes = ((style_dim,), (1, style_dim), (layers, style_dim), (1, layers, style_dim))
    if array.shape not in shapes:
        expected = ", ".join(str(list(shape)) for shape in shapes)
        raise UserError(f"{name} has shape {list(array.shape)}; expected one of {expected}")
    if array.dtype.kind != "f":
        raise UserError(f"{name} holds {array.dtype} values; expected float16, float32 or float64")
    with np.errstate(invalid="ignore"):  # of signalling NaNs, which the next lines refuse
        vector = np.array(np.broadcast_to(array, (1, layers, style_dim)), np.float64)
    if not np.isfinite(vector).all():
        raise UserError(f"{name} has values that are not finite (NaN or infinity); get the file again")
    if np.abs(vector).max() > _MOST_VALUE:
        raise UserError(f"{name} has values up to {np.abs(vector).max():.3g}; expected at most {_MOST_VALUE:g}")
    if not vector.any():
        raise UserError(f"{name} is all zeros, which is no direction; get the file again")
    return vector.astype(np.float32)
