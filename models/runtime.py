"""Runs an exported network: one small interface, several engines behind it.

`auto` takes the first engine of the list that loads the network and runs it once; what it passed over and why is
in `Engine.notes` for the caller to show: a fall-back is never silent.
"""

from __future__ import annotations

import io
from collections.abc import Callable, Mapping
from contextlib import redirect_stdout
from pathlib import Path
from typing import Any

import numpy as np

from models.arrays import F32
from models.engine import Engine, Precision, Run, Unavailable
from models.errors import UserError
from models.nvidia import tensorrt_provider
from models.nvidia.tensorrt_run import open_tensorrt

__all__ = ["ENGINES", "Engine", "Precision", "Run", "Unavailable", "load_engine", "open_engine"]

TENSORRT, CUDA = "TensorrtExecutionProvider", "CUDAExecutionProvider"


def open_openvino(path: Path, *, precision: Precision, batch: int, threads: int, cache: Path | None) -> Engine:
    """OpenVINO on the CPU: the fastest on x86, in bfloat16 where the CPU computes in it."""
    try:
        import openvino as ov
    except ImportError as error:
        raise Unavailable(f"openvino is not installed ({error})") from error
    if precision == "float16":
        raise Unavailable("openvino runs these networks in float32, bfloat16 or int8 on a CPU, not in float16")
    core = ov.Core()
    computes_bfloat16 = "BF16" in core.get_property("CPU", "OPTIMIZATION_CAPABILITIES")
    if precision == "bfloat16" and not computes_bfloat16:
        raise Unavailable("this CPU does not compute in bfloat16")
    chosen = "float32" if precision == "float32" or not computes_bfloat16 else "bfloat16"
    label = f"int8 and {chosen}" if precision == "int8" else chosen
    options: dict[str, Any] = {
        "PERFORMANCE_HINT": "LATENCY",
        "INFERENCE_PRECISION_HINT": {"float32": "f32", "bfloat16": "bf16"}[chosen],
    }
    if threads:
        options["INFERENCE_NUM_THREADS"] = threads
    if cache is not None:
        options["CACHE_DIR"] = str(cache)
    model = core.read_model(path)
    shapes = {
        port.any_name: (batch, *(d.get_length() for d in list(port.partial_shape)[1:])) for port in model.inputs
    }
    model.reshape({name: list(shape) for name, shape in shapes.items()})
    request = core.compile_model(model, "CPU", options).create_infer_request()
    outputs = [port.any_name for port in model.outputs]

    def run(feeds: Mapping[str, F32]) -> dict[str, F32]:
        results = request.infer(dict(feeds), share_inputs=True, share_outputs=True)
        return {name: np.array(results[name]) for name in outputs}

    return Engine(f"openvino CPU {label}", shapes, run)


def _load_cuda_libraries(ort: Any) -> str:  # noqa: ANN401 - the module
    """Loads the libraries in the wheels that the gpu extra brings; says which is missing, "" if none is."""
    if not hasattr(ort, "preload_dlls"):
        return ""
    said = io.StringIO()
    with redirect_stdout(said):
        ort.preload_dlls()
    return said.getvalue().strip().partition("\n")[0]


def _onnxruntime(provider: str, label: str) -> Callable[..., Engine]:
    def open_onnxruntime(path: Path, *, precision: Precision, batch: int, threads: int, cache: Path | None) -> Engine:
        try:
            import onnxruntime as ort
            from onnxruntime.capi import onnxruntime_pybind11_state as states
        except ImportError as error:
            raise Unavailable(f"onnxruntime is not installed ({error})") from error
        if provider not in ort.get_available_providers():
            raise Unavailable(f"this onnxruntime has no {provider}")
        if precision in ("bfloat16", "int8") or (precision == "float16" and provider != TENSORRT):
            raise Unavailable("onnxruntime runs these networks in float32 only")
        options = ort.SessionOptions()
        options.log_severity_level = 3
        if threads:
            options.intra_op_num_threads = threads
        settings: dict[str, str] = {}
        remark = missing = ""
        if provider == TENSORRT:
            settings, remark = tensorrt_provider.prepare(
                path, precision=precision, batch=batch, cache=cache, onnxruntime=ort.__version__
            )
            options.add_session_config_entry("session.disable_cpu_ep_fallback", "1")
        if provider in (TENSORRT, CUDA):
            missing = _load_cuda_libraries(ort)
        # What onnxruntime raises when it cannot load: classes of their own that share no base but Exception.
        refusals = (states.Fail, states.InvalidArgument, states.InvalidGraph, states.InvalidProtobuf,
                    states.NoSuchFile, states.NotImplemented, states.RuntimeException, states.EPFail)  # fmt: skip
        try:
            # Without enable_fallback=0 a failing provider would be replaced by another in the middle of a run.
            session = ort.InferenceSession(path, options, providers=[(provider, settings)], enable_fallback=0)
        except refusals as error:
            raise Unavailable(f"cannot load it ({error})") from error
        if session.get_providers()[0] != provider:
            raise Unavailable(f"{provider} did not start; {missing or 'is its driver installed?'}")
        shapes = {port.name: (batch, *port.shape[1:]) for port in session.get_inputs()}
        outputs = [port.name for port in session.get_outputs()]

        def run(feeds: Mapping[str, F32]) -> dict[str, F32]:
            return dict(zip(outputs, session.run(outputs, dict(feeds)), strict=True))

        computes = "float32" if provider != TENSORRT else "float16" if precision == "float16" else "tf32"
        name = "onnxruntime-tensorrt GPU" if provider == TENSORRT else f"onnxruntime {label}"
        return Engine(f"{name} {computes}", shapes, run, remarks=(remark,) if remark else ())

    return open_onnxruntime


