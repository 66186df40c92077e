"""run.sh on a small project of its own: a real bash, a real venv, a real pip, and no network.

The project's only dependency, `tiny`, comes from a folder; its modules `live` and `models` say what they were
given. That the real project installs is what every run of tests/run.sh shows.
"""

import json
import os
import shutil
import signal
import subprocess
import sys
import time
import zipfile
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TypedDict

import pytest

ROOT = Path(__file__).parents[1]

pytestmark = pytest.mark.skipif(os.name != "posix" or not shutil.which("bash"), reason="needs bash")

PYPROJECT = """\
[build-system]
requires = []
build-backend = "backend"
backend-path = ["."]
[project]
name = "morphcam"
version = "0.1.0"
dependencies = ["tiny"]
[project.optional-dependencies]
cpu = ["runtime-cpu"]
gpu = ["runtime-gpu"]
dev = ["linter"]
"""

# The smallest build backend: an editable install is a wheel whose .pth file names the checkout.
BACKEND = r"""import ast, pathlib, re, zipfile

def build_editable(wheel_directory, config_settings=None, metadata_directory=None):
    file = "morphcam-0.1.0-py3-none-any.whl"
    lists = re.findall(r"^(\w+) = (\[.*\])$", pathlib.Path("pyproject.toml").read_text(), re.MULTILINE)
    metadata = "Metadata-Version: 2.1\nName: morphcam\nVersion: 0.1.0\n"
    for extra, names in lists:
        condition = "" if extra == "dependencies" else f"; extra == '{extra}'"
        metadata += f"Provides-Extra: {extra}\n" if condition else ""
        metadata += "".join(f"Requires-Dist: {name}{condition}\n" for name in ast.literal_eval(names))
    wheel = "Wheel-Version: 1.0\nGenerator: test\nRoot-Is-Purelib: true\nTag: py3-none-any\n"
    with zipfile.ZipFile(pathlib.Path(wheel_directory, file), "w") as archive:
        archive.writestr("morphcam.pth", str(pathlib.Path.cwd()))
        archive.writestr("morphcam-0.1.0.dist-info/METADATA", metadata)
        archive.writestr("morphcam-0.1.0.dist-info/WHEEL", wheel)
        archive.writestr("morphcam-0.1.0.dist-info/RECORD", "")
    return file
"""

LIVE = """\
import importlib.metadata, json, os, sys
names = sorted(distribution.name for distribution in importlib.metadata.distributions())
print(json.dumps({"arguments": sys.argv[1:], "folder": os.getcwd(), "installed": names}))
"""

MODELS = 'import sys; print("models fetched", file=sys.stderr)'


def make_wheel(folder: Path, name: str) -> None:
    """An empty wheel, version 1.0."""
    with zipfile.ZipFile(folder / f"{name}-1.0-py3-none-any.whl", "w") as archive:
        information = f"{name}-1.0.dist-info"
        archive.writestr(f"{information}/METADATA", f"Metadata-Version: 2.1\nName: {name}\nVersion: 1.0\n")
        archive.writestr(
            f"{information}/WHEEL",
            "Wheel-Version: 1.0\nGenerator: test\nRoot-Is-Purelib: true\nTag: py3-none-any\n",
        )
        archive.writestr(f"{information}/RECORD", "")


class Printed(TypedDict):
    """What the small application prints about itself."""

    arguments: list[str]
    folder: str
    installed: list[str]


@dataclass(frozen=True)
class Run:
    """What a finished run.sh left.

    Attributes:
        code: its exit code.
        said: what it wrote on standard error.
        output: what it wrote on standard output.
    """

    code: int
    said: str
    output: str

    @property
    def printed(self) -> Printed:
        """What the application printed; an error if run.sh did not get that far."""
        assert self.code == 0, self.said
        printed: Printed = json.loads(self.output)
        return printed

    @property
    def set_up(self) -> bool:
        """Whether pip was at work."""
        return "installing packages" in self.said


