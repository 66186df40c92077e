"""StyleGAN2's mapping network z -> w: pixel norm, then eight dense layers with leaky ReLU."""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from models.ir import Constant, IntermediateRepresentation

LAYERS = 8


class Mapping(nn.Module):
    """float32 z [N, 512], standard normal -> w [N, 512]."""

    def __init__(self) -> None:
        super().__init__()
        self.weights = nn.ParameterList(nn.Parameter(torch.zeros(512, 512)) for _ in range(LAYERS))
        self.biases = nn.ParameterList(nn.Parameter(torch.zeros(512)) for _ in range(LAYERS))

    def forward(self, z: Tensor) -> Tensor:
        x = z * torch.rsqrt((z * z).mean(1, keepdim=True) + 1e-8)
        for weight, bias in zip(self.weights, self.biases, strict=True):
            x = F.leaky_relu(F.linear(x, weight, bias), 0.2) * 2**0.5
        return x


def weight_map(ir: IntermediateRepresentation) -> dict[str, Constant]:
    """Parameter name of `Mapping` -> the constant of the published IR it is, byte for byte."""
    found: dict[str, Constant] = {}
    in_order = [ir.constants[layer] for layer in sorted(ir.constants, key=int)]
    weights = [c for c in in_order if c.shape == (512, 512)]
    biases = [c for c in in_order if c.shape == (512,)]
    for i, (weight, bias) in enumerate(zip(weights, biases, strict=True)):
        found[f"weights.{i}"] = weight
        found[f"biases.{i}"] = bias
    return found


def load_published(ir: IntermediateRepresentation) -> Mapping:
    """`Mapping` with the published weights."""
    net = Mapping()
    parameters = dict(net.named_parameters())
    with torch.no_grad():
        for name, constant in weight_map(ir).items():
            parameters[name].copy_(torch.from_numpy(ir.load(constant)))
    return net.eval().requires_grad_(False)
