"""A direction finds the shipped one that it is like, by the groups of layers in which it is."""

from __future__ import annotations

import numpy as np
import pytest

pytest.importorskip("dlib", reason="needs the train extra")

from export.direction_kin import cosines, kin
from models.arrays import F32
from models.directions import load_direction
from models.latent import COARSE, MIDDLE


def shipped() -> dict[str, F32]:
    return {name: load_direction(name).vector[0] for name in ("smile", "age", "yaw")}


def test_of_any_length_it_is_like_itself_and_unlike_its_opposite() -> None:
    known = shipped()
    assert list(cosines(3 * known["age"], known["age"]).values()) == pytest.approx([1, 1, 1])
    assert list(cosines(-known["age"], known["age"]).values()) == pytest.approx([-1, -1, -1])


def test_where_one_does_nothing_there_is_no_likeness() -> None:
    still = shipped()["smile"].copy()
    still[COARSE] = 0
    alike = cosines(still, shipped()["smile"])
    assert alike["coarse"] == 0
    assert alike["middle"] == pytest.approx(1)


def test_one_vector_for_every_layer_finds_what_it_was_made_of() -> None:
    known, rng = shipped(), np.random.default_rng(4)
    published = np.tile(known["yaw"][COARSE].mean(axis=0), (18, 1))
    published += rng.normal(0, 0.3 * np.abs(published).mean(), published.shape).astype(np.float32)
    found = kin(published, known, 2)
    assert next(iter(found)) == "yaw"
    assert len(found) == 2
    opposite = known["smile"].copy()
    opposite[MIDDLE] *= -1
    assert next(iter(kin(opposite, known, 1).values())) == cosines(opposite, known["smile"])
