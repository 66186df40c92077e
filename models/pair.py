"""Generator and encoder of a run: the default ones, or those that ``python -m export`` wrote, if they fit each other.

What an encoder, a direction or the landmark regressor learned holds for one W. Whether a generator's W is the default
one's (which is that of StyleGAN2-FFHQ, config-f) is told by the mean and the spread that its manifest brings along:
networks that were trained apart differ in both, those that were tuned with the mapping network left alone in neither.
"""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from models import artefact
from models.errors import UserError
from models.latent import LatentSpace, shipped_space
from models.manifest import Kind, Manifest
from models.runtime import Engine, load_engine
from models.zoo import SIZES, Encoder, Generator, Mapping, engine_cache

DEFAULT_SIZE = 256


@dataclass(frozen=True, eq=False)
class Pair:
    """What a run's pictures are made with.

    Attributes:
        generator: an exported one; None = the default one.
        encoder: likewise.
        size: pixels per side of the generated picture.
        space: of the generator's latents.
        shares_w: whether its W is the default generator's.
    """

    generator: Manifest | None
    encoder: Manifest | None
    size: int
    space: LatentSpace
    shares_w: bool

    @property
    def mapping(self) -> Path | None:
        """The mapping network's manifest, beside an exported generator; None = there is none."""
        if self.generator is None:
            return None
        beside = self.generator.folder / "mapping.json"
        return beside if beside.exists() else None


def read_pair(generator: Path | None = None, encoder: Path | None = None, size: int | None = None) -> Pair:
    """Reads and checks manifests, and what they describe against its hashes; loads nothing.

    Args:
        generator: a graph, its manifest or the folder of both; None = the default generator.
        encoder: likewise.
        size: pixels of the picture that were asked for; None = 256, or all that an exported generator has.

    Raises:
        UserError: something is missing, broken, not what it should be, or does not fit the other.
    """
    if generator is None:
        made, space = None, shipped_space()
        if size is not None and size not in SIZES:
            raise UserError(f"--size {size}: the default generator makes {', '.join(map(str, SIZES))} px")
    else:
        made = find(generator, "generator")
        space = LatentSpace(made.layers, *artefact.read_statistics(made))
        if size not in (None, made.size):
            raise UserError(f"--size {size}: {made.graph} makes {made.size} px and nothing else; leave --size out")
    told = None if encoder is None else find(encoder, "encoder")
    shares_w = space.is_same(shipped_space())
    if told is not None and (told.layers, told.style_dim) != (space.layers, space.style_dim):
        raise UserError(
            f"{told.graph} makes latents of {told.layers} x {told.style_dim}, but "
            f"{_name(made)} takes {space}; give the two that belong together"
        )
    if told is None and made is not None and not shares_w:
        why = "another W of that shape" if space.has_shape_of(shipped_space()) else f"latents of {space}"
        raise UserError(
            f"{made.graph} takes {why}, and the default encoder knows the default generator's, {shipped_space()}; "
            "give an --encoder made for it"
        )
    return Pair(made, told, made.size if made else size or DEFAULT_SIZE, space, shares_w)


def find(path: Path, kind: Kind) -> Manifest:
    """The checked manifest of a graph: by the graph, by the manifest, or by a folder in which it is ``KIND.json``.

    Raises:
        UserError: see models.artefact.read; or it is of another kind, or for another batch size than 1.
    """
    manifest = artefact.read(path / f"{kind}.json" if path.is_dir() else path)
    if manifest.kind != kind:
        raise UserError(f"{manifest.graph} is a {manifest.kind}; expected a {kind}")
    if manifest.batch not in (None, 1):
        raise UserError(
            f"{manifest.graph} takes {manifest.batch} at a time, live use one; export it for any batch size, or for 1"
        )
    return manifest


def load_generator(pair: Pair, manifest: Manifest, engine: str = "auto", *, threads: int = 0) -> Generator:
    """An exported generator.

    Raises:
        UserError: no engine runs it, or it makes no pictures of its size.
    """
    loaded = _load(manifest, engine, threads=threads)
    generator = Generator(manifest.size, loaded, manifest.sha256, None, pair.space)
    picture = generator.synthesize(pair.space.mean_latent)
    if picture.shape != (1, 3, manifest.size, manifest.size):
        raise UserError(
            f"{manifest.graph} makes {list(picture.shape)}, its manifest says {manifest.size} px; export it again"
        )
    if not np.isfinite(picture).all():
        raise UserError(f"{manifest.graph} makes no picture on {loaded.name}: not all of it is finite; try --engine")
    return generator


def load_encoder(pair: Pair, manifest: Manifest, engine: str = "auto", *, threads: int = 0) -> Encoder:
    """An exported encoder, in float32 as the default one.

    Raises:
        UserError: no engine runs it.
    """
    loaded = _load(manifest, engine, threads=threads, exact=True)
    return Encoder(manifest.size, loaded, manifest.sha256, pair.space)


def load_mapping(pair: Pair, path: Path, engine: str = "auto") -> Mapping:
    """The mapping network beside an exported generator.

    Raises:
        UserError: it is broken, does not run, or leads into a W of another length.
    """
    manifest = find(path, "mapping")
    if manifest.style_dim != pair.space.style_dim:
        raise UserError(
            f"{manifest.graph} is not the mapping network of the generator beside it: its W has "
            f"{manifest.style_dim} numbers, not {pair.space.style_dim}; export both from one file, or remove it"
        )
    return Mapping(_load(manifest, engine, exact=True))


def _load(manifest: Manifest, engine: str, *, threads: int = 0, exact: bool = False) -> Engine:
    # A folder for these very files: engines may tell their compiled networks apart by the graph without its weights.
    files = " ".join([manifest.sha256, *sorted(manifest.data.values())])
    cache = engine_cache() / hashlib.sha256(files.encode()).hexdigest()[:16]
    cache.mkdir(exist_ok=True)
    loaded = load_engine(manifest.graph, engine, "float32" if exact else "auto", threads=threads, cache=cache)
    for name, port in manifest.inputs.items():
        if loaded.inputs.get(name, ())[1:] != port.shape[1:] or port.dtype != "float32":
            raise UserError(
                f"{manifest.graph} has other inputs than its manifest says, or none of float32; export it again"
            )
    return loaded


def _name(generator: Manifest | None) -> str:
    return "the default generator" if generator is None else str(generator.graph)
