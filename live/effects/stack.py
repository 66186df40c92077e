"""Several effects, one after another."""

from __future__ import annotations

from collections.abc import Sequence

from live.effects.effect import Effect
from models.arrays import F32


class EffectStack:
    """Applies effects in order. All of them add to the latent, so the order does not change the picture."""

    def __init__(self, effects: Sequence[Effect]) -> None:
        self.effects = tuple(effects)

    def edit(self, w_plus: F32, t: float, place: int = 0) -> F32:
        """The latent of the face at ``place`` with its effects as of ``t``; float32 [N, 18, 512] to the same."""
        for effect in self.effects:
            if effect.place in (None, place):
                w_plus = effect.edit(w_plus, t)
        return w_plus

    def labels(self) -> tuple[str, ...]:
        """Labels of the effects that are switched on."""
        return tuple(effect.label for effect in self.effects if effect.active)
