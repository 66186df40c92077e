"""Which known directions another one is like: a published file's name does not say where it points."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np

from export.fidelity import LAYER_GROUPS
from models.arrays import F32


def cosines(direction: F32, other: F32) -> dict[str, float]:
    """The cosine of two directions, float32 [18, 512], in each group of layers; 0 where one of them does nothing.

    Published ones mostly move every layer alike, where ours differ from group to group.
    """
    return {name: _cosine(direction[layers], other[layers]) for name, layers in LAYER_GROUPS.items()}


def kin(direction: F32, known: Mapping[str, F32], count: int) -> dict[str, dict[str, float]]:
    """`cosines` with the `count` known directions that it is likest, or most opposite to, where they do most."""
    found = {name: cosines(direction, other) for name, other in known.items()}

    def likeness(name: str) -> float:
        shares = {group: float((known[name][layers] ** 2).sum()) for group, layers in LAYER_GROUPS.items()}
        return abs(sum(shares[group] * cosine for group, cosine in found[name].items())) / sum(shares.values())

    return {name: found[name] for name in sorted(found, key=likeness, reverse=True)[:count]}


def _cosine(a: F32, b: F32) -> float:
    lengths = float(np.linalg.norm(a) * np.linalg.norm(b))
    return float((a * b).sum()) / lengths if lengths else 0.0
