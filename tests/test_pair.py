"""Exported networks in place of the default ones: what fits, what is refused, and what is made of it."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from live.effects import DeformLoop, DeformSpec, parse_deform
from live.faces.align import align
from live.frame import FaceTrack, Frame
from live.loading import Models, load_models, make_demo
from live.render import Inversion
from live.render.change import no_change
from live.render.transfer import Transfer
from models import pair
from models.alignment import to_rgb
from models.arrays import F32, U8
from models.directions import Directions, shipped_directions
from models.errors import UserError
from models.files import sha256
from models.generated_landmarks import LandmarkDetector, agree
from models.landmarker import Landmarker
from models.latent import LatentSpace, mean_w, shipped_space, std_w
from models.pair import read_pair
from models.zoo import LandmarkRegressor, load_generator, load_landmark_regressor, load_mapping
from tests.exported import CROP, TINY, TINY_SIZE, Z_DIM, describe, export_default, export_tiny
from tests.pictures import peak_signal_to_noise


@pytest.fixture(scope="module")
def tiny(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return export_tiny(tmp_path_factory.mktemp("tiny"))


@pytest.fixture(scope="module")
def same_w(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return export_default(tmp_path_factory.mktemp("same"))


@pytest.fixture(scope="module")
def other_w(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return export_default(tmp_path_factory.mktemp("other"), mean_off=1.0)


@pytest.fixture
def detector(landmarker_model: Path) -> Iterator[LandmarkDetector]:
    found = LandmarkDetector(landmarker_model)
    yield found
    found.close()


# --- which W it is


def test_two_estimates_of_one_w_are_one_space() -> None:
    z = np.random.default_rng(3).standard_normal((256, 512)).astype(np.float32)
    w = load_mapping().map(z)
    assert LatentSpace(18, w.mean(axis=0), w.std(axis=0)).is_same(shipped_space())


@given(st.floats(-3, 3).filter(lambda x: abs(x) > 0.2), st.booleans(), st.integers(0, 1000))
def test_another_mean_or_spread_is_another_w(off: float, spread: bool, seed: int) -> None:
    ways = np.random.default_rng(seed).choice([-1, 1], 512).astype(np.float32) * np.float32(off)
    other = (
        LatentSpace(18, mean_w(), std_w() * np.exp(ways))
        if spread
        else LatentSpace(18, mean_w() + ways * std_w(), std_w())
    )
    assert not other.is_same(shipped_space())
    assert not shipped_space().is_same(other)


def test_another_shape_is_another_w() -> None:
    assert not LatentSpace(14, mean_w(), std_w()).is_same(shipped_space())
    assert not TINY.is_same(shipped_space())
    assert shipped_space().mean_latent.shape == (1, 18, 512)
    assert TINY.mean_latent.shape == (1, 10, 64)
    assert str(TINY) == "10 x 64"


# --- what fits


@pytest.mark.parametrize("name", ["", "generator.xml", "generator.json"])
def test_a_generator_is_given_by_its_graph_its_manifest_or_its_folder(tiny: Path, name: str) -> None:
    found = read_pair(tiny / name, tiny)
    assert found.generator is not None and found.generator.graph == tiny / "generator.xml"
    assert (found.size, found.space.layers, found.space.style_dim, found.shares_w) == (TINY_SIZE, 10, 64, False)
    assert read_pair(tiny / name, tiny, TINY_SIZE).size == TINY_SIZE


def test_nothing_given_is_the_default_pair() -> None:
    found = read_pair()
    assert (found.generator, found.encoder, found.size, found.shares_w) == (None, None, 256, True)
    assert found.space is shipped_space()
    assert read_pair(size=512).size == 512


def test_the_default_encoder_goes_with_the_same_w_and_the_default_generator_with_any_encoder(
    same_w: Path,
) -> None:
    assert read_pair(same_w).shares_w
    assert read_pair(encoder=same_w).encoder is not None


def refused(*given: Path | int | None) -> str:
    with pytest.raises(UserError) as refusal:
        read_pair(*given)  # type: ignore[arg-type]
    assert "\n" not in str(refusal.value)
    return str(refusal.value)


def test_what_does_not_fit_is_one_clear_line(tiny: Path, other_w: Path, tmp_path: Path) -> None:
    assert "--size 128" in refused(tiny, tiny, 128) and "makes 64 px" in refused(tiny, tiny, 128)
    assert "--size 300" in refused(None, None, 300)
    assert "latents of 10 x 64, but the default generator takes 18 x 512" in refused(None, tiny)
    assert "latents of 18 x 512, but" in refused(tiny, other_w)
    assert "takes latents of 10 x 64" in refused(tiny)
    assert "another W of that shape" in refused(other_w)
    assert "is a encoder; expected a generator" in refused(tiny / "encoder.xml", tiny)
    assert "does not exist" in refused(tmp_path / "none.onnx")
    (tmp_path / "bare.onnx").write_bytes(b"graph")
    assert "has no manifest bare.json" in refused(tmp_path / "bare.onnx")
    assert "generator.json" in refused(tmp_path)
    shutil.copy(tiny / "encoder.xml", tmp_path / "encoder.xml")
    shutil.copy(tiny / "encoder.bin", tmp_path / "encoder.bin")
    describe(tmp_path, "encoder", "encoder.xml", size=CROP, space=TINY, batch=3)
    assert "takes 3 at a time" in refused(tiny, tmp_path)


def test_a_manifest_that_is_not_the_networks_is_refused_when_it_is_loaded(tiny: Path, tmp_path: Path) -> None:
    for file in tiny.iterdir():
        shutil.copy(file, tmp_path)
    describe(tmp_path, "generator", "generator.xml", size=TINY_SIZE // 2, space=TINY)
    with pytest.raises(UserError, match=r"makes \[1, 3, 64, 64\], its manifest says 32 px"):
        load_models(None, "auto", pair=read_pair(tmp_path, tiny))
    describe(tmp_path, "generator", "generator.xml", size=TINY_SIZE, space=LatentSpace(5, *2 * (np.ones(128, "f4"),)))
    describe(tmp_path, "encoder", "encoder.xml", size=CROP, space=LatentSpace(5, *2 * (np.ones(128, "f4"),)))
    with pytest.raises(UserError, match="other inputs than its manifest says"):
        load_models(None, "auto", pair=read_pair(tmp_path, tmp_path))


# --- what is made of it


@pytest.fixture(scope="module")
def models(same_w: Path) -> Iterator[Models]:
    loaded = load_models(None, "onnxruntime", pair=read_pair(same_w))
    yield loaded
    loaded.close()


def test_an_exported_generator_draws_what_it_drew(models: Models) -> None:
    latent = shipped_space().mean_latent
    expected = load_generator(256, "onnxruntime").synthesize(latent)
    np.testing.assert_allclose(models.generator.synthesize(latent), expected, atol=1e-4)
    np.testing.assert_array_equal(
        models.generator.synthesize(np.repeat(latent, 3, axis=0))[2:], models.generator.synthesize(latent)
    )
    assert models.sizes == (256,)
    assert models.generator.sha256 == sha256(models.pair.generator.graph)  # type: ignore[union-attr]


def test_the_regressor_is_kept_where_it_knows_the_faces(models: Models) -> None:
    assert isinstance(models.generated, LandmarkRegressor)


def test_for_another_w_landmarks_are_found_in_the_pictures(other_w: Path) -> None:
    loaded = load_models(None, "auto", pair=read_pair(other_w, other_w))
    assert isinstance(loaded.generated, LandmarkDetector)
    loaded.close()


def test_found_landmarks_are_those_that_the_regressor_tells(detector: LandmarkDetector) -> None:
    generator, regressor = load_generator(256), load_landmark_regressor()
    latent = shipped_space().mean_latent
    rgb = to_rgb(generator.synthesize(latent))
    found = detector.landmarks(latent, rgb)
    assert agree(regressor.landmarks(latent), found)
    assert agree(found, detector.landmarks(latent, np.repeat(np.repeat(rgb, 4, axis=0), 4, axis=1)))
    turned = latent + 2 * Directions().load("yaw").vector
    assert not agree(regressor.landmarks(turned), found)
    assert not agree(regressor.landmarks(latent), None)


def test_in_noise_no_face_is_found(detector: LandmarkDetector) -> None:
    noise = np.random.default_rng(0).integers(0, 256, (256, 256, 3)).astype(np.uint8)
    assert detector.landmarks(shipped_space().mean_latent, noise) is None


@pytest.fixture(scope="module")
def face(landmarker_model: Path, astronaut: U8, models: Models) -> Inversion:
    with Landmarker(landmarker_model) as landmarker:
        (found,) = landmarker.detect(astronaut)
    frame = Frame(astronaut, 0, 0.0)
    track = FaceTrack(found.landmarks, found.blendshapes, found.pose, 0, found.score)
    crop = align(frame, track, models.encoder.size)
    latent = models.encoder.encode(crop.image, crop.landmarks)
    return Inversion(frame, track, crop, latent, latent + 2 * Directions().load("mouth-open").vector)


def test_transfer_by_found_landmarks_is_near_that_by_told_ones(
    face: Inversion, models: Models, detector: LandmarkDetector
) -> None:
    told, found = (Transfer(way).make(face, models.generator) for way in (models.generated, detector))
    assert np.abs(told.displacement).max() > 0.02
    across = np.corrcoef(told.displacement.ravel(), found.displacement.ravel())[0, 1]
    assert across > 0.9
    assert peak_signal_to_noise(to_bytes(told.residual), to_bytes(found.residual)) > 25


def to_bytes(residual: F32) -> U8:
    return np.asarray(np.clip(residual + 128, 0, 255), np.uint8)


def test_without_a_face_in_the_pictures_transfer_changes_nothing(face: Inversion, models: Models) -> None:
    class Blind:
        """Finds no face, or none but the first time."""

        def __init__(self, sees: int) -> None:
            self.sees = sees

        def landmarks(self, w_plus: F32, rgb: U8) -> F32 | None:
            """Nothing."""
            self.sees -= 1
            return models.generated.landmarks(w_plus, rgb) if self.sees >= 0 else None

    for sees in (0, 1):
        assert Transfer(Blind(sees)).make(face, models.generator) is no_change(256)
    assert Transfer(Blind(2)).make(face, models.generator) is not no_change(256)


# --- the demo


def test_the_demo_is_drawn_by_the_generator_that_has_a_mapping_network(
    tiny: Path, tmp_path: Path, landmarker_model: Path
) -> None:
    loaded = load_models(None, "auto", pair=read_pair(tiny, tiny))
    noise = make_demo(loaded, live=False).picture(0)
    for file in tiny.iterdir():
        if file.stem != "mapping":
            shutil.copy(file, tmp_path)
    face = make_demo(replace(loaded, pair=read_pair(tmp_path, tiny)), live=False).picture(0)
    loaded.close()
    with Landmarker(landmarker_model) as landmarker:
        assert not landmarker.detect(noise)
        assert landmarker.detect(face)


def test_the_default_mapping_network_draws_the_demo_of_a_generator_of_the_same_w(models: Models) -> None:
    default = load_models(256, "onnxruntime")
    ours, theirs = (make_demo(each, live=False).picture(40) for each in (default, models))
    assert peak_signal_to_noise(ours, theirs) > 40


def test_the_mapping_network_of_another_generator_is_refused(tiny: Path, tmp_path: Path) -> None:
    for file in tiny.iterdir():
        shutil.copy(file, tmp_path)
    good = read_pair(tmp_path, tiny)
    assert good.mapping is not None
    assert pair.load_mapping(good, good.mapping).z_dim == Z_DIM
    with pytest.raises(UserError, match="64 numbers, not 512"):
        pair.load_mapping(replace(good, space=shipped_space()), good.mapping)


# --- effects


def folder_of(folder: Path, **shapes: tuple[int, ...]) -> Path:
    for name, shape in shapes.items():
        np.save(folder / f"{name}.npy", np.random.default_rng(len(name)).standard_normal(shape).astype(np.float32))
    return folder


def test_directions_of_a_folder_come_before_the_shipped_ones_and_in_place_of_their_names(tmp_path: Path) -> None:
    folder_of(tmp_path, smile=(512,), grin=(1, 18, 512), zebra=(18, 512))
    (tmp_path / "readme.txt").write_text("not a direction")
    found = Directions.of(shipped_space(), tmp_path)
    assert found.names[:3] == ("grin", "smile", "zebra")
    assert set(found.names) == {*shipped_directions(), "grin", "zebra"}
    assert found.names.count("smile") == 1
    np.testing.assert_array_equal(found.load("smile").vector[0, 3], np.load(tmp_path / "smile.npy"))
    np.testing.assert_array_equal(found.load("age").vector, Directions().load("age").vector)
    assert Directions().names == shipped_directions()


def test_of_another_w_only_the_folders_directions_are_there(tmp_path: Path) -> None:
    folder_of(tmp_path, grin=(64,), frown=(10, 64))
    found = Directions.of(TINY, tmp_path)
    assert found.names == ("frown", "grin")
    assert found.load("grin").vector.shape == (1, 10, 64)
    assert Directions.of(TINY, None).names == ()
    with pytest.raises(UserError, match=r"unknown direction 'smile': known are frown, grin.*default generator's W"):
        found.load("smile")


def test_bad_folders_of_directions_are_one_clear_line(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="cannot read the folder"):
        Directions.of(TINY, tmp_path / "none")
    with pytest.raises(UserError, match="holds no directions"):
        Directions.of(TINY, tmp_path)
    folder_of(tmp_path, wide=(18, 512))
    with pytest.raises(UserError, match=r"wide\.npy has shape \[18, 512\]; expected one of .*\[10, 64\]"):
        Directions.of(TINY, tmp_path).load("wide")
    (tmp_path / "wide.pt").write_bytes(b"")
    with pytest.raises(UserError, match=r"wide\.npy and wide\.pt, both called wide"):
        Directions.of(TINY, tmp_path)


def test_the_deform_loop_swings_in_the_layers_that_there_are() -> None:
    w_plus = TINY.mean_latent
    fine = DeformLoop(parse_deform("fine=2@1"), space=TINY)
    assert fine.label.startswith("deform 8-9 ")
    moved = np.abs(fine.edit(w_plus, 0.25) - w_plus).max(axis=(0, 2))
    assert (moved > 0).tolist() == [False] * 8 + [True] * 2
    spread = DeformLoop(DeformSpec(range(10)), space=LatentSpace(10, np.zeros(64, "f4"), np.full(64, 5, "f4")))
    assert 4 < (spread.edit(w_plus, 1.0) - w_plus).std() < 6
    for asked in ("4-12", "12"):
        with pytest.raises(UserError, match="this generator has the layers 0 to 9"):
            DeformLoop(parse_deform(asked), space=TINY)
