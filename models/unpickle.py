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
from collections.abc import Callable
from pathlib import Path
from typing import Any, TypeAlias

import numpy as np
from numpy.typing import NDArray

from models.errors import UserError
from models.pickle_program import PROGRAM_LIMIT, Name, RefusedError, Value, expect, interpret, program_length

# What a file may hold: arrays in dicts, lists and tuples, beside plain values.
Tree: TypeAlias = "dict[str | int, Tree] | list[Tree] | tuple[Tree, ...] | Array | str | float | None"
Array: TypeAlias = NDArray[Any]
Storages: TypeAlias = Callable[[str, np.dtype[Any], int], Array]

DEFAULT_LIMIT = 4 << 30  # bytes; published StyleGAN checkpoints have about 1 GB
_MAGIC = 0x1950A86A20F9469CFC6C  # torch.serialization.MAGIC_NUMBER
_LEGACY_VERSION = 1001
_MOST_DIMENSIONS = 16

# What the standard library's zip and pickle readers raise on truncated or altered bytes.
DAMAGE = (
    *(ValueError, IndexError, KeyError, TypeError, EOFError, OSError, RuntimeError, struct.error, zlib.error),
    zipfile.BadZipFile,
)

_ZIP_START = b"PK\x03\x04"
_PICKLE_START = b"\x80"

# NumPy has no bfloat16: its 16 bits are read as they are and widened to float32.
_BFLOAT16 = np.dtype([("bits", "<u2")])
_STORAGE_TYPES: dict[str, np.dtype[Any]] = {
    "torch.DoubleStorage": np.dtype("<f8"),
    "torch.FloatStorage": np.dtype("<f4"),
    "torch.HalfStorage": np.dtype("<f2"),
    "torch.BFloat16Storage": _BFLOAT16,
    "torch.LongStorage": np.dtype("<i8"),
    "torch.IntStorage": np.dtype("<i4"),
    "torch.ShortStorage": np.dtype("<i2"),
    "torch.CharStorage": np.dtype("i1"),
    "torch.ByteStorage": np.dtype("u1"),
    "torch.BoolStorage": np.dtype("?"),
}
_TENSOR = "torch._utils._rebuild_tensor_v2"
_PARAMETER = "torch._utils._rebuild_parameter"
_ORDERED_DICT = "collections.OrderedDict"
_KNOWN = {_TENSOR, _PARAMETER, _ORDERED_DICT, *_STORAGE_TYPES}


def load_tensors(path: Path, *, max_bytes: int = DEFAULT_LIMIT) -> Tree:
    """Everything a PyTorch file holds, its tensors as read-only arrays (bfloat16 as float32).

    A tensor may repeat its storage (stride 0), so look at a shape before copying it.

    Args:
        path: a file written by ``torch.save``, of either format.
        max_bytes: a larger file is refused before it is read.

    Raises:
        UserError: the file is missing, too large, damaged, not PyTorch's, or holds anything but tensors,
            dicts, lists, tuples, strings, numbers and None.
    """
    content = read_limited(path, max_bytes)
    try:
        if content.startswith(_ZIP_START):
            return _read_zip(content)
        if content.startswith(_PICKLE_START):
            return _read_legacy(content)
    except RefusedError as refusal:
        raise UserError(f"{path} was not loaded: {refusal}") from refusal
    except DAMAGE as error:
        raise UserError(f"{path} is damaged or not a PyTorch file ({error}); get the file again") from error
    raise UserError(f"{path} is not a PyTorch file; expected one written by torch.save")


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


class _TensorFile:
    """The vocabulary of a PyTorch file: tensors, parameters, ordered dicts and the storages behind them."""

    def __init__(self, storages: Storages) -> None:
        self.storages = storages  # key, dtype, element count -> one-dimensional array

    def name(self, dotted: str) -> Name:
        if dotted not in _KNOWN:
            raise RefusedError(
                f"it asks to load {dotted[:100]!r}, of which tensors have no need (nothing was run); "
                "expected what torch.save(tensor, path) writes"
            )
        return Name(dotted)

    def call(self, name: str, arguments: tuple[Value, ...]) -> Tree:
        if name == _TENSOR and len(arguments) >= 4:
            return _tensor(*arguments[:4])
        if name == _PARAMETER and arguments:
            return _array(arguments[0])
        if name == _ORDERED_DICT and not arguments:
            return {}
        raise RefusedError(f"its pickle calls {name} in a way that a file of tensors has no need of")

    def persistent(self, identity: Value) -> Array:
        """("storage", type, key, device, element count), in the legacy format with a view (None) behind."""
        kind, storage_type, key, _, count, *view = expect(identity, tuple)
        dtype = _STORAGE_TYPES.get(expect(storage_type, Name).dotted)
        if expect(kind, str) != "storage" or dtype is None or any(part is not None for part in view):
            raise RefusedError("its pickle has a persistent id that is not a tensor's storage")
        if expect(count, int) < 0:
            raise RefusedError(f"a storage declares {count} elements")
        return self.storages(expect(key, str), dtype, count)


