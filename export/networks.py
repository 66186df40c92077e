"""What can be exported: networks of a checkpoint, the default ones, and networks exported before.

Each is a graph in float32 with a free batch size, what it is compared with, and where fresh inputs come from.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import onnx
from torch import nn

from export.checkpoints import GeneratorCheckpoint, load_generator, read_generator
from export.checkpoints.psp import EncoderCheckpoint, load_encoder, read_encoder
from export.default_generator import load_network
from export.fresh_inputs import crops, inputs_of_artefact, mixed, normal, w_statistics
from export.sampling import sample_w_plus
from export.trace import Feeds, folded, graph_reference, module_reference, traced
from models import artefact, ir, latent, registry, zoo
from models.arrays import F32
from models.errors import UserError
from models.files import sha256
from models.manifest import BATCH, Kind, Manifest, Port, Source, expected_ports
from models.networks import mapping as mapping_net
from models.networks.stylegan2 import Modulate, Noise

SIZES = zoo.SIZES  # of the default generator
NOISES: tuple[Noise, ...] = ("const", "none")  # what is new in each run cannot be compared
RANGES = {
    "w_plus": "W's own, see the statistics",
    "image": "RGB, about [-1, 1]",
    "landmarks": "x and y in [0, 1] from edge to edge of the crop, MediaPipe's 478 points",
    "z": "standard normal",
    "w": "W's own",
}


@dataclass(frozen=True)
class Network:
    """One network, ready to be written.

    Attributes:
        kind: what it is.
        size: see `Manifest`.
        layers: rows of W+.
        style_dim: entries of a row.
        inputs: by name -> shape behind the batch.
        graph: makes the ONNX graph: float32, free batch, weights inside.
        reference: what is right: inputs by name, of any batch size -> the output.
        fresh: random generator and count -> inputs by name.
        source: the file it comes from.
        statistics: mean_w and std_w, float32 [style_dim] each; of a generator.
        noise: of a generator, see `StyleGAN2Config`.
    """

    kind: Kind
    size: int
    layers: int
    style_dim: int
    inputs: Mapping[str, tuple[int, ...]]
    graph: Callable[[], onnx.ModelProto]
    reference: Callable[[Feeds], F32]
    fresh: Callable[[np.random.Generator, int], dict[str, F32]]
    source: Source
    statistics: tuple[F32, F32] | None = None
    noise: str | None = None


def from_checkpoint(path: Path, noise: Noise | None) -> list[Network]:
    """The networks of a published file: a generator and its mapping network, an encoder, or all three (e4e, pSp).

    Raises:
        UserError: there is no such file, or it holds neither.
    """
    if not path.is_file():
        raise UserError(f"{path} does not exist; expected a checkpoint, an .onnx artefact, or: default")
    found: list[Network] = []
    refusals: list[UserError] = []
    try:
        generator = read_generator(path)
    except UserError as refusal:
        refusals.append(refusal)
    else:
        found += from_generator(generator, noise)
    try:
        encoder = read_encoder(path)
    except UserError as refusal:
        refusals.append(refusal)
    else:
        found.append(from_encoder(encoder))
    if not found:
        no_generator, no_encoder = refusals
        raise UserError(f"no generator: {no_generator}; and no encoder: {no_encoder}") from no_encoder
    return found


def from_generator(
    checkpoint: GeneratorCheckpoint, noise: Noise | None = None, modulate: Modulate = "activations"
) -> list[Network]:
    """Generator and mapping network of a checkpoint.

    Args:
        checkpoint: what its reader gave.
        noise: which noise the exported generator has; None = its own.
        modulate: the form of its modulated convolutions.

    Raises:
        UserError: noise is asked for and it was trained without.
    """
    config = checkpoint.config
    mapping, synthesis = load_generator(checkpoint, noise=noise, modulate=modulate)
    source = Source(checkpoint.source, checkpoint.sha256)
    z_to_w = module_reference(mapping, ("z",))
    statistics = w_statistics(lambda z: z_to_w({"z": z}), config.z_dim, checkpoint.mean_w)

    def latents(rng: np.random.Generator, count: int) -> dict[str, F32]:
        w = z_to_w(normal(rng, 2 * count, config.z_dim))
        return {"w_plus": mixed(rng, w, statistics[0], config.layers)}

    shape = (config.size, config.layers, config.w_dim)
    return [
        generator_network(synthesis, shape, latents, source, statistics, noise or config.noise),
        mapping_network(mapping, config.z_dim, shape, source),
    ]


def from_encoder(checkpoint: EncoderCheckpoint) -> Network:
    """The encoder of a checkpoint."""
    config = checkpoint.config
    shape = (config.size, config.layers, config.style_dim)
    return encoder_network(load_encoder(checkpoint), shape, Source(checkpoint.source, checkpoint.sha256))


def generator_network(
    net: nn.Module,
    shape: tuple[int, int, int],
    latents: Callable[[np.random.Generator, int], dict[str, F32]],
    source: Source,
    statistics: tuple[F32, F32],
    noise: str,
) -> Network:
    """A module w_plus -> image; shape: picture's side, rows of W+, entries of a row."""
    inputs = {"w_plus": shape[1:]}
    reference = module_reference(net, tuple(inputs))
    return Network(
        "generator", *shape, inputs, _tracing(net, inputs, "image"), reference, latents, source, statistics, noise
    )


