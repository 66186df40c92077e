"""Fresh inputs of generators, mapping networks and encoders, on which an export is compared with what is right."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cache

import cv2
import numpy as np

from export.sampling import sample_w_plus
from export.trace import Feeds, graph_reference
from models import artefact, latent, registry, zoo
from models.alignment import to_rgb, to_tensor
from models.arrays import F32, U8
from models.landmarker import Landmarker
from models.manifest import Manifest

STATISTICS_SAMPLES = 10_000  # z from which the spread of W is taken


def one_by_one(feeds: Feeds) -> list[dict[str, F32]]:
    """Inputs of a batch as those of its samples."""
    count = len(next(iter(feeds.values())))
    return [{name: values[i : i + 1] for name, values in feeds.items()} for i in range(count)]


def mixed(rng: np.random.Generator, w: F32, mean_w: F32, layers: int) -> F32:
    """W [2 N, D] to W+ [N, layers, D]: truncated by 0.45 to 1, every second one mixed with another."""
    psi = rng.uniform(0.45, 1.0, (len(w), 1)).astype(np.float32)
    first, second = np.split(mean_w + psi * (w - mean_w), 2)
    w_plus = np.repeat(first[:, None], layers, axis=1)
    for i in range(0, len(w_plus), 2):
        w_plus[i, rng.integers(1, layers) :] = second[i]
    return np.asarray(w_plus, np.float32)


def normal(rng: np.random.Generator, count: int, z_dim: int) -> dict[str, F32]:
    """Inputs of a mapping network: z float32 [count, z_dim]."""
    return {"z": rng.standard_normal((count, z_dim)).astype(np.float32)}


@dataclass(frozen=True)
class Face:
    """A face that the default generator made.

    Attributes:
        rgb: uint8 [256, 256, 3], aligned.
        landmarks: float32 [478, 2] in its pixels.
    """

    rgb: U8
    landmarks: F32


@cache
def _default_generator() -> tuple[zoo.Generator, zoo.Mapping]:
    return zoo.load_generator(256), zoo.load_mapping()


def faces(rng: np.random.Generator, count: int) -> list[Face]:
    """Faces of the default generator, as varied as an encoder is trained on."""
    generator, mapping = _default_generator()
    made: list[Face] = []
    with Landmarker(registry.path("face-landmarker")) as landmarker:
        while len(made) < count:
            rgb = to_rgb(generator.synthesize(sample_w_plus(rng, 1, mapping.map, latent.mean_w())))
            made += [Face(rgb, found.landmarks) for found in landmarker.detect(rgb)[:1]]
    return made


def as_crops(made: Sequence[Face], size: int, *, landmarks: bool) -> dict[str, F32]:
    """What an encoder gets of faces.

    Returns:
        image float32 [N, 3, size, size] and, if asked, landmarks float32 [N, 478, 2]; see `export.networks.RANGES`.
    """
    kind = cv2.INTER_AREA if size <= len(made[0].rgb) else cv2.INTER_CUBIC
    small = [np.asarray(cv2.resize(face.rgb, (size, size), interpolation=kind), np.uint8) for face in made]
    feeds = {"image": np.concatenate([to_tensor(rgb) for rgb in small])}
    if landmarks:
        feeds["landmarks"] = np.stack([(face.landmarks + 0.5) / len(face.rgb) for face in made]).astype(np.float32)
    return feeds


def crops(rng: np.random.Generator, count: int, size: int, *, landmarks: bool = False) -> dict[str, F32]:
    """Inputs of an encoder, of `faces`."""
    return as_crops(faces(rng, count), size, landmarks=landmarks)


def w_statistics(z_to_w: Callable[[F32], F32], z_dim: int, mean_w: F32) -> tuple[F32, F32]:
    """mean_w (as given) and std_w of what a mapping network gives."""
    z = np.random.default_rng(0).standard_normal((STATISTICS_SAMPLES, z_dim)).astype(np.float32)
    w = z_to_w(z).astype(np.float64)
    # A constant entry has no unit of its own; one far below the others' is as good and is a number to divide by.
    std = np.maximum(w.std(0), max(float(w.std()), 1e-6) * 1e-3)
    return mean_w.astype(np.float32), std.astype(np.float32)


def inputs_of_artefact(
    manifest: Manifest, statistics: tuple[F32, F32] | None
) -> Callable[[np.random.Generator, int], dict[str, F32]]:
    """Random generator and count -> inputs of an exported network.

    Args:
        manifest: of the network.
        statistics: mean_w and std_w of a generator; None for the others.
    """
    if manifest.kind == "encoder":
        return lambda rng, count: crops(rng, count, manifest.size, landmarks="landmarks" in manifest.inputs)
    if manifest.kind == "mapping":
        z_dim = int(manifest.inputs["z"].shape[1])
        return lambda rng, count: normal(rng, count, z_dim)
    assert statistics is not None, "a generator has statistics"
    mean_w, std_w = statistics
    z_to_w = _mapping_beside(manifest)

    def latents(rng: np.random.Generator, count: int) -> dict[str, F32]:
        if z_to_w is None:
            w = mean_w + std_w * rng.standard_normal((2 * count, manifest.style_dim)).astype(np.float32)
        else:
            w = z_to_w(rng, 2 * count)
        return {"w_plus": mixed(rng, w, mean_w, manifest.layers)}

    return latents


def _mapping_beside(manifest: Manifest) -> Callable[[np.random.Generator, int], F32] | None:
    """Samples of W from the mapping network in a generator's folder; None where there is none of it."""
    graph = manifest.folder / "mapping.onnx"
    if not graph.exists():
        return None
    mapping = artefact.read(graph)
    if mapping.source.file != manifest.source.file and mapping.style_dim != manifest.style_dim:
        return None
    z_dim = int(mapping.inputs["z"].shape[1])
    z_to_w = graph_reference(graph)
    return lambda rng, count: z_to_w(normal(rng, count, z_dim))
