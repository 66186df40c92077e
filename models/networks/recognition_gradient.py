"""The face recogniser with its own gradient at the picture, in operations that any inference engine has.

So that a face is fitted to who somebody is, not to pixels alone. As in models.networks.synthesis_gradient the reverse
pass is written out; the reverse of a convolution has the very same weights, which thus stay in dlib's file.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TypeAlias, cast

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from models.networks.face_recogniser import POOL, POOL_STRIDE, FaceRecogniser, Residual, grown

NEAR = 1e-6  # distance of embeddings below which there is no direction to go

Pull: TypeAlias = Callable[[Tensor], Tensor]  # d/d(output) -> d/d(input)


def convolve_back(conv: nn.Conv2d, gradient: Tensor, side: int) -> Tensor:
    """d/d(input) of a convolution, whose input has `side` pixels per side."""
    kernel, stride, padding = conv.kernel_size[0], conv.stride[0], int(conv.padding[0])
    least = (int(gradient.shape[2]) - 1) * stride + kernel - 2 * padding
    # Of negative weights: OpenVINO (2026.4) errs where one graph convolves by the same weights forth and back.
    return -F.conv_transpose2d(gradient, -conv.weight, stride=stride, padding=padding, output_padding=side - least)


def rectified(gradient: Tensor, activated: Tensor) -> Tensor:
    """d/d(input) of a ReLU, from its output."""
    return gradient * (activated > 0).to(gradient.dtype)


def residual(layer: Residual, x: Tensor) -> tuple[Tensor, Pull]:
    """See `Residual`."""
    inner = F.relu(layer.conv1(x))
    made = layer.conv2(inner)
    kept = F.avg_pool2d(x, 2) if layer.halved else x
    sizes = [max(int(a), int(b)) for a, b in zip(made.shape[1:], kept.shape[1:], strict=True)]
    out = F.relu(grown(made, *sizes) + grown(kept, *sizes))
    side = int(x.shape[2])

    def pull(gradient: Tensor) -> Tensor:
        gradient = rectified(gradient, out)
        at_inner = convolve_back(layer.conv2, cut_to(gradient, made), int(inner.shape[2]))
        at_x = convolve_back(layer.conv1, rectified(at_inner, inner), side)
        at_kept = cut_to(gradient, kept)
        if layer.halved:
            at_kept = F.interpolate(at_kept, scale_factor=2.0, mode="nearest") / 4
            at_kept = grown(at_kept, int(x.shape[1]), side, side)
        return at_x + at_kept

    return out, pull


def cut_to(x: Tensor, like: Tensor) -> Tensor:
    """The reverse of `grown`: the part that another tensor filled."""
    channels, height, width = (int(n) for n in like.shape[1:])
    return x[:, :channels, :height, :width]


def largest(x: Tensor) -> tuple[Tensor, Pull]:
    """Pooling by the largest; where several are as large, they share the gradient."""
    out = F.max_pool2d(x, POOL, POOL_STRIDE)
    channels, height, width = (int(n) for n in out.shape[1:])
    sides = int(x.shape[2]), int(x.shape[3])
    down, across = (POOL_STRIDE * (side - 1) + 1 for side in (height, width))
    parts = [  # of each window the pixel at one place
        x[:, :, top : top + down : POOL_STRIDE, left : left + across : POOL_STRIDE]
        for top in range(POOL)
        for left in range(POOL)
    ]

    def pull(gradient: Tensor) -> Tensor:
        won = [(part == out).to(x.dtype) for part in parts]
        share = gradient / torch.stack(won).sum(dim=0)
        # Each window's nine shares side by side, then put where they came from.
        shares = torch.stack([one * share for one in won], dim=2).reshape(-1, channels * len(won), height, width)
        places = torch.eye(len(won), dtype=x.dtype).reshape(len(won), 1, POOL, POOL).repeat(channels, 1, 1, 1)
        back = F.conv_transpose2d(shares, places, stride=POOL_STRIDE, groups=channels)
        return grown(back, channels, *sides)

    return out, pull


class RecognitionGradient(nn.Module):
    """How far a face is from somebody, to the recogniser, and which way the picture would come nearer.

    Pictures float32 [N, 3, R, R] in [-1, 1], down and across [N, 150, R] (see models.face_chip), the embedding
    [N, 128] of whom the picture should show -> the picture's embedding [N, 128], the Euclidean distance of the two
    [N], its gradient at the picture [N, 3, R, R].
    """

    def __init__(self, net: FaceRecogniser) -> None:
        super().__init__()
        self.net = net
        self.last = nn.Parameter(net.last.weight.T.contiguous(), requires_grad=False)  # as dlib stores it

    def forward(self, image: Tensor, down: Tensor, across: Tensor, wanted: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        net, rows, columns = self.net, down.unsqueeze(1), across.unsqueeze(1)
        chips = 127.5 * (rows @ image @ columns.transpose(2, 3) + 1)
        first = F.relu(net.first((chips - net.means) / 256))
        x, pull_first = largest(first)
        pulls = [pull_first]
        for layer in net.blocks:
            x, pull = residual(cast(Residual, layer), x)
            pulls.append(pull)
        embedding = x.mean(dim=(2, 3)) @ self.last

        difference = embedding - wanted
        distance = difference.square().sum(dim=1).sqrt()
        at_embedding = difference / distance.clamp_min(NEAR).unsqueeze(1)
        at_mean = (at_embedding.unsqueeze(1) * self.last).sum(dim=2)
        gradient = (at_mean / (int(x.shape[2]) * int(x.shape[3]))).unsqueeze(2).unsqueeze(3).expand_as(x)
        for pull in reversed(pulls):
            gradient = pull(gradient)
        gradient = rectified(gradient, first)
        at_chips = convolve_back(net.first, gradient, int(chips.shape[2])) * (127.5 / 256)
        return embedding, distance, rows.transpose(2, 3) @ at_chips @ columns
