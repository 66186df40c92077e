"""Published generators: files of every format give the outputs they should, and hostile ones are refused."""

from __future__ import annotations

import hashlib
import os
import pickle
import struct
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

torch: Any = pytest.importorskip("torch", reason="install the train extra")

from export.checkpoints import GeneratorCheckpoint, load_generator, read_generator  # noqa: E402
from models.arrays import F32, F64  # noqa: E402
from models.errors import UserError  # noqa: E402
from models.networks.stylegan2 import Modulate, Noise, to_w_plus  # noqa: E402
from tests.stylegan2_files import (  # noqa: E402
    EasyDict,
    module,
    official_generator,
    rosinality_checkpoint,
    rosinality_state,
    write_official,
)
from tests.stylegan2_reference import Raw, map_to_w, random_raw, synthesize  # noqa: E402

pytestmark = pytest.mark.train

RAW = random_raw()
PARITY = 1e-4  # of the largest value
REFUSAL_SECONDS = 2.0  # of CPU time
# What NVIDIA's own code makes of RAW: pixels [:, :, 3::5, 9] for the z below at psi 0.7.
OFFICIAL = [
    *(-0.03957, -0.98271, -0.25156, 0.91623, 1.16345, -0.13881, -1.05383, -0.84909, -0.92634),
    *(-0.48548, -0.57156, -0.27413, 1.05223, 1.07746, -0.13745, -2.59994, -1.82878, -0.90612),
]
Z: F32 = np.random.default_rng(1).standard_normal((2, 12)).astype(np.float32)


def outputs(
    checkpoint: GeneratorCheckpoint, *, noise: Noise | None = None, modulate: Modulate = "activations"
) -> tuple[F32, F32]:
    """W+ at psi 0.7 and the picture of it, by the networks read from a file."""
    mapping, synthesis = load_generator(checkpoint, noise=noise, modulate=modulate)
    mean_w = torch.from_numpy(checkpoint.mean_w)
    w_plus = to_w_plus(mapping(torch.from_numpy(Z)), mean_w, checkpoint.config.layers, psi=0.7)
    return w_plus.numpy(), synthesis(w_plus).numpy()


def expected(raw: Raw, *, noise: bool = True) -> tuple[F64, F64]:
    w, mean = map_to_w(raw, Z), raw.arrays["mapping.w_avg"].astype(np.float64)
    w_plus = np.repeat((mean + 0.7 * (w - mean))[:, None], 2 * len(raw.channels), 1)
    return w_plus, synthesize(raw, w_plus, noise=noise)


def assert_same(ours: tuple[F32, F32], theirs: tuple[F64, F64], tolerance: float = PARITY) -> None:
    for here, there in zip(ours, theirs, strict=True):
        np.testing.assert_allclose(here, there, rtol=0, atol=tolerance * np.abs(there).max())


def training_file(raw: Raw) -> dict[str, Any]:
    """What the official training loop dumps."""
    other = official_generator(
        replace(raw, arrays={name: np.asarray(array * 2) for name, array in raw.arrays.items()})
    )
    discriminator = module("Discriminator", buffers={"resample_filter": torch.ones(4)}, c_dim=0)
    settings = EasyDict(class_name="training.dataset.ImageFolderDataset", path="faces.zip")
    return {"G": other, "D": discriminator, "G_ema": official_generator(raw), "training_set_kwargs": settings}


@pytest.mark.parametrize("protocol", [2, 3, 4, 5])
def test_official_pickles_give_the_official_output(tmp_path: Path, protocol: int) -> None:
    path = write_official(tmp_path / "network.pkl", training_file(RAW), protocol=protocol)
    checkpoint = read_generator(path)
    ours = outputs(checkpoint)
    assert_same(ours, expected(RAW))
    np.testing.assert_allclose(ours[1][:, :, 3::5, 9].flatten(), OFFICIAL, atol=3e-4)
    np.testing.assert_array_equal(checkpoint.mean_w, RAW.arrays["mapping.w_avg"])
    assert checkpoint.source == "network.pkl"
    assert checkpoint.sha256 == hashlib.sha256(path.read_bytes()).hexdigest()
    assert (checkpoint.config.size, checkpoint.config.layers, checkpoint.config.float16_sizes) == (16, 6, 2)


@pytest.mark.parametrize("noise", ["const", "none"])
@pytest.mark.parametrize("modulate", ["activations", "weights"])
def test_a_generator_alone_loads_with_clamp_and_any_noise(tmp_path: Path, noise: Noise, modulate: Modulate) -> None:
    raw = random_raw(conv_clamp=0.8, lr_multiplier=0.1, mapping_layers=1)
    path = write_official(tmp_path / "network.pkl", official_generator(raw))
    checkpoint = read_generator(path)
    assert checkpoint.config.conv_clamp == 0.8
    assert_same(outputs(checkpoint, noise=noise, modulate=modulate), expected(raw, noise=noise == "const"))


def test_float16_tensors_load(tmp_path: Path) -> None:
    path = write_official(tmp_path / "network.pkl", official_generator(RAW, dtype=torch.float16))
    assert_same(outputs(read_generator(path)), expected(RAW), 2e-2)


