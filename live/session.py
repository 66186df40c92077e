"""One run: opens what the options ask for, runs the loop over it, closes it all, reports."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from contextlib import ExitStack
from dataclasses import replace
from datetime import datetime
from functools import cache
from pathlib import Path

import psutil

from live.display.screen import Screen
from live.engine import Limits, Loop, Outcome
from live.faces.track import FaceTracker
from live.governor import Governor
from live.loading import (
    Models,
    load_effects,
    load_models,
    load_people,
    make_demo,
    make_pipeline,
    make_settler,
    make_synthesizer,
)
from live.observer import Observer
from live.options import Options, is_file_output
from live.outputs.recorder import Recorder
from live.outputs.sink import Sink, open_sink
from live.outputs.window import Window, missing_display
from live.people import Enrolment
from live.report import ModelInfo, Report, StartUp, describe_machine
from live.settle.settle import Settler
from live.sources.demo import DemoSource
from live.sources.source import Source, open_source
from live.sources.still import StillSource
from live.timing import Timings
from live.worker import SynthesisWorker
from models import registry
from models.errors import UserError
from models.pair import read_pair
from models.runtime import Engine
from models.tuned_generator import SIZE as TUNED_SIZE
from models.zoo import STUDENT_SIZE, LandmarkRegressor

ENDLESS_SECONDS = 10.0  # of a recording that would never end by itself
USED_ARTEFACTS = ("synthesis-bin", "face-landmarker")  # by the default generator, by every run
SIGHTS = ("window", "virtual-camera")  # outputs somebody watches while they are made


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


def run(
    options: Options,
    *,
    command: list[str],
    say: Callable[[str], None],
    stop: threading.Event,
) -> Report:
    """Runs until the source ends, a limit is reached, the window is closed or `stop` is set.

    What can fail is opened in the order of its cost, and outputs last, so that a mistake leaves nothing behind.

    Args:
        options: checked.
        command: the command line, for the report.
        say: takes one line for the user.
        stop: ends the run when set, from any thread or a signal handler.

    Raises:
        UserError: something cannot be opened, or failed for good; outputs are finished first.
    """
    options = resolve_outputs(options, say)
    pair = read_pair(options.generator, options.encoder, options.size)
    effects, enrolled = load_effects(options, pair), load_people(options)
    by_clock = options.live or _runs_by_clock(options)

    @cache
    def load(live: bool) -> Models:
        # A mode whose frames wait for their synthesis gains more from all the cores for it.
        beside_camera = live and options.mode != "portrait"
        return load_models(
            pair.size, options.engine, spare_cores=int(beside_camera), pair=pair, quality=options.quality
        )

    def open_again(spec: str) -> Source:
        return open_source(
            spec,
            make_demo=lambda: make_demo(load(by_clock), live=by_clock),
            live_stills=by_clock,
            live_clips=options.live,
        )

    with ExitStack() as opened:
        source = opened.enter_context(open_again(options.source))
        say(f"source: {source.note}")
        if options.settle and not source.live:
            raise UserError(f"--settle takes time, and {source.name} is a recording that waits for none: add --live")
        models = load(source.live)
        opened.callback(models.close)
        say(f"engine: {_describe(models.generator.engine)}")
        if _could_be_faster(models):
            say("this processor does not compute in bfloat16: --quality fast draws half as often again, plainer")
        loaded = time.time()
        if isinstance(source, (DemoSource, StillSource)) and not source.live and _endless(options):
            options = replace(options, seconds=ENDLESS_SECONDS)
            say(f"{source.name} has no end of its own; stopping after {_limit(options)} (see --seconds)")
        timings = Timings()
        fps = None if source.live else source.fps
        tracker = opened.enter_context(FaceTracker(models.landmarker, fps=fps, max_faces=options.faces))
        settler = opened.enter_context(make_settler(options)) if options.settle else None
        synthesizer = make_synthesizer(models, effects, timings, enrolled, settler)
        for person in enrolled.values():
            if person.change is not None:
                say(_describe_tuned(person, models.generator.size, settle=options.settle))
        # Of a recording every frame is to have its own synthesis, however long that takes.
        worker = opened.enter_context(SynthesisWorker(synthesizer)) if source.live else None
        pipeline = make_pipeline(
            models,
            options,
            tracker=tracker,
            synthesizer=synthesizer,
            worker=worker,
            effects=effects,
            timings=timings,
        )
        governor = Governor(min(options.fps, source.fps), models.sizes)
        sinks: list[Sink] = []
        observer = Observer()
        for output in options.outputs:
            sink: Sink = opened.enter_context(open_sink(output, source.size, source.fps))
            say(f"output: {sink.name}")
            if isinstance(sink, Window):
                recorder = opened.enter_context(Recorder(fps=source.fps))
                engine = models.generator.engine.name
                observer = Screen(sink, pipeline=pipeline, recorder=recorder, engine=engine, settler=settler)
                sink = recorder  # the screen feeds the window itself, with the display drawn over the picture
            sinks.append(sink)
        loop = Loop(
            source=source,
            # "auto" must not replace a lost camera by another one, or by the demo.
            reopen=lambda: open_again(_spec_of(source, options)),
            pipeline=pipeline,
            sinks=sinks,
            observer=observer,
            limits=Limits(options.seconds, options.frames),
            governor=governor,
            timings=timings,
        )
        outcome = loop.run(stop)
    return Report(
        command=command,
        source=source.name,
        outputs=list(options.outputs),
        mode=pipeline.mode,
        size=models.generator.size,
        frames=outcome.counts,
        seconds=outcome.seconds,
        fps=outcome.fps,
        updates=outcome.updates / outcome.seconds if outcome.seconds > 0 else 0.0,
        cpu_seconds=_cpu_seconds(outcome, settler),
        memory_mb=outcome.memory_mb,
        governed=list(outcome.governed),
        milliseconds=timings.summaries(),
        start_up_seconds=_start_up(loaded, outcome),
        models=_model_infos(models),
        machine=describe_machine(),
        messages=outcome.messages,
        failures=[
            *map(str, outcome.failures),
            *([] if settler is None or settler.problem is None else [settler.problem]),
        ],
        settled=[] if settler is None else settler.settled(),
    )


def _cpu_seconds(outcome: Outcome, settler: Settler | None) -> dict[str, float]:
    """By thread; a settler's steps are no part of what the other networks took."""
    if settler is None:
        return outcome.cpu_seconds
    settle = round(min(settler.cpu_seconds, outcome.cpu_seconds["engines"]), 3)
    engines = round(outcome.cpu_seconds["engines"] - settle, 3)
    return outcome.cpu_seconds | {"settle": settle, "engines": engines}


