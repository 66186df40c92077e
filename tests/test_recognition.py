"""The encoder is told who it sees, begins to use that by what it misses, and is read back as it was before."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from models import latent, registry

pytest.importorskip("torch", reason="needs the train extra")
pytest.importorskip("dlib", reason="needs the train extra")
pytest.importorskip("onnx", reason="needs the train extra")

import torch
from torch import Tensor, nn

from export.pool import Pool, open_pool
from export.recognition import begin_to_recognise
from export.schedule import LEAST_SIZE, size_of
from export.ship_encoder import export_encoder
from export.shipped_networks import read_encoder
from export.training_input import HELD_OUT, to_input
from models.networks.encoder import Encoder
from models.networks.face_recogniser import EMBEDDING
from models.networks.recognising_encoder import RecognisingEncoder
from models.networks.refined_encoder import FoldedEncoder, RefinedEncoder
from models.networks.surrogate import empty_surrogate

FACES = 400

pytestmark = pytest.mark.train

if not all(registry.is_intact(registry.artefacts()[name]) for name in registry.choose(["default"])):
    pytest.skip("the models are not pulled: ./run.sh pull", allow_module_level=True)


class Pixels(nn.Module):  # type: ignore[misc]  # torch has no types here
    """Stands for the recogniser: some pixels, each of a scale of its own."""

    def forward(self, images: Tensor, landmarks: Tensor) -> Tensor:  # noqa: D102 - described by the class
        del landmarks
        return 5 + 3 * images[:, 0].flatten(1)[:, :EMBEDDING]


@pytest.fixture(scope="module")
def refined() -> RefinedEncoder:
    torch.manual_seed(5)
    encoder = Encoder(torch.from_numpy(latent.mean_w()), torch.from_numpy(latent.std_w()))
    for norm in encoder.modules():
        if isinstance(norm, nn.BatchNorm2d):
            nn.init.normal_(norm.bias, std=0.1)
    net: RefinedEncoder = RefinedEncoder(encoder, empty_surrogate()).eval()
    nn.init.normal_(net.feedback.net[-1].bias, std=0.1)  # biases that are equal would be stored once
    return net


@pytest.fixture(scope="module")
def pool(refined: RefinedEncoder, tmp_path_factory: pytest.TempPathFactory) -> Pool:
    """Noise, of which a network that starts as `refined` misses what the pixels tell."""
    rng, folder = np.random.default_rng(6), tmp_path_factory.mktemp("pool")
    pool = open_pool(folder, HELD_OUT + FACES)
    seen = rng.standard_normal((EMBEDDING, 18 * 512)).astype(np.float32) * 0.05
    for rows in (slice(0, 8), slice(HELD_OUT, HELD_OUT + FACES)):
        count = rows.stop - rows.start
        pool.images[rows] = rng.integers(0, 256, (count, 128, 128, 3))
        pool.landmarks[rows] = rng.uniform(0.2, 0.8, (count, 478, 2))
        image, landmarks = to_input(np.array(pool.images[rows])), torch.from_numpy(np.array(pool.landmarks[rows]))
        with torch.no_grad():
            told, estimate = Pixels()(image, landmarks).numpy(), FoldedEncoder(refined)(image, landmarks).numpy()
        pool.latents[rows] = estimate + latent.std_w() * ((told - 5) @ seen).reshape(-1, 18, 512)
    pool.count(HELD_OUT + FACES)
    return pool


def missed(net: nn.Module, pool: Pool, rows: slice) -> float:
    """Mean error of standardised W+."""
    with torch.no_grad():
        estimate = net(to_input(np.array(pool.images[rows])), torch.from_numpy(np.array(pool.landmarks[rows])))
    return float(np.abs((estimate.numpy() - pool.latents[rows]) / latent.std_w()).mean())


def test_it_begins_as_the_encoder_it_is_made_of_and_learns_who_is_seen(refined: RefinedEncoder, pool: Pool) -> None:
    net, rows = RecognisingEncoder(refined, Pixels()), slice(0, 8)
    before = missed(FoldedEncoder(refined), pool, rows)
    assert before > 0.5
    assert missed(net, pool, rows) == pytest.approx(before, rel=1e-6)
    begin_to_recognise(net, pool)
    assert missed(net, pool, rows) < 0.4 * before, "on faces that the regression was not made of"
    told = net.embedding(to_input(np.array(pool.images[HELD_OUT:])), torch.zeros(FACES, 478, 2))
    torch.testing.assert_close(told.mean(0), torch.zeros(EMBEDDING), atol=1e-4, rtol=0)
    torch.testing.assert_close(told.std(0, correction=0), torch.ones(EMBEDDING), atol=1e-3, rtol=0)


def test_every_part_reads_the_embedding(refined: RefinedEncoder, pool: Pool) -> None:
    net = RecognisingEncoder(refined, Pixels())
    nn.init.normal_(net.answer.weight, std=0.05)
    nn.init.normal_(net.encoder.base.weight, std=0.05)
    image, landmarks = to_input(np.array(pool.images[:2])), torch.from_numpy(np.array(pool.landmarks[:2]))
    with torch.no_grad():
        before = net(image, landmarks)
        for layer in (net.to_trunk, net.to_feedback, net.to_latent):
            nn.init.normal_(layer.weight, std=0.05)
            assert (net(image, landmarks) - before).abs().mean() > 1e-3
            nn.init.zeros_(layer.weight)


def test_an_encoder_that_reads_none_is_read_back_to_learn_it(
    refined: RefinedEncoder, pool: Pool, tmp_path: Path
) -> None:
    path = tmp_path / "plain.onnx"
    export_encoder(FoldedEncoder(refined).eval(), pool, path)
    net = read_encoder(path)
    assert not net.to_latent.weight.any() and not net.to_trunk.weight.any() and not net.to_feedback.weight.any()
    rows = slice(0, 8)
    assert missed(net, pool, rows) == pytest.approx(missed(FoldedEncoder(refined), pool, rows), rel=1e-2)


def test_a_layer_that_begins_at_zero_has_steps_of_a_size() -> None:
    assert size_of(torch.full((3, 4), -2.0)) == 2
    assert size_of(torch.zeros(7, 12)) == pytest.approx(1 / 6)
    assert size_of(torch.zeros(7)) == LEAST_SIZE
