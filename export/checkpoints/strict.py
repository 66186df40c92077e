"""Takes a network's weights out of a file, key by key: none missing, none left over, each of its shape."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

import numpy as np

from models.arrays import F32
from models.errors import UserError

_NAMED = 3  # of a kind of fault; the rest is counted
_LONGEST = 60  # characters of a name out of a file


def take(
    found: Mapping[str, Any],
    shapes: Mapping[str, tuple[int, ...]],
    whose: str,
    gains: Mapping[str, float] | None = None,
) -> dict[str, F32]:
    """Float32 copies of the arrays in `found`, which must be those of `shapes`.

    Args:
        found: what the file has by name; nothing of it is trusted.
        shapes: what the network has.
        whose: what the message begins with: the file and what it was taken for.
        gains: name -> what to multiply an array with; None = 1 for all.

    Raises:
        UserError: weights are missing, left over, of another shape, no real numbers, or not finite; it names a few
            of each kind of fault and counts the rest.
    """
    common = [name for name in shapes if name in found]
    arrays = {name: found[name] for name in common if _is_weight(found[name])}
    faults = {
        "missing": [name for name in shapes if name not in found],
        "unknown": [quoted(name) for name in found if name not in shapes],
        "no weights": [name for name in common if name not in arrays],
        "of another shape": [
            f"{name} {list(array.shape)} in place of {list(shapes[name])}"
            for name, array in arrays.items()
            if array.shape != shapes[name]
        ],
    }
    if not any(faults.values()):
        weights = {name: _copy(array, 1.0 if gains is None else gains[name]) for name, array in arrays.items()}
        faults["not finite"] = [name for name, array in weights.items() if not np.isfinite(array).all()]
        if not faults["not finite"]:
            return weights
    told = "; ".join(f"{len(names)} {kind}: {few(names)}" for kind, names in faults.items() if names)
    raise UserError(f"{whose} does not fit: {told}; get the file again, or one of a kind that is known")


def few(names: Iterable[str]) -> str:
    """The first few of some names, and how many more there are."""
    listed = list(names)
    more = len(listed) - _NAMED
    return ", ".join(listed[:_NAMED]) + (f" and {more} more" if more > 0 else "")


def quoted(name: object) -> str:
    """A name out of a file, fit for a message of one line."""
    text = str(name)
    return repr(text if len(text) <= _LONGEST else f"{text[:_LONGEST]}...")


def _is_weight(value: object) -> bool:
    return isinstance(value, np.ndarray) and value.dtype.kind == "f"


def _copy(array: F32, gain: float) -> F32:
    copy: F32 = np.empty(array.shape, np.float32)
    with np.errstate(over="ignore", invalid="ignore"):  # what is not finite is told by name
        np.multiply(array, gain, out=copy, casting="same_kind")
    return copy
