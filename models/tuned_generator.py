"""The default generator at 256 px with its last weights changed for one person, and the gradient at that change.

See models.networks.tuned_back for what is changed. The change is an input of the graphs: no engine has to be taught
to load other weights, and the front of the generator, which makes half the picture's cost, is the shared one.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path

from models import registry
from models.arrays import F32
from models.files import sha256
from models.runtime import Engine, load_engine
from models.zoo import SHIPPED, Generator, beside_weights, engine_cache

SIZE = 256  # pixels per side of the pictures
LENGTH = 112_515  # numbers in a change of the weights, P
FRONT, FRONT_INT8 = SHIPPED / "generator-front.onnx", SHIPPED / "generator-int8-front.onnx"
BACK, GRADIENT = SHIPPED / f"generator-{SIZE}-tuned-back.onnx", SHIPPED / f"generator-{SIZE}-tuning.onnx"


@dataclass(frozen=True)
class TuningGradient:
    """How far a picture is from another, and which change of the last weights would bring it nearer.

    Attributes:
        front: W+ -> features.
        engine: the gradient.
    """

    front: Engine
    engine: Engine

    def features(self, w_plus: F32) -> F32:
        """float32 W+ [1, 18, 512] -> float32 [1, 512, 64, 64], which no change has a part in."""
        return self.front({"w_plus": w_plus})["features"]

    def at(
        self, features: F32, w_plus: F32, change: F32, target: F32, weight: F32, wish: F32
    ) -> tuple[float, F32, F32]:
        """The loss of models.networks.synthesis_gradient, its gradient at the change, and the picture.

        Args:
            features: of that W+.
            w_plus: float32 [1, 18, 512].
            change: float32 [1, P].
            target: float32 [1, 3, R, R], RGB in [-1, 1].
            weight: float32 [1, 1, R, R], how much each pixel matters; of mean 1.
            wish: float32 [1, 3, R, R], the gradient at the picture of whatever else it is to be; not in the loss.

        Returns:
            The loss, d(loss and wish)/dchange float32 [1, P], and the picture, float32 [1, 3, R, R].
        """
        latents = {"features": features, "w_plus": w_plus, "change": change}
        found = self.engine({**latents, "target": target, "weight": weight, "wish": wish})
        return float(found["loss"][0]), found["gradient"], found["image"]


def load_tuning_gradient(engine: str = "auto") -> TuningGradient:
    """The gradient at the default generator's last weights."""
    return TuningGradient(_load(FRONT, engine), _load(GRADIENT, engine))


@dataclass(frozen=True)
class TunedParts:
    """The generator in two, ready for any change of the last weights.

    Attributes:
        front: W+ -> features.
        back: features, W+ and change -> picture.
    """

    front: Engine
    back: Engine

    def generator(self, change: F32) -> Generator:
        """The generator with one change of its last weights, float32 [1, P]."""
        front, back = self.front, self.back

        def run_back(feeds: Mapping[str, F32]) -> dict[str, F32]:
            return back({**feeds, "change": change})

        def run(feeds: Mapping[str, F32]) -> dict[str, F32]:
            return run_back({**feeds, **front(feeds)})

        whole = replace(front, name=f"{front.name}, the last layers {back.name}", run=run)
        return Generator(SIZE, whole, sha256(BACK), lambda: (front, replace(back, run=run_back)))


def load_tuned_parts(engine: str = "auto", *, threads: int = 0) -> TunedParts:
    """The default generator at 256 px, for changed weights.

    Where it would run in int8 its front does here too. The back, whose int8 is calibrated for the weights as they
    were, runs in bfloat16 or float32.

    Args:
        engine: a name in models.runtime.ENGINES, or "auto".
        threads: of the processor; 0 = the engine's choice.
    """
    return TunedParts(_load(FRONT, engine, threads=threads, int8=FRONT_INT8), _load(BACK, engine, threads=threads))


def _load(graph: Path, engine: str, *, threads: int = 0, int8: Path | None = None) -> Engine:
    weights = registry.path("synthesis-bin")
    quantised = None if int8 is None else beside_weights(int8, weights)
    return load_engine(beside_weights(graph, weights), engine, threads=threads, cache=engine_cache(), int8=quantised)
