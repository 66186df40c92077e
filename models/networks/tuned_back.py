"""The generator's last layers with weights that may be changed for one person, and the gradient at that change.

What is changed are the convolutions after 64 px, the pointwise ones of the blocks and those of the head, with
their biases: where skin and hair get their look, not where a face gets its shape. The change is one vector, each
weight in units of its tensor's root mean square: its entries are all alike to an optimiser, and zeros are the
generator as it is. As in models.networks.synthesis_gradient the reverse pass is written out, here to the weights.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import TypeAlias, cast

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from models.networks.mobile_stylegan import FRONT_BLOCKS, HEADS, Block, LowHead, StyledConv, Synthesis, inverse_haar
from models.networks.synthesis_gradient import LEAK, convolve_back, forward_haar, leak, picture_loss

Weights: TypeAlias = dict[str, Tensor]
Pull: TypeAlias = Callable[[Tensor], Tensor]  # d/d(output) -> d/d(x); notes d/d(weights) on its way


def tuned_names(net: Synthesis) -> tuple[str, ...]:
    """The parameters of `net` that may be changed, in the order of the vector."""
    blocks = [f"blocks.{i}.{conv}" for i in range(FRONT_BLOCKS, len(net.blocks)) for conv in ("conv1", "conv2")]
    convolutions = [f"{conv}.{name}" for conv in blocks for name in ("conv.weight", "bias")]
    head = [f"head.{conv}.{name}" for conv in ("linear", "hidden") for name in ("weight", "bias")]
    return (*convolutions, *head, "head.out.weight")


class TunedBack(nn.Module):
    """The back of a generator with a `LowHead`, its weights changed; for one picture at a time.

    Attributes:
        length: of the vector that changes the weights, P.
    """

    def __init__(self, net: Synthesis) -> None:
        super().__init__()
        self.net = net
        self.names = tuned_names(net)
        self.length = sum(net.get_parameter(name).numel() for name in self.names)

    def forward(self, features: Tensor, w_plus: Tensor, change: Tensor) -> Tensor:
        """Features [1, 512, 64, 64], W+ [1, 18, 512], change [1, P] -> picture [1, 3, R, R]."""
        weights = self._weights(change)
        image, _ = self._picture(features, w_plus, weights, {})
        return image

    def gradient(
        self, features: Tensor, w_plus: Tensor, change: Tensor, target: Tensor, weight: Tensor, wish: Tensor
    ) -> tuple[Tensor, Tensor, Tensor]:
        """Target [1, 3, R, R], weight [1, 1, R, R] and wish besides -> picture, `picture_loss` [1], gradient [1, P].

        The wish [1, 3, R, R] is as models.networks.synthesis_gradient has it; the gradient is at the change.
        """
        slopes: Weights = {}
        image, pull = self._picture(features, w_plus, self._weights(change), slopes)
        loss, at_image = picture_loss(image, target, weight)
        pull(at_image + wish)
        slope = torch.cat([self._unit(name) * slopes[name].reshape(1, -1) for name in self.names], dim=1)
        return image, loss, slope

    def _unit(self, name: str) -> float:
        return float(self.net.get_parameter(name).square().mean().sqrt())

    def _weights(self, change: Tensor) -> Weights:
        found, start = {}, 0
        for name in self.names:
            values = self.net.get_parameter(name)
            part = change[:, start : start + values.numel()].reshape(values.shape)
            found[name] = values + self._unit(name) * part
            start += values.numel()
        return found

    def _picture(self, features: Tensor, w_plus: Tensor, weights: Weights, slopes: Weights) -> tuple[Tensor, Pull]:
        net = self.net
        x = features
        pulls: list[Pull] = []
        for i in range(FRONT_BLOCKS, len(net.blocks)):
            block = cast(Block, net.blocks[i])
            first, second = w_plus[:, 2 * i + 1], w_plus[:, 2 * i + 2]
            scale = block.up(first)
            pixels = inverse_haar(x * scale)
            half, pull_half = tuned_conv(block.conv1, pixels, first, weights, slopes, f"blocks.{i}.conv1")
            x, pull_out = tuned_conv(block.conv2, half, second, weights, slopes, f"blocks.{i}.conv2")
            pulls += [partial(scale_back, scale), pull_half, pull_out]
        styles = w_plus[:, HEADS[net.size].layers].flatten(1)
        image, pull_image = tuned_head(cast(LowHead, net.head), x, styles, weights, slopes)

        def pull_all(gradient: Tensor) -> Tensor:
            gradient = pull_image(gradient)
            for pull in reversed(pulls[1:]):  # what leaves the front is not asked for
                gradient = pull(gradient)
            return gradient

        return image, pull_all


def scale_back(scale: Tensor, gradient: Tensor) -> Tensor:
    """The reverse of a scale and the inverse Haar transform after it."""
    return scale * forward_haar(gradient)


def outer(gradient: Tensor, x: Tensor) -> Tensor:
    """d/d(weight) of a 1x1 convolution, [O, I]; from d/d(output) [1, O, H, W] and its input [1, I, H, W]."""
    return (gradient.flatten(2) @ x.flatten(2).transpose(1, 2)).squeeze(0)


def turned(weight: Tensor) -> Tensor:
    """The weight of the 1x1 convolution that is a 1x1 convolution's reverse."""
    return weight.transpose(0, 1)


