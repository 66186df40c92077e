"""The shipped gradient graphs, as the running application loads them, against the shipped generator."""

from __future__ import annotations

from functools import cache

import numpy as np
import pytest

from models.arrays import F32
from models.face_chip import CHIP_POINTS, IDENTITY_CHIP, face_in_chip, recogniser_axes
from models.latent import broadcast, mean_w, std_w
from models.zoo import (
    IdentityGradient,
    PictureGradient,
    load_generator,
    load_identity_gradient,
    load_picture_gradient,
)

ENGINES = ("openvino", "onnxruntime")
READ = 16  # layers of W+ that the generator reads


@cache
def problem() -> tuple[F32, F32, F32]:
    """A latent, the picture of another and a weight that is not even."""
    offsets = 0.3 * std_w() * np.random.default_rng(5).standard_normal((2, 18, 512)).astype(np.float32)
    here, there = broadcast(mean_w()[None]) + offsets[:1], broadcast(mean_w()[None]) + offsets[1:]
    weight = np.linspace(0.5, 1.5, 256, dtype=np.float32)[None, None, :, None].repeat(256, axis=3)
    return here, load_generator(256, "onnxruntime", "float32").synthesize(there), weight


@cache
def gradient(engine: str) -> PictureGradient:
    return load_picture_gradient(engine, "float32")


@cache
def identity(engine: str) -> IdentityGradient:
    return load_identity_gradient(engine)


@cache
def axes() -> tuple[F32, F32]:
    """Where the recogniser looks: a face in the middle, about where an aligned crop has it."""
    landmarks = np.zeros((478, 2), np.float32)
    landmarks[list(CHIP_POINTS)] = 0.9 * (face_in_chip(*IDENTITY_CHIP) - 75) + (128, 140)
    return recogniser_axes(landmarks, 256)


@pytest.mark.parametrize("engine", ENGINES)
def test_the_loss_rises_along_the_gradient_as_fast_as_it_says(engine: str) -> None:
    w_plus, target, weight = problem()
    _, slope, _ = gradient(engine).at(w_plus, target, weight)
    for layer in range(READ):  # each by itself: a wrong one must not hide behind a large one
        step = np.zeros_like(slope)
        step[0, layer] = 0.05 * slope[0, layer] / np.linalg.norm(slope[0, layer])
        above, below = (gradient(engine).at(w_plus + sign * step, target, weight)[0] for sign in (1, -1))
        assert above - below == pytest.approx(2 * float((slope * step).sum()), rel=0.05), layer
    assert not slope[0, READ:].any()


@pytest.mark.parametrize("engine", ENGINES)
def test_a_wish_is_pulled_back_as_the_loss_is(engine: str) -> None:
    w_plus, target, weight = problem()
    wish = np.random.default_rng(9).standard_normal(target.shape).astype(np.float32) / np.float32(target.size)
    nothing = np.zeros_like(weight)
    loss, slope, image = gradient(engine).at(w_plus, target, nothing, wish)
    assert loss == 0
    step = 0.01 * slope / np.linalg.norm(slope)
    above, below = (gradient(engine).at(w_plus + sign * step, target, nothing)[2] for sign in (1, -1))
    assert float((wish * (above - below)).sum()) == pytest.approx(2 * float((slope * step).sum()), rel=0.05)
    np.testing.assert_allclose(image, load_generator(256, engine, "float32").synthesize(w_plus), atol=1e-3)


@pytest.mark.parametrize("engine", ENGINES)
def test_the_distance_falls_against_its_gradient(engine: str) -> None:
    w_plus, target, weight = problem()
    _, _, image = gradient(engine).at(w_plus, target, weight)
    wanted = identity(engine).embed(target, *axes())
    distance, slope = identity(engine).at(image, *axes(), wanted)
    assert distance == pytest.approx(float(np.linalg.norm(identity(engine).embed(image, *axes()) - wanted)), rel=1e-4)
    assert distance > 0.2, "they are two faces"
    assert identity(engine).at(target, *axes(), wanted)[0] < 1e-3
    step = 0.03 * slope / np.linalg.norm(slope)
    above, below = (identity(engine).at(image + sign * step, *axes(), wanted)[0] for sign in (1, -1))
    assert above - below == pytest.approx(2 * float((slope * step).sum()), rel=0.05)


def test_the_engines_agree() -> None:
    slopes = [gradient(engine).at(*problem())[1] for engine in ENGINES]
    np.testing.assert_allclose(slopes[0], slopes[1], atol=0.01 * float(np.abs(slopes[1]).max()))
    image = problem()[1]
    embeddings = [identity(engine).embed(image, *axes()) for engine in ENGINES]
    np.testing.assert_allclose(embeddings[0], embeddings[1], atol=1e-3)
    slopes = [identity(engine).at(image, *axes(), np.zeros_like(embeddings[0]))[1] for engine in ENGINES]
    np.testing.assert_allclose(slopes[0], slopes[1], atol=0.01 * float(np.abs(slopes[1]).max()))


def test_what_is_differentiated_is_the_picture_that_is_shown() -> None:
    w_plus, _, weight = problem()
    picture = load_generator(256, "onnxruntime", "float32").synthesize(w_plus)
    assert gradient("openvino").at(w_plus, picture, weight)[0] < 1e-4
