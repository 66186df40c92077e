"""Draws what every direction does to every attribute as a heat map: its own on the diagonal, leaks beside it."""

from __future__ import annotations

from collections.abc import Mapping

import cv2
import numpy as np

from export.direction_recipes import RECIPES, UNITS
from export.direction_table import Effect
from models.arrays import F64, U8

CELL = (46, 26)  # pixels, width and height
LEFT, TOP = 170, 150  # pixels for the names
STRONGEST = 1.0  # standard deviations per unit of strength that are shown in full colour
UP: F64 = np.array([178.0, 24.0, 43.0])  # RGB of what rises
DOWN: F64 = np.array([33.0, 102.0, 172.0])
INK = (20, 20, 20)


def in_deviations(effects: Mapping[str, Effect]) -> F64:
    """float64 [directions, attributes]: change per unit of strength in standard deviations over faces."""
    return np.array(
        [[effect.per_unit[attribute] / unit for attribute, (unit, _) in UNITS.items()] for effect in effects.values()]
    )


def draw_heat_map(effects: Mapping[str, Effect]) -> U8:
    """A row per direction, a column per attribute of `UNITS`; uint8 [H, W, 3] RGB."""
    values = in_deviations(effects)
    width, height = CELL
    size = (TOP + len(effects) * height + 8, LEFT + len(UNITS) * width + 8, 3)
    picture = np.full(size, 255, np.uint8)
    for i, name in enumerate(effects):
        top = TOP + i * height
        _write(picture, name, (8, top + 17))
        for j, attribute in enumerate(UNITS):
            left = LEFT + j * width
            amount = min(abs(values[i, j]) / STRONGEST, 1.0)
            colour = 255 + amount * ((UP if values[i, j] > 0 else DOWN) - 255)
            picture[top : top + height, left : left + width] = colour
            if name in RECIPES and RECIPES[name].attribute == attribute:
                cv2.rectangle(picture, (left, top), (left + width - 1, top + height - 1), INK, 1)
            _write(picture, f"{values[i, j]:+.2f}", (left + 4, top + 17), 0.36, (255,) * 3 if amount > 0.6 else INK)
    # OpenCV writes level lines only: the columns' names are written on a sheet of their own and turned.
    names = np.full((size[1], TOP, 3), 255, np.uint8)
    for j, attribute in enumerate(UNITS):
        _write(names, attribute, (6, LEFT + j * width + width // 2 + 5))
    picture[:TOP] = cv2.rotate(names, cv2.ROTATE_90_COUNTERCLOCKWISE)
    return picture


def _write(picture: U8, text: str, at: tuple[int, int], scale: float = 0.44, colour: tuple[int, ...] = INK) -> None:
    cv2.putText(picture, text, at, cv2.FONT_HERSHEY_SIMPLEX, scale, colour, 1, cv2.LINE_AA)
