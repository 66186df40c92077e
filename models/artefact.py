"""The manifest that lies beside an exported network and says what it is.

``DIR/generator.onnx`` is described by ``DIR/generator.json``: its kind, the names, shapes and ranges of what goes in
and comes out, the hash of every file it consists of, what it was made from and with, and how near it comes to the
network it was made from. `read` checks all of it once; behind it the types can be trusted.
"""

from __future__ import annotations

import json
import math
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass, field, fields
from pathlib import Path
from typing import Any, Literal, TypeAlias, TypeVar, get_args

import numpy as np

from models.arrays import F32
from models.errors import UserError
from models.files import replace, sha256
from models.npy import load_npz
from models.pickles.unpickle import read_limited

Kind: TypeAlias = Literal["generator", "mapping", "encoder"]
Json: TypeAlias = "dict[str, Json] | list[Json] | str | int | float | bool | None"

KINDS: tuple[Kind, ...] = get_args(Kind)
FORMATS = {".onnx": "onnx", ".xml": "openvino", ".engine": "tensorrt"}
LANDMARKS = 478
VERSION = 1  # of the manifest's own form
MOST_BYTES = 8 << 20  # of a manifest
MOST_STATISTICS_BYTES = 64 << 20
BATCH = "N"  # a free batch size, in a shape

_T = TypeVar("_T")


@dataclass(frozen=True)
class Port:
    """One input or output of a network.

    Attributes:
        shape: the first entry is the batch, "N" where any size goes.
        dtype: NumPy's name of the element type, such as "float32".
        range: of its values, in words.
    """

    shape: tuple[int | str, ...]
    dtype: str
    range: str


@dataclass(frozen=True)
class Source:
    """The file that a network was made from."""

    file: str
    sha256: str


@dataclass(frozen=True)
class Parity:
    """How near an engine comes to the network in PyTorch (float32), on fresh inputs.

    Attributes:
        engine: engine, device and precision, such as "openvino CPU float32".
        batch: how many went in at once.
        samples: how many went in altogether.
        max_error: largest absolute difference.
        mean_error: mean absolute difference.
        psnr_db: of the worst sample; the peak is 2 for pictures ([-1, 1]), else the spread (largest minus smallest)
            of the expected values. None: no difference at all.
    """

    engine: str
    batch: int
    samples: int
    max_error: float
    mean_error: float
    psnr_db: float | None


@dataclass(frozen=True)
class Manifest:
    """What an exported network is.

    Attributes:
        kind: "generator" (w_plus -> image), "mapping" (z -> w), or "encoder" (image, maybe landmarks -> w_plus).
        file: name of the graph: ``.onnx``, OpenVINO's ``.xml``, TensorRT's ``.engine``.
        sha256: of the graph file.
        data: its further files, beside it -> SHA-256: external data, OpenVINO's ``.bin``, statistics.
        size: pixels per side of the picture that comes out or the crop that goes in; of a mapping, its generator's.
        layers: rows of W+.
        style_dim: entries of a row.
        inputs: by name.
        outputs: by name.
        source: what it was made from.
        tools: package -> version, of what made it.
        options: what was asked for: batch, precision, noise and so on.
        parity: how near each engine comes, at several batch sizes.
        statistics: name of a ``.npz`` file with mean_w and std_w, one of `data`; a generator has one.
        report: what else was measured while it was made: layers kept in float32, sensitivity of layers.
        folder: where the files lie; not written into the file.
    """

    kind: Kind
    file: str
    sha256: str
    data: dict[str, str]
    size: int
    layers: int
    style_dim: int
    inputs: dict[str, Port]
    outputs: dict[str, Port]
    source: Source
    tools: dict[str, str]
    options: dict[str, Json]
    parity: tuple[Parity, ...]
    statistics: str | None = None
    report: dict[str, Json] = field(default_factory=dict)
    folder: Path = field(default=Path(), compare=False)

    @property
    def graph(self) -> Path:
        """The graph file."""
        return self.folder / self.file

    @property
    def format(self) -> str:
        """One of "onnx", "openvino", "tensorrt"."""
        return FORMATS[Path(self.file).suffix]

    @property
    def batch(self) -> int | None:
        """The batch size it is fixed to; None = any."""
        first = next(iter(self.inputs.values())).shape[0]
        return None if isinstance(first, str) else first


def manifest_path(graph: Path) -> Path:
    """Where the manifest of a graph file lies."""
    return graph.with_suffix(".json")


def write(manifest: Manifest) -> Path:
    """Writes the manifest beside its graph, at once or not at all; returns where.

    Raises:
        ValueError: what it says contradicts itself, or holds a number that is not finite.
    """
    problem = _contradiction(manifest)
    if problem is not None:
        raise ValueError(problem)
    content = {key: value for key, value in asdict(manifest).items() if key != "folder"}
    text = json.dumps({"manifest": VERSION, **content}, indent=1, allow_nan=False) + "\n"
    target = manifest_path(manifest.graph)
    replace(target, text.encode())
    return target


