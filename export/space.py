"""Measures the space W as Karras et al. (2019, section 4) do: perceptual path length and linear separability.

Two things stand in for the paper's. Its perceptual distance is LPIPS of VGG16; here it is LPIPS's recipe (channels
scaled to unit length, squared differences summed over channels, averaged over places, added over layers; all channels
weigh the same) on the activations of the age network, which sees the face alone. Its 40 classifiers of CelebA are
the attributes that directions are made for. So the figures compare spaces measured here, not with the paper's.
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Callable
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np
import onnx
import onnxruntime as ort
from numpy.typing import NDArray
from rich.progress import track

from export.direction_recipes import UNITS
from export.labelling import Labels, label
from export.measure import CHANNEL_MEANS
from models import registry
from models.arrays import F32, F64
from models.latent import broadcast
from models.zoo import SHIPPED, Generator, load_generator, load_mapping

OPERATORS = "Relu"  # after the first and after each residual block; the layers compared
STEP = 1e-3  # along the path; the paper's 1e-4 is near the last digit of float32
FACE = (slice(56, 248), slice(32, 224))  # rows and columns of an aligned 256 px picture: the face, 3 x 64 px
PENALTY = 30.0  # of the linear classifiers
SEED = 31

Bools = NDArray[np.bool_]


@dataclass(frozen=True)
class PathLength:
    """Mean perceptual path length and its standard error."""

    mean: float
    error: float


class PerceptualDistance:
    """The stand-in for LPIPS; see the module."""

    def __init__(self) -> None:
        model = onnx.load(str(registry.path("age")))
        layers = [node.output[0] for node in model.graph.node if node.op_type == OPERATORS]
        del model.graph.output[:]
        model.graph.output.extend(onnx.ValueInfoProto(name=name) for name in layers)
        self._session = ort.InferenceSession(model.SerializeToString(), providers=["CPUExecutionProvider"])

    def __call__(self, a: F32, b: F32) -> float:
        """Between two aligned pictures, float32 [1, 3, 256, 256], RGB in [-1, 1]."""
        distance = 0.0
        for one, other in zip(self._activations(a), self._activations(b), strict=True):
            distance += float(np.square(one - other).sum(axis=1).mean())
        return distance

    def _activations(self, picture: F32) -> list[F64]:
        face = picture[0][:, FACE[0], FACE[1]].reshape(3, 64, 3, 64, 3).mean(axis=(2, 4))
        chip = ((face + 1) * 127.5 - CHANNEL_MEANS[:, None, None]) / np.float32(256)
        found = self._session.run(None, {self._session.get_inputs()[0].name: chip[None].astype(np.float32)})
        layers = [np.asarray(layer, np.float64) for layer in found]
        return [layer / (np.linalg.norm(layer, axis=1, keepdims=True) + 1e-10) for layer in layers]


def slerp(a: F64, b: F64, t: float) -> F64:
    """Spherical interpolation between two vectors, as the paper does in Z (the vectors are first normalised)."""
    a, b = a / np.linalg.norm(a), b / np.linalg.norm(b)
    angle = np.arccos(np.clip(a @ b, -1, 1))
    mixed = (np.sin((1 - t) * angle) * a + np.sin(t * angle) * b) / np.sin(angle)
    return np.asarray(mixed * np.sqrt(len(mixed)))


def path_length(
    distance: PerceptualDistance, generator: Generator, paths: list[Callable[[float], F32]], starts: F64
) -> PathLength:
    """Of paths through W, each t -> w [1, 512], at one start t each."""
    lengths = []
    for path, t in zip(paths, track(starts, description="Walking through W"), strict=True):
        here, there = (generator.synthesize(broadcast(path(at))) for at in (float(t), float(t) + STEP))
        lengths.append(distance(here, there) / STEP**2)
    return PathLength(float(np.mean(lengths)), float(np.std(lengths) / np.sqrt(len(lengths))))


def path_lengths(pairs: int, engine: str) -> dict[str, PathLength]:
    """In Z and in W, untruncated; at any place of a path, and in W at its ends, which are faces of W's own."""
    generator, mapping = load_generator(256, engine, "float32"), load_mapping(engine)
    distance = PerceptualDistance()
    rng = np.random.default_rng(SEED)
    z = rng.standard_normal((pairs, 2, 512))

    def in_w(a: F32, b: F32) -> Callable[[float], F32]:
        return lambda t: (a + np.float32(t) * (b - a))[None]

    def in_z(a: F64, b: F64) -> Callable[[float], F32]:
        return lambda t: mapping.map(slerp(a, b, t)[None].astype(np.float32))

    w = [mapping.map(pair.astype(np.float32)) for pair in z]
    starts = rng.random(pairs)
    through_w = [in_w(*pair) for pair in w]
    return {
        "Z, full": path_length(distance, generator, [in_z(*pair) for pair in z], starts),
        "W, full": path_length(distance, generator, through_w, starts),
        "W, end": path_length(distance, generator, through_w, np.zeros(pairs)),
    }


