"""A few steps of the encoder's training on a pool of noise: what is learned from, and that it goes on."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from models import latent

pytest.importorskip("torch", reason="needs the train extra")
pytest.importorskip("dlib", reason="needs the train extra")

import torch

from export.pool import open_pool
from export.train_encoder import main
from export.train_surrogate import FILE
from export.training_input import HELD_OUT
from models.networks.surrogate import empty_surrogate

FACES = 8


@pytest.fixture
def run(tmp_path: Path) -> list[str]:
    """Arguments of a training whose pool, surrogate and metric are there; not yet how long."""
    rng = np.random.default_rng(8)
    pool = open_pool(tmp_path / "pool", HELD_OUT + FACES)
    rows = slice(HELD_OUT, HELD_OUT + FACES)
    pool.images[rows] = rng.integers(0, 256, (FACES, 128, 128, 3))
    pool.landmarks[rows] = rng.uniform(0.2, 0.8, (FACES, 478, 2))
    pool.latents[rows] = latent.mean_w() + 0.3 * latent.std_w() * rng.standard_normal((FACES, 18, 512))
    pool.count(HELD_OUT + FACES)
    folder = tmp_path / "run"
    folder.mkdir()
    torch.save(empty_surrogate().state_dict(), folder / FILE)
    picture, geometry, identity = (rng.standard_normal((3, 2, 18 * 512)) / 100).astype(np.float32)
    np.savez(folder / "metric.npz", picture=picture, geometry=geometry, identity=identity)
    return ["--pool", str(tmp_path / "pool"), "--run", str(folder), "--batch", "2", "--threads", "1"]


def test_it_learns_and_goes_on(run: list[str], tmp_path: Path) -> None:
    main([*run, "--minutes", "0.001"])  # one step: it is longer than that
    first = torch.load(tmp_path / "run" / "last.pt", weights_only=True)
    assert first["step"] == 1 and first["spent"] > 0.06
    main([*run, "--minutes", "0.001"])
    assert torch.load(tmp_path / "run" / "last.pt", weights_only=True)["step"] == 1, "its time was up"
    main([*run, "--anew", "--minutes", "0.001"])
    again = torch.load(tmp_path / "run" / "last.pt", weights_only=True)
    assert again["step"] == 2
    moved = [
        name
        for name, values in again["net"].items()
        if not name.startswith("surrogate.") and not torch.equal(values, first["net"][name])
    ]
    assert any(name.startswith("encoder.") for name in moved)
    assert all(bool(values.isfinite().all()) for values in again["average"].values())
