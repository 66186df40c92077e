"""Conditional directions: a direction with as much of others taken off as holds their attributes, on average.

A projection orthogonal to the other directions (InterFaceGAN's conditional manipulation) would hold attributes that W
lays out at right angles. It does not; so what leaks is measured on faces instead.
"""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np

from export.direction_effects import Editor, slopes
from export.direction_recipes import RECIPES
from models.arrays import F32
from models.errors import UserError

REACH = 2.0  # strengths at which leaks are measured are -REACH and +REACH
ROUNDS = 2  # effects do not quite add up: what remains after the first is measured again


def holding(editor: Editor, faces: F32, direction: F32, held: Mapping[str, F32]) -> F32:
    """The direction that holds the attributes of others still.

    Args:
        editor: edits and measures pictures.
        faces: float32 W+ [N, 18, 512], to measure leaks on.
        direction: float32 [18, 512].
        held: shipped directions [18, 512], by their names in `RECIPES`, whose attributes shall not move.

    Returns:
        float32 [18, 512]: direction - sum of c_i held_i, the sum's slopes being the direction's.

    Raises:
        UserError: along the direction no picture shows a face any more.
    """
    names = tuple(RECIPES[name].attribute for name in held)
    rows = [(face, row) for face in faces if (row := editor.columns(face)) is not None]
    found, base = np.stack([face for face, _ in rows]), np.stack([row for _, row in rows])
    answers = slopes(editor, found, held, names, base, REACH)
    for _ in range(ROUNDS):
        leak = slopes(editor, found, {"": direction}, names, base, REACH)[0]
        if not np.isfinite(leak).all():
            raise UserError(f"no face is left at strengths -{REACH:g} and {REACH:g}; the direction is too long")
        shares = np.linalg.solve(answers.T, leak)
        direction = direction - np.tensordot(shares, np.stack(list(held.values())), axes=1).astype(np.float32)
    return direction
