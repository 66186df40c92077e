"""Who is who from one frame to the next: faces matched to people by where they were heading and how they look."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace

import cv2
import numpy as np

from models.alignment import crop, to_crop_matrix
from models.arrays import F32, F64, U8
from models.face_windows import face_size

_LOOK_CROP, _LOOK_RIM = 12, 2  # pixels; at the aligned face's rim there are background and neighbours
_CHROMA = 1.5  # weight of a and b against lightness
# Distances of looks on 100 pictures of 50 people, lit otherwise, leaning, smaller and noisy: of the same picture
# 0.21, 95% under 0.33; of a smile and a straight face 0.32, 95% under 0.47; of two people 1.05, 95% over 0.65.
_LOOK_SCALE = 0.65
_STRANGER = 1.5  # in units of _LOOK_SCALE: light changes and hands make people look no stranger than this

_REACH = 0.8  # face sizes by which a face may miss its place in the next frame
_ROAM = 2.0  # and so much more for each second out of sight
_COASTING = 0.3  # seconds for which a face out of sight is taken to move on as it did
_FRESH = 0.25  # seconds since the last sight in which a face in the right place is believed, whatever its look
_ALIKE = 0.6  # a look by which a face is known anywhere
_PLAUSIBLE = 1.6  # the most that misplacement and strangeness may come to otherwise
_UNSEEN = 2.5  # the cost of not seeing a person: more than that of any face that could be theirs
_ELBOW_ROOM = 1.0  # distance of two faces, in their mean size
_STEADY = 0.1  # seconds over which the velocity is averaged
_LEARN = 1.0  # seconds over which the look is


@dataclass(frozen=True)
class Sighting:
    """Where and how a person was last seen.

    Attributes:
        t: seconds, when.
        centre: float64 [2], of the landmarks, frame pixels.
        size: pixels, see models.face_windows.face_size.
        velocity: float64 [2], pixels per second.
        look: see `describe`.
    """

    t: float
    centre: F64
    size: float
    velocity: F64
    look: F32


def describe(rgb: U8, landmarks: F32) -> F32:
    """What a face looks like, whatever its place, size and lean, the light's strength and tint, and the contrast.

    Args:
        rgb: uint8 [H, W, 3].
        landmarks: float32 [478, 2], frame pixels.

    Returns:
        float32 [192], a thumbnail of the aligned face in Lab; alike faces are near each other.
    """
    inner = slice(_LOOK_RIM, _LOOK_CROP - _LOOK_RIM)
    thumbnail = crop(rgb, to_crop_matrix(landmarks, _LOOK_CROP), _LOOK_CROP)[inner, inner]
    lab = cv2.cvtColor(thumbnail.astype(np.float32) / 255, cv2.COLOR_RGB2LAB)
    spread = max(float(lab[..., 0].std()), 1.0)
    features = (lab - lab.mean(axis=(0, 1))) * np.array([1.0, _CHROMA, _CHROMA]) / spread
    return np.asarray(features.ravel() / np.sqrt(lab[..., 0].size), np.float32)


def sight(rgb: U8, landmarks: F32, t: float) -> Sighting:
    """A face that nobody is known to be yet."""
    return Sighting(
        t, landmarks.mean(axis=0, dtype=np.float64), face_size(landmarks), np.zeros(2), describe(rgb, landmarks)
    )


def crowded(a: Sighting, b: Sighting) -> bool:
    """Whether two faces are so near each other that the look of one has part of the other in it."""
    return float(np.hypot(*(a.centre - b.centre))) < _ELBOW_ROOM * (a.size + b.size) / 2


def recognise(people: Sequence[Sighting], faces: Sequence[Sighting]) -> list[int | None]:
    """Which of the people each face is; None = somebody else. Decided over all of them at once."""
    costs = [[_cost(person, face) for face in faces] for person in people]
    _, chosen = cheapest(costs, _UNSEEN)
    return [chosen.index(face) if face in chosen else None for face in range(len(faces))]


def update(person: Sighting, face: Sighting, *, clear: bool) -> Sighting:
    """The person, seen again as that face; unless it is ``clear``, part of it may be somebody else's."""
    dt = face.t - person.t
    if dt <= 0:
        return face
    if not clear:
        return replace(face, velocity=person.velocity, look=person.look)
    velocity = person.velocity + _share(dt, _STEADY) * ((face.centre - person.centre) / dt - person.velocity)
    look = person.look + np.float32(_share(dt, _LEARN)) * (face.look - person.look)
    return replace(face, velocity=velocity, look=look)


def _share(dt: float, constant: float) -> float:
    """The share of what came in ``dt`` seconds in an average over about ``constant`` seconds."""
    return 1 - math.exp(-dt / constant)


def _cost(person: Sighting, face: Sighting) -> float:
    """How little a face is a person's: by its place, 0 to 1, and its look, 0 to 1.5; infinite = it is not theirs."""
    away = max(face.t - person.t, 0.0)
    expected = person.centre + person.velocity * min(away, _COASTING)
    missed = float(np.hypot(*(face.centre - expected))) / max(person.size, face.size)
    missed += abs(math.log(face.size / person.size))
    misplaced = min(missed / (_REACH + _ROAM * away), 1.0)
    strange = min(float(np.linalg.norm(face.look - person.look)) / _LOOK_SCALE, _STRANGER)
    in_reach = misplaced < 1 and (away < _FRESH or misplaced + strange < _PLAUSIBLE)
    return misplaced + strange if in_reach or strange < _ALIKE else math.inf


def cheapest(
    costs: Sequence[Sequence[float]], unseen: float, taken: frozenset[int] = frozenset()
) -> tuple[float, tuple[int | None, ...]]:
    """The best way to give each person (row) a face (column) of their own, or none.

    There are few people, so all ways are tried.

    Args:
        costs: of each face for each person.
        unseen: the cost of giving a person none.
        taken: faces not to be given.

    Returns:
        The sum of the costs, and the face of each person.
    """
    if not costs:
        return 0.0, ()
    best, faces = cheapest(costs[1:], unseen, taken)
    best, faces = best + unseen, (None, *faces)
    for face, own in enumerate(costs[0]):
        if own < unseen and face not in taken:
            cost, others = cheapest(costs[1:], unseen, taken | {face})
            if cost + own < best:
                best, faces = cost + own, (face, *others)
    return best, faces
