"""The encoder's feedback: what a latent looks like is told without drawing it, and what is missed is asked for."""

from __future__ import annotations

from itertools import pairwise
from pathlib import Path

import numpy as np
import pytest

pytest.importorskip("torch", reason="needs the train extra")
pytest.importorskip("onnx", reason="needs the train extra")

import torch

from export import train_surrogate
from export.pool import open_pool
from export.train_encoder import losses_of
from export.train_surrogate import load_surrogate, whiten
from models.errors import UserError
from models.networks.encoder import HIDDEN, Encoder
from models.networks.refined_encoder import Feedback, FoldedEncoder, RefinedEncoder
from models.networks.surrogate import (
    PARTS,
    SCORES,
    THUMBNAIL,
    VISIBLE,
    Surrogate,
    Whitening,
    empty_surrogate,
)

pytestmark = pytest.mark.train

POINTS = 478


def reading_surrogate() -> Surrogate:
    """Reads its scores off the first numbers of the latent."""
    net = empty_surrogate()
    for parameter in net.parameters():
        parameter.data.zero_()
    net.linear.weight.data[:, :64] = torch.eye(64)
    net.landmark_rows[:64] = torch.eye(64)
    net.root.fill_(1.0)
    net.shares.fill_(1.0)
    net.eval()
    return net


class Half(Feedback):
    """Answers half of what is missed, where `reading_surrogate` reads."""

    def forward(self, missed: torch.Tensor, features: torch.Tensor) -> torch.Tensor:  # noqa: D102 - as Feedback's
        assert features.shape == (len(missed), HIDDEN)
        change = torch.zeros(len(missed), 18 * 512)
        change[:, :64] = missed[:, :64] / 2
        return change.reshape(-1, 18, 512)


def test_each_step_halves_what_is_missed() -> None:
    torch.manual_seed(0)
    surrogate = reading_surrogate()
    net = RefinedEncoder(Encoder(torch.zeros(512), torch.ones(512)), surrogate, steps=3).eval()
    net.feedback = Half()
    image, landmarks = torch.zeros(3, 3, 128, 128), torch.randn(3, POINTS, 2)
    with torch.no_grad():
        seen = surrogate.seen(image, landmarks)[:, :64]
        missed = [seen - surrogate(estimate)[:, :64] for estimate in net.estimates(image, landmarks)]
        w_plus = net(image, landmarks)
    for before, after in pairwise(missed):
        torch.testing.assert_close(after, before / 2, rtol=1e-3, atol=1e-4)
    torch.testing.assert_close(seen - surrogate(w_plus)[:, :64], missed[-1], rtol=1e-3, atol=1e-4)


def test_an_untrained_feedback_leaves_the_estimate_alone() -> None:
    torch.manual_seed(0)
    net = RefinedEncoder(Encoder(torch.zeros(512), torch.ones(512)), empty_surrogate()).eval()
    image, landmarks = torch.randn(2, 3, 128, 128), torch.rand(2, POINTS, 2)
    with torch.no_grad():
        first, *later = net.estimates(image, landmarks)
        torch.testing.assert_close(net(image, landmarks), net.encoder(image, landmarks))
    assert len(later) == net.steps
    assert all(torch.equal(first, estimate) for estimate in later)


def test_whitened_scores_have_unit_variance_and_shares_of_the_whole() -> None:
    torch.manual_seed(1)
    rows = torch.randn(400, 6) @ torch.diag(torch.tensor([5.0, 3, 2, 1, 0.5, 0.1])) @ torch.randn(6, 20)
    by: Whitening = whiten(rows, 5)
    scores = (rows - by.mean) @ by.rows
    torch.testing.assert_close(scores.var(0, correction=0), torch.ones(5), rtol=1e-3, atol=1e-3)
    assert float(by.shares.square().sum()) == pytest.approx(1)
    assert (by.shares.diff() < 0).all(), "the first component varies most"


