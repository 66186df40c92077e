"""Takes values out of parsed JSON, of which nothing is trusted; what is wrong is a ValueError that says where."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from typing import Any, TypeAlias, TypeVar

Json: TypeAlias = "dict[str, Json] | list[Json] | str | int | float | bool | None"

_T = TypeVar("_T")


def typed(value: object, kind: type[_T], what: str) -> _T:
    """The value, which must be of this very type: True is no number."""
    if not isinstance(value, kind) or (isinstance(value, bool) and kind is not bool):
        raise ValueError(f"{what} is not a {kind.__name__}")
    return value


def as_text(value: object, what: str) -> str:
    """A string."""
    return typed(value, str, what)


def as_number(value: object, what: str) -> float:
    """A finite number."""
    if isinstance(value, bool) or not isinstance(value, (int, float)):
        raise ValueError(f"{what} is not a number")
    if not math.isfinite(value):
        raise ValueError(f"{what} is not finite")
    return float(value)


def as_optional_number(value: object, what: str) -> float | None:
    """A finite number or nothing."""
    return None if value is None else as_number(value, what)


def as_count(value: object, what: str) -> int:
    """A whole number."""
    return typed(value, int, what)


def as_shape(value: object, what: str) -> tuple[int | str, ...]:
    """Whole numbers and names of free sizes, at least one."""
    entries = typed(value, list, what)
    if not all(isinstance(n, (int, str)) and not isinstance(n, bool) for n in entries) or not entries:
        raise ValueError(f"{what} is not a shape")
    return tuple(entries)


def table(value: object, what: str, reader: Callable[[object, str], _T]) -> dict[str, _T]:
    """A table of any names, each entry read by `reader`."""
    return {name: reader(entry, f"{what} {name!r}") for name, entry in typed(value, dict, what).items()}


def record(
    value: object, what: str, kind: Callable[..., _T], readers: Mapping[str, Callable[[object, str], Any]]
) -> _T:
    """What `kind` makes of a table with exactly the names of `readers`, each entry read by its own."""
    content = typed(value, dict, what)
    if content.keys() != readers.keys():
        raise ValueError(f"{what} has {sorted(content)}, expected {sorted(readers)}")
    return kind(**{name: reader(content[name], f"{what}, {name}") for name, reader in readers.items()})
