"""The generator with its own gradient, in operations that any inference engine has.

Inverting a picture by optimisation needs dloss/dW+; with the reverse pass written out as a graph of its own, that
takes no automatic differentiation. Each function here returns what its layer computes and a function that pulls a
gradient of the output back to the layer's inputs. The reverse of a convolution is a convolution with the very same
weights, turned round: an exported graph holds no weight twice.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TypeAlias

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from models.networks.mobile_stylegan import (
    HEADS,
    LAST_LAYER,
    STYLE_DIM,
    Block,
    HeadSpec,
    HiddenHead,
    LowHead,
    Modulation,
    StyledConv,
    Synthesis,
    inverse_haar,
)

LEVELS = 4  # of the loss: the picture, and reduced by 2, 4 and 8
EDGES = 2.0  # weight of the differences between neighbouring pixels against that of the pixels themselves
LEAK = 0.2  # of every leaky ReLU

Pull: TypeAlias = Callable[[Tensor], tuple[Tensor, Tensor]]  # d/d(output) -> d/d(x), d/d(style)


def forward_haar(pixels: Tensor) -> Tensor:
    """The transpose of `inverse_haar`, which is its inverse too: [N, C, 2H, 2W] -> bands [N, 4C, H, W]."""
    c, h, w = (int(n) for n in pixels.shape[1:])
    blocks = pixels.reshape(-1, c, h // 2, 2, w // 2, 2).permute(0, 3, 5, 1, 2, 4)
    first, second, third, fourth = (0.5 * blocks).reshape(-1, 4 * c, h // 2, w // 2).chunk(4, dim=1)
    top, bottom, side_top, side_bottom = first + second, third + fourth, first - second, third - fourth
    return torch.cat((top + bottom, top - bottom, side_top + side_bottom, side_top - side_bottom), dim=1)


def modulate(layer: Modulation, x: Tensor, style: Tensor) -> tuple[Tensor, Pull]:
    """Scale by style."""
    scale = layer(style)

    def pull(gradient: Tensor) -> tuple[Tensor, Tensor]:
        at_scale = (gradient * x).sum(dim=(2, 3)) * layer.gain
        return gradient * scale, linear_back(layer.affine, at_scale)

    return x * scale, pull


def linear_back(layer: nn.Linear, gradient: Tensor) -> Tensor:
    """d/d(input) of a linear layer, [N, C] -> [N, D]."""
    # No matrix product: OpenVINO takes a square matrix for its transpose where one graph multiplies by both.
    return (gradient.unsqueeze(-1) * layer.weight).sum(dim=1)


def convolve_back(conv: nn.Conv2d, gradient: Tensor) -> Tensor:
    """d/d(input) of a convolution that keeps the size: the weights turned by 180 degrees, channels swapped."""
    weight = conv.weight if conv.groups > 1 else conv.weight.transpose(0, 1)
    turned = weight.flip(2, 3) if conv.kernel_size != (1, 1) else weight
    return F.conv2d(gradient, turned, padding=conv.padding, groups=conv.groups)


def leak(gradient: Tensor, activated: Tensor) -> Tensor:
    """d/d(input) of a leaky ReLU, from its output, whose sign is that of its input."""
    return torch.where(activated > 0, gradient, LEAK * gradient)


def styled_conv(layer: StyledConv, x: Tensor, style: Tensor) -> tuple[Tensor, Pull]:
    """See `StyledConv`."""
    scaled, pull_scaled = modulate(layer.modulation, x, style)
    filtered = scaled if layer.depthwise is None else layer.depthwise(scaled)
    activated = F.leaky_relu(layer.conv(filtered) + layer.noise + layer.bias, LEAK)

    def pull(gradient: Tensor) -> tuple[Tensor, Tensor]:
        at_filtered = convolve_back(layer.conv, leak(gradient, activated))
        at_scaled = at_filtered if layer.depthwise is None else convolve_back(layer.depthwise, at_filtered)
        return pull_scaled(at_scaled)

    return activated, pull


def block(
    layer: Block, x: Tensor, first: Tensor, second: Tensor
) -> tuple[Tensor, Callable[[Tensor], tuple[Tensor, Tensor, Tensor]]]:
    """See `Block`; the gradient is pulled to x, the style of the first half and the style of the second."""
    scaled, pull_scaled = modulate(layer.up, x, first)
    half, pull_half = styled_conv(layer.conv1, inverse_haar(scaled), first)
    out, pull_out = styled_conv(layer.conv2, half, second)

    def pull(gradient: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        at_half, at_second = pull_out(gradient)
        at_pixels, at_first = pull_half(at_half)
        at_x, at_up = pull_scaled(forward_haar(at_pixels))
        return at_x, at_first + at_up, at_second

    return out, pull


def hidden_head(layer: HiddenHead, x: Tensor, styles: Tensor) -> tuple[Tensor, Pull]:
    """See `HiddenHead`."""
    scaled, pull_scaled = modulate(layer.modulation, x, styles)
    hidden = F.leaky_relu(layer.hidden(scaled), LEAK)
    bias = layer.style_bias(styles).unsqueeze(-1).unsqueeze(-1)
    image = inverse_haar(layer.linear(scaled) + layer.out(hidden) + bias)

    def pull(gradient: Tensor) -> tuple[Tensor, Tensor]:
        bands = forward_haar(gradient)
        at_hidden = leak(convolve_back(layer.out, bands), hidden)
        at_x, at_styles = pull_scaled(convolve_back(layer.linear, bands) + convolve_back(layer.hidden, at_hidden))
        return at_x, at_styles + linear_back(layer.style_bias, bands.sum(dim=(2, 3)))

    return image, pull


def low_head(layer: LowHead, x: Tensor, styles: Tensor) -> tuple[Tensor, Pull]:
    """See `LowHead`."""
    scaled, pull_scaled = modulate(layer.modulation, x, styles)
    filtered = layer.depthwise(scaled)
    hidden = F.leaky_relu(layer.hidden(filtered), LEAK)
    scaled_hidden, pull_hidden = modulate(layer.hidden_modulation, hidden, styles)
    bias = layer.style_bias(styles).unsqueeze(-1).unsqueeze(-1)
    image = layer.linear(filtered) + layer.out(scaled_hidden) + bias

    def pull(gradient: Tensor) -> tuple[Tensor, Tensor]:
        at_hidden, at_second = pull_hidden(convolve_back(layer.out, gradient))
        at_filtered = convolve_back(layer.hidden, leak(at_hidden, hidden)) + convolve_back(layer.linear, gradient)
        at_x, at_first = pull_scaled(convolve_back(layer.depthwise, at_filtered))
        return at_x, at_first + at_second + linear_back(layer.style_bias, gradient.sum(dim=(2, 3)))

    return image, pull


def picture_loss(image: Tensor, target: Tensor, weight: Tensor) -> tuple[Tensor, Tensor]:
    """Weighted mean absolute difference of the pixels and of the steps from pixel to pixel, summed over sizes.

    Args:
        image: [N, 3, R, R].
        target: likewise.
        weight: [N, 1, R, R], how much each pixel matters; of mean 1 for a loss in levels of the picture.

    Returns:
        The loss [N] and its gradient at the image [N, 3, R, R].
    """
    difference = image - target
    loss, gradients = torch.zeros(1, dtype=image.dtype), []
    for level in range(LEVELS):
        if level:
            difference, weight = F.avg_pool2d(difference, 2), F.avg_pool2d(weight, 2)
        share = 1 / (3 * int(difference.shape[2]) ** 2)
        right = difference[..., :, 1:] - difference[..., :, :-1]
        down = difference[..., 1:, :] - difference[..., :-1, :]
        at_pixels = share * weight
        at_right, at_down = EDGES * at_pixels[..., :, 1:], EDGES * at_pixels[..., 1:, :]
        for weights, values in ((at_pixels, difference), (at_right, right), (at_down, down)):
            loss = loss + (weights * values.abs()).sum(dim=(1, 2, 3))
        signs_right, signs_down = at_right * right.sign(), at_down * down.sign()
        gradients.append(
            at_pixels * difference.sign()
            + (F.pad(signs_right, (1, 0)) - F.pad(signs_right, (0, 1)))
            + (F.pad(signs_down, (0, 0, 1, 0)) - F.pad(signs_down, (0, 0, 0, 1)))
        )
    total = gradients.pop()
    while gradients:
        total = gradients.pop() + F.interpolate(total, scale_factor=2.0, mode="nearest") / 4
    return loss, total


class SynthesisGradient(nn.Module):
    """W+ [N, 18, 512], target [N, 3, R, R], weight [N, 1, R, R], wish -> picture, loss [N], dloss/dW+ [N, 18, 512].

    For the generator at a size whose head was trained here; see `picture_loss`. The wish [N, 3, R, R] is the gradient
    at the picture of whatever else it is to be: what is pulled back to W+ is its sum with the loss's.
    """

    def __init__(self, net: Synthesis) -> None:
        super().__init__()
        self.net = net
        self.spec: HeadSpec = HEADS[net.size]

    def forward(self, w_plus: Tensor, target: Tensor, weight: Tensor, wish: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        net = self.net
        x, pull_first = styled_conv(net.conv1, net.constant, w_plus[:, 0])
        pulls = []
        for i, layer in enumerate(net.blocks):
            x, pull = block(layer, x, w_plus[:, 2 * i + 1], w_plus[:, 2 * i + 2])
            pulls.append(pull)
        read_out = low_head if self.spec.low else hidden_head
        image, pull_image = read_out(net.head, x, w_plus[:, self.spec.layers].flatten(1))
        loss, gradient = picture_loss(image, target, weight)

        gradient, at_styles = pull_image(gradient + wish)
        rows = list(at_styles.reshape(-1, LAST_LAYER + 1 - self.spec.layers.start, STYLE_DIM).unbind(1))
        for pull in reversed(pulls):
            gradient, first, second = pull(gradient)
            rows = [first, second, *rows]
        rows = [pull_first(gradient)[1], *rows]
        unread = torch.zeros_like(w_plus[:, LAST_LAYER + 1 :])
        return image, loss, torch.cat((torch.stack(rows, dim=1), unread), dim=1)