def test_a_thumbnail_counts_the_pixels_by_their_weight() -> None:
    net = empty_surrogate()
    row, column = 9, 10
    net.weight[..., row, column] = 0.5
    pixel = THUMBNAIL * THUMBNAIL + row * THUMBNAIL + column  # in the green plane
    net.thumbnail_rows[pixel, 3] = 1.0
    image = torch.zeros(1, 3, 128, 128)
    image[:, 1, 4 * row : 4 * row + 4, 4 * column : 4 * column + 4] = 0.8
    seen = net.seen(image, torch.zeros(1, POINTS, 2))
    assert seen.shape == (1, VISIBLE)
    assert seen[0, PARTS["thumbnail"]][3] == pytest.approx(0.4) and int(torch.count_nonzero(seen)) == 1


def test_the_mean_face_is_off_by_one_in_each_part() -> None:
    torch.manual_seed(2)
    rows = {name: torch.randn(500, part.stop - part.start + 8) for name, part in PARTS.items()}
    by = [whiten(rows[name], part.stop - part.start) for name, part in PARTS.items()]
    net = Surrogate(by[0], by[1], by[2], torch.ones(POINTS, 1), torch.ones(1, 1, THUMBNAIL, THUMBNAIL))
    truth = torch.cat([(rows[name] - w.mean) @ w.rows for name, w in zip(PARTS, by, strict=True)], 1)
    assert truth.shape == (500, SCORES)
    for value in net.unlike(truth).values():
        assert float(value) == pytest.approx(1, abs=0.02)


def test_the_truth_costs_nothing_and_every_estimate_counts() -> None:
    torch.manual_seed(3)
    net = RefinedEncoder(Encoder(torch.zeros(512), torch.ones(512)), reading_surrogate())
    truth, metric = torch.randn(2, 18, 512), {"picture": torch.randn(3, 18 * 512)}
    assert all(float(value.detach()) == 0 for value in losses_of(net, [truth, truth], truth, metric).values())
    early = losses_of(net, [truth + 1, truth], truth, metric)
    late = losses_of(net, [truth, truth + 1], truth, metric)
    assert 0 < early["latent"] < late["latent"] and 0 < early["picture"] < late["picture"]
    assert early["look_landmarks"] == 0 < late["look_landmarks"]


def test_a_trained_appearance_comes_back_from_its_file(tmp_path: Path) -> None:
    path = tmp_path / "surrogate.pt"
    net = reading_surrogate()
    torch.save(net.state_dict(), path)
    latents = torch.from_numpy(np.random.default_rng(2).standard_normal((2, 18, 512)).astype(np.float32))
    torch.testing.assert_close(load_surrogate(path)(latents), net(latents))


def test_folded_it_is_the_same_function() -> None:
    torch.manual_seed(4)
    surrogate = empty_surrogate()
    for buffer in (surrogate.landmark_rows, surrogate.thumbnail_rows):
        buffer.normal_(std=0.05)
    surrogate.root.fill_(1.0)
    surrogate.weight.fill_(1.0)
    net = RefinedEncoder(Encoder(torch.randn(512), torch.rand(512) + 0.5), surrogate)
    for layer in (net.feedback.net[-1], net.encoder.offsets[-1]):  # they begin at zero
        torch.nn.init.normal_(layer.weight, std=0.05)
        torch.nn.init.normal_(layer.bias, std=0.05)
    net.eval()
    image, landmarks = torch.rand(3, 3, 128, 128) * 2 - 1, torch.rand(3, POINTS, 2)
    with torch.no_grad():
        expected = net(image, landmarks)
        assert (expected - net.encoder(image, landmarks)).abs().mean() > 0.05, "the feedback does something here"
        folded = FoldedEncoder(net)(image, landmarks)
        torch.testing.assert_close(folded, expected, rtol=1e-3, atol=1e-3)


def test_a_pool_that_is_too_small_is_told(tmp_path: Path) -> None:
    open_pool(tmp_path, 10).count(10)
    with pytest.raises(UserError, match="10 faces so far, 8704 are needed"):
        train_surrogate.main(["--pool", str(tmp_path), "--run", str(tmp_path / "run")])
    assert not (tmp_path / "embeddings.npy").exists()
