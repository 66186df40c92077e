"""Knowing people again: how faces look, and which face is whose."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import permutations
from pathlib import Path

import cv2
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from live.faces.identity import Sighting, cheapest, crowded, describe, recognise, sight, update
from models.alignment import transform_points
from models.arrays import F32, U8
from models.landmarker import Landmarker

FRAME = 1 / 30  # seconds
UNSEEN = 2.5

costs = st.floats(0, 4) | st.just(float("inf"))


def look(seed: int, noise: float = 0.0) -> F32:
    """Looks of different seeds are as far from each other as those of two people."""
    base = np.random.default_rng(seed).standard_normal(192) * 0.06
    return (base + np.random.default_rng(99).standard_normal(192) * noise).astype(np.float32)


def person(x: float, seed: int, *, t: float = 0.0, speed: float = 0.0, y: float = 200.0) -> Sighting:
    """Somebody with a face of 100 pixels who moves sideways."""
    return Sighting(t, np.array([x, y]), 100.0, np.array([speed, 0.0]), look(seed))


@given(st.lists(st.lists(costs, min_size=3, max_size=3), max_size=4))
def test_the_way_chosen_is_the_cheapest_there_is(table: list[list[float]]) -> None:
    nobody = [None] * len(table)
    prices = [price(table, way) for way in permutations([0, 1, 2, *nobody], len(table))]
    cost, way = cheapest(table, UNSEEN)
    assert cost == pytest.approx(min(prices)) == pytest.approx(price(table, way))
    given = [face for face in way if face is not None]
    assert len(set(given)) == len(given)


def price(table: list[list[float]], way: Sequence[int | None]) -> float:
    return sum(UNSEEN if face is None else row[face] for row, face in zip(table, way, strict=True))


def test_people_who_hardly_move_are_themselves_whatever_covers_their_faces() -> None:
    seen = [person(100, 1), person(300, 2)]
    assert recognise(seen, [person(302, 3, t=FRAME), person(103, 4, t=FRAME)]) == [1, 0]


def test_people_who_change_places_unseen_are_known_by_their_looks() -> None:
    seen = [person(100, 1), person(400, 2)]
    assert recognise(seen, [person(100, 2, t=0.5), person(400, 1, t=0.5)]) == [1, 0]


def test_twins_are_told_apart_by_where_they_were_heading() -> None:
    seen = [person(180, 1, speed=300), person(220, 1, speed=-300)]
    assert recognise(seen, [person(240, 1, t=0.2), person(160, 1, t=0.2)]) == [0, 1]


def test_the_one_in_front_is_not_taken_for_the_one_it_hides() -> None:
    seen = [person(195, 1, speed=30), person(205, 2, speed=-30)]
    assert recognise(seen, [person(200, 2, t=FRAME)]) == [1]


def test_a_stranger_elsewhere_is_nobody_and_a_known_face_is_known_there() -> None:
    seen = [person(100, 1)]
    assert recognise(seen, [person(500, 2, t=FRAME)]) == [None]
    assert recognise(seen, [person(500, 2, t=8.0)]) == [None]
    assert recognise(seen, [person(500, 1, t=8.0)]) == [0]
    assert recognise([], [person(500, 1)]) == [None]
    assert recognise(seen, []) == []


def test_time_that_runs_backwards_does_no_harm() -> None:
    assert recognise([person(100, 1, t=5.0)], [person(102, 1, t=0.0)]) == [0]
    again = person(102, 1, t=0.0)
    assert update(person(100, 1, t=5.0), again, clear=True) is again


def test_looks_and_ways_are_learned_where_the_view_is_clear() -> None:
    seen = person(100, 1)
    learned = blurred = seen
    for i in range(1, 61):
        now = person(100 + 2 * i, 2, t=i * FRAME)
        learned, blurred = update(learned, now, clear=True), update(blurred, now, clear=False)
    assert learned.velocity[0] == pytest.approx(60, rel=0.01)
    assert np.linalg.norm(learned.look - look(2)) < 0.2 * np.linalg.norm(look(1) - look(2))
    np.testing.assert_array_equal(blurred.look, seen.look)
    np.testing.assert_array_equal(blurred.velocity, seen.velocity)
    assert blurred.centre[0] == 220


def test_neighbours_are_a_crowd() -> None:
    assert crowded(person(100, 1), person(180, 2))
    assert not crowded(person(100, 1), person(220, 2))


def test_a_look_is_that_of_the_face_not_of_the_picture(
    landmarker_model: Path, astronaut: U8, carphone_frames: list[U8]
) -> None:
    with Landmarker(landmarker_model) as landmarker:
        (face,) = landmarker.detect(astronaut)
        (other,) = landmarker.detect(np.asarray(cv2.resize(carphone_frames[0], None, fx=3, fy=3), np.uint8))
    known = describe(astronaut, face.landmarks)
    matrix = cv2.getRotationMatrix2D((220, 120), 20, 0.6)
    leaning = np.asarray(cv2.warpAffine(astronaut, matrix, (512, 512)), np.uint8)
    dim = (leaning * [0.6, 0.65, 0.7] + 30).astype(np.uint8)  # and of another tint
    same = describe(dim, transform_points(np.asarray(matrix, np.float64), face.landmarks).astype(np.float32))
    stranger = describe(np.asarray(cv2.resize(carphone_frames[0], None, fx=3, fy=3), np.uint8), other.landmarks)
    assert known.shape == (192,)
    assert known.dtype == np.float32
    assert np.linalg.norm(known - same) < 0.45
    assert np.linalg.norm(known - stranger) > 0.75


def test_people_are_known_when_they_smile(landmarker_model: Path, faces_dir: Path) -> None:
    """Of any two people, neither is taken for the other; and nearly all are known far from where they were."""
    looks: dict[str, list[F32]] = {"neutral": [], "smiling": []}
    names = sorted(path.name.partition("_")[0] for path in faces_dir.glob("*_neutral.jpg"))
    with Landmarker(landmarker_model) as landmarker:
        for name in names:
            for expression, kept in looks.items():
                bgr = cv2.imread(str(faces_dir / f"{name}_{expression}.jpg"), cv2.IMREAD_REDUCED_COLOR_2)
                assert bgr is not None
                rgb = np.asarray(cv2.cvtColor(bgr, cv2.COLOR_BGR2RGB), np.uint8)
                kept.append(sight(rgb, landmarker.detect(rgb)[0].landmarks, 0.0).look)
    distances = np.linalg.norm(np.array(looks["neutral"])[:, None] - np.array(looks["smiling"]), axis=2)
    right = np.diag(distances)[:, None] + np.diag(distances)
    mistaken = (right >= distances + distances.T)[np.triu_indices(len(names), 1)]
    assert mistaken.mean() < 0.01
    assert np.median(np.diag(distances)) < 0.5 < 1.0 < np.median(distances)
