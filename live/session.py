"""One run: opens what the options ask for, runs the loop over it, closes it all, reports."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from dataclasses import dataclass, replace
from datetime import datetime
from pathlib import Path

import psutil

from live.demo import DemoSource
from live.effects import DeformLoop, DeformSpec, DirectionEffect, EffectStack
from live.engine import Limits, Loop, Observer
from live.options import Options, is_file_output
from live.pipeline import Pipeline
from live.recorder import Recorder
from live.report import ModelInfo, Report, StartUp, describe_machine
from live.screen import Screen
from live.sink import Sink, open_sink
from live.source import Source, open_source
from live.still import StillSource
from live.timing import Timings
from live.track import FaceTracker
from live.window import Window, missing_display
from models import registry
from models.directions import load_direction, shipped_directions
from models.runtime import Engine
from models.zoo import Encoder, Generator, load_encoder, load_generator, load_mapping

ENDLESS_SECONDS = 10.0  # of a recording that would never end by itself
USED_ARTEFACTS = ("synthesis-bin", "face-landmarker")
SIGHTS = ("window", "virtual-camera")  # outputs somebody watches while they are made


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
    asked = [DirectionEffect(load_direction(name), strength) for name, strength in options.directions]
    names = {effect.name for effect in asked}
    others = [name for name in shipped_directions() if name not in names]
    deform = DeformLoop(options.deform or DeformSpec(), active=options.deform is not None)
    return EffectStack([*asked, *(DirectionEffect(load_direction(name), active=False) for name in others), deform])


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


def resolve_outputs(options: Options, say: Callable[[str], None]) -> Options:
    """Replaces the output "auto" by a window if there is a display, else by 10 s into a video file."""
    if options.outputs != ("auto",):
        return options
    problem = missing_display()
    if problem is None:
        return replace(options, outputs=("window",))
    path = Path.cwd() / f"morphcam-{datetime.now():%Y%m%d-%H%M%S}.mp4"
    if _endless(options):
        options = replace(options, seconds=ENDLESS_SECONDS)
    say(f"no window ({problem}); writing {_limit(options)} to {path}")
    return replace(options, outputs=(str(path),))


def open_chosen_source(options: Options, models: Models) -> Source:
    """Opens the source; what moves by itself runs by the clock only if somebody watches.

    Raises:
        UserError: it cannot be opened.
    """
    watched = any(output.partition(":")[0] in SIGHTS for output in options.outputs)
    clocked = watched and not any(map(is_file_output, options.outputs))

    def make_demo() -> Source:
        names = shipped_directions()
        sway = load_direction("yaw").vector if "yaw" in names else None
        return DemoSource(models.generator.synthesize, load_mapping(options.engine).map, sway=sway, live=clocked)

    return open_source(options.source, make_demo=make_demo, live_stills=clocked)


def run(
    options: Options,
    *,
    command: list[str],
    say: Callable[[str], None],
    stop: threading.Event,
) -> Report:
    """Runs until the source ends, a limit is reached, the window is closed or `stop` is set.

    Args:
        options: checked.
        command: the command line, for the report.
        say: takes one line for the user.
        stop: ends the run when set, from any thread or a signal handler.

    Raises:
        UserError: something cannot be opened, or failed for good; outputs are finished first.
    """
    options = resolve_outputs(options, say)
    effects = load_effects(options)
    with ExitStack() as opened:
        models = load_models(options.size, options.engine)
        say(f"engine: {_describe(models.generator.engine)}")
        loaded = time.time()
        source = opened.enter_context(open_chosen_source(options, models))
        say(f"source: {source.note}")
        if isinstance(source, (DemoSource, StillSource)) and not source.live and _endless(options):
            options = replace(options, seconds=ENDLESS_SECONDS)
            say(f"{source.name} has no end; stopping after {_limit(options)} (see --seconds)")
        timings = Timings()
        tracker = opened.enter_context(FaceTracker(models.landmarker, fps=None if source.live else source.fps))
        pipeline = Pipeline(
            tracker=tracker,
            encoder=models.encoder,
            generator=models.generator,
            effects=effects,
            mode=options.mode,
            on_lost=options.on_lost,
            timings=timings,
        )
        observer = Observer()
        sinks: list[Sink] = []
        for output in options.outputs:
            sink = opened.enter_context(open_sink(output, source.size, source.fps))
            if isinstance(sink, Window):
                recorder = opened.enter_context(Recorder(fps=source.fps))
                engine = models.generator.engine.name
                observer = Screen(sink, pipeline=pipeline, recorder=recorder, engine=engine)
                sinks.append(recorder)
            else:
                sinks.append(sink)
            say(f"output: {sink.name}")
        loop = Loop(
            source=source,
            reopen=lambda: open_chosen_source(_same_source(options, source), models),
            pipeline=pipeline,
            sinks=sinks,
            observer=observer,
            limits=Limits(options.seconds, options.frames),
            timings=timings,
        )
        outcome = loop.run(stop)
    started = psutil.Process().create_time()
    return Report(
        command=command,
        source=source.name,
        outputs=list(options.outputs),
        mode=pipeline.mode,
        size=models.generator.size,
        frames=outcome.counts,
        seconds=outcome.seconds,
        fps=outcome.fps,
        milliseconds=timings.summaries(),
        start_up_seconds=StartUp(
            models_loaded=loaded - started,
            first_frame=_since(started, outcome.first_frame),
            first_morphed_frame=_since(started, outcome.first_morphed),
        ),
        models=[
            ModelInfo("generator", models.generator.engine.name, models.generator.sha256),
            ModelInfo("encoder", models.encoder.engine.name, models.encoder.sha256),
            *(ModelInfo(name, "", registry.artefacts()[name].sha256) for name in USED_ARTEFACTS),
        ],
        machine=describe_machine(),
        messages=outcome.messages,
        failures=[str(failure) for failure in outcome.failures],
    )


def _same_source(options: Options, source: Source) -> Options:
    """The options with the source that "auto" found: a lost camera must not be replaced by another or the demo."""
    spec = source.name.removeprefix("camera ") if options.source == "auto" else options.source
    return replace(options, source=spec)


def _describe(engine: Engine) -> str:
    passed_over = ", ".join(note.partition(":")[0] for note in engine.notes)
    return engine.name + (f" (not available here: {passed_over}; the doctor says why)" if passed_over else "")


def _endless(options: Options) -> bool:
    return options.seconds is None and options.frames is None


def _limit(options: Options) -> str:
    return f"{options.seconds:g} s" if options.seconds is not None else f"{options.frames} frames"


def _since(start: float, moment: float | None) -> float | None:
    return None if moment is None else moment - start
