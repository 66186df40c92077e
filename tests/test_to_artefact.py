"""Exporting networks: tiny ones, written by the real exporter and run by the real engines."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

torch = pytest.importorskip("torch")

import onnx  # noqa: E402 - brought by the same extra
import onnxruntime as ort  # noqa: E402
from onnx import TensorProto, helper, numpy_helper  # noqa: E402
from torch import Tensor, nn  # noqa: E402

from export import half, networks, parity, to_artefact  # noqa: E402
from export.__main__ import main  # noqa: E402
from export.checkpoints import GeneratorCheckpoint  # noqa: E402
from export.networks import Network  # noqa: E402
from export.to_artefact import Choices, put_in_place, write_artefact  # noqa: E402
from models import artefact  # noqa: E402
from models.arrays import F32  # noqa: E402
from models.engine import Unavailable  # noqa: E402
from models.errors import UserError  # noqa: E402
from models.files import sha256  # noqa: E402
from models.manifest import Source  # noqa: E402
from models.networks.stylegan2 import Mapping, Modulate, StyleGAN2Config, Synthesis  # noqa: E402
from models.nvidia import cuda_device  # noqa: E402
from tests.stylegan2_files import official_generator, write_official  # noqa: E402
from tests.stylegan2_reference import random_raw  # noqa: E402

CONFIG = StyleGAN2Config(16, z_dim=12, w_dim=16, channel_base=256, channel_max=24, mapping_layers=2)
SHAPE = (8, 6, 16)  # of the plain networks below: side, rows of W+, entries of a row
SOURCE = Source("tiny.pt", "0" * 64)
STATISTICS = (np.zeros(16, np.float32), np.ones(16, np.float32))


@pytest.fixture(scope="module")
def checkpoint() -> GeneratorCheckpoint:
    """A StyleGAN2 generator of 16 px with random weights."""
    torch.manual_seed(0)
    state = {
        net: {name: tensor.numpy().copy() for name, tensor in net(CONFIG).state_dict().items()}
        for net in (Synthesis, Mapping)
    }
    for name, values in state[Synthesis].items():
        if name.endswith("noise_strength"):
            values[...] = 0.1
    mean_w = np.full(CONFIG.w_dim, 0.1, np.float32)
    return GeneratorCheckpoint(CONFIG, state[Synthesis], state[Mapping], mean_w, "tiny.pkl", "1" * 64)


class Decoder(nn.Module):  # type: ignore[misc]  # torch has no types here
    """W+ -> picture: a dense layer and two convolutions, whose scales can be made too large for float16."""

    def __init__(self, between: float = 1.0) -> None:
        super().__init__()
        torch.manual_seed(1)
        self.dense = nn.Linear(6 * 16, 8 * 8 * 8)
        self.first = nn.Conv2d(8, 16, 3, padding=1)
        self.second = nn.Conv2d(16, 3, 3, padding=1)
        self.between = between

    def forward(self, w_plus: Tensor) -> Tensor:  # noqa: D102 - described by the class
        x = self.dense(w_plus.flatten(1)).reshape(-1, 8, 8, 8)
        x = torch.relu(self.first(x)) * self.between * self.between
        return torch.tanh(self.second(x / self.between / self.between))


def plain(net: nn.Module) -> Network:
    """A network for the decoder above."""

    def fresh(rng: np.random.Generator, count: int) -> dict[str, F32]:
        return {"w_plus": rng.standard_normal((count, *SHAPE[1:])).astype(np.float32)}

    net.eval().requires_grad_(False)
    return networks.generator_network(net, SHAPE, fresh, SOURCE, STATISTICS, "none")


def run_onnx(graph: Path | onnx.ModelProto, feeds: dict[str, F32]) -> F32:
    """One output of a graph in ONNX Runtime."""
    content = str(graph) if isinstance(graph, Path) else graph.SerializeToString()
    session = ort.InferenceSession(content, providers=["CPUExecutionProvider"])
    return np.asarray(session.run(None, feeds)[0])


def test_a_generator_and_its_mapping_network_run_at_any_batch(
    checkpoint: GeneratorCheckpoint, tmp_path: Path
) -> None:
    for network in networks.from_generator(checkpoint):
        written = write_artefact(network, Choices("onnx"), tmp_path)
        read = artefact.read(tmp_path / f"{network.kind}.onnx")
        assert read == written
        assert (read.source, read.batch) == (Source("tiny.pkl", "1" * 64), None)
        assert {(row.engine, row.batch) for row in read.parity} == {
            (f"{engine} CPU", batch) for engine in ("openvino", "onnxruntime") for batch in (1, 3)
        }
        for batch in (3, 5):
            feeds = network.fresh(np.random.default_rng(batch), batch)
            expected = network.reference(feeds)
            for run in (parity.open_openvino(read.graph), parity.open_onnxruntime(read.graph)):
                np.testing.assert_allclose(run(feeds), expected, atol=1e-4 * np.ptp(expected))
    mean_w, std_w = artefact.read_statistics(artefact.read(tmp_path / "generator.onnx"))
    np.testing.assert_array_equal(mean_w, checkpoint.mean_w)
    z = np.random.default_rng(9).standard_normal((4000, CONFIG.z_dim)).astype(np.float32)
    w = run_onnx(tmp_path / "mapping.onnx", {"z": z})
    np.testing.assert_allclose(std_w, w.std(0), rtol=0.1)


def test_a_published_file_becomes_artefacts(tmp_path: Path) -> None:
    file = write_official(tmp_path / "tiny.pkl", {"G_ema": official_generator(random_raw())})
    assert main(["onnx", str(file), "--noise", "none", "--out", str(tmp_path / "out")]) == 0
    generator, mapping = (artefact.read(tmp_path / "out" / f"{kind}.onnx") for kind in ("generator", "mapping"))
    assert generator.source == mapping.source == Source("tiny.pkl", sha256(file))
    assert generator.options["noise"] == "none"
    w = run_onnx(mapping.graph, {"z": np.ones((2, int(mapping.inputs["z"].shape[1])), np.float32)})
    pictures = run_onnx(generator.graph, {"w_plus": np.repeat(w[:, None], generator.layers, 1)})
    assert pictures.shape == (2, 3, generator.size, generator.size)
    assert np.ptp(pictures) > 0.1


def test_openvinos_own_format_is_a_graph_and_its_weights(checkpoint: GeneratorCheckpoint, tmp_path: Path) -> None:
    generator = networks.from_generator(checkpoint)[0]
    write_artefact(generator, Choices("openvino"), tmp_path)
    names = {"generator.xml", "generator.bin", "generator-w.npz", "generator.json"}
    assert {path.name for path in tmp_path.iterdir()} == names
    read = artefact.read(tmp_path / "generator.xml")
    assert set(read.data) == {"generator.bin", "generator-w.npz"}
    feeds = generator.fresh(np.random.default_rng(1), 3)
    np.testing.assert_allclose(parity.open_openvino(read.graph)(feeds), generator.reference(feeds), atol=1e-3)


def test_a_fixed_batch_is_that_and_no_other(tmp_path: Path) -> None:
    network = plain(Decoder())
    write_artefact(network, Choices("onnx", batch=2), tmp_path)
    read = artefact.read(tmp_path / "generator.onnx")
    assert read.batch == 2
    assert {row.batch for row in read.parity} == {2}
    run = parity.open_onnxruntime(read.graph)
    feeds = network.fresh(np.random.default_rng(1), 2)
    np.testing.assert_allclose(run(feeds), network.reference(feeds), atol=1e-5)
    with pytest.raises(Exception, match="Got: 3 Expected: 2"):
        run(network.fresh(np.random.default_rng(1), 3))


def test_both_forms_of_modulation_are_the_same_network(checkpoint: GeneratorCheckpoint) -> None:
    forms: tuple[Modulate, ...] = ("activations", "weights")
    first, second = (networks.from_generator(checkpoint, modulate=form)[0] for form in forms)
    feeds = first.fresh(np.random.default_rng(1), 1)
    np.testing.assert_allclose(run_onnx(second.graph(), feeds), run_onnx(first.graph(), feeds), atol=1e-4)


def test_large_weights_lie_in_a_file_of_their_own_that_is_checked_too(tmp_path: Path) -> None:
    written = write_artefact(plain(Decoder()), Choices("onnx"), tmp_path, external_from=1)
    assert "generator.onnx.data" in written.data
    weights = tmp_path / "generator.onnx.data"
    content = bytearray(weights.read_bytes())
    content[100] ^= 1
    weights.write_bytes(content)
    with pytest.raises(UserError, match=r"generator\.onnx\.data is not the file"):
        artefact.read(tmp_path / "generator.onnx")


def wrong(network: Network, change: Callable[[F32], F32]) -> Network:
    """A network whose graph does not compute what it is compared with."""
    return replace(network, reference=lambda feeds: change(network.reference(feeds)))


@pytest.mark.parametrize("to", ["onnx", "openvino"])
def test_an_export_that_is_wrong_leaves_nothing(to: str, tmp_path: Path) -> None:
    network = wrong(plain(Decoder()), lambda image: image + np.float32(0.01))
    out = tmp_path / "deep" / "out"
    with pytest.raises(UserError, match=r"off by up to .* not written"), put_in_place(out) as work:
        write_artefact(network, Choices(to), work)
    assert list(tmp_path.iterdir()) == []


def test_an_export_that_is_wrong_leaves_an_earlier_one_as_it_was(tmp_path: Path) -> None:
    out = tmp_path / "out"
    network = plain(Decoder())
    with put_in_place(out) as work:
        write_artefact(network, Choices("onnx"), work)
    before = {path.name: path.read_bytes() for path in out.iterdir()}
    spoilt = wrong(network, lambda image: np.full_like(image, 0.5))
    with pytest.raises(UserError, match="not written"), put_in_place(out) as work:
        write_artefact(spoilt, Choices("onnx"), work)
    assert {path.name: path.read_bytes() for path in out.iterdir()} == before
    assert list(tmp_path.iterdir()) == [out]


def test_another_format_is_not_written_over_a_manifest(tmp_path: Path) -> None:
    write_artefact(plain(Decoder()), Choices("onnx"), tmp_path)
    with pytest.raises(UserError, match=r"already has generator\.onnx"):
        to_artefact.refuse_others(tmp_path, ["mapping", "generator"], "openvino")
    to_artefact.refuse_others(tmp_path, ["generator"], "onnx")


def test_float16_keeps_what_would_overflow_in_float32_and_says_which(tmp_path: Path) -> None:
    network = plain(Decoder(between=1e3))
    prepared = half.prepared(network.graph())
    feeds = network.fresh(np.random.default_rng(1), 3)
    expected = network.reference(feeds)
    written = write_artefact(network, Choices("onnx", "float16"), tmp_path)
    report = written.report["float32"]
    assert isinstance(report, dict)
    outside = report["beyond float16"]
    assert isinstance(outside, dict)
    names = [node.name for node in prepared.graph.node]
    assert list(outside) == [name for name in names if name in ("/Mul_1", "/Div")]
    graph = onnx.load(written.graph)
    kinds = {i.name: i.data_type for i in graph.graph.initializer}
    assert kinds["first.weight.half"] == TensorProto.FLOAT16
    assert "first.weight" not in kinds
    ports = (*graph.graph.input, *graph.graph.output)
    assert {port.type.tensor_type.elem_type for port in ports} == {TensorProto.FLOAT}
    np.testing.assert_allclose(run_onnx(written.graph, feeds), expected, atol=0.01)
    assert {row.engine for row in written.parity} == {"openvino CPU", "onnxruntime CPU", "float16 simulated"}
    assert all(row.psnr_db is not None and 40 < row.psnr_db < 110 for row in written.parity)


def test_simulated_float16_rounds_as_float16_does() -> None:
    ports = [helper.make_tensor_value_info(name, TensorProto.FLOAT, ["N", 4]) for name in ("x", "y")]
    factor = numpy_helper.from_array(np.array([1.0001, 3, 0.1, 7], np.float32), "factor")
    nodes = [helper.make_node("Mul", ["x", "factor"], ["m"], "m"), helper.make_node("Sqrt", ["m"], ["y"], "s")]
    graph = helper.make_graph(nodes, "g", ports[:1], ports[1:], [factor])
    model = half.prepared(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8))
    x = np.random.default_rng(0).uniform(0.01, 99, (100, 4)).astype(np.float32)
    found = run_onnx(half.simulated(model, ()), {"x": x})
    product = x.astype(np.float16) * numpy_helper.to_array(factor).astype(np.float16)
    np.testing.assert_array_equal(found, np.sqrt(product.astype(np.float32)).astype(np.float16).astype(np.float32))
    np.testing.assert_array_equal(run_onnx(half.simulated(model, ("m", "s")), {"x": x}), run_onnx(model, {"x": x}))


def test_float16_of_a_real_generator_is_near_and_smaller(checkpoint: GeneratorCheckpoint, tmp_path: Path) -> None:
    generator = networks.from_generator(checkpoint)[0]
    written = write_artefact(generator, Choices("onnx", "float16"), tmp_path)
    assert {node.op_type for node in onnx.load(written.graph).graph.node} >= {"Cast", "ConvTranspose"}
    assert all(row.psnr_db is not None and row.psnr_db > 45 for row in written.parity)


def test_a_constant_that_float16_rounds_to_nothing_keeps_its_node_in_float32() -> None:
    ports = [helper.make_tensor_value_info(name, TensorProto.FLOAT, ["N", 4]) for name in ("x", "y")]
    tiny = numpy_helper.from_array(np.full(4, 1e-8, np.float32), "tiny")
    nodes = [
        helper.make_node("Mul", ["x", "x"], ["square"], "square"),
        helper.make_node("Add", ["square", "tiny"], ["sum"], "sum"),
        helper.make_node("Reciprocal", ["sum"], ["y"], "reciprocal"),
    ]
    graph = helper.make_graph(nodes, "g", ports[:1], ports[1:], [tiny])
    model = half.prepared(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8))
    found = half.peaks(model, [{"x": np.full((1, 4), 0.5, np.float32)}])
    assert found["square"] == pytest.approx(0.25)
    assert set(half.beyond(model, found, 4.0)) == {"sum"}
    # 1 / (0 + 1e-8) itself is beyond float16.
    found = half.peaks(model, [{"x": np.zeros((1, 4), np.float32)}])
    assert set(half.beyond(model, found, 4.0)) == {"sum", "reciprocal"}


def test_an_exported_network_can_be_exported_again(tmp_path: Path) -> None:
    network = plain(Decoder())
    write_artefact(network, Choices("onnx"), tmp_path)
    first = tmp_path / "generator.onnx"
    out = tmp_path / "again"
    assert main(["openvino", str(first), "--out", str(out)]) == 0
    read = artefact.read(out / "generator.xml")
    assert read.source == Source("generator.onnx", sha256(first))
    feeds = network.fresh(np.random.default_rng(1), 3)
    np.testing.assert_allclose(parity.open_openvino(read.graph)(feeds), network.reference(feeds), atol=1e-5)
    assert main(["onnx", str(out / "generator.xml"), "--out", str(tmp_path / "third")]) == 2
    assert not (tmp_path / "third").exists()


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["onnx", "no-such.pkl"], "no-such.pkl does not exist"),
        (["onnx", "default", "--batch", "0"], "--batch 0"),
        (["openvino", "no-such.onnx"], "no-such.onnx does not exist"),
        (["quantise", "no-such.onnx"], "no-such.onnx does not exist"),
        (["quantise", "encoder", "--samples", "0"], "--samples 0"),
    ],
)
def test_a_mistake_is_one_line_and_nothing_is_written(
    arguments: list[str], said: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main([*arguments, "--out", str(tmp_path / "out")]) == 2
    error = capsys.readouterr().err
    assert said in error
    assert error.count("\n") == 1
    assert list(tmp_path.iterdir()) == []


def test_a_file_that_is_no_checkpoint_is_one_line(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    file = tmp_path / "notes.pt"
    file.write_text("not a network")
    assert main(["onnx", str(file), "--out", str(tmp_path / "out")]) == 2
    error = capsys.readouterr().err
    assert "notes.pt" in error
    assert error.count("\n") == 1
    assert list(tmp_path.iterdir()) == [file]


def test_tensorrt_without_a_gpu_says_so_and_writes_nothing(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    try:
        cuda_device.find_gpu()
    except Unavailable:
        pass
    else:
        pytest.skip("this machine has a GPU")
    assert main(["tensorrt", "default", "--out", str(tmp_path / "out")]) == 2
    error = capsys.readouterr().err
    assert "TensorRT engines cannot be built here" in error
    assert error.count("\n") == 1
    assert list(tmp_path.iterdir()) == []
