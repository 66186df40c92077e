"""A smooth displacement of a whole face from the displacements of its landmarks.

Radial basis functions with the kernel -r (the biharmonic spline of three dimensions; Bookstein's thin plate with
r^2 log r overshoots between close points, this one does not), a constant term, and anchors at rest around the face.
All coordinates are shares of FFHQ's square, in [0, 1] within it.
"""

from __future__ import annotations

from functools import cache

import numpy as np

from models.arrays import F32
from models.face_mesh import (
    BROW_A,
    BROW_B,
    CHEEKS,
    CHIN,
    EYE_A,
    EYE_B,
    FACE_OVAL,
    FOREHEAD,
    INNER_LIPS,
    LIPS,
    NOSE,
    canonical_face,
)

# The landmarks that steer: every point of the lips, every second one where faces bend little.
CONTROL = np.array(
    (*LIPS, *INNER_LIPS, *EYE_A[::2], *EYE_B[::2], *BROW_A[::2], *BROW_B[::2], *NOSE[::2], *CHEEKS, *CHIN, *FOREHEAD,
     *FACE_OVAL[::2])
)  # fmt: skip
# What can move: left, top, right, bottom. Outside of it everything is at rest.
BOX = (0.06, 0.03, 0.94, 1.03)

_ANCHORS_A_SIDE = 6
# Two control points may fall together (closed lips) and yet want different displacements: they meet in the middle.
_STIFFNESS = 2e-3


def bend(points: F32, displacements: F32, at: F32) -> F32:
    """Interpolates displacements given at the control points.

    Args:
        points: float32 [len(CONTROL), 2], where the control points are.
        displacements: float32 [len(CONTROL), K], any number of components.
        at: float32 [N, 2], where to know them.

    Returns:
        float32 [N, K], 0 on the border of `BOX`.
    """
    anchors = _anchors()
    centres = np.concatenate([points, anchors])
    n = len(centres)
    system = np.ones((n + 1, n + 1), np.float32)
    system[:n, :n] = -_distances(centres, centres)
    system[np.arange(n), np.arange(n)] = _STIFFNESS
    system[n, n] = 0
    values = np.zeros((n + 1, displacements.shape[1]), np.float32)
    values[: len(points)] = displacements
    weights = np.linalg.solve(system, values)
    return np.asarray(weights[n] - _distances(at, centres) @ weights[:n], np.float32)


@cache
def canonical_bending(count: int) -> F32:
    """The matrix that takes displacements of the canonical face's control points to those of a grid.

    Returns:
        float32 [count * count, len(CONTROL)], for the centres of count x count cells of the square, row by row;
        read-only.
    """
    matrix = bend(canonical_face()[CONTROL], np.eye(len(CONTROL), dtype=np.float32), cell_centres(count, count))
    matrix.setflags(write=False)
    return matrix


def cell_centres(columns: int, rows: int) -> F32:
    """The centres of columns x rows cells of the unit square, float32 [columns * rows, 2], row by row."""
    x, y = np.meshgrid((np.arange(columns) + 0.5) / columns, (np.arange(rows) + 0.5) / rows)
    return np.column_stack([x.ravel(), y.ravel()]).astype(np.float32)


def _anchors() -> F32:
    left, top, right, bottom = BOX
    step = np.arange(_ANCHORS_A_SIDE, dtype=np.float32) / _ANCHORS_A_SIDE
    x, y = left + step * (right - left), top + step * (bottom - top)
    sides = (
        np.column_stack([x, np.full_like(x, top)]),
        np.column_stack([np.full_like(y, right), y]),
        np.column_stack([right + left - x, np.full_like(x, bottom)]),
        np.column_stack([np.full_like(y, left), bottom + top - y]),
    )
    return np.concatenate(sides).astype(np.float32)


def _distances(a: F32, b: F32) -> F32:
    """Euclidean distances, float32 [len(a), len(b)]; by one matrix product, which is what makes this fast."""
    squared = (a**2).sum(axis=1)[:, None] + (b**2).sum(axis=1) - 2 * (a @ b.T)
    np.maximum(squared, 0, out=squared)
    return np.asarray(np.sqrt(squared, out=squared), np.float32)
