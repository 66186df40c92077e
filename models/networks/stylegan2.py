"""StyleGAN2, configurations E and F, as published generators have it; made to be exported.

Karras et al., "Analyzing and Improving the Image Quality of StyleGAN", arXiv:1912.04958.

A modulated convolution is written as: scale the input channels by the style, convolve with a constant weight,
scale the output channels by the demodulation. The weights stay constants that an engine lays out once, and a batch
needs no grouped convolution. `modulate="weights"` is the other form, a weight of its own for every sample, to compare
with. Resampling is a transposed convolution and a depthwise one, which every engine has.
"""

from __future__ import annotations

import itertools
import math
from dataclasses import dataclass
from typing import Literal, TypeAlias, cast

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from models.errors import UserError

Noise: TypeAlias = Literal["const", "none", "random"]
Modulate: TypeAlias = Literal["activations", "weights"]

LEAK = 0.2  # slope of the leaky ReLU below zero
GAIN = 2**0.5  # after every leaky ReLU, to keep the variance
EPSILON = 1e-8  # of the demodulation, before the reciprocal square root
FIRST_SIZE = 4  # pixels of the constant that everything starts from


@dataclass(frozen=True)
class StyleGAN2Config:
    """What a generator is, beside its weights.

    Attributes:
        size: pixels of the picture's side, a power of two from 8 on.
        z_dim: length of z, what the mapping network takes.
        w_dim: length of w, one style.
        channel_base: a block of `size` px has `channel_base // size` channels (32768: config-f, 16384: config-e),
        channel_max: but no more than this.
        mapping_layers: dense layers from z to w.
        mapping_features: width of the hidden ones among them; None = w_dim.
        architecture: how pictures are summed up; "skip" is the only one known.
        noise: "const" is the file's own picture for each layer, "none", or "random", new for each run.
        conv_clamp: features are kept within plus or minus this, which float16 needs; None = not.
        resample_filter: taps of the low-pass filter used in up-sampling, of even number; any sum.
        float16_sizes: how many of the last blocks were trained in float16 (here all compute in float32 until
            `Synthesis.half_from` is called).
    """

    size: int
    z_dim: int = 512
    w_dim: int = 512
    channel_base: int = 32768
    channel_max: int = 512
    mapping_layers: int = 8
    mapping_features: int | None = None
    architecture: Literal["skip"] = "skip"
    noise: Noise = "const"
    conv_clamp: float | None = None
    resample_filter: tuple[float, ...] = (1.0, 3.0, 3.0, 1.0)
    float16_sizes: int = 0

    def __post_init__(self) -> None:
        taps = self.resample_filter
        if len(taps) < 2 or len(taps) % 2 or sum(taps) == 0:
            raise UserError(
                f"a resampling filter of {len(taps)} taps; expected an even number of them, such as 1 3 3 1"
            )

    @property
    def sizes(self) -> tuple[int, ...]:
        """Pixels of each block: 4, 8, ... size."""
        return tuple(2**i for i in range(2, self.size.bit_length()))

    @property
    def layers(self) -> int:
        """Rows of W+ that the network reads: 2 log2(size) - 2."""
        return 2 * len(self.sizes)

    def channels(self, size: int) -> int:
        """Feature channels of the block of `size` pixels."""
        return min(self.channel_base // size, self.channel_max)


class ModulatedConv(nn.Module):
    """A convolution whose input channels are scaled by a style and, if asked, its outputs brought to unit variance.

    features [N, I, H, W], style [N, D] -> [N, O, H, W], or [N, O, 2H, 2W] if it up-samples.
    """

    weight: Tensor
    squares: Tensor
    epsilon: Tensor
    blur: Tensor

    def __init__(
        self,
        in_channels: int,
        out_channels: int,
        kernel: int,
        config: StyleGAN2Config,
        *,
        up: bool = False,
        demodulate: bool = True,
        modulate: Modulate = "activations",
    ) -> None:
        super().__init__()
        self.up = up
        self.demodulate = demodulate
        self.modulate = modulate
        self.affine = dense(config.w_dim, in_channels, bias=1.0)
        fan_in = in_channels * kernel * kernel
        self.weight = nn.Parameter(torch.randn(out_channels, in_channels, kernel, kernel) * fan_in**-0.5)
        if up:
            self.register_buffer("blur", filter_2d(config.resample_filter, gain=4.0), persistent=False)
        if demodulate:
            self.register_buffer("squares", self.weight.detach().square().sum((2, 3)), persistent=False)
            self.register_buffer("epsilon", torch.full((out_channels,), EPSILON), persistent=False)

    def settle(self) -> None:
        """To be called when the weight was set: scales it and keeps what demodulation needs of it.

        Its largest value becomes, per output, 1 / sqrt(fan-in), which demodulation undoes exactly: the network stays
        the same, and in float16 its sums no longer overflow.
        """
        if not self.demodulate:
            return
        with torch.no_grad():
            fan_in = self.weight[0].numel()
            largest = self.weight.abs().amax((1, 2, 3)) * math.sqrt(fan_in)
            scale = torch.where(largest > 0, largest, 1.0)
            self.weight /= scale.reshape(-1, 1, 1, 1)
            self.epsilon.copy_(EPSILON / scale.square())
            self.squares.copy_(self.weight.square().sum((2, 3)))

    def forward(self, x: Tensor, style: Tensor, gain: float = 1.0) -> Tensor:
        """`gain` multiplies the result."""
        scale = self.affine(style)
        epsilon = self.epsilon if self.demodulate else None
        if epsilon is not None and self.weight.dtype != style.dtype:
            largest = scale.abs().amax(1, keepdim=True)  # float16 then needs no more range for a larger style
            scale = scale / largest
            epsilon = epsilon / largest.square()
        demodulation = None
        if epsilon is not None:
            demodulation = torch.rsqrt(F.linear(scale.square(), self.squares) + epsilon) * gain
        if self.modulate == "weights":
            return self._own_weights(x, scale, demodulation)
        x = x * scale.to(x.dtype)[:, :, None, None]
        x = self._blurred(F.conv_transpose2d(x, self.weight.transpose(0, 1), stride=2)) if self.up else self._plain(x)
        return x if demodulation is None else x * demodulation.to(x.dtype)[:, :, None, None]

    def _plain(self, x: Tensor) -> Tensor:
        return F.conv2d(x, self.weight, padding=self.weight.shape[-1] // 2)

    def _blurred(self, x: Tensor) -> Tensor:
        channels, taps = self.weight.shape[0], self.blur.shape[-1]
        return F.conv2d(x, self.blur.expand(channels, 1, -1, -1), padding=taps // 2 - 1, groups=channels)

    def _own_weights(self, x: Tensor, scale: Tensor, demodulation: Tensor | None) -> Tensor:
        """The same with one weight per sample: [N O, I, k, k] in N groups."""
        n, (c_out, c_in, k, _) = int(scale.shape[0]), (int(length) for length in self.weight.shape)
        weight = self.weight * scale[:, None, :, None, None]
        if demodulation is not None:
            weight = weight * demodulation[:, :, None, None, None]
        weight, x = weight.to(x.dtype), x.reshape(1, n * c_in, *x.shape[2:])
        if not self.up:
            x = F.conv2d(x, weight.reshape(n * c_out, c_in, k, k), padding=k // 2, groups=n)
            return x.reshape(n, c_out, *x.shape[2:])
        weight = weight.transpose(1, 2).reshape(n * c_in, c_out, k, k)
        x = F.conv_transpose2d(x, weight, stride=2, groups=n)
        return self._blurred(x.reshape(n, c_out, *x.shape[2:]))


class StyledConv(nn.Module):
    """Modulated 3x3 convolution, noise, bias, leaky ReLU."""

    def __init__(
        self, in_channels: int, out_channels: int, size: int, config: StyleGAN2Config, *, up: bool, modulate: Modulate
    ) -> None:
        super().__init__()
        self.noise = config.noise
        self.clamp = config.conv_clamp
        self.conv = ModulatedConv(in_channels, out_channels, 3, config, up=up, modulate=modulate)
        self.bias = nn.Parameter(torch.zeros(out_channels))
        if self.noise != "none":
            self.noise_strength = nn.Parameter(torch.zeros(()))
        if self.noise == "const":
            self.noise_picture = nn.Parameter(torch.randn(1, 1, size, size))

    def forward(self, x: Tensor, style: Tensor) -> Tensor:
        # The gain is applied before the leaky ReLU, where it can be folded into what is there anyway.
        x = self.conv(x, style, GAIN)
        if self.noise != "none":
            random = self.noise == "random"
            picture = torch.randn_like(x[:, :1], dtype=torch.float32) if random else self.noise_picture
            x = x + (picture * (self.noise_strength * GAIN)).to(x.dtype)
        x = F.leaky_relu(x + (self.bias * GAIN).to(x.dtype)[:, None, None], LEAK)
        return x if self.clamp is None else x.clamp(-self.clamp, self.clamp)


class ToRGB(nn.Module):
    """Modulated 1x1 convolution to a picture, float32 [N, 3, size, size]."""

    def __init__(self, in_channels: int, config: StyleGAN2Config, *, modulate: Modulate) -> None:
        super().__init__()
        self.clamp = config.conv_clamp
        self.conv = ModulatedConv(in_channels, 3, 1, config, demodulate=False, modulate=modulate)
        self.bias = nn.Parameter(torch.zeros(3))

    def forward(self, x: Tensor, style: Tensor) -> Tensor:
        rgb = self.conv(x, style).float() + self.bias[:, None, None]
        return rgb if self.clamp is None else rgb.clamp(-self.clamp, self.clamp)


class Block(nn.Module):
    """All of one size: up-sampling convolution (but in the first block), convolution, picture."""

    conv0: StyledConv | None
    blur: Tensor

    def __init__(self, size: int, config: StyleGAN2Config, *, modulate: Modulate) -> None:
        super().__init__()
        channels = config.channels(size)
        self.conv0 = None
        if size > FIRST_SIZE:
            below = config.channels(size // 2)
            self.conv0 = StyledConv(below, channels, size, config, up=True, modulate=modulate)
            picture_filter = filter_2d(config.resample_filter, gain=4.0).flip(2, 3).repeat(3, 1, 1, 1)
            self.register_buffer("blur", picture_filter, persistent=False)
        self.conv1 = StyledConv(channels, channels, size, config, up=False, modulate=modulate)
        self.to_rgb = ToRGB(channels, config, modulate=modulate)

    def forward(self, x: Tensor, image: Tensor | None, styles: tuple[Tensor, ...]) -> tuple[Tensor, Tensor]:
        """Features and picture of half the size -> those of this size.

        styles: one [N, D] per layer: for each convolution, then for the picture.
        """
        x = x.to(self.conv1.conv.weight.dtype)
        if self.conv0 is not None:
            x = self.conv0(x, styles[0])
        x = self.conv1(x, styles[-2])
        rgb = cast(Tensor, self.to_rgb(x, styles[-1]))
        if image is None:
            return x, rgb
        taps = self.blur.shape[-1]
        return x, F.conv_transpose2d(image, self.blur, stride=2, padding=taps // 2 - 1, groups=3) + rgb


class Synthesis(nn.Module):
    """float32 W+ [N, layers, w_dim] -> RGB [N, 3, size, size], about [-1, 1].

    Args:
        config: the network.
        modulate: which form the modulated convolutions take: a style on the activations, or on the weights.
    """

    def __init__(self, config: StyleGAN2Config, *, modulate: Modulate = "activations") -> None:
        super().__init__()
        self.config = config
        self.const = nn.Parameter(torch.randn(1, config.channels(FIRST_SIZE), FIRST_SIZE, FIRST_SIZE))
        self.blocks = nn.ModuleList(Block(size, config, modulate=modulate) for size in config.sizes)

    def settle(self) -> None:
        """To be called when weights were set, once."""
        for module in self.modules():
            if isinstance(module, ModulatedConv):
                module.settle()

    def half_from(self, size: int) -> None:
        """Makes the blocks of `size` pixels and more compute in float16; styles and pictures stay float32."""
        for block, block_size in zip(self.blocks, self.config.sizes, strict=True):
            if block_size >= size:
                for module in block.modules():
                    if isinstance(module, ModulatedConv):
                        module.weight.data = module.weight.data.half()
                        if module.up:
                            module.blur = module.blur.half()

    def forward(self, w_plus: Tensor) -> Tensor:
        styles = w_plus.unbind(1)
        x = self.const.expand(w_plus.shape[0], -1, -1, -1)
        image = None
        # A block's picture takes the same row of W+ as the next block's first convolution.
        for i, block in enumerate(self.blocks):
            x, image = block(x, image, styles[max(0, 2 * i - 1) : 2 * i + 2])
        return cast(Tensor, image)


class Mapping(nn.Module):
    """float32 z [N, z_dim], standard normal -> w [N, w_dim]: pixel norm, dense layers with leaky ReLU.

    Its weights are used as they stand: a learning rate multiplier is folded in by who reads a file.
    """

    def __init__(self, config: StyleGAN2Config) -> None:
        super().__init__()
        hidden = config.mapping_features or config.w_dim
        widths = [config.z_dim, *[hidden] * (config.mapping_layers - 1), config.w_dim]
        self.layers = nn.ModuleList(dense(here, there, bias=0.0) for here, there in itertools.pairwise(widths))

    def forward(self, z: Tensor) -> Tensor:
        x = z * torch.rsqrt(z.square().mean(1, keepdim=True) + 1e-8)
        for layer in self.layers:
            x = F.leaky_relu(layer(x), LEAK) * GAIN
        return x


def to_w_plus(w: Tensor, mean_w: Tensor, layers: int, *, psi: float = 1.0, cutoff: int | None = None) -> Tensor:
    """W to W+ with the truncation trick: w [N, w_dim] -> [N, layers, w_dim].

    Args:
        w: what `Mapping` gives.
        mean_w: [w_dim], the mean over random z.
        layers: rows of W+.
        psi: 1 leaves w alone, 0 is the mean.
        cutoff: how many of the first rows are truncated; None = all.
    """
    w_plus = w[:, None, :].expand(-1, layers, -1)
    if psi == 1.0:
        return w_plus
    truncated = mean_w + psi * (w_plus - mean_w)
    return truncated if cutoff is None else torch.cat((truncated[:, :cutoff], w_plus[:, cutoff:]), 1)


def dense(in_features: int, out_features: int, *, bias: float) -> nn.Linear:
    """A dense layer that keeps the variance, its bias a constant."""
    layer = nn.Linear(in_features, out_features)
    layer.weight = nn.Parameter(torch.randn(out_features, in_features) * in_features**-0.5)
    layer.bias = nn.Parameter(torch.full((out_features,), bias))
    return layer


def filter_2d(taps: tuple[float, ...], *, gain: float) -> Tensor:
    """A separable low-pass filter as a correlation kernel [1, 1, taps, taps] that sums to `gain`."""
    scale = gain / sum(taps) ** 2
    return torch.tensor([[a * b * scale for a in taps[::-1]] for b in taps[::-1]])[None, None]
