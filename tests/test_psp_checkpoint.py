"""Files of pSp and e4e in every form they have been written in, files of others, and files that mean harm."""

from __future__ import annotations

import os
import pickle
import time
from argparse import Namespace
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

pytest.importorskip("torch", reason="needs the train extra")

import torch

from export.checkpoints.psp import EncoderCheckpoint, load_encoder, read_encoder
from models.errors import UserError
from models.files import sha256
from models.networks.psp_encoder import StyleEncoder
from tests.psp_networks import LAYERS, SIZE, STYLE_DIM, TINY, crops, published, tiny

pytestmark = pytest.mark.train

REFUSAL_SECONDS = 2.0  # of CPU time
State = dict[str, Any]


def read(path: Path) -> EncoderCheckpoint:
    return read_encoder(path, backbone=TINY, size=SIZE)


@pytest.fixture
def e4e() -> tuple[StyleEncoder, dict[str, Any]]:
    net = tiny("Encoder4Editing")
    return net, published(net, "Encoder4Editing")


@pytest.mark.parametrize("zipped", [True, False], ids=["zip", "legacy"])
@pytest.mark.parametrize("kind", ["Encoder4Editing", "GradualStyleEncoder", "BackboneEncoderUsingLastLayerIntoW"])
def test_a_file_gives_the_network_it_was_saved_from(tmp_path: Path, kind: str, zipped: bool) -> None:
    net = tiny(kind)
    content = published(net, kind)
    path = tmp_path / "encoder.pt"
    torch.save(content, path, _use_new_zipfile_serialization=zipped)
    checkpoint = read(path)
    assert (checkpoint.config.kind, checkpoint.config.layers, checkpoint.config.style_dim) == (
        kind,
        LAYERS,
        STYLE_DIM,
    )
    assert checkpoint.source == "encoder.pt" and checkpoint.sha256 == sha256(path)
    assert {array.dtype for array in checkpoint.weights.values()} == {np.dtype(np.float32)}
    loaded = load_encoder(checkpoint)
    assert torch.equal(loaded(crops()), net(crops()))
    assert not any(parameter.requires_grad for parameter in loaded.parameters())


def test_options_may_be_a_namespace(tmp_path: Path, e4e: tuple[StyleEncoder, dict[str, Any]]) -> None:
    _, content = e4e
    content["opts"] = Namespace(**content["opts"], parts=torch.device("cpu"))
    for zipped in (True, False):
        torch.save(content, tmp_path / "e4e.pt", _use_new_zipfile_serialization=zipped)
        assert read(tmp_path / "e4e.pt").config.kind == "Encoder4Editing"


def test_what_training_leaves_beside_the_encoder_is_let_pass(
    tmp_path: Path, e4e: tuple[StyleEncoder, dict[str, Any]]
) -> None:
    net, content = e4e
    rest = torch.nn.Linear(3, 3)
    optimizer = torch.optim.Adam(rest.parameters())
    rest(torch.ones(3)).sum().backward()
    optimizer.step()
    content |= {"global_step": 300, "best_val_loss": 0.25, "optimizer": optimizer.state_dict()}
    torch.save(content | {"discriminator_state_dict": rest.state_dict()}, tmp_path / "e4e.pt")
    assert torch.equal(load_encoder(read(tmp_path / "e4e.pt"))(crops()), net(crops()))


@pytest.mark.parametrize("shape", [(STYLE_DIM,), (1, STYLE_DIM), (LAYERS, STYLE_DIM)])
def test_mean_latent_may_be_one_row_or_all(
    tmp_path: Path, e4e: tuple[StyleEncoder, dict[str, Any]], shape: tuple[int, ...]
) -> None:
    _, content = e4e
    mean = content["latent_avg"] = torch.arange(float(np.prod(shape))).reshape(shape)
    torch.save(content, tmp_path / "e4e.pt")
    expected = np.broadcast_to(mean.numpy(), (LAYERS, STYLE_DIM))
    np.testing.assert_array_equal(read(tmp_path / "e4e.pt").latent_avg, expected)


@pytest.mark.parametrize(
    ("starts", "has", "used"),
    [(True, True, True), (False, True, False), (False, False, False), (None, True, True), (None, False, False)],
)
def test_mean_latent_is_used_if_the_options_say_so(
    tmp_path: Path, e4e: tuple[StyleEncoder, dict[str, Any]], starts: bool | None, has: bool, used: bool
) -> None:
    _, content = e4e
    mean = content["latent_avg"]
    if not has:
        del content["latent_avg"]
    content["opts"]["start_from_latent_avg"] = starts
    torch.save(content, tmp_path / "e4e.pt")
    np.testing.assert_array_equal(read(tmp_path / "e4e.pt").latent_avg, mean.numpy() * used)