def _spec_of(source: Source, options: Options) -> str:
    return source.name.removeprefix("camera ") if options.source == "auto" else options.source


def _runs_by_clock(options: Options) -> bool:
    """Whether a demo or a still runs as a camera does: somebody watches it, and no file wants every frame."""
    watched = any(output.partition(":")[0] in SIGHTS for output in options.outputs)
    return watched and not any(map(is_file_output, options.outputs))


def _start_up(loaded: float, outcome: Outcome) -> StartUp:
    started = psutil.Process().create_time()
    moments = (loaded, outcome.first_frame, outcome.first_morphed)
    return StartUp(*(None if moment is None else moment - started for moment in moments))


def _model_infos(models: Models) -> list[ModelInfo]:
    infos = [
        ModelInfo("generator", models.generator.engine.name, models.generator.sha256),
        ModelInfo("encoder", models.encoder.engine.name, models.encoder.sha256),
    ]
    if isinstance(models.generated, LandmarkRegressor):
        infos.append(ModelInfo("landmark regressor", models.generated.engine.name, models.generated.sha256))
    for manifest in (models.pair.generator, models.pair.encoder):
        if manifest is not None:
            infos += [ModelInfo(f"{manifest.kind}: {name}", "", digest) for name, digest in manifest.data.items()]
            infos.append(ModelInfo(f"{manifest.kind}, made from {manifest.source.file}", "", manifest.source.sha256))
    used = USED_ARTEFACTS if models.pair.generator is None else USED_ARTEFACTS[1:]
    return [*infos, *(ModelInfo(name, "", registry.artefacts()[name].sha256) for name in used)]


def _describe(engine: Engine) -> str:
    passed_over = ", ".join(note.partition(":")[0] for note in engine.notes)
    absent = f" (not available here: {passed_over}; the doctor says why)" if passed_over else ""
    return "; ".join([f"{engine.name}{absent}", *engine.remarks])


def _could_be_faster(models: Models) -> bool:
    """Whether the default generator takes its time because nothing but float32 and int8 is computed in."""
    engine = models.generator.engine.name
    replaceable = models.pair.generator is None and models.generator.size == STUDENT_SIZE
    return (
        replaceable and models.quality == "full" and engine.startswith("openvino CPU") and engine.endswith("float32")
    )


def _describe_tuned(person: Enrolment, size: int, *, settle: bool) -> str:
    elsewhere = "" if size == TUNED_SIZE else f" at {TUNED_SIZE} px alone: at {size} px it is as it was"
    unsettled = "; --settle leaves them as they are" if settle else ""
    return f"{person.name} has layers of the generator tuned for them{elsewhere}{unsettled}"


def _endless(options: Options) -> bool:
    return options.seconds is None and options.frames is None


def _limit(options: Options) -> str:
    return f"{options.seconds:g} s" if options.seconds is not None else f"{options.frames} frames"
