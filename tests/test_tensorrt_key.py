"""What TensorRT engines are good for, where their buffers lie, and the settings of ONNX Runtime's provider."""

from __future__ import annotations

import json
from dataclasses import fields, replace
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from models import onnx_graph
from models.engine import Unavailable
from models.files import sha256
from models.nvidia import tensorrt_key, tensorrt_provider
from models.nvidia.tensorrt_buffers import ALIGNMENT, Tensor, plan_buffers
from models.nvidia.tensorrt_key import BatchProfile, EngineKey, Environment, KeyFile
from models.zoo import SHIPPED

HERE = Environment("NVIDIA L4", "8.9", "580.65.06, CUDA 13.0", "13.0", "tensorrt 10.16.1.11")
KEY = EngineKey(HERE, "a" * 64, "auto", BatchProfile(), 3)
OTHERS = {
    **{f.name: replace(KEY, environment=replace(HERE, **{f.name: "other"})) for f in fields(Environment)},
    "model": replace(KEY, model="b" * 64),
    "precision": replace(KEY, precision="float16"),
    "batch": replace(KEY, batch=BatchProfile(1, 2, 4)),
    "level": replace(KEY, level=5),
}

text = st.text(max_size=20)
batches = st.tuples(*[st.integers(1, 64)] * 3).map(lambda sizes: BatchProfile(*sorted(sizes)))
keys = st.builds(
    EngineKey,
    st.builds(Environment, text, text, text, text, text.map(lambda version: f"tensorrt {version}"), text),
    st.text("0123456789abcdef", min_size=64, max_size=64),
    st.sampled_from(["auto", "float32", "float16", "int8"]),
    batches,
    st.integers(0, 5),
)


def put(folder: Path, key: EngineKey = KEY) -> Path:
    engine = folder / "network.engine"
    engine.write_bytes(b"an engine")
    tensorrt_key.write(engine, KeyFile(key, sha256(engine), "network.onnx", "tf32"))
    return engine


def test_an_engine_of_the_same_key_is_taken(tmp_path: Path) -> None:
    assert tensorrt_key.mismatch(put(tmp_path), KEY) is None
    assert tensorrt_key.mismatch(tmp_path / "none.engine", KEY) == ""


@pytest.mark.parametrize("field", OTHERS)
def test_an_engine_of_another_key_is_not_and_says_what_differs(tmp_path: Path, field: str) -> None:
    problem = tensorrt_key.mismatch(put(tmp_path, OTHERS[field]), KEY)
    assert problem is not None
    assert problem.startswith(f"it was built for {field.replace('_', ' ')} ")
    assert problem.count(", not ") == 1


def test_an_engine_that_was_changed_is_not_taken(tmp_path: Path) -> None:
    engine = put(tmp_path)
    engine.write_bytes(b"another")
    assert tensorrt_key.mismatch(engine, KEY) == "it is not the file that network.key.json describes"


@pytest.mark.parametrize(
    "content", [b"", b"[]", b"{}", b"\xff", b'{"key": {}}', b"[" * 100_000, b'{"key": {"environment": 5}}']
)
def test_an_engine_without_a_readable_key_is_not_taken(tmp_path: Path, content: bytes) -> None:
    engine = put(tmp_path)
    tensorrt_key.key_path(engine).write_bytes(content)
    assert tensorrt_key.mismatch(engine, KEY) == "network.key.json is missing or cannot be read"
    tensorrt_key.key_path(engine).unlink()
    assert tensorrt_key.mismatch(engine, KEY) == "network.key.json is missing or cannot be read"


@given(key=keys)
def test_a_key_comes_back_as_it_was_written(tmp_path_factory: pytest.TempPathFactory, key: EngineKey) -> None:
    engine = tmp_path_factory.getbasetemp() / "any.engine"
    written = KeyFile(key, "c" * 64, "any.onnx", "tf32")
    tensorrt_key.write(engine, written)
    assert tensorrt_key.read(engine) == written
    assert written.key.differences(key) == ""


def test_a_name_is_of_the_use_and_not_of_the_machine() -> None:
    names = {field: key.name("network") for field, key in OTHERS.items()}
    same = {field for field, name in names.items() if name == KEY.name("network")}
    assert same == {"gpu", "compute_capability", "driver", "cuda", "onnxruntime"}
    assert replace(KEY, environment=replace(HERE, tensorrt="tensorrt 11.4")).name("network") == KEY.name("network")


@pytest.mark.parametrize("sizes", [(0, 1, 1), (2, 1, 3), (1, 4, 3)])
def test_batch_sizes_that_are_not_in_order_are_refused(sizes: tuple[int, int, int]) -> None:
    with pytest.raises(ValueError, match="not in order"):
        BatchProfile(*sizes)


