"""The manifest beside an exported network: what is written comes back, and what does not fit is refused."""

from __future__ import annotations

import json
import string
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from models import artefact
from models.errors import UserError
from models.files import sha256
from models.manifest import Manifest, Parity, Port, Source, contradiction

STYLE_DIM = 8


def write_files(folder: Path) -> Manifest:
    """A generator's manifest and the files it speaks of; the graph is bytes, for nothing here runs it."""
    (folder / "generator.onnx").write_bytes(b"graph")
    (folder / "generator.onnx.data").write_bytes(b"weights")
    statistics = folder / "generator-w.npz"
    np.savez(statistics, mean_w=np.zeros(STYLE_DIM, np.float32), std_w=np.ones(STYLE_DIM, np.float32))
    manifest = Manifest(
        kind="generator",
        file="generator.onnx",
        sha256=sha256(folder / "generator.onnx"),
        data={name: sha256(folder / name) for name in ("generator.onnx.data", statistics.name)},
        size=16,
        layers=6,
        style_dim=STYLE_DIM,
        inputs={"w_plus": Port(("N", 6, STYLE_DIM), "float32", "W's own")},
        outputs={"image": Port(("N", 3, 16, 16), "float32", "about [-1, 1], RGB")},
        source=Source("tiny.pt", "0" * 64),
        tools={"torch": "2.0"},
        options={"precision": "float32", "batch": None},
        parity=(Parity("onnxruntime CPU float32", 3, 6, 1e-6, 1e-7, 120.0),),
        statistics=statistics.name,
        report={"kept in float32": ["a", "b"]},
        folder=folder,
    )
    artefact.write(manifest)
    return manifest


def change(folder: Path, edit: Callable[[dict[str, Any]], object]) -> Path:
    """Edits the manifest's JSON by hand; returns the graph's path."""
    file = folder / "generator.json"
    content = json.loads(file.read_text())
    edit(content)
    file.write_text(json.dumps(content))
    return folder / "generator.onnx"


@pytest.mark.parametrize("name", ["generator.onnx", "generator.json"])
def test_what_is_written_comes_back_by_graph_and_by_manifest(name: str, tmp_path: Path) -> None:
    written = write_files(tmp_path)
    found = artefact.read(tmp_path / name)
    assert found == written
    assert (found.graph, found.format, found.batch) == (tmp_path / "generator.onnx", "onnx", None)
    mean_w, std_w = artefact.read_statistics(found)
    assert mean_w.dtype == std_w.dtype == np.float32
    np.testing.assert_array_equal(mean_w, np.zeros(STYLE_DIM))
    np.testing.assert_array_equal(std_w, np.ones(STYLE_DIM))


@pytest.mark.parametrize("name", ["generator.onnx", "generator.onnx.data", "generator-w.npz"])
def test_a_file_that_changed_or_went_is_refused(name: str, tmp_path: Path) -> None:
    write_files(tmp_path)
    (tmp_path / name).write_bytes(b"something else")
    with pytest.raises(UserError, match=rf"{name} is not the file that generator\.json describes"):
        artefact.read(tmp_path / "generator.onnx")
    (tmp_path / name).unlink()
    with pytest.raises(UserError, match=rf"{name}.*(No such file|does not exist)"):
        artefact.read(tmp_path / "generator.onnx")


def test_a_graph_without_a_manifest_is_refused(tmp_path: Path) -> None:
    (tmp_path / "generator.onnx").write_bytes(b"graph")
    with pytest.raises(UserError, match=r"has no manifest generator\.json"):
        artefact.read(tmp_path / "generator.onnx")


def test_another_file_of_the_same_stem_is_not_taken_for_the_graph(tmp_path: Path) -> None:
    write_files(tmp_path)
    (tmp_path / "generator.xml").write_bytes(b"graph")
    with pytest.raises(UserError, match=r"describes generator\.onnx, not generator\.xml"):
        artefact.read(tmp_path / "generator.xml")


def _set(**changes: Any) -> Callable[[dict[str, Any]], object]:  # noqa: ANN401 - hand-made JSON
    return lambda content: content.update(changes)


