"""The colour of the eyes: where it is looked for, and which way it would be nearer."""

from __future__ import annotations

import numpy as np
import pytest

from models import registry
from models.alignment import crop, to_crop_matrix, to_tensor, transform_points
from models.arrays import F32, U8
from models.face_mesh import EYE_A, IRIS_A
from models.irises import iris_loss, iris_weights
from models.landmarker import Landmarker

SIDE = 256


@pytest.fixture(scope="module")
def landmarks(astronaut: U8) -> F32:
    """float32 [478, 2], of the aligned crop."""
    with Landmarker(registry.path("face-landmarker")) as landmarker:
        (face,) = landmarker.detect(astronaut)
    return transform_points(to_crop_matrix(face.landmarks, SIDE), face.landmarks).astype(np.float32)


def picture(seed: int) -> F32:
    return np.random.default_rng(seed).uniform(-1, 1, (1, 3, SIDE, SIDE)).astype(np.float32)


def test_weights_are_on_the_irises_and_nowhere_else(landmarks: F32) -> None:
    weights = iris_weights(landmarks, SIDE)
    assert weights.shape == (2, SIDE, SIDE)
    y, x = np.mgrid[:SIDE, :SIDE]
    for weight, middle in zip(weights, landmarks[[468, 473]], strict=True):
        assert weight.sum() == pytest.approx(1, abs=1e-5)
        assert (weight * np.hypot(x - middle[0], y - middle[1])).max() < 8 * weight.max()
        assert weight[round(float(middle[1])), round(float(middle[0]))] > 0


def test_an_iris_that_lids_hide_counts_less(landmarks: F32) -> None:
    def opened(share: float) -> F32:
        """The weights where the lids of one eye are that far open."""
        moved, height = landmarks.copy(), landmarks[IRIS_A[0], 1]
        eye = list(EYE_A)
        moved[eye, 1] = height + share * (landmarks[eye, 1] - height)
        return iris_weights(moved, SIDE)

    assert opened(1).sum() == pytest.approx(2, abs=1e-5)
    assert 1 < opened(0.02).sum() < opened(0.1).sum() < 1.8
    outside = iris_weights(landmarks + np.float32(10 * SIDE), SIDE)
    assert not outside.any()


def test_the_loss_is_the_distance_of_the_mean_colours(landmarks: F32) -> None:
    weights, grey = iris_weights(landmarks, SIDE), np.zeros((1, 3, SIDE, SIDE), np.float32)
    assert iris_loss(picture(1), picture(1), weights)[0] == pytest.approx(0, abs=1e-6)
    bluer = grey + np.array([0, 0, 0.3], np.float32)[:, None, None]
    assert iris_loss(bluer, grey, weights)[0] == pytest.approx(2 * 0.3, abs=2e-3)
    elsewhere = np.where(weights.sum(axis=0) > 0, grey, picture(2))
    assert iris_loss(elsewhere, grey, weights)[0] == 0


def test_the_gradient_is_the_losss(landmarks: F32) -> None:
    weights, image, target = iris_weights(landmarks, SIDE), picture(3), picture(4)
    _, gradient = iris_loss(image, target, weights)
    assert gradient.dtype == np.float32
    move = picture(5)
    high, low = (iris_loss(image + np.float32(h) * move, target, weights)[0] for h in (0.01, -0.01))
    assert (high - low) / 0.02 == pytest.approx(float((gradient * move).sum()), rel=0.01)


def test_it_sees_the_colour_of_an_eye(landmarks: F32, astronaut: U8) -> None:
    with Landmarker(registry.path("face-landmarker")) as landmarker:
        (face,) = landmarker.detect(astronaut)
    aligned = to_tensor(crop(astronaut, to_crop_matrix(face.landmarks, SIDE), SIDE))
    red, green, blue = (iris_weights(landmarks, SIDE)[0] * aligned[0]).sum(axis=(1, 2))
    assert red > green > blue, "her eyes are brown"
