"""Reads a live source on a thread of its own, so that the newest frame is always at hand."""

from __future__ import annotations

import contextlib
import threading
import time
from collections.abc import Callable
from dataclasses import replace
from types import TracebackType

from live.frame import Frame
from live.mailbox import Mailbox
from live.sources.source import Source, SourceLost
from models.errors import UserError

STOP_SECONDS = 2.0  # a driver that hangs in a read must not keep the program from ending
STALE_SECONDS = 0.5
RETRY_SECONDS = 1.0


class Capture:
    """The thread "capture", between ``with`` and its end: source -> one-slot mailbox.

    A source that is lost is opened again and again until it is back or patience ends.

    Args:
        source: opened.
        reopen: opens another one in its place.
        patience: seconds without the source after which its loss is a failure.

    Attributes:
        frames: the newest frame; closed when the source has ended or failed.
        lost: why there is no source just now; None = there is one.
        failure: why it was given up; None = it was not.
        cpu_seconds: of the processor, once it has ended.
    """

    def __init__(self, source: Source, *, reopen: Callable[[], Source], patience: float) -> None:
        self.frames: Mailbox[Frame] = Mailbox()
        self.lost: SourceLost | None = None
        self.failure: Exception | None = None
        self.cpu_seconds = 0.0
        self._source = source
        self._reopen = reopen
        self._patience = patience
        self._quit = threading.Event()
        self._thread = threading.Thread(target=self._run, name="capture", daemon=True)

    def __enter__(self) -> Capture:
        self._thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._quit.set()
        self._thread.join(STOP_SECONDS)
        self.frames.discard()

    def _run(self) -> None:
        try:
            with contextlib.ExitStack() as replacements:
                source: Source | None = self._source
                first_seq = 0
                while source is not None:
                    first_seq = self._read(source, first_seq)
                    source.close()  # or the device stays taken
                    source = self._replace(replacements) if self.lost else None
        except Exception as error:  # noqa: BLE001 - not handled here but handed to the thread that shows
            self.failure = error
        finally:
            self.cpu_seconds = time.thread_time()
            self.frames.close()

    def _read(self, source: Source, first_seq: int) -> int:
        """Reads until the end, the loss or the stop; the frames' numbers go on from `first_seq`."""
        seq = first_seq
        try:
            while not self._quit.is_set():
                frame = source.read()
                if frame is None:
                    break
                if frame.seq == 0 and time.perf_counter() - frame.captured > STALE_SECONDS:
                    continue  # what the camera gave when it was opened has waited for the models to load
                seq = first_seq + frame.seq
                self.frames.put(replace(frame, seq=seq))
        except SourceLost as loss:
            self.lost = loss
        return seq + 1

    def _replace(self, replacements: contextlib.ExitStack) -> Source | None:
        """The source, opened again; None = stopped meanwhile."""
        deadline = time.perf_counter() + self._patience
        while not self._quit.wait(RETRY_SECONDS):
            try:
                source = replacements.enter_context(self._reopen())
            except UserError:  # still away
                if self.lost is not None and time.perf_counter() > deadline:
                    raise self.lost from None
                continue
            self.lost = None
            return source
        return None
