"""Measures how long the stages take, in constant memory, however long the mirror hangs on the wall."""

from __future__ import annotations

import math
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

# Durations are counted in bins that each are 1% wider than the one before: from 1 microsecond to about
# 6 minutes in 2,000 bins, and a percentile is never more than 1% off.
SHORTEST_MS = 0.001
GROWTH = 1.01
BINS = 2000


@dataclass(frozen=True)
class Summary:
    """A distribution of durations, all in milliseconds except the count `n`."""

    n: int
    mean: float
    p50: float
    p95: float
    p99: float


class Histogram:
    """Durations of one stage."""

    def __init__(self) -> None:
        self._counts: NDArray[np.int64] = np.zeros(BINS, np.int64)
        self._total_ms = 0.0
        self.last_ms = 0.0  # the newest one, for the display

    def add(self, seconds: float) -> None:
        """Counts one duration."""
        ms = seconds * 1000
        position = math.log(max(ms, SHORTEST_MS) / SHORTEST_MS) / math.log(GROWTH)
        self._counts[min(int(position), BINS - 1)] += 1
        self._total_ms += ms
        self.last_ms = ms

    def summary(self) -> Summary:
        """The distribution so far; all zero if nothing was counted."""
        n = int(self._counts.sum())
        if n == 0:
            return Summary(0, 0.0, 0.0, 0.0, 0.0)
        return Summary(n, self._total_ms / n, *(self._percentile(q, n) for q in (0.50, 0.95, 0.99)))

    def _percentile(self, q: float, n: int) -> float:
        bin_index = int(np.searchsorted(np.cumsum(self._counts), max(math.ceil(q * n), 1)))
        return float(SHORTEST_MS * GROWTH ** (bin_index + 0.5))


class Timings:
    """One histogram per stage, made when a stage is first measured."""

    def __init__(self) -> None:
        self._stages: dict[str, Histogram] = {}

    def add(self, stage: str, seconds: float) -> None:
        """Counts one run of `stage`."""
        self._stages.setdefault(stage, Histogram()).add(seconds)

    @contextmanager
    def measure(self, stage: str) -> Iterator[None]:
        """Counts the time spent inside the ``with`` as one run of `stage`."""
        start = time.perf_counter()
        yield
        self.add(stage, time.perf_counter() - start)

    def last_ms(self, stage: str) -> float:
        """The newest duration of `stage`; 0 if it never ran."""
        histogram = self._stages.get(stage)
        return histogram.last_ms if histogram else 0.0

    def summary(self, stage: str) -> Summary:
        """The distribution of one stage; all zero if it never ran."""
        return self._stages.get(stage, Histogram()).summary()

    def summaries(self) -> dict[str, Summary]:
        """The distributions of all stages, in the order in which they first ran."""
        return {stage: histogram.summary() for stage, histogram in list(self._stages.items())}
