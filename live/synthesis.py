"""From tracked faces to what a mode draws: align, encode, steady, edit, generate."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from types import MappingProxyType
from typing import Any

import cv2
import numpy as np

from live.effects import EffectStack
from live.faces import align as alignment
from live.frame import AlignedCrop, FaceTrack, Frame
from live.render import Inversion, Mode
from live.settle.settle import Settler
from live.smooth import LatentSmoother, SmoothingState
from live.timing import Timings
from models.arrays import F32
from models.latent import distance
from models.zoo import Encoder, Generator

# A face that moved less than this since the last synthesis, its light included, looks the same.
_STILL_LATENT = 0.006  # root mean square of standardised W+
_STILL_LEARNED = 0.002  # likewise, of what was learned of it, which goes where it is seen most
_STILL_LIGHT = 0.03  # difference of a thumbnail's pixels, of their range [-1, 1]
_THUMBNAIL = 12  # pixels


@dataclass(frozen=True)
class Request:
    """What is to be synthesized.

    Attributes:
        frame, tracks: a frame and the faces in it.
        t: its time in seconds.
        mode: what it is for.
        size: pixels of the generated picture.
        hurried: there is no time to spare while the face moves.
    """

    frame: Frame
    tracks: tuple[FaceTrack, ...]
    t: float
    mode: Mode[Any]
    size: int
    hurried: bool = False


@dataclass(frozen=True)
class Synthesis:
    """What became of a request: for each face, by face_id, what its mode's `make` returned."""

    request: Request
    made: Mapping[int, Any]


@dataclass(frozen=True)
class _Basis:
    """What a synthesis of a face is made from."""

    mode: Mode[Any]
    size: int
    edited: F32
    learned: F32
    thumbnail: F32


class Synthesizer:
    """Makes syntheses, one request after another, on one thread.

    Args:
        encoder: aligned crop -> W+.
        load_generator: size in pixels -> generator; called once for each size that is asked for.
        effects: edit W+.
        timings: takes each stage's time.
        offsets: what the encoder misses of the person at a place, float32 [1, 18, 512]; see models.inversion.
        tuned: the generator that draws the person at a place, instead of that of its size.
        settler: learns more of that while it runs; None = nothing does.

    Attributes:
        runs: syntheses that took a generator; a face at rest or unedited takes none.
    """

    def __init__(
        self,
        *,
        encoder: Encoder,
        load_generator: Callable[[int], Generator],
        effects: EffectStack,
        timings: Timings,
        offsets: Mapping[int, F32] = MappingProxyType({}),
        tuned: Mapping[int, Generator] = MappingProxyType({}),
        settler: Settler | None = None,
    ) -> None:
        self.runs = 0
        self._settler = settler
        self._encoder = encoder
        self._offsets = offsets
        self._tuned = tuned
        self._load_generator = load_generator
        self._generators: dict[int, Generator] = {}
        self._effects = effects
        self._timings = timings
        self._smoother = LatentSmoother()
        self._smoothing: dict[int, SmoothingState] = {}  # by face_id, of the faces in the last request
        self._past: dict[int, tuple[_Basis, Any]] = {}  # likewise, with what came of it
        self._probe = encoder.space.mean_latent

    def make(self, request: Request) -> Synthesis:
        """What the request's mode needs, for every face of its frame."""
        made = {track.face_id: self._make(request, track) for track in request.tracks}
        for memory in (self._smoothing, self._past):
            for face_id in memory.keys() - made.keys():
                del memory[face_id]
        return Synthesis(request, made)

    def _make(self, request: Request, track: FaceTrack) -> Any:  # noqa: ANN401 - each mode has a type of its own
        mode = request.mode
        unedited = mode.unedited(request.size)
        if unedited is not None and self._at_rest(request.t, track.place):
            settler = self._settler_of(track)
            if settler is not None and settler.wants(track, request.t):
                self._encode(request, track)
            return unedited
        crop, latent = self._encode(request, track)
        state = self._smoother.smooth(latent, track.face_id, request.t, self._smoothing.get(track.face_id))
        self._smoothing[track.face_id] = state
        # After the smoothing, which would take it for a movement of the face.
        settler = self._settler_of(track)
        offset = None if settler is None else settler.offset(track.person, request.t)
        learned = np.zeros_like(state.value) if offset is None else offset
        inverted = state.value + learned
        with self._timings.measure("edit"):
            edited = self._effects.edit(inverted, request.t, track.place)
        thumbnail = _thumbnail(crop)
        basis, past = _Basis(mode, request.size, edited, learned, thumbnail), self._past.get(track.face_id)
        if past is not None and _is_same(past[0], basis, self._encoder.space.std_w):
            return past[1]
        with self._timings.measure("synthesize"):
            generator = self._generator(request.size, track.place)
            made = mode.make(Inversion(request.frame, track, crop, inverted, edited), generator)
        self.runs += 1
        self._past[track.face_id] = basis, made
        return made

    def _encode(self, request: Request, track: FaceTrack) -> tuple[AlignedCrop, F32]:
        """The face cut out, and its latent with what is known of the person; the settler gets to see both."""
        with self._timings.measure("align"):
            crop = alignment.align(request.frame, track, self._encoder.size)
        with self._timings.measure("encode"):
            latent = self._encoder.encode(crop.image, crop.landmarks) + self._offsets.get(track.place, np.float32(0))
        settler = self._settler_of(track)
        if settler is not None and settler.wants(track, request.t):
            with self._timings.measure("look"):
                settler.look(request.frame, track, latent, request.t, hurried=request.hurried)
        return crop, latent

    def _settler_of(self, track: FaceTrack) -> Settler | None:
        """A generator that was tuned for a person is another one than that of which the settler has the gradient."""
        return None if track.place in self._tuned else self._settler

    def _at_rest(self, t: float, place: int) -> bool:
        """Whether the effects leave this face alone."""
        return self._effects.edit(self._probe, t, place) is self._probe

    def _generator(self, size: int, place: int) -> Generator:
        tuned = self._tuned.get(place)
        if tuned is not None and tuned.size == size:
            return tuned
        if size not in self._generators:
            self._generators[size] = self._load_generator(size)
        return self._generators[size]


def _thumbnail(crop: AlignedCrop) -> F32:
    planes = [cv2.resize(plane, (_THUMBNAIL, _THUMBNAIL), interpolation=cv2.INTER_AREA) for plane in crop.image[0]]
    return np.stack(planes)


def _is_same(past: _Basis, now: _Basis, std_w: F32) -> bool:
    if past.mode is not now.mode or past.size != now.size:
        return False
    return (
        distance(past.edited, now.edited, std_w) < _STILL_LATENT
        and distance(past.learned, now.learned, std_w) < _STILL_LEARNED
        and float(np.abs(now.thumbnail - past.thumbnail).max()) < _STILL_LIGHT
    )
