"""Pulling models: real pip, against an index made on the spot, with everything that goes wrong there."""

import functools
import hashlib
import http.server
import os
import random
import re
import signal
import subprocess
import sys
import threading
import venv
import zipfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from models import registry, wheel
from models.errors import UserError

RANDOM = random.Random(1).randbytes(3_000_000)  # does not compress: the wheel is as large
ZEROS = bytes(6_000_000)  # compresses to nothing: only the extracted file is large
POSIX_ONLY = pytest.mark.skipif(os.name != "posix", reason="uses POSIX signals and limits")

# What `python -m models` does, for a registry of this test's own.
PULL = """
import sys
from pathlib import Path
from models import registry
from models.errors import UserError
try:
    registry.fetch(registry.read_registry(Path(sys.argv[1])).values())
except UserError as error:
    sys.exit(f"UserError: {error}")
"""


def make_wheel(folder: Path, members: dict[str, bytes]) -> Path:
    """A wheel called tiny, version 1.0, that pip accepts."""
    folder.mkdir(parents=True, exist_ok=True)
    file = folder / "tiny-1.0-py3-none-any.whl"
    with zipfile.ZipFile(file, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, content in members.items():
            archive.writestr(name, content)
        archive.writestr("tiny-1.0.dist-info/METADATA", "Metadata-Version: 2.1\nName: tiny\nVersion: 1.0\n")
        archive.writestr(
            "tiny-1.0.dist-info/WHEEL",
            "Wheel-Version: 1.0\nGenerator: test\nRoot-Is-Purelib: true\nTag: py3-none-any\n",
        )
        archive.writestr("tiny-1.0.dist-info/RECORD", "")
    return file


def make_registry(file: Path, members: dict[str, bytes]) -> Path:
    """A registry file that pins these members of the wheel made by `make_wheel`."""
    lines = ["[packages.tiny]", 'version = "1.0"', f"size = {sum(map(len, members.values()))}"]
    for name, content in members.items():
        sha256 = hashlib.sha256(content).hexdigest()
        lines += [f'[artefacts."{Path(name).stem}"]', 'about = "test"', 'package = "tiny"', f'member = "{name}"']
        lines += [f'sha256 = "{sha256}"', f"size = {len(content)}", 'licence = "CC0-1.0"', 'group = "default"']
    file.write_text("\n".join(lines), encoding="utf-8")
    return file


@pytest.fixture
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty cache whose path has a space; pip sees the folder `index` and nothing else."""
    index = tmp_path / "index"
    index.mkdir()
    for variable in [name for name in os.environ if name.startswith("PIP_")]:
        monkeypatch.delenv(variable)
    monkeypatch.setenv("PIP_CONFIG_FILE", os.devnull)
    monkeypatch.setenv("PIP_NO_INDEX", "1")
    monkeypatch.setenv("PIP_FIND_LINKS", index.as_uri())
    monkeypatch.setenv("MORPHCAM_CACHE", str(tmp_path / "my cache"))
    return tmp_path / "my cache"


def files_in(folder: Path) -> dict[str, bytes]:
    return {file.name: file.read_bytes() for file in folder.rglob("*") if file.is_file()}


def start_pull(pins: Path, before: str = "") -> "subprocess.Popen[str]":
    return subprocess.Popen(
        [sys.executable, "-c", before + PULL, str(pins)],
        cwd=Path(registry.__file__).parents[1],
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,
    )


def test_shipped_registry_pins_every_artefact_completely() -> None:
    assert set(registry.names("default")) == {
        "synthesis-xml", "synthesis-bin", "mapping-xml", "mapping-bin", "face-landmarker", "identity",
    }  # fmt: skip
    assert set(registry.names("measure")) == {"age", "gender"}
    for artefact in registry.artefacts().values():
        assert re.fullmatch("[0-9a-f]{64}", artefact.sha256), artefact.name
        assert artefact.size > 0 and artefact.package.size > 0, artefact.name
        assert artefact.licence and artefact.about, artefact.name
    places = [artefact.file for artefact in registry.artefacts().values()]
    assert len(set(places)) == len(places)


def test_words_choose_artefacts_and_groups() -> None:
    assert registry.choose(()) == registry.names("default")
    assert registry.choose(("age", "measure")) == ("age", "gender")
    with pytest.raises(UserError, match=r"no model is called smile; expected one of default, measure, synth"):
        registry.choose(("smile",))


def test_default_models_are_what_they_should_be() -> None:
    registry.pull()
    assert [registry.path(name).stat().st_size for name in registry.names()] == [
        registry.artefacts()[name].size for name in registry.names()
    ]


def test_absent_and_damaged_models_are_told_apart(cache: Path) -> None:
    with pytest.raises(UserError, match=r"age is not on this machine; run \./run\.sh pull measure$"):
        registry.path("age")
    face_landmarker = registry.artefacts()["face-landmarker"]
    face_landmarker.file.parent.mkdir(parents=True)
    face_landmarker.file.write_bytes(bytes(face_landmarker.size))
    with pytest.raises(UserError, match=r"face-landmarker is damaged: .*; run \./run\.sh pull to fetch it again"):
        registry.path("face-landmarker")


def test_pull_brings_members_once_and_mends_damaged_ones(cache: Path, tmp_path: Path) -> None:
    members = {"tiny/a.bin": RANDOM, "tiny/data/b.txt": b"words"}
    source = make_wheel(tmp_path / "index", members)
    known = registry.read_registry(make_registry(tmp_path / "pins.toml", members))
    registry.fetch(known.values())
    assert files_in(cache) == {"a.bin": RANDOM, "b.txt": b"words"}

    source.unlink()  # from here on, asking pip would fail
    registry.fetch(known.values())

    known["a"].file.write_bytes(RANDOM[:-1] + bytes([RANDOM[-1] ^ 1]))
    with pytest.raises(UserError, match="no such wheel"):
        registry.fetch(known.values())
    make_wheel(tmp_path / "index", members)
    registry.fetch(known.values())
    assert files_in(cache) == {"a.bin": RANDOM, "b.txt": b"words"}


@pytest.mark.parametrize(
    ("served", "complaint"),
    [
        ({"tiny/a.bin": RANDOM[::-1]}, "a.bin of tiny-1.0-py3-none-any.whl is not the file it should be: SHA-256"),
        ({"tiny/a.bin": RANDOM + b"?"}, "is not the file it should be"),
        ({"tiny/other.bin": RANDOM}, "holds no tiny/a.bin"),
    ],
)
def test_another_file_than_the_pinned_one_is_refused(
    cache: Path, tmp_path: Path, served: dict[str, bytes], complaint: str
) -> None:
    make_wheel(tmp_path / "index", served)
    known = registry.read_registry(make_registry(tmp_path / "pins.toml", {"tiny/a.bin": RANDOM}))
    with pytest.raises(UserError, match=re.escape(complaint)) as caught:
        registry.fetch(known.values())
    assert "\n" not in str(caught.value)
    assert files_in(cache) == {}


@pytest.mark.parametrize("keep", [0, 1000, 2_999_999])
def test_truncated_wheel_is_refused(cache: Path, tmp_path: Path, keep: int) -> None:
    source = make_wheel(tmp_path / "index", {"tiny/a.bin": RANDOM})
    source.write_bytes(source.read_bytes()[:keep])
    known = registry.read_registry(make_registry(tmp_path / "pins.toml", {"tiny/a.bin": RANDOM}))
    with pytest.raises(UserError, match=r"tiny.*1\.0"):
        registry.fetch(known.values())
    assert files_in(cache) == {}


def test_flipped_bit_in_a_wheel_is_refused(tmp_path: Path) -> None:
    source = make_wheel(tmp_path, {"tiny/a.bin": RANDOM})
    content = bytearray(source.read_bytes())
    content[1_000_000] ^= 1
    source.write_bytes(content)
    with pytest.raises(UserError, match="arrived broken"):
        wheel.extract(
            source, "tiny/a.bin", tmp_path / "a", sha256=hashlib.sha256(RANDOM).hexdigest(), size=len(RANDOM)
        )


def test_unreachable_index_is_said_to_be_unreachable(
    cache: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("PIP_NO_INDEX")
    monkeypatch.setenv("PIP_INDEX_URL", "http://127.0.0.1:9/simple")  # the discard port: nobody listens
    monkeypatch.setenv("PIP_RETRIES", "1")
    known = registry.read_registry(make_registry(tmp_path / "pins.toml", {"tiny/a.bin": RANDOM}))
    with pytest.raises(UserError, match=r"cannot fetch tiny==1\.0: the package index cannot be reached"):
        registry.fetch(known.values())
    assert files_in(cache) == {}


def test_unwritable_cache_is_said_to_be_so(cache: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    cache.write_text("a file where a folder should be", encoding="utf-8")
    known = registry.read_registry(make_registry(tmp_path / "pins.toml", {"tiny/a.bin": RANDOM}))
    with pytest.raises(UserError, match=r"cannot write to the cache folder .*my cache.*MORPHCAM_CACHE"):
        registry.fetch(known.values())


@POSIX_ONLY
@pytest.mark.parametrize("content", [RANDOM, ZEROS], ids=["pip", "extraction"])
def test_full_disk_is_said_to_be_full(cache: Path, tmp_path: Path, content: bytes) -> None:
    make_wheel(tmp_path / "index", {"tiny/a.bin": content})
    pins = make_registry(tmp_path / "pins.toml", {"tiny/a.bin": content})
    limit = "import resource; resource.setrlimit(resource.RLIMIT_FSIZE, (1_000_000, 1_000_000))\n"
    process = start_pull(pins, limit)
    complaint = process.communicate(timeout=60)[1].splitlines()[-1]
    assert process.returncode == 1
    assert re.match(
        r"UserError: the disk of .*my cache.* is full; free \d+ MB there, or set MORPHCAM_CACHE", complaint
    )
    assert files_in(cache) == {}


@POSIX_ONLY
def test_python_without_pip_is_told_how_to_get_it(cache: Path, tmp_path: Path) -> None:
    venv.create(tmp_path / "bare", with_pip=False)
    pins = make_registry(tmp_path / "pins.toml", {"tiny/a.bin": RANDOM})
    borrowed = os.pathsep.join(path for path in sys.path if path)
    finished = subprocess.run(
        [tmp_path / "bare" / "bin" / "python", "-c", PULL, pins],
        env=os.environ | {"PYTHONPATH": os.pathsep.join((str(Path(registry.__file__).parents[1]), borrowed))},
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert "has no pip; run " in finished.stderr.splitlines()[-1]
    assert files_in(cache) == {}


def test_several_processes_pull_at_once(cache: Path, tmp_path: Path) -> None:
    members = {"tiny/a.bin": RANDOM, "tiny/b.bin": ZEROS}
    make_wheel(tmp_path / "index", members)
    pins = make_registry(tmp_path / "pins.toml", members)
    processes = [start_pull(pins) for _ in range(3)]
    said = [process.communicate(timeout=120)[1] for process in processes]
    assert [process.returncode for process in processes] == [0, 0, 0], said
    assert files_in(cache) == {"a.bin": RANDOM, "b.bin": ZEROS}


@pytest.fixture
def stalling_index(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[threading.Event]:
    """An index on this machine that serves half a wheel and then nothing; the event is set at that point."""
    source = make_wheel(tmp_path / "served", {"tiny/a.bin": RANDOM})
    stalled, released = threading.Event(), threading.Event()

    class Handler(http.server.BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            self.send_response(200)
            if self.path.endswith(".whl"):
                content = source.read_bytes()
                self.send_header("Content-Length", str(len(content)))
                self.end_headers()
                self.wfile.write(content[: len(content) // 2])
                self.wfile.flush()
                stalled.set()
                released.wait(60)
                return
            page = f'<a href="/{source.name}">{source.name}</a>'.encode()
            self.send_header("Content-Type", "text/html")
            self.send_header("Content-Length", str(len(page)))
            self.end_headers()
            self.wfile.write(page)

        def log_message(self, *_: object) -> None:
            """Says nothing."""

    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    thread = threading.Thread(target=functools.partial(server.serve_forever, poll_interval=0.05), name="index")
    thread.start()
    monkeypatch.delenv("PIP_NO_INDEX")
    monkeypatch.delenv("PIP_FIND_LINKS")
    monkeypatch.setenv("PIP_INDEX_URL", f"http://127.0.0.1:{server.server_address[1]}/simple")
    yield stalled
    released.set()
    server.shutdown()
    server.server_close()
    thread.join()


@POSIX_ONLY
@pytest.mark.parametrize("how", [signal.SIGINT, signal.SIGKILL])
def test_interrupted_pull_leaves_nothing_that_counts(
    cache: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    stalling_index: threading.Event,
    how: signal.Signals,
) -> None:
    members = {"tiny/a.bin": RANDOM}
    pins = make_registry(tmp_path / "pins.toml", members)
    process = start_pull(pins)
    assert stalling_index.wait(30)
    os.killpg(process.pid, how)  # pip too, as a Ctrl-C and the end of a session do
    process.communicate(timeout=30)
    assert process.returncode != 0
    assert "a.bin" not in files_in(cache)

    left = list((cache / "models").iterdir())
    assert len(left) == (0 if how == signal.SIGINT else 1)  # the killed one had no time to clean up
    for work in left:
        os.utime(work, (0, 0))  # as a day later
    monkeypatch.setenv("PIP_INDEX_URL", "http://127.0.0.1:9/simple")
    monkeypatch.setenv("PIP_RETRIES", "1")
    with pytest.raises(UserError, match="cannot be reached"):
        registry.fetch(registry.read_registry(pins).values())
    assert list((cache / "models").iterdir()) == []
