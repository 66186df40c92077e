"""Edits of the latent in time: directions, deform loops, and the stack of them."""

from live.effects.deform import DeformLoop, DeformSpec, parse_deform
from live.effects.direction import DirectionEffect, DirectionSpec, parse_direction
from live.effects.effect import Effect
from live.effects.stack import EffectStack

__all__ = [
    "DeformLoop",
    "DeformSpec",
    "DirectionEffect",
    "DirectionSpec",
    "Effect",
    "EffectStack",
    "parse_deform",
    "parse_direction",
]
