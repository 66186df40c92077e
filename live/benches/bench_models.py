"""``bench models``: how fast every network is in every engine that runs here.

Times on a machine that does other things too mean little by themselves. So the engines of a network run by turns,
and in each turn also the product of two large matrices, which says how fast the machine is at that moment, and the
published package's own graph of the network where there is one. Ratios are taken turn by turn.
"""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np
from rich.console import RenderableType

from live.benches.command_line import each_once, make_parser
from live.benches.models_result import Absent, Cell, Result, legend, table_of
from live.report import describe_machine
from models import arithmetic, artefact, registry
from models.arithmetic import MatrixProduct
from models.arrays import F32
from models.engine import Engine, Precision, Unavailable
from models.errors import UserError
from models.runtime import ENGINES, open_engine
from models.zoo import (
    INT8_SIZES,
    SHIPPED,
    SIZES,
    STUDENT_SIZE,
    beside_weights,
    encoder_graph,
    engine_cache,
)

WARM_UP = 3  # turns that do not count
PAUSE = 0.01  # seconds between two runs: the threads of the one before go to sleep meanwhile
LARGEST_TURNS = 1000
# Engine -> the precisions in which it runs a network that is not quantised.
PRECISIONS: dict[str, tuple[Precision, ...]] = {
    "tensorrt": ("float32", "auto", "float16"),
    "onnxruntime-tensorrt": ("auto", "float16"),
    "openvino": ("float32", "bfloat16"),
}
PUBLISHED = "published graph"
PUBLISHED_OF = {"generator": "synthesis-xml", "mapping": "mapping-xml"}  # kind -> artefact of the registry


@dataclass(frozen=True)
class Bench:
    """A checked command line; see --help.

    Attributes:
        models: exported networks, to be measured instead of the application's own.
        turns: how often each is measured.
        threads: of the CPU; 0 = the engine's choice.
        out: file of the results; None = none.
    """

    models: tuple[Path, ...]
    sizes: tuple[int, ...]
    engines: tuple[str, ...]
    turns: int
    threads: int
    out: Path | None


@dataclass(frozen=True)
class Subject:
    """A network to be measured.

    Attributes:
        name: in the table.
        graph: the network in floating point; None = there is only the quantised one.
        int8: the network quantised; None = there is none.
        shapes: of its inputs, by name.
        published: the published package's own graph of it; None = there is none.
    """

    name: str
    graph: Path | None
    int8: Path | None
    shapes: dict[str, tuple[int, ...]]
    published: Path | None = None


def parse(arguments: Sequence[str]) -> Bench:
    """Reads and checks a command line.

    Raises:
        UserError: something is wrong with one of the arguments.
    """
    parser = make_parser(__doc__, ("models",), "what to measure: the networks")
    option = parser.add_argument
    option(
        "--models", nargs="+", type=Path, default=(), metavar="FILE", help="exported networks instead of the default"
    )
    option(
        "--sizes", nargs="+", type=int, choices=SIZES, default=SIZES, help="of the default generator; default: all"
    )
    option("--engines", nargs="+", choices=tuple(ENGINES), default=tuple(ENGINES), help="default: all")
    option("--turns", type=int, default=20, metavar="N", help="how often each is measured (default: %(default)s)")
    option("--threads", type=int, default=0, metavar="N", help="of the CPU; default: the engine's choice")
    option("--out", type=Path, metavar="FILE.json", help="write all figures to a file")
    given = parser.parse_args(arguments)
    if not 1 <= given.turns <= LARGEST_TURNS:
        raise UserError(f"--turns {given.turns}: must be from 1 to {LARGEST_TURNS}")
    if given.threads < 0:
        raise UserError(f"--threads {given.threads}: must be 0 (the engine's choice) or more")
    if given.out is not None and (given.out.is_dir() or not given.out.parent.is_dir()):
        raise UserError(f"--out {given.out}: give the name of a file in a folder that exists")
    once = each_once(given, "models", "sizes", "engines")
    return Bench(turns=given.turns, threads=given.threads, out=given.out, **once)


