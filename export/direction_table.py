"""Tabulates directions on faces they were not made from: effect per unit, leaks, identity, background."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass

import numpy as np
from rich.progress import track

from export.direction_effects import Editor
from export.direction_recipes import ANYTHING, RECIPES, UNITS
from export.measure import IdentityMeter, Measures, identity_distance
from models.arrays import F32, U8
from models.errors import UserError
from models.face_chip import SAME_PERSON

REACH = 2.0  # strengths whose effect is tabulated are -REACH and +REACH
STRENGTHS = (-3.0, -REACH, REACH, 3.0)  # at which identity is looked at; the last are the sensible limits


@dataclass(frozen=True)
class Effect:
    """What one direction does on average.

    Attributes:
        per_unit: change per unit of strength of every attribute of `UNITS`, in the attribute's own unit,
            between -REACH and +REACH.
        per_unit_error: standard error of that of its own attribute.
        rise: change of its own attribute from 0 to +REACH on the faces its recipe starts from; the quarter of
            them that moves least moves less than `rise_least_quarter`.
        identity: median identity distance from the unedited face at each of `STRENGTHS`.
        range: strengths, lowest and highest, between which that median says that it is the same person, and for its
            recipe pictures still look like faces.
        backdrop_change: mean absolute change of the picture's upper corners at +-REACH, levels of 255.
        lost: with how many faces an edited picture showed none.
    """

    per_unit: dict[str, float]
    per_unit_error: float
    rise: float
    rise_least_quarter: float
    identity: tuple[float, ...]
    range: tuple[float, float]
    backdrop_change: float
    lost: int


@dataclass(frozen=True)
class _Shot:
    rgb: U8
    measures: Measures
    identity: F32


def measure_effects(
    editor: Editor, identity: IdentityMeter, faces: F32, directions: Mapping[str, F32]
) -> dict[str, Effect]:
    """`Effect` of each direction [18, 512] on faces, float32 W+ [N, 18, 512].

    A direction that is none of `RECIPES` has no attribute of its own; the one that it moves most takes its place.

    Raises:
        UserError: a direction moves every picture so far that no face is found in it.
    """
    shots = [(face, _shot(editor, identity, face, None, 0.0)) for face in faces]
    found = [(face, shot) for face, shot in shots if shot is not None]
    effects = {}
    for name, direction in directions.items():
        rows, lost = [], 0
        for face, before in track(found, description=f"Tabulating {name}"):
            edited = [_shot(editor, identity, face, direction, strength) for strength in STRENGTHS]
            row = [before, *(shot for shot in edited if shot is not None)]
            if len(row) == 1 + len(STRENGTHS):
                rows.append(row)
            else:
                lost += 1
        if not rows:
            least, most = STRENGTHS[0], STRENGTHS[-1]
            raise UserError(f"{name}: no face is left from {least:g} to {most:g}; the direction is too long")
        effects[name] = _effect(name, rows, lost)
    return effects


def own_attribute(name: str, per_unit: Mapping[str, float]) -> str:
    """The attribute that a direction is for: its recipe's, or else the one it moves most."""
    if name in RECIPES:
        return RECIPES[name].attribute
    return max(per_unit, key=lambda attribute: abs(per_unit[attribute]) / UNITS[attribute][0])


def as_json(effects: Mapping[str, Effect], faces: int) -> dict[str, object]:
    """Effects and how they were measured, ready for JSON."""
    directions = {
        name: {"attribute": own_attribute(name, effect.per_unit), **asdict(effect)}
        for name, effect in effects.items()
    }
    deviations = {attribute: unit for attribute, (unit, _) in UNITS.items()}
    return {
        "faces": faces,
        "reach": REACH,
        "strengths": STRENGTHS,
        "standard_deviations": deviations,
        "directions": directions,
    }


def markdown(effects: Mapping[str, Effect]) -> str:
    """The README's table: what each direction does."""
    lines = ["| name | what it does | per unit | from 0 to +2 | use |", "|---|---|---|---|---|"]
    for name, effect in effects.items():
        own = own_attribute(name, effect.per_unit)
        description = RECIPES[name].description if name in RECIPES else own
        low, high = effect.range
        lines.append(
            f"| `{name}` | {description} | {effect.per_unit[own]:+.2g} {UNITS[own][1]} | {effect.rise:+.2g} "
            f"| {low:+.2g} to {high:+.2g} |"
        )
    return "\n".join(lines) + "\n"


def _shot(editor: Editor, identity: IdentityMeter, face: F32, direction: F32 | None, strength: float) -> _Shot | None:
    rgb = editor.picture(face, direction, strength)
    measures = editor.meter.measure(rgb)
    if measures is None:
        return None
    return _Shot(rgb, measures, identity.embed(rgb, measures.detection.landmarks))


def _effect(name: str, rows: Sequence[Sequence[_Shot]], lost: int) -> Effect:
    """Of rows of shots: the unedited, then one at each of `STRENGTHS`."""
    down, up = 1 + STRENGTHS.index(-REACH), 1 + STRENGTHS.index(REACH)

    def values(column: int, attribute: str) -> F32:
        return np.array([row[column].measures.attribute(attribute) for row in rows], np.float32)

    def slope(attribute: str) -> F32:
        return (values(up, attribute) - values(down, attribute)) / np.float32(2 * REACH)

    per_unit = {attribute: float(slope(attribute).mean()) for attribute in UNITS}
    own = own_attribute(name, per_unit)
    lowest, highest = RECIPES[name].start if name in RECIPES else ANYTHING
    start = values(0, own)
    rises = (values(up, own) - start)[(start >= lowest) & (start <= highest)]
    identity = [
        float(np.median([identity_distance(row[0].identity, row[1 + i].identity) for row in rows]))
        for i in range(len(STRENGTHS))
    ]
    return Effect(
        per_unit=per_unit,
        per_unit_error=float(slope(own).std() / np.sqrt(len(rows))),
        rise=float(rises.mean()),
        rise_least_quarter=float(np.percentile(rises, 25)),
        identity=tuple(identity),
        range=_usable(name, *same_person_range(identity)),
        backdrop_change=float(
            np.mean([_corner_change(row[0].rgb, row[side].rgb) for row in rows for side in (down, up)])
        ),
        lost=lost,
    )


def _usable(name: str, low: float, high: float) -> tuple[float, float]:
    most = RECIPES[name].most if name in RECIPES else STRENGTHS[-1]
    return max(low, -most), min(high, most)


def same_person_range(identity: Sequence[float]) -> tuple[float, float]:
    """Where the distance at each of `STRENGTHS`, linear in between and 0 at 0, stays below `SAME_PERSON`."""

    def reach(strengths: Sequence[float], distances: Sequence[float]) -> float:
        """Of two rising strengths."""
        rising = np.maximum.accumulate([0.0, *distances])
        if rising[-1] < SAME_PERSON:
            return strengths[-1]
        crossed = float(np.interp(SAME_PERSON, rising, [0.0, *strengths]))
        return math.floor(10 * crossed + 1e-6) / 10  # more digits say nothing

    below = reach([-STRENGTHS[1], -STRENGTHS[0]], [identity[1], identity[0]])
    return -below, reach(STRENGTHS[2:], identity[2:])


def _corner_change(before: U8, after: U8) -> float:
    side = before.shape[0] // 8
    difference = np.abs(before[:side].astype(np.int16) - after[:side])
    return float(np.concatenate([difference[:, :side], difference[:, -side:]]).mean())