def test_weights_may_be_float16_and_counters_missing(
    tmp_path: Path, e4e: tuple[StyleEncoder, dict[str, Any]]
) -> None:
    net, content = e4e
    state = content["state_dict"]
    content["state_dict"] = {name: tensor.half() for name, tensor in state.items() if "num_batches" not in name}
    assert len(content["state_dict"]) < len(state)
    torch.save(content, tmp_path / "e4e.pt")
    found = load_encoder(read(tmp_path / "e4e.pt"))(crops())
    np.testing.assert_allclose(found.numpy(), net(crops()).numpy(), atol=0.02)


def renamed(content: State, old: str, new: str) -> State:
    """The checkpoint with another beginning for some names of its state dict."""
    state = content["state_dict"]
    return content | {"state_dict": {new + k[len(old) :] if k.startswith(old) else k: v for k, v in state.items()}}


def without(content: State, part: str) -> State:
    state = content["state_dict"]
    return content | {"state_dict": {name: tensor for name, tensor in state.items() if part not in name}}


def replaced(content: State, **tensors: Any) -> State:  # noqa: ANN401 what a file may hold is anything
    """The checkpoint with other values; in their names, __ stands for a dot."""
    named = {f"encoder.{name.replace('__', '.')}": tensor for name, tensor in tensors.items()}
    return content | {"state_dict": content["state_dict"] | named}


FIRST = "input_layer__0__weight"
FITS_NOT: dict[str, tuple[Callable[[State], State], list[str]]] = {
    "missing": (lambda c: without(c, ".res_layer.2."), ["6 missing: body.0.res_layer.2.weight", "and 3 more"]),
    "unknown": (lambda c: replaced(c, extra__weight=torch.ones(2)), ["1 unknown: 'extra.weight'"]),
    "of another shape": (
        lambda c: replaced(c, latlayer1__bias=torch.ones(7)),
        ["1 of another shape: latlayer1.bias [7] in place of [48]"],
    ),
    "no weights": (
        lambda c: replaced(c, latlayer1__bias=torch.ones(48, dtype=torch.int64), latlayer2__bias="weights"),
        ["2 no weights: latlayer1.bias, latlayer2.bias"],
    ),
    "not finite": (
        lambda c: replaced(c, latlayer1__bias=torch.full((48,), torch.nan)),
        ["1 not finite: latlayer1.bias"],
    ),
    "several": (
        lambda c: replaced(without(c, "styles.4.linear"), **{"x" * 500 + f"\n{i}": torch.ones(1) for i in range(9)}),
        ["missing: ", "9 unknown: 'xxx", "and 6 more"],
    ),
}


@pytest.mark.parametrize("case", FITS_NOT)
def test_weights_must_be_the_networks_own(
    tmp_path: Path, e4e: tuple[StyleEncoder, dict[str, Any]], case: str
) -> None:
    spoil, expected = FITS_NOT[case]
    torch.save(spoil(e4e[1]), tmp_path / "e4e.pt")
    with pytest.raises(UserError) as refusal:
        read(tmp_path / "e4e.pt")
    message = str(refusal.value)
    assert len(message) < 800 and "\n" not in message
    for part in expected:
        assert part in message


OTHERS: dict[str, tuple[Callable[[State], Any], str]] = {
    "ReStyle": (
        lambda c: replaced(c, **{FIRST: torch.ones(16, 6, 3, 3)}) | {"opts": {"encoder_type": "BackboneEncoder"}},
        r"ReStyle encoder \('BackboneEncoder'\)",
    ),
    "sketches": (lambda c: replaced(c, **{FIRST: torch.ones(16, 1, 3, 3)}), "1 channels"),
    "another kind": (lambda c: c | {"opts": {"encoder_type": "ResNetEncoder"}}, "'ResNetEncoder'; expected one of"),
    "no kind": (lambda c: c | {"opts": {}}, "does not say which encoder"),
    "kind is no word": (lambda c: c | {"opts": {"encoder_type": [1]}}, "list as its option 'encoder_type'"),
    "no options": (lambda c: c | {"opts": None}, "does not say which encoder"),
    "SAM": (lambda c: c | {"opts": c["opts"] | {"start_from_encoded_w_plus": True}}, "another encoder's latents"),
    "further network": (
        lambda c: c | {"state_dict": c["state_dict"] | {"hypernet.0.weight": torch.ones(1)}},
        "beside an encoder and a decoder .'hypernet'",
    ),
    "generator": (lambda c: {"g_ema": {"input.input": torch.ones(1)}, "latent_avg": torch.ones(4)}, "StyleGAN2 gen"),
    "no encoder": (lambda c: without(c, "encoder."), "no encoder but decoder"),
    "backbone": (lambda c: {k[8:]: v for k, v in c["state_dict"].items() if k[0] == "e"}, "IR-SE50 alone"),
    "something else": (lambda c: {"model": {}, 7: 1}, "holds 'model', '7'"),
    "a tensor": (lambda c: torch.ones(3), "holds a ndarray"),
    "nothing": (lambda c: {"state_dict": {}}, "no encoder but nothing"),
    "rows": (lambda c: without(c, "styles.4."), "9 rows of W+"),
    "no mean": (lambda c: {k: v for k, v in c.items() if k != "latent_avg"}, "expected 'latent_avg'"),
    "mean of another width": (lambda c: c | {"latent_avg": torch.ones(512)}, r"latent_avg \[512\] in place of"),
}