def run(bench: Bench, *, command: list[str], show: Callable[[RenderableType], None]) -> bool:
    """Measures all networks in all engines.

    Args:
        bench: what to measure.
        command: the command line, for the record.
        show: takes what is to be shown, as it comes.

    Returns:
        Whether anything could be measured.

    Raises:
        UserError: a network is missing or damaged, or the results cannot be written.
    """
    subjects = [_subject(path) for path in bench.models] or default_subjects(bench.sizes)
    product = MatrixProduct(bench.threads)
    machine = describe_machine()
    show(f"{machine.cpu}, {machine.cores_logical} cores")
    results = []
    for subject in subjects:
        results.append(measure(subject, bench, product))
        show(table_of(results[-1]))
    cells = [cell for result in results for cell in result.cells]
    absent = [absence for result in results for absence in result.absent]
    show(legend(results, product.name, turns=bench.turns, warm_up=WARM_UP))
    if bench.out is not None:
        content = {
            "command": command,
            "machine": asdict(machine),
            "warm_up": WARM_UP,
            "turns": bench.turns,
            "threads": bench.threads,
            "matrix_product": {"side": arithmetic.SIDE, "library": product.name},
            "cells": [asdict(cell) for cell in cells],
            "absent": [asdict(absence) for absence in absent],
        }
        try:
            bench.out.write_text(json.dumps(content, indent=2) + "\n", encoding="utf-8")
        except OSError as error:
            raise UserError(f"--out {bench.out}: {error.strerror}; choose another place") from error
    return bool(cells)


def default_subjects(sizes: Sequence[int]) -> list[Subject]:
    """The application's own networks.

    Raises:
        UserError: one is not on this machine.
    """
    weights = registry.path("synthesis-bin")
    latent = (1, 18, 512)
    generators = [
        Subject(
            f"generator {size}",
            beside_weights(SHIPPED / f"generator-{size}.onnx", weights),
            beside_weights(SHIPPED / f"generator-int8-{size}.onnx", weights) if size in INT8_SIZES else None,
            {"w_plus": latent},
            registry.path(PUBLISHED_OF["generator"]),
        )
        for size in sizes
    ]
    if STUDENT_SIZE in sizes:
        student = beside_weights(SHIPPED / f"student-{STUDENT_SIZE}.onnx", weights)
        generators.append(Subject(f"student {STUDENT_SIZE}", student, None, {"w_plus": latent}))
    mapping = beside_weights(SHIPPED / "mapping.onnx", registry.path("mapping-bin"))
    crop = {"image": (1, 3, 128, 128), "landmarks": (1, 478, 2)}
    return [
        *generators,
        Subject("mapping", mapping, None, {"z": (1, 512)}, registry.path(PUBLISHED_OF["mapping"])),
        Subject("encoder", encoder_graph(), None, crop),
        Subject("landmarks", SHIPPED / "landmarks.onnx", None, {"w_plus": latent}),
    ]


def _subject(path: Path) -> Subject:
    """An exported network, by its manifest."""
    manifest = artefact.read(path)
    batch = manifest.batch or 1
    shapes = {name: (batch, *(int(size) for size in port.shape[1:])) for name, port in manifest.inputs.items()}
    quantised = manifest.options.get("precision") == "int8"
    return Subject(
        f"{manifest.kind} {path.parent.name}/{manifest.file}",
        None if quantised else manifest.graph,
        manifest.graph if quantised else None,
        shapes,
        registry.path(PUBLISHED_OF[manifest.kind]) if manifest.kind in PUBLISHED_OF else None,
    )


