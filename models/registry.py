"""Which files of others this application uses, and where they lie on this machine.

``registry.toml`` pins each one by package, version, member and SHA-256. ``pull`` brings missing ones into the
user's cache folder, which all checkouts share; ``path`` gives one, checked. A file is hashed every time it is
asked for: the default ones are 67 MB, 40 ms on a processor with SHA instructions and 0.25 s without, and then
nothing that rots in the cache, or is put there by hand, is ever run.
"""

from __future__ import annotations

import errno
import functools
import hashlib
import os
import shutil
import sys
import tempfile
import time
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from types import MappingProxyType

import platformdirs

from models import wheel
from models.errors import UserError

if sys.version_info >= (3, 11):
    import tomllib
else:
    import tomli as tomllib

CHUNK_BYTES = 1 << 20
WORK_PREFIX = ".pull-"
WORK_OUTDATED_SECONDS = 24 * 3600
DISK_FULL = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)


@dataclass(frozen=True)
class Package:
    """A wheel on the package index.

    Attributes:
        name: as the index knows it.
        version: the one version that is used.
        size: bytes of the wheel, for the progress bar.
    """

    name: str
    version: str
    size: int

    def __str__(self) -> str:
        return f"{self.name} {self.version}"


@dataclass(frozen=True)
class Artefact:
    """One file inside a wheel.

    Attributes:
        name: what ``path`` and ``pull`` call it.
        about: what it is, in a few words.
        package: the wheel that holds it.
        member: its path inside the wheel, with forward slashes.
        sha256: of the file, 64 hexadecimal digits.
        size: of the file, in bytes.
        licence: SPDX name, or a sentence where one name does not say it.
        group: "default" (the live application) or "measure" (offline measuring and labelling).
    """

    name: str
    about: str
    package: Package
    member: str
    sha256: str
    size: int
    licence: str
    group: str

    @property
    def file(self) -> Path:
        """Where it lies in the cache; members of one wheel lie side by side, as graphs expect of weights."""
        folder = f"{self.package.name}-{self.package.version}"
        return cache_folder() / folder / self.member.rpartition("/")[2]


def cache_folder() -> Path:
    """The folder of the files pulled: in the user's cache, or in ``$MORPHCAM_CACHE`` where that is set."""
    chosen = os.environ.get("MORPHCAM_CACHE")
    root = Path(chosen).expanduser() if chosen else Path(platformdirs.user_cache_dir("morphcam", appauthor=False))
    return root.absolute() / "models"


def read_registry(file: Path) -> Mapping[str, Artefact]:
    """Read a registry file: artefacts by name, in the order of the file."""
    content = tomllib.loads(file.read_text(encoding="utf-8"))
    packages = {name: Package(name=name, **fields) for name, fields in content["packages"].items()}
    artefacts = {}
    for name, fields in content["artefacts"].items():
        package = packages[fields.pop("package")]
        artefacts[name] = Artefact(name=name, package=package, **fields)
    return MappingProxyType(artefacts)


@functools.cache
def artefacts() -> Mapping[str, Artefact]:
    """What ``registry.toml`` pins, by name."""
    return read_registry(Path(__file__).with_name("registry.toml"))


def names(group: str = "default") -> tuple[str, ...]:
    """The artefacts of a group ("default" or "measure")."""
    return tuple(name for name, artefact in artefacts().items() if artefact.group == group)


def choose(words: Sequence[str]) -> tuple[str, ...]:
    """The artefacts meant by names and groups; none given means the group "default".

    Raises:
        UserError: a word is neither the name of an artefact nor of a group.
    """
    groups = {artefact.group: names(artefact.group) for artefact in artefacts().values()}
    chosen: dict[str, None] = {}
    for word in words or ("default",):
        if word not in groups and word not in artefacts():
            raise UserError(f"no model is called {word}; expected one of {', '.join((*groups, *artefacts()))}")
        chosen |= dict.fromkeys(groups.get(word, (word,)))
    return tuple(chosen)


