"""The encoders of pSp and e4e as networks, against arithmetic written out in float64 and recorded outputs."""

from __future__ import annotations

import math

import numpy as np
import pytest

pytest.importorskip("torch", reason="needs the train extra")

import torch
from numpy.typing import NDArray

from models.arrays import F64
from models.networks.irse50 import Unit
from models.networks.psp_encoder import ENCODERS, Encoder4Editing, EncoderConfig, StyleHead
from tests.psp_networks import LAYERS, SIZE, STYLE_DIM, TINY, crops, tiny, weights

pytestmark = pytest.mark.train

EPSILON = 1e-5  # of batch norm

# The first three entries of rows 0, 2, 3, 6, 7 and 9 for the second of two crops, from the published definitions.
RECORDED = {
    "GradualStyleEncoder": [
        *([-1.0024, 0.38632, -0.0334], [-1.53422, -0.93573, -0.6025], [-2.59468, 1.48729, -0.63223]),
        *([-1.16412, -0.4353, -1.15669], [0.46599, -1.15334, 0.25346], [0.73068, -1.86123, -0.09025]),
    ],
    "Encoder4Editing": [
        *([-1.0024, 0.38632, -0.0334], [-1.53733, -1.02564, -1.08511], [-2.59779, 1.39737, -1.11483]),
        *([-1.16723, -0.52521, -1.63929], [0.46288, -1.24325, -0.22915], [0.72757, -1.95114, -0.57286]),
    ],
    "BackboneEncoderUsingLastLayerIntoW": [
        *([-0.49816, 0.72617, 0.1253], [-0.78368, -0.94233, -0.91715], [-1.93579, 1.63928, -0.72303]),
        *([0.30302, 0.52125, -1.62215], [1.0238, -0.53279, -0.36417], [0.93039, -0.9143, -0.23348]),
    ],
}


class Arrays:
    """The weights of a module as float64, and what layers do with them by definition."""

    def __init__(self, net: torch.nn.Module) -> None:
        net.load_state_dict(weights(net))
        net.eval()
        self.of = {name: tensor.numpy().astype(np.float64) for name, tensor in net.state_dict().items()}

    def convolve(self, x: F64, name: str, stride: int, padding: int) -> F64:
        """Picture [C, H, W], weight [D, C, k, k]: a sum over the window of every output pixel."""
        weight = self.of[f"{name}.weight"]
        size = weight.shape[-1]
        padded = np.pad(x, ((0, 0), (padding, padding), (padding, padding)))
        rows = range(0, padded.shape[1] - size + 1, stride)
        columns = range(0, padded.shape[2] - size + 1, stride)
        windows = [[padded[:, i : i + size, j : j + size] for j in columns] for i in rows]
        out = np.array([[[np.sum(kernel * window) for window in row] for row in windows] for kernel in weight])
        bias = self.of.get(f"{name}.bias")
        return out if bias is None else out + bias[:, None, None]

    def normalise(self, x: F64, name: str) -> F64:
        """Batch norm with the statistics it has learned."""
        mean, variance, weight, bias = (
            self.of[f"{name}.{part}"][:, None, None] for part in ("running_mean", "running_var", "weight", "bias")
        )
        normal: F64 = (x - mean) / np.sqrt(variance + EPSILON) * weight + bias
        return normal

    def lean(self, x: F64, name: str) -> F64:
        """PReLU: a slope for each channel below zero."""
        leaning: F64 = np.where(x > 0, x, self.of[f"{name}.weight"][:, None, None] * x)
        return leaning

    def unit(self, x: F64, stride: int) -> F64:
        """A residual unit with squeeze and excitation."""
        y = self.convolve(self.normalise(x, "res_layer.0"), "res_layer.1", 1, 1)
        y = self.convolve(self.lean(y, "res_layer.2"), "res_layer.3", stride, 1)
        y = self.normalise(y, "res_layer.4")
        squeezed = y.mean((1, 2), keepdims=True)
        hidden = np.maximum(self.convolve(squeezed, "res_layer.5.fc1", 1, 0), 0)
        gated: F64 = y / (1 + np.exp(-self.convolve(hidden, "res_layer.5.fc2", 1, 0)))
        shortcut = x[:, ::stride, ::stride]
        if "shortcut_layer.0.weight" in self.of:
            shortcut = self.normalise(self.convolve(x, "shortcut_layer.0", stride, 0), "shortcut_layer.1")
        return gated + shortcut


def fresh(channels: int, size: int) -> tuple[torch.Tensor, F64]:
    """Features [2, channels, size, size] in float32, and the second of them in float64."""
    x = np.random.default_rng(3).standard_normal((2, channels, size, size)).astype(np.float32)
    return torch.from_numpy(x), x[1].astype(np.float64)


def assert_near(found: torch.Tensor, expected: NDArray[np.floating]) -> None:
    """To float32's precision, relative to the largest value."""
    np.testing.assert_allclose(found.detach().numpy(), expected, atol=2e-6 * np.abs(expected).max(), rtol=0)


