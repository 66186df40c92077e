"""The default networks, ready to run: generator, mapping network and encoder.

The graphs are ours (models/shipped); the big weights of generator and mapping, and those of the face recogniser in
the encoder, stay in the published packages' files, into which the graphs point by byte ranges.
"""

from __future__ import annotations

import os
import shutil
import tempfile
from collections import OrderedDict
from collections.abc import Callable
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path
from typing import Literal, TypeAlias

import numpy as np

from models import registry
from models.arrays import F32, U8
from models.errors import UserError
from models.files import sha256
from models.latent import LatentSpace, shipped_space
from models.runtime import Engine, Precision, load_engine

SHIPPED = Path(__file__).parent / "shipped"
ENCODER = SHIPPED / "encoder.onnx"
SIZES = (256, 512, 1024)
INT8_SIZES = (256,)
STUDENT_SIZE = 256
Quality: TypeAlias = Literal["full", "fast"]
QUALITIES: tuple[Quality, ...] = ("full", "fast")  # of the default generator at that size
GRADIENT_SIZE = 256  # pixels at which faces are inverted by optimisation
FRONT_LAYERS = 9  # of W+ that the generator's front reads, up to 64 px
FRONTS_KEPT = 4  # features of 8 MB each: two faces, each as it is and edited


class Generator:
    """W+ -> picture; for one thread at a time.

    A picture is made in one piece, which is fastest, until the layers of W+ that the front reads come again, exactly
    equal. Then the front's features are kept, and while those layers stay as they are only the back is run.

    Attributes:
        size: pixels per side, R.
        engine: the whole network.
        sha256: of its graph file.
        space: of its latents.
    """

    def __init__(
        self,
        size: int,
        engine: Engine,
        sha256: str,
        # front and back; called when they are first of use; None = it cannot be run in parts
        load_parts: Callable[[], tuple[Engine, Engine]] | None,
        space: LatentSpace | None = None,  # None = the default generator's
    ) -> None:
        self.size = size
        self.engine = engine
        self.sha256 = sha256
        self.space = space or shipped_space()
        self._parts = None if load_parts is None else cache(load_parts)
        self._features: OrderedDict[bytes, F32 | None] = OrderedDict()  # None = seen once; the newest last

    def synthesize(self, w_plus: F32) -> F32:
        """float32 W+ [N, L, D], as a rule [N, 18, 512] -> float32 [N, 3, R, R], RGB, about [-1, 1], not clipped.

        Rows that share a front, such as a face and its edit on fine layers, share its cost.
        """
        fronts = [row[:FRONT_LAYERS].tobytes() for row in w_plus]
        pictures = [
            self._picture(w_plus[i : i + 1], front, again=front in self._features or fronts.count(front) > 1)
            for i, front in enumerate(fronts)
        ]
        return pictures[0] if len(pictures) == 1 else np.concatenate(pictures)

    def _picture(self, w_plus: F32, front: bytes, *, again: bool) -> F32:
        features = self._features.pop(front, None)
        if again and self._parts is not None:
            front_engine, back_engine = self._parts()
            if features is None:
                features = front_engine({"w_plus": w_plus})["features"]
            image = back_engine({"features": features, "w_plus": w_plus})["image"]
        else:
            image = self.engine({"w_plus": w_plus})["image"]
        self._features[front] = features
        while len(self._features) > FRONTS_KEPT:
            self._features.popitem(last=False)
        return image


