"""A slot for one thing between two threads: the newest wins, and what it replaced is counted."""

from __future__ import annotations

import threading
from typing import Generic, TypeVar

T = TypeVar("T")


class Mailbox(Generic[T]):
    """Holds at most one item. Nothing waits in a queue, so nothing shown is older than it must be."""

    def __init__(self) -> None:
        self._changed = threading.Condition()
        self._item: T | None = None
        self._closed = False
        self.received = 0  # items put
        self.dropped = 0  # items replaced before they were taken, or left when all ended

    def put(self, item: T) -> None:
        """Leaves `item`, in place of one that was not taken."""
        with self._changed:
            self.received += 1
            self.dropped += self._item is not None
            self._item = item
            self._changed.notify()

    def take(self, timeout: float) -> T | None:
        """Waits up to `timeout` seconds for an item; None = none came, or the mailbox closed."""
        with self._changed:
            self._changed.wait_for(lambda: self._item is not None or self._closed, timeout)
            item, self._item = self._item, None
            return item

    @property
    def waiting(self) -> bool:
        """True while an item is there that nobody took."""
        return self._item is not None

    def close(self) -> None:
        """No more items will come; what is still there may be taken."""
        with self._changed:
            self._closed = True
            self._changed.notify_all()

    @property
    def ended(self) -> bool:
        """True once closed and empty."""
        with self._changed:
            return self._closed and self._item is None

    def discard(self) -> None:
        """Counts an item that nobody will take any more as dropped."""
        with self._changed:
            self.dropped += self._item is not None
            self._item = None
