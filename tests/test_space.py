"""The measures of W, on spaces whose measures are known."""

from __future__ import annotations

import numpy as np
import pytest

from models import registry

pytest.importorskip("dlib", reason="needs the train extra")
pytest.importorskip("onnx", reason="needs the train extra")

from export.space import PerceptualDistance, conditional_entropy, linear_classes, slerp


def test_a_plane_between_classes_leaves_nothing_unknown_and_noise_leaves_all() -> None:
    rng = np.random.default_rng(0)
    x = rng.normal(size=(4000, 20))
    classes = x[:, 3] - x[:, 5] > 0
    known = linear_classes(x[:2000], classes[:2000], x[2000:])
    assert conditional_entropy(known, classes[2000:]) < 0.15
    noise = rng.random(4000) > 0.5
    unknown = linear_classes(x[:2000], noise[:2000], x[2000:])
    assert conditional_entropy(unknown, noise[2000:]) == pytest.approx(np.log(2), abs=0.01)


def test_a_tangled_space_is_not_linearly_separable() -> None:
    x = np.random.default_rng(1).normal(size=(4000, 2))
    classes = x[:, 0] * x[:, 1] > 0
    assert conditional_entropy(linear_classes(x[:2000], classes[:2000], x[2000:]), classes[2000:]) > 0.6


def test_interpolation_in_z_keeps_to_the_sphere_at_even_speed() -> None:
    a, b = np.random.default_rng(2).normal(size=(2, 512))
    points = [slerp(a, b, t) for t in np.linspace(0, 1, 5)]
    assert np.linalg.norm(points, axis=1) == pytest.approx([np.sqrt(512)] * 5)
    steps = np.linalg.norm(np.diff(points, axis=0), axis=1)
    assert steps == pytest.approx([steps[0]] * 4)


@pytest.mark.skipif(
    not registry.is_intact(registry.artefacts()["age"]), reason="the age network is not pulled: ./run.sh pull measure"
)
def test_the_distance_is_quadratic_near_nothing_and_blind_outside_the_face() -> None:
    rng = np.random.default_rng(3)
    distance = PerceptualDistance()
    picture, change = rng.uniform(-0.5, 0.5, (2, 1, 3, 256, 256)).astype(np.float32)
    assert distance(picture, picture) == 0
    near = distance(picture, picture + np.float32(0.01) * change)
    assert distance(picture, picture + np.float32(0.02) * change) == pytest.approx(4 * near, rel=0.1)
    corner = picture.copy()
    corner[..., :40, :30] = 1
    assert distance(picture, corner) == 0
