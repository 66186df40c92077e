"""Loads and puts together what a run needs before its first frame: networks, effects, stages."""

from __future__ import annotations

from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from types import MappingProxyType

import psutil

from live import people
from live.effects import DeformLoop, DeformSpec, DirectionEffect, EffectStack
from live.faces.track import FaceTracker
from live.options import Options
from live.people import Enrolment
from live.pipeline import Pipeline
from live.priority import step_back
from live.render import MODES, UNEDITED, make_mode
from live.settle.settle import Settler
from live.sources.demo import DemoSource
from live.synthesis import Synthesizer
from live.timing import Timings
from live.worker import SynthesisWorker
from models import pair as pairs
from models import registry
from models.alignment import to_rgb
from models.directions import Directions
from models.errors import UserError
from models.generated_landmarks import LandmarkDetector, agree
from models.inversion import load_gradients
from models.pair import Pair, read_pair
from models.tuned_generator import load_tuned_parts
from models.zoo import (
    SIZES,
    STUDENT_SIZE,
    Encoder,
    Generator,
    LandmarkRegressor,
    Quality,
    load_encoder,
    load_generator,
    load_landmark_regressor,
    load_mapping,
    load_student,
)


@dataclass(frozen=True)
class Models:
    """The networks of a run.

    Attributes:
        pair: which they are.
        generator: at the size asked for.
        encoder: of that generator's latents.
        generated: tells the landmarks of that generator's faces.
        landmarker: MediaPipe's model file.
        engine: name of the engine asked for.
        threads: of the processor, for each network; 0 = the engine's choice.
        quality: of the default generator at `STUDENT_SIZE`.
    """

    pair: Pair
    generator: Generator
    encoder: Encoder
    generated: LandmarkRegressor | LandmarkDetector
    landmarker: Path
    engine: str
    threads: int
    quality: Quality

    def close(self) -> None:
        """Releases what must not last until the interpreter ends."""
        if isinstance(self.generated, LandmarkDetector):
            self.generated.close()

    def generator_of(self, size: int) -> Generator:
        """The default generator at any size; one that was not asked for is loaded first."""
        if size == self.generator.size:
            return self.generator
        return load_default_generator(size, self.engine, self.quality, threads=self.threads)

    @property
    def sizes(self) -> tuple[int, ...]:
        """Sizes the generator may be run at, largest first: the one asked for and the smallest.

        An exported generator has but one.
        """
        smaller = min(SIZES) if self.pair.generator is None else self.generator.size
        return tuple(sorted({self.generator.size, smaller}, reverse=True))


def load_effects(options: Options, pair: Pair | None = None) -> EffectStack:
    """The effects asked for, switched on, then all the others there are, switched off for keys to switch on.

    Args:
        options: say what is asked for.
        pair: what they are for; None = the default generator.

    Raises:
        UserError: an unknown direction or a bad file, or layers that the generator has not.
    """
    space = (pair or read_pair()).space
    directions = Directions.of(space, options.directions_folder)
    asked = [
        DirectionEffect(directions.load(spec.name), spec.strength, place=spec.place) for spec in options.directions
    ]
    names = {effect.name for effect in asked}
    others = [name for name in directions.names if name not in names]
    off = [DirectionEffect(directions.load(name), active=False) for name in others]
    deforms = [DeformLoop(spec, space=space) for spec in options.deforms]
    deforms = deforms or [DeformLoop(DeformSpec(), active=False, space=space)]
    return EffectStack([*asked, *off, *deforms])


def load_default_generator(size: int, engine: str, quality: Quality, *, threads: int) -> Generator:
    """The default generator, or the student in its place where that is enough."""
    if quality == "fast" and size == STUDENT_SIZE:
        return load_student(engine, threads=threads)
    return load_generator(size, engine, threads=threads)


