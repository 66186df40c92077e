"""Writes networks as artefacts: a graph and a manifest that says what it is and how near it is to the original.

MODEL is a published checkpoint (a StyleGAN2 generator, an e4e or pSp encoder), an ONNX artefact written before, or
the word `default`. A generator comes with its mapping network. Each graph is run in the engines at hand, on fresh
inputs, alone and three at a time, before any file is put in its place: an export that fails writes nothing.
"""

from __future__ import annotations

import argparse
import shutil
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from importlib import metadata
from pathlib import Path

import numpy as np
import onnx
import openvino as ov

from export import half, networks, parity
from export.fresh_inputs import one_by_one
from export.networks import Network
from models import artefact
from models.checked_json import Json
from models.engine import Unavailable
from models.errors import UserError
from models.files import sha256
from models.manifest import BATCH, Manifest
from models.networks.stylegan2 import Noise
from models.nvidia import tensorrt_build, tensorrt_key
from models.nvidia.cuda_device import find_gpu
from models.nvidia.tensorrt_key import BatchProfile

PRECISIONS = ("float32", "float16")
DEFAULT = "default"
TOOLS = ("numpy", "onnx", "onnxruntime", "openvino", "torch")
EXTERNAL_FROM = 512 << 20  # bytes of weights from which they lie in a file of their own: one file may have 2 GiB

ENGINE_BATCHES = BatchProfile(1, 1, 4)  # of a TensorRT engine whose network has a free batch size

PROBE_SEED, FRESH_SEED = 11, 12
PROBES = 8  # samples that float16's overflows are looked for on
MARGINS = (4.0, 16.0, 64.0)  # how far from float16's largest number values must stay; the next if parity fails


@dataclass(frozen=True)
class Choices:
    """What is asked for.

    Attributes:
        format: "onnx", "openvino" or "tensorrt".
        precision: one of `PRECISIONS`.
        batch: None = free.
    """

    format: str
    precision: str = "float32"
    batch: int | None = None


def write_artefact(
    network: Network, choices: Choices, folder: Path, *, external_from: int = EXTERNAL_FROM
) -> Manifest:
    """Writes one network's graph and manifest into a folder.

    Raises:
        UserError: it is too far from the network it was made from.
    """
    single = network.graph()
    if choices.precision == "float32" or network.kind == "mapping":  # whose layers are all of few values
        graph = with_batch(single, choices.batch)
        return _written(network, graph, choices, folder, external_from)
    prepared = half.prepared(single)
    found = half.peaks(prepared, one_by_one(network.fresh(np.random.default_rng(PROBE_SEED), PROBES)))
    fresh = half.peaks(prepared, one_by_one(network.fresh(np.random.default_rng(FRESH_SEED), PROBES)))
    for margin in MARGINS:
        kept, report = _kept(network, prepared, found, margin)
        overflowing = half.beyond(prepared, fresh, 1.0).keys() - kept
        problem = UserError(f"{', '.join(sorted(overflowing))} overflow in float16 on fresh inputs; not written")
        if not overflowing:
            try:
                graph = with_batch(half.to_half(prepared, kept), choices.batch)
                rounded = half.simulated(prepared, kept)
                return _written(network, graph, choices, folder, external_from, report=report, rounded=rounded)
            except UserError as error:
                problem = error
    raise problem


def _written(
    network: Network,
    graph: onnx.ModelProto,
    choices: Choices,
    folder: Path,
    external_from: int,
    *,
    report: dict[str, Json] | None = None,
    rounded: onnx.ModelProto | None = None,
) -> Manifest:
    """Writes a graph, checked, with its manifest; rounded: the graph that simulates its float16."""
    file = _save(graph, folder, network.kind, choices.format, external_from)
    engines = parity.engines_of(file)
    with tempfile.TemporaryDirectory(dir=folder) as work:
        if rounded is not None:
            simulation = Path(work) / "rounded.onnx"
            onnx.save(with_batch(rounded, choices.batch), simulation)
            engines.append(parity.Opener("float16 simulated", lambda _: parity.open_onnxruntime(simulation)))
        written = finish(network, file, choices, report or {}, engines=engines)
    return written if choices.format != "tensorrt" else build_tensorrt(network, written, choices.batch)


