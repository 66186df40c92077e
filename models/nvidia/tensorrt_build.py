"""Builds TensorRT engines: ONNX in, one ``.engine`` out with its key beside it.

Networks are strongly typed: the engine computes in the types that the ONNX file says, which is the only way from
TensorRT 11 on. Where two packages are installed TensorRT is taken before TensorRT for RTX, which has the same
interface, whose engines run on any RTX GPU, and which builds them without one.
"""

from __future__ import annotations

import importlib
import logging
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from models import files, onnx_graph
from models.engine import Precision, Unavailable
from models.errors import UserError
from models.nvidia import cuda_device, tensorrt_key
from models.nvidia.tensorrt_key import BatchProfile, EngineKey, Environment, KeyFile

PACKAGES = ("tensorrt", "tensorrt_rtx")
PORTABLE = "tensorrt_rtx"  # its engines run on any GPU that it knows
LEVEL = 3  # TensorRT's own default
ANY_GPU, ANY = "any RTX GPU", "any"

_log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Library:
    """TensorRT as installed.

    Attributes:
        module: the Python module.
        name: of the package, one of `PACKAGES`.
    """

    module: Any
    name: str

    @property
    def version(self) -> str:
        """Package and version."""
        return f"{self.name} {self.module.__version__}"


def load_library(packages: tuple[str, ...] = PACKAGES) -> Library:
    """The first TensorRT that is installed.

    Raises:
        Unavailable: none is, or its libraries cannot be loaded.
    """
    problems = []
    for name in packages:
        try:
            return Library(importlib.import_module(name), name)
        except (ImportError, OSError) as error:  # OSError: a shared library is missing or of another version
            if not (isinstance(error, ModuleNotFoundError) and error.name == name):
                problems.append(f"{name} cannot be loaded ({error})")
    raise Unavailable("; ".join(problems) or f"the package {packages[0]} is not installed")


def describe_environment(library: Library) -> Environment:
    """What an engine of this library depends on, here.

    Raises:
        Unavailable: it depends on a GPU and there is none.
    """
    if library.name == PORTABLE:
        return Environment(ANY_GPU, ANY, ANY, ANY, library.version)
    gpu = cuda_device.find_gpu()
    return Environment(gpu.name, gpu.compute_capability, gpu.driver, gpu.cuda, library.version)


def check_precision(library: Library, precision: Precision) -> None:
    """Makes sure that a precision can be asked of this TensorRT.

    Raises:
        Unavailable: it cannot.
    """
    if precision == "bfloat16":
        raise Unavailable("TensorRT runs these networks in float32, float16 or int8, not in bfloat16")
    if precision == "float16" and not hasattr(library.module.BuilderFlag, "FP16"):
        raise Unavailable(
            f"{library.version} takes float16 from the network alone; export it so, with python -m export onnx"
        )


def build_engine(
    onnx: Path,
    folder: Path,
    *,
    precision: Precision = "auto",
    batch_profile: BatchProfile = BatchProfile(),  # noqa: B008 - frozen
    level: int = LEVEL,
    name: str | None = None,
) -> Path:
    """Builds the engine of an ONNX network, with what earlier builds here have learned of the GPU's speed.

    Args:
        onnx: the network; external data lies beside it.
        folder: where the engine, its key and the timing cache go; made if missing.
        precision: "auto" computes as the network says, float32 convolutions in TF32; "float32" leaves TF32 out;
            "float16" lets TensorRT 10 choose float16 layer by layer; "int8" is "auto" for a quantised network.
        batch_profile: batch sizes, where the network's is free.
        level: how long the builder searches, 0 to 5.
        name: of the engine, without suffix; None = the network's.

    Returns:
        The ``.engine`` file; its key is `models.nvidia.tensorrt_key.key_path` of it.

    Raises:
        Unavailable: TensorRT is not installed, has no GPU, or cannot build the network; the message says which.
        UserError: `onnx` is not a network.
    """
    library = load_library()
    check_precision(library, precision)
    environment = describe_environment(library)
    graph = onnx_graph.read(onnx)
    key = EngineKey(environment, graph.sha256(), precision, batch_profile, level)
    engine = folder / f"{onnx.stem if name is None else name}{tensorrt_key.SUFFIX}"
    _log.warning("building %s for %s; this can take minutes, once", engine.name, environment.gpu)
    start = time.monotonic()
    plan, computes = _compile(library, graph, key, folder / f"timing-{environment.digest()}.cache")
    files.replace(engine, plan)
    tensorrt_key.write(engine, KeyFile(key, files.sha256(engine), onnx.name, computes))
    _log.warning("built %s in %.0f s", engine.name, time.monotonic() - start)
    return engine


