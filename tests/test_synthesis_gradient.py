"""The generator's written-out gradient against automatic differentiation and against finite differences."""

from __future__ import annotations

from typing import Any

import pytest

torch = pytest.importorskip("torch", reason="the train extra is not installed")

from models.networks.mobile_stylegan import Synthesis, inverse_haar  # noqa: E402
from models.networks.synthesis_gradient import SynthesisGradient, forward_haar, picture_loss  # noqa: E402

pytestmark = pytest.mark.train

READ = 16  # layers of W+ that the generator reads


@pytest.fixture(scope="module")
def net() -> Any:  # noqa: ANN401 - torch has no types here
    """A generator of random weights in float64, noise and biases included."""
    torch.manual_seed(1)
    net = Synthesis(256).double().requires_grad_(False)
    for parameter in net.parameters():
        if not parameter.any():
            parameter.normal_(std=0.2)
    return net


def problem(batch: int = 1) -> tuple[Any, Any, Any, Any]:
    """W+, target, weight and a wish about as large as the loss's gradient."""
    generator = torch.Generator().manual_seed(2)
    w_plus = torch.randn(batch, 18, 512, generator=generator, dtype=torch.float64)
    target = torch.rand(batch, 3, 256, 256, generator=generator, dtype=torch.float64)
    weight = torch.rand(batch, 1, 256, 256, generator=generator, dtype=torch.float64)
    return w_plus, target, weight, torch.randn(target.shape, generator=generator, dtype=torch.float64) / 256**2


def test_the_haar_transforms_undo_each_other() -> None:
    bands = torch.randn(2, 12, 5, 5, dtype=torch.float64)
    torch.testing.assert_close(forward_haar(inverse_haar(bands)), bands)


def test_the_gradient_is_that_of_automatic_differentiation(net: Any) -> None:  # noqa: ANN401
    w_plus, target, weight, wish = problem(batch=2)
    image, _, gradient = SynthesisGradient(net)(w_plus, target, weight, wish)
    w_plus.requires_grad_()
    expected = net(w_plus)
    torch.testing.assert_close(image, expected.detach())
    (picture_loss(expected, target, weight)[0].sum() + (wish * expected).sum()).backward()
    largest = w_plus.grad[:, :READ].abs().amax(dim=2)
    assert float(largest.min()) > 0, "every layer that is read must count"
    error = (gradient - w_plus.grad).abs().amax(dim=2)[:, :READ] / largest
    assert float(error.max()) < 1e-9
    assert not gradient[:, READ:].any()


def test_the_loss_falls_as_its_gradient_says(net: Any) -> None:  # noqa: ANN401
    w_plus, target, weight, _ = problem()
    graph, nothing = SynthesisGradient(net), torch.zeros_like(target)
    _, _, gradient = graph(w_plus, target, weight, nothing)
    step = 1e-6 * torch.randn(w_plus.shape, generator=torch.Generator().manual_seed(3), dtype=torch.float64)
    up, down = (graph(w_plus + sign * step, target, weight, nothing)[1] for sign in (1, -1))
    predicted = float((gradient * step).sum())
    assert float(up - down) / 2 == pytest.approx(predicted, rel=1e-4)


def test_what_has_no_weight_costs_nothing() -> None:
    target = torch.zeros(1, 3, 64, 64)
    image, weight = target.clone(), torch.zeros(1, 1, 64, 64)
    weight[..., :32] = 1.0
    image[..., 48:] = 1.0  # further from the weighted half than the coarsest level's pixels reach
    loss, gradient = picture_loss(image, target, weight)
    assert float(loss) == 0.0
    assert not gradient.any()
    image[..., :16] = 0.5
    assert float(picture_loss(image, target, weight)[0]) > 0


def test_an_even_difference_costs_its_size_at_every_level() -> None:
    target, weight = torch.zeros(1, 3, 64, 64), torch.ones(1, 1, 64, 64)
    assert float(picture_loss(target + 0.25, target, weight)[0]) == pytest.approx(4 * 0.25)
