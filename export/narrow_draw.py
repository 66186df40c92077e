"""The student's narrowed blocks with channels last, in operations that torch's compiler makes one loop of.

What training costs is memory more than multiplications: compiled, this took 2.7 s for four faces where the modules'
own convolutions took 4.3 s compiled and 7.1 s as they are (one thread, AVX2, beside other work).
The function is the same (a test compares them).
"""

from __future__ import annotations

from typing import cast

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from models.networks import mobile_stylegan as ms
from models.networks.student import NARROWED


def from_narrowed(net: ms.Synthesis, features: Tensor, w_plus: Tensor) -> Tensor:
    """The picture [N, 3, 256, 256], from the features [N, 512, 32, 32] that the first narrowed block reads."""
    x = features.permute(0, 2, 3, 1)
    for i in NARROWED:
        block = cast(ms.Block, net.blocks[i])
        first, second = w_plus[:, 2 * i + 1], w_plus[:, 2 * i + 2]
        x = _inverse_haar(x * _scale(block.up, first))
        x = _styled_conv(block.conv2, _styled_conv(block.conv1, x, first), second)
    head, styles = cast(ms.LowHead, net.head), w_plus[:, ms.HEADS[net.size].layers].flatten(1)
    x = _depthwise(head.depthwise, x * _scale(head.modulation, styles))
    hidden = F.leaky_relu(_pointwise(head.hidden, x), 0.2) * _scale(head.hidden_modulation, styles)
    image = _pointwise(head.linear, x) + _pointwise(head.out, hidden) + head.style_bias(styles)[:, None, None]
    return image.permute(0, 3, 1, 2)


def up_to_narrowed(net: ms.Synthesis, w_plus: Tensor) -> Tensor:
    """Those features: the published generator's."""
    x = cast(Tensor, net.conv1(net.constant, w_plus[:, 0]))
    return net.through(range(NARROWED.start), x, w_plus)


def _scale(layer: ms.Modulation, style: Tensor) -> Tensor:
    return layer(style)[:, None, None, :, 0, 0]


def _styled_conv(layer: ms.StyledConv, x: Tensor, style: Tensor) -> Tensor:
    x = _depthwise(cast(nn.Conv2d, layer.depthwise), x * _scale(layer.modulation, style))
    noise = layer.noise[:, 0, :, :, None]
    return F.leaky_relu(_pointwise(layer.conv, x) + noise + layer.bias[:, :, 0, 0], 0.2)


def _depthwise(conv: nn.Conv2d, x: Tensor) -> Tensor:
    height, width = x.shape[1:3]
    padded = F.pad(x, (0, 0, 1, 1, 1, 1))
    parts = [padded[:, i : i + height, j : j + width] * conv.weight[:, 0, i, j] for i in range(3) for j in range(3)]
    return cast(Tensor, sum(parts[1:], parts[0]))


def _pointwise(conv: nn.Conv2d, x: Tensor) -> Tensor:
    return F.linear(x, conv.weight[:, :, 0, 0], conv.bias)


def _inverse_haar(bands: Tensor) -> Tensor:
    """See `models.networks.mobile_stylegan.inverse_haar`."""
    count, height, width, channels = bands.shape
    ll, lh, hl, hh = bands.chunk(4, -1)
    top, bottom = ll + lh, ll - lh
    side_top, side_bottom = hl + hh, hl - hh
    pixels = 0.5 * torch.stack((top + side_top, top - side_top, bottom + side_bottom, bottom - side_bottom), 3)
    blocks = pixels.reshape(count, height, width, 2, 2, channels // 4).permute(0, 1, 3, 2, 4, 5)
    return blocks.reshape(count, 2 * height, 2 * width, channels // 4)