def find_or_build(onnx: Path, folder: Path, *, precision: Precision, batch: BatchProfile) -> tuple[Path, str]:
    """The engine of a network in a folder of engines, built if there is none for this machine.

    Returns:
        The engine, and why one that was there could not be taken; "" if there was nothing to say.

    Raises:
        Unavailable: as `build_engine`.
    """
    library = load_library()
    check_precision(library, precision)
    environment = describe_environment(library)
    try:
        wanted = EngineKey(environment, onnx_graph.read(onnx).sha256(), precision, batch, LEVEL)
        engine = folder / f"{wanted.name(onnx.stem)}{tensorrt_key.SUFFIX}"
        problem = tensorrt_key.mismatch(engine, wanted)
        if problem is None:
            return engine, ""
        if problem:
            _log.warning("%s is built again: %s", engine.name, problem)
        build_engine(onnx, folder, precision=precision, batch_profile=batch, name=engine.stem)
    except UserError as error:
        raise Unavailable(str(error)) from error
    return engine, f"{onnx.stem}: the engine was built again: {problem}" if problem else ""


def make_logger(library: Library) -> Any:  # noqa: ANN401 - of a class that is made here
    """A TensorRT logger that keeps what went wrong in `problems` and prints nothing."""
    severity = library.module.ILogger.Severity

    class Logger(library.module.ILogger):  # type: ignore[misc, name-defined]  # the module is known at run time only
        def __init__(self) -> None:
            library.module.ILogger.__init__(self)
            self.problems: list[str] = []

        def log(self, level: Any, message: str) -> None:  # noqa: ANN401 - TensorRT's type
            if level in (severity.ERROR, severity.INTERNAL_ERROR):
                self.problems.append(message)

    return Logger()


def explain(problems: list[str]) -> str:
    """What TensorRT's logger heard, in a line."""
    return " ".join((problems or ["it does not say why"])[0].split())[:200]


def _compile(library: Library, graph: onnx_graph.OnnxGraph, key: EngineKey, timing: Path) -> tuple[memoryview, str]:
    """The engine's bytes, and what its layers compute in."""
    trt = library.module
    logger = make_logger(library)
    builder = trt.Builder(logger)
    network = builder.create_network(_network_flags(trt, key.precision))
    parser = trt.OnnxParser(network, logger)
    if not parser.parse_from_file(str(graph.path)):
        problems = [parser.get_error(i).desc() for i in range(parser.num_errors)]
        raise Unavailable(f"{library.version} cannot read {graph.path.name}: {explain(problems)}")
    config = builder.create_builder_config()
    config.builder_optimization_level = key.level
    if key.precision == "float32":
        config.clear_flag(trt.BuilderFlag.TF32)
    if key.precision == "float16":
        config.set_flag(trt.BuilderFlag.FP16)
    _add_profile(builder, config, network, key.batch)
    cache = None if library.name == PORTABLE else _attach_timing_cache(config, timing)  # which times nothing
    computes = _computes(trt, network, key.precision)
    plan = builder.build_serialized_network(network, config)
    if plan is None:
        raise Unavailable(f"{library.version} cannot build {graph.path.name}: {explain(logger.problems)}")
    if cache is not None:
        files.replace(timing, memoryview(cache.serialize()))
    return memoryview(plan), computes


def _network_flags(trt: Any, precision: Precision) -> int:  # noqa: ANN401 - the module
    """Strongly typed; only a network that is not lets TensorRT 10 choose float16 by itself."""
    return 0 if precision == "float16" else 1 << int(trt.NetworkDefinitionCreationFlag.STRONGLY_TYPED)


def _add_profile(builder: Any, config: Any, network: Any, batch: BatchProfile) -> None:  # noqa: ANN401 - TensorRT's
    free: dict[str, tuple[int | str, ...]] = {}
    for i in range(network.num_inputs):
        port = network.get_input(i)
        free[port.name] = tuple("N" if size < 0 else int(size) for size in port.shape)
    try:
        shapes = batch.shapes(free)
    except ValueError as error:
        raise Unavailable(str(error)) from error
    if shapes:
        profile = builder.create_optimization_profile()
        for name, sizes in shapes.items():
            profile.set_shape(name, *sizes)
        config.add_optimization_profile(profile)


def _attach_timing_cache(config: Any, path: Path) -> Any:  # noqa: ANN401 - TensorRT's
    """The cache, filled with what `path` holds; empty where TensorRT refuses that. None: it refuses any."""
    known = path.read_bytes() if path.is_file() else b""
    for content in (known, b""):
        cache = config.create_timing_cache(content)
        if cache is not None and config.set_timing_cache(cache, False):
            return cache
    return None


def _computes(trt: Any, network: Any, precision: Precision) -> str:  # noqa: ANN401 - TensorRT's
    """What the convolutions and products of a network compute in, in words."""
    if precision == "float16":
        return "float16"
    exact = "float32" if precision == "float32" else "tf32"
    names = {trt.DataType.HALF: "float16", trt.DataType.BF16: "bfloat16", trt.DataType.FLOAT: exact}
    found = set()
    for i in range(network.num_layers):
        layer = network.get_layer(i)
        if layer.type in (trt.LayerType.CONVOLUTION, trt.LayerType.MATRIX_MULTIPLY):
            found.add(names.get(layer.get_output(0).dtype, "other types"))
        elif layer.type == trt.LayerType.QUANTIZE:
            found.add("int8")
    return " and ".join(sorted(found)) or exact