def finish(
    network: Network,
    file: Path,
    choices: Choices,
    report: dict[str, Json],
    *,
    engines: Sequence[parity.Opener],
    least: float | None = None,
    options: dict[str, Json] | None = None,
    tools: Sequence[str] = (),
) -> Manifest:
    """Checks a written graph and writes its manifest.

    Args:
        network: what it was made from.
        file: the graph.
        choices: what it was made with.
        report: see `Manifest`.
        engines: to check it in.
        least: see `parity.measure`, beside the limit of the precision, where that has one.
        options: to be said beside the choices.
        tools: packages to be named beside `TOOLS`.

    Raises:
        UserError: it is too far from the network.
    """
    figures = parity.measure(
        file,
        network.reference,
        network.fresh,
        engines=engines,
        batches=parity.BATCHES if choices.batch is None else (choices.batch,),
        picture=network.kind == "generator",
        limit=parity.LIMITS.get(choices.precision),
        least=least,
    )
    data = [path for path in (file.with_name(f"{file.name}.data"), file.with_suffix(".bin")) if path.exists()]
    statistics = None
    if network.statistics is not None:
        mean_w, std_w = network.statistics
        statistics = f"{file.stem}-w.npz"
        np.savez(file.with_name(statistics), mean_w=mean_w, std_w=std_w)
        data.append(file.with_name(statistics))
    inputs, outputs = networks.ports(network, choices.batch)
    said: dict[str, Json] = {"batch": choices.batch, "precision": choices.precision}
    if network.noise is not None:
        said["noise"] = network.noise
    manifest = Manifest(
        kind=network.kind,
        file=file.name,
        sha256=sha256(file),
        data={path.name: sha256(path) for path in data},
        size=network.size,
        layers=network.layers,
        style_dim=network.style_dim,
        inputs=inputs,
        outputs=outputs,
        source=network.source,
        tools={name: metadata.version(name) for name in (*TOOLS, *tools)},
        options=said | (options or {}),
        parity=figures,
        statistics=statistics,
        report=report,
        folder=file.parent,
    )
    artefact.write(manifest)
    return manifest


def _kept(
    network: Network, prepared: onnx.ModelProto, found: Mapping[str, float], margin: float
) -> tuple[set[str], dict[str, Json]]:
    """The nodes that stay in float32, and what is to be said of them."""
    outside = half.beyond(prepared, found, margin)
    styles = half.of_styles(prepared) if network.kind == "generator" else set()
    report: dict[str, Json] = {
        "float32": {
            "beyond float16": {name: float(f"{magnitude:.4g}") for name, magnitude in outside.items()},
            "margin": margin,
            "styles": len(styles - outside.keys()),
            "of": sum(node.op_type in half.COMPUTING for node in prepared.graph.node),
            "samples": PROBES,
        }
    }
    return styles | outside.keys(), report


def with_batch(graph: onnx.ModelProto, batch: int | None) -> onnx.ModelProto:
    """A copy whose inputs and output have this batch size; None = any."""
    copy = onnx.ModelProto()
    copy.CopyFrom(graph)
    for port in (*copy.graph.input, *copy.graph.output):
        first = port.type.tensor_type.shape.dim[0]
        first.Clear()
        if batch is None:
            first.dim_param = BATCH
        else:
            first.dim_value = batch
    if batch is not None:
        del copy.graph.value_info[:]  # they speak of a free batch
    return copy


def _save(graph: onnx.ModelProto, folder: Path, stem: str, to: str, external_from: int) -> Path:
    """Writes the graph in its format; returns the file."""
    file = folder / f"{stem}.onnx"
    if graph.ByteSize() >= external_from:
        data = f"{file.name}.data"
        (folder / data).unlink(missing_ok=True)  # onnx appends
        onnx.save(graph, file, save_as_external_data=True, all_tensors_to_one_file=True, location=data)
        (folder / data).chmod(0o644)  # onnx lets the owner alone read it
    else:
        onnx.save(graph, file)
    if to != "openvino":
        return file
    target = file.with_suffix(".xml")
    ov.save_model(ov.convert_model(file), target, compress_to_fp16=False)
    for leftover in (file, file.with_name(f"{file.name}.data")):
        leftover.unlink(missing_ok=True)
    return target


@contextmanager
def put_in_place(out: Path) -> Iterator[Path]:
    """A temporary folder whose files are moved into `out` if all goes well, else removed.

    Raises:
        UserError: `out` cannot be written.
    """
    out = out.absolute()
    existing = next(parent for parent in (out, *out.parents) if parent.exists())
    if not existing.is_dir():
        raise UserError(f"{existing} is a file; give --out a folder")
    try:
        # Beside, not inside: what fails leaves no trace, and the last step is a rename on one disk.
        work = Path(tempfile.mkdtemp(dir=existing if existing != out else out.parent, prefix=".export-"))
    except OSError as error:
        raise UserError(f"cannot write to {existing}: {error.strerror}; give another --out") from error
    try:
        yield work
        out.mkdir(parents=True, exist_ok=True)
        # The manifests last: a graph without one is refused, a manifest without its graph too.
        for file in sorted(work.iterdir(), key=lambda path: path.suffix == ".json"):
            file.replace(out / file.name)
    except OSError as error:
        raise UserError(f"cannot write to {out}: {error.strerror}; free space there or give another --out") from error
    finally:
        shutil.rmtree(work, ignore_errors=True)


