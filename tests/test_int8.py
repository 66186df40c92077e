"""Quantising: which layers are taken, and that a network that comes too far from float32 is not written."""

from __future__ import annotations

from collections.abc import Collection
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

pytest.importorskip("torch")
pytest.importorskip("nncf")
pytest.importorskip("dlib")

import onnx

from export import int8, networks, parity
from export.__main__ import main
from export.fresh_inputs import one_by_one
from export.networks import Network
from export.quantise_artefact import write_int8
from export.to_artefact import Choices, write_artefact
from models import artefact, registry
from models.arrays import F32
from models.errors import UserError
from tests.test_to_artefact import Decoder, plain, run_onnx


@given(st.dictionaries(st.text(min_size=1, max_size=3), st.floats(0, 100), max_size=12), st.floats(0, 100))
def test_the_most_harmless_layers_are_taken_as_long_as_they_may(ratios: dict[str, float], least: float) -> None:
    def judge(layers: Collection[str]) -> float:
        return 100 - 7 * len(layers)

    chosen = int8.choose(ratios, least, judge)
    harmless = [layer for layer in ratios if ratios[layer] >= least]
    assert not chosen or judge(chosen) >= least
    assert set(chosen) <= set(harmless)
    if len(chosen) < len(harmless):
        assert judge([*chosen, "one more"]) < least
        left = [ratios[layer] for layer in harmless if layer not in chosen]
        assert not chosen or min(ratios[layer] for layer in chosen) >= max(left)


@pytest.fixture(scope="module")
def network() -> Network:
    """A decoder of three layers."""
    return plain(Decoder())


@pytest.fixture(scope="module")
def whole(network: Network) -> tuple[onnx.ModelProto, onnx.ModelProto]:
    """Its graph, exact and with every layer in int8."""
    exact = int8.prepared(network.graph())
    samples = one_by_one(network.fresh(np.random.default_rng(5), 8))
    return exact, int8.quantised(exact, samples)


def test_layers_go_back_to_exactly_what_they_were(
    network: Network, whole: tuple[onnx.ModelProto, onnx.ModelProto]
) -> None:
    exact, quantised = whole
    layers = int8.layers_of(quantised)
    assert len(layers) == 3
    feeds = network.fresh(np.random.default_rng(1), 3)
    expected = run_onnx(exact, feeds)
    none = int8.mixed(exact, quantised, ())
    assert {node.op_type for node in none.graph.node} == {node.op_type for node in exact.graph.node}
    np.testing.assert_array_equal(run_onnx(none, feeds), expected)
    one = int8.mixed(exact, quantised, layers[:1])
    kinds = [i.data_type for i in one.graph.initializer if len(i.dims) > 1]
    assert kinds.count(onnx.TensorProto.INT8) == 1
    error = np.abs(run_onnx(one, feeds) - expected).max()
    assert 0 < error < 0.1 * np.ptp(expected)


def test_int8_of_an_exported_network_says_how_much_each_layer_hurts(network: Network, tmp_path: Path) -> None:
    registry.path("identity")
    write_artefact(network, Choices("onnx"), tmp_path)
    graph, out = tmp_path / "generator.onnx", tmp_path / "int8"
    assert main(["quantise", str(graph), "--out", str(out), "--samples", "8"]) == 0
    manifest = artefact.read(out / "generator.onnx")
    assert (manifest.kind, manifest.options["precision"], manifest.source.file) == (
        *("generator", "int8", "generator.onnx"),
    )
    rows = manifest.report["sensitivity"]
    assert isinstance(rows, list)
    assert len(rows) == 3
    assert manifest.options["int8_layers"] == sum(isinstance(row, dict) and row["int8"] is True for row in rows)
    assert all(row.psnr_db is not None and row.psnr_db >= 35 for row in manifest.parity)
    assert {row.batch for row in manifest.parity} == {1, 3}
    assert manifest.report["identity"] == {"faces": 0, "moved": None}  # 8 px show nobody
    assert "nncf" in manifest.tools
    feeds = networks.from_artefact(artefact.read(graph)).fresh(np.random.default_rng(1), 3)
    found: F32 = parity.open_openvino(manifest.graph)(feeds)
    assert 0 < np.abs(found - network.reference(feeds)).mean() < 0.03


def test_a_network_that_int8_spoils_is_not_written(network: Network, tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"no layer of .* stays within"):
        write_int8(network, tmp_path, samples=4, least=150.0)
    assert list(tmp_path.iterdir()) == []


def test_what_cannot_be_quantised_is_refused(
    network: Network, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    write_artefact(network, Choices("onnx", "float16"), tmp_path)
    graph = str(tmp_path / "generator.onnx")
    before = {path.name for path in tmp_path.iterdir()}
    assert main(["quantise", graph, "--out", str(tmp_path / "int8")]) == 2
    assert "expected what python -m export onnx writes by default" in capsys.readouterr().err
    write_artefact(network, Choices("onnx"), tmp_path)
    assert main(["quantise", graph, "--out", str(tmp_path)]) == 2
    assert "would be overwritten" in capsys.readouterr().err
    assert main(["quantise", graph]) == 2
    assert "--out is missing" in capsys.readouterr().err
    assert {path.name for path in tmp_path.iterdir()} == before
