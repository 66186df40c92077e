"""The way of a face from a captured frame to the frame that is shown."""

from __future__ import annotations

import math
from dataclasses import dataclass, replace
from typing import Any

from live.effects import EffectStack
from live.faces.track import FaceTracker
from live.frame import FaceTrack, Frame
from live.render import Mode
from live.render.cover import CoverState, close_cover, open_cover
from live.synthesis import Request, Synthesis, Synthesizer
from live.timing import Timings
from live.worker import SynthesisWorker


@dataclass(frozen=True)
class Composite:
    """A frame ready to be shown.

    Attributes:
        frame: the picture; `seq` and `captured` of the frame it was made from.
        camera: that frame, as captured.
        tracks: the faces in it; none = there was none and the picture is covered.
    """

    frame: Frame
    camera: Frame
    tracks: tuple[FaceTrack, ...]


class Pipeline:
    """The stages that run for each frame, and what they remember from one frame to the next.

    Args:
        tracker: finds the faces.
        synthesizer: makes what the mode draws.
        worker: runs `synthesizer` beside the camera; None = it runs for each frame, and the frame waits.
        effects: edits W+; the same that the synthesizer has.
        modes: by name.
        mode: the name of the one to begin with.
        size: pixels per side of the generated picture.
        on_lost: a name in live.render.cover.POLICIES.
        timings: takes each stage's time.

    Attributes:
        mode: name of the mode; may be changed at any time, on the thread that processes.
        size, updates: what may be spent: the picture's size, and most syntheses a second, over all
            faces.
        updates_used: syntheses that changed the picture.
    """

    def __init__(
        self,
        *,
        tracker: FaceTracker,
        synthesizer: Synthesizer,
        worker: SynthesisWorker | None,
        effects: EffectStack,
        modes: dict[str, Mode[Any]],
        mode: str,
        size: int,
        on_lost: str,
        timings: Timings,
    ) -> None:
        self.mode = mode
        self.size = size
        self.updates = float("inf")
        self.effects = effects
        self.modes = modes
        self.faces_lost = 0
        self.without_face = 0
        self.updates_used = 0
        self._tracker = tracker
        self._synthesizer = synthesizer
        self._worker = worker
        self._on_lost = on_lost
        self._timings = timings
        self._synthesis: Synthesis | None = None  # the newest
        self._made_at_once: Synthesis | None = None  # without a worker
        self._requested = float("-inf")  # time of the newest request
        self._shown_seq = -1
        self._followed = False  # there was a face in the frame before
        self._cover = CoverState()

    def process(self, frame: Frame, t: float) -> Composite | None:
        """Makes what is to be shown next, now that `frame` has come at time `t` seconds (media time for files).

        Returns:
            None if nothing is to be shown this time: a mode that is not late waits for its synthesis.
        """
        mode = self.modes[self.mode]
        if self._worker is not None and self._worker.requests.waiting and not mode.late:
            # A frame waits for its synthesis already; following the face in another would only keep it waiting.
            return self.finish(t)
        with self._timings.measure("track"):
            tracks = self._tracker.track(frame)
        if tracks and mode.synthesizes:
            hurried = not mode.late or math.isfinite(self.updates)
            self._ask(Request(frame, tracks, t, mode, self.size, hurried))
        if not tracks:
            return self._covered(frame, t)
        if not mode.late:
            return self.finish(t)
        self._collect(mode)
        return self._render(mode, frame, tracks, t)

    def cpu_seconds(self) -> dict[str, float]:
        """Of the processor, by thread, besides the one that processes."""
        return {} if self._worker is None else {"synthesize": self._worker.cpu_seconds}

    def _ask(self, request: Request) -> None:
        """Has a synthesis made: at once, or on the worker's thread if another one may be had by now."""
        if self._worker is None:
            self._made_at_once = self._synthesizer.make(request)
        elif not 0 <= request.t - self._requested < len(request.tracks) / self.updates:
            self._requested = request.t
            self._worker.requests.put(request)

    def _collect(self, mode: Mode[Any]) -> Synthesis | None:
        """The newest synthesis if one has come since the last call."""
        newest, self._made_at_once = self._made_at_once, None
        if self._worker is not None:
            newest = self._worker.newest()
        if newest is None or newest.request.mode is not mode:
            return None
        before = {} if self._synthesis is None else self._synthesis.made
        self.updates_used += any(made is not before.get(face_id) for face_id, made in newest.made.items())
        self._synthesis = newest
        return newest

    @property
    def awaits(self) -> bool:
        """Whether a synthesis is under way that is shown as soon as it is there: ask `finish` again and again."""
        return self._worker is not None and not self.modes[self.mode].late

    def finish(self, t: float) -> Composite | None:
        """What a mode that is not late has to show by now: the newest frame that something was made of."""
        mode = self.modes[self.mode]
        if mode.late:
            return None
        newest = self._collect(mode)
        # A newer frame may have been shown covered meanwhile.
        if newest is None or newest.request.frame.seq <= self._shown_seq:
            return None
        return self._render(mode, newest.request.frame, newest.request.tracks, t)

    def _render(self, mode: Mode[Any], frame: Frame, tracks: tuple[FaceTrack, ...], t: float) -> Composite:
        with self._timings.measure("render"):
            composite = frame
            for track in tracks:
                made = self._made(mode, track)
                rendered = None if made is None else mode.render(composite, track, made, t)
                if rendered is None:  # nothing was made of this face yet, or none of it is inside the picture
                    return self._covered(frame, t)
                composite = rendered
            shown, self._cover = open_cover(self._on_lost, frame.rgb, composite.rgb, t, self._cover)
        self._followed = True
        self._shown_seq = frame.seq
        return Composite(replace(composite, rgb=shown), frame, tracks)

    def _made(self, mode: Mode[Any], track: FaceTrack) -> Any:  # noqa: ANN401 - each mode has a type of its own
        if not mode.synthesizes:
            return mode.unedited(self.size)
        if self._synthesis is None or self._synthesis.request.mode is not mode:
            return None
        return self._synthesis.made.get(track.face_id)

    def _covered(self, frame: Frame, t: float) -> Composite:
        self.without_face += 1
        self.faces_lost += self._followed
        self._followed = False
        self._shown_seq = frame.seq
        shown, self._cover = close_cover(self._on_lost, frame.rgb, t, self._cover)
        return Composite(replace(frame, rgb=shown), frame, ())
