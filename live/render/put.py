"""Puts a change onto the camera's face: its pixels bent, what differs added, the open mouth filled in."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import cv2
import numpy as np

from live.render.bend import BOX, CONTROL, bend
from live.render.change import Change
from live.render.face_parts import FaceParts, face_parts
from models.alignment import invert, to_unit_matrix, transform_points
from models.arrays import F32, F64, U8
from models.face_mesh import LIPS, canonical_face, mouth_opening

_NO_MAP: Any = None  # OpenCV's stubs know only pairs of maps
_CELLS = 48  # a side of the square, between which displacements are interpolated
_LEAST_CELL = 3  # pixels
_RIM = 0.03  # of the square, inside its border, over which displacements end
# Share of the mouth's opening that is new, from which on it shows the generator's mouth alone.
_NEW_MOUTH = 0.6
_SHUT, _OPEN = 0.012, 0.04  # opening of lips that touch, and of a mouth that shows something


@dataclass(frozen=True)
class Places:
    """Where the pixels of a part of the frame come from.

    Attributes:
        rows, columns: the part of the frame.
        camera: float32 [h, w, 2], frame pixels to take the camera's picture from.
        canonical: float32 [h, w, 2], shares of the canonical square to take the change from.
    """

    rows: slice
    columns: slice
    camera: F32
    canonical: F32


def put(change: Change, rgb: U8, landmarks: F32, gate: F32) -> U8 | None:
    """The frame with one face changed.

    Args:
        change: what to change.
        rgb: uint8 [H, W, 3].
        landmarks: float32 [478, 2], the face in it, frame pixels.
        gate: float32 [G, G] in [0, 1], how much of it to show where, canonical.

    Returns:
        A copy; None if the face lies outside the frame.
    """
    to_unit = to_unit_matrix(landmarks)
    points = transform_points(to_unit, landmarks).astype(np.float32)
    moved = points + change.displacement * _sampled(gate, canonical_face())[:, None]
    places = _places(to_unit, points[CONTROL], moved[CONTROL], rgb.shape[:2])
    if places is None:
        return None
    size = change.size
    parts = face_parts(size)
    shown = cv2.resize(gate, (size, size), interpolation=cv2.INTER_LINEAR)
    layer = cv2.multiply(change.residual, cv2.merge([shown, shown, shown]))
    filled = parts.mouth * shown[parts.mouth_rows, parts.mouth_columns] * np.float32(_uncovered(points, moved))
    mouth = layer[parts.mouth_rows, parts.mouth_columns]
    mouth += (change.mouth - mouth) * filled[..., None]

    canonical = places.canonical * np.float32(size) - np.float32(0.5)
    added = cv2.remap(layer, canonical, _NO_MAP, cv2.INTER_LINEAR, borderMode=cv2.BORDER_CONSTANT)
    bent = _looked_up(rgb, places.camera)
    if filled.any():
        lips = transform_points(invert(to_unit), moved[list(LIPS)]) - (places.columns.start, places.rows.start)
        _make_room(bent, filled, canonical, parts, lips)
    out: U8 = rgb.copy()
    out[places.rows, places.columns] = cv2.add(bent, added, dtype=cv2.CV_8U)
    return out


def _looked_up(rgb: U8, places: F32) -> U8:
    # Linear interpolation between pixels would take a tenth of the finest detail of skin.
    return np.asarray(cv2.remap(rgb, places, _NO_MAP, cv2.INTER_CUBIC, borderMode=cv2.BORDER_REPLICATE), np.uint8)


def _make_room(bent: U8, filled: F32, canonical: F32, parts: FaceParts, lips: F64) -> None:
    """Takes the camera's pixels away, in place, where the generator's mouth is to be seen: within `lips` [N, 2]."""
    height, width = bent.shape[:2]
    left, top = np.clip(np.floor(lips.min(axis=0)), 0, (width, height)).astype(int)
    right, bottom = np.clip(np.ceil(lips.max(axis=0)) + 1, 0, (width, height)).astype(int)
    if left >= right or top >= bottom:
        return
    box = np.s_[top:bottom, left:right]
    places = canonical[box] - np.array((parts.mouth_columns.start, parts.mouth_rows.start), np.float32)
    taken = cv2.remap(filled, places, _NO_MAP, cv2.INTER_LINEAR, borderMode=cv2.BORDER_CONSTANT)
    bent[box] = np.rint(bent[box] * (1 - taken[..., None]))


def _places(to_unit: F64, points: F32, moved: F32, frame_shape: tuple[int, ...]) -> Places | None:
    """Looks up, for each pixel, what the bending brings there; None outside the frame."""
    height, width = frame_shape
    to_frame = invert(to_unit)
    left, top, right, bottom = BOX
    corners = transform_points(to_frame, [(left, top), (right, top), (right, bottom), (left, bottom)])
    low = np.maximum(np.floor(corners.min(axis=0)).astype(int), 0)
    high = np.minimum(np.ceil(corners.max(axis=0)).astype(int) + 1, (width, height))
    if (low >= high).any():
        return None
    cell = max(_LEAST_CELL, round(float(np.hypot(*to_frame[:, 0])) / _CELLS))
    columns, rows = (-(-(high - low) // cell) + 2).tolist()  # one more cell on each side to interpolate with
    x, y = np.meshgrid(np.arange(columns), np.arange(rows))
    first = low - cell + (cell - 1) / 2  # centre of the first cell
    frame_nodes = np.column_stack([x.ravel(), y.ravel()]) * cell + first
    at = transform_points(to_unit, frame_nodes).astype(np.float32)
    offsets = bend(moved, np.hstack([points - moved, canonical_face()[CONTROL] - moved]), at)
    # Beyond the anchors the bending would go on; in the corners of a leaning face's rectangle nothing may move.
    inside = np.minimum(at - BOX[:2], BOX[2:] - at).min(axis=1)
    moving = np.clip(inside / _RIM, 0, 1)[:, None]
    camera = transform_points(to_frame, at + moving * offsets[:, :2]).astype(np.float32)
    canonical = at + offsets[:, 2:]

    def enlarged(values: F32) -> F32:
        whole = cv2.resize(values.reshape(rows, columns, 2), (columns * cell, rows * cell))
        inner = whole[cell : cell + high[1] - low[1], cell : cell + high[0] - low[0]]
        return np.ascontiguousarray(inner)

    return Places(
        rows=slice(int(low[1]), int(high[1])),
        columns=slice(int(low[0]), int(high[0])),
        camera=enlarged(camera),
        canonical=enlarged(canonical),
    )


def _sampled(gate: F32, points: F32) -> F32:
    """The gate at points [N, 2] of the canonical square; float32 [N]."""
    places = (points * gate.shape[0] - 0.5).astype(np.float32)[None]
    return np.asarray(
        cv2.remap(gate, places, _NO_MAP, cv2.INTER_LINEAR, borderMode=cv2.BORDER_REPLICATE)[0], np.float32
    )


def _uncovered(points: F32, moved: F32) -> float:
    """Share of the mouth that the camera never showed, and that the generator has to fill, in [0, 1]."""
    opening, before = mouth_opening(moved), mouth_opening(points)
    new = max(opening - before, 0) / max(opening, 1e-6)
    return float(np.clip(new / _NEW_MOUTH, 0, 1) * np.clip((opening - _SHUT) / (_OPEN - _SHUT), 0, 1))