def tuned_conv(
    layer: StyledConv, x: Tensor, style: Tensor, weights: Weights, slopes: Weights, name: str
) -> tuple[Tensor, Pull]:
    """See `StyledConv`; the names of its changed weights begin with `name`."""
    depthwise = cast(nn.Conv2d, layer.depthwise)
    scale = layer.modulation(style)
    filtered = depthwise(x * scale)
    weight, bias = weights[f"{name}.conv.weight"], weights[f"{name}.bias"]
    activated = F.leaky_relu(F.conv2d(filtered, weight) + layer.noise + bias, LEAK)

    def pull(gradient: Tensor) -> Tensor:
        at_filtered = leak(gradient, activated)
        slopes[f"{name}.conv.weight"] = outer(at_filtered, filtered)
        slopes[f"{name}.bias"] = at_filtered.sum(dim=(2, 3))
        return scale * convolve_back(depthwise, F.conv2d(at_filtered, turned(weight)))

    return activated, pull


def tuned_head(layer: LowHead, x: Tensor, styles: Tensor, weights: Weights, slopes: Weights) -> tuple[Tensor, Pull]:
    """See `LowHead`."""
    linear, hidden, out = (weights[f"head.{name}.weight"] for name in ("linear", "hidden", "out"))
    scale, hidden_scale = layer.modulation(styles), layer.hidden_modulation(styles)
    filtered = layer.depthwise(x * scale)
    activated = F.leaky_relu(F.conv2d(filtered, hidden, weights["head.hidden.bias"]), LEAK)
    scaled = activated * hidden_scale
    image = F.conv2d(filtered, linear, weights["head.linear.bias"]) + F.conv2d(scaled, out, layer.out.bias)
    image = image + layer.style_bias(styles).unsqueeze(-1).unsqueeze(-1)

    def pull(gradient: Tensor) -> Tensor:
        at_hidden = leak(hidden_scale * F.conv2d(gradient, turned(out)), activated)
        slopes["head.out.weight"] = outer(gradient, scaled)
        for name, at_output in (("linear", gradient), ("hidden", at_hidden)):
            slopes[f"head.{name}.weight"] = outer(at_output, filtered)
            slopes[f"head.{name}.bias"] = at_output.sum(dim=(2, 3))
        at_filtered = F.conv2d(gradient, turned(linear)) + F.conv2d(at_hidden, turned(hidden))
        return scale * convolve_back(layer.depthwise, at_filtered)

    return image, pull
