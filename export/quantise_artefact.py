"""Writes an encoder or a generator in int8: as many layers as keep it near its float32 self, the others as they are.

It is written only if faces stay who they are: the identity distance moves by less than 0.05. Of a generator, every
fresh picture has to come within 35 dB of float32 in both CPU engines too; of an encoder, layers are chosen by the
same measure of its latents, and what counts is the face. The manifest lists every layer's error alone, which layers
are in int8, the identity distances, and the time of both.
"""

from __future__ import annotations

import tempfile
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import onnx

from export import int8, networks, parity
from export.fresh_inputs import Face, as_crops, faces, one_by_one
from export.measure import IdentityMeter, identity_distance
from export.networks import Network
from export.to_artefact import Choices, finish, put_in_place, refuse_others, show, with_batch
from export.trace import Feeds
from models import artefact, latent, registry, zoo
from models.alignment import to_rgb
from models.arrays import F32
from models.checked_json import Json
from models.errors import UserError
from models.landmarker import Landmarker
from models.manifest import Manifest

ENCODER = "encoder"  # the word for the default one
LEAST = 35.0  # dB from float32, of the worst sample
# dB more on the samples that layers are chosen by: fresh ones are a little worse. The next if faces change.
MARGINS = (1.0, 4.0, 7.0, 10.0)
MOST_MOVED = 0.05  # of the identity distance
CALIBRATION_SEED, TUNING_SEED, HELD_OUT_SEED = 5, 6, 99
TUNING, HELD_OUT = 6, 16  # samples


def write_int8(network: Network, folder: Path, *, samples: int, least: float = LEAST) -> Manifest:
    """Writes a network in int8 and its manifest into a folder.

    Args:
        network: in float32.
        folder: where.
        samples: that ranges come from.
        least: PSNR in dB that it must keep.

    Raises:
        UserError: it would be further from float32 than that, change faces, or have no layer in int8.
    """
    exact = int8.prepared(network.graph())
    calibration, tuning = (
        one_by_one(network.fresh(np.random.default_rng(seed), count))
        for seed, count in ((CALIBRATION_SEED, samples), (TUNING_SEED, TUNING))
    )
    cases = [(feeds, network.reference(feeds)) for feeds in tuning]
    expected = np.concatenate([right for _, right in cases])
    peak = parity.PICTURE_PEAK if network.kind == "generator" else float(np.ptp(expected))
    whole = int8.quantised(exact, calibration)
    file = folder / f"{network.kind}.onnx"
    with tempfile.TemporaryDirectory(dir=folder) as work:
        ratios = int8.sensitivity(exact, whole, cases, peak, Path(work))

        def judge(layers: int8.Layers) -> float:
            return int8.worst_psnr(int8.mixed(exact, whole, layers), cases, peak, Path(work))

        for margin in MARGINS:
            chosen = int8.choose(ratios, least + margin, judge)
            if not chosen:
                raise UserError(
                    f"no layer of {network.source.file} stays within {least + margin:g} dB in int8; not written"
                )
            onnx.save(with_batch(int8.mixed(exact, whole, chosen), None), file)
            identity = (generator_identity if network.kind == "generator" else encoder_identity)(
                network, parity.open_openvino(file)
            )
            moved = identity["moved"]
            if moved is None or float(str(moved)) < MOST_MOVED:
                break
            print(f"{len(chosen)} layers in int8 move the identity distance by {moved}: fewer are tried")
        else:
            raise UserError(f"in int8 the identity distance moves by {moved}, allowed is {MOST_MOVED}; not written")
        before = Path(work) / "float32.onnx"
        onnx.save(exact, before)
        times = int8.milliseconds({"float32": before, "int8": file}, tuning[0])
    report: dict[str, Json] = {
        "sensitivity": [
            {"layer": layer, "psnr_db": round(ratio, 2), "int8": layer in chosen} for layer, ratio in ratios.items()
        ],
        "identity": identity,
        "milliseconds": {**times, "engine": "openvino CPU, otherwise float32"},
    }
    options: dict[str, Json] = {"samples": samples, "int8_layers": len(chosen), "of_layers": len(ratios)}
    return finish(
        network,
        file,
        Choices("onnx", "int8"),
        report,
        engines=parity.engines_of(file),
        least=least if network.kind == "generator" else None,
        options=options,
        tools=("nncf",),
    )