@pytest.mark.parametrize("zipped", [True, False])
@pytest.mark.parametrize("wrap", ["training", "g_ema", "encoder", "encoder into W"])
def test_rosinality_checkpoints_give_the_same_output(tmp_path: Path, wrap: str, zipped: bool) -> None:
    content = rosinality_checkpoint(RAW)
    if wrap == "g_ema":
        content = {"g_ema": content["g_ema"]}
    if wrap.startswith("encoder"):
        state = {f"decoder.{name}": tensor for name, tensor in rosinality_state(RAW).items()}
        content = {
            "state_dict": state | {"encoder.bias": torch.zeros(3)},
            "latent_avg": content["latent_avg"].expand(1 if "W" in wrap else 6, -1),
        }
    path = tmp_path / "network.pt"
    torch.save(content, path, _use_new_zipfile_serialization=zipped)
    checkpoint = read_generator(path)
    if wrap == "g_ema":
        zs = np.random.default_rng(8).standard_normal((4096, 12)).astype(np.float32)
        np.testing.assert_allclose(checkpoint.mean_w, map_to_w(RAW, zs).mean(0), atol=0.1)
        checkpoint = replace(checkpoint, mean_w=RAW.arrays["mapping.w_avg"])
    assert_same(outputs(checkpoint), expected(RAW))


def test_a_checkpoint_without_noise_pictures_has_random_noise_only(tmp_path: Path) -> None:
    state = {name: tensor for name, tensor in rosinality_state(RAW).items() if not name.startswith("noises.")}
    torch.save({"g_ema": state, "latent_avg": torch.from_numpy(RAW.arrays["mapping.w_avg"])}, tmp_path / "old.pt")
    checkpoint = read_generator(tmp_path / "old.pt")
    assert_same(outputs(checkpoint, noise="none"), expected(RAW, noise=False))
    with pytest.raises(UserError, match="noise 'random' only, not for 'const'"):
        load_generator(checkpoint, noise="const")


@pytest.mark.parametrize(
    ("changed", "says"),
    [
        ({"c_dim": 10}, "conditional"),
        ({"img_channels": 1}, "1 image channels"),
        ({"img_resolution": 24}, "24 px"),
        ({"img_resolution": 1 << 40}, "expected at most"),
        ({"img_resolution": 32}, "no module 'b32'"),
        ({"architecture": "resnet"}, "architecture is 'resnet'"),
        ({"layer_names": []}, "StyleGAN3"),
    ],
)
def test_other_generators_are_refused_by_name(tmp_path: Path, changed: dict[str, Any], says: str) -> None:
    path = write_official(tmp_path / "network.pkl", official_generator(RAW, **changed))
    with pytest.raises(UserError, match=says):
        read_generator(path)


@pytest.mark.parametrize(
    ("name", "tensor", "says"),
    [
        ("conv1.conv.weight", None, "no 'conv1.conv.weight'"),
        ("conv1.conv.weight", torch.zeros(1, 10, 9, 3, 3), r"conv1.conv.weight \[1, 10, 9, 3, 3\] in place of \[10,"),
        ("conv1.conv.weight", torch.full((1, 10, 10, 3, 3), float("nan")), "1 not finite: blocks.0.conv1.conv"),
        (
            "conv1.conv.weight",
            torch.zeros(1, 10, 10, 3, 3, dtype=torch.int64),
            "1 no weights: blocks.0.conv1.conv",
        ),
        ("conv1.conv.weight", torch.zeros(1).expand(1, 10**7, 10**7, 3, 3), "channels|does not fit|shape"),
        ("conv1.extra", torch.zeros(3), "conv1.extra"),
        ("to_rgbs.0.upsample.kernel", torch.ones(3, 3), "filter"),
        ("to_rgbs.0.upsample.kernel", torch.eye(4), "not separable"),
    ],
)
def test_weights_that_do_not_fit_are_named(tmp_path: Path, name: str, tensor: Any, says: str) -> None:  # noqa: ANN401
    state = rosinality_state(RAW)
    state.pop(name, None)
    torch.save({"g_ema": state if tensor is None else state | {name: tensor}}, tmp_path / "network.pt")
    with pytest.raises(UserError, match=says):
        read_generator(tmp_path / "network.pt")


def test_a_file_that_repeats_its_elements_without_end_is_not_copied(tmp_path: Path) -> None:
    one, large = torch.ones(1), random_raw((64, 64, 64))
    state = {name: one.to(tensor.dtype).expand(tensor.shape) for name, tensor in rosinality_state(large).items()}
    torch.save({"g_ema": state}, tmp_path / "network.pt")
    with pytest.raises(UserError, match="does not fit into this file"):
        read_generator(tmp_path / "network.pt")


class RunsOnLoading:
    """Pickles to a program that writes a file when Python's own unpickler reads it."""

    def __init__(self, function: Callable[..., Any], *arguments: object) -> None:
        self.call = (function, arguments)

    def __reduce__(self) -> tuple[Callable[..., Any], tuple[object, ...]]:
        return self.call


