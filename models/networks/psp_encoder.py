"""The encoders of pSp and e4e: aligned crop -> W+, in one forward pass.

pSp (Richardson et al., "Encoding in Style", 2021) reads each row of W+ from one of three levels of a feature pyramid
with a head of its own; e4e (Tov et al., "Designing an Encoder for StyleGAN Image Manipulation", 2021) reads one w and
what each further row differs from it. Modules have the names that their weights have in published checkpoints.
"""

from __future__ import annotations

from dataclasses import dataclass, field

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from models.networks.irse50 import IRSE50, Backbone

COARSE_ROWS = 3  # of W+, read from the smallest level
MIDDLE_ROWS = 4  # read from the next; the rest is read from the third


@dataclass(frozen=True)
class EncoderConfig:
    """What decides the shapes of an encoder; the defaults are those of a face at 1024 px."""

    kind: str  # a name in ENCODERS
    layers: int = 18  # rows of W+: 2 log2(the generator's size) - 2
    size: int = 256  # px of the crop
    backbone: Backbone = field(default_factory=Backbone)

    @property
    def style_dim(self) -> int:
        """Width of W: the heads keep the width of the last stage."""
        return self.backbone.widths[-1]


class EqualLinear(nn.Module):
    """A dense layer whose weight is stored with unit variance and used divided by the root of its inputs.

    [N, channels] -> [N, channels]; Karras et al. 2018, "equalized learning rate".
    """

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.randn(channels, channels))
        self.bias = nn.Parameter(torch.zeros(channels))
        self.scale = channels**-0.5

    def forward(self, x: Tensor) -> Tensor:
        return F.linear(x * self.scale, self.weight, self.bias)


class StyleHead(nn.Module):
    """Features [N, channels, spatial, spatial] -> one row [N, channels]: halved until one pixel is left."""

    def __init__(self, channels: int, spatial: int) -> None:
        super().__init__()
        halvings = spatial.bit_length() - 1
        pairs = [(nn.Conv2d(channels, channels, 3, 2, 1), nn.LeakyReLU(0.01)) for _ in range(halvings)]
        self.convs = nn.Sequential(*(module for pair in pairs for module in pair))
        self.linear = EqualLinear(channels)

    def forward(self, x: Tensor) -> Tensor:
        return self.linear(self.convs(x).flatten(1))


class StyleEncoder(IRSE50):
    """Crop float32 RGB [N, 3, size, size] in [-1, 1] -> W+ [N, layers, style_dim].

    What it reads is added to `latent_avg` [layers, style_dim], which is zero for an encoder that starts from zero.
    """

    latent_avg: Tensor

    def __init__(self, config: EncoderConfig) -> None:
        super().__init__(config.backbone)
        self.register_buffer("latent_avg", torch.zeros(config.layers, config.style_dim))


class PyramidEncoder(StyleEncoder):
    """A head for each row of W+, on three levels of a feature pyramid (Lin et al. 2017)."""

    def __init__(self, config: EncoderConfig) -> None:
        super().__init__(config)
        _, fine, middle, coarse = config.backbone.widths
        self.latlayer1 = nn.Conv2d(middle, coarse, 1)
        self.latlayer2 = nn.Conv2d(fine, coarse, 1)
        # The crop's size over that of the level each row is read from.
        self.shrinking = ([16] * COARSE_ROWS + [8] * MIDDLE_ROWS + [4] * config.layers)[: config.layers]
        self.styles = nn.ModuleList(StyleHead(coarse, config.size // factor) for factor in self.shrinking)

    def rows(self, image: Tensor) -> list[Tensor]:
        """What each head reads, layers times [N, style_dim]."""
        _, fine, middle, coarse = self.pyramid(image)
        middle = _enlarge(coarse, middle.shape[-1]) + self.latlayer1(middle)
        fine = _enlarge(middle, fine.shape[-1]) + self.latlayer2(fine)
        levels = {16: coarse, 8: middle, 4: fine}
        return [head(levels[factor]) for head, factor in zip(self.styles, self.shrinking, strict=True)]


class GradualStyleEncoder(PyramidEncoder):
    """pSp: each head reads its row."""

    def forward(self, image: Tensor) -> Tensor:
        return self.latent_avg + torch.stack(self.rows(image), 1)


class Encoder4Editing(PyramidEncoder):
    """e4e: the first head reads one w for all rows, the others what their rows differ from it.

    Args:
        config: the shapes.
        deltas: how many differences are added: training begins with none and adds one after the other, so that
            latents stay near W. None = all, as a trained encoder is used.
    """

    def __init__(self, config: EncoderConfig, deltas: int | None = None) -> None:
        super().__init__(config)
        self.deltas = deltas

    def forward(self, image: Tensor) -> Tensor:
        w, *differences = self.rows(image)
        used = differences[: self.deltas]
        rows = [w, *(w + difference for difference in used), *[w] * (len(differences) - len(used))]
        return self.latent_avg + torch.stack(rows, 1)


class SingleStyleEncoder(StyleEncoder):
    """pSp's encoder into W: the mean of the last stage gives one w, which is every row."""

    def __init__(self, config: EncoderConfig) -> None:
        super().__init__(config)
        self.linear = EqualLinear(config.style_dim)

    def forward(self, image: Tensor) -> Tensor:
        w = self.linear(self.pyramid(image)[-1].mean((2, 3)))
        return self.latent_avg + w.unsqueeze(1)


# By the name that a checkpoint's options give as `encoder_type`.
ENCODERS: dict[str, type[StyleEncoder]] = {
    "GradualStyleEncoder": GradualStyleEncoder,
    "Encoder4Editing": Encoder4Editing,
    "BackboneEncoderUsingLastLayerIntoW": SingleStyleEncoder,
}


def _enlarge(x: Tensor, size: int) -> Tensor:
    """[N, C, S, S] -> [N, C, size, size], bilinear, corner pixels staying corner pixels."""
    return F.interpolate(x, size=(size, size), mode="bilinear", align_corners=True)
