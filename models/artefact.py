"""Exported networks as files: the graph, what belongs to it, and the manifest that lies beside it.

`read` checks a manifest and all files it names once; behind it the types can be trusted.
"""

from __future__ import annotations

import json
from dataclasses import asdict, fields
from pathlib import Path

import numpy as np

from models.arrays import F32
from models.checked_json import as_count, as_number, as_optional_number, as_shape, as_text, record, table, typed
from models.errors import UserError
from models.files import replace, sha256
from models.manifest import KINDS, Manifest, Parity, Port, Source, contradiction
from models.npy import load_npz
from models.pickles.unpickle import read_limited

VERSION = 1  # of the manifest's own form
MOST_BYTES = 8 << 20  # of a manifest
MOST_STATISTICS_BYTES = 64 << 20


def manifest_path(graph: Path) -> Path:
    """Where the manifest of a graph file lies."""
    return graph.with_suffix(".json")


def write(manifest: Manifest) -> Path:
    """Writes the manifest beside its graph, at once or not at all; returns where.

    Raises:
        ValueError: what it says contradicts itself, or holds a number that is not finite.
    """
    problem = contradiction(manifest)
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
    content = typed(raw, dict, "the file")
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
        file=as_text(content["file"], "file"),
        sha256=as_text(content["sha256"], "sha256"),
        data=table(content["data"], "data", as_text),
        size=as_count(content["size"], "size"),
        layers=as_count(content["layers"], "layers"),
        style_dim=as_count(content["style_dim"], "style_dim"),
        inputs=table(content["inputs"], "inputs", _port),
        outputs=table(content["outputs"], "outputs", _port),
        source=record(content["source"], "source", Source, {"file": as_text, "sha256": as_text}),
        tools=table(content["tools"], "tools", as_text),
        options=typed(content["options"], dict, "options"),
        parity=tuple(_parity(one, "parity") for one in typed(content["parity"], list, "parity")),
        statistics=None if statistics is None else as_text(statistics, "statistics"),
        report=typed(content.get("report", {}), dict, "report"),
        folder=folder,
    )
    problem = contradiction(manifest)
    if problem is not None:
        raise ValueError(problem)
    return manifest


def _port(value: object, what: str) -> Port:
    return record(value, what, Port, {"shape": as_shape, "dtype": as_text, "range": as_text})


def _parity(value: object, what: str) -> Parity:
    readers = {
        **{"engine": as_text, "batch": as_count, "samples": as_count},
        **{"max_error": as_number, "mean_error": as_number, "psnr_db": as_optional_number},
    }
    return record(value, what, Parity, readers)