# Name on the command line -> how it is opened. The order is the order in which `auto` tries.
ENGINES: dict[str, Callable[..., Engine]] = {
    "tensorrt": open_tensorrt,
    "onnxruntime-tensorrt": _onnxruntime(TENSORRT, "TensorRT"),
    "cuda": _onnxruntime(CUDA, "CUDA"),
    "coreml": _onnxruntime("CoreMLExecutionProvider", "CoreML"),
    "directml": _onnxruntime("DmlExecutionProvider", "DirectML"),
    "openvino": open_openvino,
    "onnxruntime": _onnxruntime("CPUExecutionProvider", "CPU"),
}


def open_engine(
    path: Path,
    engine: str,
    precision: Precision = "auto",
    *,
    batch: int = 1,
    threads: int = 0,
    cache: Path | None = None,
) -> Engine:
    """Loads a network into one engine of `ENGINES` and runs it once; see `load_engine`.

    Raises:
        Unavailable: the engine does not run it here; the message says why, in a line.
    """
    try:
        loaded = ENGINES[engine](path, precision=precision, batch=batch, threads=threads, cache=cache)
        loaded({key: np.zeros(shape, np.float32) for key, shape in loaded.inputs.items()})
    except (Unavailable, RuntimeError) as error:  # OpenVINO reports a broken file as RuntimeError
        raise Unavailable(" ".join(str(error).split())[:200]) from error
    return loaded


def load_engine(
    path: Path,
    engine: str = "auto",
    precision: Precision = "auto",
    *,
    batch: int = 1,
    threads: int = 0,
    cache: Path | None = None,
    int8: Path | None = None,
) -> Engine:
    """Loads an ONNX network and runs it once.

    Args:
        path: the ``.onnx`` file; external data lies beside it. Of TensorRT also an ``.engine`` and its key.
        engine: a name in `ENGINES`, or "auto".
        precision: "auto" takes bfloat16 where the engine and the CPU compute in it, and TF32 on a GPU; "float16" is
            TensorRT's alone; "int8" is for a quantised graph, the rest of which runs as "auto" would.
        batch: the batch size it will be called with.
        threads: CPU threads; 0 = the engine's choice.
        cache: folder for compiled networks; None = compile each time.
        int8: the same network quantised; OpenVINO takes it where precision is "auto".

    Raises:
        UserError: the engine does not run here, or the file is not a network it can load.
    """
    if engine != "auto" and engine not in ENGINES:
        raise UserError(f"unknown engine '{engine}'; choose one of: auto, {', '.join(ENGINES)}")
    notes: list[str] = []
    for name in ENGINES if engine == "auto" else (engine,):
        quantised = int8 if name == "openvino" and precision == "auto" else None
        graph, chosen = (path, precision) if quantised is None else (quantised, "int8")
        try:
            loaded = open_engine(graph, name, chosen, batch=batch, threads=threads, cache=cache)
        except Unavailable as error:
            notes.append(f"{name}: {error}")
            continue
        return Engine(loaded.name, loaded.inputs, loaded.run, tuple(notes), loaded.remarks)
    raise UserError(f"no engine runs {path.name} ({'; '.join(notes)}); try --engine auto, or ./run.sh doctor")
