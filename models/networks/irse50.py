"""IR-SE50, the residual network with squeeze and excitation that pSp and e4e read a face with.

From ArcFace (Deng et al. 2019), with squeeze-and-excitation (Hu et al. 2018). Modules have the names that their
weights have in published checkpoints.
"""

from __future__ import annotations

from dataclasses import dataclass

from torch import Tensor, nn

SQUEEZE = 16  # a unit's channels per channel of its gate's hidden layer


@dataclass(frozen=True)
class Backbone:
    """How wide and how deep; the defaults are IR-SE50's. Each stage halves the picture."""

    stem: int = 64  # channels, at the picture's size
    widths: tuple[int, int, int, int] = (64, 128, 256, 512)  # channels of the stages
    units: tuple[int, int, int, int] = (3, 4, 14, 3)  # residual units of the stages


class Gate(nn.Module):
    """Squeeze and excitation: each channel is scaled by what the means of all channels make of it."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.fc1 = nn.Conv2d(channels, channels // SQUEEZE, 1, bias=False)
        self.fc2 = nn.Conv2d(channels // SQUEEZE, channels, 1, bias=False)

    def forward(self, x: Tensor) -> Tensor:
        mean = x.mean((2, 3), keepdim=True)
        return x * self.fc2(self.fc1(mean).relu()).sigmoid()


class Unit(nn.Module):
    """Two 3x3 convolutions and a gate beside a shortcut; stride 2 halves the picture in the second convolution."""

    def __init__(self, in_channels: int, channels: int, stride: int) -> None:
        super().__init__()
        # A shortcut of equal width is every stride-th pixel.
        self.shortcut_layer: nn.Module = nn.MaxPool2d(1, stride)
        if in_channels != channels:
            self.shortcut_layer = nn.Sequential(
                nn.Conv2d(in_channels, channels, 1, stride, bias=False), nn.BatchNorm2d(channels)
            )
        self.res_layer = nn.Sequential(
            nn.BatchNorm2d(in_channels),
            nn.Conv2d(in_channels, channels, 3, 1, 1, bias=False),
            nn.PReLU(channels),
            nn.Conv2d(channels, channels, 3, stride, 1, bias=False),
            nn.BatchNorm2d(channels),
            Gate(channels),
        )

    def forward(self, x: Tensor) -> Tensor:
        return self.res_layer(x) + self.shortcut_layer(x)


class IRSE50(nn.Module):
    """The backbone of an encoder, which inherits it: in checkpoints the two share one level of names."""

    def __init__(self, backbone: Backbone) -> None:
        super().__init__()
        self.input_layer = nn.Sequential(
            nn.Conv2d(3, backbone.stem, 3, 1, 1, bias=False), nn.BatchNorm2d(backbone.stem), nn.PReLU(backbone.stem)
        )
        units: list[Unit] = []
        channels = backbone.stem
        for width, count in zip(backbone.widths, backbone.units, strict=True):
            for i in range(count):
                units.append(Unit(channels, width, 1 if i else 2))
                channels = width
        self.body = nn.Sequential(*units)
        self.units = backbone.units

    def pyramid(self, image: Tensor) -> list[Tensor]:
        """What each stage makes of RGB [N, 3, S, S] in [-1, 1]: [N, widths[k], S / 2^(k+1), S / 2^(k+1)]."""
        x = self.input_layer(image)
        remaining = iter(self.body)
        levels: list[Tensor] = []
        for count in self.units:
            for _ in range(count):
                x = next(remaining)(x)
            levels.append(x)
        return levels
