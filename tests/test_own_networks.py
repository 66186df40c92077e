"""The application with networks of the user's own, from the command line to the report."""

from __future__ import annotations

import json
from pathlib import Path

import cv2
import numpy as np
import pytest

from live.__main__ import main
from live.render import MODES
from models import artefact
from models.arrays import U8
from tests.exported import TINY, TINY_SIZE, export_tiny

ROOT = Path(__file__).parents[1]


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory, astronaut: U8) -> Path:
    """A folder with `own` networks, their `directions`, and a `face.png`."""
    root = tmp_path_factory.mktemp("own")
    export_tiny(root / "own")
    (root / "directions").mkdir()
    rng = np.random.default_rng(0)
    for name in ("grin", "frown"):
        np.save(root / "directions" / f"{name}.npy", rng.standard_normal((10, 64)))
    cv2.imwrite(str(root / "face.png"), astronaut[:, :, ::-1])
    return root


@pytest.fixture
def here(folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The current folder, empty."""
    monkeypatch.chdir(tmp_path)
    return tmp_path


def own(folder: Path, *more: str) -> list[str]:
    networks = ["--generator", f"{folder}/own/generator.xml", "--encoder", f"{folder}/own"]
    return [*networks, "--directions", f"{folder}/directions", *more]


@pytest.mark.parametrize("mode", MODES)
def test_every_mode_runs_and_the_report_names_the_networks(folder: Path, here: Path, mode: str) -> None:
    asked = [
        "--mode",
        mode,
        "--direction",
        "grin=2",
        "--source",
        f"{folder}/face.png",
        "--frames",
        "3",
        "--on-lost",
        "pass",
    ]
    assert main(own(folder, *asked, "--output", "out.avi", "--report", "report.json")) == 0
    report = json.loads((here / "report.json").read_text(encoding="utf-8"))
    assert (report["frames"]["shown"], report["frames"]["without_face"], report["size"]) == (3, 0, TINY_SIZE)
    models = {model["name"]: model["sha256"] for model in report["models"]}
    for kind in ("generator", "encoder"):
        manifest = artefact.read(folder / "own" / f"{kind}.json")
        assert models[kind] == manifest.sha256
        assert models[f"{kind}: {kind}.bin"] == manifest.data[f"{kind}.bin"]
        assert models[f"{kind}, made from somebody.pt"] == manifest.source.sha256
    assert not {"synthesis-bin", "landmark regressor"} & models.keys()
    given, (last,) = cv2.imread(f"{folder}/face.png"), frames(here / "out.avi")[2:]
    assert given is not None
    face = slice(80, 170), slice(180, 265)
    changed = np.abs(given[face].astype(int) - last[face]).mean()
    # No face is found in noise, so nothing is transferred; the other two modes show the noise itself.
    assert changed < 8 if mode == "transfer" else changed > 20, changed


def frames(film: Path) -> list[U8]:
    capture = cv2.VideoCapture(str(film))
    found: list[U8] = []
    while True:
        given, bgr = capture.read()
        if not given:
            return found
        found.append(np.asarray(bgr, np.uint8))


def test_a_demo_drawn_by_a_generator_of_no_faces_ends_well(folder: Path, here: Path) -> None:
    asked = ["--source", "demo", "--frames", "2", "--output", "out.avi", "--report", "report.json"]
    assert main(own(folder, *asked)) == 0
    report = json.loads((here / "report.json").read_text(encoding="utf-8"))
    assert report["frames"]["without_face"] == 2


@pytest.mark.train
def test_a_stylegan2_that_was_exported_draws_the_demo_and_runs(folder: Path, here: Path) -> None:
    torch = pytest.importorskip("torch")
    from export import networks
    from export.checkpoints import GeneratorCheckpoint
    from export.to_artefact import Choices, write_artefact
    from models.networks.stylegan2 import Mapping, StyleGAN2Config, Synthesis

    config = StyleGAN2Config(64, z_dim=32, w_dim=64, channel_base=512, channel_max=16, mapping_layers=2)
    torch.manual_seed(0)
    synthesis, mapping = (
        {name: tensor.numpy() for name, tensor in net(config).state_dict().items()} for net in (Synthesis, Mapping)
    )
    mean_w = np.zeros(64, np.float32)
    checkpoint = GeneratorCheckpoint(config, synthesis, mapping, mean_w, "random.pkl", "1" * 64)
    (here / "made").mkdir()
    for network in networks.from_generator(checkpoint):
        write_artefact(network, Choices("onnx"), here / "made")
    networks_given = ["--generator", "made", "--encoder", f"{folder}/own", "--deform", "fine"]
    assert main([*networks_given, "--source", "demo", "--frames", "2", "--output", "null"]) == 0
    still = ["--source", f"{folder}/face.png", "--mode", "portrait", "--frames", "2"]
    assert main([*networks_given, *still, "--output", "out.avi", "--report", "report.json"]) == 0
    report = json.loads((here / "report.json").read_text(encoding="utf-8"))
    assert (report["frames"]["shown"], report["frames"]["without_face"], report["size"]) == (2, 0, 64)
    assert "generator, made from random.pkl" in {model["name"] for model in report["models"]}


def test_the_list_of_directions_is_that_of_the_keys(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(own(folder, "--list", "directions")) == 0
    assert [line.split()[0] for line in capsys.readouterr().out.splitlines()] == ["frown", "grin"]


def test_the_doctor_looks_at_the_networks_given(folder: Path, here: Path, capsys: pytest.CaptureFixture[str]) -> None:
    main(["doctor", *own(folder)])
    lines = capsys.readouterr().out.splitlines()
    manifest = artefact.read(folder / "own" / "generator.json")
    assert any(
        line.startswith(f"ok   generator: {TINY_SIZE} px, sha256 {manifest.sha256}") and "somebody.pt" in line
        for line in lines
    )
    assert "ok   effects: frown, grin, deform" in lines


BAD = {
    "no such file": ("--generator none.onnx --encoder {own}", "does not exist"),
    "no manifest": ("--generator {root}/face.png --encoder {own}", "has no manifest"),
    "generator alone": ("--generator {own}", "give an --encoder made for it"),
    "encoder alone": ("--encoder {own}", f"latents of {TINY}, but the default generator takes 18 x 512"),
    "encoder as generator": ("--generator {own}/encoder.xml --encoder {own}", "expected a generator"),
    "another size": ("--generator {own} --encoder {own} --size 256", f"makes {TINY_SIZE} px and nothing else"),
    "shipped direction": ("--generator {own} --encoder {own} --direction smile", "unknown direction 'smile'"),
    "directions of another W": ("--directions {root}/directions", r"has shape [10, 64]; expected one of [512]"),
    "no folder of directions": ("--directions none", "cannot read the folder of directions none"),
    "layers": ("--generator {own} --encoder {own} --deform 4-12", "this generator has the layers 0 to 9"),
    "identity": ("--generator {own} --encoder {own} --identity me", "--identity goes with the default generator"),
    "settle": ("--generator {own} --encoder {own} --settle --live", "--settle needs the gradient graph"),
    "enrol": ("enrol --generator {own}", "enrol takes no --generator"),
    "engine": ("--generator {own} --encoder {own} --engine onnxruntime", "no engine runs"),
}


@pytest.mark.parametrize(("arguments", "said"), BAD.values(), ids=BAD.keys())
def test_a_mismatch_is_one_clear_line_and_exit_code_2(
    folder: Path, here: Path, capfd: pytest.CaptureFixture[str], arguments: str, said: str
) -> None:
    given = arguments.format(own=folder / "own", root=folder).split()
    if given[0] != "enrol":
        given += ["--source", f"{folder}/face.png", "--output", "out.mp4"]
    assert main(given) == 2
    (line,) = capfd.readouterr().err.splitlines()
    assert line.startswith("morphcam: ") and said in line
    assert list(here.iterdir()) == []
