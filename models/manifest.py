"""What the manifest beside an exported network says of it; `models.artefact` reads and writes it.

``DIR/generator.json`` describes ``DIR/generator.onnx``: its kind, the names, shapes and ranges of what goes in and
comes out, the hash of every file it consists of, what it was made from and with, and how near it comes to the network
it was made from.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal, TypeAlias, get_args

from models.checked_json import Json

Kind: TypeAlias = Literal["generator", "mapping", "encoder"]

KINDS: tuple[Kind, ...] = get_args(Kind)
FORMATS = {".onnx": "onnx", ".xml": "openvino", ".engine": "tensorrt"}
LANDMARKS = 478
BATCH = "N"  # a free batch size, in a shape


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


def contradiction(manifest: Manifest) -> str | None:
    """What is wrong with a manifest whose types are right; None = nothing."""
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
