"""The shipped graphs against the published network, in both CPU engines, and when only a part of them is run."""

from __future__ import annotations

from functools import cache

import numpy as np
import openvino as ov
import pytest

from models import latent, registry
from models.arrays import F32
from models.errors import UserError
from models.files import sha256
from models.runtime import Engine, load_engine
from models.zoo import (
    FRONT_LAYERS,
    FRONTS_KEPT,
    SHIPPED,
    Generator,
    beside_weights,
    load_encoder,
    load_generator,
    load_mapping,
)
from tests.pictures import peak_signal_to_noise

ENGINES = ("openvino", "onnxruntime")
PARITY = 1e-3  # maximum absolute error at 1024 px; pictures span 2
PRECISION = 40.0  # dB, what bfloat16 may cost
INT8 = 35.0  # dB, what int8 may cost
IN_TWO = 1e-4  # maximum absolute difference of a picture made at once and one made in two


@cache
def faces(count: int = 3) -> F32:
    """Latents [count, 512] of faces not too far from the mean."""
    z = np.random.default_rng(11).standard_normal((count, 512)).astype(np.float32)
    mean = latent.mean_w()
    return (mean + 0.7 * (load_mapping().map(z) - mean)).astype(np.float32)


@cache
def published(name: str, key: int) -> F32:
    """What the published package's own graph makes of latent `key`, in float32."""
    compiled = ov.Core().compile_model(registry.path(name), "CPU", {"INFERENCE_PRECISION_HINT": "f32"})
    return np.array(compiled.create_infer_request().infer([faces()[key][None]])[0])


def reduced(image: F32, size: int) -> F32:
    """The picture [1, 3, 1024, 1024] reduced by area to [1, 3, size, size], clipped."""
    factor = 1024 // size
    blocks = np.clip(image, -1, 1).reshape(1, 3, size, factor, size, factor)
    return np.asarray(blocks.mean(axis=(3, 5)), np.float32)


def as_rgb(image: F32) -> np.ndarray[tuple[int, ...], np.dtype[np.uint8]]:
    return np.asarray(np.clip((image + 1) * 127.5 + 0.5, 0, 255), np.uint8)


@pytest.mark.parametrize("engine", ENGINES)
def test_at_1024_px_the_picture_is_the_published_one(engine: str) -> None:
    generator = load_generator(1024, engine, "float32")
    image = generator.synthesize(latent.broadcast(faces()[:1]))
    assert np.abs(image - published("synthesis-xml", 0)).max() < PARITY


@pytest.mark.parametrize("engine", ENGINES)
def test_the_mapping_network_is_the_published_one(engine: str) -> None:
    z = np.random.default_rng(2).standard_normal((2, 512)).astype(np.float32)
    ours = load_mapping(engine).map(z)
    compiled = ov.Core().compile_model(registry.path("mapping-xml"), "CPU", {"INFERENCE_PRECISION_HINT": "f32"})
    request = compiled.create_infer_request()
    theirs = np.concatenate([np.array(request.infer([row[None]])[0]) for row in z])
    np.testing.assert_allclose(ours, theirs, atol=1e-4)


@pytest.mark.parametrize(("size", "least"), [(256, 32.0), (512, 33.0)])
def test_a_smaller_picture_is_the_big_one_reduced(size: int, least: float) -> None:
    generator = load_generator(size, precision="float32")
    ratios = []
    for key in range(len(faces())):
        expected = reduced(published("synthesis-xml", key), size)
        image = generator.synthesize(latent.broadcast(faces()[key : key + 1]))
        ratios.append(peak_signal_to_noise(as_rgb(image), as_rgb(expected)))
    assert np.mean(ratios) > least, ratios


def test_the_fast_precision_keeps_the_picture() -> None:
    w_plus = latent.broadcast(faces()[:1])
    exact = load_generator(512, "onnxruntime", "float32").synthesize(w_plus)
    fast = load_generator(512).synthesize(w_plus)
    assert peak_signal_to_noise(as_rgb(fast), as_rgb(exact)) > PRECISION


def test_int8_keeps_the_picture_at_once_and_in_two() -> None:
    exact, quantised = load_generator(256, "openvino", "float32"), load_generator(256, "openvino", "int8")
    assert "int8" in quantised.engine.name
    for key in range(len(faces())):
        w_plus = latent.broadcast(faces()[key : key + 1])
        expected = as_rgb(exact.synthesize(w_plus))
        assert peak_signal_to_noise(as_rgb(quantised.synthesize(w_plus)), expected) > INT8
        assert peak_signal_to_noise(as_rgb(quantised.synthesize(w_plus)), expected) > INT8


def test_int8_is_refused_where_it_is_not() -> None:
    with pytest.raises(UserError, match="no generator of 1024 px in int8"):
        load_generator(1024, precision="int8")
    with pytest.raises(UserError, match="float32 only"):
        load_generator(256, "onnxruntime", "int8")


