"""The way of a face from a captured frame to the frame that is shown."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any

from live.cover import CoverState, close_cover, open_cover
from live.effects import EffectStack
from live.frame import FaceTrack, Frame
from live.render import Mode
from live.synthesis import Request, Synthesis, Synthesizer
from live.timing import Timings
from live.track import FaceTracker
from live.worker import SynthesisWorker


@dataclass(frozen=True)
class Composite:
    """A frame ready to be shown.

    Attributes:
        frame: the picture; `seq` and `captured` of the frame it was made from.
        tracks: the faces in it; none = there was none and the picture is covered.
    """

    frame: Frame
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
        on_lost: a name in live.cover.POLICIES.
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
        with self._timings.measure("track"):
            tracks = self._tracker.track(frame)
        is_new = self._synthesize(mode, frame, tracks, t)
        if not tracks:
            return self._covered(frame, t)
        if mode.late:
            return self._render(mode, frame, tracks, t)
        # The frame that something was made of, unless a newer one was shown covered meanwhile.
        synthesis = self._synthesis
        if not is_new or synthesis is None or synthesis.request.frame.seq <= self._shown_seq:
            return None
        return self._render(mode, synthesis.request.frame, synthesis.request.tracks, t)

    def cpu_seconds(self) -> dict[str, float]:
        """Of the processor, by thread, besides the one that processes."""
        return {} if self._worker is None else {"synthesize": self._worker.cpu_seconds}

    def _synthesize(self, mode: Mode[Any], frame: Frame, tracks: tuple[FaceTrack, ...], t: float) -> bool:
        """Asks for a synthesis if one may be had, and takes the newest that is there; True = it is another one."""
        if not mode.synthesizes:
            return False
        newest = None
        request = Request(frame, tracks, t, mode, self.size)
        if self._worker is None:
            newest = self._synthesizer.make(request) if tracks else None
        else:
            if tracks and not 0 <= t - self._requested < len(tracks) / self.updates:
                self._requested = t
                self._worker.requests.put(request)
            newest = self._worker.newest()
        if newest is None or newest.request.mode is not mode:
            return False
        before = {} if self._synthesis is None else self._synthesis.made
        self.updates_used += any(made is not before.get(face_id) for face_id, made in newest.made.items())
        self._synthesis = newest
        return True

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
        return Composite(replace(composite, rgb=shown), tracks)

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
        return Composite(replace(frame, rgb=shown), ())
