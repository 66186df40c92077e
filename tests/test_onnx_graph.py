"""Reading an ONNX file's header: the same as the onnx package reads, and nothing worse than a refusal."""

from __future__ import annotations

from contextlib import suppress
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from models import onnx_graph, registry
from models.errors import UserError
from models.zoo import SHIPPED, beside_weights

LANDMARKS = SHIPPED / "landmarks.onnx"


def test_the_generator_points_into_the_published_weights() -> None:
    graph = onnx_graph.read(SHIPPED / "generator-256.onnx")
    assert graph.inputs == {"w_plus": ("N", 18, 512)}
    assert list(graph.outputs) == ["image"]
    assert graph.external == (registry.path("synthesis-bin").name,)


def test_a_network_of_several_inputs_keeps_their_order() -> None:
    graph = onnx_graph.read(SHIPPED / "encoder.onnx")
    assert list(graph.inputs.items()) == [("image", ("N", 3, 128, 128)), ("landmarks", ("N", 478, 2))]
    assert graph.external == (registry.path("identity").name,)


def test_the_hash_is_of_the_weights_too(tmp_path: Path) -> None:
    graph = beside_weights(SHIPPED / "mapping.onnx", registry.path("mapping-bin"))
    weights = registry.path("mapping-bin").read_bytes()
    (tmp_path / graph.name).write_bytes(graph.read_bytes())
    (tmp_path / "MappingNetwork.bin").write_bytes(weights)
    same = onnx_graph.read(tmp_path / graph.name)
    assert same.sha256() == onnx_graph.read(graph).sha256()
    (tmp_path / "MappingNetwork.bin").write_bytes(weights[:-1] + bytes([weights[-1] ^ 1]))
    assert same.sha256() != onnx_graph.read(graph).sha256()
    (tmp_path / "MappingNetwork.bin").unlink()
    with pytest.raises(UserError, match=r"MappingNetwork\.bin: No such file"):
        same.sha256()


@pytest.mark.parametrize("content", [b"", b"not a network", b"\x3a\x02\x08"])
def test_another_file_is_refused_in_one_line(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "broken.onnx"
    path.write_bytes(content)
    with pytest.raises(UserError, match=r"broken\.onnx is not an ONNX network") as refusal:
        onnx_graph.read(path)
    assert "\n" not in str(refusal.value)


def test_a_missing_file_is_refused(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="No such file"):
        onnx_graph.read(tmp_path / "none.onnx")


@given(at=st.integers(0, 4000), byte=st.integers(0, 255), end=st.integers(0, 4000))
def test_damage_is_refused_or_read_and_nothing_else(
    tmp_path_factory: pytest.TempPathFactory, at: int, byte: int, end: int
) -> None:
    content = bytearray(LANDMARKS.read_bytes()[:4000])
    content[at : at + 1] = bytes([byte])
    path = tmp_path_factory.getbasetemp() / "damaged.onnx"
    path.write_bytes(content[:end])
    with suppress(UserError):
        onnx_graph.read(path)


@given(content=st.binary(max_size=64))
def test_any_bytes_are_refused_or_read(tmp_path_factory: pytest.TempPathFactory, content: bytes) -> None:
    path = tmp_path_factory.getbasetemp() / "any.onnx"
    path.write_bytes(content)
    with suppress(UserError):
        assert onnx_graph.read(path).external == ()


@pytest.mark.train
@pytest.mark.parametrize("graph", sorted(SHIPPED.glob("*.onnx")), ids=lambda path: path.stem)
def test_the_onnx_package_reads_the_same(graph: Path) -> None:
    onnx = pytest.importorskip("onnx")
    model = onnx.load(graph, load_external_data=False)
    expected = {
        port.name: tuple(size.dim_param or size.dim_value for size in port.type.tensor_type.shape.dim)
        for port in model.graph.input
    }
    external = {
        entry.value for tensor in model.graph.initializer for entry in tensor.external_data if entry.key == "location"
    }
    found = onnx_graph.read(graph)
    assert found.inputs == expected
    assert found.external == tuple(sorted(external))


@pytest.mark.train
@pytest.mark.parametrize("location", ["../weights.bin", "/etc/passwd", "a\\b", "c:weights.bin", ""])
def test_weights_outside_the_folder_are_refused(tmp_path: Path, location: str) -> None:
    onnx = pytest.importorskip("onnx")
    helper, kind = onnx.helper, onnx.TensorProto
    tensor = kind(name="weights", data_type=kind.FLOAT, dims=[1], data_location=kind.EXTERNAL)
    tensor.external_data.add(key="location", value=location)
    port = helper.make_tensor_value_info("x", kind.FLOAT, [1])
    graph = helper.make_graph([helper.make_node("Add", ["x", "weights"], ["y"])], "g", [port], [port], [tensor])
    path = tmp_path / "outside.onnx"
    path.write_bytes(helper.make_model(graph).SerializeToString())
    with pytest.raises(UserError, match="its weights are said to be in"):
        onnx_graph.read(path)


@pytest.mark.train
def test_weights_of_constants_and_of_branches_are_found(tmp_path: Path) -> None:
    onnx = pytest.importorskip("onnx")
    helper, kind = onnx.helper, onnx.TensorProto

    def constant(name: str, file: str) -> object:
        tensor = kind(name=name, data_type=kind.FLOAT, dims=[1], data_location=kind.EXTERNAL)
        tensor.external_data.add(key="location", value=file)
        return helper.make_node("Constant", [], [name], value=tensor)

    port = helper.make_tensor_value_info("y", kind.FLOAT, [1])
    branch = helper.make_graph([constant("y", "branch.bin")], "branch", [], [port])
    condition = helper.make_tensor_value_info("c", kind.BOOL, [])
    nodes = [
        constant("w", "constant.bin"),
        helper.make_node("If", ["c"], ["y"], then_branch=branch, else_branch=branch),
    ]
    path = tmp_path / "branches.onnx"
    path.write_bytes(helper.make_model(helper.make_graph(nodes, "g", [condition], [port])).SerializeToString())
    assert onnx_graph.read(path).external == ("branch.bin", "constant.bin")