def test_auto_takes_int8_where_there_is_one_and_says_what_it_passed_over() -> None:
    generator = load_generator(256)
    assert "int8" in generator.engine.name
    assert generator.engine.notes
    assert generator.sha256 == sha256(SHIPPED / "generator-int8-256.onnx")
    assert "int8" not in load_generator(512).engine.name
    assert "int8" not in load_generator(256, "onnxruntime").engine.name


@pytest.mark.parametrize("engine", ENGINES)
def test_a_batch_gives_what_its_rows_give(engine: str) -> None:
    path = beside_weights(SHIPPED / "generator-256.onnx", registry.path("synthesis-bin"))
    w_plus = latent.broadcast(faces())
    together = load_engine(path, engine, "float32", batch=3)({"w_plus": w_plus})["image"]
    alone = load_engine(path, engine, "float32", batch=1)({"w_plus": w_plus[1:2]})["image"]
    np.testing.assert_allclose(together[1:2], alone, atol=1e-3)


def test_the_coarse_layers_set_the_shape_and_the_last_two_nothing() -> None:
    generator = load_generator(256, precision="float32")
    w_plus = latent.broadcast(faces()[:1])
    plain = generator.synthesize(w_plus)
    other = latent.broadcast(faces()[1:2])
    unused = latent.mix(w_plus, other, slice(16, 18))
    np.testing.assert_array_equal(generator.synthesize(unused), plain)
    coarse = latent.mix(w_plus, other, slice(0, 4))
    assert np.abs(generator.synthesize(coarse) - plain).mean() > 0.1


@pytest.mark.parametrize("engine", ENGINES)
def test_a_picture_made_in_two_is_the_one_made_at_once(engine: str) -> None:
    face, other = latent.broadcast(faces()[:1]), latent.broadcast(faces()[1:2])
    edited = latent.mix(face, other, slice(FRONT_LAYERS, latent.LAYERS))
    in_two, at_once = load_generator(256, engine, "float32"), load_generator(256, engine, "float32")
    pair = in_two.synthesize(np.concatenate([face, edited]))
    assert np.abs(pair[:1] - pair[1:]).max() > 0.1
    np.testing.assert_allclose(pair[:1], at_once.synthesize(face), atol=IN_TWO)
    np.testing.assert_allclose(pair[1:], load_generator(256, engine, "float32").synthesize(edited), atol=IN_TWO)
    np.testing.assert_array_equal(in_two.synthesize(edited), pair[1:])
    np.testing.assert_allclose(in_two.synthesize(other), at_once.synthesize(other), atol=IN_TWO)


def recording(log: list[str]) -> Generator:
    """A generator whose networks do nothing but write their names into `log`."""

    def engine(name: str, output: str) -> Engine:
        def run(feeds: object) -> dict[str, F32]:
            log.append(name)
            return {output: np.zeros((1, 1), np.float32)}

        return Engine(name, {}, run)

    return Generator(
        256, engine("whole", "image"), "", lambda: (engine("front", "features"), engine("back", "image"))
    )


def test_what_the_early_layers_give_is_kept_while_they_stay_exactly_equal() -> None:
    log: list[str] = []
    generator = recording(log)

    def runs(w_plus: F32) -> list[str]:
        log.clear()
        generator.synthesize(w_plus)
        return list(log)

    face = latent.broadcast(faces()[:1])
    fine, coarse = face.copy(), face.copy()
    fine[:, FRONT_LAYERS] += 0.1
    coarse[:, FRONT_LAYERS - 1] = np.nextafter(coarse[:, FRONT_LAYERS - 1], 9)
    assert runs(face) == ["whole"], "what comes once is made at once"
    assert runs(fine) == ["front", "back"]
    assert runs(face) == runs(fine) == ["back"]
    assert runs(coarse) == ["whole"]
    assert runs(face) == ["back"]
    others = [face + np.float32(k) for k in range(1, FRONTS_KEPT + 1)]
    assert runs(np.concatenate(others)) == ["whole"] * FRONTS_KEPT
    assert runs(face) == ["whole"], "the memory for features is bounded"
    assert runs(np.concatenate([coarse, coarse])) == ["front", "back", "back"]


def test_the_encoder_gives_a_latent_of_the_right_shape_that_depends_on_both_inputs() -> None:
    encoder = load_encoder()
    rng = np.random.default_rng(3)
    image = rng.uniform(-1, 1, (1, 3, encoder.size, encoder.size)).astype(np.float32)
    landmarks = rng.uniform(0.3, 0.7, (1, 478, 2)).astype(np.float32)
    w_plus = encoder.encode(image, landmarks)
    assert w_plus.shape == (1, 18, 512) and w_plus.dtype == np.float32 and np.isfinite(w_plus).all()
    assert np.abs(encoder.encode(-image, landmarks) - w_plus).max() > 0.01
    assert np.abs(encoder.encode(image, landmarks + np.float32(0.02)) - w_plus).max() > 0.01
