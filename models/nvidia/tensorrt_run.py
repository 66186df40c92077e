"""Runs networks in TensorRT itself: one block of buffers on each side, and one CUDA graph that is replayed.

A replay copies the inputs to the GPU, runs the network and copies the outputs back: one launch instead of one for
each layer. See "CUDA Graphs" in NVIDIA's TensorRT guide and cudaStreamBeginCapture in the CUDA runtime's.
"""

from __future__ import annotations

import ctypes
import tempfile
import threading
import weakref
from collections.abc import Mapping
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from models import onnx_graph
from models.arrays import F32
from models.engine import Engine, Precision, Unavailable
from models.errors import UserError
from models.nvidia import cuda_device, tensorrt_build, tensorrt_key
from models.nvidia.cuda_device import CudaError, check
from models.nvidia.tensorrt_buffers import BufferPlan, Tensor, plan_buffers
from models.nvidia.tensorrt_build import Library, explain
from models.nvidia.tensorrt_key import BatchProfile

FOLDER = "tensorrt"  # in the cache


def open_tensorrt(path: Path, *, precision: Precision, batch: int, threads: int, cache: Path | None) -> Engine:
    """An ``.onnx`` network, built if there is no engine of it for this machine, or an ``.engine`` with its key.

    Args:
        path: the network.
        precision: see models.nvidia.tensorrt_build.build_engine.
        batch: the batch size it will be called with.
        threads: of the CPU; none are used.
        cache: folder for engines; None = build each time.

    Raises:
        Unavailable: there is no TensorRT, no GPU, or the network does not run on them.
    """
    del threads
    library = tensorrt_build.load_library()
    cuda_device.find_gpu()  # before minutes are spent on an engine that cannot run
    tensorrt_build.check_precision(library, precision)
    with tempfile.TemporaryDirectory() as temporary:
        folder = Path(temporary) if cache is None else cache / FOLDER
        if path.suffix == tensorrt_key.SUFFIX:
            engine, remark = _find_exported(library, path, folder, precision, batch)
        else:
            profile = BatchProfile(batch, batch, batch)
            engine, remark = tensorrt_build.find_or_build(path, folder, precision=precision, batch=profile)
        plan, found = engine.read_bytes(), tensorrt_key.read(engine)
    execution = Execution(library, plan, batch)
    remarks = tuple(remark for remark in (remark, execution.remark) if remark)
    device = "RTX GPU" if library.name == tensorrt_build.PORTABLE else "GPU"
    computes = "" if found is None else f" {found.computes}"
    return Engine(f"tensorrt {device}{computes}", execution.plan.inputs, execution.run, remarks=remarks)


def _find_exported(library: Library, path: Path, folder: Path, precision: Precision, batch: int) -> tuple[Path, str]:
    """An exported engine; where it is for another machine, one built from the ONNX network beside it."""
    found = tensorrt_key.read(path)
    if found is None:
        raise Unavailable(f"{tensorrt_key.key_path(path).name} is missing or cannot be read; export the engine again")
    profile = found.key.batch
    if not profile.least <= batch <= profile.most:
        raise Unavailable(f"{path.name} takes {profile.least} to {profile.most} at once, not {batch}")
    if precision not in ("auto", found.key.precision):
        raise Unavailable(f"{path.name} was built in {found.key.precision}, not in {precision}")
    wanted = tensorrt_key.EngineKey(
        tensorrt_build.describe_environment(library), found.key.model, found.key.precision, profile, found.key.level
    )
    problem = tensorrt_key.mismatch(path, wanted)
    if problem is None:
        return path, ""
    onnx = path.with_name(found.network)
    try:
        same = onnx_graph.read(onnx).sha256() == found.key.model
    except UserError as error:
        raise Unavailable(f"{path.name} cannot be used, {problem}, nor {onnx.name} ({error})") from error
    if not same:
        raise Unavailable(f"{path.name} cannot be used, {problem}; {onnx.name} is not what it was built from")
    engine, _ = tensorrt_build.find_or_build(onnx, folder, precision=found.key.precision, batch=profile)
    return engine, f"{path.name} cannot be used, {problem}: an engine was built from {onnx.name}"


