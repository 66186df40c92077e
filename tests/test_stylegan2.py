"""Our StyleGAN2 against arithmetic of other libraries in float64, and against recorded outputs."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

torch: Any = pytest.importorskip("torch", reason="install the train extra")

from export.checkpoints.generator import mapping_shapes, synthesis_shapes  # noqa: E402
from models.arrays import F64  # noqa: E402
from models.errors import UserError  # noqa: E402
from models.networks.stylegan2 import (  # noqa: E402
    Block,
    Mapping,
    ModulatedConv,
    StyleGAN2Config,
    Synthesis,
    to_w_plus,
)
from tests.stylegan2_reference import modulated_convolution, upsample  # noqa: E402

pytestmark = pytest.mark.train

CONFIG = StyleGAN2Config(32, z_dim=6, w_dim=8, channel_base=256, channel_max=16, mapping_layers=2)


def random(*shape: int, seed: int = 3) -> F64:
    return np.random.default_rng(seed).standard_normal(shape)


def seeded(network: Any, seed: int = 11) -> Any:  # noqa: ANN401
    """A network of seeded weights, the same with every version of PyTorch."""
    state = network.state_dict()
    for i, (name, tensor) in enumerate(state.items()):
        values = random(*tensor.shape, seed=seed + i)
        if name.endswith("weight"):
            values /= np.sqrt(np.prod(tensor.shape[1:]))
        state[name] = torch.from_numpy(np.asarray(values, np.float32))
    network.load_state_dict(state)
    for module in network.modules():
        if isinstance(module, ModulatedConv):
            module.settle()
    return network.eval().requires_grad_(False)


@pytest.mark.parametrize("modulate", ["activations", "weights"])
@pytest.mark.parametrize(("up", "kernel"), [(False, 3), (True, 3), (False, 1)])
@pytest.mark.parametrize("demodulate", [True, False])
def test_modulated_convolution_is_what_the_paper_defines(
    up: bool,
    kernel: int,
    demodulate: bool,
    modulate: Any,  # noqa: ANN401
) -> None:
    conv = ModulatedConv(5, 7, kernel, CONFIG, up=up, demodulate=demodulate, modulate=modulate)
    weight = conv.weight.detach().double().numpy() * 40  # what `settle` must undo
    with torch.no_grad():
        conv.weight *= 40
        conv.settle()
    x, w = random(3, 5, 6, 6), random(3, 8, seed=4)
    style = w @ conv.affine.weight.detach().double().numpy().T + conv.affine.bias.detach().double().numpy()
    ours = conv(torch.from_numpy(x).float(), torch.from_numpy(w).float()).detach().numpy()
    for i in range(3):
        expected = modulated_convolution(x[i], weight, style[i], up=up, demodulate=demodulate)
        np.testing.assert_allclose(ours[i], expected, atol=1e-5 * np.abs(expected).max())


def test_settling_twice_changes_nothing() -> None:
    conv = seeded(ModulatedConv(5, 7, 3, CONFIG))
    before = conv.weight.clone(), conv.epsilon.clone()
    conv.settle()
    torch.testing.assert_close((conv.weight, conv.epsilon), before)


def test_pictures_are_enlarged_as_scipy_does_it() -> None:
    block = seeded(Block(8, CONFIG, modulate="activations"))
    x, image, styles = torch.zeros(2, 16, 4, 4), torch.from_numpy(random(2, 3, 4, 4)).float(), torch.zeros(3, 2, 8)
    _, with_image = block(x, image, styles.unbind(0))
    _, without = block(x, torch.zeros_like(image), styles.unbind(0))
    expected = np.stack([[upsample(channel) for channel in sample] for sample in image.double().numpy()])
    np.testing.assert_allclose((with_image - without).numpy(), expected, atol=1e-5)


def test_even_filters_of_any_length_keep_the_size_and_the_level() -> None:
    for taps in ((1.0, 1.0), (1.0, 3.0, 3.0, 1.0), (1.0, 2.0, 5.0, 5.0, 2.0, 1.0)):
        config = StyleGAN2Config(8, w_dim=8, channel_base=64, channel_max=8, resample_filter=taps)
        block = seeded(Block(8, config, modulate="activations"))
        x, styles = torch.zeros(1, 8, 4, 4), torch.zeros(3, 1, 8)
        dark = block(x, torch.zeros(1, 3, 4, 4), styles.unbind(0))[1]
        rise = block(x, torch.ones(1, 3, 4, 4), styles.unbind(0))[1] - dark
        assert rise.shape == (1, 3, 8, 8)
        torch.testing.assert_close(rise[..., 3:5, 3:5], torch.ones(1, 3, 2, 2))
    with pytest.raises(UserError, match="even number"):
        StyleGAN2Config(8, resample_filter=(1.0, 2.0, 1.0))


def test_recorded_output_of_a_seeded_network() -> None:
    mapping, synthesis = seeded(Mapping(CONFIG)), seeded(Synthesis(CONFIG))
    w_plus = to_w_plus(mapping(torch.from_numpy(random(2, 6)).float()), torch.zeros(8), CONFIG.layers)
    image = synthesis(w_plus)
    assert image.shape == (2, 3, 32, 32)
    picked = image[:, :, 5:32:13, 7].flatten().tolist()
    np.testing.assert_allclose(picked, RECORDED, rtol=1e-4, atol=1e-4)


RECORDED = [
    *(6.92336, 6.58571, 2.88472, -5.65986, -0.24574, 0.1667, 7.77676, 2.7697, 5.85204),
    *(-4.81037, -5.2766, -3.87754, -6.80593, -3.31218, 7.67735, 8.11164, 2.72652, 4.46829),
]


def test_both_forms_of_modulation_are_one_network() -> None:
    w_plus = torch.from_numpy(random(3, CONFIG.layers, 8)).float()
    by_activations, by_weights = (seeded(Synthesis(CONFIG, modulate=form)) for form in ("activations", "weights"))
    expected = by_activations(w_plus)
    torch.testing.assert_close(by_weights(w_plus), expected, rtol=0, atol=float(expected.abs().max()) * 1e-5)


@pytest.mark.parametrize("modulate", ["activations", "weights"])
def test_float16_blocks_stay_near_and_do_not_overflow(modulate: Any) -> None:  # noqa: ANN401
    config = StyleGAN2Config(32, w_dim=8, channel_base=256, channel_max=16, conv_clamp=256.0)
    network = seeded(Synthesis(config, modulate=modulate))
    w_plus = torch.from_numpy(random(2, config.layers, 8)).float()
    expected = network(w_plus)
    network.half_from(16)
    image = network(w_plus)
    assert image.dtype == torch.float32
    difference = float((image - expected).abs().max() / expected.abs().max())
    assert 0 < difference < 1e-2
    assert torch.isfinite(network(w_plus * 30)).all()


def test_noise_is_the_files_own_none_or_new_each_time() -> None:
    networks = {}
    for noise in ("const", "none", "random"):
        networks[noise] = Synthesis(StyleGAN2Config(8, w_dim=8, channel_base=64, channel_max=8, noise=noise)).eval()
    w_plus = torch.from_numpy(random(1, 4, 8)).float()
    for name, parameter in networks["random"].named_parameters():
        if name.endswith("noise_strength"):
            parameter.data.fill_(0.5)
    with torch.no_grad():
        for noise, changes in (("const", False), ("none", False), ("random", True)):
            assert torch.equal(networks[noise](w_plus), networks[noise](w_plus)) != changes


def test_truncation_reaches_the_mean_and_stops_at_the_cutoff() -> None:
    w, mean = torch.from_numpy(random(2, 8)).float(), torch.from_numpy(random(8, seed=9)).float()
    assert torch.equal(to_w_plus(w, mean, 4), w[:, None].expand(-1, 4, -1))
    torch.testing.assert_close(to_w_plus(w, mean, 4, psi=0.0), mean.expand(2, 4, -1))
    half = to_w_plus(w, mean, 4, psi=0.5, cutoff=3)
    torch.testing.assert_close(half[:, :3], ((w + mean) / 2)[:, None].expand(-1, 3, -1))
    assert torch.equal(half[:, 3], w)


@pytest.mark.parametrize("noise", ["const", "none", "random"])
@pytest.mark.parametrize("size", [8, 64])
def test_shapes_are_known_without_the_network(size: int, noise: Any) -> None:  # noqa: ANN401
    config = StyleGAN2Config(size, z_dim=5, w_dim=6, channel_base=256, channel_max=9, mapping_features=7, noise=noise)
    for network, shapes in ((Synthesis(config), synthesis_shapes(config)), (Mapping(config), mapping_shapes(config))):
        assert {name: tuple(tensor.shape) for name, tensor in network.state_dict().items()} == shapes


@pytest.mark.parametrize(("size", "layers"), [(8, 4), (256, 14), (512, 16), (1024, 18)])
def test_layers_and_channels_are_the_published_ones(size: int, layers: int) -> None:
    config = StyleGAN2Config(size)
    assert (config.layers, config.sizes[-1]) == (layers, size)
    assert [StyleGAN2Config(1024).channels(s) for s in (4, 64, 128, 1024)] == [512, 512, 256, 32]
    assert [StyleGAN2Config(1024, channel_base=16384).channels(s) for s in (32, 64, 1024)] == [512, 256, 16]
