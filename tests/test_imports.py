"""Who may import whom, and what may lie at the top of the repository."""

import ast
import re
import subprocess
import sys
from collections.abc import Iterable, Iterator
from pathlib import Path

import pytest

if sys.version_info >= (3, 11):
    import tomllib
else:
    import tomli as tomllib

ROOT = Path(__file__).parents[1]
PACKAGES = ("live", "export", "models")
TOP_LEVEL = {*PACKAGES, "tests", "pyproject.toml", "README.md", "run.sh", ".gitignore", ".ci"}
# What lies at the top of `live`, from the bottom up: a row imports rows above it in this list, never its own.
ROWS = (
    {"frame", "mailbox", "people", "priority", "timing"},
    {"sources", "faces", "effects", "smooth", "render", "governor", "outputs"},
    {"settle", "options"},
    {"synthesis", "report"},
    {"worker"},
    {"pipeline"},
    {"observer", "loading"},
    {"display", "engine"},
    {"session", "doctor", "enrolment", "benches"},
    {"__main__"},
)
STAGES = (
    "sources",
    "faces.track",
    "faces.align",
    "effects",
    "smooth",
    "render",
    "governor",
    "outputs",
    "display.hud",
    "display.keys",
)
LOOP = {"display.screen", *(part for row in ROWS[2:] for part in row)} - {"display"}
# Installed by the extra `train` alone.
TRAINING_ONLY = {"torch", "onnx", "sklearn", "dlib", "nncf", "skimage", "skvideo", "tflite"}
# Libraries whose package has another name.
PROVIDERS = {
    "cuda": "cuda-bindings",
    "cv2": "opencv-contrib-python",
    "dlib": "dlib-bin",
    "pynvml": "nvidia-ml-py",
    "pytorch_optimizer": "pytorch-optimizer",
    "skimage": "scikit-image",
    "sklearn": "scikit-learn",
    "skvideo": "sk-video",
}


def imports_of(source: str) -> Iterator[str]:
    """Every module that a source text may import, at any depth; for `from a import b` both a and a.b."""
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0 and node.module, "relative imports hide who imports whom"
            yield node.module
            yield from (f"{node.module}.{alias.name}" for alias in node.names)


def modules(package: str) -> dict[str, set[str]]:
    """What each module of a package imports."""
    return {
        ".".join(file.relative_to(ROOT).with_suffix("").parts): set(imports_of(file.read_text(encoding="utf-8")))
        for file in sorted((ROOT / package).rglob("*.py"))
    }


def live_graph() -> dict[str, set[str]]:
    """The modules of `live` by their name below it, and which others each imports; a folder is its `__init__`."""
    files = modules("live")
    names = {module: module.removeprefix("live.").removesuffix(".__init__") for module in files}
    graph: dict[str, set[str]] = {}
    for module, imported in files.items():
        below = {name.removeprefix("live.") for name in imported}
        # Whoever imports a module from another folder runs that folder's `__init__` too.
        folders = {name.split(".")[0] for name in below} - {names[module].split(".")[0]}
        graph[names[module]] = below | folders
    return {name: (below & graph.keys()) - {name} for name, below in graph.items()}


def is_in(name: str, parts: Iterable[str]) -> bool:
    """Whether a module is one of these, or lies in one of them."""
    return any(name == part or name.startswith(f"{part}.") for part in parts)


def reachable(graph: dict[str, set[str]], start: str) -> set[str]:
    """All that `start` imports, and that they import, and so on."""
    found: set[str] = set()
    todo = [start]
    while todo:
        new = graph[todo.pop()] - found
        found |= new
        todo += new
    return found


@pytest.mark.parametrize(
    ("source", "expected"),
    [
        ("import torch.nn as nn", {"torch.nn"}),
        ("def f():\n    from live import sink", {"live", "live.sink"}),
        ("try:\n    import a, b\nexcept ImportError:\n    import c", {"a", "b", "c"}),
    ],
)
def test_imports_are_found_wherever_they_hide(source: str, expected: set[str]) -> None:
    assert set(imports_of(source)) == expected


