"""Takes a pickle apart into its operations, without a copy of the byte strings in it.

The standard library's `pickletools.genops` does the same from a stream: it copies every byte string, of which a
published network has hundreds of megabytes, and takes three times as long.
"""

from __future__ import annotations

import pickletools
import struct
from collections.abc import Callable, Iterator
from typing import Any, TypeAlias

from models.errors import UserError

# Of one file, with all the pickles inside it; two generators of 1024 px and a discriminator take 72,000.
MOST_OPERATIONS = 300_000

Program: TypeAlias = "bytes | memoryview"
_Argument: TypeAlias = Callable[[memoryview, int], tuple[Any, int]]  # program, place -> argument, place behind it


class RefusedError(UserError):
    """The file is readable but holds what this reader will not take; the message says what."""


class Budget:
    """What reading a file may cost, shared by all the pickles inside it.

    Args:
        content_bytes: the file's length.

    Attributes:
        operations: steps of pickles that are left.
    """

    def __init__(self, content_bytes: int) -> None:
        self.operations = MOST_OPERATIONS
        self._bytes = 2 * content_bytes

    def copy(self, count: int) -> None:
        """Counts bytes that are to be copied or checked."""
        self._bytes -= count
        if self._bytes < 0:
            raise RefusedError("it asks for more bytes than it holds, again and again")


def operations(program: Program, budget: Budget) -> Iterator[tuple[str, Any, int]]:
    """The name, argument and end of each operation, up to and with STOP.

    Raises:
        RefusedError: an operation that a file of tensors and plain values has no need of.
        ValueError, IndexError, struct.error: the pickle is damaged.
    """
    view, place = memoryview(program), 0
    name = ""
    while name != "STOP":
        budget.operations -= 1
        if budget.operations < 0:
            raise RefusedError(f"its pickle has more than {MOST_OPERATIONS} operations; no network needs as many")
        name, argument_of = _BY_CODE[view[place]]
        if argument_of is None:
            raise RefusedError(f"its pickle uses {name}, of which a file of tensors has no need")
        argument, place = argument_of(view, place + 1)
        yield name, argument, place


def _nothing(view: memoryview, place: int) -> tuple[None, int]:
    return None, place


def _number(layout: str) -> _Argument:
    unpack, size = struct.Struct(layout).unpack_from, struct.calcsize(layout)

    def read(view: memoryview, place: int) -> tuple[Any, int]:
        return unpack(view, place)[0], place + size

    return read


def _slice(layout: str) -> _Argument:
    """Bytes behind their count: a view of them."""
    count_of = _number(layout)

    def read(view: memoryview, place: int) -> tuple[memoryview, int]:
        count, start = count_of(view, place)
        if not 0 <= count <= len(view) - start:
            raise ValueError(f"a string of {count} bytes where {len(view) - start} are left")
        return view[start : start + count], start + count

    return read


def _text(layout: str, encoding: str) -> _Argument:
    slice_of = _slice(layout)

    def read(view: memoryview, place: int) -> tuple[str, int]:
        raw, end = slice_of(view, place)
        return str(raw, encoding, "surrogatepass" if encoding == "utf-8" else "strict"), end

    return read


def _long(view: memoryview, place: int) -> tuple[int, int]:
    raw, end = _slice("<B")(view, place)
    return int.from_bytes(raw, "little", signed=True), end


def _two_lines(view: memoryview, place: int) -> tuple[str, int]:
    """A module's name and what is in it: "module name"."""
    start = bytes(view[place : place + 1024])
    module, name, _ = start.split(b"\n", 2)
    return f"{module.decode()} {name.decode()}", place + len(module) + len(name) + 2


_ARGUMENTS: dict[str, _Argument] = {
    **dict.fromkeys(("STOP", "NONE", "NEWTRUE", "NEWFALSE", "MARK", "MEMOIZE", "STACK_GLOBAL"), _nothing),
    **dict.fromkeys(("EMPTY_TUPLE", "EMPTY_LIST", "EMPTY_DICT", "EMPTY_SET", "ADDITEMS"), _nothing),
    **dict.fromkeys(("TUPLE", "TUPLE1", "TUPLE2", "TUPLE3", "APPEND", "APPENDS", "SETITEM", "SETITEMS"), _nothing),
    **dict.fromkeys(("REDUCE", "NEWOBJ", "BUILD", "BINPERSID"), _nothing),
    **dict.fromkeys(("PROTO", "BININT1", "BINPUT", "BINGET"), _number("<B")),
    **dict.fromkeys(("LONG_BINPUT", "LONG_BINGET"), _number("<I")),
    "BININT": _number("<i"),
    "BININT2": _number("<H"),
    "FRAME": _number("<Q"),
    "BINFLOAT": _number(">d"),  # it alone is big-endian
    "LONG1": _long,
    "GLOBAL": _two_lines,
    "SHORT_BINSTRING": _text("<B", "latin-1"),
    "BINSTRING": _text("<i", "latin-1"),
    "SHORT_BINUNICODE": _text("<B", "utf-8"),
    "BINUNICODE": _text("<I", "utf-8"),
    "BINUNICODE8": _text("<Q", "utf-8"),
    "SHORT_BINBYTES": _slice("<B"),
    "BINBYTES": _slice("<I"),
    "BINBYTES8": _slice("<Q"),
    "BYTEARRAY8": _slice("<Q"),
}

_BY_CODE: dict[int, tuple[str, _Argument | None]] = {
    ord(opcode.code): (opcode.name, _ARGUMENTS.get(opcode.name)) for opcode in pickletools.opcodes
}
