"""The parts of training that are arithmetic: samples, augmentation, networks, float16 storage."""

from __future__ import annotations

from pathlib import Path

import cv2
import numpy as np
import pytest

pytest.importorskip("torch", reason="needs the train extra")
pytest.importorskip("onnx", reason="needs the train extra")

import onnx
import torch

from export.augment import disturb_landmarks, misalign, photograph
from export.latent_metric import ridge_rows
from export.pool import main as fill
from export.pool import open_pool
from export.sampling import LEAN_RANGE, MIXED_SHARE, sample_free_w_plus, sample_w_plus
from export.schedule import add_to_average, rate_share
from export.ship_encoder import store_in_float16
from export.train_heads import haar
from models import ir, latent, registry
from models.arrays import F32, U8
from models.errors import UserError
from models.networks import mobile_stylegan
from models.networks.encoder import Encoder
from models.zoo import load_generator, load_mapping
from tests.pictures import peak_signal_to_noise

pytestmark = pytest.mark.train


@pytest.fixture
def rng() -> np.random.Generator:
    return np.random.default_rng(7)


def dots(points: F32, size: int = 128) -> U8:
    """A black picture with a bright dot at each point, points in [0, 1]."""
    picture = np.zeros((size, size, 3), np.uint8)
    for x, y in points * size - 0.5:
        cv2.circle(picture, (round(x * 16), round(y * 16)), 2 * 16, (255, 255, 255), -1, cv2.LINE_AA, 4)
    return picture


def test_landmarks_move_with_the_picture(rng: np.random.Generator) -> None:
    points = np.array([[0.3, 0.3], [0.7, 0.35], [0.5, 0.7]], np.float32)
    for _ in range(20):
        moved, landmarks = misalign(dots(points), points, rng)
        expected = dots(landmarks)
        assert np.abs(moved.astype(int) - expected).mean() < 0.6
    noisy = disturb_landmarks(points, rng)
    assert 0 < np.abs(noisy - points).max() < 0.02


def test_a_photograph_is_another_picture_of_the_same_size(rng: np.random.Generator) -> None:
    picture = cv2.GaussianBlur(rng.integers(0, 256, (128, 128, 3), dtype=np.uint8), (0, 0), 6)
    taken = [photograph(np.asarray(picture), rng) for _ in range(30)]
    assert {photo.shape for photo in taken} == {(128, 128, 3)} and {photo.dtype for photo in taken} == {picture.dtype}
    assert all(not np.array_equal(photo, picture) for photo in taken)


def test_samples_are_reproducible_and_partly_mixed() -> None:
    mean, mapping = latent.mean_w(), load_mapping().map
    first, again = (sample_w_plus(np.random.default_rng(3), 60, mapping, mean) for _ in range(2))
    np.testing.assert_array_equal(first, again)
    mixed = np.any(first[:, :1] != first, axis=(1, 2)).mean()
    assert abs(mixed - MIXED_SHARE) < 0.2


def test_free_samples_leave_w_layer_by_layer_and_stay_among_faces() -> None:
    mean, mapping = latent.mean_w(), load_mapping().map
    free = sample_free_w_plus(np.random.default_rng(3), 20, mapping, mean)
    start = sample_w_plus(np.random.default_rng(3), 20, mapping, mean)
    moved = np.sqrt(np.mean(((free - start) / latent.std_w()) ** 2, axis=2))
    spread = np.sqrt(np.mean(((start - start[::-1]) / latent.std_w()) ** 2))
    assert (moved > 0.3 * LEAN_RANGE[0] * spread).all(), "every layer leans to another face"
    assert moved.max() < 2 * LEAN_RANGE[1] * spread


def test_ridge_rows_predict_what_is_linear_in_the_latent(rng: np.random.Generator) -> None:
    mean, unit = np.full(40, 0.3, np.float32), np.full(40, 2.0, np.float32)
    moving = np.zeros((400, 18, 40), np.float32)
    moving[:, 4, :6] = rng.standard_normal((400, 6))
    target = (moving[:, 4, :6] @ rng.standard_normal((6, 3))).astype(np.float32)
    rows = ridge_rows((mean + unit * moving)[:300].astype(np.float16), target[:300] + 7, unit)
    predicted = moving[300:].reshape(100, -1) @ rows.T
    assert all(np.corrcoef(predicted[:, k], target[300:, k])[0, 1] > 0.97 for k in range(3))
    assert not np.delete(rows.reshape(3, 18, 40), 4, axis=1).any(), "what never moved tells nothing"


def test_the_inverse_haar_transform_undoes_the_transform(rng: np.random.Generator) -> None:
    pictures = rng.standard_normal((2, 3, 16, 16)).astype(np.float32)
    back = mobile_stylegan.inverse_haar(torch.from_numpy(haar(pictures))).numpy()
    np.testing.assert_allclose(back, pictures, atol=1e-6)


