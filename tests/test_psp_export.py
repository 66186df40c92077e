"""The encoders of pSp and e4e as artefacts, run by the real engines."""

from __future__ import annotations

from functools import partial
from pathlib import Path

import numpy as np
import pytest

pytest.importorskip("torch", reason="needs the train extra")

import onnxruntime as ort
import openvino as ov
import torch

from export import networks
from export.checkpoints.psp import EncoderCheckpoint, load_encoder, read_encoder
from export.networks import from_encoder
from export.to_artefact import Choices, write_artefact
from models import artefact
from tests.psp_networks import LAYERS, SIZE, STYLE_DIM, TINY, crops, published, tiny

pytestmark = pytest.mark.train

KINDS = ("Encoder4Editing", "GradualStyleEncoder", "BackboneEncoderUsingLastLayerIntoW")


def checkpoint(folder: Path, kind: str) -> EncoderCheckpoint:
    """A tiny encoder, read from a file."""
    content = published(tiny(kind), kind)
    torch.save(content, folder / "encoder.pt")
    return read_encoder(folder / "encoder.pt", backbone=TINY, size=SIZE)


@pytest.mark.parametrize("kind", KINDS)
def test_onnx_gives_what_pytorch_gives_at_any_batch_size(tmp_path: Path, kind: str) -> None:
    read = checkpoint(tmp_path, kind)
    manifest = artefact.read(write_artefact(from_encoder(read), Choices("onnx"), tmp_path).graph)
    assert (manifest.kind, manifest.size, manifest.layers, manifest.style_dim) == ("encoder", SIZE, LAYERS, STYLE_DIM)
    assert manifest.inputs["image"].shape == ("N", 3, SIZE, SIZE)
    assert manifest.outputs["w_plus"].shape == ("N", LAYERS, STYLE_DIM)
    assert manifest.source.file == "encoder.pt" and manifest.source.sha256 == read.sha256
    assert {(row.engine.split()[0], row.batch) for row in manifest.parity} == {
        (engine, batch) for engine in ("openvino", "onnxruntime") for batch in (1, 3)
    }
    session = ort.InferenceSession(str(manifest.graph), providers=["CPUExecutionProvider"])
    net = load_encoder(read)
    for count in (1, 2, 3):
        (found,) = session.run(["w_plus"], {"image": crops(count).numpy()})
        np.testing.assert_allclose(found, net(crops(count)).numpy(), atol=1e-5)


def test_openvino_gives_what_pytorch_gives(tmp_path: Path) -> None:
    read = checkpoint(tmp_path, "Encoder4Editing")
    manifest = write_artefact(from_encoder(read), Choices("openvino"), tmp_path)
    compiled = ov.Core().compile_model(manifest.graph, "CPU", {"INFERENCE_PRECISION_HINT": "f32"})
    found = compiled({"image": crops(3).numpy()})["w_plus"]
    np.testing.assert_allclose(found, load_encoder(read)(crops(3)).numpy(), atol=1e-5)


def test_float16_stays_near(tmp_path: Path) -> None:
    read = checkpoint(tmp_path, "Encoder4Editing")
    manifest = write_artefact(from_encoder(read), Choices("onnx", precision="float16"), tmp_path)
    expected = load_encoder(read)(crops(3)).numpy()
    for row in manifest.parity:
        assert row.max_error < 0.02 * expected.std()


def test_a_file_with_a_decoder_gives_its_generator_too(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    content = published(tiny("Encoder4Editing"), "Encoder4Editing")
    content["latent_avg"] = content["latent_avg"][:1].repeat(LAYERS, 1)
    torch.save(content, tmp_path / "e4e.pt")
    monkeypatch.setattr(networks, "read_encoder", partial(read_encoder, backbone=TINY, size=SIZE))
    found = networks.from_checkpoint(tmp_path / "e4e.pt", None)
    assert [network.kind for network in found] == ["generator", "mapping", "encoder"]
    assert {(network.layers, network.style_dim) for network in found} == {(LAYERS, STYLE_DIM)}
    assert len({network.source.sha256 for network in found}) == 1