@dataclass(frozen=True)
class Project:
    """A checkout of the small project, in a folder whose name has spaces."""

    folder: Path
    environment: dict[str, str]

    def start(
        self, *arguments: str, cwd: Path | None = None, environment: Mapping[str, str] | None = None
    ) -> "subprocess.Popen[str]":
        """run.sh in a process group of its own, as a terminal gives it."""
        return subprocess.Popen(
            [self.folder / "run.sh", *arguments],
            cwd=cwd or self.folder.parent,
            env={**self.environment, **(environment or {})},
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            start_new_session=True,
        )

    def finish(self, process: "subprocess.Popen[str]") -> Run:
        """Waits for a run."""
        output, said = process.communicate(timeout=120)
        return Run(process.returncode, said, output)

    def run(self, *arguments: str, cwd: Path | None = None, environment: Mapping[str, str] | None = None) -> Run:
        """run.sh from start to end; `environment` is added to the project's."""
        return self.finish(self.start(*arguments, cwd=cwd, environment=environment))


@pytest.fixture
def project(tmp_path: Path) -> Project:
    folder = tmp_path / "my check out"
    for file, content in {
        "pyproject.toml": PYPROJECT,
        "backend.py": BACKEND,
        "live/__main__.py": LIVE,
        "models/__main__.py": MODELS,
    }.items():
        (folder / file).parent.mkdir(parents=True, exist_ok=True)
        (folder / file).write_text(content, encoding="utf-8")
    shutil.copy(ROOT / "run.sh", folder)
    wheels = tmp_path / "wheels"
    wheels.mkdir()
    for name in ("tiny", "runtime_cpu", "runtime_gpu", "linter", "later"):
        make_wheel(wheels, name)
    kept = {name: value for name, value in os.environ.items() if not name.startswith(("PIP_", "MORPHCAM_"))}
    index = {"PIP_CONFIG_FILE": os.devnull, "PIP_NO_INDEX": "1", "PIP_FIND_LINKS": wheels.as_uri()}
    python = {"MORPHCAM_PYTHON": sys.executable, "MORPHCAM_DEVICE": "cpu"}
    return Project(folder, kept | index | python)


def test_first_start_sets_up_and_later_ones_only_run(project: Project, tmp_path: Path) -> None:
    elsewhere = tmp_path / "else where"
    (elsewhere / "live").mkdir(parents=True)  # must not be taken for the application
    (elsewhere / "live" / "__main__.py").write_text("raise SystemExit('the wrong one')", encoding="utf-8")
    (elsewhere / "models.py").write_text("raise SystemExit('the wrong one')", encoding="utf-8")
    (tmp_path / "link").symlink_to(project.folder / "run.sh")

    first = project.run("--source", "a b.mp4", "", cwd=elsewhere)
    assert first.code == 0, first.said
    assert first.set_up
    assert "models fetched" in first.said
    assert first.printed["arguments"] == ["--source", "a b.mp4", ""]
    assert first.printed["folder"] == str(elsewhere)
    assert {"tiny", "runtime_cpu", "morphcam"} <= set(first.printed["installed"])
    assert not {"runtime_gpu", "linter"} & set(first.printed["installed"])

    begun = time.monotonic()
    second = project.run(cwd=elsewhere)
    assert time.monotonic() - begun < 2
    assert (second.code, second.said) == (0, "models fetched\n")

    linked = subprocess.run(
        [tmp_path / "link", "--help"], cwd="/", env=project.environment, capture_output=True, text=True, check=False
    )
    assert (linked.returncode, linked.stderr) == (0, "")  # and help needs no models

    changed = PYPROJECT.replace('["tiny"]', '["tiny", "later"]')
    (project.folder / "pyproject.toml").write_text(changed, encoding="utf-8")
    third = project.run("doctor")
    assert third.set_up and "making the environment" not in third.said
    assert "models fetched" not in third.said
    assert "later" in third.printed["installed"]


def test_device_decides_the_runtime_and_extras_stay(project: Project, tmp_path: Path) -> None:
    set_up_for_tests = ["bash", "-c", 'source "$1/run.sh" && set_up dev', "bash", str(project.folder)]
    subprocess.run(set_up_for_tests, env=project.environment, check=True, capture_output=True, timeout=120)
    cpu = project.run()
    assert not cpu.set_up
    assert {"linter", "runtime_cpu"} <= set(cpu.printed["installed"])

    driver = tmp_path / "bin" / "nvidia-smi"
    driver.parent.mkdir()
    driver.write_text("#!/bin/sh\necho 'GPU 0: NVIDIA Something (UUID: GPU-0)'\n", encoding="utf-8")
    driver.chmod(0o755)
    with_driver = {"MORPHCAM_DEVICE": "", "PATH": f"{driver.parent}:{os.environ['PATH']}"}
    gpu = project.run(environment=with_driver)
    assert "making the environment" in gpu.said
    assert {"linter", "runtime_gpu"} <= set(gpu.printed["installed"])
    assert "runtime_cpu" not in gpu.printed["installed"]
    assert not project.run(environment=with_driver).set_up

    assert "must be cpu or gpu" in project.run(environment={"MORPHCAM_DEVICE": "tpu"}).said


