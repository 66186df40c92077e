"""Loads what a run needs before its first frame: networks and effects."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

from live.demo import DemoSource
from live.effects import DeformLoop, DeformSpec, DirectionEffect, EffectStack
from live.options import Options
from models import registry
from models.directions import load_direction, shipped_directions
from models.zoo import Encoder, Generator, load_encoder, load_generator, load_mapping


@dataclass(frozen=True)
class Models:
    """The networks of a run."""

    generator: Generator
    encoder: Encoder
    landmarker: Path


def load_effects(options: Options) -> EffectStack:
    """The effects asked for, switched on, then all the others there are, switched off for keys to switch on.

    Raises:
        UserError: an unknown direction or a bad file.
    """
    asked = [
        DirectionEffect(load_direction(spec.name), spec.strength, place=spec.place) for spec in options.directions
    ]
    names = {effect.name for effect in asked}
    others = [name for name in shipped_directions() if name not in names]
    off = [DirectionEffect(load_direction(name), active=False) for name in others]
    deforms = [DeformLoop(spec) for spec in options.deforms] or [DeformLoop(DeformSpec(), active=False)]
    return EffectStack([*asked, *off, *deforms])


def load_models(size: int, engine: str) -> Models:
    """Loads the networks, two at once: each spends much of its time on one core.

    Raises:
        UserError: a model is missing or damaged, or the engine does not run here.
    """
    landmarker = registry.path("face-landmarker")
    with ThreadPoolExecutor(2, "load") as pool:
        encoder = pool.submit(load_encoder, engine)
        generator = load_generator(size, engine)
        return Models(generator, encoder.result(), landmarker)


def make_demo(models: Models, *, live: bool) -> DemoSource:
    """The face that belongs to nobody; it hardly smiles by itself, so that a smile can be seen to be added."""
    return DemoSource(
        models.generator.synthesize,
        load_mapping().map,
        sway=load_direction("yaw").vector if "yaw" in shipped_directions() else None,
        live=live,
    )
