"""The encoder's feedback: a correction that is learned from missed landmarks and brings them nearer."""

from __future__ import annotations

import numpy as np
import pytest

pytest.importorskip("torch", reason="needs the train extra")
pytest.importorskip("onnx", reason="needs the train extra")

import torch
from torch import Tensor

from export.refine_encoder import COMPONENTS, fit, load_regressor
from models import zoo
from models.latent import broadcast, mean_w, std_w
from models.networks.encoder import Encoder
from models.networks.landmark_regressor import LandmarkRegressor
from models.networks.refined_encoder import Correction, RefinedEncoder
from models.networks.thumbnail_regressor import SIZE, ThumbnailRegressor

pytestmark = pytest.mark.train

POINTS = 478


@pytest.fixture
def rng() -> np.random.Generator:
    return np.random.default_rng(11)


def low_rank(rng: np.random.Generator, rows: int, columns: int, rank: int) -> Tensor:
    return torch.from_numpy(
        (rng.standard_normal((rows, rank)) @ rng.standard_normal((rank, columns))).astype(np.float32)
    )


def test_what_is_linear_in_the_missed_landmarks_is_learned(rng: np.random.Generator) -> None:
    missed = 0.003 * low_rank(rng, 700, 2 * POINTS, 8)
    answer = 50 * low_rank(rng, 2 * POINTS, 18 * 512, 5)
    errors = missed @ answer
    correction = fit(missed[:600], errors[:600] + 0.5 * torch.randn(600, 18 * 512))
    left = (correction(missed[600:]).flatten(1) - errors[600:]).square().mean()
    assert left < 0.03 * errors[600:].square().mean()
    assert correction.components.shape == (2 * POINTS, COMPONENTS)
    assert not correction(torch.zeros(1, 2 * POINTS)).any(), "landmarks that are met ask for nothing"


def test_each_step_brings_the_landmarks_nearer(rng: np.random.Generator) -> None:
    torch.manual_seed(0)
    encoder = Encoder(torch.zeros(512), torch.ones(512)).eval()
    # A regressor that reads the landmarks off the first two rows of W+, and an answer of half of what is missed.
    components = torch.eye(2 * POINTS)
    regressor = LandmarkRegressor(torch.zeros(512), torch.ones(512), torch.zeros(POINTS, 2), components).eval()
    for parameter in regressor.parameters():
        parameter.data.zero_()
    regressor.linear.weight.data[:, : 2 * POINTS] = torch.eye(2 * POINTS)
    half = Correction(components, 0.5 * torch.eye(2 * POINTS, 18 * 512))
    pixels = 3 * SIZE * SIZE
    ones = torch.ones(512)
    plain = ThumbnailRegressor(0 * ones, ones, torch.ones(1, 1, SIZE, SIZE), torch.zeros(pixels), torch.eye(pixels))
    nothing = Correction(torch.eye(pixels), torch.zeros(pixels, 18 * 512))
    image = torch.zeros(3, 3, 128, 128)
    landmarks = torch.from_numpy(rng.standard_normal((3, POINTS, 2)).astype(np.float32))
    missed = []
    with torch.no_grad():
        for steps in (0, 1, 3):
            w_plus = RefinedEncoder(encoder, plain, nothing, regressor, half, steps)(image, landmarks)
            missed.append(landmarks - regressor(w_plus))
    torch.testing.assert_close(missed[1], missed[0] / 2, rtol=1e-3, atol=1e-4)
    torch.testing.assert_close(missed[2], missed[0] / 8, rtol=1e-3, atol=1e-4)


def test_a_thumbnail_that_is_missed_is_asked_for() -> None:
    weight = torch.zeros(1, 1, SIZE, SIZE)
    weight[..., 4, 5] = 0.5
    net = ThumbnailRegressor(
        torch.zeros(512),
        torch.ones(512),
        weight,
        torch.full((3 * SIZE * SIZE,), 0.1),
        torch.zeros(1, 3 * SIZE * SIZE),
    )
    image = torch.zeros(1, 3, 128, 128)
    image[:, 1, 32:40, 40:48] = 0.8
    seen = net.seen(image).reshape(3, SIZE, SIZE)
    assert seen[1, 4, 5] == pytest.approx(0.4) and int(torch.count_nonzero(seen)) == 1
    torch.testing.assert_close(net(torch.randn(2, 18, 512)), torch.full((2, 3 * SIZE * SIZE), 0.1))


def test_the_regressor_comes_back_from_its_graph() -> None:
    w = mean_w() + 0.4 * std_w() * np.random.default_rng(2).standard_normal((1, 512)).astype(np.float32)
    w_plus = broadcast(w.astype(np.float32))
    with torch.no_grad():
        ours = load_regressor(zoo.SHIPPED / "landmarks.onnx")(torch.from_numpy(w_plus))[0].numpy()
    shipped = zoo.load_landmark_regressor("onnxruntime").landmarks(w_plus)
    np.testing.assert_allclose(ours, shipped, atol=1e-4)