def measure(subject: Subject, bench: Bench, product: MatrixProduct) -> Result:
    """Runs one network in all engines, by turns."""
    engines, absent = _load(subject, bench)
    published = _open_published(subject, bench.threads)
    feeds = {name: _values(shape) for name, shape in subject.shapes.items()}
    runs: dict[str, Callable[[], object]] = {"": product.run}
    if published is not None:
        runs[PUBLISHED] = published
    for (engine, precision), loaded in engines.items():
        runs[f"{engine} {precision}"] = lambda loaded=loaded: loaded(feeds)  # type: ignore[misc]
    walls, processors = take_turns(runs, WARM_UP, bench.turns)
    multiplications = _count(subject)
    # What the multiplications would take at the speed of the product in the same turn.
    floor = walls[""] * (2 * multiplications / product.flops)
    cells = [
        Cell(
            model=subject.name,
            engine=engine,
            asked=precision,
            name=loaded.name,
            batch=next(iter(subject.shapes.values()))[0],
            multiplications=multiplications,
            median_ms=float(np.median(walls[key])) * 1000,
            p95_ms=float(np.percentile(walls[key], 95)) * 1000,
            processor_ms=float(np.median(processors[key])) * 1000,
            times_floor=float(np.median(walls[key] / floor)) if multiplications else None,
            times_published=None if published is None else float(np.median(walls[key] / walls[PUBLISHED])),
        )
        for (engine, precision), loaded in engines.items()
        for key in (f"{engine} {precision}",)
    ]
    peak = float(np.median(product.flops / walls[""])) / 1e9
    reference = None if published is None else float(np.median(walls[PUBLISHED])) * 1000
    return Result(subject.name, multiplications, peak, reference, cells, absent)


def take_turns(
    runs: Mapping[str, Callable[[], object]], warm_up: int, turns: int
) -> tuple[dict[str, F32], dict[str, F32]]:
    """Runs everything once in each turn.

    Returns:
        Seconds on the clock and seconds of the processor, by name, [turns]; without those of the warm-up.
    """
    walls: dict[str, list[float]] = {name: [] for name in runs}
    processors: dict[str, list[float]] = {name: [] for name in runs}
    for turn in range(warm_up + turns):
        for name, once in runs.items():
            time.sleep(PAUSE)
            wall, processor = time.perf_counter(), time.process_time()
            once()
            if turn >= warm_up:
                walls[name].append(time.perf_counter() - wall)
                processors[name].append(time.process_time() - processor)
    return tuple({name: np.array(found, np.float32) for name, found in by.items()} for by in (walls, processors))  # type: ignore[return-value]


def _load(subject: Subject, bench: Bench) -> tuple[dict[tuple[str, str], Engine], list[Absent]]:
    """The network in every engine and precision that runs it, and why it does not run in others."""
    found: dict[tuple[str, str], Engine] = {}
    absent = []
    for engine in bench.engines:
        for precision, graph in _variants(subject, engine):
            batch = next(iter(subject.shapes.values()))[0]
            try:
                loaded = open_engine(
                    graph, engine, precision, batch=batch, threads=bench.threads, cache=engine_cache()
                )
            except Unavailable as problem:
                absent.append(Absent(subject.name, engine, precision, str(problem)))
            else:
                found[engine, precision] = loaded
    return found, absent


def _variants(subject: Subject, engine: str) -> list[tuple[Precision, Path]]:
    """The precisions to try, and the graph of each."""
    if subject.graph is None:
        precisions: tuple[Precision, ...] = ()
    elif subject.graph.suffix == ".engine":
        precisions = ("auto",)
    else:
        precisions = PRECISIONS.get(engine, ("float32",))
    variants = [(precision, subject.graph) for precision in precisions if subject.graph is not None]
    if subject.int8 is not None and (engine in ("openvino", "tensorrt") or subject.graph is None):
        quantised: Precision = "int8" if engine in ("openvino", "tensorrt") else "auto"
        variants.append((quantised, subject.int8))
    return variants


def _open_published(subject: Subject, threads: int) -> Callable[[], object] | None:
    """The published graph as the package runs it: in OpenVINO on the CPU, with no settings but the threads."""
    if subject.published is None:
        return None
    import openvino as ov

    settings = {"INFERENCE_NUM_THREADS": threads} if threads else {}
    compiled = ov.Core().compile_model(subject.published, "CPU", settings)
    request = compiled.create_infer_request()
    feeds = [_values(tuple(port.shape)) for port in compiled.inputs]
    return lambda: request.infer(feeds, share_inputs=True, share_outputs=True)


def _count(subject: Subject) -> int:
    """Multiplications; 0 where the file does not tell."""
    graph = subject.graph or subject.int8
    if graph is None or graph.suffix == ".engine":
        return 0
    return arithmetic.count_multiplications(graph, subject.shapes)


def _values(shape: tuple[int, ...]) -> F32:
    """Numbers of a usual size: very small ones would be slow."""
    return np.random.default_rng(0).standard_normal(shape).astype(np.float32)
