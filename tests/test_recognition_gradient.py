"""The recogniser's written-out gradient against automatic differentiation."""

from __future__ import annotations

from typing import Any

import pytest

torch = pytest.importorskip("torch", reason="the train extra is not installed")

from models.networks.face_recogniser import EMBEDDING, FaceRecogniser  # noqa: E402
from models.networks.recognition_gradient import RecognitionGradient, largest  # noqa: E402

pytestmark = pytest.mark.train


def test_the_gradient_is_that_of_automatic_differentiation() -> None:
    torch.manual_seed(1)
    net = FaceRecogniser().double().requires_grad_(False)
    image = 2 * torch.rand(2, 3, 96, 96, dtype=torch.float64) - 1
    down, across = torch.rand(2, 2, 150, 96, dtype=torch.float64) / 24
    wanted = torch.randn(2, EMBEDDING, dtype=torch.float64)
    embedding, distance, gradient = RecognitionGradient(net)(image, down, across, wanted)
    image.requires_grad_()
    chips = torch.einsum("nyv,ncvu,nxu->ncyx", down, image, across)
    expected = net(127.5 * (chips + 1))
    torch.testing.assert_close(embedding, expected.detach())
    (expected - wanted).norm(dim=1).sum().backward()
    torch.testing.assert_close(distance, (embedding - wanted).norm(dim=1))
    assert float(image.grad.abs().amax()) > 0
    torch.testing.assert_close(gradient, image.grad, rtol=1e-9, atol=1e-12)


def test_a_face_that_is_the_wanted_one_has_no_way_to_go() -> None:
    torch.manual_seed(2)
    graph = RecognitionGradient(FaceRecogniser().requires_grad_(False))
    image, axes = torch.rand(1, 3, 64, 64), torch.rand(1, 150, 64) / 64
    embedding, *_ = graph(image, axes, axes, torch.zeros(1, EMBEDDING))
    _, distance, gradient = graph(image, axes, axes, embedding)
    assert float(distance) < 1e-5
    assert bool(gradient.isfinite().all())
    assert not gradient.any()


def test_pixels_that_are_as_large_share_what_their_window_gets() -> None:
    x: Any = torch.ones(1, 2, 5, 5)
    x[..., 0, 0] = 2.0
    out, pull = largest(x)
    assert out.shape == (1, 2, 2, 2)
    gradient = pull(torch.ones(1, 2, 2, 2))
    torch.testing.assert_close(gradient.sum(dim=(2, 3)), torch.full((1, 2), 4.0))
    torch.testing.assert_close(gradient[0, 0, 0], torch.tensor([1.0, 0.0, 1 / 9, 1 / 9, 1 / 9]))
