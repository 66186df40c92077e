"""TensorRT without a GPU: NVIDIA's own parser and compiler on our networks, and what is said where it cannot run.

TensorRT for RTX builds engines on any machine; none can be run here. tests/test_gpu.py runs them where there is one.
"""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

import pytest

from models import registry
from models.engine import Unavailable
from models.errors import UserError
from models.nvidia import cuda_device, tensorrt_build, tensorrt_key
from models.nvidia.cuda_device import CudaError
from models.nvidia.tensorrt_build import Library, build_engine, find_or_build
from models.nvidia.tensorrt_key import BatchProfile
from models.nvidia.tensorrt_run import Execution
from models.runtime import load_engine
from models.zoo import SHIPPED, beside_weights

LANDMARKS = SHIPPED / "landmarks.onnx"


def has_gpu() -> bool:
    try:
        cuda_device.find_gpu()
    except Unavailable:
        return False
    return True


without_gpu = pytest.mark.skipif(has_gpu(), reason="there is a GPU here")


@pytest.fixture(scope="module")
def library() -> Library:
    """TensorRT for RTX, whose engines need a GPU only to run."""
    try:
        return tensorrt_build.load_library((tensorrt_build.PORTABLE,))
    except Unavailable as problem:
        pytest.skip(str(problem))


@pytest.fixture
def portable(library: Library, monkeypatch: pytest.MonkeyPatch) -> Library:
    """Makes it the TensorRT that is used, also where the other one is installed."""
    monkeypatch.setattr(tensorrt_build, "PACKAGES", (tensorrt_build.PORTABLE,))
    return library


WEIGHTS = {  # of a shipped graph that points into another file, by the first word of its name
    "generator": "synthesis-bin",
    "student": "synthesis-bin",
    "mapping": "mapping-bin",
    "encoder": "identity",
    "recogniser": "identity",
}


def shipped(graph: Path) -> Path:
    weights = WEIGHTS.get(graph.stem.split("-")[0])
    return graph if weights is None else beside_weights(graph, registry.path(weights))


@pytest.mark.parametrize("graph", sorted(SHIPPED.glob("*.onnx")), ids=lambda path: path.stem)
def test_nvidias_parser_reads_every_network_that_is_shipped(library: Library, graph: Path) -> None:
    trt: Any = library.module
    logger = tensorrt_build.make_logger(library)
    network = trt.Builder(logger).create_network(1 << int(trt.NetworkDefinitionCreationFlag.STRONGLY_TYPED))
    parser = trt.OnnxParser(network, logger)
    assert parser.parse_from_file(str(shipped(graph))), logger.problems
    assert network.num_layers > 5
    assert logger.problems == []


def test_an_engine_is_built_once_and_again_when_it_is_not_the_one_wanted(portable: Library, tmp_path: Path) -> None:
    profile = BatchProfile(1, 1, 3)
    engine, remark = find_or_build(LANDMARKS, tmp_path, precision="auto", batch=profile)
    assert remark == ""
    found = tensorrt_key.read(engine)
    assert found is not None
    assert (found.network, found.computes) == ("landmarks.onnx", "tf32")
    assert found.key.environment.tensorrt == portable.version
    assert engine.stat().st_size > 5_000_000

    first = engine.stat().st_mtime_ns
    assert find_or_build(LANDMARKS, tmp_path, precision="auto", batch=profile) == (engine, "")
    assert engine.stat().st_mtime_ns == first

    engine.write_bytes(engine.read_bytes()[:-1])
    again, remark = find_or_build(LANDMARKS, tmp_path, precision="auto", batch=profile)
    assert again == engine
    assert "is not the file" in remark and "\n" not in remark
    assert tensorrt_key.mismatch(engine, found.key) is None


def test_an_engine_of_its_own_name_is_built_for_whoever_exports_it(portable: Library, tmp_path: Path) -> None:
    engine = build_engine(LANDMARKS, tmp_path / "new", precision="float32", batch_profile=BatchProfile(2, 2, 2))
    assert engine == tmp_path / "new" / "landmarks.engine"
    found = tensorrt_key.read(engine)
    assert found is not None and found.computes == "float32"


@pytest.mark.slow
@pytest.mark.parametrize(("name", "computes"), [("generator-256", "tf32"), ("generator-int8-256", "int8 and tf32")])
def test_the_generator_is_built(portable: Library, tmp_path: Path, name: str, computes: str) -> None:
    engine = build_engine(shipped(SHIPPED / f"{name}.onnx"), tmp_path, name=name)
    found = tensorrt_key.read(engine)
    assert found is not None and found.computes == computes


