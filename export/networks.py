"""What can be exported: networks of a checkpoint, the default ones, and networks exported before.

Each is a graph in float32 with a free batch size, what it is compared with, and where fresh inputs come from.
"""

from __future__ import annotations

import io
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path

import cv2
import numpy as np
import onnx
import onnxruntime as ort
import torch
from onnx import numpy_helper
from torch import nn

from export.checkpoints import GeneratorCheckpoint, load_generator, read_generator
from export.checkpoints.psp import EncoderCheckpoint, load_encoder, read_encoder
from export.sampling import sample_w_plus
from export.to_onnx import load_network
from models import artefact, ir, latent, registry, zoo
from models.alignment import to_rgb, to_tensor
from models.arrays import F32, U8
from models.errors import UserError
from models.files import sha256
from models.landmarker import Landmarker
from models.manifest import BATCH, Kind, Manifest, Port, Source, expected_ports
from models.networks import mapping as mapping_net
from models.networks.stylegan2 import Modulate, Noise

OPSET = 17
SIZES = zoo.SIZES  # of the default generator
NOISES: tuple[Noise, ...] = ("const", "none")  # what is new in each run cannot be compared
STATISTICS_SAMPLES = 10_000  # z from which the spread of W is taken
RANGES = {
    "w_plus": "W's own, see the statistics",
    "image": "RGB, about [-1, 1]",
    "landmarks": "x and y in [0, 1] from edge to edge of the crop, MediaPipe's 478 points",
    "z": "standard normal",
    "w": "W's own",
}

Feeds = Mapping[str, F32]


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


def traced(net: nn.Module, examples: Mapping[str, F32], output: str) -> onnx.ModelProto:
    """A network as an ONNX graph with a free batch size, constants folded."""
    buffer = io.BytesIO()
    torch.onnx.export(
        net, tuple(torch.from_numpy(values) for values in examples.values()), buffer, input_names=list(examples),
        output_names=[output], dynamic_axes={name: {0: BATCH} for name in (*examples, output)}, dynamo=False,
        opset_version=OPSET,
    )  # fmt: skip
    return onnx.load_from_string(buffer.getvalue())


def module_reference(net: nn.Module, names: tuple[str, ...]) -> Callable[[Feeds], F32]:
    """A network in PyTorch, called with arrays by name."""

    def run(feeds: Feeds) -> F32:
        with torch.no_grad():
            return np.asarray(net(*(torch.from_numpy(np.asarray(feeds[name])) for name in names)).numpy())

    return run


def graph_reference(graph: Path) -> Callable[[Feeds], F32]:
    """A float32 graph in ONNX Runtime."""
    session = ort.InferenceSession(str(graph), providers=["CPUExecutionProvider"])

    def run(feeds: Feeds) -> F32:
        return np.asarray(session.run(None, dict(feeds))[0])

    return run


def one_by_one(feeds: Feeds) -> list[dict[str, F32]]:
    """Inputs of a batch as those of its samples."""
    count = len(next(iter(feeds.values())))
    return [{name: values[i : i + 1] for name, values in feeds.items()} for i in range(count)]


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
    file = zoo.SHIPPED / "encoder.onnx"
    graph = onnx.load(file)
    inputs = {
        port.name: tuple(d.dim_value for d in list(port.type.tensor_type.shape.dim)[1:]) for port in graph.graph.input
    }
    size = inputs["image"][-1]
    return Network(
        "encoder",
        size,
        *(latent.LAYERS, latent.STYLE_DIM),
        inputs,
        lambda: widened(graph),
        graph_reference(file),
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
        _fresh_inputs(manifest, statistics),
        Source(manifest.file, manifest.sha256),
        statistics,
        str(manifest.options.get("noise")),
    )


def _fresh_inputs(
    manifest: Manifest, statistics: tuple[F32, F32] | None
) -> Callable[[np.random.Generator, int], dict[str, F32]]:
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
        image float32 [N, 3, size, size] and, if asked, landmarks float32 [N, 478, 2]; see `RANGES`.
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


def widened(graph: onnx.ModelProto) -> onnx.ModelProto:
    """A copy whose float16 initialisers, each behind a cast to float32, are float32 themselves."""
    copy = onnx.ModelProto()
    copy.CopyFrom(graph)
    halves = {i.name: i for i in copy.graph.initializer if i.data_type == onnx.TensorProto.FLOAT16}
    nodes = []
    for node in copy.graph.node:
        if node.op_type == "Cast" and node.input[0] in halves:
            values = numpy_helper.to_array(halves[node.input[0]]).astype(np.float32)
            halves[node.input[0]].CopyFrom(numpy_helper.from_array(values, node.output[0]))
        else:
            nodes.append(node)
    del copy.graph.node[:]
    copy.graph.node.extend(nodes)
    return copy