@pytest.mark.parametrize(("channels", "stride"), [(16, 1), (16, 2), (32, 1), (32, 2)])
def test_unit_is_two_convolutions_and_a_gate_beside_a_shortcut(channels: int, stride: int) -> None:
    unit = Unit(16, channels, stride)
    arrays = Arrays(unit)
    x, single = fresh(16, 6)
    assert_near(unit(x)[1], arrays.unit(single, stride))


@pytest.mark.parametrize("spatial", [4, 8])
def test_head_halves_its_features_to_one_pixel_and_maps_that(spatial: int) -> None:
    head = StyleHead(16, spatial)
    arrays = Arrays(head)
    x, y = fresh(16, spatial)
    for i in range(int(math.log2(spatial))):
        y = arrays.convolve(y, f"convs.{2 * i}", 2, 1)
        y = np.where(y > 0, y, 0.01 * y)
    assert y.shape == (16, 1, 1)
    expected = y[:, 0, 0] @ (arrays.of["linear.weight"] / np.sqrt(16)).T + arrays.of["linear.bias"]
    assert_near(head(x)[1], expected)


def test_levels_are_joined_by_bilinear_enlargement_that_keeps_the_corners() -> None:
    """One head reads level and lateral features together: seen by a head that is a known linear sum of pixels."""
    net = tiny("GradualStyleEncoder")
    levels = net.pyramid(crops())
    coarse, lateral = levels[3][0].double().numpy(), net.latlayer1(levels[2])[0].double().numpy()
    at = np.linspace(0, 3, 8)
    rows = np.stack([[np.interp(at, range(4), row) for row in channel] for channel in coarse])
    enlarged = np.stack([[np.interp(at, range(4), column) for column in channel.T] for channel in rows]).swapaxes(
        1, 2
    )
    read: list[torch.Tensor] = []
    net.styles[3].register_forward_pre_hook(lambda _, inputs: read.append(inputs[0]))
    net(crops())
    assert_near(read[0][0], enlarged + lateral)


@pytest.mark.parametrize("kind", ENCODERS)
def test_whole_networks_give_the_recorded_outputs(kind: str) -> None:
    found = tiny(kind)(crops(2)).numpy()
    assert found.shape == (2, LAYERS, STYLE_DIM)
    np.testing.assert_allclose(found[1, [0, 2, 3, 6, 7, 9], :3], RECORDED[kind], atol=3e-5)


@pytest.mark.parametrize("deltas", [0, 1, 5, LAYERS - 1])
def test_e4e_in_training_adds_the_first_differences_alone(deltas: int) -> None:
    trained = tiny("Encoder4Editing")
    learning = Encoder4Editing(EncoderConfig("Encoder4Editing", LAYERS, SIZE, TINY), deltas)
    learning.load_state_dict(trained.state_dict())
    rows, partly = ((net.eval()(crops()) - net.latent_avg)[0].detach().numpy() for net in (trained, learning))
    np.testing.assert_allclose(partly[: deltas + 1], rows[: deltas + 1], atol=1e-6)
    np.testing.assert_allclose(partly[deltas + 1 :], np.broadcast_to(rows[0], partly[deltas + 1 :].shape), atol=1e-6)


def test_a_w_encoder_gives_every_row_the_same_w() -> None:
    net = tiny("BackboneEncoderUsingLastLayerIntoW")
    offsets = (net(crops()) - net.latent_avg)[0].numpy()
    np.testing.assert_allclose(offsets, np.broadcast_to(offsets[0], offsets.shape), atol=1e-6)


@pytest.mark.parametrize(("layers", "parameters"), [(18, 267_136_704), (16, 238_293_696), (14, 209_450_688)])
def test_full_size_has_the_names_and_shapes_of_the_published_weights(layers: int, parameters: int) -> None:
    with torch.device("meta"):
        net = ENCODERS["Encoder4Editing"](EncoderConfig("Encoder4Editing", layers))
    shapes = {name: tuple(tensor.shape) for name, tensor in net.state_dict().items()}
    assert shapes["input_layer.0.weight"] == (64, 3, 3, 3) and shapes["input_layer.2.weight"] == (64,)
    assert shapes["body.3.shortcut_layer.0.weight"] == (128, 64, 1, 1)
    assert shapes["body.7.res_layer.3.weight"] == (256, 256, 3, 3)
    assert shapes["body.23.res_layer.5.fc2.weight"] == (512, 32, 1, 1)
    assert not any(name.startswith(("body.0.shortcut", "body.1.shortcut", "body.24.")) for name in shapes)
    assert shapes["latlayer1.weight"] == (512, 256, 1, 1) and shapes["latlayer2.weight"] == (512, 128, 1, 1)
    for row, halvings in ((0, 4), (2, 4), (3, 5), (6, 5), (7, 6), (layers - 1, 6)):
        convolutions = {
            name for name in shapes if name.startswith(f"styles.{row}.convs.") and name.endswith("weight")
        }
        assert convolutions == {f"styles.{row}.convs.{2 * i}.weight" for i in range(halvings)}
        assert shapes[f"styles.{row}.linear.weight"] == (512, 512)
    assert f"styles.{layers}.linear.weight" not in shapes
    assert sum(tensor.numel() for tensor in net.parameters()) == parameters