def test_the_network_in_pytorch_is_the_shipped_graph() -> None:
    net = mobile_stylegan.load_published(ir.read(registry.path("synthesis-xml")), 256)
    mobile_stylegan.load_head(net, Path(mobile_stylegan.__file__).parents[1] / "shipped/heads/head-256.npz")
    w_plus = latent.broadcast(
        load_mapping().map(np.random.default_rng(1).standard_normal((1, 512)).astype(np.float32))
    )
    with torch.no_grad():
        ours = net(torch.from_numpy(w_plus)).numpy()
    np.testing.assert_allclose(load_generator(256, "onnxruntime", "float32").synthesize(w_plus), ours, atol=1e-3)


def test_the_encoder_starts_from_one_w_near_the_mean() -> None:
    torch.manual_seed(0)
    net = Encoder(torch.from_numpy(np.array(latent.mean_w())), torch.from_numpy(np.array(latent.std_w()))).eval()
    with torch.no_grad():
        w_plus = net(torch.zeros(2, 3, 128, 128), torch.full((2, 478, 2), 0.5))
    assert torch.equal(w_plus, w_plus[:, :1].expand_as(w_plus)), "offsets start at zero, as e4e's do"
    assert ((w_plus - net.mean_w) / net.std_w).abs().max() < 1


def test_float16_storage_halves_big_arrays_only(tmp_path: Path) -> None:
    big, small = np.random.default_rng(0).standard_normal((64, 64)).astype(np.float32), np.ones(4, np.float32)
    nodes = [onnx.helper.make_node("MatMul", ["x", "big"], ["y"])]
    value = onnx.helper.make_tensor_value_info
    graph = onnx.helper.make_graph(
        nodes, "g", [value("x", 1, [1, 64])], [value("y", 1, [1, 64])],
        [onnx.numpy_helper.from_array(big, "big"), onnx.numpy_helper.from_array(small, "small")],
    )  # fmt: skip
    model = onnx.helper.make_model(graph, opset_imports=[onnx.helper.make_opsetid("", 17)], ir_version=8)
    store_in_float16(model)
    onnx.checker.check_model(model)
    kinds = {i.name: i.data_type for i in model.graph.initializer}
    assert kinds == {"big.half": onnx.TensorProto.FLOAT16, "small": onnx.TensorProto.FLOAT}


def test_a_pool_keeps_whole_pictures_from_its_first_face_or_not_at_all(tmp_path: Path) -> None:
    open_pool(tmp_path / "with", 2, pictures=True).count(1)
    grown = open_pool(tmp_path / "with", 3)
    assert grown.pictures is not None and grown.pictures.shape == (3, 256, 256, 3)
    open_pool(tmp_path / "without", 2).count(1)
    assert open_pool(tmp_path / "without").pictures is None
    with pytest.raises(UserError, match="begun without"):
        open_pool(tmp_path / "without", 3, pictures=True)


def test_a_pool_drawn_larger_holds_the_same_faces_reduced(tmp_path: Path) -> None:
    for size in ("256", "1024"):
        fill(["--pictures", "--count", "2", "--draw-at", size, "--folder", str(tmp_path / size)])
    small, large = open_pool(tmp_path / "256"), open_pool(tmp_path / "1024")
    assert small.filled == large.filled == 2
    np.testing.assert_array_equal(small.latents, large.latents)
    assert small.pictures is not None and large.pictures is not None
    for drawn, reduced in zip(small.pictures, large.pictures, strict=True):
        assert 28 < peak_signal_to_noise(drawn, reduced) < 50, "the head at 256 px is near, and not the same"
    np.testing.assert_allclose(small.landmarks, large.landmarks, atol=0.02)


def test_a_pool_grows_without_losing_what_it_holds(tmp_path: Path) -> None:
    pool = open_pool(tmp_path / "pool", 4)
    assert pool.filled == 0
    pool.latents[3] = 1.5
    grown = open_pool(tmp_path / "pool", 9)
    assert grown.latents.shape == (9, 18, 512) and (grown.latents[3] == 1.5).all() and not grown.latents[8].any()


def test_the_rate_rises_then_falls_to_its_least() -> None:
    shares = [rate_share(step, 10, step / 100, least=0.02) for step in range(101)]
    assert shares[0] == pytest.approx(0.1)
    assert int(np.argmax(shares)) == 9
    assert all(np.diff(shares[9:]) < 0)
    assert shares[-1] == pytest.approx(0.02)


def test_the_average_follows_what_learns_early_steps_at_once() -> None:
    net, average = torch.nn.Linear(2, 2), torch.nn.Linear(2, 2)
    torch.nn.init.ones_(net.weight)
    torch.nn.init.zeros_(average.weight)
    frozen = average.bias.detach().clone()
    net.bias.requires_grad_(False)
    add_to_average(average, net, 5, 0.999)
    torch.testing.assert_close(average.weight.detach(), torch.full((2, 2), 0.8))
    add_to_average(average, net, 100_000, 0.999)
    torch.testing.assert_close(average.weight.detach(), torch.full((2, 2), 0.8002))
    torch.testing.assert_close(average.bias.detach(), frozen)
