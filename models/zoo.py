"""The default networks, ready to run: generator, mapping network and encoder.

The graphs are ours (models/shipped); the big weights of generator and mapping stay in the published package's
``.bin``, into which the graphs point by byte ranges.
"""

from __future__ import annotations

import hashlib
import os
import shutil
import tempfile
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from models import registry
from models.arrays import F32
from models.latent import LAYERS, STYLE_DIM
from models.runtime import Engine, Precision, load_engine

SHIPPED = Path(__file__).parent / "shipped"
SIZES = (256, 512, 1024)


@dataclass(frozen=True)
class Generator:
    """W+ -> picture.

    Attributes:
        size: pixels per side, R.
        engine: the loaded network.
        sha256: of the graph file.
    """

    size: int
    engine: Engine
    sha256: str

    def synthesize(self, w_plus: F32) -> F32:
        """float32 W+ [1, 18, 512] -> float32 [1, 3, R, R], RGB, about [-1, 1] and not clipped."""
        return self.engine({"w_plus": w_plus})["image"]


@dataclass(frozen=True)
class Mapping:
    """z -> w, StyleGAN2's mapping network."""

    engine: Engine

    def map(self, z: F32) -> F32:
        """float32 z [N, 512], standard normal -> w [N, 512]."""
        return np.concatenate([self.engine({"z": row[None]})["w"] for row in z])


@dataclass(frozen=True)
class Encoder:
    """Aligned crop -> W+, in one forward pass.

    Attributes:
        size: pixels per side of the crop it takes, S.
        engine: the loaded network.
        sha256: of the graph file.
    """

    size: int
    engine: Engine
    sha256: str

    def encode(self, image: F32, landmarks: F32) -> F32:
        """Crop [1, 3, S, S] in [-1, 1] and its landmarks [1, 478, 2] in [0, 1] -> W+ [1, 18, 512]."""
        feeds = {"image": image, "landmarks": landmarks}
        w_plus = self.engine({name: feeds[name] for name in self.engine.inputs})["w_plus"]
        return w_plus.reshape(1, LAYERS, STYLE_DIM)


def sha256(path: Path) -> str:
    """Hex digest of a file."""
    return hashlib.sha256(path.read_bytes()).hexdigest()


def engine_cache() -> Path:
    """Folder for compiled networks."""
    folder = registry.cache_folder() / "compiled"
    folder.mkdir(parents=True, exist_ok=True)
    return folder


def beside_weights(graph: Path, weights: Path) -> Path:
    """A copy of `graph` in the folder of `weights`: engines look for external data beside the graph only."""
    target = weights.parent / f"{graph.stem}-{sha256(graph)[:12]}.onnx"
    if not target.exists():
        handle, temporary = tempfile.mkstemp(dir=target.parent, suffix=".onnx")
        os.close(handle)
        shutil.copyfile(graph, temporary)
        Path(temporary).replace(target)  # atomic: two processes at once are fine
    return target


def load_generator(
    size: int = 256, engine: str = "auto", precision: Precision = "auto", *, threads: int = 0
) -> Generator:
    """The default generator at 256, 512 or 1024 px."""
    graph = SHIPPED / f"generator-{size}.onnx"
    path = beside_weights(graph, registry.path("synthesis-bin"))
    loaded = load_engine(path, engine, precision, threads=threads, cache=engine_cache())
    return Generator(size, loaded, sha256(graph))


def load_mapping(engine: str = "auto") -> Mapping:
    """The default mapping network."""
    path = beside_weights(SHIPPED / "mapping.onnx", registry.path("mapping-bin"))
    return Mapping(load_engine(path, engine, "float32", cache=engine_cache()))


def load_encoder(engine: str = "auto", *, threads: int = 0) -> Encoder:
    """The default encoder; float32, since a latent's error is seen in every later stage."""
    graph = SHIPPED / "encoder.onnx"
    loaded = load_engine(graph, engine, "float32", threads=threads, cache=engine_cache())
    return Encoder(loaded.inputs["image"][-1], loaded, sha256(graph))