def _read_zip(content: bytes) -> Tree:
    with zipfile.ZipFile(io.BytesIO(content)) as archive:
        names = archive.namelist()
        programs = [name for name in names if name.endswith("/data.pkl")]
        if len(programs) != 1 or any(name.endswith("/constants.pkl") for name in names):
            raise RefusedError("it is a zip file but not one of torch.save (TorchScript is not supported)")
        root = programs[0].removesuffix("data.pkl")
        if f"{root}byteorder" in names and _member(archive, f"{root}byteorder", 16) != b"little":
            raise RefusedError("its tensors are big-endian; expected little-endian ones")
        loaded: dict[str, Array] = {}

        def storage(key: str, dtype: np.dtype[Any], count: int) -> Array:
            if key not in loaded:
                raw = _member(archive, f"{root}data/{key}", count * dtype.itemsize)
                loaded[key] = _widened(np.frombuffer(raw, dtype))
            if len(loaded[key]) != count:
                raise RefusedError(f"storage {key} has {len(loaded[key])} elements, {count} were declared")
            return loaded[key]

        tree: Tree = interpret(_member(archive, programs[0], PROGRAM_LIMIT), _TensorFile(storage))
        return tree


def _member(archive: zipfile.ZipFile, name: str, most_bytes: int) -> bytes:
    """One member; torch.save never compresses, so nothing here can be larger than the file."""
    info = archive.getinfo(name)
    if info.compress_type != zipfile.ZIP_STORED or info.flag_bits & 1:
        raise RefusedError(f"its member {name} is compressed or encrypted; torch.save writes neither")
    if info.file_size > most_bytes:
        raise RefusedError(f"its member {name} has {info.file_size} bytes, expected at most {most_bytes}")
    return archive.read(info)


def _read_legacy(content: bytes) -> Tree:
    stream = io.BytesIO(content)

    def next_program() -> bytes:
        start = stream.tell()
        return content[start : start + program_length(stream)]

    def no_storage(key: str, dtype: np.dtype[Any], count: int) -> Array:
        raise RefusedError(f"it has a tensor (storage {key}) where the format has none")

    plain = _TensorFile(no_storage)
    if interpret(next_program(), plain) != _MAGIC:
        raise RefusedError("it is a pickle but not one of torch.save; expected what torch.save(tensor, path) writes")
    version, machine = interpret(next_program(), plain), interpret(next_program(), plain)
    if version != _LEGACY_VERSION or expect(machine, dict).get("little_endian") is not True:
        raise RefusedError("it is big-endian or of an unknown version of the legacy format")
    program = next_program()

    # The program comes before the storages it speaks of, and only it knows their types. A first reading, on
    # storages that take no memory, collects those; the second gets the real ones.
    declared: dict[str, tuple[np.dtype[Any], int]] = {}

    def declare(key: str, dtype: np.dtype[Any], count: int) -> Array:
        if count * dtype.itemsize > len(content):
            raise RefusedError(f"storage {key} declares {count} elements, more than the file holds")
        if declared.setdefault(key, (dtype, count)) != (dtype, count):
            raise RefusedError(f"storage {key} is declared twice, differently")
        return np.broadcast_to(np.float32(0), (count,))

    interpret(program, _TensorFile(declare))
    loaded: dict[str, Array] = {}
    for key in expect(interpret(next_program(), plain), list):
        dtype, count = declared[expect(key, str)]
        stored = int.from_bytes(stream.read(8), "little")
        if stored != count:
            raise RefusedError(f"storage {key} has {stored} elements, {count} were declared")
        loaded[key] = _widened(np.frombuffer(stream.read(count * dtype.itemsize), dtype, count))
    tree: Tree = interpret(program, _TensorFile(lambda key, dtype, count: loaded[key]))
    return tree


def _widened(raw: Array) -> Array:
    if raw.dtype != _BFLOAT16:
        return raw
    return (raw["bits"].astype(np.uint32) << 16).view(np.float32)


def _array(value: Value) -> Array:
    array: Array = expect(value, np.ndarray)
    return array


def _tensor(storage: Value, offset: Value, size: Value, stride: Value) -> Array:
    """torch._utils._rebuild_tensor_v2: a strided view of a storage, refused if it reaches outside."""
    elements = _array(storage)
    if any(expect(n, int) < 0 for n in (offset, *expect(size, tuple), *expect(stride, tuple))):
        raise RefusedError("it has a tensor with a negative size, stride or offset")
    if len(size) != len(stride) or len(size) > _MOST_DIMENSIONS:
        raise RefusedError(f"it has a tensor of {len(size)} sizes and {len(stride)} strides")
    if 0 in size:
        return np.zeros(size, elements.dtype)
    last = offset + sum((n - 1) * step for n, step in zip(size, stride, strict=True))
    if last >= len(elements):
        raise RefusedError(f"it has a tensor that reaches to element {last} of a storage of {len(elements)}")
    steps = tuple(step * elements.strides[0] for step in stride)
    return np.lib.stride_tricks.as_strided(elements[offset:], size, steps, writeable=False)