def hostile(proof: str) -> dict[str, object]:
    touch = f"open({proof!r}, 'w').close()"
    nested = RunsOnLoading(getattr, RunsOnLoading(__import__, "os"), "system")
    return {
        "os.system": RunsOnLoading(os.system, f"touch '{proof}'"),
        "eval beside a good network": {"G_ema": official_generator(RAW), "D": RunsOnLoading(eval, touch)},
        "exec within a module": module("Generator", z_dim=RunsOnLoading(exec, touch)),
        "nested": {"G_ema": nested},
        "bytes to a file": RunsOnLoading(open, proof, "w"),
        "pickle within": RunsOnLoading(pickle.loads, pickle.dumps(RunsOnLoading(eval, touch))),
    }


@pytest.mark.parametrize("protocol", [2, 4])
@pytest.mark.parametrize("attack", hostile("x"))
def test_programs_are_named_and_not_run(tmp_path: Path, attack: str, protocol: int) -> None:
    proof = tmp_path / "proof"
    path = write_official(tmp_path / "network.pkl", hostile(str(proof))[attack], protocol=protocol)
    started = time.thread_time()
    with pytest.raises(UserError, match=r"asks to load '\w+\.\w+'.*nothing was run") as caught:
        read_generator(path)
    assert time.thread_time() - started < REFUSAL_SECONDS
    assert "\n" not in str(caught.value)
    assert not proof.exists()


def name(module_name: str, attribute: str) -> bytes:
    return b"c" + module_name.encode() + b"\n" + attribute.encode() + b"\n"


def text(value: str) -> bytes:
    return b"X" + struct.pack("<I", len(value)) + value.encode()


def bombs() -> dict[str, bytes]:
    load, long_text = name("torch.storage", "_load_from_bytes"), text("a" * (4 << 20))
    huge = b"\x80\x02((X\x07\x00\x00\x00storage" + name("torch", "FloatStorage") + text("0") + text("cpu")
    huge += pickle.dumps(10 * 2**30 // 4, 2)[2:-1] + b"NtQ."
    legacy = b"".join(pickle.dumps(v, 2) for v in (0x1950A86A20F9469CFC6C, 1001, {"little_endian": True})) + huge
    blob = b"B" + struct.pack("<I", len(legacy)) + legacy
    zipped = b"PK\x03\x04" + b"PK\x01\x02" * 30_000
    dtype = name("numpy", "dtype") + b")R"
    many = b"}(" + b"".join(text(str(i)) + b"N" for i in range(50_000)) + b"uq\x00"
    encode = name("_codecs", "encode") + b"h\x00" + text("latin1") + b"\x86R"
    colliding = b"".join(b"\x8a\x09" + (i * (2**61 - 1)).to_bytes(9, "little") + b"N" for i in range(1, 9))
    within = b"B" + struct.pack("<I", len(zipped)) + zipped + b"q\x00"
    return {
        "10 GB storage in a network": b"\x80\x04" + load + blob + b"\x85R.",
        "deep lists": b"\x80\x04" + b"]" * 140_000 + b"a" * 139_999 + b".",
        "deep tuples": b"\x80\x04)" + b"\x85" * 280_000 + b".",
        "endless": b"\x80\x04" + b"]" * (6 << 20) + b".",
        "list in itself": b"\x80\x04]q\x00h\x00a.",
        "dict in itself as G_ema": b"\x80\x04}q\x00" + text("G_ema") + b"h\x00s.",
        "doubling tuples": b"\x80\x02)" + b"".join(b"q\x00h\x00\x86" for _ in range(200)) + b".",
        "one text encoded again and again": b"\x80\x02(" + long_text + b"q\x00" + encode * 20_000 + b"t.",
        "one state built again and again": b"\x80\x02" + many + dtype + b"h\x00b" * 60_000 + b".",
        "colliding keys": b"\x80\x02}(" + colliding + b"u.",
        "zip of 30000 members": zipped,
        "zip within, again and again": b"\x80\x02(" + within + (load + b"h\x00\x85R") * 20_000 + b"t.",
        "TensorFlow's": b"\x80\x03" + name("dnnlib.tflib.network", "Network") + b")R.",
    }


@pytest.mark.parametrize("bomb", bombs())
def test_bombs_are_refused_at_once(tmp_path: Path, bomb: str) -> None:
    path = tmp_path / "network.pkl"
    path.write_bytes(bombs()[bomb])
    started = time.thread_time()
    with pytest.raises(UserError) as caught:
        read_generator(path)
    assert time.thread_time() - started < REFUSAL_SECONDS
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("keep", [0.001, 0.1, 0.5, 0.9, 0.999999])
def test_truncated_files_are_refused(tmp_path: Path, keep: float) -> None:
    official = write_official(tmp_path / "network.pkl", training_file(RAW)).read_bytes()
    torch.save(rosinality_checkpoint(RAW), tmp_path / "network.pt")
    for content in (official, (tmp_path / "network.pt").read_bytes()):
        (tmp_path / "cut").write_bytes(content[: int(len(content) * keep)])
        with pytest.raises(UserError):
            read_generator(tmp_path / "cut")
