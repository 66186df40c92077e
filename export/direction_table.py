"""Tabulates directions on faces they were not made from: effect per unit, leaks, identity, background."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass

import numpy as np
from rich.progress import track

from export.direction_effects import UNITS, Editor
from export.direction_fit import RECIPES
from export.measure import IdentityMeter, Measures, identity_distance
from models.arrays import F32, U8

REACH = 2.0  # strengths measured are -REACH and +REACH


@dataclass(frozen=True)
class Effect:
    """What one direction does on average.

    Attributes:
        per_unit: change per unit of strength of every attribute of `UNITS`, in the attribute's own unit,
            between -REACH and +REACH.
        rise: change of its own attribute from 0 to +REACH on the faces its recipe starts from; the quarter of
            them that moves least moves less than `rise_least_quarter`.
        span: median change of its own attribute from -REACH to +REACH, all faces.
        identity: median identity distance at -REACH and at +REACH.
        backdrop_change: mean absolute change of the picture's upper corners at +-REACH, levels of 255.
        lost: in how many pictures no face was found.
    """

    per_unit: dict[str, float]
    rise: float
    rise_least_quarter: float
    span: float
    identity: tuple[float, float]
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
    """`Effect` of each direction [18, 512] on faces, float32 W+ [N, 18, 512]."""
    shots = [(face, _shot(editor, identity, face, None, 0.0)) for face in faces]
    found = [(face, shot) for face, shot in shots if shot is not None]
    effects = {}
    for name, direction in directions.items():
        pairs, lost = [], 0
        for face, before in track(found, description=f"Tabulating {name}"):
            down = _shot(editor, identity, face, direction, -REACH)
            up = _shot(editor, identity, face, direction, REACH)
            if down is None or up is None:
                lost += 1
                continue
            pairs.append((down, before, up))
        effects[name] = _effect(name, pairs, lost)
    return effects


def as_json(effects: Mapping[str, Effect], faces: int) -> dict[str, object]:
    """Effects and how they were measured, ready for JSON."""
    directions = {}
    for name, effect in effects.items():
        recipe = RECIPES[name]
        directions[name] = {
            "attribute": recipe.attribute,
            "layers": [recipe.layers.start, recipe.layers.stop - 1],
            **asdict(effect),
        }
    return {"faces": faces, "reach": REACH, "standard_deviations": UNITS, "directions": directions}


def markdown(effects: Mapping[str, Effect]) -> str:
    """The README's two tables: what each direction does, and its leaks in standard deviations per unit."""
    lines = [
        "| direction | own attribute, per unit | from 0 to +2 | from -2 to +2 | identity at -2, +2 |",
        "|---|---|---|---|---|",
    ]
    for name, effect in effects.items():
        own = RECIPES[name].attribute
        lines.append(
            f"| {name} | {effect.per_unit[own]:+.2g} | {effect.rise:+.2g} | {effect.span:+.2g} "
            f"| {effect.identity[0]:.2f}, {effect.identity[1]:.2f} |"
        )
    lines += ["", "| direction | " + " | ".join(UNITS) + " |", "|---" * (len(UNITS) + 1) + "|"]
    for name, effect in effects.items():
        cells = [f"{effect.per_unit[attribute] / unit:+.2f}" for attribute, unit in UNITS.items()]
        lines.append(f"| {name} | " + " | ".join(cells) + " |")
    return "\n".join(lines) + "\n"


def _shot(editor: Editor, identity: IdentityMeter, face: F32, direction: F32 | None, strength: float) -> _Shot | None:
    rgb = editor.picture(face, direction, strength)
    measures = editor.meter.measure(rgb)
    if measures is None:
        return None
    return _Shot(rgb, measures, identity.embed(rgb, measures.detection.landmarks))


def _effect(name: str, shots: Sequence[tuple[_Shot, _Shot, _Shot]], lost: int) -> Effect:
    def values(column: int, attribute: str) -> F32:
        return np.array([row[column].measures.attribute(attribute) for row in shots], np.float32)

    recipe = RECIPES[name]
    start = values(1, recipe.attribute)
    chosen = (start >= recipe.start[0]) & (start <= recipe.start[1])
    rises = (values(2, recipe.attribute) - start)[chosen]
    distances = [[identity_distance(row[1].identity, row[side].identity) for row in shots] for side in (0, 2)]
    return Effect(
        per_unit={
            attribute: float((values(2, attribute) - values(0, attribute)).mean() / (2 * REACH))
            for attribute in UNITS
        },
        rise=float(rises.mean()),
        rise_least_quarter=float(np.percentile(rises, 25)),
        span=float(np.median(values(2, recipe.attribute) - values(0, recipe.attribute))),
        identity=(float(np.median(distances[0])), float(np.median(distances[1]))),
        backdrop_change=float(
            np.mean([_corner_change(row[1].rgb, row[side].rgb) for row in shots for side in (0, 2)])
        ),
        lost=lost,
    )


def _corner_change(before: U8, after: U8) -> float:
    side = before.shape[0] // 8
    difference = np.abs(before[:side].astype(np.int16) - after[:side])
    return float(np.concatenate([difference[:, :side], difference[:, -side:]]).mean())
