"""The one-slot mailbox between capture and the loop."""

from __future__ import annotations

import threading
import time

from live.mailbox import Mailbox


def test_the_newest_item_wins_and_the_rest_are_counted() -> None:
    box = Mailbox[int]()
    for item in range(5):
        box.put(item)
    assert box.take(timeout=0) == 4
    assert box.take(timeout=0) is None
    assert (box.received, box.dropped) == (5, 4)


def test_a_slow_reader_gets_fresh_items_in_order() -> None:
    box = Mailbox[int]()

    def fill() -> None:
        for item in range(60):
            box.put(item)
            time.sleep(0.002)
        box.close()

    thread = threading.Thread(target=fill)
    thread.start()
    taken = []
    while not box.ended:
        item = box.take(timeout=1)
        if item is not None:
            taken.append(item)
            time.sleep(0.01)
    thread.join()
    assert taken == sorted(set(taken))
    assert taken[-1] == 59
    assert len(taken) + box.dropped == box.received == 60
    assert box.dropped > 0


def test_closing_wakes_a_waiting_reader_at_once() -> None:
    box = Mailbox[int]()
    threading.Timer(0.05, box.close).start()
    start = time.perf_counter()
    assert box.take(timeout=10) is None
    assert time.perf_counter() - start < 1
    assert box.ended


def test_an_item_nobody_takes_counts_as_dropped() -> None:
    box = Mailbox[int]()
    box.put(1)
    box.discard()
    assert (box.received, box.dropped) == (1, 1)
