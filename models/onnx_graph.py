"""Reads what has to be known of an ONNX file before an engine loads it, without the ``onnx`` package.

That is the names and shapes that go in and come out, and which other files hold its weights. ONNX is a protocol
buffer (onnx.proto3); the numbers below are its field numbers.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import TypeAlias

from models.errors import UserError

_Value: TypeAlias = "int | memoryview"

_VARINT, _FIXED64, _BYTES, _FIXED32 = 0, 1, 2, 5  # wire types
_MODEL_GRAPH = 7
_GRAPH_NODE, _GRAPH_INITIALIZER, _GRAPH_INPUT, _GRAPH_OUTPUT = 1, 5, 11, 12
_NODE_ATTRIBUTE, _ATTRIBUTE_TENSOR, _ATTRIBUTE_GRAPH = 5, 5, 6
_TENSOR_NAME, _TENSOR_EXTERNAL = 8, 13
_ENTRY_KEY, _ENTRY_VALUE = 1, 2
_VALUE_NAME, _VALUE_TYPE, _TYPE_TENSOR, _TENSOR_SHAPE, _SHAPE_DIMENSION = 1, 2, 1, 2, 1
_DIMENSION_SIZE, _DIMENSION_NAME = 1, 2

_CHUNK = 1 << 20


@dataclass(frozen=True)
class OnnxGraph:
    """An ONNX file, as far as it has to be known to load it.

    Attributes:
        path: the file.
        inputs: name -> shape, a string where a size is free.
        outputs: likewise.
        external: names of the files beside it that hold its weights, in order.
    """

    path: Path
    inputs: dict[str, tuple[int | str, ...]]
    outputs: dict[str, tuple[int | str, ...]]
    external: tuple[str, ...]

    def sha256(self) -> str:
        """Hex digest of the file and of all files that hold its weights."""
        digest = hashlib.sha256()
        for name in (self.path.name, *self.external):
            digest.update(_digest(self.path.parent / name))
        return digest.hexdigest()


def read(path: Path) -> OnnxGraph:
    """Reads the header of an ONNX file.

    Raises:
        UserError: it cannot be read or is no ONNX network, or points to weights outside its folder.
    """
    try:
        model = memoryview(path.read_bytes())
    except OSError as error:
        raise UserError(f"{path}: {error.strerror}; give an ONNX network") from error
    try:
        graph = next(value for field, value in _fields(model) if field == _MODEL_GRAPH)
        found = _Weights()
        _walk(_message(graph), found)
        inputs, outputs = (_ports(_message(graph), field) for field in (_GRAPH_INPUT, _GRAPH_OUTPUT))
    except (ValueError, StopIteration, RecursionError) as error:
        raise UserError(f"{path} is not an ONNX network ({error or 'it has no graph'}); export it again") from error
    return OnnxGraph(
        path,
        {name: shape for name, shape in inputs.items() if name not in found.names},
        outputs,
        tuple(sorted(found.files)),
    )


class _Weights:
    """What a walk over a graph has found."""

    def __init__(self) -> None:
        self.names: set[str] = set()
        self.files: set[str] = set()


def _walk(graph: memoryview, found: _Weights) -> None:
    for field, value in _fields(graph):
        if field == _GRAPH_INITIALIZER:
            _tensor(_message(value), found)
        elif field == _GRAPH_NODE:
            for attribute in _messages(_message(value), _NODE_ATTRIBUTE):
                for part, content in _fields(attribute):
                    if part == _ATTRIBUTE_TENSOR:
                        _tensor(_message(content), found)
                    elif part == _ATTRIBUTE_GRAPH:
                        _walk(_message(content), found)


def _tensor(tensor: memoryview, found: _Weights) -> None:
    for field, value in _fields(tensor):
        if field == _TENSOR_NAME:
            found.names.add(_text(value))
        elif field == _TENSOR_EXTERNAL:
            entry = dict(_fields(_message(value)))
            if _text(entry.get(_ENTRY_KEY, _NOTHING)) == "location":
                found.files.add(_inside(_text(entry.get(_ENTRY_VALUE, _NOTHING))))


def _inside(location: str) -> str:
    """A location of external data, which may not lead out of the graph's folder."""
    path = PurePosixPath(location)
    if not location or path.is_absolute() or ".." in path.parts or "\\" in location or ":" in location:
        raise ValueError(f"its weights are said to be in {location!r}")
    return location


def _ports(graph: memoryview, field: int) -> dict[str, tuple[int | str, ...]]:
    return dict(_port(value) for value in _messages(graph, field))


def _port(info: memoryview) -> tuple[str, tuple[int | str, ...]]:
    name, shape = "", []
    for field, value in _fields(info):
        if field == _VALUE_NAME:
            name = _text(value)
        elif field == _VALUE_TYPE:
            for tensor in _messages(_message(value), _TYPE_TENSOR):
                for dimensions in _messages(tensor, _TENSOR_SHAPE):
                    shape = [_dimension(dimension) for dimension in _messages(dimensions, _SHAPE_DIMENSION)]
    return name, tuple(shape)


def _dimension(dimension: memoryview) -> int | str:
    for field, value in _fields(dimension):
        if field == _DIMENSION_SIZE and isinstance(value, int):
            return value
        if field == _DIMENSION_NAME:
            return _text(value)
    return "?"


_NOTHING = memoryview(b"")


def _messages(message: memoryview, wanted: int) -> Iterator[memoryview]:
    return (_message(value) for field, value in _fields(message) if field == wanted)


def _message(value: _Value) -> memoryview:
    if isinstance(value, int):
        raise ValueError("it has a number where a message belongs")
    return value


def _text(value: _Value) -> str:
    return bytes(_message(value)).decode("utf-8")


def _fields(message: memoryview) -> Iterator[tuple[int, _Value]]:
    """Field number and value of each field: a number, or the bytes of a string or message."""
    at = 0
    while at < len(message):
        tag, at = _varint(message, at)
        field, kind = tag >> 3, tag & 7
        if kind == _VARINT:
            value, at = _varint(message, at)
            yield field, value
            continue
        if kind == _BYTES:
            size, at = _varint(message, at)
        elif kind in (_FIXED32, _FIXED64):
            size = 4 if kind == _FIXED32 else 8
        else:
            raise ValueError(f"it has a field of the unknown kind {kind}")
        if size > len(message) - at:
            raise ValueError("it is cut short")
        yield field, message[at : at + size]
        at += size


def _varint(message: memoryview, at: int) -> tuple[int, int]:
    """A number in base 128, least significant digit first, and where it ends."""
    number = 0
    for shift in range(0, 70, 7):
        if at >= len(message):
            raise ValueError("it is cut short")
        digit = message[at]
        at += 1
        number |= (digit & 0x7F) << shift
        if digit < 0x80:
            return number, at
    raise ValueError("it has a number of more than 64 bits")


def _digest(path: Path) -> bytes:
    digest = hashlib.sha256()
    try:
        with path.open("rb") as stream:
            while chunk := stream.read(_CHUNK):
                digest.update(chunk)
    except OSError as error:
        raise UserError(f"{path}: {error.strerror}; it holds weights of the network beside it") from error
    return digest.digest()
