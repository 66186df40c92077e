"""Reads the tensors of a PyTorch file without PyTorch and without running anything the file says.

Both formats of ``torch.save`` are read:

* zip (since PyTorch 1.6): ``NAME/data.pkl`` and one uncompressed member ``NAME/data/KEY`` per storage;
* legacy: five pickles in a row (magic number, version, machine, the object, the storage keys), then for each
  key an int64 element count and the raw elements.
"""

from __future__ import annotations

import io
import struct
import zipfile
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, TypeAlias

import numpy as np

from models.errors import UserError
from models.pickles.pickle_opcodes import Budget, RefusedError
from models.pickles.pickle_program import Record, Value, expect, interpret
from models.pickles.torch_vocabulary import Array, TorchVocabulary, elements

# What a file may hold: arrays in dicts, lists and tuples, beside plain values.
Tree: TypeAlias = "dict[str | int, Tree] | list[Tree] | tuple[Tree, ...] | Array | Record | str | float | None"

DEFAULT_LIMIT = 4 << 30  # bytes; published StyleGAN checkpoints have about 1 GB
_MAGIC = 0x1950A86A20F9469CFC6C  # torch.serialization.MAGIC_NUMBER
_LEGACY_START = b"\x80\x02\x8a\x0a" + _MAGIC.to_bytes(10, "little")
_LEGACY_VERSION = 1001

# What the standard library's zip reader and this reader raise on truncated or altered bytes.
DAMAGE = (
    *(ValueError, IndexError, KeyError, TypeError, EOFError, OSError, RuntimeError, OverflowError),
    *(struct.error, zlib.error, zipfile.BadZipFile),
)

_ZIP_START = b"PK\x03\x04"
_ZIP_ENTRY = b"PK\x01\x02"  # of the directory at a zip file's end
_MOST_ENTRIES = 20_000  # a training checkpoint of two generators, a discriminator and their optimisers has 2,000
_PICKLE_START = b"\x80"


def load_tensors(path: Path, *, max_bytes: int = DEFAULT_LIMIT, records: frozenset[str] = frozenset()) -> Tree:
    """Everything a PyTorch file holds, its tensors as read-only arrays (bfloat16 as float32).

    A tensor may repeat its storage (stride 0), so look at a shape before copying it. The arrays are views of the
    file's bytes, which stay in memory as long as one of them.

    Args:
        path: a file written by ``torch.save``, of either format.
        max_bytes: a larger file is refused before it is read.
        records: dotted names, such as "argparse.Namespace", whose objects are let pass, as a `Record` each.

    Raises:
        UserError: the file is missing, too large, damaged, not PyTorch's, or holds anything but tensors,
            dicts, lists, tuples, strings, numbers, None and such records.
    """
    content = read_limited(path, max_bytes)
    if not content.startswith((_ZIP_START, _PICKLE_START)):
        raise UserError(f"{path} is not a PyTorch file; expected one written by torch.save")
    with reading(path, "a PyTorch file"):
        tree: Tree = read_torch(content, Budget(len(content)), records)
        return tree


@contextmanager
def reading(path: Path, kind: str) -> Iterator[None]:
    """Makes what a refused or damaged file raises into one line about `path`, which is to be `kind`.

    Raises:
        UserError: in place of RefusedError and of what is in `DAMAGE`.
    """
    try:
        yield
    except RefusedError as refusal:
        raise UserError(f"{path} was not loaded: {refusal}") from refusal
    except DAMAGE as error:
        raise UserError(f"{path} is damaged or not {kind} ({error}); get the file again") from error


def is_torch_file(content: bytes) -> bool:
    """Whether `torch.save` wrote this, and not `pickle.dump`."""
    return content.startswith((_ZIP_START, _LEGACY_START))


def read_torch(content: bytes | memoryview, budget: Budget, records: frozenset[str] = frozenset()) -> Value:
    """What `torch.save` has put into `content`; see `load_tensors`.

    Raises:
        RefusedError: it holds what is not let pass.
        *DAMAGE: it is damaged.
    """
    if bytes(content[: len(_ZIP_START)]) == _ZIP_START:
        return _read_zip(content, budget, records)
    return _read_legacy(memoryview(content), budget, records)


def read_limited(path: Path, max_bytes: int) -> bytes:
    """The bytes of a file, unless it has more than `max_bytes`.

    Raises:
        UserError: no such file, not readable, too large or empty.
    """
    try:
        if not path.is_file():
            raise UserError(f"{path} does not exist or is not a file")
        size = path.stat().st_size
        if size > max_bytes:
            raise UserError(f"{path} has {size} bytes, expected at most {max_bytes}; is it the right file?")
        content = path.read_bytes()
    except OSError as error:
        raise UserError(f"{path} cannot be read: {error.strerror}") from error
    if not content:
        raise UserError(f"{path} is empty; get the file again")
    return content


