"""The way of a face from a captured frame to the frame that is shown."""

from __future__ import annotations

from dataclasses import dataclass, replace

from live import align as alignment
from live.cover import CoverState, close_cover, open_cover
from live.effects import EffectStack
from live.frame import FaceTrack, Frame
from live.render import RENDERERS
from live.smooth import LatentSmoother, SmoothingState
from live.timing import Timings
from live.track import FaceTracker
from models.arrays import F32
from models.zoo import Encoder, Generator


@dataclass(frozen=True)
class Composite:
    """A frame ready to be shown.

    Attributes:
        frame: the picture; `seq` and `captured` of the frame it was made from.
        track: the face in it; None = there was none and the picture is covered.
    """

    frame: Frame
    track: FaceTrack | None


class Pipeline:
    """The stages that run once for each frame, and what they remember from one frame to the next.

    Args:
        tracker: finds the face.
        encoder: aligned crop -> W+.
        generator: W+ -> portrait.
        effects: edits W+.
        mode: a name in live.render.RENDERERS.
        on_lost: a name in live.cover.POLICIES.
        timings: takes each stage's time.
    """

    def __init__(
        self,
        *,
        tracker: FaceTracker,
        encoder: Encoder,
        generator: Generator,
        effects: EffectStack,
        mode: str,
        on_lost: str,
        timings: Timings,
    ) -> None:
        self.mode = mode
        self.effects = effects
        self.faces_lost = 0
        self.without_face = 0
        self._tracker = tracker
        self._encoder = encoder
        self._generator = generator
        self._on_lost = on_lost
        self._timings = timings
        self._smoother = LatentSmoother()
        self._smoothing: SmoothingState | None = None
        self._followed = False  # there was a face in the frame before
        self._cover = CoverState()

    def process(self, frame: Frame, t: float) -> Composite:
        """Makes what is to be shown of `frame`, at time `t` in seconds (media time for files)."""
        with self._timings.measure("track"):
            tracks = self._tracker.track(frame)
        if not tracks:
            return self._without_face(frame, t)
        track = tracks[0]
        with self._timings.measure("align"):
            crop = alignment.align(frame, track, self._encoder.size)
        with self._timings.measure("encode"):
            latent = self._encoder.encode(crop.image, crop.landmarks)
        self._smoothing = self._smoother.smooth(latent, track.face_id, t, self._smoothing)
        portrait = self._synthesize(self._smoothing.value, t)
        with self._timings.measure("render"):
            composite = RENDERERS[self.mode].render(frame, track, crop, portrait)
            if composite.rgb is frame.rgb:  # the face is there, but none of it inside the picture
                return self._without_face(frame, t)
            shown, self._cover = open_cover(self._on_lost, frame.rgb, composite.rgb, t, self._cover)
        self._followed = True
        return Composite(replace(composite, rgb=shown), track)

    def _synthesize(self, w_plus: F32, t: float) -> F32:
        """W+ [1, 18, 512] -> edited portrait float32 [1, 3, R, R]."""
        with self._timings.measure("edit"):
            edited = self.effects.edit(w_plus, t)
        with self._timings.measure("synthesize"):
            return self._generator.synthesize(edited)

    def _without_face(self, frame: Frame, t: float) -> Composite:
        self.without_face += 1
        self.faces_lost += self._followed
        self._followed = False
        shown, self._cover = close_cover(self._on_lost, frame.rgb, t, self._cover)
        return Composite(replace(frame, rgb=shown), None)
