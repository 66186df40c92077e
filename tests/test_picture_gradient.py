"""The shipped gradient graph, as the running application loads it, against the shipped generator."""

from __future__ import annotations

from functools import cache

import numpy as np
import pytest

from models.arrays import F32
from models.latent import broadcast, mean_w, std_w
from models.zoo import PictureGradient, load_generator, load_picture_gradient

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


@pytest.mark.parametrize("engine", ENGINES)
def test_the_loss_rises_along_the_gradient_as_fast_as_it_says(engine: str) -> None:
    w_plus, target, weight = problem()
    _, slope = gradient(engine).at(w_plus, target, weight)
    for layer in range(READ):  # each by itself: a wrong one must not hide behind a large one
        step = np.zeros_like(slope)
        step[0, layer] = 0.05 * slope[0, layer] / np.linalg.norm(slope[0, layer])
        (above, _), (below, _) = (gradient(engine).at(w_plus + sign * step, target, weight) for sign in (1, -1))
        assert above - below == pytest.approx(2 * float((slope * step).sum()), rel=0.05), layer
    assert not slope[0, READ:].any()


def test_the_engines_agree() -> None:
    slopes = [gradient(engine).at(*problem())[1] for engine in ENGINES]
    np.testing.assert_allclose(slopes[0], slopes[1], atol=0.01 * float(np.abs(slopes[1]).max()))


def test_what_is_differentiated_is_the_picture_that_is_shown() -> None:
    w_plus, _, weight = problem()
    picture = load_generator(256, "onnxruntime", "float32").synthesize(w_plus)
    assert gradient("openvino").at(w_plus, picture, weight)[0] < 1e-4
