"""What a run did and how fast, as JSON."""

from __future__ import annotations

import json
import math
import os
import platform
from dataclasses import asdict, dataclass, field
from importlib import metadata
from pathlib import Path

import psutil

from live.settle.settling import Settled
from live.timing import Summary

REPORTED_PACKAGES = (
    "morphcam",
    "numpy",
    "opencv-contrib-python",
    "mediapipe",
    "onnxruntime",
    "openvino",
    "pyvirtualcam",
)


@dataclass(frozen=True)
class Machine:
    """The machine and the software a run was made on."""

    cpu: str
    cores_physical: int
    cores_logical: int
    memory_gib: float
    os: str
    python: str
    packages: dict[str, str]


@dataclass(frozen=True)
class FrameCounts:
    """What became of the frames: received = shown + dropped.

    Attributes:
        received: frames that the source gave.
        shown: frames that reached the sinks.
        dropped: frames that were not shown.
        dropped_by: the same by the stage that had no time for them: a newer one replaced them
            after "capture", or none was made of them by "synthesize" in a mode that shows no others.
        without_face: shown frames in which there was no face, or none that was morphed yet.
        faces_lost: how often a face that had been followed was lost.
    """

    received: int = 0
    shown: int = 0
    dropped: int = 0
    dropped_by: dict[str, int] = field(default_factory=dict)
    without_face: int = 0
    faces_lost: int = 0


class MemoryPeak:
    """Watches how much memory this process has resident, now and then."""

    def __init__(self) -> None:
        self.peak_mb = 0.0
        self._process = psutil.Process()
        self._next = -math.inf

    def sample(self, t: float) -> None:
        """Looks, if the last look was a second ago; `t` is in seconds."""
        if t >= self._next:
            self._next = t + 1.0
            self.peak_mb = max(self.peak_mb, round(self._process.memory_info().rss / 1e6, 1))


@dataclass(frozen=True)
class ModelInfo:
    """A network, the engine that ran it and the hash of its weights ("" = not known)."""

    name: str
    engine: str
    sha256: str


@dataclass(frozen=True)
class StartUp:
    """Seconds from the start of the process to each moment; None = it never came."""

    models_loaded: float | None = None
    first_frame: float | None = None
    first_morphed_frame: float | None = None


@dataclass(frozen=True)
class Report:
    """Everything about one run.

    Attributes:
        command: the command line, program first.
        source, outputs, mode, size: what really ran; size is the generator's picture, in pixels.
        seconds: from the first frame shown to the last.
        fps: frames shown per second of that time.
        updates: syntheses that changed the picture, per second of that time.
        cpu_seconds, memory_mb, governed: see live.engine.Outcome.
        settled: what was learned of each face with --settle; see live.settle.settling.Settled.
        milliseconds: distribution by stage; ``capture_to_sink`` is from capture to the last sink's return.
        messages: what went wrong on the way, with how often.
        failures: outputs, and settling, that failed and were given up while the run went on.
    """

    command: list[str]
    source: str
    outputs: list[str]
    mode: str
    size: int
    frames: FrameCounts
    seconds: float
    fps: float
    updates: float
    cpu_seconds: dict[str, float]
    memory_mb: float
    governed: list[tuple[float, str]]
    milliseconds: dict[str, Summary]
    start_up_seconds: StartUp
    models: list[ModelInfo]
    machine: Machine
    messages: dict[str, int] = field(default_factory=dict)
    failures: list[str] = field(default_factory=list)
    settled: list[Settled] = field(default_factory=list)


def describe_machine() -> Machine:
    """Looks at the machine this runs on."""
    versions = {name: _version(name) for name in REPORTED_PACKAGES}
    return Machine(
        cpu=_cpu_model(),
        cores_physical=psutil.cpu_count(logical=False) or 0,
        cores_logical=psutil.cpu_count() or 0,
        memory_gib=round(psutil.virtual_memory().total / 2**30, 1),
        os=platform.platform(),
        python=platform.python_version(),
        packages={name: version for name, version in versions.items() if version},
    )


def write(report: Report, path: Path) -> None:
    """Writes `report` to `path`, all of it or nothing: a reader never sees half a file."""
    text = json.dumps(asdict(report), indent=2, default=str) + "\n"
    temporary = path.with_name(f".{path.name}.{os.getpid()}")
    try:
        temporary.write_text(text, encoding="utf-8")
        temporary.replace(path)
    finally:
        temporary.unlink(missing_ok=True)


def _version(package: str) -> str:
    try:
        return metadata.version(package)
    except metadata.PackageNotFoundError:
        return ""


def _cpu_model() -> str:
    cpuinfo = Path("/proc/cpuinfo")
    if cpuinfo.exists():  # platform.processor() is empty or just "x86_64" on Linux
        for line in cpuinfo.read_text(encoding="utf-8").splitlines():
            if line.startswith("model name"):
                return line.partition(":")[2].strip()
    return platform.processor() or platform.machine()
