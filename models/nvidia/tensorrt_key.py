"""What a TensorRT engine is good for: the GPU, the software, the network and the options that it was built with.

An engine runs where it was built and nowhere else. So a key file lies beside each, ``NAME.engine`` and
``NAME.key.json``; an engine whose key is not the one that is wanted, or that is not the file its key describes, is
never loaded.
"""

from __future__ import annotations

import hashlib
import json
from dataclasses import asdict, dataclass, fields
from pathlib import Path
from typing import Any

from models.engine import Precision
from models.files import replace, sha256

SUFFIX = ".engine"
_SHORT = 12  # digits of a hash in a file's name


@dataclass(frozen=True)
class BatchProfile:
    """The batch sizes that an engine takes, and the one it is fastest at."""

    least: int = 1
    best: int = 1
    most: int = 1

    def __post_init__(self) -> None:
        """Refuses what is not in order."""
        if not 1 <= self.least <= self.best <= self.most:
            raise ValueError(f"batch sizes {self.least}, {self.best}, {self.most} are not in order from 1 up")

    def shapes(self, inputs: dict[str, tuple[int | str, ...]]) -> dict[str, tuple[tuple[int, ...], ...]]:
        """Least, best and largest shape of each input that has a free batch size.

        Raises:
            ValueError: an input has another free size than the batch.
        """
        found = {}
        for name, (batch, *others) in inputs.items():
            sizes = tuple(size for size in others if isinstance(size, int))
            if len(sizes) < len(others):
                raise ValueError(f"{name} has the free shape {[batch, *others]}; only the batch size may be free")
            if isinstance(batch, str):
                found[name] = tuple((n, *sizes) for n in (self.least, self.best, self.most))
        return found


@dataclass(frozen=True)
class Environment:
    """What an engine depends on beside the network.

    Attributes:
        gpu: its name, as the driver tells it.
        compute_capability: of the GPU, such as "8.9".
        driver: its version, and the newest CUDA it serves.
        cuda: version of the CUDA runtime.
        tensorrt: package and version.
        onnxruntime: its version where that builds the engine, else "".
    """

    gpu: str
    compute_capability: str
    driver: str
    cuda: str
    tensorrt: str
    onnxruntime: str = ""

    def digest(self) -> str:
        """A short name for it, for files that only this environment may use."""
        return _digest(asdict(self))


@dataclass(frozen=True)
class EngineKey:
    """All that an engine depends on.

    Attributes:
        environment: where it runs.
        model: SHA-256 of the ONNX network, its weights included.
        precision: what was asked for, see models.runtime.load_engine.
        batch: the batch sizes it takes.
        level: how long the builder searches, 0 to 5.
    """

    environment: Environment
    model: str
    precision: Precision
    batch: BatchProfile
    level: int

    def name(self, network: str) -> str:
        """File name, without suffix, of an engine for a network: one for each use of it, on whatever machine."""
        use = {key: value for key, value in asdict(self).items() if key != "environment"}
        return f"{network}-{_digest({**use, 'package': self.environment.tensorrt.split()[0]})}"

    def differences(self, other: EngineKey) -> str:
        """What `other` has else, in words; "" where it is the same."""
        mine, others = _flat(self), _flat(other)
        return ", ".join(f"{name} {others[name]}, not {mine[name]}" for name in mine if mine[name] != others[name])


@dataclass(frozen=True)
class KeyFile:
    """What lies beside an engine.

    Attributes:
        key: what it was built for.
        sha256: of the engine.
        network: name of the ONNX file it was built from.
        computes: what its layers compute in, such as "float16".
    """

    key: EngineKey
    sha256: str
    network: str
    computes: str


def key_path(engine: Path) -> Path:
    """Where the key of an engine lies."""
    return engine.with_suffix(".key.json")


def write(engine: Path, built: KeyFile) -> None:
    """Writes the key beside an engine, at once or not at all."""
    replace(key_path(engine), (json.dumps(asdict(built), indent=1) + "\n").encode())


def read(engine: Path) -> KeyFile | None:
    """The key beside an engine; None if there is none that can be read.

    It is a cache's: what cannot be read is built anew.
    """
    try:
        content = json.loads(key_path(engine).read_text(encoding="utf-8"))
        return KeyFile(
            _key(content["key"]),
            **_strings({name: content[name] for name in ("sha256", "network", "computes")}),
        )
    except (OSError, ValueError, KeyError, TypeError, RecursionError):
        return None


def parse(text: str) -> EngineKey | None:
    """The key that JSON holds; None if it holds none."""
    try:
        return _key(json.loads(text))
    except (ValueError, KeyError, TypeError, RecursionError):
        return None


def mismatch(engine: Path, wanted: EngineKey) -> str | None:
    """Why an engine is not the one that is wanted; None if it is, and "" if there is none."""
    if not engine.is_file():
        return ""
    found = read(engine)
    if found is None:
        return f"{key_path(engine).name} is missing or cannot be read"
    if found.key != wanted:
        return f"it was built for {wanted.differences(found.key)}"
    if sha256(engine) != found.sha256:
        return f"it is not the file that {key_path(engine).name} describes"
    return None


def _key(content: dict[str, Any]) -> EngineKey:
    """The key that parsed JSON holds; ValueError, KeyError or TypeError where it holds none."""
    return EngineKey(
        Environment(**_strings(content["environment"])),
        str(content["model"]),
        content["precision"],
        BatchProfile(**content["batch"]),
        int(content["level"]),
    )


def _digest(content: object) -> str:
    return hashlib.sha256(json.dumps(content, sort_keys=True).encode()).hexdigest()[:_SHORT]


def _flat(key: EngineKey) -> dict[str, str]:
    environment = {f.name.replace("_", " "): getattr(key.environment, f.name) for f in fields(Environment)}
    batch = f"{key.batch.least} to {key.batch.most}, best {key.batch.best}"
    own = {"model": key.model[:_SHORT], "precision": key.precision, "batch": batch, "level": str(key.level)}
    return {name: value or "none" for name, value in {**environment, **own}.items()}


def _strings(content: object) -> dict[str, str]:
    if not (isinstance(content, dict) and all(isinstance(value, str) for value in content.values())):
        raise ValueError("not a table of strings")
    return content