def generator_identity(network: Network, run: parity.Run) -> dict[str, Json]:
    """How far a generator's faces are from those in float32; the same latents."""
    held_out = network.fresh(np.random.default_rng(HELD_OUT_SEED), HELD_OUT)
    meter, distances = IdentityMeter(), []
    with Landmarker(registry.path("face-landmarker")) as landmarker:
        for feeds in one_by_one(held_out):
            pictures = [to_rgb(network.reference(feeds)), to_rgb(run(feeds))]
            found = [landmarker.detect(rgb) for rgb in pictures]
            if all(found):
                embeddings = [meter.embed(rgb, seen[0].landmarks) for rgb, seen in zip(pictures, found, strict=True)]
                distances.append(identity_distance(embeddings[0], embeddings[1]))
    return summary(len(distances), {"float32 to int8": distances}, moved=distances)


def encoder_identity(network: Network, run: parity.Run) -> dict[str, Json]:
    """How far reconstructions are from the faces that went in, by the float32 encoder and by this one."""
    if (network.layers, network.style_dim) != (latent.LAYERS, latent.STYLE_DIM):
        return summary(0, {}, moved=[])  # the default generator takes no such latents
    made = faces(np.random.default_rng(HELD_OUT_SEED), HELD_OUT)
    generator = zoo.load_generator(256, precision="float32")
    meter = IdentityMeter()
    distances: dict[str, list[float]] = {"float32": [], "int8": []}
    with Landmarker(registry.path("face-landmarker")) as landmarker:

        def distance(face: Face, encode: Callable[[Feeds], F32]) -> float | None:
            feeds = as_crops([face], network.size, landmarks="landmarks" in network.inputs)
            rgb = to_rgb(generator.synthesize(encode(feeds)))
            found = landmarker.detect(rgb)
            if not found:
                return None
            return identity_distance(meter.embed(face.rgb, face.landmarks), meter.embed(rgb, found[0].landmarks))

        for face in made:
            pair = (distance(face, network.reference), distance(face, run))
            if pair[0] is not None and pair[1] is not None:
                distances["float32"].append(pair[0])
                distances["int8"].append(pair[1])
    medians = [float(np.median(values)) for values in distances.values() if values]
    return summary(len(distances["int8"]), distances, moved=[abs(medians[1] - medians[0])] if medians else [])


def summary(count: int, distances: dict[str, list[float]], *, moved: list[float]) -> dict[str, Json]:
    """Medians; without a single face there is nobody to tell apart, and nothing to say."""
    medians = {f"median, {name}": round(float(np.median(values)), 4) for name, values in distances.items() if values}
    return {"faces": count, **medians, "moved": round(float(np.median(moved)), 4) if moved else None}


def quantise(model: str, out: Path, *, samples: int) -> Manifest:
    """Writes MODEL in int8 into the folder `out`; see `write_int8`.

    Args:
        model: an ONNX artefact in float32, or the word for the default encoder.
        out: the folder.
        samples: that ranges come from.
    """
    network = networks.default_encoder() if model == ENCODER else networks.from_artefact(artefact.read(Path(model)))
    if network.kind == "mapping":
        raise UserError(f"{model} is a mapping network, which costs nothing; quantise a generator or an encoder")
    if model != ENCODER and out.absolute() == Path(model).absolute().parent:
        raise UserError(f"--out {out} is where {model} lies, which would be overwritten; give another folder")
    refuse_others(out, [network.kind], "onnx")
    with put_in_place(out) as work:
        manifest = write_int8(network, work, samples=samples)
    manifest = replace(manifest, folder=out)
    show(manifest)
    times, identity = manifest.report["milliseconds"], manifest.report["identity"]
    print(f"  layers in int8: {manifest.options['int8_layers']} of {manifest.options['of_layers']}")
    print(f"  milliseconds: {times}\n  identity distance: {identity}")
    return manifest
