"""Exported networks to test with: the default ones as if they were somebody's, and tiny ones of other shapes."""

from __future__ import annotations

import shutil
from pathlib import Path

import numpy as np
import openvino as ov
import openvino.opset13 as ops

from models import artefact, registry
from models.arrays import F32
from models.files import sha256
from models.latent import LatentSpace, shipped_space
from models.manifest import BATCH, Kind, Manifest, Port, Source
from models.zoo import SHIPPED

TINY = LatentSpace(10, np.zeros(64, np.float32), np.ones(64, np.float32))
TINY_SIZE = 64
CROP = 16  # pixels that the tiny encoder takes
Z_DIM = 32


def describe(
    folder: Path,
    kind: Kind,
    file: str,
    *,
    size: int,
    space: LatentSpace,
    z_dim: int = 512,
    landmarks: bool = False,
    batch: int | str = BATCH,
    source: str = "0" * 64,
) -> Manifest:
    """Writes the manifest of a graph that lies in the folder, of data files of its name, and of W's statistics."""
    w_plus, image = (batch, space.layers, space.style_dim), (batch, 3, size, size)
    shapes: dict[Kind, tuple[dict[str, tuple[int | str, ...]], dict[str, tuple[int | str, ...]]]] = {
        "generator": ({"w_plus": w_plus}, {"image": image}),
        "encoder": ({"image": image, **({"landmarks": (batch, 478, 2)} if landmarks else {})}, {"w_plus": w_plus}),
        "mapping": ({"z": (batch, z_dim)}, {"w": (batch, space.style_dim)}),
    }
    statistics = None
    if kind == "generator":
        statistics = "generator-w.npz"
        np.savez(folder / statistics, mean_w=space.mean_w, std_w=space.std_w)
    beside = [
        path for path in folder.iterdir() if path.suffix in (".bin", ".data") and kind in ("generator", path.stem)
    ]
    data = [path.name for path in beside] + ([statistics] if statistics else [])
    inputs, outputs = (
        {name: Port(shape, "float32", "any") for name, shape in ports.items()} for ports in shapes[kind]
    )
    manifest = Manifest(
        kind=kind,
        file=file,
        sha256=sha256(folder / file),
        data={name: sha256(folder / name) for name in data},
        size=size,
        layers=space.layers,
        style_dim=space.style_dim,
        inputs=inputs,
        outputs=outputs,
        source=Source("somebody.pt", source),
        tools={},
        options={},
        parity=(),
        statistics=statistics,
        folder=folder,
    )
    artefact.write(manifest)
    return manifest


def export_default(folder: Path, *, mean_off: float = 0.0) -> Path:
    """The default generator at 256 px and its encoder, as exported networks.

    Args:
        folder: where to; made if it is not there.
        mean_off: by how many standard deviations the manifest's mean of W is off, as if it were another W's.
    """
    folder.mkdir(exist_ok=True)
    shutil.copy(SHIPPED / "generator-256.onnx", folder / "generator.onnx")
    weights = registry.path("synthesis-bin")
    shutil.copy(weights, folder / weights.name)
    w = shipped_space()
    space = LatentSpace(w.layers, w.mean_w + np.float32(mean_off) * w.std_w, w.std_w)
    describe(folder, "generator", "generator.onnx", size=256, space=space)
    shutil.copy(SHIPPED / "encoder.onnx", folder / "encoder.onnx")
    shutil.copy(registry.path("identity"), folder)
    describe(folder, "encoder", "encoder.onnx", size=128, space=space, landmarks=True)
    return folder


def export_tiny(folder: Path) -> Path:
    """A generator of noise, 10 layers of 64 to 64 px, with its mapping network and encoder, as OpenVINO graphs."""
    folder.mkdir(exist_ok=True)
    rng = np.random.default_rng(0)

    def weights(inputs: int, outputs: int) -> F32:
        return np.asarray(rng.standard_normal((inputs, outputs)) / np.sqrt(inputs), np.float32)

    def save(kind: Kind, given: tuple[str, list[int]], matrix: F32, result: tuple[str, list[int]], size: int) -> None:
        """A network of one matrix, on whatever is given, made a vector; `result` is its name and its shape."""
        name, shape = given
        parameter = ops.parameter([-1, *shape], np.float32, name=name)
        parameter.output(0).set_names({name})
        flat = ops.reshape(parameter, [0, matrix.shape[0]], special_zero=True)
        made = ops.tanh(ops.matmul(flat, matrix, False, False))
        out = ops.reshape(made, [0, *result[1]], special_zero=True)
        out.output(0).set_names({result[0]})
        ov.save_model(ov.Model([out], [parameter]), folder / f"{kind}.xml", compress_to_fp16=False)
        describe(folder, kind, f"{kind}.xml", size=size, space=TINY, z_dim=Z_DIM)

    layers, style_dim = TINY.layers, TINY.style_dim
    latent_shape, picture = [layers, style_dim], [3, TINY_SIZE, TINY_SIZE]
    save("generator", ("w_plus", latent_shape), weights(640, int(np.prod(picture))), ("image", picture), TINY_SIZE)
    save("encoder", ("image", [3, CROP, CROP]), weights(3 * CROP**2, 640), ("w_plus", latent_shape), CROP)
    save("mapping", ("z", [Z_DIM]), weights(Z_DIM, style_dim), ("w", [style_dim]), TINY_SIZE)
    return folder
