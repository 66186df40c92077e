"""What an engine is: a network, loaded and ready to be called, whichever library runs it."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Literal, TypeAlias

from models.arrays import F32

Precision: TypeAlias = Literal["auto", "float32", "float16", "bfloat16", "int8"]
Run: TypeAlias = Callable[[Mapping[str, F32]], dict[str, F32]]


@dataclass(frozen=True)
class Engine:
    """A network, loaded and ready; call it with float32 arrays by input name.

    Attributes:
        name: engine, device and precision, such as "openvino CPU bfloat16".
        inputs: input name -> shape, with the batch size it was loaded for.
        run: runs the network once; arrays that come out belong to the caller.
        notes: what `auto` passed over and why, one line each.
        remarks: what else is worth telling, such as an engine that had to be built again; one line each.
    """

    name: str
    inputs: dict[str, tuple[int, ...]]
    run: Run
    notes: tuple[str, ...] = ()
    remarks: tuple[str, ...] = ()

    def __call__(self, feeds: Mapping[str, F32]) -> dict[str, F32]:
        """Runs the network once."""
        return self.run(feeds)


class Unavailable(Exception):  # noqa: N818 - a state of the machine, not a fault
    """This engine cannot run here; the message says why."""
