"""The encoder: aligned crop and its landmarks -> W+, in one forward pass.

As in e4e (Tov et al., "Designing an Encoder for StyleGAN Image Manipulation", 2021), the latent is one w for the
whole face plus an offset per layer, starting from the mean latent. The landmarks that the tracker has found anyway
are a second input: geometry, pose and expression look the same in a photograph and in a generated picture, where
pixels do not.
"""

from __future__ import annotations

from typing import cast

import torch
from torch import Tensor, nn
from torch.nn import functional as F

LAYERS = 18
STYLE_DIM = 512
LANDMARKS = 478
HIDDEN = 1024


class ResidualBlock(nn.Module):
    """Two 3x3 convolutions with batch norm beside a shortcut; stride 2 halves the picture."""

    def __init__(self, in_channels: int, out_channels: int, stride: int) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(in_channels, out_channels, 3, stride, 1, bias=False)
        self.norm1 = nn.BatchNorm2d(out_channels)
        self.conv2 = nn.Conv2d(out_channels, out_channels, 3, 1, 1, bias=False)
        self.norm2 = nn.BatchNorm2d(out_channels)
        self.shortcut: nn.Module = nn.Identity()
        if stride != 1 or in_channels != out_channels:
            self.shortcut = nn.Sequential(
                nn.Conv2d(in_channels, out_channels, 1, stride, bias=False), nn.BatchNorm2d(out_channels)
            )

    def forward(self, x: Tensor) -> Tensor:
        y = F.relu(self.norm1(self.conv1(x)), inplace=True)
        return F.relu(self.norm2(self.conv2(y)) + self.shortcut(x), inplace=True)


class Encoder(nn.Module):
    """Crop float32 [N, 3, 128, 128] in [-1, 1], landmarks [N, 478, 2] in [0, 1] -> W+ [N, 18, 512].

    Args:
        mean_w: float32 [512], where the estimate starts.
        std_w: float32 [512], the unit its outputs are learned in.
        widths: channels of the four stages, at 32, 16, 8 and 4 px.
        blocks: residual blocks per stage.
    """

    mean_w: Tensor
    std_w: Tensor

    def __init__(
        self,
        mean_w: Tensor,
        std_w: Tensor,
        widths: tuple[int, ...] = (48, 96, 208, 384),
        blocks: tuple[int, ...] = (1, 2, 2, 2),
    ) -> None:
        super().__init__()
        self.register_buffer("mean_w", mean_w)
        self.register_buffer("std_w", std_w)
        self.stem = nn.Sequential(
            nn.Conv2d(3, widths[0], 4, 4, bias=False), nn.BatchNorm2d(widths[0]), nn.ReLU(inplace=True)
        )
        stages: list[nn.Module] = []
        channels = widths[0]
        for stage, (width, count) in enumerate(zip(widths, blocks, strict=True)):
            for i in range(count):
                stages.append(ResidualBlock(channels, width, 2 if stage and not i else 1))
                channels = width
        self.stages = nn.Sequential(*stages)
        # Where a thing is matters as much as that it is there: the 4x4 map is flattened, not averaged.
        self.reduce = nn.Conv2d(channels, 96, 1)
        self.geometry = nn.Sequential(nn.Linear(2 * LANDMARKS, 384), nn.GELU(), nn.Linear(384, 384), nn.GELU())
        self.trunk = nn.Sequential(
            nn.Linear(96 * 16 + channels + 384, HIDDEN), nn.GELU(), nn.Linear(HIDDEN, HIDDEN), nn.GELU()
        )
        self.base = nn.Linear(HIDDEN, STYLE_DIM)
        self.offsets = nn.Sequential(nn.Linear(HIDDEN, 320), nn.GELU(), nn.Linear(320, LAYERS * STYLE_DIM))
        nn.init.zeros_(cast(nn.Linear, self.offsets[-1]).weight)
        nn.init.zeros_(cast(nn.Linear, self.offsets[-1]).bias)

    def features(self, image: Tensor, landmarks: Tensor, hint: Tensor | None = None) -> Tensor:
        """What the latent is read from, [N, HIDDEN]; `hint` [N, HIDDEN] is added to the trunk's first layer."""
        x = self.stages(self.stem(image))
        # From the crop's centre, in units that make the spread of a face's points about one.
        geometry = self.geometry(((landmarks - 0.5) * 5.0).flatten(1))
        first = self.trunk[0](torch.cat([self.reduce(x).flatten(1), x.mean((2, 3)), geometry], 1))
        return cast(Tensor, self.trunk[1:](first if hint is None else first + hint))

    def standardised(self, features: Tensor) -> Tensor:
        """(W+ - mean_w) / std_w, [N, 18, 512]."""
        offsets = self.offsets(features).reshape(-1, LAYERS, STYLE_DIM)
        return cast(Tensor, self.base(features).unsqueeze(1) + offsets)

    def forward(self, image: Tensor, landmarks: Tensor) -> Tensor:
        return self.mean_w + self.std_w * self.standardised(self.features(image, landmarks))
