"""How many multiplications a network takes, and how fast this machine multiplies float32 matrices.

The time that the one would take at the speed of the other is the yardstick for an engine: it leaves the machine out.
"""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np

SIDE = 1024  # of the matrices: large enough for full speed, small enough for a few milliseconds
_TRIALS = 5


class MatrixProduct:
    """The product of two float32 matrices [SIDE, SIDE], by whichever library is faster here.

    Attributes:
        name: of the library.
    """

    flops = 2 * SIDE**3

    def __init__(self, threads: int = 0) -> None:
        left, right = np.random.default_rng(0).standard_normal((2, SIDE, SIDE)).astype(np.float32)
        out = np.empty_like(left)
        runs: dict[str, Callable[[], object]] = {"openvino": _openvino_product(left, right, threads)}
        if not threads:  # NumPy's threads are set before it is loaded
            runs["numpy"] = lambda: np.matmul(left, right, out=out)
        self.name, self.run = min(runs.items(), key=lambda item: min(_times(item[1])))


def count_multiplications(path: Path, shapes: Mapping[str, tuple[int, ...]]) -> int:
    """Multiplications of the convolutions and matrix products in a network, for inputs of these shapes.

    Args:
        path: an ONNX network or an OpenVINO IR.
        shapes: by name of the input.

    Raises:
        RuntimeError: OpenVINO cannot read it.
    """
    import openvino as ov

    model = ov.Core().read_model(path)
    model.reshape({name: list(shape) for name, shape in shapes.items()})
    return sum(_multiplications(operation) for operation in model.get_ordered_ops())


def _multiplications(operation: Any) -> int:  # noqa: ANN401 - OpenVINO's type
    """Of one operation; see docs.openvino.ai, operation specifications, for where the sizes stand."""
    kind = operation.get_type_name()
    if kind == "MatMul":
        shared = operation.input_value(0).shape[-2 if operation.get_attributes()["transpose_a"] else -1]
        return int(math.prod(operation.output(0).shape) * shared)
    if kind not in ("Convolution", "GroupConvolution", "ConvolutionBackpropData", "GroupConvolutionBackpropData"):
        return 0
    weights = operation.input_value(1).shape
    if kind.endswith("BackpropData"):  # every input value meets the weights of its channel
        per_value = math.prod(weights[2:] if kind.startswith("Group") else weights[1:])
        return int(math.prod(operation.input_value(0).shape) * per_value)
    # Every output value is a sum over the weights of its channel.
    return int(
        math.prod(operation.output(0).shape) * math.prod(weights[2:] if kind.startswith("Group") else weights[1:])
    )


def _openvino_product(left: Any, right: Any, threads: int) -> Callable[[], object]:  # noqa: ANN401 - arrays
    import openvino as ov
    from openvino import opset13 as ops

    given = ops.parameter(list(left.shape), np.float32)
    model = ov.Model([ops.matmul(given, ops.constant(right), False, False)], [given])
    options: dict[str, Any] = {"INFERENCE_PRECISION_HINT": "f32", "PERFORMANCE_HINT": "LATENCY"}
    if threads:
        options["INFERENCE_NUM_THREADS"] = threads
    request = ov.Core().compile_model(model, "CPU", options).create_infer_request()
    return lambda: request.infer([left], share_inputs=True, share_outputs=True)


def _times(run: Callable[[], object]) -> list[float]:
    """Seconds of some runs, without the first."""
    found = []
    for _ in range(_TRIALS + 1):
        start = time.perf_counter()
        run()
        found.append(time.perf_counter() - start)
    return found[1:]