def test_only_free_batches_have_a_profile() -> None:
    profile = BatchProfile(1, 2, 4)
    assert profile.shapes({"a": ("N", 3, 8), "b": (1, 5)}) == {"a": ((1, 3, 8), (2, 3, 8), (4, 3, 8))}
    with pytest.raises(ValueError, match="only the batch size may be free"):
        profile.shapes({"a": ("N", "H", 8)})


tensors = st.lists(
    st.tuples(
        st.booleans(),
        st.lists(st.integers(1, 40), max_size=3).map(tuple),
        st.sampled_from(["float32", "float16", "int8", "int64"]),
    ),
    max_size=8,
).map(lambda parts: [Tensor(f"t{i}", *part) for i, part in enumerate(parts)])


@given(tensors=tensors)
def test_buffers_do_not_overlap_and_stand_where_the_gpu_wants_them(tensors: list[Tensor]) -> None:
    plan = plan_buffers(tensors)
    assert sorted(slot.tensor.name for slot in plan.slots) == sorted(tensor.name for tensor in tensors)
    end = 0
    for slot in plan.slots:
        assert slot.offset % ALIGNMENT == 0
        assert end <= slot.offset < end + ALIGNMENT
        end = slot.offset + slot.tensor.size
        if slot.tensor.is_input:
            assert end <= plan.inputs_end <= plan.outputs_start
        else:
            assert plan.outputs_start <= slot.offset
    assert plan.size == end


def test_a_known_plan() -> None:
    plan = plan_buffers(
        [
            Tensor("image", False, (1, 3, 4, 4), "float32"),
            Tensor("w_plus", True, (1, 18, 512), "float32"),
            Tensor("weight", True, (3,), "float16"),
        ]
    )
    assert [(slot.tensor.name, slot.offset) for slot in plan.slots] == [
        ("w_plus", 0),
        ("weight", 36864),
        ("image", 37120),
    ]
    assert (plan.inputs_end, plan.outputs_start, plan.size) == (36870, 37120, 37312)
    assert plan.inputs == {"w_plus": (1, 18, 512), "weight": (3,)}


def test_a_shape_that_is_not_known_is_refused() -> None:
    with pytest.raises(ValueError, match="not every size is known"):
        plan_buffers([Tensor("x", True, (-1, 4), "float32")])


def test_the_providers_shapes_name_every_free_input() -> None:
    graph = onnx_graph.read(SHIPPED / "encoder.onnx")
    chosen = tensorrt_provider.settings(graph, precision="auto", profile=BatchProfile(1, 2, 4))
    assert chosen["trt_profile_min_shapes"] == "image:1x3x128x128,landmarks:1x478x2"
    assert chosen["trt_profile_opt_shapes"] == "image:2x3x128x128,landmarks:2x478x2"
    assert chosen["trt_profile_max_shapes"] == "image:4x3x128x128,landmarks:4x478x2"
    assert chosen["trt_fp16_enable"] == "0"
    fixed = replace(graph, inputs={"image": (1, 3, 128, 128)})
    half = tensorrt_provider.settings(fixed, precision="float16", profile=BatchProfile())
    assert half["trt_fp16_enable"] == "1"
    assert not any("shapes" in name for name in half)
    with pytest.raises(Unavailable, match="only the batch size"):
        tensorrt_provider.settings(replace(graph, inputs={"x": ("N", "L")}), precision="auto", profile=BatchProfile())


def test_the_providers_engines_are_kept_while_the_key_is_the_same(tmp_path: Path) -> None:
    folder = tmp_path / "engines"
    assert tensorrt_provider.claim(folder, KEY) == ""
    assert tensorrt_provider.claim(folder, KEY) == ""  # nothing was built
    engine = folder / "TensorrtExecutionProvider_1_sm89.engine"
    engine.write_bytes(b"an engine")
    assert tensorrt_provider.claim(folder, KEY) is None
    assert engine.exists()
    assert tensorrt_provider.cache_settings(folder, tmp_path / "timing") == {
        "trt_engine_cache_enable": "1",
        "trt_engine_cache_path": str(folder),
        "trt_timing_cache_enable": "1",
        "trt_timing_cache_path": str(tmp_path / "timing"),
    }


@pytest.mark.parametrize("field", OTHERS)
def test_the_providers_engines_of_another_key_are_thrown_away(tmp_path: Path, field: str) -> None:
    tensorrt_provider.claim(tmp_path, OTHERS[field])
    engine = tmp_path / "old.engine"
    engine.write_bytes(b"an engine")
    problem = tensorrt_provider.claim(tmp_path, KEY)
    assert problem is not None and problem.startswith(f"it was for {field.replace('_', ' ')} ")
    assert not engine.exists()
    assert json.loads((tmp_path / "key.json").read_text())["model"] == KEY.model


def test_the_providers_engines_without_a_key_are_thrown_away(tmp_path: Path) -> None:
    engine = tmp_path / "old.engine"
    engine.write_bytes(b"an engine")
    assert tensorrt_provider.claim(tmp_path, KEY) == "key.json is missing or cannot be read"
    assert not engine.exists()
