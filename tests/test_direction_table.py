"""What is made of the measures of a direction: ranges, the README's table, the heat map."""

from __future__ import annotations

import dataclasses

import numpy as np
import pytest

pytest.importorskip("dlib", reason="needs the train extra")

from export.direction_recipes import RECIPES, UNITS
from export.direction_table import Effect, as_json, markdown, own_attribute, same_person_range
from export.heat_map import CELL, LEFT, TOP, draw_heat_map
from export.measure import ATTRIBUTES

EFFECT = Effect(
    per_unit=dict.fromkeys(UNITS, 0.0) | {"smile": 0.33, "age": -6.0},
    per_unit_error=0.01,
    rise=0.7,
    rise_least_quarter=0.6,
    identity=(0.7, 0.5, 0.3, 0.4),
    range=(-2.5, 3.0),
    backdrop_change=3.0,
    lost=0,
)


def test_every_direction_has_an_attribute_that_is_measured_and_a_unit() -> None:
    own = [recipe.attribute for recipe in RECIPES.values()]
    assert len(set(own)) == len(own)
    assert set(own) <= set(UNITS) <= set(ATTRIBUTES)
    assert {name for recipe in RECIPES.values() for name in recipe.free} <= set(UNITS)


def test_a_person_stays_until_the_distance_reaches_the_threshold() -> None:
    assert same_person_range((0.7, 0.5, 0.3, 0.4)) == pytest.approx((-2.5, 3.0))
    assert same_person_range((0.9, 0.8, 0.6, 0.9)) == pytest.approx((-1.5, 2.0))
    # Less at 3 than at 2 is noise: a face does not come back.
    assert same_person_range((0.1, 0.1, 0.61, 0.59))[1] < 2.0


def test_the_table_has_a_row_per_direction_in_its_own_unit() -> None:
    rows = markdown({"smile": EFFECT, "age": EFFECT}).splitlines()[2:]
    assert rows[0].startswith("| `smile` | smiles | +0.33 of 1 | +0.7 | -2.5 to +3 |")
    assert "-6 years" in rows[1]


def test_a_direction_without_a_recipe_is_for_what_it_moves_most() -> None:
    assert own_attribute("mine", EFFECT.per_unit) == "smile"
    assert own_attribute("age", EFFECT.per_unit) == "age"
    assert as_json({"mine": EFFECT}, 3)["directions"]["mine"]["attribute"] == "smile"  # type: ignore[index]


def test_the_heat_map_is_red_where_it_rises_and_blue_where_it_falls() -> None:
    picture = draw_heat_map({"smile": EFFECT, "pitch": dataclasses.replace(EFFECT, range=(-1.0, 1.0))})

    def colour(row: int, attribute: str) -> np.ndarray[tuple[int], np.dtype[np.int64]]:
        column = list(UNITS).index(attribute)
        pixel = picture[TOP + row * CELL[1] + 3, LEFT + column * CELL[0] + 3]
        return np.asarray(pixel, np.int64)

    red, blue, none = colour(0, "smile"), colour(1, "age"), colour(0, "yaw")
    assert red[0] > red[2] + 50
    assert blue[2] > blue[0] + 30
    assert (none == 255).all()