@pytest.mark.parametrize(
    ("package", "forbidden"), [("models", {"live", "export"}), ("live", {"export"}), ("export", {"live"})]
)
def test_packages_meet_in_models_alone(package: str, forbidden: set[str]) -> None:
    for module, imported in modules(package).items():
        assert not {name.split(".")[0] for name in imported} & (forbidden | {"tests"}), module


def test_torch_and_what_else_trains_stay_out_of_the_running_application() -> None:
    for module, imported in (modules("live") | modules("models")).items():
        if not module.startswith("models.networks."):
            assert not {name.split(".")[0] for name in imported} & TRAINING_ONLY, module
            assert not any(name.startswith("models.networks") for name in imported), module


def test_running_application_loads_without_the_training_packages() -> None:
    names = [name for package in ("live", "models") for name in modules(package)]
    wanted = [name.removesuffix(".__init__") for name in names if not name.startswith("models.networks")]
    script = "import importlib, sys; [importlib.import_module(name) for name in sys.argv[1:]]; print(*sys.modules)"
    command = [sys.executable, "-c", script, *wanted]
    loaded = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=120, check=True).stdout
    assert not set(loaded.split()) & TRAINING_ONLY


def test_frame_knows_no_other_part_of_the_loop() -> None:
    assert reachable(live_graph(), "frame") == set()


def test_every_part_of_the_application_has_its_row() -> None:
    parts = [part for row in ROWS for part in row]
    assert sorted({name.split(".")[0] for name in live_graph()} - {"__init__"}) == sorted(parts)


def test_imports_go_one_way() -> None:
    row_of = {part: number for number, row in enumerate(ROWS) for part in row}
    for name, imported in live_graph().items():
        part = name.split(".")[0]
        for other in {other.split(".")[0] for other in imported} - {part, "__init__"}:
            assert row_of[other] < row_of[part], f"{name} imports {other}"


def test_no_module_imports_itself_by_a_detour() -> None:
    graph = live_graph()
    assert {name for name in graph if name in reachable(graph, name)} == set()


@pytest.mark.parametrize("stage", STAGES)
def test_stage_knows_neither_another_stage_nor_the_loop(stage: str) -> None:
    graph = live_graph()
    members = [name for name in graph if is_in(name, [stage])]
    assert members
    for member in members:
        known = reachable(graph, member)
        assert {name for name in known if is_in(name, {*STAGES, *LOOP} - {stage})} == set(), member


def test_nothing_but_the_session_and_the_command_line_knows_the_engine() -> None:
    graph = live_graph()
    assert {name for name in graph if "engine" in reachable(graph, name)} <= {"session", "__main__"}
    assert {name for name in graph if "__main__" in reachable(graph, name)} == set()


@pytest.mark.parametrize(
    ("package", "extras"),
    [
        ("live", {"cpu", "gpu"}),
        ("models", {"cpu", "gpu", "tensorrt", "train"}),
        ("export", {"cpu", "gpu", "train"}),
        ("tests", {"cpu", "gpu", "train", "dev"}),
    ],
)
def test_every_library_that_is_imported_is_asked_for(package: str, extras: set[str]) -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    asked_for = [
        *project["dependencies"],
        *(name for extra in extras for name in project["optional-dependencies"][extra]),
    ]
    names = {re.split(r"[^\w.-]", requirement)[0].lower() for requirement in asked_for}
    for module, imported in modules(package).items():
        for library in {name.split(".")[0] for name in imported} - sys.stdlib_module_names - {*PACKAGES, "tests"}:
            assert PROVIDERS.get(library, library) in names, f"{module} imports {library}"


def test_top_level_holds_what_it_should_and_nothing_else() -> None:
    if not (ROOT / ".git").exists():
        pytest.skip("not a git checkout: ignored files cannot be told from others")
    command = ["git", "ls-files", "-z", "--cached", "--others", "--exclude-standard"]
    listed = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=True).stdout
    assert {name.split("/")[0] for name in listed.split("\0") if name} <= TOP_LEVEL
