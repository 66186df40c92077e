"""The written-out gradient at the generator's last weights against automatic differentiation."""

from __future__ import annotations

from typing import Any

import pytest

torch = pytest.importorskip("torch", reason="the train extra is not installed")

from models.networks.mobile_stylegan import Synthesis  # noqa: E402
from models.networks.synthesis_gradient import picture_loss  # noqa: E402
from models.networks.tuned_back import TunedBack  # noqa: E402

pytestmark = pytest.mark.train


@pytest.fixture(scope="module")
def back() -> Any:  # noqa: ANN401 - torch has no types here
    """The back of a generator of random weights in float64, noise and biases included."""
    torch.manual_seed(1)
    net = Synthesis(256).double().requires_grad_(False)
    for parameter in net.parameters():
        if not parameter.any():
            parameter.normal_(std=0.2)
    return TunedBack(net)


@pytest.fixture(scope="module")
def problem() -> tuple[Any, ...]:
    """Features, W+, target, weight and wish."""
    torch.manual_seed(2)
    features, w_plus = torch.randn(1, 512, 64, 64).double(), torch.randn(1, 18, 512).double()
    target, weight, wish = (torch.rand(1, n, 256, 256).double() for n in (3, 1, 3))
    return features, w_plus, target, weight, wish / 256**2


def test_no_change_is_the_generator_as_it_is(back: Any, problem: tuple[Any, ...]) -> None:  # noqa: ANN401
    features, w_plus, *_ = problem
    nothing = torch.zeros(1, back.length).double()
    torch.testing.assert_close(back(features, w_plus, nothing), back.net.back(features, w_plus))


def test_the_gradient_is_that_of_automatic_differentiation(back: Any, problem: tuple[Any, ...]) -> None:  # noqa: ANN401
    features, w_plus, target, weight, wish = problem
    change = (0.3 * torch.randn(1, back.length).double()).requires_grad_()
    with torch.no_grad():
        image, loss, gradient = back.gradient(features, w_plus, change, target, weight, wish)
    drawn = back(features, w_plus, change)
    expected, _ = picture_loss(drawn, target, weight)
    torch.testing.assert_close(loss, expected.detach())
    torch.testing.assert_close(image, drawn.detach())
    (expected.sum() + (wish * drawn).sum()).backward()
    start = 0
    for name in back.names:  # each by itself: a wrong one must not hide behind a large one
        part = slice(start, start + back.net.get_parameter(name).numel())
        largest = float(change.grad[0, part].abs().max())
        assert largest > 0, name
        assert float((gradient[0, part] - change.grad[0, part]).abs().max()) < 1e-9 * largest, name
        start = part.stop
    assert start == back.length == gradient.numel()
