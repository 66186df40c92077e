"""What an edit changes of a face, taken from two generated pictures: one before and one after it.

Everything is measured in the canonical face, so that it can be put onto the camera's face wherever that is by then.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cache

import cv2
import numpy as np

from live.render.canonical import to_canonical
from live.render.colour import fit_colour
from live.render.detail import difference
from live.render.face_parts import FaceParts, face_parts
from models.arrays import F32, U8
from models.face_mesh import FACE_OVAL, canonical_face, eye_opening

# Distance in CIE Lab of camera and reconstruction at which half of what the edit adds is still shown.
_ALIKE = 14.0
_LEAST_SHOWN = 0.25  # inside the face: the edit is asked for there, come what may
_HAIR_ALIKE, _HAIR_UNLIKE = 9.0, 18.0  # outside the face nothing is added where they differ
_MOST_ADDED = 0.2  # of [0, 1], averaged around a pixel: more is no wrinkle and no shade but another thing
_MOST_ON_FOREHEAD = 0.05  # where it would be the strands of another fringe
_SMALL = 64  # pixels a side at which camera and reconstruction are compared
_BACKDROP = 15.0  # distance in CIE Lab from the backdrop's colours up to which a pixel may be of it
_HAIR_BLUR = 1.6  # of those; of hair only its colour changes: strands never match
_LIDS_REST, _LIDS_MOVE = 0.02, 0.07  # change of the eyes' opening from which the lids' pixels are the generator's


@dataclass(frozen=True)
class Change:
    """What an edit does to a face.

    Attributes:
        displacement: float32 [478, 2], by how much each landmark moves, shares of FFHQ's square.
        residual: float32 [S, S, 3], what is added to the bent camera picture, RGB about [-255, 255], canonical.
        mouth: float32 [h, w, 3], what is seen where the lips part, RGB in [0, 255], the mouth's part of the canonical
            picture (see face_parts).
    """

    displacement: F32
    residual: F32
    mouth: F32

    @property
    def size(self) -> int:
        """Pixels per side of the canonical pictures, S."""
        return int(self.residual.shape[0])


@cache
def no_change(size: int) -> Change:
    """What no edit does."""
    parts = face_parts(size)
    empty = np.zeros((size, size, 3), np.float32)
    return Change(np.zeros((478, 2), np.float32), empty, empty[parts.mouth_rows, parts.mouth_columns])


def measure_change(
    camera: U8, landmarks: F32, before: U8, after: U8, landmarks_before: F32, landmarks_after: F32
) -> Change:
    """Compares the generator's pictures of a face before and after an edit.

    Args:
        camera: uint8 [S, S, 3] RGB, the face in FFHQ's square.
        landmarks: float32 [478, 2] in [0, 1], the camera's face in its square.
        before: uint8 [S, S, 3] RGB, the generator's reconstruction of that face.
        after: the same after the edit.
        landmarks_before: float32 [478, 2] in [0, 1], the reconstruction's.
        landmarks_after: the same after the edit.
    """
    size = after.shape[0]
    parts = face_parts(size)
    unit = np.float32(1 / 255)
    seen = to_canonical(camera, landmarks, size) * unit
    old = to_canonical(before, landmarks_before, size) * unit
    new = to_canonical(after, landmarks_after, size) * unit
    width = float(np.ptp(canonical_face()[list(FACE_OVAL), 0])) * size
    colour = fit_colour(old, seen, parts.skin, width)
    if colour is not None:
        old, new = (np.clip(colour.apply(picture), 0, 1) for picture in (old, new))
    lids = abs(eye_opening(landmarks_after) - eye_opening(landmarks_before))
    changed, new = difference(old, new, seen, parts.skin)
    residual = _gated(changed, old, seen, parts, lids)
    return Change(
        displacement=(landmarks_after - landmarks_before).astype(np.float32),
        residual=residual * np.float32(255),
        mouth=new[parts.mouth_rows, parts.mouth_columns] * np.float32(255),
    )


def _gated(residual: F32, old: F32, seen: F32, parts: FaceParts, lids: float) -> F32:
    """What is added to the camera's picture, where it belongs: all of it in the face, in the hair its colour alone.

    Whether it belongs somewhere varies slowly over a face and is worked out in small.
    """
    size = residual.shape[0]

    old_lab, seen_lab = (_blurred_lab(_reduced(picture)) for picture in (old, seen))
    distance = _distance(old_lab, seen_lab)
    added = cv2.blur(_reduced(np.abs(residual).max(axis=-1)), (3, 3))
    most = _MOST_ADDED + (_MOST_ON_FOREHEAD - _MOST_ADDED) * _reduced(parts.forehead)
    moderate = np.minimum(most / np.maximum(added, 1e-6), 1) ** 2
    alike = np.maximum(np.exp2(-((distance / _ALIKE) ** 2)), _LEAST_SHOWN)
    still = 1 - np.clip((lids - _LIDS_REST) / (_LIDS_MOVE - _LIDS_REST), 0, 1)
    # Eyes that stay open are bent only: the generator's are duller than the camera's.
    in_face = parts.face * (1 - np.float32(still) * parts.eyes)
    in_face *= cv2.resize((moderate * alike).astype(np.float32), (size, size))

    unlike = cv2.GaussianBlur(cv2.dilate(distance, np.ones((5, 5), np.uint8)), (0, 0), 2)
    alike_hair = np.clip((_HAIR_UNLIKE - unlike) / (_HAIR_UNLIKE - _HAIR_ALIKE), 0, 1)
    in_hair = _reduced(parts.head - parts.face) * alike_hair
    in_hair = in_hair * np.minimum(_before_backdrop(old_lab), _before_backdrop(seen_lab))
    tint = cv2.GaussianBlur(_reduced(np.clip(residual, -_MOST_ADDED, _MOST_ADDED)), (0, 0), _HAIR_BLUR)
    tint *= np.maximum(in_hair, 0)[..., None]
    gated = cv2.multiply(residual, cv2.merge([in_face, in_face, in_face]))
    return np.asarray(cv2.add(gated, cv2.resize(tint, (size, size))), np.float32)


def _reduced(picture: F32) -> F32:
    return np.asarray(cv2.resize(picture, (_SMALL, _SMALL), interpolation=cv2.INTER_AREA), np.float32)


def _blurred_lab(rgb: F32) -> F32:
    return np.asarray(cv2.cvtColor(cv2.GaussianBlur(rgb, (0, 0), 1), cv2.COLOR_RGB2LAB), np.float32)


def _distance(a: F32, b: F32) -> F32:
    """Between colours, CIE Lab [..., 3]; float32 [...]."""
    return np.asarray(np.sqrt(((a - b) ** 2).sum(axis=-1)), np.float32)


def _before_backdrop(lab: F32) -> F32:
    """How surely each pixel is not of the backdrop, whose colours are those at the sides; float32 [h, w]."""
    strip = _SMALL // 12
    sides = [
        np.median(part.reshape(-1, 3), axis=0) for part in (lab[: _SMALL // 2, :strip], lab[: _SMALL // 2, -strip:])
    ]
    distance = np.minimum(*(_distance(lab, np.asarray(side, np.float32)) for side in sides))
    return np.asarray(np.clip((distance - _BACKDROP) / _BACKDROP, 0, 1), np.float32)