def refuse_others(out: Path, stems: Sequence[str], to: str) -> None:
    """A manifest of another format would be overwritten and leave its graph without one.

    Raises:
        UserError: there is one in `out`.
    """
    for stem in stems:
        described = out / f"{stem}.json"
        if described.exists() and (file := artefact.read(described)).format != to:
            raise UserError(f"{out} already has {file.file}; give another --out, one format a folder")


def find_networks(model: str, *, size: int, noise: Noise | None) -> list[Network]:
    """The networks of MODEL.

    Raises:
        UserError: there is no such file, or it is none that is known.
    """
    if model == DEFAULT:
        return networks.default_networks(size)
    path = Path(model)
    if path.suffix == ".onnx":
        return [networks.from_artefact(artefact.read(path))]
    return networks.from_checkpoint(path, noise)


def check_tensorrt() -> None:
    """Makes sure that engines can be built here.

    Raises:
        UserError: TensorRT is not installed or has no GPU.
    """
    try:
        tensorrt_build.describe_environment(tensorrt_build.load_library())
        find_gpu()
    except Unavailable as error:
        raise UserError(
            f"TensorRT engines cannot be built here: {error}; nothing was written. "
            "Run this where the GPU is, or python -m export onnx, whose files run anywhere"
        ) from error


def build_tensorrt(network: Network, written: Manifest, batch: int | None) -> Manifest:
    """Builds the engine of an ONNX artefact, which stays beside it: engines are built from it again elsewhere.

    Raises:
        UserError: the network does not run in TensorRT, or is too far from what it was made from.
    """
    graph = written.graph
    profile = ENGINE_BATCHES if batch is None else BatchProfile(batch, batch, batch)
    try:
        engine = tensorrt_build.build_engine(graph, graph.parent, precision="auto", batch_profile=profile)
        figures = parity.measure(
            engine,
            network.reference,
            network.fresh,
            engines=parity.engines_of(engine),
            batches=parity.BATCHES if batch is None else (batch,),
            picture=network.kind == "generator",
            # Without a precision of its own TensorRT multiplies in TF32, which has float16's mantissa.
            limit=parity.LIMITS["float16"],
        )
    except Unavailable as error:
        raise UserError(f"TensorRT does not run {graph.name}: {error}") from error
    for leftover in graph.parent.glob("timing-*.cache"):  # of this machine, not of the network
        leftover.unlink()
    key = tensorrt_key.key_path(engine)
    manifest = replace(
        written,
        file=engine.name,
        sha256=sha256(engine),
        data=written.data | {graph.name: written.sha256, key.name: sha256(key)},
        parity=written.parity + figures,
        tools=written.tools | {"tensorrt": tensorrt_build.load_library().version},
    )
    artefact.write(manifest)
    return manifest


def show(manifest: Manifest) -> None:
    """Prints what was written and how near it is."""
    print(f"{manifest.file}: {manifest.kind}, {manifest.size} px, {manifest.layers} x {manifest.style_dim}")
    kept = manifest.report.get("float32")
    if isinstance(kept, dict):
        outside = kept["beyond float16"]
        assert isinstance(outside, dict)
        print(f"  kept in float32: {', '.join(outside) or 'nothing'}; and {kept['styles']} layers of styles")
    for row in manifest.parity:
        psnr = "equal" if row.psnr_db is None else f"{row.psnr_db:.1f} dB"
        print(f"  {row.engine}, batch {row.batch}: max {row.max_error:.2g}, mean {row.mean_error:.2g}, {psnr}")


def main(argv: list[str] | None = None) -> None:
    """Command line of `python -m export onnx`, `openvino` and `tensorrt`; the first word is the format."""
    words = list(argv or ())
    to = words.pop(0)
    parser = argparse.ArgumentParser(prog=f"python -m export {to}", description=__doc__)
    parser.add_argument("model", metavar="MODEL", help="a checkpoint, an .onnx artefact, or: default")
    parser.add_argument("--out", type=Path, required=True, metavar="DIR", help="folder of the artefacts")
    parser.add_argument("--batch", type=int, metavar="N", help="fix the batch size; free if not given")
    parser.add_argument("--precision", choices=PRECISIONS, default="float32")
    parser.add_argument("--size", type=int, choices=networks.SIZES, default=256, help="of the default generator")
    parser.add_argument("--noise", choices=networks.NOISES, help="of a StyleGAN2 generator; its own if not given")
    args = parser.parse_args(words)
    if args.batch is not None and args.batch < 1:
        raise UserError(f"--batch {args.batch} is not possible; expected 1 or more")
    choices = Choices(to, args.precision, args.batch)
    if to == "tensorrt":
        check_tensorrt()
    found = find_networks(args.model, size=args.size, noise=args.noise)
    refuse_others(args.out, [network.kind for network in found], to)
    with put_in_place(args.out) as work:
        written = [write_artefact(network, choices, work) for network in found]
    for manifest in written:
        show(replace(manifest, folder=args.out))
