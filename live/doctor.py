"""Says what works on this machine, one thing after the other."""

from __future__ import annotations

import platform
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from live.faces.track import FaceTracker
from live.frame import Frame
from live.loading import Models, load_effects, load_models, make_demo, make_pipeline, make_synthesizer
from live.options import Options
from live.outputs.sink import list_outputs
from live.outputs.video import VideoFile
from live.sources.source import list_cameras
from live.timing import Timings
from models import registry
from models.errors import UserError
from models.manifest import Manifest
from models.pair import read_pair

OLDEST_PYTHON = (3, 10)
WARM_UP_FRAMES = 5


@dataclass(frozen=True)
class Check:
    """One line of the doctor's.

    Attributes:
        name: what was looked at.
        works: whether it does.
        detail: what was found; if it does not work, what to do.
        needed: the mirror does not run without it.
    """

    name: str
    works: bool
    detail: str
    needed: bool = True


def examine(options: Options) -> Iterator[Check]:
    """Looks at everything the mirror uses with these options' networks and directions, in the order it uses it."""
    yield Check(
        "Python",
        sys.version_info >= OLDEST_PYTHON,
        f"{platform.python_version()} on {platform.platform()} ({sys.executable})",
    )
    yield from _artefacts()
    models: Models | None = None
    try:
        pair = read_pair(options.generator, options.encoder, options.size)
        models = load_models(pair.size, options.engine, pair=pair, quality=options.quality)
        engine = models.generator.engine
        yield Check("engine", True, "; ".join([engine.name, *engine.remarks, *engine.notes]))
        yield Check("generator", True, f"{models.generator.size} px, {_of(pair.generator, models.generator.sha256)}")
        yield Check("encoder", True, f"{models.encoder.engine.name}, {_of(pair.encoder, models.encoder.sha256)}")
    except UserError as problem:
        yield Check("engine", False, str(problem))
    yield from _effects(options)
    yield from _cameras()
    for output in list_outputs():
        if output.name in ("window", "virtual-camera"):
            yield Check(output.name, output.problem is None, output.problem or "works", needed=False)
    yield _video()
    if models is not None:
        with closing(models):
            yield _chain(models, options)


def _of(manifest: Manifest | None, sha256: str) -> str:
    made = "" if manifest is None else f" ({manifest.graph}, made from {manifest.source.file})"
    return f"sha256 {sha256}{made}"


def _artefacts() -> Iterator[Check]:
    for name in registry.names():
        artefact = registry.artefacts()[name]
        try:
            yield Check(f"model {name}", True, f"sha256 {artefact.sha256} ({registry.path(name)})")
        except UserError as problem:
            yield Check(f"model {name}", False, str(problem))


def _effects(options: Options) -> Iterator[Check]:
    try:
        pair = read_pair(options.generator, options.encoder, options.size)
        names = [effect.name for effect in load_effects(options, pair).effects]
        yield Check("effects", True, ", ".join(names))
    except UserError as problem:
        yield Check("effects", False, str(problem))


def _cameras() -> Iterator[Check]:
    cameras = list_cameras()
    for camera in cameras:
        yield Check("camera", camera.problem is None, str(camera), needed=False)
    if not cameras:
        yield Check("camera", False, "none found; the demo takes its place", needed=False)


def _video() -> Check:
    """Writes a second of video into a folder that is removed again."""
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "test.mp4"
        try:
            with VideoFile(path, size=(320, 240), fps=30) as video:
                for i in range(30):
                    video.send(Frame(np.full((240, 320, 3), 8 * i, np.uint8), i, i / 30))
        except UserError as problem:
            return Check("video file", False, str(problem))
        return Check("video file", path.stat().st_size > 0, f"1 s of H.264 in {path.stat().st_size} bytes")


def _chain(models: Models, options: Options) -> Check:
    """Sends frames of the demo, edited, through every stage; the first ones are slower and do not count."""
    timings = Timings()
    try:
        source = make_demo(models, live=False)
        with FaceTracker(models.landmarker, fps=source.fps) as tracker:
            effects = load_effects(options, models.pair)
            effects.effects[0].toggle(-1.0)
            synthesizer = make_synthesizer(models, effects, timings)
            pipeline = make_pipeline(
                models,
                options,
                tracker=tracker,
                synthesizer=synthesizer,
                worker=None,
                effects=effects,
                timings=timings,
            )
            for _ in range(WARM_UP_FRAMES):
                pipeline.process(frame := source.read(), frame.seq / source.fps)
            start = time.perf_counter()
            frame = source.read()
            composite = pipeline.process(frame, frame.seq / source.fps)
            total_ms = (time.perf_counter() - start) * 1000
    except UserError as problem:
        return Check("one frame through all stages", False, str(problem))
    if composite is None or not composite.tracks:
        return Check("one frame through all stages", False, "no face was found in the demo's picture")
    stages = ", ".join(f"{stage} {timings.last_ms(stage):.0f}" for stage in timings.summaries())
    return Check("one frame through all stages", True, f"{total_ms:.0f} ms ({stages})")
