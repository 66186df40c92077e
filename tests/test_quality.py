"""The fast quality: whose pictures it draws, and that the application runs with it."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest

from live.__main__ import main
from live.loading import load_models
from models.alignment import to_rgb
from models.directions import load_direction
from models.files import sha256
from models.landmarker import BLENDSHAPES, Landmarker
from models.latent import broadcast, mean_w, move
from models.zoo import SHIPPED, STUDENT_SIZE, Generator, load_generator, load_student
from tests.pictures import FAST, assert_close

SMILE = [BLENDSHAPES.index(name) for name in ("mouthSmileLeft", "mouthSmileRight")]


@pytest.fixture(scope="module")
def fast() -> Generator:
    return load_student("onnxruntime")


def test_it_is_the_same_face_that_does_the_same(fast: Generator, landmarker_model: Path) -> None:
    full = load_generator(STUDENT_SIZE, "onnxruntime")
    plain = broadcast(mean_w()[None])
    stern = move(plain, load_direction("smile").vector[0], -2)
    smiling = move(plain, load_direction("smile").vector[0], 2)
    smiles = []
    with Landmarker(landmarker_model) as landmarker:
        for w_plus in (stern, plain, smiling):
            pictures = [to_rgb(generator.synthesize(w_plus)) for generator in (full, fast)]
            assert_close(*pictures, psnr=FAST)
            theirs, ours = (landmarker.detect(rgb)[0] for rgb in pictures)
            assert np.linalg.norm(theirs.landmarks - ours.landmarks, axis=1).mean() < 0.01 * STUDENT_SIZE
            smiles.append([float(face.blendshapes[SMILE].mean()) for face in (theirs, ours)])
    changes = np.diff(np.array(smiles)[[0, 2]], axis=0)[0]
    assert changes[1] == pytest.approx(changes[0], abs=0.15)
    assert changes[0] > 0.5


def test_it_takes_the_place_of_the_full_one_at_its_size_alone() -> None:
    student = sha256(SHIPPED / f"student-{STUDENT_SIZE}.onnx")
    models = load_models(512, "onnxruntime", quality="fast")
    assert models.generator.size == 512
    assert models.generator_of(STUDENT_SIZE).sha256 == student
    models.close()
    full = load_models(STUDENT_SIZE, "onnxruntime")
    assert full.generator.sha256 != student
    full.close()


def test_the_application_says_whose_pictures_it_drew(tmp_path: Path) -> None:
    report = tmp_path / "report.json"
    asked = ["--source", "demo", "--output", str(tmp_path / "out.mp4"), "--direction", "smile", "--mode", "portrait"]
    assert main([*asked, "--quality", "fast", "--frames", "4", "--report", str(report)]) == 0
    told = json.loads(report.read_text(encoding="utf-8"))
    generators = [model["sha256"] for model in told["models"] if model["name"] == "generator"]
    assert generators == [sha256(SHIPPED / f"student-{STUDENT_SIZE}.onnx")]
    assert told["frames"]["shown"] == 4


def test_who_could_draw_faster_is_told_once(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    asked = ["--source", "demo", "--output", "null", "--frames", "1"]
    assert main([*asked, "--engine", "openvino"]) == 0
    told = capfd.readouterr().out
    computes_bfloat16 = "bfloat16" in told.partition("engine: ")[2].partition("\n")[0]
    assert told.count("--quality fast") == (0 if computes_bfloat16 else 1)
    assert main([*asked, "--engine", "openvino", "--quality", "fast"]) == 0
    assert "--quality fast" not in capfd.readouterr().out
