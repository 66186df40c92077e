"""Which of several faces an effect is for."""

from __future__ import annotations

import re

_FACE = re.compile(r"(\d+):(.*)", re.DOTALL)


def split_place(text: str) -> tuple[int | None, str]:
    """Takes the face off an effect as the user writes it: "2:smile=1" is place 1 and "smile=1".

    Returns:
        The place, from 0 (the user counts faces from 1; "0:" is place -1, which is nobody's), None = every face;
        and the rest.
    """
    found = _FACE.fullmatch(text)
    return (int(found[1]) - 1, found[2]) if found else (None, text)


def with_place(place: int | None, name: str) -> str:
    """The name of an effect as the user writes it."""
    return name if place is None else f"{place + 1}:{name}"
