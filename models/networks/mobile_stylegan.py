"""MobileStyleGAN's synthesis network (Belousov, "MobileStyleGAN", arXiv:2104.04767), for training and export.

Distilled from StyleGAN2-FFHQ at 1024 px. In place of skip connections in RGB, it predicts wavelet bands and
upsamples by the inverse Haar transform. Demodulation is constant in this network and folded into its weights;
noise is one constant picture per layer. Its 18 style inputs are StyleGAN2's W+ [18, 512].
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path
from typing import cast

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from models.ir import Constant, IntermediateRepresentation

STYLE_DIM = 512
LAST_LAYER = 15  # of W+ that is read, by the published head; StyleGAN2's last two convolutions are not here
BLOCK_CHANNELS = (512, 512, 512, 512, 256, 128, 64)  # features of blocks 0..6, at 8..512 px
FRONT_BLOCKS = 4  # the blocks up to 64 px: nearly half the work at 256 px, for W+ layers that set the shape


def band_order(channels: int) -> list[int]:
    """From the published order of Haar bands (LL, then LH, HL, HH channel by channel) to [LL, LH, HL, HH].

    Entry i is the published channel that channel i is here: a band is then one slice, which costs no gathering.
    """
    c = channels // 4
    return [*range(c), *(i for band in range(3) for i in range(c + band, channels, 3))]


def inverse_haar(bands: Tensor) -> Tensor:
    """Inverse 2-D Haar transform, bands [LL, LH, HL, HH] of C channels each: [N, 4C, H, W] -> [N, C, 2H, 2W].

    Four sums and a shuffle of blocks, which an engine can do where the channels lie: no transposed convolution, and
    no interleaving as `pixel_shuffle` has it.
    """
    # Plain integers, so that an export with a free batch size keeps these shapes constant.
    c4, h, w = (int(n) for n in bands.shape[1:])
    c = c4 // 4
    ll, lh, hl, hh = bands.chunk(4, dim=1)
    top, bottom = ll + lh, ll - lh
    side_top, side_bottom = hl + hh, hl - hh
    pixels = torch.cat((top + side_top, top - side_top, bottom + side_bottom, bottom - side_bottom), dim=1)
    blocks = (0.5 * pixels).reshape(-1, 2, 2, c, h, w).permute(0, 3, 4, 1, 5, 2)
    return blocks.reshape(-1, c, 2 * h, 2 * w)


class Modulation(nn.Module):
    """Affine map of a style to one scale per channel: [N, D] -> [N, C, 1, 1]."""

    def __init__(self, channels: int, gain: float = 1.0, style_dim: int = STYLE_DIM) -> None:
        super().__init__()
        self.affine = nn.Linear(style_dim, channels)
        self.gain = gain

    def forward(self, style: Tensor) -> Tensor:
        scale = cast(Tensor, self.affine(style)).unsqueeze(-1).unsqueeze(-1)
        return scale if self.gain == 1.0 else scale * self.gain


class StyledConv(nn.Module):
    """Style scale, then a convolution (3x3 in full, or depthwise 3x3 and pointwise), noise, bias, leaky ReLU."""

    def __init__(self, in_channels: int, out_channels: int, size: int, *, separable: bool = True) -> None:
        super().__init__()
        self.modulation = Modulation(in_channels)
        self.depthwise = (
            nn.Conv2d(in_channels, in_channels, 3, padding=1, groups=in_channels, bias=False) if separable else None
        )
        kernel = 1 if separable else 3
        self.conv = nn.Conv2d(in_channels, out_channels, kernel, padding=kernel // 2, bias=False)
        self.noise = nn.Parameter(torch.zeros(1, 1, size, size))
        self.bias = nn.Parameter(torch.zeros(1, out_channels, 1, 1))

    def forward(self, x: Tensor, style: Tensor) -> Tensor:
        x = x * self.modulation(style)
        if self.depthwise is not None:
            x = self.depthwise(x)
        return F.leaky_relu(self.conv(x) + self.noise + self.bias, 0.2)


class Block(nn.Module):
    """Upsampling by the inverse Haar transform, then two styled convolutions."""

    def __init__(self, in_channels: int, out_channels: int, size: int, *, low: bool = False) -> None:
        super().__init__()
        self.up = Modulation(in_channels)
        self.conv1 = StyledConv(in_channels // 4, out_channels, size)
        # low: of the Haar bands that it makes for the next block, LL alone
        self.conv2 = StyledConv(out_channels, out_channels // 4 if low else out_channels, size)

    def forward(self, x: Tensor, up_and_first: Tensor, second: Tensor) -> Tensor:
        x = inverse_haar(x * self.up(up_and_first))
        return cast(Tensor, self.conv2(self.conv1(x, up_and_first), second))


class BandHead(nn.Module):
    """The published last head: style scale, 1x1 convolution to 12 Haar bands of RGB."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.modulation = Modulation(channels)
        self.conv = nn.Conv2d(channels, 12, 1)

    def forward(self, x: Tensor, style: Tensor) -> Tensor:
        return inverse_haar(self.conv(x * self.modulation(style)))