def test_what_is_no_network_is_refused_in_one_line(portable: Library, tmp_path: Path) -> None:
    broken = tmp_path / "broken.onnx"
    broken.write_bytes(LANDMARKS.read_bytes()[:100_000])
    with pytest.raises(UserError, match=r"broken\.onnx is not an ONNX network"):
        build_engine(broken, tmp_path)
    with pytest.raises(Unavailable, match=r"broken\.onnx is not an ONNX network"):
        find_or_build(broken, tmp_path, precision="auto", batch=BatchProfile())


def test_a_network_that_nvidias_parser_refuses_is_refused_in_one_line(portable: Library, tmp_path: Path) -> None:
    odd = tmp_path / "odd.onnx"
    odd.write_bytes(LANDMARKS.read_bytes().replace(b"MatMul", b"MatMoo"))
    with pytest.raises(Unavailable, match=r"tensorrt_rtx [\d.]+ cannot read odd\.onnx") as refusal:
        build_engine(odd, tmp_path)
    assert "\n" not in str(refusal.value)
    assert not list(tmp_path.glob("*.engine"))


def test_a_precision_that_it_does_not_have_is_refused(library: Library) -> None:
    with pytest.raises(Unavailable, match="takes float16 from the network alone"):
        tensorrt_build.check_precision(library, "float16")
    with pytest.raises(Unavailable, match="not in bfloat16"):
        tensorrt_build.check_precision(library, "bfloat16")


@without_gpu
def test_an_engine_does_not_run_without_a_gpu_and_says_why(portable: Library, tmp_path: Path) -> None:
    engine = build_engine(LANDMARKS, tmp_path)
    with pytest.raises(Unavailable, match="cannot load the engine"):
        Execution(portable, engine.read_bytes(), 1)
    with pytest.raises(UserError, match=r"landmarks\.engine \(tensorrt: no NVIDIA GPU with a driver") as refusal:
        load_engine(engine, "tensorrt")
    assert "\n" not in str(refusal.value)


@without_gpu
def test_nothing_is_built_where_it_could_not_run(portable: Library, tmp_path: Path) -> None:
    with pytest.raises(UserError, match="no NVIDIA GPU"):
        load_engine(LANDMARKS, "tensorrt", cache=tmp_path)
    assert not list(tmp_path.iterdir())


@without_gpu
@pytest.mark.parametrize("engine", ["onnxruntime-tensorrt", "cuda"])
def test_engines_of_onnxruntime_that_are_not_here_are_refused_in_one_line(engine: str) -> None:
    with pytest.raises(UserError, match=f"no engine runs landmarks.onnx \\({engine}: ") as refusal:
        load_engine(LANDMARKS, engine)
    assert "\n" not in str(refusal.value)


def test_tensorrt_that_is_not_installed_is_said(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(Unavailable, match=r"^the package no_such_tensorrt is not installed$"):
        tensorrt_build.load_library(("no_such_tensorrt",))
    (tmp_path / "broken_tensorrt.py").write_text("raise OSError('libnvinfer.so.10: cannot open shared object file')")
    (tmp_path / "old_tensorrt.py").write_text("import no_such_library")
    monkeypatch.syspath_prepend(tmp_path)
    with pytest.raises(Unavailable, match=r"broken_tensorrt cannot be loaded \(libnvinfer.*; old_tensorrt cannot"):
        tensorrt_build.load_library(("broken_tensorrt", "old_tensorrt"))
    assert "old_tensorrt" not in sys.modules


def test_a_cuda_call_that_fails_says_which_error_it_is() -> None:
    try:
        runtime = cuda_device.load_runtime()
    except Unavailable as problem:
        pytest.skip(str(problem))
    failed = runtime.cudaError_t.cudaErrorMemoryAllocation
    with pytest.raises(CudaError, match=r"^CUDA error 2, cudaErrorMemoryAllocation$"):
        cuda_device.check((failed, None))
    fine = runtime.cudaError_t.cudaSuccess
    assert cuda_device.check((fine, 7)) == 7
    assert cuda_device.check((fine,)) is None
    for name in ("cudaMallocHost", "cudaGraphInstantiate", "cudaGraphLaunch", "cudaStreamNonBlocking"):
        assert hasattr(runtime, name)