def path(name: str) -> Path:
    """The file of an artefact, checked against its SHA-256.

    Raises:
        UserError: it is not in the cache, or it is not the file it should be.
    """
    artefact = artefacts()[name]
    if not artefact.file.is_file():
        raise UserError(f"the model {name} is not on this machine; run ./run.sh pull{_group_option(artefact)}")
    if not is_intact(artefact):
        raise UserError(
            f"the model {name} is damaged: {artefact.file} does not have the SHA-256 it should have; "
            f"run ./run.sh pull{_group_option(artefact)} to fetch it again"
        )
    return artefact.file


def is_intact(artefact: Artefact) -> bool:
    """Whether the file in the cache is there, whole and the right one."""
    try:
        if artefact.file.stat().st_size != artefact.size:
            return False
        digest = hashlib.sha256()
        with artefact.file.open("rb") as stream:
            while chunk := stream.read(CHUNK_BYTES):
                digest.update(chunk)
    except OSError:  # absent, a folder, unreadable: all of them call for a fresh copy
        return False
    return digest.hexdigest() == artefact.sha256


def pull(wanted: Iterable[str] | None = None) -> None:
    """Bring artefacts into the cache, by name; None means the group "default". See `fetch`."""
    fetch([artefacts()[name] for name in (names() if wanted is None else wanted)])


def fetch(wanted: Iterable[Artefact]) -> None:
    """Bring artefacts into the cache; those already there and intact are left alone, without a word.

    Each appears in the cache at once and whole, or not at all, whatever interrupts this. Any number of
    processes may do it at the same time.

    Raises:
        UserError: no network, no such wheel, another file than the pinned one, a full or unwritable disk.
    """
    todo = [artefact for artefact in wanted if not is_intact(artefact)]
    if not todo:
        return
    try:
        cache_folder().mkdir(parents=True, exist_ok=True)
        _remove_outdated_work()
        for package in dict.fromkeys(artefact.package for artefact in todo):
            _pull_from(package, [artefact for artefact in todo if artefact.package == package])
    except OSError as error:
        if error.errno in DISK_FULL:
            megabytes = sum(package.size for package in {artefact.package for artefact in todo}) * 3e-6
            raise UserError(
                f"the disk of {cache_folder()} is full; free {megabytes:.0f} MB there, "
                "or set MORPHCAM_CACHE to a folder on another disk"
            ) from error
        raise UserError(
            f"cannot write to the cache folder {cache_folder()}: {error.strerror}; "
            "make it writable, or set MORPHCAM_CACHE to another folder"
        ) from error


def _pull_from(package: Package, members: Sequence[Artefact]) -> None:
    """Fetch one wheel and put some of its files into the cache."""
    # Only here: it takes longer to import than all the rest, and a warm start has nothing to show.
    from rich.console import Console
    from rich.progress import BarColumn, DownloadColumn, Progress, TextColumn, TimeRemainingColumn

    console = Console(stderr=True)
    columns = (TextColumn("{task.description}"), BarColumn(), DownloadColumn(), TimeRemainingColumn())
    console.print(f"morphcam: fetching {package} ({package.size / 1e6:.0f} MB)", highlight=False)
    # The work folder is inside the cache, so that the last step is a rename on one disk.
    with (
        tempfile.TemporaryDirectory(dir=cache_folder(), prefix=WORK_PREFIX) as work,
        Progress(*columns, console=console, transient=True, disable=not console.is_terminal) as bar,
    ):
        task = bar.add_task(package.name, total=package.size)
        archive = wheel.download(
            package.name, package.version, Path(work), lambda done: bar.update(task, completed=done)
        )
        for artefact in members:
            checked = Path(work) / "checked"
            wheel.extract(archive, artefact.member, checked, sha256=artefact.sha256, size=artefact.size)
            artefact.file.parent.mkdir(parents=True, exist_ok=True)
            checked.replace(artefact.file)


def _remove_outdated_work() -> None:
    """Remove what a killed process left behind, but not the folder of one that is at work."""
    for work in cache_folder().glob(f"{WORK_PREFIX}*"):
        if time.time() - work.stat().st_mtime > WORK_OUTDATED_SECONDS:
            shutil.rmtree(work, ignore_errors=True)


def _group_option(artefact: Artefact) -> str:
    return "" if artefact.group == "default" else f" {artefact.group}"
