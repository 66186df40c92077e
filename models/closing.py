"""What holds something open, and lets go of it at the end of a ``with``."""

from __future__ import annotations

from abc import ABC, abstractmethod
from typing import TypeVar

_Self = TypeVar("_Self", bound="Closing")


class Closing(ABC):
    """A context manager that closes itself, whatever ended the block."""

    @abstractmethod
    def close(self) -> None:
        """Lets go; harmless when done already."""

    def __enter__(self: _Self) -> _Self:
        return self

    def __exit__(self, *_raised: object) -> None:
        self.close()
