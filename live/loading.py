"""Loads and puts together what a run needs before its first frame: networks, effects, stages."""

from __future__ import annotations

from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from types import MappingProxyType

import psutil

from live import people
from live.demo import DemoSource
from live.effects import DeformLoop, DeformSpec, DirectionEffect, EffectStack
from live.options import Options
from live.pipeline import Pipeline
from live.priority import step_back
from live.render import MODES, UNEDITED, make_mode
from live.synthesis import Synthesizer
from live.timing import Timings
from live.track import FaceTracker
from live.worker import SynthesisWorker
from models import registry
from models.arrays import F32
from models.directions import load_direction, shipped_directions
from models.zoo import (
    SIZES,
    Encoder,
    Generator,
    LandmarkRegressor,
    load_encoder,
    load_generator,
    load_landmark_regressor,
    load_mapping,
)


@dataclass(frozen=True)
class Models:
    """The networks of a run.

    Attributes:
        generator: at the size asked for.
        encoder, regressor: of that generator's latents.
        landmarker: MediaPipe's model file.
        engine: name of the engine asked for.
        threads: of the processor, for each network; 0 = the engine's choice.
    """

    generator: Generator
    encoder: Encoder
    regressor: LandmarkRegressor
    landmarker: Path
    engine: str
    threads: int

    def generator_of(self, size: int) -> Generator:
        """The generator at a size; one that was not asked for is loaded first."""
        return (
            self.generator if size == self.generator.size else load_generator(size, self.engine, threads=self.threads)
        )

    @property
    def sizes(self) -> tuple[int, ...]:
        """Sizes the generator may be run at, largest first: the one asked for and the smallest."""
        return tuple(sorted({self.generator.size, min(SIZES)}, reverse=True))


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


def load_models(size: int, engine: str, *, spare_cores: int = 0) -> Models:
    """Loads the networks, two at once: each spends much of its time on one core.

    Args:
        size: pixels per side of the generated picture.
        engine: a name in models.runtime.ENGINES, or "auto".
        spare_cores: leave so many to the camera, which runs beside them.

    Raises:
        UserError: a model is missing or damaged, or the engine does not run here.
    """
    landmarker = registry.path("face-landmarker")
    threads = max(1, (psutil.cpu_count(logical=False) or 2) - spare_cores) if spare_cores else 0
    # The engines' own threads take their priority from the thread that loads them.
    with ThreadPoolExecutor(2, "load", initializer=step_back) as pool:
        generator = pool.submit(load_generator, size, engine, threads=threads)
        encoder = pool.submit(load_encoder, engine, threads=threads)
        regressor = pool.submit(load_landmark_regressor, engine)
        return Models(generator.result(), encoder.result(), regressor.result(), landmarker, engine, threads)


def load_offsets(options: Options) -> dict[int, F32]:
    """What the encoder misses of the people who were enrolled, by place.

    Raises:
        UserError: somebody is not enrolled, or was with other networks.
    """
    return {place: people.load(name).offset for place, name in options.identities}


def make_synthesizer(
    models: Models, effects: EffectStack, timings: Timings, offsets: Mapping[int, F32] = MappingProxyType({})
) -> Synthesizer:
    """What turns tracked faces into what a mode draws."""
    return Synthesizer(
        encoder=models.encoder,
        load_generator=models.generator_of,
        effects=effects,
        timings=timings,
        offsets=offsets,
    )


def make_pipeline(
    models: Models,
    options: Options,
    *,
    tracker: FaceTracker,
    synthesizer: Synthesizer,
    worker: SynthesisWorker | None,
    effects: EffectStack,
    timings: Timings,
) -> Pipeline:
    """The stages of a run; for `worker` see live.pipeline.Pipeline."""
    return Pipeline(
        tracker=tracker,
        synthesizer=synthesizer,
        worker=worker,
        effects=effects,
        modes={name: make_mode(name, models.regressor) for name in (*MODES, UNEDITED)},
        mode=options.mode,
        size=models.generator.size,
        on_lost=options.on_lost,
        timings=timings,
    )


def make_demo(models: Models, *, live: bool) -> DemoSource:
    """The face that belongs to nobody; it hardly smiles by itself, so that a smile can be seen to be added."""
    return DemoSource(
        models.generator.synthesize,
        load_mapping().map,
        sway=load_direction("yaw").vector if "yaw" in shipped_directions() else None,
        live=live,
    )