def mapping_network(net: nn.Module, z_dim: int, shape: tuple[int, int, int], source: Source) -> Network:
    """A module z -> w; shape: of the generator."""
    inputs = {"z": (z_dim,)}
    reference = module_reference(net, tuple(inputs))
    return Network(
        "mapping",
        *shape,
        inputs,
        _tracing(net, inputs, "w"),
        reference,
        lambda rng, count: normal(rng, count, z_dim),
        source,
    )


def encoder_network(net: nn.Module, shape: tuple[int, int, int], source: Source) -> Network:
    """A module image -> w_plus; shape: crop's side, rows of W+, entries of a row."""
    size = shape[0]
    inputs = {"image": (3, size, size)}
    reference = module_reference(net, tuple(inputs))
    graph = _tracing(net, inputs, "w_plus")
    return Network("encoder", *shape, inputs, graph, reference, lambda rng, count: crops(rng, count, size), source)


def _tracing(net: nn.Module, inputs: Mapping[str, tuple[int, ...]], output: str) -> Callable[[], onnx.ModelProto]:
    examples = {name: np.ones((1, *shape), np.float32) for name, shape in inputs.items()}
    return lambda: traced(net, examples, output)


def default_networks(size: int) -> list[Network]:
    """The default generator at `size` pixels, its mapping network, and the default encoder."""
    net = load_network(size, zoo.SHIPPED / "heads")
    mapping = mapping_net.load_published(ir.read(registry.path("mapping-xml")))
    z_to_w = module_reference(mapping, ("z",))
    shape = (size, latent.LAYERS, latent.STYLE_DIM)

    def latents(rng: np.random.Generator, count: int) -> dict[str, F32]:
        return {"w_plus": sample_w_plus(rng, count, lambda z: z_to_w({"z": z}), latent.mean_w())}

    statistics = (latent.mean_w(), latent.std_w())
    return [
        generator_network(net, shape, latents, published("synthesis-bin"), statistics, "const"),
        mapping_network(mapping, latent.STYLE_DIM, shape, published("mapping-bin")),
        default_encoder(),
    ]


def default_encoder() -> Network:
    """The default encoder; its graph is what is shipped of it, so that is what others are compared with."""
    file, beside = zoo.ENCODER, zoo.encoder_graph()
    graph = onnx.load(beside)
    inputs = {
        port.name: tuple(d.dim_value for d in list(port.type.tensor_type.shape.dim)[1:]) for port in graph.graph.input
    }
    size = inputs["image"][-1]
    return Network(
        "encoder",
        size,
        *(latent.LAYERS, latent.STYLE_DIM),
        inputs,
        lambda: folded(graph),
        graph_reference(beside),
        lambda rng, count: crops(rng, count, size, landmarks="landmarks" in inputs),
        Source(file.name, sha256(file)),
    )


def from_artefact(manifest: Manifest) -> Network:
    """An ONNX artefact in float32, to be exported again or quantised.

    Raises:
        UserError: it is not ONNX, not float32, or of a fixed batch size.
    """
    precision = manifest.options.get("precision")
    if manifest.format != "onnx" or precision != "float32" or manifest.batch is not None:
        raise UserError(
            f"{manifest.graph} is {manifest.format}, {precision}, batch {manifest.batch or 'free'}; "
            "expected what python -m export onnx writes by default: ONNX, float32, batch free"
        )
    statistics = artefact.read_statistics(manifest) if manifest.kind == "generator" else None
    inputs = {name: tuple(int(n) for n in port.shape[1:]) for name, port in manifest.inputs.items()}
    return Network(
        manifest.kind,
        *(manifest.size, manifest.layers, manifest.style_dim),
        inputs,
        lambda: onnx.load(manifest.graph),
        graph_reference(manifest.graph),
        inputs_of_artefact(manifest, statistics),
        Source(manifest.file, manifest.sha256),
        statistics,
        str(manifest.options.get("noise")),
    )


def ports(network: Network, batch: int | None) -> tuple[dict[str, Port], dict[str, Port]]:
    """Inputs and outputs as a manifest has them; batch: None = free."""
    first: int | str = BATCH if batch is None else batch
    size = {"size": network.size, "layers": network.layers, "style_dim": network.style_dim}
    _, outputs = expected_ports(network.kind, **size)

    def described(shapes: Mapping[str, tuple[int, ...]]) -> dict[str, Port]:
        return {name: Port((first, *shape), "float32", RANGES[name]) for name, shape in shapes.items()}

    return described(network.inputs), described(outputs)


def published(name: str) -> Source:
    """A pinned file of the registry as a source."""
    pinned = registry.artefacts()[name]
    return Source(f"{pinned.package} {pinned.member}", pinned.sha256)