@pytest.mark.parametrize("case", OTHERS)
def test_files_of_others_are_refused_by_what_they_are(
    tmp_path: Path, e4e: tuple[StyleEncoder, dict[str, Any]], case: str
) -> None:
    change, message = OTHERS[case]
    torch.save(change(e4e[1]), tmp_path / "file.pt")
    with pytest.raises(UserError, match=message) as refusal:
        read(tmp_path / "file.pt")
    assert "file.pt" in str(refusal.value) and "\n" not in str(refusal.value)


class Harm:
    """Runs a command when Python's own unpickler reads it."""

    def __init__(self, function: Callable[..., object], *arguments: object) -> None:
        self.made = function, arguments

    def __reduce__(self) -> tuple[Callable[..., object], tuple[object, ...]]:
        return self.made


def harmful(content: State, marker: Path) -> dict[str, Any]:
    """Checkpoints that would write `marker`, or fill the memory."""
    endless = torch.zeros(1).expand(1 << 20, 1 << 20)
    flat = {name: torch.zeros(()).expand(tensor.shape) for name, tensor in content["state_dict"].items()}
    return {
        "option": content | {"opts": content["opts"] | {"exp_dir": Harm(os.system, f"touch {marker}")}},
        "options": content | {"opts": Harm(eval, f"open({str(marker)!r}, 'w')")},
        "weight": replaced(content, latlayer1__bias=Harm(os.system, f"touch {marker}")),
        "namespace": content | {"opts": Namespace(of=Namespace(of=Harm(os.system, f"touch {marker}")))},
        "endless weight": replaced(content, latlayer1__weight=endless),
        "endless mean": content | {"latent_avg": endless},
        "endless weights": content | {"state_dict": flat},
    }


@pytest.mark.parametrize("zipped", [True, False], ids=["zip", "legacy"])
@pytest.mark.parametrize("case", harmful({"opts": {}, "state_dict": {}}, Path()))
def test_harm_is_refused_at_once_and_nothing_runs(
    tmp_path: Path, e4e: tuple[StyleEncoder, dict[str, Any]], case: str, zipped: bool
) -> None:
    marker = tmp_path / "harmed"
    path = tmp_path / "e4e.pt"
    torch.save(harmful(e4e[1], marker)[case], path, _use_new_zipfile_serialization=zipped)
    start = time.process_time()
    with pytest.raises(UserError, match=r"e4e\.pt"):
        read(path)
    assert time.process_time() - start < REFUSAL_SECONDS
    assert not marker.exists()


@pytest.mark.parametrize("zipped", [True, False], ids=["zip", "legacy"])
def test_a_file_cut_short_is_refused(tmp_path: Path, e4e: tuple[StyleEncoder, dict[str, Any]], zipped: bool) -> None:
    path = tmp_path / "e4e.pt"
    torch.save(e4e[1], path, _use_new_zipfile_serialization=zipped)
    whole = path.read_bytes()
    for length in np.linspace(0, len(whole) - 1, 12).astype(int):
        path.write_bytes(whole[:length])
        with pytest.raises(UserError, match=r"e4e\.pt"):
            read(path)


def test_a_plain_pickle_is_refused(tmp_path: Path, e4e: tuple[StyleEncoder, dict[str, Any]]) -> None:
    path = tmp_path / "e4e.pt"
    path.write_bytes(pickle.dumps({"state_dict": {}, "opts": e4e[1]["opts"]}))
    with pytest.raises(UserError, match=r"e4e\.pt"):
        read(path)
