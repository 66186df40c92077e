"""Loading networks: what is refused, and that a fall-back is told."""

from __future__ import annotations

import sys
from pathlib import Path

import numpy as np
import pytest

from models import registry
from models.errors import UserError
from models.runtime import ENGINES, load_engine
from models.zoo import SHIPPED, beside_weights


@pytest.fixture(scope="module")
def mapping_graph() -> Path:
    return beside_weights(SHIPPED / "mapping.onnx", registry.path("mapping-bin"))


def test_auto_names_what_it_took_and_what_it_passed_over(mapping_graph: Path) -> None:
    engine = load_engine(mapping_graph)
    order = list(ENGINES)
    taken = order.index(engine.name.split()[0]) if engine.name.split()[0] in order else 0
    assert len(engine.notes) == taken
    assert all(note.startswith(f"{name}: ") for note, name in zip(engine.notes, order, strict=False))


def test_engines_agree(mapping_graph: Path) -> None:
    z = np.random.default_rng(5).standard_normal((1, 512)).astype(np.float32)
    first = load_engine(mapping_graph, "openvino", "float32")({"z": z})["w"]
    second = load_engine(mapping_graph, "onnxruntime")({"z": z})["w"]
    np.testing.assert_allclose(first, second, atol=1e-4)


def test_results_are_the_callers_own(mapping_graph: Path) -> None:
    engine = load_engine(mapping_graph, "openvino", "float32")
    first = engine({"z": np.ones((1, 512), np.float32)})["w"]
    kept = first.copy()
    engine({"z": np.linspace(-1, 1, 512, dtype=np.float32)[None]})
    np.testing.assert_array_equal(first, kept)


def test_an_unknown_engine_is_refused(mapping_graph: Path) -> None:
    with pytest.raises(UserError, match=r"unknown engine 'warp'.*openvino"):
        load_engine(mapping_graph, "warp")


def test_an_engine_that_is_not_here_is_refused(mapping_graph: Path) -> None:
    missing = "coreml" if sys.platform == "win32" else "directml"
    with pytest.raises(UserError, match="no engine runs"):
        load_engine(mapping_graph, missing)


def test_a_precision_the_engine_lacks_is_refused(mapping_graph: Path) -> None:
    with pytest.raises(UserError, match="float32 only"):
        load_engine(mapping_graph, "onnxruntime", "bfloat16")


def test_a_file_that_is_no_network_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "broken.onnx"
    path.write_bytes(b"not a network")
    with pytest.raises(UserError, match=r"no engine runs broken\.onnx"):
        load_engine(path)
