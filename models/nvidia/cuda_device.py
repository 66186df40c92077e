"""The NVIDIA GPU, through ``cuda-bindings`` and NVML: what it is, and calls that cannot fail unnoticed."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from models.engine import Unavailable

DEVICE = 0  # CUDA_VISIBLE_DEVICES says which GPU that is


class CudaError(RuntimeError):
    """A CUDA call failed; the message says which error it was."""


@dataclass(frozen=True)
class Gpu:
    """A GPU and its driver; see models.nvidia.tensorrt_key.Environment."""

    name: str
    compute_capability: str
    driver: str
    cuda: str


def load_runtime() -> Any:  # noqa: ANN401 - a module without types
    """The module ``cuda.bindings.runtime``.

    Raises:
        Unavailable: it is not installed.
    """
    try:
        from cuda.bindings import runtime
    except ImportError as error:
        raise Unavailable("the package cuda-bindings is not installed") from error
    return runtime


def check(result: tuple[Any, ...]) -> Any:  # noqa: ANN401 - what the call gives
    """What a CUDA call gave beside its error code.

    Raises:
        CudaError: it failed.
    """
    error, *given = result
    if int(error) != 0:
        raise CudaError(f"CUDA error {int(error)}, {getattr(error, 'name', error)}")
    return given[0] if len(given) == 1 else given or None


def find_gpu() -> Gpu:
    """The GPU that is used.

    Raises:
        Unavailable: there is none, or no driver of it.
    """
    runtime = load_runtime()
    try:
        count = check(runtime.cudaGetDeviceCount())
        if not count:
            raise Unavailable("there is no NVIDIA GPU")
        properties = check(runtime.cudaGetDeviceProperties(DEVICE))
        served, own = check(runtime.cudaDriverGetVersion()), check(runtime.cudaRuntimeGetVersion())
    except CudaError as error:
        raise Unavailable(f"no NVIDIA GPU with a driver was found ({error})") from error
    return Gpu(
        name=properties.name.split(b"\0")[0].decode(),
        compute_capability=f"{properties.major}.{properties.minor}",
        driver=f"{_driver_version()}, CUDA {_version(served)}",
        cuda=_version(own),
    )


def _driver_version() -> str:
    try:
        import pynvml
    except ImportError as error:
        raise Unavailable("the package nvidia-ml-py is not installed") from error
    try:
        pynvml.nvmlInit()
        found = pynvml.nvmlSystemGetDriverVersion()
        pynvml.nvmlShutdown()
    except pynvml.NVMLError as error:
        raise Unavailable(f"the NVIDIA driver does not answer ({error})") from error
    return found.decode() if isinstance(found, bytes) else str(found)


def _version(number: int) -> str:
    """CUDA's way to write 12.8 is 12080."""
    return f"{number // 1000}.{number % 1000 // 10}"
