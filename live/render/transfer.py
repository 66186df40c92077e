"""The camera keeps its pixels and receives only what the edit changes, put on anew for every frame."""

from __future__ import annotations

import math
from collections import OrderedDict
from dataclasses import dataclass, replace
from typing import Protocol

import cv2
import numpy as np

from live.frame import FaceTrack, Frame
from live.render.change import Change, measure_change, no_change
from live.render.mode import Inversion
from live.render.occlusion import Look, find_free
from live.render.put import put
from models.alignment import crop, to_crop_matrix, to_rgb
from models.arrays import F32, U8
from models.zoo import Generator

_FADE_SECONDS = 0.08  # in which most of a newer change has taken over
_AT_ONCE_SECONDS = 1.0  # a face not drawn for so long starts with its newest change
_TURN_FADE = (20.0, 42.0)  # degrees of yaw over which the effect fades: the far side of a profile would smear
_NOD_FADE = (30.0, 50.0)  # degrees of pitch
_FACES = 8  # remembered
_NOTHING = 1e-4  # a displacement in shares of the square, and a residual, that nobody sees


@dataclass(frozen=True)
class _Shown:
    """What a face shows at time `t`: on its way from older changes to the newest."""

    change: Change
    t: float
    look: Look | None


class GeneratedLandmarks(Protocol):
    """A way to tell where the landmarks of a generated face are."""

    def landmarks(self, w_plus: F32, rgb: U8) -> F32 | None:
        """Of one face.

        Args:
            w_plus: float32 [1, 18, 512], its latent.
            rgb: uint8 [R, R, 3], its picture.

        Returns:
            float32 [478, 2] in [0, 1] of the picture; None = there is no face in it.
        """
        ...


class Transfer:
    """Bends the face's pixels and adds the difference of two generated pictures.

    Args:
        generated: tells the landmarks of a generated face.
    """

    late = True
    synthesizes = True

    def __init__(self, generated: GeneratedLandmarks) -> None:
        self._generated = generated
        self._shown: OrderedDict[int, _Shown] = OrderedDict()  # by face_id, the last drawn at the end

    def make(self, face: Inversion, generator: Generator) -> Change:
        """Generates the face as it is and as it is to look, and takes the difference; of no face, none."""
        size = generator.size
        pair = generator.synthesize(np.concatenate([face.latent, face.edited]))  # may share what is not edited
        before, after = to_rgb(pair[:1]), to_rgb(pair[1:])
        landmarks_before = self._generated.landmarks(face.latent, before)
        landmarks_after = None if landmarks_before is None else self._generated.landmarks(face.edited, after)
        if landmarks_before is None or landmarks_after is None:
            return no_change(size)
        return measure_change(
            crop(face.frame.rgb, to_crop_matrix(face.track.landmarks, size), size),
            face.crop.landmarks[0],
            before,
            after,
            landmarks_before,
            landmarks_after,
        )

    def unedited(self, size: int) -> Change:
        """No change: the camera's own picture."""
        return no_change(size)

    def render(self, frame: Frame, track: FaceTrack, made: Change, t: float) -> Frame | None:
        """The frame with the face changed; pixels away from the face stay exactly the camera's."""
        shown = self._advance(track.face_id, made, t)
        free, look = find_free(frame.rgb, track.landmarks, t, shown.look)
        self._shown[track.face_id] = replace(shown, look=look)
        self._shown.move_to_end(track.face_id)
        while len(self._shown) > _FACES:
            self._shown.popitem(last=False)
        if _is_nothing(shown.change):
            return frame
        gate = free * np.float32(_facing(track.pose))
        rgb = put(shown.change, frame.rgb, track.landmarks, gate)
        return None if rgb is None else replace(frame, rgb=rgb)

    def _advance(self, face_id: int, made: Change, t: float) -> _Shown:
        last = self._shown.get(face_id)
        if last is None or not 0 <= t - last.t < _AT_ONCE_SECONDS:
            return _Shown(made, t, None)
        share = 1 - math.exp(-(t - last.t) / _FADE_SECONDS)
        return replace(last, change=_between(last.change, made, share), t=t)


def _between(old: Change, new: Change, share: float) -> Change:
    """A change on its way from one to another; 1 = there. At the newer one's size."""

    def mixed(a: F32, b: F32) -> F32:
        if a.shape != b.shape:
            a = np.asarray(cv2.resize(a, (b.shape[1], b.shape[0])), np.float32)
        return np.asarray(cv2.addWeighted(a, 1 - share, b, share, 0), np.float32)

    moved = old.displacement + np.float32(share) * (new.displacement - old.displacement)
    return Change(moved, mixed(old.residual, new.residual), mixed(old.mouth, new.mouth))


def _is_nothing(change: Change) -> bool:
    return float(np.abs(change.displacement).max()) < _NOTHING and float(np.abs(change.residual).max()) < 0.5


def _facing(pose: F32) -> float:
    """How much of an effect a head turned like this shows, in [0, 1]."""
    parts = []
    for angle, (start, end) in zip(np.abs(pose[:2]), (_TURN_FADE, _NOD_FADE), strict=True):
        x = min(max((float(angle) - start) / (end - start), 0.0), 1.0)
        parts.append(1 - x * x * (3 - 2 * x))
    return parts[0] * parts[1]