class HiddenHead(nn.Module):
    """An image head for a lower resolution, trained against the reduced full picture.

    The published network has an image only at its end; the intermediate features were never asked to be one
    linear map away from RGB. A hidden layer with a 3x3 output and a linear path beside it make up for that. The
    head reads the styles of all layers it stands in for, since they set much of the colour.
    """

    def __init__(self, channels: int, hidden: int, layers: int) -> None:
        super().__init__()
        self.modulation = Modulation(channels, style_dim=layers * STYLE_DIM)
        self.linear = nn.Conv2d(channels, 12, 1)
        self.hidden = nn.Conv2d(channels, hidden, 1)
        self.out = nn.Conv2d(hidden, 12, 3, padding=1)
        self.style_bias = nn.Linear(layers * STYLE_DIM, 12)

    def forward(self, x: Tensor, styles: Tensor) -> Tensor:
        x = x * self.modulation(styles)
        bands = self.linear(x) + self.out(F.leaky_relu(self.hidden(x), 0.2))
        return inverse_haar(bands + self.style_bias(styles).unsqueeze(-1).unsqueeze(-1))


class LowHead(nn.Module):
    """An image head on the LL band alone of what a block makes, for a picture of the band's size.

    A picture reduced by area is its LL bands, and the missing blocks make those of theirs for the most part: this
    is a narrow one of their kind, trained against the reduced full picture.
    """

    def __init__(self, channels: int, hidden: int, layers: int) -> None:
        super().__init__()
        self.modulation = Modulation(channels, style_dim=layers * STYLE_DIM)
        self.depthwise = nn.Conv2d(channels, channels, 3, padding=1, groups=channels, bias=False)
        self.linear = nn.Conv2d(channels, 3, 1)
        self.hidden = nn.Conv2d(channels, hidden, 1)
        self.hidden_modulation = Modulation(hidden, style_dim=layers * STYLE_DIM)
        self.out = nn.Conv2d(hidden, 3, 1)
        self.style_bias = nn.Linear(layers * STYLE_DIM, 3)

    def forward(self, x: Tensor, styles: Tensor) -> Tensor:
        x = self.depthwise(x * self.modulation(styles))
        hidden = F.leaky_relu(self.hidden(x), 0.2) * self.hidden_modulation(styles)
        image = self.linear(x) + self.out(hidden)
        return cast(Tensor, image + self.style_bias(styles).unsqueeze(-1).unsqueeze(-1))


@dataclass(frozen=True)
class HeadSpec:
    """Where in the network a resolution's picture is made."""

    blocks: int  # how many blocks run before the head
    hidden: int  # hidden channels of the head; 0 = the published linear head
    low: bool = False  # whether the head reads only the LL band of what the last block makes

    @property
    def layers(self) -> slice:
        """Layers of W+ whose styles the head reads: its own and those of the blocks it stands in for."""
        return slice(2 * self.blocks + 1, LAST_LAYER + 1)


