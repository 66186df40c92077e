"""Writes the trained encoder as models/shipped/encoder.onnx, its big weights stored in float16.

The averaged weights of the training run are exported, folded (models.networks.refined_encoder.FoldedEncoder); the
graph is compared with PyTorch in both engines, and only then is the file put in place.
"""

from __future__ import annotations

import argparse
import json
import shutil
import tempfile
from pathlib import Path

import numpy as np
import onnx
import torch
from onnx import numpy_helper
from torch import nn

from export.pool import Pool, open_pool
from export.recognition import refer_to_weights
from export.trace import traced
from export.train_surrogate import FILE as SURROGATE
from export.training_input import to_input
from models import registry, zoo
from models.errors import UserError
from models.files import sha256
from models.networks.encoder import Encoder
from models.networks.recognising_encoder import RecognisingEncoder
from models.networks.refined_encoder import FoldedEncoder, RefinedEncoder
from models.networks.surrogate import empty_surrogate
from models.runtime import load_engine

HALVED_FROM = 1024  # elements; smaller arrays (norms, biases) keep float32
EXAMPLES = 8  # held-out faces that the graph is compared on
STEPS = 5  # of feedback; it was trained in three, but photographs miss more than the faces it was trained on
TOLERANCE = 0.02  # standard deviations of W: what float16 weights may change


def store_in_float16(graph: onnx.ModelProto) -> None:
    """Stores the graph's own big float32 initialisers as float16, each behind a cast that engines fold on loading."""
    casts = []
    for initializer in graph.graph.initializer:
        if initializer.data_location == onnx.TensorProto.EXTERNAL:
            continue
        values = numpy_helper.to_array(initializer)
        if values.dtype != np.float32 or values.size < HALVED_FROM:
            continue
        name = initializer.name
        initializer.CopyFrom(numpy_helper.from_array(values.astype(np.float16), f"{name}.half"))
        casts.append(onnx.helper.make_node("Cast", [f"{name}.half"], [name], to=onnx.TensorProto.FLOAT))
    nodes = [*casts, *graph.graph.node]
    del graph.graph.node[:]
    graph.graph.node.extend(nodes)


def export_graph(
    net: nn.Module,
    examples: dict[str, torch.Tensor],
    output: str,
    path: Path,
    *,
    tolerance: float,
    recogniser: str | None = None,
) -> dict[str, float]:
    """Writes a network as ONNX with a free batch size, if both engines compute what PyTorch does.

    Args:
        net: in evaluation mode.
        examples: float32 inputs by name, in the order of `net`'s arguments; a batch as the network will see.
        output: name of its one output.
        path: the file; replaced only by a graph that is right.
        tolerance: maximum absolute error, that of the halved weights included.
        recogniser: name of the network's module whose weights stay in dlib's file; None = there is none.

    Returns:
        The maximum absolute error by engine, on the examples.

    Raises:
        UserError: an engine is further off than `tolerance`.
    """
    feeds = {name: values.numpy() for name, values in examples.items()}
    graph = traced(net, feeds, output)
    if recogniser is not None:
        refer_to_weights(graph, recogniser)
    store_in_float16(graph)
    count = len(next(iter(feeds.values())))
    with torch.no_grad():
        expected = net(*examples.values()).numpy()
    errors = {}
    with tempfile.TemporaryDirectory(dir=path.parent, prefix=".export-") as work:
        temporary = Path(work) / path.name
        onnx.save(graph, temporary)
        if recogniser is not None:
            shutil.copy(registry.path("identity"), work)
        onnx.checker.check_model(temporary)
        for engine in ("openvino", "onnxruntime"):
            got = load_engine(temporary, engine, "float32", batch=count)(feeds)[output]
            errors[engine] = float(np.abs(got - expected).max())
        if max(errors.values()) > tolerance:
            raise UserError(f"{path.name} would differ from PyTorch by {errors}; not written")
        temporary.replace(path)
    return errors


def count_parameters(path: Path) -> int:
    """How many numbers a graph holds; those in other files do not count."""
    stored = onnx.load(path, load_external_data=False).graph.initializer
    return sum(int(np.prod(one.dims)) for one in stored if one.data_location != onnx.TensorProto.EXTERNAL)


def export_encoder(net: FoldedEncoder, pool: Pool, path: Path) -> dict[str, float]:
    """Writes an encoder as ONNX, checked on held-out faces: the maximum error by engine, in standard deviations of W.

    Raises:
        UserError: an engine is further off than `TOLERANCE`.
    """
    examples = {
        "image": to_input(np.array(pool.images[:EXAMPLES])),
        "landmarks": torch.from_numpy(np.array(pool.landmarks[:EXAMPLES])),
    }
    least = float(net.encoder.std_w.min())
    recogniser = "recognise.net" if isinstance(net, RecognisingEncoder) else None
    errors = export_graph(net, examples, "w_plus", path, tolerance=TOLERANCE * least, recogniser=recogniser)
    return {name: error / least for name, error in errors.items()}


def main(argv: list[str] | None = None) -> None:
    """Command line of `python -m export ship`."""
    parser = argparse.ArgumentParser(prog="python -m export ship", description=__doc__)
    parser.add_argument("--run", type=Path, default=Path("runs/encoder"), help="folder of the training run")
    parser.add_argument("--pool", type=Path, default=Path("runs/pool"))
    parser.add_argument("--out", type=Path, default=zoo.ENCODER)
    args = parser.parse_args(argv)
    checkpoint = args.run / "last.pt"
    if not checkpoint.exists():
        raise UserError(f"no checkpoint {checkpoint}; train one first: python -m export encoder")
    saved = torch.load(checkpoint, map_location="cpu", weights_only=True)
    state = saved["average"]
    mean, unit = state["encoder.mean_w"], state["encoder.std_w"]
    refined = RefinedEncoder(Encoder(mean, unit), empty_surrogate())
    refined.load_state_dict(state)
    refined.steps = STEPS
    refined.eval()
    errors = export_encoder(FoldedEncoder(refined).eval(), open_pool(args.pool), args.out)
    figures = {
        "steps": saved["step"],
        "minutes": round(saved["spent"] / 60, 1),
        "feedback_steps": STEPS,
        "surrogate": json.loads((args.run / SURROGATE).with_suffix(".json").read_text())["explained"],
        "parameters": count_parameters(args.out),
        "float16_error_in_standard_deviations": errors,
        "sha256": sha256(args.out),
    }
    args.out.with_suffix(".json").write_text(json.dumps(figures, indent=1) + "\n")
    print(json.dumps(figures))


if __name__ == "__main__":
    main()