class Execution:
    """An engine, ready to run at one batch size.

    Attributes:
        plan: where inputs and outputs lie in the blocks of memory.
        remark: why there is no CUDA graph; "" = there is one.
    """

    def __init__(self, library: Library, engine: bytes, batch: int) -> None:
        self._cuda = cuda_device.load_runtime()
        logger = tensorrt_build.make_logger(library)
        self._runtime = library.module.Runtime(logger)  # must outlive the engine, as that its context
        self._engine = self._runtime.deserialize_cuda_engine(engine)
        if self._engine is None:
            raise Unavailable(f"{library.version} cannot load the engine: {explain(logger.problems)}")
        self._context = self._engine.create_execution_context()
        if self._context is None:
            raise Unavailable(f"{library.version} cannot make room for the engine: {explain(logger.problems)}")
        self.plan = _plan(library.module, self._engine, self._context, batch)
        self._problems: list[str] = logger.problems
        self._lock = threading.Lock()
        self._memory = _Memory(self._cuda, self.plan)
        for slot in self.plan.slots:
            self._context.set_tensor_address(slot.tensor.name, self._memory.device + slot.offset)
        self._enqueue()  # TensorRT allocates on its first run, which a capture would not bear
        check(self._cuda.cudaStreamSynchronize(self._memory.stream))
        self._graph: Any = None  # cudaGraphExec_t
        self.remark = ""
        try:
            self._graph = self._capture()
        except CudaError as error:
            self._cuda.cudaGetLastError()  # forgets it
            self.remark = f"runs without a CUDA graph, launching layer by layer: {error}"

    def run(self, feeds: Mapping[str, F32]) -> dict[str, F32]:
        """Runs the network once.

        Raises:
            CudaError: the GPU failed.
            ValueError: an array has another shape than the engine was loaded for.
        """
        with self._lock:
            for slot in self.plan.slots:
                if slot.tensor.is_input:
                    given = feeds[slot.tensor.name]
                    if given.shape != slot.tensor.shape:  # copyto would stretch it
                        raise ValueError(f"{slot.tensor.name} has shape {given.shape}, expected {slot.tensor.shape}")
                    np.copyto(self._memory.views[slot.tensor.name], given, casting="same_kind")
            if self._graph is None:
                self._enqueue()
            else:
                check(self._cuda.cudaGraphLaunch(self._graph, self._memory.stream))
            check(self._cuda.cudaStreamSynchronize(self._memory.stream))
            outputs = (slot.tensor.name for slot in self.plan.slots if not slot.tensor.is_input)
            return {name: np.array(self._memory.views[name], np.float32) for name in outputs}

    def _enqueue(self) -> None:
        """Copy there, run, copy back; asynchronous."""
        cuda, memory, plan = self._cuda, self._memory, self.plan
        there, back = cuda.cudaMemcpyKind.cudaMemcpyHostToDevice, cuda.cudaMemcpyKind.cudaMemcpyDeviceToHost
        check(cuda.cudaMemcpyAsync(memory.device, memory.host, plan.inputs_end, there, memory.stream))
        if not self._context.execute_async_v3(int(memory.stream)):
            raise CudaError(f"TensorRT cannot run the engine: {explain(self._problems)}")
        start = plan.outputs_start
        check(
            cuda.cudaMemcpyAsync(memory.host + start, memory.device + start, plan.size - start, back, memory.stream)
        )

    def _capture(self) -> Any:  # noqa: ANN401 - cudaGraphExec_t
        cuda, stream = self._cuda, self._memory.stream
        check(cuda.cudaStreamBeginCapture(stream, cuda.cudaStreamCaptureMode.cudaStreamCaptureModeThreadLocal))
        try:
            self._enqueue()
        finally:
            ended = cuda.cudaStreamEndCapture(stream)  # always, or the stream stays in this mode
        graph = check(ended)
        try:
            executable = check(cuda.cudaGraphInstantiate(graph, 0))
        finally:
            check(cuda.cudaGraphDestroy(graph))
        self._memory.kept.callback(cuda.cudaGraphExecDestroy, executable)
        return executable


class _Memory:
    """Two blocks of memory of one plan and a stream; freed with the last reference, and what is added to `kept` too.

    Attributes:
        device: address on the GPU.
        host: address in page-locked memory, without which copies do not run by themselves.
        stream: cudaStream_t.
        views: the host's block, an array for each tensor.
        kept: what is undone at the end, the last first.
    """

    def __init__(self, cuda: Any, plan: BufferPlan) -> None:  # noqa: ANN401 - the module
        self.kept = ExitStack()
        weakref.finalize(self, self.kept.close)
        self.device = int(check(cuda.cudaMalloc(plan.size)))
        self.kept.callback(cuda.cudaFree, self.device)
        self.host = int(check(cuda.cudaMallocHost(plan.size)))
        self.kept.callback(cuda.cudaFreeHost, self.host)
        self.stream = check(cuda.cudaStreamCreateWithFlags(cuda.cudaStreamNonBlocking))
        self.kept.callback(cuda.cudaStreamDestroy, self.stream)
        block = np.ctypeslib.as_array((ctypes.c_uint8 * plan.size).from_address(self.host))
        block[:] = 0
        self.views: dict[str, NDArray[Any]] = {
            tensor.name: block[offset : offset + tensor.size].view(tensor.dtype).reshape(tensor.shape)
            for tensor, offset in ((slot.tensor, slot.offset) for slot in plan.slots)
        }


def _plan(trt: Any, engine: Any, context: Any, batch: int) -> BufferPlan:  # noqa: ANN401 - TensorRT's
    names = [engine.get_tensor_name(i) for i in range(engine.num_io_tensors)]
    inputs = {name for name in names if engine.get_tensor_mode(name) == trt.TensorIOMode.INPUT}
    for name in inputs:
        free, *others = engine.get_tensor_shape(name)
        if free not in (-1, batch):
            raise Unavailable(f"the engine takes {free} at once, not {batch}")
        if not context.set_input_shape(name, (batch, *others)):
            raise Unavailable(f"the engine does not take {name} of shape {(batch, *others)}")
    try:
        types = {name: np.dtype(trt.nptype(engine.get_tensor_dtype(name))) for name in names}
        return plan_buffers(
            [Tensor(name, name in inputs, tuple(context.get_tensor_shape(name)), types[name]) for name in names]
        )
    except (ValueError, TypeError) as error:  # TypeError: NumPy has no such type, bfloat16 for one
        raise Unavailable(f"the engine's inputs and outputs cannot be laid out ({error})") from error