# One picture size -> how it is made. From 512 px on the head's Haar bands double the size of the last block.
HEADS = {
    256: HeadSpec(blocks=6, hidden=32, low=True),
    512: HeadSpec(blocks=6, hidden=32),
    1024: HeadSpec(blocks=7, hidden=0),
}


class Synthesis(nn.Module):
    """W+ float32 [N, 18, 512] -> RGB in [-1, 1] (not clipped), float32 [N, 3, size, size].

    Args:
        size: pixels per side; one of `HEADS`.
        channels: features of each block; the published ones, or the fewer of models.networks.student.
    """

    def __init__(self, size: int = 1024, channels: tuple[int, ...] = BLOCK_CHANNELS) -> None:
        super().__init__()
        spec = HEADS[size]
        self.size = size
        self.constant = nn.Parameter(torch.zeros(1, 512, 4, 4))
        self.conv1 = StyledConv(512, 512, 4, separable=False)
        channels = (512, *channels)
        self.blocks = nn.ModuleList(
            Block(channels[i], channels[i + 1], 8 << i, low=spec.low and i + 1 == spec.blocks)
            for i in range(spec.blocks)
        )
        last, layers = channels[spec.blocks], LAST_LAYER - 2 * spec.blocks
        self.head: nn.Module
        if spec.low:
            self.head = LowHead(last // 4, spec.hidden, layers)
        elif spec.hidden:
            self.head = HiddenHead(last, spec.hidden, layers)
        else:
            self.head = BandHead(last)

    def front(self, w_plus: Tensor) -> Tensor:
        """Features [N, 512, 64, 64], from W+ layers 0 to 2 * FRONT_BLOCKS."""
        x = cast(Tensor, self.conv1(self.constant, w_plus[:, 0]))
        return self.through(range(FRONT_BLOCKS), x, w_plus)

    def back(self, features: Tensor, w_plus: Tensor) -> Tensor:
        """The picture, from the front's features and the later layers of W+."""
        x = self.through(range(FRONT_BLOCKS, len(self.blocks)), features, w_plus)
        return cast(Tensor, self.head(x, w_plus[:, HEADS[self.size].layers].flatten(1)))

    def forward(self, w_plus: Tensor) -> Tensor:
        return self.back(self.front(w_plus), w_plus)

    def through(self, blocks: range, x: Tensor, w_plus: Tensor) -> Tensor:
        """What these blocks make of the features before them."""
        for i in blocks:
            x = self.blocks[i](x, w_plus[:, 2 * i + 1], w_plus[:, 2 * i + 2])
        return x


@dataclass(frozen=True)
class Published:
    """A parameter as the published IR holds it.

    Attributes:
        constant: where it lies.
        bands: the axis whose channels are Haar bands and change from the published order to `band_order`, if any.
    """

    constant: Constant
    bands: int | None = None


def first_band(constant: Constant, axis: int) -> Constant:
    """The part of a published constant that is the LL band, which comes first in its order, as in ours."""
    assert all(n == 1 for n in constant.shape[:axis]), constant
    shape = (*constant.shape[:axis], constant.shape[axis] // 4, *constant.shape[axis + 1 :])
    return replace(constant, size=constant.size // 4, shape=shape)


def weight_map(ir: IntermediateRepresentation, size: int) -> dict[str, Published]:
    """Parameter name of `Synthesis(size)` -> the constant of the published IR it is, byte for byte but for order."""
    found = {"constant": Published(ir.named("m.input.input"))}

    def modulation(ours: str, theirs: str, bands: int | None = None) -> None:
        for name in ("weight", "bias"):
            found[f"{ours}.affine.{name}"] = Published(ir.named(f"{theirs}.modulation.{name}"), bands)

    def after(conv: str, ours: str, *, bands: bool = False, low: bool = False) -> None:
        noise, bias = ir.readers[conv][0], ir.readers[ir.readers[conv][0]][0]
        found[f"{ours}.noise"] = Published(ir.constant_input(noise))
        for name, constant, axis in (
            ("conv.weight", ir.constant_input(conv), 0),
            ("bias", ir.constant_input(bias), 1),
        ):
            found[f"{ours}.{name}"] = (
                Published(first_band(constant, axis)) if low else Published(constant, axis if bands else None)
            )

    modulation("conv1.modulation", "m.conv1.conv")
    after(ir.reader(ir.names["m.input.input"], "Convolution"), "conv1", bands=True)
    for i in range(HEADS[size].blocks):
        modulation(f"blocks.{i}.up", f"m.layers.{i}.up", bands=0)
        for conv in ("conv1", "conv2"):
            ours, theirs = f"blocks.{i}.{conv}", f"m.layers.{i}.{conv}"
            modulation(f"{ours}.modulation", f"{theirs}.conv")
            depthwise = ir.names[f"{theirs}.conv.weight_dw"]
            found[f"{ours}.depthwise.weight"] = Published(ir.constants[depthwise])
            # What leaves the last block of all is not upsampled but read by the published head.
            upsampled = conv == "conv2" and i + 1 < len(BLOCK_CHANNELS)
            low = upsampled and HEADS[size].low and i + 1 == HEADS[size].blocks
            after(ir.reader(depthwise, "Convolution"), ours, bands=upsampled, low=low)
    if HEADS[size].hidden == 0:
        modulation("head.modulation", "m.layers.6.to_img.conv")
        found["head.conv.weight"] = Published(ir.named("m.layers.6.to_img.conv.weight"), 0)
        found["head.conv.bias"] = Published(ir.named("m.layers.6.to_img.bias"), 0)
    return found


def style_gains(ir: IntermediateRepresentation, size: int) -> dict[str, float]:
    """Modulation name of `Synthesis(size)` -> the constant its style is multiplied by in the IR."""
    gains: dict[str, float] = {}

    def gain(ours: str, theirs: str) -> None:
        layer = ir.reader(ir.names[f"{theirs}.modulation.bias"], "Multiply")
        scalars = [c for i in ir.inputs[layer] if (c := ir.constants.get(i)) is not None]
        gains[ours] = float(ir.load(scalars[0]).item()) if scalars else 1.0

    gain("conv1.modulation", "m.conv1.conv")
    for i in range(HEADS[size].blocks):
        for conv in ("conv1", "conv2"):
            gain(f"blocks.{i}.{conv}.modulation", f"m.layers.{i}.{conv}.conv")
    if HEADS[size].hidden == 0:
        gain("head.modulation", "m.layers.6.to_img.conv")
    return gains


def load_published(ir: IntermediateRepresentation, size: int = 1024) -> Synthesis:
    """`Synthesis(size)` with the published weights; a head that was not published keeps its initial weights."""
    net = Synthesis(size)
    parameters = dict(net.named_parameters())
    with torch.no_grad():
        for name, published in weight_map(ir, size).items():
            target = parameters[name]
            values = torch.from_numpy(ir.load(published.constant)).reshape(target.shape)
            if published.bands is not None:
                order = torch.tensor(band_order(target.shape[published.bands]))
                values = values.index_select(published.bands, order)
            target.copy_(values)
    for name, value in style_gains(ir, size).items():
        cast(Modulation, net.get_submodule(name)).gain = value
    return net.eval().requires_grad_(False)


def copy_gains(source: nn.Module, target: nn.Module) -> None:
    """Gives the modulations of `target`, a network of the same form, the constants of the source's."""
    for name, module in source.named_modules():
        if isinstance(module, Modulation):
            cast(Modulation, target.get_submodule(name)).gain = module.gain


def load_head(net: Synthesis, path: Path) -> None:
    """Loads trained head weights (``.npz`` of the head's state, any float dtype) into `net`."""
    import numpy as np

    with np.load(path, allow_pickle=False) as arrays:
        state = {name: torch.from_numpy(arrays[name].astype(np.float32)) for name in arrays.files}
    net.head.load_state_dict(state)
