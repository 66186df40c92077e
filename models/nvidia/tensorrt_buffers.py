"""Where the inputs and outputs of a TensorRT engine lie: one block of memory on the GPU, one like it on the host.

Inputs come first and outputs behind them, so that one copy takes all of each across.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

ALIGNMENT = 256  # bytes, what TensorRT asks of the addresses it is given


@dataclass(frozen=True)
class Tensor:
    """An input or output of an engine, with the shape it runs with."""

    name: str
    is_input: bool
    shape: tuple[int, ...]
    dtype: npt.DTypeLike

    @property
    def size(self) -> int:
        """Bytes."""
        return math.prod(self.shape) * np.dtype(self.dtype).itemsize


@dataclass(frozen=True)
class Slot:
    """Bytes [offset, offset + tensor.size) of the block belong to `tensor`."""

    tensor: Tensor
    offset: int


@dataclass(frozen=True)
class BufferPlan:
    """How a block of memory is shared out.

    Attributes:
        slots: inputs, then outputs.
        inputs_end: bytes [0, inputs_end) go to the GPU.
        outputs_start: bytes [outputs_start, size) come back.
        size: bytes of the block.
    """

    slots: tuple[Slot, ...]
    inputs_end: int
    outputs_start: int
    size: int

    @property
    def inputs(self) -> dict[str, tuple[int, ...]]:
        """Shapes of the inputs, by name."""
        return {slot.tensor.name: slot.tensor.shape for slot in self.slots if slot.tensor.is_input}


def plan_buffers(tensors: Sequence[Tensor]) -> BufferPlan:
    """Shares out a block of memory, every tensor at a multiple of `ALIGNMENT`.

    Raises:
        ValueError: a tensor's shape is not known.
    """
    slots: list[Slot] = []
    end = inputs_end = 0
    outputs_start: int | None = None
    for tensor in sorted(tensors, key=lambda tensor: not tensor.is_input):
        if min(tensor.shape, default=1) < 1:
            raise ValueError(f"{tensor.name} has the shape {list(tensor.shape)}, of which not every size is known")
        start = -(-end // ALIGNMENT) * ALIGNMENT
        end = start + tensor.size
        slots.append(Slot(tensor, start))
        if tensor.is_input:
            inputs_end = end
        elif outputs_start is None:
            outputs_start = start
    return BufferPlan(tuple(slots), inputs_end, end if outputs_start is None else outputs_start, end)