def read(path: Path) -> Manifest:
    """The manifest of a graph file, every file of the network checked against its SHA-256.

    Args:
        path: the graph, or the manifest itself.

    Raises:
        UserError: the manifest is missing or broken, a file is missing, or one has other content than it says.
    """
    described = manifest_path(path)
    if path != described and not path.is_file():
        raise UserError(f"{path} does not exist or is not a file; give the network that python -m export wrote")
    if not described.is_file():
        raise UserError(
            f"{path} has no manifest {described.name} beside it; write both with python -m export onnx or openvino"
        )
    try:
        raw = json.loads(read_limited(described, MOST_BYTES).decode("utf-8"), parse_constant=_not_a_number)
        manifest = _manifest(raw, described.parent)
    except (ValueError, RecursionError) as error:  # UnicodeDecodeError and JSONDecodeError are ValueErrors
        raise UserError(f"{described} is not a manifest ({_line(error)}); export the network again") from error
    if path != described and path.name != manifest.file:
        raise UserError(
            f"{described} describes {manifest.file}, not {path.name}; export each into a folder of its own"
        )
    for name, expected in {manifest.file: manifest.sha256, **manifest.data}.items():
        _check_file(manifest.folder / name, expected, described)
    return manifest


def read_statistics(manifest: Manifest) -> tuple[F32, F32]:
    """mean_w and std_w of a generator's W, float32 [style_dim] each.

    Raises:
        UserError: it has none, or they are not finite numbers of that shape.
    """
    if manifest.statistics is None:
        raise UserError(f"{manifest.graph} has no statistics of W; export the generator again")
    path = manifest.folder / manifest.statistics
    found = load_npz(path, max_bytes=MOST_STATISTICS_BYTES)
    shape = (manifest.style_dim,)
    for name in ("mean_w", "std_w"):
        values = found.get(name)
        if values is None or values.shape != shape or values.dtype.kind != "f" or not np.isfinite(values).all():
            raise UserError(f"{path} does not hold {name}, {manifest.style_dim} numbers; export the generator again")
    if (found["std_w"] <= 0).any():
        raise UserError(f"{path} has a standard deviation that is not positive; export the generator again")
    return found["mean_w"].astype(np.float32), found["std_w"].astype(np.float32)


def expected_ports(
    kind: Kind, *, size: int, layers: int, style_dim: int
) -> tuple[dict[str, tuple[int, ...]], dict[str, tuple[int, ...]]]:
    """Shapes behind the batch that inputs and outputs of a kind have, by name; a 0 is free (z's length).

    An encoder may have `landmarks` as well, see `LANDMARKS`.
    """
    latent: dict[str, tuple[int, ...]] = {"w_plus": (layers, style_dim)}
    picture: dict[str, tuple[int, ...]] = {"image": (3, size, size)}
    if kind == "generator":
        return latent, picture
    if kind == "encoder":
        return picture, latent
    return {"z": (0,)}, {"w": (style_dim,)}


def _contradiction(manifest: Manifest) -> str | None:
    """What is wrong with a manifest whose types are right."""
    names = (manifest.file, *manifest.data)
    for name in names:
        # A plain name, on Windows too, and not one of a hidden file.
        if (
            not name
            or name != Path(name).name
            or name.startswith(".")
            or "\\" in name
            or ":" in name
            or not name.isprintable()
        ):
            return f"{name!r} is not the name of a file beside it"
    if Path(manifest.file).suffix not in FORMATS:
        return f"file {manifest.file!r} ends in none of {', '.join(FORMATS)}"
    if manifest.file in manifest.data:
        return f"{manifest.file!r} is its own data"
    for digest in (manifest.sha256, *manifest.data.values(), manifest.source.sha256):
        if len(digest) != 64 or set(digest) - set("0123456789abcdef"):
            return f"{digest[:80]!r} is not a SHA-256"
    if min(manifest.size, manifest.layers, manifest.style_dim) < 1:
        return "size, layers and style_dim must be positive"
    if manifest.statistics is not None and manifest.statistics not in manifest.data:
        return f"statistics {manifest.statistics!r} is not among its data"
    if manifest.kind == "generator" and manifest.statistics is None:
        return "a generator needs statistics"
    return _wrong_ports(manifest)


def _wrong_ports(manifest: Manifest) -> str | None:
    inputs, outputs = expected_ports(
        manifest.kind, size=manifest.size, layers=manifest.layers, style_dim=manifest.style_dim
    )
    if manifest.kind == "encoder" and "landmarks" in manifest.inputs:
        inputs["landmarks"] = (LANDMARKS, 2)
    for name, wanted, ports in (("inputs", inputs, manifest.inputs), ("outputs", outputs, manifest.outputs)):
        if ports.keys() != wanted.keys():
            return f"the {name} of a {manifest.kind} are {', '.join(wanted)}, not {', '.join(ports) or 'none'}"
        for port, shape in wanted.items():
            given = ports[port].shape
            same = len(given) == len(shape) + 1 and all(
                isinstance(a, int) and a > 0 and b in (0, a) for a, b in zip(given[1:], shape, strict=False)
            )
            if not same:
                return f"{port} has shape {list(given)}, expected {[BATCH, *(n or 'any' for n in shape)]}"
    batches = {port.shape[0] for port in (*manifest.inputs.values(), *manifest.outputs.values())}
    batch = batches.pop()
    if batches or not (batch == BATCH or (isinstance(batch, int) and batch > 0)):
        return f"its inputs and outputs do not agree on a batch size or {BATCH!r}"
    return None


