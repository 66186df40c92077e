"""Runs an exported graph in the engines at hand and says how far it is from the network it was made from."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path

import numpy as np
import onnxruntime as ort
import openvino as ov

from models.arrays import F32
from models.engine import Engine
from models.errors import UserError
from models.manifest import FORMATS, Parity
from models.nvidia import tensorrt_run

Feeds = Mapping[str, F32]
Run = Callable[[Feeds], F32]

BATCHES = (1, 3)  # that a graph of free batch size is run at
ROUNDS = 2  # fresh inputs at each batch size
PICTURE_PEAK = 2.0  # from -1 to 1

# Largest error, in units of the spread of what is expected, that an export may have.
LIMITS = {"float32": 1e-4, "float16": 2e-2}


def open_openvino(graph: Path) -> Run:
    """OpenVINO on the CPU, in float32, at the batch size that comes."""
    core = ov.Core()
    compiled = core.compile_model(core.read_model(graph), "CPU", {"INFERENCE_PRECISION_HINT": "f32"})
    request = compiled.create_infer_request()
    return lambda feeds: np.array(request.infer(dict(feeds))[0])


def open_onnxruntime(graph: Path) -> Run:
    """ONNX Runtime on the CPU; where it has no float16 arithmetic, it rounds to float16 between layers."""
    session = ort.InferenceSession(str(graph), providers=["CPUExecutionProvider"])
    return lambda feeds: np.asarray(session.run(None, dict(feeds))[0])


def open_tensorrt(engine: Path) -> Run:
    """TensorRT, loaded anew for each batch size that comes."""

    @cache
    def loaded(batch: int) -> Engine:
        return tensorrt_run.open_tensorrt(engine, precision="auto", batch=batch, threads=0, cache=None)

    return lambda feeds: next(iter(loaded(len(next(iter(feeds.values()))))(feeds).values()))


@dataclass(frozen=True)
class Opener:
    """How an engine is opened, and what it is called in a manifest."""

    name: str
    open: Callable[[Path], Run]


ENGINES = {
    "openvino": Opener("openvino CPU", open_openvino),
    "onnxruntime": Opener("onnxruntime CPU", open_onnxruntime),
    "tensorrt": Opener("tensorrt GPU", open_tensorrt),
}
# Format of an artefact -> engines that it is checked in.
CHECKED_IN = {"onnx": ("openvino", "onnxruntime"), "openvino": ("openvino",), "tensorrt": ("tensorrt",)}


def engines_of(graph: Path) -> list[Opener]:
    """The engines that a graph file is checked in."""
    return [ENGINES[name] for name in CHECKED_IN[FORMATS[graph.suffix]]]


def worst_psnr(found: F32, expected: F32, peak: float) -> float | None:
    """PSNR in dB of the worst sample of a batch; None where all are equal."""
    squares = ((found - expected).astype(np.float64) ** 2).reshape(len(found), -1).mean(1)
    return None if squares.max() == 0 else float(10 * np.log10(peak**2 / squares.max()))


def compare(engine: str, pairs: list[tuple[F32, F32]], *, picture: bool) -> Parity:
    """The figures of one engine at one batch size.

    Args:
        engine: its name.
        pairs: found and expected, one pair a run.
        picture: whether the output is a picture, see `Parity.psnr_db`.

    Raises:
        UserError: something found is not a finite number.
    """
    found = np.concatenate([pair[0] for pair in pairs])
    expected = np.concatenate([pair[1] for pair in pairs])
    if found.shape != expected.shape or not np.isfinite(found).all():
        raise UserError(f"{engine} gives {list(found.shape)} with values that are not finite; not written")
    errors = np.abs(found.astype(np.float64) - expected)
    peak = PICTURE_PEAK if picture else float(np.ptp(expected))
    psnr = worst_psnr(found, expected, peak) if peak > 0 else None
    return Parity(
        engine,
        len(pairs[0][0]),
        len(found),
        max_error=float(errors.max()),
        mean_error=float(errors.mean()),
        psnr_db=psnr,
    )


def measure(
    graph: Path,
    reference: Run,
    fresh: Callable[[np.random.Generator, int], Feeds],
    *,
    engines: Sequence[Opener],
    batches: tuple[int, ...],
    picture: bool,
    limit: float | None = None,
    least: float | None = None,
    seed: int = 77,
) -> tuple[Parity, ...]:
    """The figures of a graph file in each engine at each batch size.

    Args:
        graph: ``.onnx`` or ``.xml``.
        reference: what is right.
        fresh: random generator and batch size -> inputs that the graph has not been made with.
        engines: that it is run in.
        batches: batch sizes.
        picture: see `compare`.
        limit: largest error allowed, in units of the spread of what is expected; None = any.
        least: PSNR in dB that each batch must reach; None = any.
        seed: of the inputs.

    Raises:
        UserError: an engine is further off than that.
    """
    rng = np.random.default_rng(seed)
    cases = {}
    for batch in batches:
        feeds = [fresh(rng, batch) for _ in range(ROUNDS)]
        cases[batch] = [(one, reference(one)) for one in feeds]
    spread = max(float(np.ptp(expected)) for pairs in cases.values() for _, expected in pairs)
    rows = []
    for engine in engines:
        run = engine.open(graph)
        for batch, pairs in cases.items():
            row = compare(engine.name, [(run(feeds), expected) for feeds, expected in pairs], picture=picture)
            if limit is not None and row.max_error > limit * spread:
                raise UserError(
                    f"{graph.name} in {engine.name} at batch {batch} is off by up to {row.max_error:.2g} "
                    f"where values spread over {spread:.2g} (allowed: {limit:g} of that); not written"
                )
            if least is not None and row.psnr_db is not None and row.psnr_db < least:
                raise UserError(
                    f"{graph.name} in {engine.name} at batch {batch} is {row.psnr_db:.1f} dB from float32, "
                    f"wanted {least:g}; not written"
                )
            rows.append(row)
    return tuple(rows)