def separability(labels: Labels) -> dict[str, float]:
    """Conditional entropy H(Y|X), nats, of each attribute: what a linear classifier on w leaves unknown of the class.

    Of each attribute, the faces of its lowest and of its highest quarter are the two classes (the paper too leaves
    out the less certain half). Two halves of the faces are each judged by the classifier of the other.
    """
    unmixed = (labels.w_plus == labels.w_plus[:, :1]).all(axis=(1, 2))
    w = labels.w_plus[unmixed, 0].astype(np.float64)
    w = (w - w.mean(axis=0)) / w.std(axis=0)
    entropies = {}
    for name in UNITS:
        values = labels.values(name)[unmixed]
        low, high = np.quantile(values, [0.25, 0.75])
        chosen = np.flatnonzero((values <= low) | (values >= high))
        classes = values[chosen] >= high
        predicted = np.empty(len(chosen), bool)
        for half in (0, 1):
            seen, unseen = np.arange(len(chosen)) % 2 != half, np.arange(len(chosen)) % 2 == half
            predicted[unseen] = linear_classes(w[chosen[seen]], classes[seen], w[chosen[unseen]])
        entropies[name] = conditional_entropy(predicted, classes)
    return entropies


def linear_classes(x: F64, classes: Bools, unseen: F64) -> Bools:
    """Classes, bool [M], of rows unseen [M, P], by the least-squares plane between two classes of rows x [N, P]."""
    centre = (x[classes].mean(axis=0) + x[~classes].mean(axis=0)) / 2
    gram = (x - centre).T @ (x - centre) + PENALTY * np.eye(x.shape[1])
    normal = np.linalg.solve(gram, (x - centre).T @ np.where(classes, 1.0, -1.0))
    return np.asarray((unseen - centre) @ normal > 0)


def conditional_entropy(predicted: Bools, classes: Bools) -> float:
    """H(classes | predicted) in nats, of two bool [N]."""
    entropy = 0.0
    for value in (False, True):
        share = float((predicted == value).mean())
        if share:
            p = float(classes[predicted == value].mean())
            entropy -= share * sum(q * np.log(q) for q in (p, 1 - p) if q)
    return entropy


def main(argv: list[str] | None = None) -> None:
    """Command line of `python -m export space`."""
    parser = argparse.ArgumentParser(prog="python -m export space", description=__doc__)
    parser.add_argument("--pool", type=Path, default=Path("runs/pool"), help="folder of generated faces")
    parser.add_argument("--samples", type=int, default=20_000, help="faces of the pool, at most")
    parser.add_argument("--pairs", type=int, default=200, help="paths measured in each space")
    parser.add_argument("--engine", default="auto")
    parser.add_argument("--out", type=Path, default=SHIPPED / "directions" / "space.json", metavar="FILE")
    args = parser.parse_args(argv)
    lengths = path_lengths(args.pairs, args.engine)
    entropies = separability(label(args.pool, args.samples))
    total = float(np.exp(sum(entropies.values())))
    for name, length in lengths.items():
        print(f"perceptual path length in {name}: {length.mean:.0f} +- {length.error:.0f}")
    for name, entropy in sorted(entropies.items(), key=lambda item: item[1]):
        print(f"{name:>18}: H(Y|X) {entropy:.3f} nats of {np.log(2):.3f}")
    mean = float(np.mean(list(entropies.values())))
    print(f"linear separability, exp of their sum: {total:.3g}; of their mean: {np.exp(mean):.3f}")
    report = {
        "pairs": args.pairs,
        "perceptual_path_length": {name: asdict(length) for name, length in lengths.items()},
        "conditional_entropy": entropies,
        "linear_separability": total,
    }
    args.out.write_text(json.dumps(report, indent=1) + "\n", encoding="utf-8")
