"""Reads a pickle as data: a small interpreter of its operations that can neither import nor call anything.

A pickle is a program for a stack machine, and Python's own unpickler lets it call any function it names. Here
a name stays a name (`Name`), and a call becomes whatever the reader's own `Vocabulary` makes of it.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any, Protocol, TypeAlias

from models.pickles.pickle_opcodes import Budget, Program, RefusedError, operations

Value: TypeAlias = Any  # whatever the file holds; checked with `expect` where it is used

_KEY_BITS = 32


@dataclass(frozen=True)
class Name:
    """A dotted Python name in the file. It is never looked up."""

    dotted: str


@dataclass(eq=False)
class Record:
    """An object of a class that is not needed but let pass: its name and what it was made from, and nothing done.

    Attributes:
        name: of the class or function that would have made it.
        arguments: what that would have been called with.
        fields: the state that was given to it, if it is a dict.
    """

    name: str
    arguments: tuple[Value, ...] = ()
    fields: dict[str, Value] = field(default_factory=dict)


class Vocabulary(Protocol):
    """What the names, calls and persistent ids of a kind of file mean."""

    def name(self, dotted: str) -> Name:
        """Takes a name, or raises RefusedError."""

    def call(self, name: str, arguments: tuple[Value, ...]) -> Value:
        """What calling `name` stands for."""

    def persistent(self, identity: Value) -> Value:
        """What a persistent id stands for."""


def expect(value: Value, *kinds: type) -> Value:
    """`value`, if it is of one of these kinds; else raises RefusedError."""
    if not isinstance(value, kinds):
        wanted = " or ".join(kind.__name__ for kind in kinds)
        raise RefusedError(f"its pickle has a {type(value).__name__} where {wanted} was expected")
    return value


def interpret(program: Program, vocabulary: Vocabulary, budget: Budget) -> tuple[Value, int]:
    """The value a pickle describes, and the length of that pickle. Byte strings are views of the program.

    Args:
        program: starts with one pickle, protocol 2 or later.
        vocabulary: what its names, calls and persistent ids mean.
        budget: what may be spent on it.

    Raises:
        RefusedError: it uses something that a file of plain values has no need of.
        ValueError, IndexError, KeyError, TypeError, struct.error: it is damaged.
    """
    machine = _Machine(vocabulary)
    length = 0
    for name, argument, end in operations(program, budget):
        _HANDLERS[name](machine, argument)
        length = end
    (value,) = machine.stack
    return value, length


class _Machine:
    """The pickle stack machine: values, where groups of them begin, and those remembered for reuse."""

    def __init__(self, vocabulary: Vocabulary) -> None:
        self.vocabulary = vocabulary
        self.stack: list[Value] = []
        self.marks: list[int] = []
        self.memo: dict[int, Value] = {}

    def push(self, argument: Value) -> None:
        self.stack.append(argument)

    def mark(self, _: Value) -> None:
        self.marks.append(len(self.stack))

    def pop(self, count: int) -> list[Value]:
        if count > len(self.stack):
            raise RefusedError("its pickle takes more from the stack than it put there")
        at = len(self.stack) - count
        items = self.stack[at:]
        del self.stack[at:]
        return items

    def pop_group(self) -> list[Value]:
        return self.pop(max(0, len(self.stack) - self.marks.pop()))

    def remember(self, argument: Value) -> None:
        self.memo[len(self.memo) if argument is None else argument] = self.stack[-1]

    def recall(self, argument: Value) -> None:
        self.push(self.memo[argument])

    def global_name(self, argument: Value) -> None:
        self.push(self.vocabulary.name(argument.replace(" ", ".", 1)))

    def stack_name(self, _: Value) -> None:
        module, attribute = (expect(part, str) for part in self.pop(2))
        self.push(self.vocabulary.name(f"{module}.{attribute}"))

    def pack(self, count: int) -> None:
        self.push(tuple(self.pop(count)))

    def pack_group(self, _: Value) -> None:
        self.push(tuple(self.pop_group()))

    def append(self, _: Value) -> None:
        self._extend(self.pop(1))

    def append_group(self, _: Value) -> None:
        self._extend(self.pop_group())

    def _extend(self, items: list[Value]) -> None:
        expect(self.stack[-1], list).extend(items)

    def add_group(self, _: Value) -> None:
        items = self.pop_group()
        expect(self.stack[-1], set).update(map(_key, items))

    def set_item(self, _: Value) -> None:
        self._update(self.pop(2))

    def set_group(self, _: Value) -> None:
        self._update(self.pop_group())

    def _update(self, items: list[Value]) -> None:
        target = expect(self.stack[-1], dict)
        for key, value in zip(items[::2], items[1::2], strict=True):
            target[_key(key)] = value

    def call(self, _: Value) -> None:
        name, arguments = self.pop(2)
        self.push(self.vocabulary.call(expect(name, Name).dotted, expect(arguments, tuple)))

    def build(self, _: Value) -> None:
        (state,) = self.pop(1)
        target = expect(self.stack[-1], dict, Record)
        # A state dict carries its metadata as an attribute of its OrderedDict: no tensors, left out.
        if isinstance(target, Record) and isinstance(state, dict):
            target.fields = state

    def persistent(self, _: Value) -> None:
        (identity,) = self.pop(1)
        self.push(self.vocabulary.persistent(identity))


def _key(value: Value) -> Value:
    """A key of a dict or member of a set: no integers so large that they could be made to collide."""
    if isinstance(expect(value, str, int), int) and value.bit_length() > _KEY_BITS:
        raise RefusedError(f"its pickle has a key of {value.bit_length()} bits")
    return value


_HANDLERS: dict[str, Callable[[_Machine, Value], None]] = {
    **dict.fromkeys(("PROTO", "FRAME", "STOP"), lambda machine, argument: None),
    **dict.fromkeys(("BININT", "BININT1", "BININT2", "LONG1", "BINFLOAT"), _Machine.push),
    **dict.fromkeys(("BINUNICODE", "SHORT_BINUNICODE", "BINUNICODE8", "BINSTRING", "SHORT_BINSTRING"), _Machine.push),
    **dict.fromkeys(("BINBYTES", "SHORT_BINBYTES", "BINBYTES8", "BYTEARRAY8"), _Machine.push),
    "NONE": lambda machine, argument: machine.push(None),
    "NEWTRUE": lambda machine, argument: machine.push(True),
    "NEWFALSE": lambda machine, argument: machine.push(False),
    "EMPTY_TUPLE": lambda machine, argument: machine.push(()),
    "EMPTY_LIST": lambda machine, argument: machine.push([]),
    "EMPTY_DICT": lambda machine, argument: machine.push({}),
    "EMPTY_SET": lambda machine, argument: machine.push(set()),
    "MARK": _Machine.mark,
    "BINPUT": _Machine.remember,
    "LONG_BINPUT": _Machine.remember,
    "MEMOIZE": _Machine.remember,
    "BINGET": _Machine.recall,
    "LONG_BINGET": _Machine.recall,
    "GLOBAL": _Machine.global_name,
    "STACK_GLOBAL": _Machine.stack_name,
    "TUPLE": _Machine.pack_group,
    "TUPLE1": lambda machine, argument: machine.pack(1),
    "TUPLE2": lambda machine, argument: machine.pack(2),
    "TUPLE3": lambda machine, argument: machine.pack(3),
    "APPEND": _Machine.append,
    "APPENDS": _Machine.append_group,
    "ADDITEMS": _Machine.add_group,
    "SETITEM": _Machine.set_item,
    "SETITEMS": _Machine.set_group,
    "REDUCE": _Machine.call,
    "NEWOBJ": _Machine.call,
    "BUILD": _Machine.build,
    "BINPERSID": _Machine.persistent,
}
