"""What the pickle inside a PyTorch file speaks of: tensors, parameters, ordered dicts, storages."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, TypeAlias

import numpy as np
from numpy.typing import NDArray

from models.pickles.pickle_opcodes import RefusedError
from models.pickles.pickle_program import Name, Record, Value, expect

Array: TypeAlias = NDArray[Any]
Storages: TypeAlias = Callable[[str, np.dtype[Any], int], Array]

_MOST_DIMENSIONS = 16
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
_PARAMETERS = ("torch._utils._rebuild_parameter", "torch._utils._rebuild_parameter_with_state")
_ORDERED_DICT = "collections.OrderedDict"


class TorchVocabulary:
    """The vocabulary of a PyTorch file.

    Args:
        storages: from key, dtype and element count, the one-dimensional array of a storage.
        records: further dotted names that may occur; their objects become a `Record` each.
    """

    kind = "a file of tensors"

    def __init__(self, storages: Storages, records: frozenset[str] = frozenset()) -> None:
        self.storages = storages
        self.records = records
        self.known = {_TENSOR, *_PARAMETERS, _ORDERED_DICT, *_STORAGE_TYPES, *records}

    def name(self, dotted: str) -> Name:
        """Takes a name that a file of tensors has, or one of the records."""
        if dotted not in self.known:
            raise RefusedError(
                f"it asks to load {dotted[:100]!r}, of which {self.kind} has no need (nothing was run); "
                "expected tensors and plain values alone"
            )
        return Name(dotted)

    def call(self, name: str, arguments: tuple[Value, ...]) -> Value:
        """An array, a dict or a `Record`."""
        if name == _TENSOR and len(arguments) >= 4:
            return _tensor(*arguments[:4])
        if name in _PARAMETERS and arguments:
            return expect(arguments[0], np.ndarray)
        if name == _ORDERED_DICT and not arguments:
            return {}
        if name in self.records:
            return Record(name, arguments)
        raise RefusedError(f"its pickle calls {name} in a way that {self.kind} has no need of")

    def persistent(self, identity: Value) -> Array:
        """("storage", type, key, device, element count), in the legacy format with a view (None) behind."""
        kind, storage_type, key, _, count, *view = expect(identity, tuple)
        dtype = _STORAGE_TYPES.get(expect(storage_type, Name).dotted)
        if expect(kind, str) != "storage" or dtype is None or any(part is not None for part in view):
            raise RefusedError("its pickle has a persistent id that is not a tensor's storage")
        if expect(count, int) < 0:
            raise RefusedError(f"a storage declares {count} elements")
        return self.storages(expect(key, str), dtype, count)


def elements(raw: bytes | memoryview, dtype: np.dtype[Any]) -> Array:
    """The elements of a storage: a view of its bytes, read-only; bfloat16 widened to float32."""
    array = np.frombuffer(raw, dtype)
    if dtype != _BFLOAT16:
        return array
    return (array["bits"].astype(np.uint32) << 16).view(np.float32)


def _tensor(storage: Value, offset: Value, size: Value, stride: Value) -> Array:
    """torch._utils._rebuild_tensor_v2: a strided view of a storage, refused if it reaches outside."""
    held: Array = expect(storage, np.ndarray)
    if any(expect(n, int) < 0 for n in (offset, *expect(size, tuple), *expect(stride, tuple))):
        raise RefusedError("it has a tensor with a negative size, stride or offset")
    if len(size) != len(stride) or len(size) > _MOST_DIMENSIONS:
        raise RefusedError(f"it has a tensor of {len(size)} sizes and {len(stride)} strides")
    if 0 in size:
        return np.zeros(size, held.dtype)
    last = offset + sum((n - 1) * step for n, step in zip(size, stride, strict=True))
    if last >= len(held):
        raise RefusedError(f"it has a tensor that reaches to element {last} of a storage of {len(held)}")
    steps = tuple(step * held.strides[0] for step in stride)
    return np.lib.stride_tricks.as_strided(held[offset:], size, steps, writeable=False)
