"""Synthesizes on a thread of its own, so that the camera's rate does not hang on the generator's."""

from __future__ import annotations

import threading
import time
from types import TracebackType

from live.mailbox import Mailbox
from live.priority import step_back
from live.synthesis import Request, Synthesis, Synthesizer

STOP_SECONDS = 5.0  # a synthesis under way is waited for: engines must not be freed while they run
WAIT_SECONDS = 0.5


class SynthesisWorker:
    """The thread "synthesize", between ``with`` and its end: one-slot mailbox -> synthesizer -> one-slot mailbox.

    Attributes:
        requests: what is to be made; the newest wins.
        results: what was made; the newest wins.
        cpu_seconds: of the processor, up to the newest synthesis.
    """

    def __init__(self, synthesizer: Synthesizer) -> None:
        self.requests: Mailbox[Request] = Mailbox()
        self.results: Mailbox[Synthesis] = Mailbox()
        self.cpu_seconds = 0.0
        self._synthesizer = synthesizer
        self._failure: Exception | None = None
        self._thread = threading.Thread(target=self._run, name="synthesize", daemon=True)

    def __enter__(self) -> SynthesisWorker:
        self._thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.requests.close()
        self._thread.join(STOP_SECONDS)
        self.requests.discard()

    def newest(self) -> Synthesis | None:
        """The newest synthesis not yet taken; None = none since.

        Raises:
            Exception: what ended the thread.
        """
        if self._failure is not None:
            raise self._failure
        return self.results.take(0)

    def _run(self) -> None:
        step_back()
        try:
            while not self.requests.ended:
                request = self.requests.take(WAIT_SECONDS)
                if request is not None:
                    self.results.put(self._synthesizer.make(request))
                    self.cpu_seconds = time.thread_time()
        except Exception as error:  # noqa: BLE001 - not handled here but handed to the thread that shows
            self._failure = error
