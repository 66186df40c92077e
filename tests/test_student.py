"""The student: what it starts from, what it learns by, and that what is shipped draws what the teacher draws."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

torch = pytest.importorskip("torch", reason="needs the train extra")
pytest.importorskip("onnx", reason="needs the train extra")

from export import train_student  # noqa: E402
from export.default_generator import load_network  # noqa: E402
from export.narrow_draw import from_narrowed, up_to_narrowed  # noqa: E402
from export.pool import open_pool  # noqa: E402
from export.prune import pruned  # noqa: E402
from export.sampling import sample_w_plus  # noqa: E402
from export.train_heads import psnr  # noqa: E402
from export.train_student import LEAST, loss_of  # noqa: E402
from export.training_input import HELD_OUT  # noqa: E402
from models import ir, registry, zoo  # noqa: E402
from models.errors import UserError  # noqa: E402
from models.latent import mean_w  # noqa: E402
from models.networks import mobile_stylegan as ms  # noqa: E402
from models.networks.student import CHANNELS, SIZE, load_student, reads_published  # noqa: E402

pytestmark = pytest.mark.train


@pytest.fixture(scope="module")
def teacher() -> Any:  # noqa: ANN401 - torch has no types here
    return load_network(SIZE, zoo.SHIPPED / "heads")


@pytest.fixture(scope="module")
def student() -> Any:  # noqa: ANN401
    return load_student(ir.read(registry.path("synthesis-xml")), zoo.SHIPPED / "student.npz")


@pytest.fixture(scope="module")
def faces() -> Any:  # noqa: ANN401
    mapping = zoo.load_mapping("onnxruntime")
    return torch.from_numpy(sample_w_plus(np.random.default_rng(31), 6, mapping.map, mean_w()))


def test_what_keeps_all_its_channels_is_the_teacher(teacher: Any, faces: Any) -> None:  # noqa: ANN401
    with torch.no_grad():
        copy = pruned(teacher, faces[:1], ms.BLOCK_CHANNELS[: len(CHANNELS)])
        torch.testing.assert_close(copy(faces[2:3]), teacher(faces[2:3]), rtol=0, atol=1e-3)


def test_fewer_channels_start_near_the_teacher(teacher: Any, faces: Any) -> None:  # noqa: ANN401
    with torch.no_grad():
        start = pruned(teacher, faces[:3])
        image, wanted = (net(faces[4:5]).numpy() for net in (start, teacher))
    blank = np.full_like(wanted, wanted.mean())
    assert psnr(image, wanted) > psnr(blank, wanted) + 4
    theirs = teacher.state_dict()
    for name, value in start.state_dict().items():
        if reads_published(name):
            torch.testing.assert_close(value, theirs[name], rtol=0, atol=0, msg=name)


def test_what_is_compiled_for_training_is_the_network(student: Any, faces: Any) -> None:  # noqa: ANN401
    with torch.no_grad():
        found = from_narrowed(student, up_to_narrowed(student, faces[:2]), faces[:2])
        torch.testing.assert_close(found, student(faces[:2]), rtol=1e-4, atol=1e-4)


def test_an_error_counts_by_the_face_it_is_in_and_not_where_the_picture_was_clipped() -> None:
    wanted = torch.zeros(2, 3, 8, 8)
    wanted[1] = 1.0
    image = torch.stack([torch.full((3, 8, 8), 0.1), torch.full((3, 8, 8), 1.7)])
    assert float(loss_of(image, wanted)) == pytest.approx((np.log(0.01 + LEAST) + np.log(LEAST)) / 2, rel=1e-4)
    flicker = image.clone()
    flicker[0, :, ::2] -= 0.2  # the same squares, as edges
    assert float(loss_of(flicker, wanted)) > float(loss_of(image, wanted)) + 0.3


@pytest.mark.parametrize("engine", ["openvino", "onnxruntime"])
def test_the_shipped_graph_is_the_shipped_student(engine: str, student: Any, faces: Any) -> None:  # noqa: ANN401
    image = zoo.load_student(engine, "float32").synthesize(faces[:1].numpy())
    with torch.no_grad():
        np.testing.assert_allclose(image, student(faces[:1]).numpy(), atol=1e-3)


def test_the_student_draws_what_the_teacher_draws(teacher: Any, student: Any, faces: Any) -> None:  # noqa: ANN401
    with torch.no_grad():
        ratios = [psnr(student(face[None]).numpy(), teacher(face[None]).numpy()) for face in faces]
    assert np.mean(ratios) > 29.5
    assert np.min(ratios) > 25


def test_a_generator_is_as_good_as_itself(faces: Any) -> None:  # noqa: ANN401
    pytest.importorskip("dlib")
    from export.enrol_report import EDITS
    from export.measure import Meter
    from export.student_report import compare

    full = zoo.load_generator(SIZE, "onnxruntime")
    with Meter() as meter:
        figures = compare(faces[:1].numpy(), full, full, meter)
    assert (figures["faces"], figures["identity_distance"], figures["landmarks_of_eye_distance"]) == (1, 0, 0)
    assert all(effect["full"] == effect["fast"] for effect in figures["effects"].values())
    assert set(figures["effects"]) <= set(EDITS) and figures["effects"]


def test_multiplications_are_less_than_half(teacher: Any, student: Any) -> None:  # noqa: ANN401
    from export.speed import matrix_products

    totals = [
        sum(rows.numel() * columns.shape[1] for rows, columns in matrix_products(net)) for net in (student, teacher)
    ]
    assert totals[0] < 0.5 * totals[1]


def test_training_goes_on_where_it_stopped(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, faces: Any) -> None:  # noqa: ANN401
    count = HELD_OUT + train_student.START_FACES + 1
    pool = open_pool(tmp_path / "pool", count, pictures=True)
    pool.latents[:] = faces[:1].numpy()
    pool.count(count)
    monkeypatch.setattr(train_student, "COMPARED", 1)
    shipped = np.load(zoo.SHIPPED / "student.npz")
    places = ["--pool", str(tmp_path / "pool"), "--run", str(tmp_path / "run"), "--out", str(tmp_path)]
    steps = []
    for _ in range(2):
        train_student.main([*places, "--resume", str(zoo.SHIPPED / "student.npz"), "--batch", "1",
                            "--minutes", "0.001", "--anew"])  # fmt: skip
        steps.append(json.loads((tmp_path / "student.json").read_text())["steps"])
    assert steps == [1, 2]
    learned = np.load(tmp_path / "student.npz")
    assert set(learned.files) == set(shipped.files)
    assert any((learned[name] != shipped[name]).any() for name in shipped.files)


def test_a_pool_without_pictures_teaches_nothing(tmp_path: Path) -> None:
    open_pool(tmp_path, 2).count(2)
    with pytest.raises(UserError, match="--pictures"):
        train_student.main(["--pool", str(tmp_path), "--run", str(tmp_path / "run")])