@dataclass(frozen=True)
class Mapping:
    """z -> w, StyleGAN2's mapping network."""

    engine: Engine

    @property
    def z_dim(self) -> int:
        """Numbers in a z; 512 in the default one."""
        return self.engine.inputs["z"][-1]

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
        space: what its latents are of: the generator's that it was made for.
    """

    size: int
    engine: Engine
    sha256: str
    space: LatentSpace = field(default_factory=shipped_space)

    def encode(self, image: F32, landmarks: F32) -> F32:
        """Crop [1, 3, S, S] in [-1, 1] and its landmarks [1, 478, 2] in [0, 1] -> W+ [1, 18, 512]."""
        feeds = {"image": image, "landmarks": landmarks}
        w_plus = self.engine({name: feeds[name] for name in self.engine.inputs})["w_plus"]
        return w_plus.reshape(1, self.space.layers, self.space.style_dim)


@dataclass(frozen=True)
class PictureGradient:
    """W+ -> how far its picture is from another, and which way W+ would bring it nearer.

    Attributes:
        size: pixels per side, R.
        engine: the loaded network.
    """

    size: int
    engine: Engine

    def at(self, w_plus: F32, target: F32, weight: F32, wish: F32 | None = None) -> tuple[float, F32, F32]:
        """The loss of models.networks.synthesis_gradient, and its gradient.

        Args:
            w_plus: float32 [1, 18, 512].
            target: float32 [1, 3, R, R], RGB in [-1, 1].
            weight: float32 [1, 1, R, R], how much each pixel matters; of mean 1.
            wish: float32 [1, 3, R, R], the gradient at the picture of whatever else it is to be; not in the loss.

        Returns:
            The loss, d(loss and wish)/dW+ float32 [1, 18, 512], and the picture, float32 [1, 3, R, R].
        """
        wish = np.zeros_like(target) if wish is None else wish
        found = self.engine({"w_plus": w_plus, "target": target, "weight": weight, "wish": wish})
        return float(found["loss"][0]), found["gradient"], found["image"]


@dataclass(frozen=True)
class IdentityGradient:
    """Picture -> how far it is from somebody, to a face recogniser, and which way it would come nearer.

    The pictures are aligned crops, float32 [1, 3, R, R], RGB in [-1, 1]; down and across are those of
    models.face_chip.recogniser_axes.

    Attributes:
        engine: the loaded network.
    """

    engine: Engine

    def embed(self, image: F32, down: F32, across: F32) -> F32:
        """Who a picture shows, float32 [1, 128]."""
        nobody = np.zeros((1, self.engine.inputs["wanted"][-1]), np.float32)
        return self.engine({"image": image, "down": down, "across": across, "wanted": nobody})["embedding"]

    def at(self, image: F32, down: F32, across: F32, wanted: F32) -> tuple[float, F32]:
        """The Euclidean distance of a picture's embedding from another, and its gradient, of the picture's shape."""
        found = self.engine({"image": image, "down": down, "across": across, "wanted": wanted})
        return float(found["distance"][0]), found["gradient"]


@dataclass(frozen=True)
class LandmarkRegressor:
    """W+ -> the landmarks of the face that the generator makes of it, without making it.

    Attributes:
        engine: the loaded network.
        sha256: of the graph file.
    """

    engine: Engine
    sha256: str

    def landmarks(self, w_plus: F32, rgb: U8 | None = None) -> F32:
        """float32 W+ [1, 18, 512] -> float32 [478, 2] in [0, 1] of FFHQ's square; the picture is not looked at."""
        return np.asarray(self.engine({"w_plus": w_plus})["landmarks"][0], np.float32)


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
    """The default generator at one of `SIZES`.

    "auto" takes int8 where OpenVINO runs a size that is one of `INT8_SIZES`.
    """
    if precision == "int8" and size not in INT8_SIZES:
        raise UserError(f"no generator of {size} px in int8; there is one of {', '.join(map(str, INT8_SIZES))} px")

    def graph(kind: str, part: str) -> Path:
        return beside_weights(SHIPPED / f"{kind}-{part}.onnx", registry.path("synthesis-bin"))

    def load(part: str) -> Engine:
        quantised = graph("generator-int8", part) if size in INT8_SIZES else None
        if precision == "int8" and quantised is not None:
            return load_engine(quantised, engine, precision, threads=threads, cache=engine_cache())
        path = graph("generator", part)
        return load_engine(path, engine, precision, threads=threads, cache=engine_cache(), int8=quantised)

    loaded = load(str(size))
    kind = "generator-int8" if "int8" in loaded.name else "generator"
    return Generator(
        size,
        loaded,
        sha256(SHIPPED / f"{kind}-{size}.onnx"),
        lambda: (load("front"), load(f"{size}-back")),
    )


def load_student(engine: str = "auto", precision: Precision = "auto", *, threads: int = 0) -> Generator:
    """The narrow generator at `STUDENT_SIZE`: the default one's pictures, a little plainer, in half the time."""
    graph = SHIPPED / f"student-{STUDENT_SIZE}.onnx"
    path = beside_weights(graph, registry.path("synthesis-bin"))
    loaded = load_engine(path, engine, precision, threads=threads, cache=engine_cache())
    return Generator(STUDENT_SIZE, loaded, sha256(graph), None)


def load_picture_gradient(
    engine: str = "auto", precision: Precision = "auto", *, threads: int = 0
) -> PictureGradient:
    """The gradient of the default generator at 256 px."""
    path = beside_weights(SHIPPED / f"generator-{GRADIENT_SIZE}-gradient.onnx", registry.path("synthesis-bin"))
    return PictureGradient(GRADIENT_SIZE, load_engine(path, engine, precision, threads=threads, cache=engine_cache()))


def load_identity_gradient(engine: str = "auto", *, threads: int = 0) -> IdentityGradient:
    """The face recogniser in the encoder, and its gradient."""
    path = beside_weights(SHIPPED / "recogniser-gradient.onnx", registry.path("identity"))
    return IdentityGradient(load_engine(path, engine, "float32", threads=threads, cache=engine_cache()))


def load_mapping(engine: str = "auto") -> Mapping:
    """The default mapping network."""
    path = beside_weights(SHIPPED / "mapping.onnx", registry.path("mapping-bin"))
    return Mapping(load_engine(path, engine, "float32", cache=engine_cache()))


def encoder_graph() -> Path:
    """The default encoder's graph, beside the weights of the face recogniser in it."""
    return beside_weights(ENCODER, registry.path("identity"))


def load_encoder(engine: str = "auto", *, threads: int = 0) -> Encoder:
    """The default encoder; float32, since a latent's error is seen in every later stage."""
    loaded = load_engine(encoder_graph(), engine, "float32", threads=threads, cache=engine_cache())
    return Encoder(loaded.inputs["image"][-1], loaded, sha256(ENCODER))


def load_landmark_regressor(engine: str = "auto") -> LandmarkRegressor:
    """The default landmark regressor."""
    graph = SHIPPED / "landmarks.onnx"
    return LandmarkRegressor(load_engine(graph, engine, "float32", cache=engine_cache()), sha256(graph))