def _read_zip(content: bytes | memoryview, budget: Budget, records: frozenset[str]) -> Value:
    if isinstance(content, memoryview):
        budget.copy(len(content))
        content = bytes(content)
    # Python's reader lists them all at once, however many there are.
    if content.count(_ZIP_ENTRY) > _MOST_ENTRIES:
        raise RefusedError(f"it is a zip file of more than {_MOST_ENTRIES} members; torch.save writes fewer")
    with zipfile.ZipFile(io.BytesIO(content)) as archive:
        names = archive.namelist()
        programs = [name for name in names if name.endswith("/data.pkl")]
        if len(programs) != 1 or any(name.endswith("/constants.pkl") for name in names):
            raise RefusedError("it is a zip file but not one of torch.save (TorchScript is not supported)")
        root = programs[0].removesuffix("data.pkl")
        if f"{root}byteorder" in names and bytes(_member(archive, content, f"{root}byteorder", budget)) != b"little":
            raise RefusedError("its tensors are big-endian; expected little-endian ones")
        loaded: dict[str, Array] = {}

        def storage(key: str, dtype: np.dtype[Any], count: int) -> Array:
            if key not in loaded:
                size = archive.getinfo(f"{root}data/{key}").file_size
                if size != count * dtype.itemsize:
                    raise RefusedError(f"storage {key!r} has {size} bytes, {count} elements were declared")
                loaded[key] = elements(_member(archive, content, f"{root}data/{key}", budget), dtype)
            if len(loaded[key]) != count:
                raise RefusedError(f"storage {key!r} has {len(loaded[key])} elements, {count} were declared")
            return loaded[key]

        value, _ = interpret(
            _member(archive, content, programs[0], budget), TorchVocabulary(storage, records), budget
        )
        return value


def _member(archive: zipfile.ZipFile, content: bytes, name: str, budget: Budget) -> memoryview:
    """The bytes of one member, where they lie in the file: torch.save never compresses."""
    info = archive.getinfo(name)
    if info.compress_type != zipfile.ZIP_STORED or info.flag_bits & 1:
        raise RefusedError(f"its member {name!r} is compressed or encrypted; torch.save writes neither")
    # The local header: 30 bytes, of which the last four are the lengths of a name and of extra fields behind it.
    name_length, extra_length = struct.unpack_from("<HH", content, info.header_offset + 26)
    start = info.header_offset + 30 + name_length + extra_length
    if content[info.header_offset : info.header_offset + 4] != _ZIP_START or start + info.file_size > len(content):
        raise zipfile.BadZipFile(f"member {name!r} lies outside the file")
    member = memoryview(content)[start : start + info.file_size]
    budget.copy(info.file_size)
    if zlib.crc32(member) != info.CRC:
        raise zipfile.BadZipFile(f"member {name!r} fails its checksum")
    return member


def _read_legacy(content: memoryview, budget: Budget, records: frozenset[str]) -> Value:
    place = 0

    def no_storage(key: str, dtype: np.dtype[Any], count: int) -> Array:
        raise RefusedError(f"it has a tensor (storage {key!r}) where the format has none")

    def next_value(vocabulary: TorchVocabulary) -> Value:
        nonlocal place
        value, length = interpret(content[place:], vocabulary, budget)
        place += length
        return value

    plain = TorchVocabulary(no_storage)
    if next_value(plain) != _MAGIC:
        raise RefusedError("it is a pickle but not one of torch.save; expected what torch.save(tensor, path) writes")
    version, machine = next_value(plain), next_value(plain)
    if version != _LEGACY_VERSION or expect(machine, dict).get("little_endian") is not True:
        raise RefusedError("it is big-endian or of an unknown version of the legacy format")

    # The program comes before the storages it speaks of, and only it knows their types. A first reading, on
    # storages that take no memory, collects those; the second gets the real ones.
    declared: dict[str, tuple[np.dtype[Any], int]] = {}

    def declare(key: str, dtype: np.dtype[Any], count: int) -> Array:
        if count * dtype.itemsize > len(content):
            raise RefusedError(f"storage {key!r} declares {count} elements, more than the file holds")
        if declared.setdefault(key, (dtype, count)) != (dtype, count):
            raise RefusedError(f"storage {key!r} is declared twice, differently")
        return np.broadcast_to(np.float32(0), (count,))

    program = content[place:]
    next_value(TorchVocabulary(declare, records))
    loaded: dict[str, Array] = {}
    for key in expect(next_value(plain), list):
        dtype, count = declared[expect(key, str)]
        (stored,) = struct.unpack_from("<q", content, place)
        end = place + 8 + count * dtype.itemsize
        if stored != count or end > len(content):
            raise RefusedError(f"storage {key!r} has {stored} elements, {count} were declared")
        loaded[key] = elements(content[place + 8 : end], dtype)
        place = end
    value, _ = interpret(program, TorchVocabulary(lambda key, dtype, count: loaded[key], records), budget)
    return value