def test_moved_checkout_is_set_up_again(project: Project) -> None:
    assert project.run().code == 0
    moved = Project(project.folder.rename(project.folder.with_name("moved here")), project.environment)
    again = moved.run()
    assert again.code == 0, again.said
    assert "making the environment" in again.said


@pytest.mark.slow
@pytest.mark.parametrize(
    ("moment", "how"),
    [
        ("making the environment", signal.SIGKILL),
        ("installing packages", signal.SIGKILL),
        ("installing packages", signal.SIGINT),
    ],
)
def test_interrupted_set_up_is_mended(project: Project, moment: str, how: signal.Signals) -> None:
    process = project.start()
    assert process.stderr
    for line in process.stderr:
        if moment in line:
            break
    time.sleep(0.5)
    os.killpg(process.pid, how)
    assert project.finish(process).code != 0
    again = project.run()
    assert again.code == 0, again.said
    assert "making the environment" in again.said
    assert "tiny" in again.printed["installed"]


def test_two_set_ups_at_once_do_not_meet(project: Project) -> None:
    processes = [project.start(), project.start()]
    runs = [project.finish(process) for process in processes]
    assert [run.code for run in runs] == [0, 0], runs
    assert sorted(run.set_up for run in runs) == [False, True]
    assert sum("another process is setting up" in run.said for run in runs) == 1


@pytest.mark.slow
def test_package_that_cannot_be_had_is_named_and_nothing_counts_as_installed(project: Project) -> None:
    wanting = PYPROJECT.replace('["tiny"]', '["tiny", "nowhere-to-be-found"]')
    (project.folder / "pyproject.toml").write_text(wanting, encoding="utf-8")
    failed = project.run()
    assert failed.code == 1
    last = failed.said.splitlines()[-1]
    assert last.startswith("morphcam: cannot install the packages: No matching distribution")
    assert "nowhere-to-be-found" in last and "run this again" in last
    (project.folder / "pyproject.toml").write_text(PYPROJECT, encoding="utf-8")
    assert project.run().code == 0


def test_unreachable_index_is_said_to_be_unreachable(project: Project) -> None:
    unreachable = {"PIP_NO_INDEX": "0", "PIP_FIND_LINKS": "", "PIP_INDEX_URL": "http://127.0.0.1:9/simple"}
    failed = project.run(environment=unreachable | {"PIP_RETRIES": "1"})
    assert failed.code == 1
    assert "the package index cannot be reached; check the network" in failed.said.splitlines()[-1]


def test_machine_without_a_new_python_is_told_so(project: Project, tmp_path: Path) -> None:
    tools = tmp_path / "tools"
    tools.mkdir()
    for name in ("bash", "dirname", "grep", "head", "sed"):
        (tools / name).symlink_to(str(shutil.which(name)))
    run = project.run(environment={"PATH": str(tools), "MORPHCAM_PYTHON": ""})
    assert run.code == 1
    assert run.said.startswith("morphcam: no Python 3.10 or newer was found; install one")
    run = project.run(environment={"MORPHCAM_PYTHON": "/nowhere/python"})
    assert run.code == 1
    assert run.said.startswith("morphcam: MORPHCAM_PYTHON=/nowhere/python is no Python 3.10 or newer; set it to")
    assert run.said.count("\n") == 1


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="only Linux leaves these libraries to the system")
def test_missing_system_libraries_are_named_by_package() -> None:
    script = 'source "$1/run.sh"; system_libraries="$3"; find_missing_libraries "$2"'
    libraries = "libc.so.6=libc6 libnosuch.so.9=nosuch9"
    command = ["bash", "-c", script, "bash", str(ROOT), sys.executable, libraries]
    assert subprocess.run(command, capture_output=True, text=True, check=True).stdout == "nosuch9\n"
