"""The numbers of the bench, on pairs whose differences are known."""

from __future__ import annotations

import dataclasses
from typing import Any

import numpy as np
import pytest

from models.arrays import F32
from models.landmarker import BLENDSHAPES, Detection

pytest.importorskip("dlib", reason="needs the train extra")

from export.appearance import APPEARANCE
from export.fidelity import LAYER_GROUPS, Sample, compare, r2_by_layers, summarise
from export.measure import Measures


def sample(**changes: Any) -> Sample:  # noqa: ANN401
    """A face whose eyes are 60 px apart, in a flat grey picture."""
    rng = np.random.default_rng(0)
    landmarks = rng.uniform(60, 190, (478, 2)).astype(np.float32)
    from export.fidelity import FACE_OVAL
    from models.alignment import EYE_A, EYE_B

    angle = np.linspace(0, 2 * np.pi, len(FACE_OVAL), endpoint=False)
    landmarks[list(FACE_OVAL)] = 128 + 90 * np.column_stack([np.sin(angle), -np.cos(angle)])
    landmarks[list(EYE_A)] = (98, 110)
    landmarks[list(EYE_B)] = (158, 110)
    detection = Detection(landmarks, np.zeros(52, np.float32), np.zeros(3, np.float32), 1.0)
    measures = Measures(
        detection,
        age=30.0,
        male=0.5,
        glasses=0.0,
        skin=150.0,
        backdrop=90.0,
        appearance=np.zeros(len(APPEARANCE), np.float32),
    )
    base = Sample(np.full((256, 256, 3), 100, np.uint8), measures, np.zeros(128, np.float32))
    return dataclasses.replace(base, **changes)


def shifted(base: Sample, **changes: Any) -> Sample:  # noqa: ANN401
    """`base` with fields of its detection replaced."""
    detection = dataclasses.replace(base.measures.detection, **changes)
    return dataclasses.replace(base, measures=dataclasses.replace(base.measures, detection=detection))


def test_a_face_equals_itself() -> None:
    row = compare(sample(), sample())
    errors = {name: value for name, value in dataclasses.asdict(row).items() if name != "psnr"}
    assert set(errors.values()) == {0.0}
    assert row.psnr > 50


def test_landmark_error_is_in_eye_distances() -> None:
    before = sample()
    after = shifted(before, landmarks=before.measures.detection.landmarks + np.array([3, 4], np.float32))
    assert compare(before, after).landmarks == pytest.approx(5 / 60)


def test_signs_are_reconstruction_minus_input() -> None:
    before = sample()
    blendshapes = np.zeros(52, np.float32)
    blendshapes[[BLENDSHAPES.index("mouthSmileLeft"), BLENDSHAPES.index("mouthSmileRight")]] = 0.4, 0.2
    after = shifted(before, blendshapes=blendshapes, pose=np.array([-7, 2, 0], np.float32))
    row = compare(before, after)
    assert (row.smile, row.yaw, row.pitch) == pytest.approx((0.3, -7, 2))
    assert row.mouth_open == 0


def test_face_l1_sees_the_face_only() -> None:
    before, after = sample(), sample(rgb=np.full((256, 256, 3), 110, np.uint8))
    assert compare(before, after).face_l1 == 10
    corner = np.full((256, 256, 3), 100, np.uint8)
    corner[:20, :20] = 255
    row = compare(before, sample(rgb=corner))
    assert row.face_l1 == 0
    assert row.psnr < 40


def test_a_summary_keeps_bias_apart_from_error() -> None:
    before = sample()
    left, right = (
        shifted(before, pose=np.array([-4, 0, 0], np.float32)),
        shifted(before, pose=np.array([6, 0, 0], np.float32)),
    )
    yaw = summarise([compare(before, left), compare(before, right)])["yaw"]
    assert (yaw.median, yaw.mean, yaw.bias) == pytest.approx((5, 5, 1))
    assert summarise([compare(before, before)])["identity"].bias is None


def test_r2_is_1_for_the_truth_and_0_for_the_mean_face_in_each_group() -> None:
    rng = np.random.default_rng(1)
    mean, spread = rng.normal(size=512).astype(np.float32), rng.uniform(0.2, 1, 512).astype(np.float32)
    truth = (mean + spread * rng.normal(size=(8, 18, 512))).astype(np.float32)
    guess: F32 = truth.copy()
    guess[:, LAYER_GROUPS["middle"]] = mean
    scores = r2_by_layers(truth, guess, mean, spread)
    assert scores == pytest.approx({"coarse": 1.0, "middle": 0.0, "fine": 1.0})