def _check_file(path: Path, expected: str, described: Path) -> None:
    try:
        found = sha256(path)
    except OSError as error:
        raise UserError(f"{described} needs {path.name}: {error.strerror}; export the network again") from error
    if found != expected:
        raise UserError(
            f"{path} is not the file that {described.name} describes "
            f"(SHA-256 {found[:12]}, expected {expected[:12]}); export the network again"
        )


def _not_a_number(name: str) -> float:
    raise ValueError(f"it has the number {name}")


def _line(error: Exception) -> str:
    return " ".join(str(error).split())[:200]


def _manifest(raw: object, folder: Path) -> Manifest:
    """The manifest that parsed JSON holds; ValueError where it holds none."""
    content = _typed(raw, dict, "the file")
    version = content.pop("manifest", None)
    if version != VERSION:
        raise ValueError(f"it is of version {version!r}, expected {VERSION}")
    known = {f.name for f in fields(Manifest)} - {"folder"}
    missing = known - {"statistics", "report"} - content.keys()
    if missing or content.keys() - known:
        raise ValueError(f"it lacks {sorted(missing)} and has the unknown {sorted(content.keys() - known)}")
    kind = next((kind for kind in KINDS if kind == content["kind"]), None)
    if kind is None:
        raise ValueError(f"kind {content['kind']!r} is none of {', '.join(KINDS)}")
    statistics = content.get("statistics")
    manifest = Manifest(
        kind=kind,
        file=_typed(content["file"], str, "file"),
        sha256=_typed(content["sha256"], str, "sha256"),
        data=_table(content["data"], "data", _text),
        size=_typed(content["size"], int, "size"),
        layers=_typed(content["layers"], int, "layers"),
        style_dim=_typed(content["style_dim"], int, "style_dim"),
        inputs=_table(content["inputs"], "inputs", _port),
        outputs=_table(content["outputs"], "outputs", _port),
        source=_record(content["source"], "source", Source, {"file": _text, "sha256": _text}),
        tools=_table(content["tools"], "tools", _text),
        options=_typed(content["options"], dict, "options"),
        parity=tuple(_parity(one, "parity") for one in _typed(content["parity"], list, "parity")),
        statistics=None if statistics is None else _typed(statistics, str, "statistics"),
        report=_typed(content.get("report", {}), dict, "report"),
        folder=folder,
    )
    problem = _contradiction(manifest)
    if problem is not None:
        raise ValueError(problem)
    return manifest


def _typed(value: object, kind: type[_T], what: str) -> _T:
    if not isinstance(value, kind) or (isinstance(value, bool) and kind is not bool):
        raise ValueError(f"{what} is not a {kind.__name__}")
    return value


def _text(value: object, what: str) -> str:
    return _typed(value, str, what)


def _number(value: object, what: str) -> float:
    if isinstance(value, bool) or not isinstance(value, (int, float)):
        raise ValueError(f"{what} is not a number")
    if not math.isfinite(value):
        raise ValueError(f"{what} is not finite")
    return float(value)


def _optional_number(value: object, what: str) -> float | None:
    return None if value is None else _number(value, what)


def _count(value: object, what: str) -> int:
    return _typed(value, int, what)


def _shape(value: object, what: str) -> tuple[int | str, ...]:
    entries = _typed(value, list, what)
    if not all(isinstance(n, (int, str)) and not isinstance(n, bool) for n in entries) or not entries:
        raise ValueError(f"{what} is not a shape")
    return tuple(entries)


def _port(value: object, what: str) -> Port:
    return _record(value, what, Port, {"shape": _shape, "dtype": _text, "range": _text})


def _parity(value: object, what: str) -> Parity:
    readers = {
        **{"engine": _text, "batch": _count, "samples": _count},
        **{"max_error": _number, "mean_error": _number, "psnr_db": _optional_number},
    }
    return _record(value, what, Parity, readers)


def _table(value: object, what: str, reader: Callable[[object, str], _T]) -> dict[str, _T]:
    return {name: reader(entry, f"{what} {name!r}") for name, entry in _typed(value, dict, what).items()}


def _record(
    value: object, what: str, kind: Callable[..., _T], readers: Mapping[str, Callable[[object, str], Any]]
) -> _T:
    content = _typed(value, dict, what)
    if content.keys() != readers.keys():
        raise ValueError(f"{what} has {sorted(content)}, expected {sorted(readers)}")
    return kind(**{name: reader(content[name], f"{what}, {name}") for name, reader in readers.items()})
