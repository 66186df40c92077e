"""Who a crop shows, to a face recogniser: what the encoder is told, how it begins to use it, how it is shipped."""

from __future__ import annotations

import math
from typing import cast

import numpy as np
import onnx
import torch
from onnx import helper
from onnx.external_data_helper import set_external_data
from rich.progress import track
from torch import Tensor, nn

from export.chips import cut_chips
from export.pool import Pool
from export.training_input import HELD_OUT, to_input
from models import registry
from models.networks.face_recogniser import Stored, find_weights, load_recogniser
from models.networks.recognising_encoder import RecognisingEncoder

FACES = 8192  # of the pool, that the regression is made of
BATCH = 32
RIDGE = 0.1  # of the variance of an embedding's entry, which is 1


class Recognition(nn.Module):
    """Pictures float32 [N, 3, S, S] in [-1, 1], landmarks [N, 478, 2] in [0, 1] -> embeddings [N, EMBEDDING]."""

    def __init__(self) -> None:
        super().__init__()
        self.net = load_recogniser(registry.path("identity"))

    def forward(self, images: Tensor, landmarks: Tensor) -> Tensor:  # noqa: D102 - described by the class
        return cast(Tensor, self.net(cut_chips(images, landmarks)))


def begin_to_recognise(net: RecognisingEncoder, pool: Pool) -> None:
    """Makes `net` correct its estimates by who it sees: by a ridge regression of what they miss on the embedding.

    Args:
        net: one that reads nothing of the embedding yet.
        pool: generated faces.
    """
    rng = np.random.default_rng(0)
    chosen = HELD_OUT + rng.permutation(pool.filled - HELD_OUT)[:FACES]
    embeddings, missed = [], []
    for rows in track(np.array_split(np.sort(chosen), -(-len(chosen) // BATCH)), description="Regression"):
        image, landmarks = to_input(np.array(pool.images[rows])), torch.from_numpy(np.array(pool.landmarks[rows]))
        truth = torch.from_numpy(pool.latents[rows].astype(np.float32))
        with torch.no_grad():
            embeddings.append(net.embedding(image, landmarks))
            missed.append(((truth - net(image, landmarks)) / net.encoder.std_w).flatten(1))
    who, target = torch.cat(embeddings), torch.cat(missed)
    with torch.no_grad():
        net.embedding_mean.copy_(who.mean(0))
        net.embedding_std.copy_(who.std(0, correction=0).clamp_min(1e-3))
        who = (who - net.embedding_mean) / net.embedding_std
        gram = who.T @ who / len(who) + RIDGE * torch.eye(who.shape[1])
        net.to_latent.weight.copy_(torch.linalg.solve(gram, who.T @ (target - target.mean(0)) / len(who)).T)


def refer_to_weights(graph: onnx.ModelProto, module: str) -> None:
    """Takes the recogniser's weights out of a graph: they stay in dlib's file, to which it then points.

    Args:
        graph: of a network with a `FaceRecogniser`; changed.
        module: its name in that network.
    """
    path = registry.path("identity")
    data = path.read_bytes()
    stored = find_weights(data)
    initializers = {one.name: one for one in graph.graph.initializer}
    nodes = []

    def point(name: str, part: Stored, shape: list[int]) -> str:
        tensor = onnx.TensorProto(name=name, data_type=onnx.TensorProto.FLOAT, dims=shape)
        tensor.raw_data = b"moved"  # set_external_data wants to see some
        set_external_data(tensor, location=path.name, offset=part.offset, length=4 * part.count)
        tensor.ClearField("raw_data")
        graph.graph.initializer.append(tensor)
        return name

    for name, part in stored.convolutions.items():
        weight, bias = (f"{module}.{name}.{kind}" for kind in ("weight", "bias"))
        shape, channels = list(initializers[weight].dims), part.scale.count
        read = point(f"{weight}.stored", part.weight, shape), point(f"{bias}.stored", part.bias, [channels])
        scale, shift = (
            point(f"{weight}.scale", part.scale, [channels]),
            point(f"{bias}.shift", part.shift, [channels]),
        )
        nodes += [
            helper.make_node("Unsqueeze", [scale, "recogniser.axes"], [f"{scale}.column"]),
            helper.make_node("Mul", [read[0], f"{scale}.column"], [weight]),
            helper.make_node("Mul", [read[1], scale], [f"{bias}.scaled"]),
            helper.make_node("Add", [f"{bias}.scaled", shift], [bias]),
        ]
        for moved in (weight, bias):
            graph.graph.initializer.remove(initializers[moved])
    last = np.frombuffer(data, "<f4", stored.last.count, stored.last.offset)
    (tensor,) = (  # a trace gives it a name of its own
        one
        for one in graph.graph.initializer
        if math.prod(one.dims) == last.size and np.array_equal(onnx.numpy_helper.to_array(one).ravel(), last)
    )
    graph.graph.initializer.remove(tensor)
    point(tensor.name, stored.last, list(tensor.dims))
    graph.graph.initializer.append(onnx.numpy_helper.from_array(np.array([1, 2, 3], np.int64), "recogniser.axes"))
    nodes += graph.graph.node
    del graph.graph.node[:]
    graph.graph.node.extend(nodes)