def load_models(
    size: int | None, engine: str, *, spare_cores: int = 0, pair: Pair | None = None, quality: Quality = "full"
) -> Models:
    """Loads the networks, two at once: each spends much of its time on one core.

    Args:
        size: pixels per side of the generated picture; None = the pair's.
        engine: a name in models.runtime.ENGINES, or "auto".
        spare_cores: leave so many to the camera, which runs beside them.
        pair: which; None = the default generator and encoder.
        quality: of the default generator at `STUDENT_SIZE`.

    Raises:
        UserError: a model is missing or damaged, or the engine does not run here.
    """
    pair = pair or read_pair(size=size)
    landmarker = registry.path("face-landmarker")
    threads = max(1, (psutil.cpu_count(logical=False) or 2) - spare_cores) if spare_cores else 0
    # The engines' own threads take their priority from the thread that loads them.
    with ThreadPoolExecutor(2, "load", initializer=step_back) as pool:
        if pair.generator is None:
            generator = pool.submit(load_default_generator, pair.size, engine, quality, threads=threads)
        else:
            generator = pool.submit(pairs.load_generator, pair, pair.generator, engine, threads=threads)
        if pair.encoder is None:
            encoder = pool.submit(load_encoder, engine, threads=threads)
        else:
            encoder = pool.submit(pairs.load_encoder, pair, pair.encoder, engine, threads=threads)
        regressor = pool.submit(load_landmark_regressor, engine) if pair.shares_w else None
        generated = _choose(generator.result(), None if regressor is None else regressor.result(), pair, landmarker)
        return Models(pair, generator.result(), encoder.result(), generated, landmarker, engine, threads, quality)


def _choose(
    generator: Generator, regressor: LandmarkRegressor | None, pair: Pair, landmarker: Path
) -> LandmarkRegressor | LandmarkDetector:
    """What tells the landmarks of a generator's faces: the regressor, where it is seen to know them."""
    if regressor is not None and pair.generator is None:
        return regressor
    detector = LandmarkDetector(landmarker)
    if regressor is not None:  # the default W, perhaps of a generator that draws other faces with it
        latent = pair.space.mean_latent
        rgb = to_rgb(generator.synthesize(latent))
        if agree(regressor.landmarks(latent), detector.landmarks(latent, rgb)):
            detector.close()
            return regressor
    return detector


def load_people(options: Options) -> dict[int, Enrolment]:
    """Who was enrolled, by place.

    Raises:
        UserError: somebody is not enrolled, or was with other networks; or other networks are asked for.
    """
    if options.identities and (options.generator is not None or options.encoder is not None):
        raise UserError(
            "--identity goes with the default generator and encoder alone: enrolling needs the gradient graph, "
            "which an exported generator has not; leave out --identity, or --generator and --encoder"
        )
    return {place: people.load(name) for place, name in options.identities}


def make_synthesizer(
    models: Models,
    effects: EffectStack,
    timings: Timings,
    enrolled: Mapping[int, Enrolment] = MappingProxyType({}),
    settler: Settler | None = None,
) -> Synthesizer:
    """What turns tracked faces into what a mode draws."""
    changes = {place: person.change for place, person in enrolled.items() if person.change is not None}
    parts = load_tuned_parts(models.engine, threads=models.threads) if changes else None
    return Synthesizer(
        encoder=models.encoder,
        load_generator=models.generator_of,
        effects=effects,
        timings=timings,
        offsets={place: person.offset for place, person in enrolled.items()},
        tuned={} if parts is None else {place: parts.generator(change) for place, change in changes.items()},
        settler=settler,
    )


def make_settler(options: Options) -> Settler:
    """What learns the faces while they are shown.

    Raises:
        UserError: there is no gradient of the generator that is asked for.
    """
    if options.generator is not None:
        raise UserError(
            "--settle needs the gradient graph, which an exported --generator has not; leave one of them out"
        )
    # One thread: what is left of the processor beside the camera and the synthesis is seldom more.
    return Settler(lambda: load_gradients(options.engine, threads=1))


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
        modes={name: make_mode(name, models.generated) for name in (*MODES, UNEDITED)},
        mode=options.mode,
        size=models.generator.size,
        on_lost=options.on_lost,
        timings=timings,
    )


def make_demo(models: Models, *, live: bool) -> DemoSource:
    """The face that belongs to nobody; it hardly smiles by itself, so that a smile can be seen to be added.

    An exported generator draws it if its mapping network lies beside it or is the default one; else the default does.
    """
    pair, generator = models.pair, models.generator
    if pair.mapping is not None:
        mapping = pairs.load_mapping(pair, pair.mapping, models.engine)
    else:
        mapping = load_mapping()
        if not pair.shares_w:
            generator = load_generator(engine=models.engine, threads=models.threads)
    directions = Directions.of(generator.space, None)
    return DemoSource(
        generator.synthesize,
        mapping.map,
        sway=directions.load("yaw").vector if "yaw" in directions.names else None,
        space=generator.space,
        z_dim=mapping.z_dim,
        live=live,
    )
