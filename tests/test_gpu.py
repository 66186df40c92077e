"""What needs an NVIDIA GPU: engines are built, run, kept, and agree with the CPU's. ``tests/gpu.sh`` runs these."""

from __future__ import annotations

import threading
from dataclasses import asdict, replace
from pathlib import Path

import numpy as np
import pytest

from models import onnx_graph, registry
from models.arrays import F32
from models.engine import Engine, Precision, Unavailable
from models.nvidia import cuda_device, tensorrt_build, tensorrt_key
from models.nvidia.tensorrt_key import BatchProfile
from models.nvidia.tensorrt_run import FOLDER
from models.runtime import load_engine
from models.zoo import SHIPPED, beside_weights

pytestmark = pytest.mark.gpu

LANDMARKS = SHIPPED / "landmarks.onnx"
PEAK = 2.0  # of a picture in [-1, 1]


@pytest.fixture(scope="module", autouse=True)
def gpu() -> cuda_device.Gpu:
    """The GPU; without one there is nothing to test."""
    try:
        return cuda_device.find_gpu()
    except Unavailable as problem:
        pytest.skip(str(problem))


@pytest.fixture(scope="module")
def cache(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder of engines for all tests of this file."""
    return tmp_path_factory.mktemp("engines")


def generator(name: str) -> Path:
    return beside_weights(SHIPPED / f"{name}.onnx", registry.path("synthesis-bin"))


def latents(batch: int) -> F32:
    """W+ [batch, 18, 512] near the mean."""
    w = np.load(SHIPPED / "mean_w.npy") + 0.5 * np.load(SHIPPED / "std_w.npy") * np.random.default_rng(
        batch
    ).standard_normal((batch, 1, 512))
    return np.repeat(w, 18, axis=1).astype(np.float32)


def on_cpu(path: Path, w_plus: F32, output: str) -> F32:
    engine = load_engine(path, "onnxruntime")
    return np.concatenate([engine({"w_plus": row[None]})[output] for row in w_plus])


def psnr(found: F32, expected: F32) -> float:
    return float(10 * np.log10(PEAK**2 / np.mean((found - expected) ** 2)))


@pytest.mark.parametrize("batch", [1, 3])
@pytest.mark.parametrize(("precision", "tolerance"), [("float32", 1e-4), ("auto", 1e-2)])
def test_tensorrt_agrees_with_the_cpu(cache: Path, batch: int, precision: Precision, tolerance: float) -> None:
    engine = load_engine(LANDMARKS, "tensorrt", precision, batch=batch, cache=cache)
    w_plus = latents(batch)
    np.testing.assert_allclose(
        engine({"w_plus": w_plus})["landmarks"], on_cpu(LANDMARKS, w_plus, "landmarks"), atol=tolerance
    )


@pytest.mark.parametrize("engine", ["tensorrt", "onnxruntime-tensorrt", "cuda"])
@pytest.mark.parametrize("size", [256, 1024])
def test_pictures_are_those_of_the_cpu(cache: Path, engine: str, size: int) -> None:
    path = generator(f"generator-{size}")
    precision: Precision = "float32" if engine == "cuda" else "auto"
    found = load_engine(path, engine, precision, cache=cache)({"w_plus": latents(1)})["image"]
    assert found.shape == (1, 3, size, size)
    assert psnr(found, on_cpu(path, latents(1), "image")) > 45


def test_int8_pictures_are_near(cache: Path) -> None:
    found = load_engine(generator("generator-int8-256"), "tensorrt", "int8", cache=cache)
    assert "int8" in found.name
    exact = on_cpu(generator("generator-256"), latents(1), "image")
    assert psnr(found({"w_plus": latents(1)})["image"], exact) > 35


def test_it_replays_one_graph_and_results_are_the_callers_own(cache: Path) -> None:
    engine = load_engine(LANDMARKS, "tensorrt", cache=cache)
    assert not any("without a CUDA graph" in remark for remark in engine.remarks)
    first, other = latents(1), latents(2)[:1]
    kept = engine({"w_plus": first})["landmarks"]
    copy = kept.copy()
    assert np.abs(engine({"w_plus": other})["landmarks"] - copy).max() > 1e-3
    np.testing.assert_array_equal(kept, copy)
    np.testing.assert_array_equal(engine({"w_plus": first})["landmarks"], copy)


def test_another_shape_is_refused(cache: Path) -> None:
    engine = load_engine(LANDMARKS, "tensorrt", cache=cache)
    with pytest.raises(ValueError, match=r"w_plus has shape \(1, 1, 512\), expected \(1, 18, 512\)"):
        engine({"w_plus": latents(1)[:, :1]})


def test_an_engine_is_built_once_and_again_for_another_machine(cache: Path) -> None:
    assert load_engine(LANDMARKS, "tensorrt", cache=cache).remarks == ()
    library = tensorrt_build.load_library()
    environment = tensorrt_build.describe_environment(library)
    model = onnx_graph.read(LANDMARKS).sha256()
    key = tensorrt_key.EngineKey(environment, model, "auto", BatchProfile(), tensorrt_build.LEVEL)
    path = cache / FOLDER / f"{key.name('landmarks')}.engine"
    built = path.stat().st_mtime_ns
    assert load_engine(LANDMARKS, "tensorrt", cache=cache).remarks == ()
    assert path.stat().st_mtime_ns == built
    found = tensorrt_key.read(path)
    assert found is not None
    elsewhere = replace(key, environment=replace(environment, driver="1.0, CUDA 1.0"))
    tensorrt_key.write(path, replace(found, key=elsewhere))
    remarks = load_engine(LANDMARKS, "tensorrt", cache=cache).remarks
    assert len(remarks) == 1 and "driver 1.0" in remarks[0]
    assert path.stat().st_mtime_ns != built


def test_an_exported_engine_runs_and_one_from_elsewhere_is_built_from_its_network(tmp_path: Path) -> None:
    onnx = tmp_path / "landmarks.onnx"
    onnx.write_bytes(LANDMARKS.read_bytes())
    path = tensorrt_build.build_engine(onnx, tmp_path, batch_profile=BatchProfile(1, 1, 4))
    for batch in (1, 4):
        engine = load_engine(path, "tensorrt", batch=batch, cache=tmp_path)
        assert engine.remarks == ()
        assert engine({"w_plus": latents(batch)})["landmarks"].shape == (batch, 478, 2)
    path.write_bytes(b"an engine of somewhere else")
    engine = load_engine(path, "tensorrt", cache=tmp_path)
    assert "is not the file" in engine.remarks[0]
    assert path.read_bytes() == b"an engine of somewhere else"


def test_the_provider_keeps_its_engine_while_the_key_is_the_same(cache: Path) -> None:
    first = load_engine(LANDMARKS, "onnxruntime-tensorrt", cache=cache)
    assert first.remarks == ()
    folder = cache / "onnxruntime-tensorrt"
    engines = {path: path.stat().st_mtime_ns for path in folder.rglob("*.engine")}
    assert engines
    np.testing.assert_allclose(
        first({"w_plus": latents(1)})["landmarks"], on_cpu(LANDMARKS, latents(1), "landmarks"), atol=1e-2
    )
    assert load_engine(LANDMARKS, "onnxruntime-tensorrt", cache=cache).remarks == ()
    assert {path: path.stat().st_mtime_ns for path in folder.rglob("*.engine")} == engines
    assert list(folder.glob("timing-*/*"))


def test_two_threads_may_share_an_engine(cache: Path) -> None:
    engine = load_engine(LANDMARKS, "tensorrt", cache=cache)
    inputs = [latents(n)[:1] for n in (1, 2)]
    expected = [engine({"w_plus": w_plus})["landmarks"] for w_plus in inputs]
    wrong: list[int] = []

    def repeat(which: int) -> None:
        for _ in range(200):
            if not np.array_equal(engine({"w_plus": inputs[which]})["landmarks"], expected[which]):
                wrong.append(which)

    threads = [threading.Thread(target=repeat, args=(which,)) for which in (0, 1)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert wrong == []


def test_memory_is_given_back(cache: Path) -> None:
    runtime = cuda_device.load_runtime()

    def free() -> int:
        return int(cuda_device.check(runtime.cudaMemGetInfo())[0])

    def load() -> Engine:
        return load_engine(generator("generator-256"), "tensorrt", cache=cache)

    load()
    before = free()
    for _ in range(5):
        load()
    assert before - free() < 64 << 20


def test_the_key_names_this_machine(gpu: cuda_device.Gpu) -> None:
    found = asdict(tensorrt_build.describe_environment(tensorrt_build.load_library()))
    if found["gpu"] != tensorrt_build.ANY_GPU:
        assert found["gpu"] == gpu.name
        assert all(found[name] for name in ("compute_capability", "driver", "cuda", "tensorrt"))
