"""The ways to show an edit, by name."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from live.render.camera import Camera
from live.render.mode import Inversion, Mode
from live.render.paste import Paste
from live.render.portrait import Portrait
from live.render.transfer import GeneratedLandmarks, Transfer

__all__ = ["MODES", "UNEDITED", "GeneratedLandmarks", "Inversion", "Mode", "make_mode"]

# In the order in which the window goes through them.
MODES: dict[str, Callable[[GeneratedLandmarks], Mode[Any]]] = {
    "transfer": Transfer,
    "paste": lambda _: Paste(),
    "portrait": lambda _: Portrait(),
}
UNEDITED = "camera"  # a mode for measuring: tracking alone


def make_mode(name: str, generated: GeneratedLandmarks) -> Mode[Any]:
    """A mode for one run; `name` is one of MODES or UNEDITED."""
    return Camera() if name == UNEDITED else MODES[name](generated)
