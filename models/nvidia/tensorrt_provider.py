"""The settings of ONNX Runtime's TensorRT provider: where its engines lie, what they are good for, which shapes.

The provider names an engine by the graph and the GPU's generation alone. So each network, precision and batch size
has a folder of its own here with a key in it, and what lies in a folder whose key is not today's is thrown away.
"""

from __future__ import annotations

import json
import logging
import shutil
from dataclasses import asdict
from pathlib import Path

from models import files, onnx_graph
from models.engine import Precision, Unavailable
from models.errors import UserError
from models.nvidia import tensorrt_build, tensorrt_key
from models.nvidia.tensorrt_key import BatchProfile, EngineKey
from models.onnx_graph import OnnxGraph

FOLDER = "onnxruntime-tensorrt"  # in the cache
KEY = "key.json"
LEVEL = 3  # TensorRT's own default

_log = logging.getLogger(__name__)


def prepare(
    path: Path, *, precision: Precision, batch: int, cache: Path | None, onnxruntime: str
) -> tuple[dict[str, str], str]:
    """The provider's settings for a network, and the folders they name.

    Args:
        path: the ONNX network.
        precision: "auto" and "float16" as in models.nvidia.tensorrt_build.build_engine; the provider leaves TF32 on.
        batch: the batch size it will be called with.
        cache: folder for engines; None = keep none.
        onnxruntime: its version.

    Returns:
        The settings, and why engines that were there could not be taken; "" if there was nothing to say.

    Raises:
        Unavailable: there is no TensorRT, no GPU, or the precision cannot be had.
    """
    library = tensorrt_build.load_library(("tensorrt",))  # loads the libraries that the provider needs, too
    tensorrt_build.check_precision(library, precision)
    if precision == "float32":
        raise Unavailable("onnxruntime's TensorRT provider computes in TF32; take the engine tensorrt for float32")
    here = tensorrt_build.describe_environment(library)
    environment = tensorrt_key.Environment(**{**asdict(here), "onnxruntime": onnxruntime})
    try:
        graph = onnx_graph.read(path)
        profile = BatchProfile(batch, batch, batch)
        chosen = settings(graph, precision=precision, profile=profile)
        if cache is None:
            return chosen, ""
        key = EngineKey(environment, graph.sha256(), precision, profile, LEVEL)
    except UserError as error:
        raise Unavailable(str(error)) from error
    folder = cache / FOLDER / key.name(path.stem)
    timing = cache / FOLDER / f"timing-{environment.digest()}"
    problem = claim(folder, key)
    timing.mkdir(parents=True, exist_ok=True)
    if problem is not None:
        _log.warning("TensorRT builds %s for %s; this can take minutes, once", path.name, environment.gpu)
    note = f"{path.stem}: the engine was built again: {problem}" if problem else ""
    return {**chosen, **cache_settings(folder, timing)}, note


def settings(graph: OnnxGraph, *, precision: Precision, profile: BatchProfile) -> dict[str, str]:
    """The settings that say how to build; see onnxruntime.ai, TensorRT Execution Provider.

    Raises:
        Unavailable: an input has another free size than the batch.
    """
    try:
        shapes = profile.shapes(graph.inputs)
    except ValueError as error:
        raise Unavailable(str(error)) from error
    chosen = {
        "trt_fp16_enable": "1" if precision == "float16" else "0",
        "trt_builder_optimization_level": str(LEVEL),
    }
    for i, which in enumerate(("min", "opt", "max")):
        if shapes:  # all of the free inputs must be there, and none of the others
            sizes = {name: "x".join(map(str, three[i])) for name, three in shapes.items()}
            chosen[f"trt_profile_{which}_shapes"] = ",".join(f"{name}:{size}" for name, size in sizes.items())
    return chosen


def cache_settings(folder: Path, timing: Path) -> dict[str, str]:
    """The settings that say where engines and the timing cache lie."""
    return {
        "trt_engine_cache_enable": "1",
        "trt_engine_cache_path": str(folder),
        "trt_timing_cache_enable": "1",
        "trt_timing_cache_path": str(timing),
    }


def claim(folder: Path, key: EngineKey) -> str | None:
    """Makes sure that a folder holds engines of `key` alone, or none.

    Returns:
        None if it holds such engines already; why those that were there had to go; "" if there were none.
    """
    file = folder / KEY
    try:
        found = file.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError):
        found = None
    text = json.dumps(asdict(key), indent=1) + "\n"
    engines = sorted(folder.glob(f"*{tensorrt_key.SUFFIX}"))
    if found == text and engines:
        return None
    problem = ""
    if engines:
        other = None if found is None else tensorrt_key.parse(found)
        problem = f"{KEY} is missing or cannot be read" if other is None else f"it was for {key.differences(other)}"
        _log.warning("%s is emptied: %s", folder, problem)
    shutil.rmtree(folder, ignore_errors=True)
    files.replace(file, text.encode())
    return problem
