"""What a direction does to faces: its effect per unit, its leaks into all else, its unit of strength."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from rich.progress import track

from export.direction_recipes import UNITS, Recipe
from export.measure import Meter, attribute_values
from models.alignment import to_rgb
from models.arrays import F32, F64, U8
from models.errors import UserError
from models.latent import move


@dataclass(frozen=True)
class Editor:
    """Edits faces and measures them.

    Attributes:
        synthesize: W+ [1, 18, 512] -> RGB [1, 3, R, R] about [-1, 1].
        meter: measures the pictures.
    """

    synthesize: Callable[[F32], F32]
    meter: Meter

    def picture(self, w_plus: F32, direction: F32 | None = None, strength: float = 0.0) -> U8:
        """The face of w_plus [18, 512], moved along a direction [18, 512]; uint8 [R, R, 3]."""
        latent = w_plus[None] if direction is None else move(w_plus[None], direction, strength)
        return to_rgb(self.synthesize(latent))

    def columns(self, w_plus: F32, direction: F32 | None = None, strength: float = 0.0) -> F32 | None:
        """`Measures.columns` of that picture; None when it shows no face."""
        measures = self.meter.measure(self.picture(w_plus, direction, strength))
        return None if measures is None else measures.columns()


def changes(editor: Editor, faces: F32, direction: F32, strength: float, base: F32) -> F32:
    """Change of every column at a strength.

    Args:
        editor: edits and measures.
        faces: float32 W+ [N, 18, 512].
        direction: float32 [18, 512].
        strength: how far to go.
        base: float32 [N, columns] of the unedited faces.

    Returns:
        float32 [N, columns], NaN for a face no longer found.
    """
    changed = np.full_like(base, np.nan)
    for i, face in enumerate(faces):
        after = editor.columns(face, direction, strength)
        if after is not None:
            changed[i] = after - base[i]
    return changed


def slopes(
    editor: Editor, faces: F32, directions: Mapping[str, F32], names: tuple[str, ...], base: F32, reach: float
) -> F64:
    """Mean change per unit of strength between -reach and +reach, in `UNITS`: float64 [directions, names]."""
    result = np.empty((len(directions), len(names)))
    for i, direction in enumerate(track(list(directions.values()), description="Measuring leaks")):
        up = changes(editor, faces, direction, reach, base)
        down = changes(editor, faces, direction, -reach, base)
        for j, name in enumerate(names):
            difference = attribute_values(up, name) - attribute_values(down, name)
            result[i, j] = np.nanmean(difference) / (2 * reach) / UNITS[name][0]
    return result


def without_leaks(
    directions: Mapping[str, F32], measured: F64, held: NDArray[np.bool_], damping: float = 0.3
) -> dict[str, F32]:
    """Takes off each direction so much of others that it moves its own attribute only, as far as slopes tell.

    Args:
        directions: A directions, float32 [18, 512].
        measured: float64 [A, A], slope of direction i in attribute j, in the same order.
        held: bool [A, A], whether direction i must leave attribute j alone; the diagonal does not matter.
        damping: keeps what is measured poorly, or moves like the direction itself, from being taken off at length.

    Returns:
        The corrected directions under the same names; own slopes as before.
    """
    own = np.diag(measured)
    relative = measured / own[:, None]  # rows: leaks per unit of own effect
    scaled = np.stack(list(directions.values())) / own[:, None, None]
    corrected = {}
    for i, name in enumerate(directions):
        leaking = np.flatnonzero(held[i] & (np.arange(len(own)) != i))
        answers = relative[np.ix_(leaking, leaking)]
        shares = np.linalg.solve(answers @ answers.T + damping * np.eye(len(leaking)), answers @ relative[i, leaking])
        kept = 1 - shares @ relative[leaking, i]
        vector = scaled[i] - np.tensordot(shares, scaled[leaking], axes=1)
        corrected[name] = (vector * own[i] / kept).astype(np.float32)
    return corrected


# A step comes as a standard deviation of its attribute; strengths go to 3, and beyond 4 deviations are no faces.
MOST_SCALE = 1.25


def calibrated(editor: Editor, faces: F32, direction: F32, recipe: Recipe, base: F32, rounds: int = 3) -> F32:
    """The direction rescaled so that strength 1 moves its attribute by the recipe's target, on average.

    Where that would take more than `MOST_SCALE` times the direction given, that is what is returned: some targets are
    out of reach for some faces, and a longer step only leaves the space of faces.

    Raises:
        UserError: no face starts where the recipe asks for.
    """
    values = attribute_values(base, recipe.attribute)
    chosen = (values >= recipe.start[0]) & (values <= recipe.start[1])
    if not chosen.any():
        raise UserError(f"no face has {recipe.attribute} within {recipe.start}; take more --tuning-faces")
    # Expressions answer late and then all at once: what counts is half the effect at 2, where they are used.
    scale = 1.0
    for _ in range(rounds):
        moved = changes(editor, faces[chosen], direction, 2 * scale, base[chosen])
        effect = float(np.nanmean(attribute_values(moved, recipe.attribute))) / 2
        scale = min(scale * float(np.clip(recipe.target / max(effect, 1e-6), 0.5, 2.0)), MOST_SCALE)
    return np.asarray(direction * np.float32(scale), np.float32)
