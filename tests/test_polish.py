"""The shipped graphs come back into PyTorch as they are, and the encoder learns on from there."""

from __future__ import annotations

import json
from pathlib import Path

import cv2
import numpy as np
import pytest

from models import latent, registry, zoo
from models.arrays import F32, U8
from models.errors import UserError
from models.runtime import load_engine

pytest.importorskip("torch", reason="needs the train extra")
pytest.importorskip("dlib", reason="needs the train extra")
pytest.importorskip("onnx", reason="needs the train extra")

import torch

from export import ship_encoder
from export.polish_encoder import main
from export.pool import open_pool
from export.shipped_networks import read_encoder
from export.training_input import HELD_OUT

FACES = 6

pytestmark = pytest.mark.train

if not all(registry.is_intact(registry.artefacts()[name]) for name in registry.choose(["default", "identity"])):
    pytest.skip("the models are not pulled: ./run.sh pull", allow_module_level=True)


def some_latents(count: int) -> F32:
    rng = np.random.default_rng(3)
    spread = latent.std_w() * rng.standard_normal((count, 18, 512))
    return np.asarray(latent.mean_w() + 0.3 * spread, np.float32)


def test_the_encoder_is_read_back() -> None:
    rng = np.random.default_rng(2)
    feeds = {
        "image": rng.uniform(-1, 1, (3, 3, 128, 128)).astype(np.float32),
        "landmarks": rng.uniform(0.2, 0.8, (3, 478, 2)).astype(np.float32),
    }
    expected = load_engine(zoo.encoder_graph(), "onnxruntime", "float32", batch=3)(feeds)["w_plus"]
    with torch.no_grad():
        got = read_encoder(zoo.ENCODER)(*(torch.from_numpy(values) for values in feeds.values())).numpy()
    np.testing.assert_allclose(got, expected, atol=1e-3 * latent.std_w().min())


def test_another_network_is_refused() -> None:
    with pytest.raises(UserError, match="not an encoder"):
        read_encoder(zoo.SHIPPED / "landmarks.onnx")


@pytest.fixture
def pool(tmp_path: Path) -> Path:
    """A pool of pictures of noise; the first faces are held out."""
    rng = np.random.default_rng(8)
    count = HELD_OUT + FACES
    pool = open_pool(tmp_path / "pool", count, pictures=True)
    for rows in (slice(0, 8), slice(HELD_OUT, count)):
        size = len(range(rows.start, rows.stop))
        assert pool.pictures is not None
        pool.pictures[rows] = rng.integers(0, 256, (size, 256, 256, 3))
        pool.images[rows] = rng.integers(0, 256, (size, 128, 128, 3))
        pool.landmarks[rows] = rng.uniform(0.2, 0.8, (size, 478, 2))
        pool.latents[rows] = some_latents(size)
    pool.count(count)
    return tmp_path / "pool"


def plain_pool(folder: Path) -> Path:
    """A pool without whole pictures."""
    open_pool(folder, HELD_OUT + 1).count(HELD_OUT + 1)
    return folder


def test_it_learns_goes_on_and_ships(
    pool: Path, tmp_path: Path, astronaut: U8, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(ship_encoder, "TOLERANCE", 1.0)  # one step on noise is no encoder
    photos, out = tmp_path / "photos", tmp_path / "out.onnx"
    photos.mkdir()
    cv2.imwrite(str(photos / "me_neutral.png"), astronaut[..., ::-1])
    run = ["--pool", str(pool), "--run", str(tmp_path / "run"), "--out", str(out), "--batch", "2", "--drawn", "1"]
    with pytest.raises(UserError, match="polish first"):
        main([*run, "--ship"])
    with pytest.raises(UserError, match="too few whole pictures"):
        main([*run, "--pool", str(plain_pool(tmp_path / "plain"))])
    with pytest.raises(UserError, match="--drawn 3: give a number from 0"):
        main([*run, "--drawn", "3"])
    main([*run, "--threads", "1", "--photos", str(photos), "--portraits", "1", "--minutes", "0.2"])
    first = torch.load(tmp_path / "run" / "last.pt", weights_only=True)
    assert first["step"] > 1, "the first step only looks for the directions of the others"
    before, average = read_encoder(zoo.ENCODER).state_dict(), first["average"]
    assert not torch.equal(average["answer.weight"], before["answer.weight"])
    shipped = read_encoder(out).state_dict()
    for name in ("answer.weight", "look_missed.weight", "encoder.stem.0.weight", "encoder.trunk.0.bias"):
        torch.testing.assert_close(shipped[name], average[name], rtol=2e-3, atol=1e-5)  # stored in float16
    main([*run, "--ship"])
    again = torch.load(tmp_path / "run" / "last.pt", weights_only=True)
    assert again["step"] == first["step"], "its time was up"
    known, told = (json.loads(graph.with_suffix(".json").read_text())["polished"] for graph in (zoo.ENCODER, out))
    assert told[:-1] == known, "each run adds itself, once"
    assert told[-1]["steps"] == first["step"]
