"""The encoder's feedback: a correction that is learned from missed landmarks and brings them nearer."""

from __future__ import annotations

import numpy as np
import pytest

pytest.importorskip("torch", reason="needs the train extra")
pytest.importorskip("onnx", reason="needs the train extra")

import torch
from torch import Tensor, nn

from export.refine_encoder import COMPONENTS, fit, load_regressor
from models import zoo
from models.latent import broadcast, mean_w, std_w
from models.networks.refined_encoder import Correction, RefinedEncoder

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


class Mean(nn.Module):
    """An encoder that knows the mean face alone."""

    def __init__(self) -> None:
        super().__init__()
        self.std_w = torch.ones(512)

    def forward(self, image: Tensor, landmarks: Tensor) -> Tensor:
        """W+ [N, 18, 512] of zeros."""
        return image.new_zeros(len(image), 18, 512)


class Linear(nn.Module):
    """A regressor whose landmarks are the first 956 entries of W+'s rows 0 and 1."""

    def forward(self, w_plus: Tensor) -> Tensor:
        """Landmarks [N, 478, 2]."""
        return w_plus[:, :2].flatten(1)[:, : 2 * POINTS].reshape(-1, POINTS, 2)


def test_each_step_brings_the_landmarks_nearer(rng: np.random.Generator) -> None:
    landmarks = torch.from_numpy(rng.standard_normal((3, POINTS, 2)).astype(np.float32))
    half = Correction(torch.eye(2 * POINTS), 0.5 * torch.eye(2 * POINTS, 18 * 512))
    misses = []
    for steps in (0, 1, 3):
        net = RefinedEncoder(Mean(), Linear(), half, steps)
        found = Linear()(net(torch.zeros(3, 3, 128, 128), landmarks))
        misses.append(float((landmarks - found).abs().mean() / landmarks.abs().mean()))
    np.testing.assert_allclose(misses, (1, 0.5, 0.125), rtol=1e-4)


def test_the_regressor_comes_back_from_its_graph() -> None:
    w_plus = broadcast(mean_w()[None] + 0.4 * std_w() * np.random.default_rng(2).standard_normal((1, 512)))
    w_plus = w_plus.astype(np.float32)
    with torch.no_grad():
        ours = load_regressor(zoo.SHIPPED / "landmarks.onnx")(torch.from_numpy(w_plus))[0].numpy()
    shipped = zoo.load_landmark_regressor("onnxruntime").landmarks(w_plus)
    np.testing.assert_allclose(ours, shipped, atol=1e-4)
