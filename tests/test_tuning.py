"""The generator with its last weights changed, and the fit of that change, as the running application has them."""

from __future__ import annotations

from dataclasses import replace
from functools import cache

import numpy as np
import pytest

from models.arrays import F32
from models.inversion import View
from models.latent import broadcast, mean_w, std_w
from models.texture import texture_loss, weave_loss
from models.tuned_generator import LENGTH, TunedParts, TuningGradient, load_tuned_parts, load_tuning_gradient
from models.tuning import fit_change
from models.zoo import load_generator

ENGINES = ("openvino", "onnxruntime")


@cache
def view() -> View:
    """A face, to look like another."""
    offsets = 0.3 * std_w() * np.random.default_rng(5).standard_normal((2, 18, 512)).astype(np.float32)
    here, there = broadcast(mean_w()[None]) + offsets[:1], broadcast(mean_w()[None]) + offsets[1:]
    picture = load_generator(256, "onnxruntime").synthesize(there)
    unread, no_eyes = np.zeros((1, 150, 256), np.float32), np.zeros((2, 256, 256), np.float32)
    return View(here, picture, np.ones((1, 1, 256, 256), np.float32), unread, unread, no_eyes)


@cache
def parts(engine: str) -> TunedParts:
    return load_tuned_parts(engine)


@cache
def gradient(engine: str) -> TuningGradient:
    return load_tuning_gradient(engine)


def some_change() -> F32:
    return 0.05 * np.random.default_rng(7).standard_normal((1, LENGTH)).astype(np.float32)


def test_no_change_draws_what_the_generator_draws() -> None:
    latent = view().latent
    whole = load_generator(256, "onnxruntime").synthesize(latent)
    split = parts("onnxruntime").generator(np.zeros((1, LENGTH), np.float32)).synthesize(latent)
    np.testing.assert_allclose(split, whole, atol=1e-4)


def test_the_engines_agree_on_a_changed_picture() -> None:
    pictures = [parts(engine).generator(some_change()).synthesize(view().latent) for engine in ENGINES]
    assert float(np.sqrt(np.mean((pictures[0] - pictures[1]) ** 2))) < 0.02  # int8 and bfloat16 against float32


def test_a_kept_front_draws_the_same_change() -> None:
    generator = parts("onnxruntime").generator(some_change())
    first = generator.synthesize(view().latent)
    np.testing.assert_allclose(generator.synthesize(view().latent), first, atol=1e-5)


@pytest.mark.parametrize("engine", ENGINES)
def test_the_loss_rises_along_the_gradient_as_fast_as_it_says(engine: str) -> None:
    face, tuning = view(), gradient(engine)
    features = tuning.features(face.latent)

    wish = np.random.default_rng(8).standard_normal(face.target.shape).astype(np.float32) / np.float32(256**2)

    def at(change: F32) -> tuple[float, F32]:
        loss, slope, image = tuning.at(features, face.latent, change, face.target, face.weight, wish)
        return loss + float((wish * image).sum()), slope

    _, slope = at(some_change())
    step = 0.05 * slope / np.linalg.norm(slope)
    (above, _), (below, _) = at(some_change() + step), at(some_change() - step)
    assert above - below == pytest.approx(2 * float((slope * step).sum()), rel=0.1)


def test_a_fit_comes_nearer_and_what_is_drawn_is_what_was_fitted() -> None:
    face = view()
    steps = list(fit_change([face], np.zeros_like(face.latent), gradient("openvino"), 12))
    assert steps[-1].loss < 0.8 * steps[0].loss
    errors = [
        float(np.abs(parts("openvino").generator(change).synthesize(face.latent) - face.target).mean())
        for change in (np.zeros_like(steps[-1].change), steps[-1].change)
    ]
    assert errors[1] < 0.9 * errors[0]


def test_grain_is_learned_and_is_no_grid() -> None:
    face = view()
    noise = 0.08 * np.random.default_rng(3).standard_normal(face.weight.shape).astype(np.float32)
    grainy = replace(face, target=face.target + noise)
    *_, last = fit_change([grainy], np.zeros_like(face.latent), gradient("openvino"), 16)
    before, after = (
        parts("openvino").generator(change).synthesize(face.latent)
        for change in (np.zeros_like(last.change), last.change)
    )
    grain = [texture_loss(picture, grainy.target, face.weight)[0] for picture in (before, after)]
    assert grain[1] < 0.75 * grain[0]
    assert weave_loss(after, face.weight)[0] < weave_loss(grainy.target, face.weight)[0]