@pytest.mark.parametrize(
    ("edit", "said"),
    [
        (_set(manifest=2), "version 2"),
        (_set(kind="critic"), "'critic' is none of"),
        (_set(file="../generator.onnx"), "not the name of a file beside it"),
        (_set(file="generator.exe"), "ends in none of"),
        (_set(data={"/etc/hosts": "0" * 64}), "not the name of a file beside it"),
        (_set(data={"generator-w.npz": "xyz"}), "'xyz' is not a SHA-256"),
        (_set(data={}), "not among its data"),
        (_set(statistics=None), "needs statistics"),
        (_set(size=0), "must be positive"),
        (_set(size=True), "size is not a int"),
        (_set(layers=7), r"w_plus has shape \['N', 6, 8\], expected \['N', 7, 8\]"),
        (_set(size=32), r"image has shape \['N', 3, 16, 16\], expected \['N', 3, 32, 32\]"),
        (_set(inputs={}), "inputs of a generator are w_plus, not none"),
        (lambda c: c["inputs"]["w_plus"].update(shape=[3, 6, STYLE_DIM]), "do not agree on a batch"),
        (lambda c: c["inputs"]["w_plus"].update(shape=["M", 6, STYLE_DIM]), "do not agree on a batch"),
        (lambda c: c["inputs"]["w_plus"].update(range=1), "range is not a str"),
        (lambda c: c["parity"][0].update(max_error=float("nan")), "the number NaN"),
        (lambda c: c["parity"][0].pop("samples"), "parity has"),
        (lambda c: c.pop("tools"), r"lacks \['tools'\]"),
        (_set(extra=1), r"unknown \['extra'\]"),
    ],
)
def test_a_manifest_that_is_wrong_is_one_clear_line(
    edit: Callable[[dict[str, Any]], object], said: str, tmp_path: Path
) -> None:
    write_files(tmp_path)
    graph = change(tmp_path, edit)
    with pytest.raises(UserError, match=said) as refusal:
        artefact.read(graph)
    assert "\n" not in str(refusal.value)


@pytest.mark.parametrize("content", [b"", b"\xff\xfe", b"{", b"[]", b"[" * 100_000, b"null", b'{"manifest": 1}'])
def test_what_is_no_manifest_is_one_clear_line(content: bytes, tmp_path: Path) -> None:
    write_files(tmp_path)
    (tmp_path / "generator.json").write_bytes(content)
    with pytest.raises(UserError) as refusal:
        artefact.read(tmp_path / "generator.onnx")
    assert "generator.json" in str(refusal.value)
    assert "\n" not in str(refusal.value)


def test_a_manifest_that_contradicts_itself_is_not_written(tmp_path: Path) -> None:
    manifest = write_files(tmp_path)
    before = (tmp_path / "generator.json").read_bytes()
    for wrong in (replace(manifest, layers=7), replace(manifest, report={"ratio": float("inf")})):
        with pytest.raises(ValueError, match=r"expected|JSON"):
            artefact.write(wrong)
    assert (tmp_path / "generator.json").read_bytes() == before
    assert sorted(path.name for path in tmp_path.iterdir()) == [
        *("generator-w.npz", "generator.json", "generator.onnx", "generator.onnx.data")
    ]


@pytest.mark.parametrize(
    "arrays",
    [
        {"mean_w": np.zeros(STYLE_DIM, np.float32)},
        {"mean_w": np.zeros(STYLE_DIM + 1, np.float32), "std_w": np.ones(STYLE_DIM, np.float32)},
        {"mean_w": np.full(STYLE_DIM, np.nan, np.float32), "std_w": np.ones(STYLE_DIM, np.float32)},
        {"mean_w": np.zeros(STYLE_DIM, np.float32), "std_w": np.zeros(STYLE_DIM, np.float32)},
    ],
)
def test_statistics_that_are_none_are_refused(arrays: dict[str, Any], tmp_path: Path) -> None:
    manifest = write_files(tmp_path)
    np.savez(tmp_path / "generator-w.npz", **arrays)
    with pytest.raises(UserError, match=r"generator-w\.npz"):
        artefact.read_statistics(manifest)


def test_an_encoder_may_take_landmarks_and_a_fixed_batch(tmp_path: Path) -> None:
    (tmp_path / "encoder.xml").write_bytes(b"graph")
    encoder = replace(
        write_files(tmp_path),
        kind="encoder",
        file="encoder.xml",
        data={},
        statistics=None,
        inputs={
            "image": Port((2, 3, 16, 16), "float32", "[-1, 1], RGB"),
            "landmarks": Port((2, 478, 2), "float32", "[0, 1]"),
        },
        outputs={"w_plus": Port((2, 6, STYLE_DIM), "float32", "W's own")},
    )
    artefact.write(encoder)
    found = artefact.read(tmp_path / "encoder.xml")
    assert (found.format, found.batch) == ("openvino", 2)


@given(st.text(string.printable, max_size=12))
def test_no_name_leads_out_of_the_folder(name: str) -> None:
    source = Source("x", "0" * 64)
    manifest = Manifest(
        *("mapping", name, "0" * 64, {}, 16, 6, STYLE_DIM),
        inputs={"z": Port(("N", 4), "float32", "normal")},
        outputs={"w": Port(("N", STYLE_DIM), "float32", "W's own")},
        source=source,
        tools={},
        options={},
        parity=(),
    )
    problem = contradiction(manifest)
    folder = Path("somewhere").absolute()
    if problem is None:
        assert (folder / name).resolve().parent == folder
