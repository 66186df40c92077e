"""The benchmark of the networks: its arithmetic, its turns, its table, and the command itself."""

from __future__ import annotations

import io
import json
from dataclasses import replace
from functools import partial
from pathlib import Path

import pytest
from rich.console import Console

from live.__main__ import main
from live.benches import bench_models
from live.benches.models_result import Absent, Cell, Result, absences, legend, table_of
from models import arithmetic, registry
from models.zoo import SHIPPED, beside_weights

CELL = Cell(
    "generator 256", "openvino", "float32", "openvino CPU float32", 1, 3_954_677_760, 51.23, 60.0, 99.9, 1.2345, 0.1
)
ABSENT = Absent("generator 256", "coreml", "float32", "this onnxruntime has no CoreMLExecutionProvider")


@pytest.mark.parametrize(
    "arguments",
    [
        "bench models --sizes 300",
        "bench models --engines abacus",
        "bench models --turns 0",
        "bench models --threads -1",
        "bench models --out no/such/folder/out.json",
        "bench models --models none.onnx",
        "bench --out here models",
    ],
)
def test_what_does_not_exist_is_one_line_and_exit_code_2(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str], arguments: str
) -> None:
    monkeypatch.chdir(tmp_path)
    assert main(arguments.split()) == 2
    told = capfd.readouterr()
    assert told.out == "" and len(told.err.splitlines()) == 1
    assert not list(tmp_path.iterdir())


def test_multiplications_are_those_of_the_networks() -> None:
    generator = beside_weights(SHIPPED / "generator-1024.onnx", registry.path("synthesis-bin"))
    ours = arithmetic.count_multiplications(generator, {"w_plus": (1, 18, 512)})
    published = arithmetic.count_multiplications(registry.path("synthesis-xml"), {"style": (1, 512)})
    assert ours == pytest.approx(7.285e9, rel=1e-3)
    assert ours < published < 1.02 * ours  # whose inverse Haar transform is a convolution
    three = arithmetic.count_multiplications(generator, {"w_plus": (3, 18, 512)})
    assert three == pytest.approx(3 * ours, rel=1e-2)
    mapping = beside_weights(SHIPPED / "mapping.onnx", registry.path("mapping-bin"))
    assert arithmetic.count_multiplications(mapping, {"z": (1, 512)}) == 8 * 512 * 512


def test_everything_runs_once_in_each_turn_and_the_warm_up_does_not_count() -> None:
    order: list[str] = []
    runs = {name: partial(order.append, name) for name in "abc"}
    walls, processors = bench_models.take_turns(runs, warm_up=2, turns=3)
    assert order == list("abc") * 5
    assert {name: len(found) for name, found in walls.items()} == dict.fromkeys("abc", 3)
    assert all((found >= 0).all() for found in processors.values())


def test_the_table_fits_a_narrow_terminal() -> None:
    shown = io.StringIO()
    longest = replace(CELL, name="onnxruntime-tensorrt GPU float16", times_floor=None, times_published=None)
    result = Result("generator 256", 3_954_677_760, 160.0, 1234.5, [CELL, longest], [ABSENT])
    Console(file=shown, width=80).print(table_of(result))
    lines = [" ".join(line.split()) for line in shown.getvalue().splitlines()]
    assert lines[0] == "generator 256, 3.95 G multiplications"
    assert "openvino CPU float32 51.2 60.0 99.9 1.23 0.10" in lines
    assert "onnxruntime-tensorrt GPU float16 51.2 60.0 99.9" in lines
    assert "the published package's graph 1234.5 1" in lines
    assert not any("…" in line for line in lines)
    told = legend([result], "openvino", turns=20, warm_up=3)
    assert "20 turns" in told and "3 turns" in told and "160 GFLOP/s" in told
    assert told.splitlines()[-1] == "not here: coreml: this onnxruntime has no CoreMLExecutionProvider"


def test_an_absence_is_told_once_and_of_which_networks_where_not_of_all() -> None:
    cases = [ABSENT, replace(ABSENT, model="mapping"), Absent("mapping", "openvino", "bfloat16", "no bfloat16 here")]
    assert absences([Result("generator 256", 1, 1.0, None, [CELL], cases)]) == [
        "coreml: this onnxruntime has no CoreMLExecutionProvider",
        "openvino bfloat16 (mapping): no bfloat16 here",
    ]


def test_the_small_networks_are_measured_and_what_is_absent_is_told(
    tmp_path: Path, capfd: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    small = [subject for subject in bench_models.default_subjects(()) if subject.name in ("mapping", "landmarks")]
    monkeypatch.setattr(bench_models, "default_subjects", lambda _sizes: small)
    out = tmp_path / "models.json"
    assert (
        main(
            ["bench", "models", "--turns", "3", "--engines", "openvino", "onnxruntime", "directml", "--out", str(out)]
        )
        == 0
    )
    table = capfd.readouterr().out
    told = json.loads(out.read_text(encoding="utf-8"))
    assert (told["turns"], told["warm_up"]) == (3, bench_models.WARM_UP)
    assert told["machine"]["packages"]["openvino"]
    measured = {(cell["model"], cell["engine"], cell["asked"]): cell for cell in told["cells"]}
    for model in ("mapping", "landmarks"):
        for engine in ("openvino", "onnxruntime"):
            cell = measured[model, engine, "float32"]
            assert 0 < cell["median_ms"] <= cell["p95_ms"]
            assert cell["times_floor"] > 0 and cell["name"] in table
            assert (cell["times_published"] is None) == (model == "landmarks")
    assert {(absence["model"], absence["engine"]) for absence in told["absent"]} >= {("mapping", "directml")}
    assert "not here: directml: " in table
    assert "the published package's graph" in table


@pytest.mark.slow
def test_the_generator_is_measured_in_int8_and_against_the_published_graph(tmp_path: Path) -> None:
    out = tmp_path / "models.json"
    assert (
        main(["bench", "models", "--sizes", "256", "--turns", "2", "--engines", "openvino", "--out", str(out)]) == 0
    )
    cells = {(cell["model"], cell["asked"]): cell for cell in json.loads(out.read_text(encoding="utf-8"))["cells"]}
    assert "int8" in cells["generator 256", "int8"]["name"]
    assert 0 < cells["generator 256", "float32"]["times_published"] < 1  # a quarter of the side
