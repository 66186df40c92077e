"""What the encoder learns from a drawn picture: recogniser and face mesh in torch, their chips, the face's region."""

from __future__ import annotations

from pathlib import Path

import cv2
import numpy as np
import pytest

from models import registry, zoo
from models.arrays import F32, U8
from models.errors import UserError
from models.face_chip import IDENTITY_CHIP
from models.latent import broadcast, mean_w

pytest.importorskip("torch", reason="needs the train extra")
pytest.importorskip("dlib", reason="needs the train extra")

import torch

from export.chips import cut_chips, cut_squares
from export.encoder_batches import read_portraits
from export.face_region import FaceRegion, cut
from export.likeness import SCALE, Likeness, Unlike, eye_distances
from export.measure import IdentityMeter, face_chip
from export.pool import MADE_AT, SIZE
from export.training_input import to_input
from models.alignment import crop, to_crop_matrix, to_rgb, transform_points
from models.inversion import make_view
from models.landmarker import Landmarker
from models.networks.face_recogniser import load_recogniser
from models.networks.mesh_detector import load_mesh_detector

if not all(registry.is_intact(registry.artefacts()[name]) for name in registry.choose(["default", "identity"])):
    pytest.skip("the models are not pulled: ./run.sh pull", allow_module_level=True)

EMBEDDING_TOLERANCE = 1e-5  # of embeddings of length 1.5
CHIP_TOLERANCE = 0.05  # of dlib's distance, in which two persons are 0.8 apart; it rounds coordinates down

MESH_TOLERANCE = 0.02  # eye distances: MediaPipe looks at a square of its own, which moves its points


@pytest.fixture(scope="module")
def face(astronaut: U8) -> tuple[U8, F32]:
    """An aligned picture of 128 px and its landmarks in [0, 1]."""
    with Landmarker(registry.path("face-landmarker")) as landmarker:
        landmarks = landmarker.detect(astronaut)[0].landmarks
    matrix = to_crop_matrix(landmarks, SIZE)
    inside = (transform_points(matrix, landmarks) + 0.5) / SIZE
    return crop(astronaut, matrix, SIZE), inside.astype(np.float32)


def test_the_recogniser_computes_what_dlib_does(face: tuple[U8, F32]) -> None:
    image, landmarks = face
    pixels = (landmarks * SIZE - 0.5).astype(np.float32)
    chip = face_chip(image, pixels, *IDENTITY_CHIP)
    dlibs = IdentityMeter().embed(image, pixels)
    net = load_recogniser(registry.path("identity"))
    ours = net(torch.from_numpy(chip).permute(2, 0, 1)[None].float())[0].numpy()
    np.testing.assert_allclose(ours, dlibs, atol=EMBEDDING_TOLERANCE)
    cut_by_us = cut_chips(to_input(image[None]), torch.from_numpy(landmarks)[None])
    assert cut_by_us.shape == (1, 3, *[IDENTITY_CHIP[0]] * 2)
    assert np.linalg.norm(net(cut_by_us)[0].numpy() - dlibs) < CHIP_TOLERANCE


def test_fits_are_held_to_whom_dlib_sees(astronaut: U8) -> None:
    with Landmarker(registry.path("face-landmarker")) as landmarker:
        landmarks = landmarker.detect(astronaut)[0].landmarks
    view = make_view(astronaut, landmarks, zoo.load_encoder(), 256)
    inside = transform_points(to_crop_matrix(landmarks, 256), landmarks).astype(np.float32)
    dlibs = IdentityMeter().embed(to_rgb(view.target), inside)
    ours = zoo.load_identity_gradient().embed(view.target, view.down, view.across)[0]
    assert np.linalg.norm(ours - dlibs) < CHIP_TOLERANCE


def test_the_mesh_lies_where_mediapipe_finds_it(astronaut: U8) -> None:
    with Landmarker(registry.path("face-landmarker")) as landmarker:
        known = landmarker.detect(astronaut)[0].landmarks
    side = astronaut.shape[0]
    points = torch.from_numpy((known + 0.5) / side).float()[None]
    squares = cut_squares(to_input(astronaut[None]), points)
    assert squares.shape == (1, 3, 256, 256) and float(squares.min()) >= 0 and float(squares.max()) <= 1
    found = load_mesh_detector(registry.path("face-landmarker"))(squares)[0].numpy()
    matrix, _ = cv2.estimateAffinePartial2D(found, known)
    off = np.linalg.norm(transform_points(np.asarray(matrix, np.float64), found) - known, axis=1).mean()
    assert off < MESH_TOLERANCE * side * float(eye_distances(points)[0])
    with pytest.raises(UserError, match="not MediaPipe's face landmarker"):
        load_mesh_detector(registry.path("identity"))


def test_chips_follow_the_landmarks(face: tuple[U8, F32]) -> None:
    image, landmarks = face
    pictures, points = to_input(image[None]), torch.from_numpy(landmarks)[None]
    straight = cut_chips(pictures, points)
    turned = cut_chips(pictures.rot90(1, (2, 3)), torch.stack([points[..., 1], 1 - points[..., 0]], -1))
    torch.testing.assert_close(turned, straight, atol=0.5, rtol=0)


def test_the_region_is_that_of_the_whole_picture() -> None:
    w_plus = broadcast(mean_w()[None])
    whole = torch.from_numpy(zoo.load_generator(256, "openvino", "float32").synthesize(w_plus))
    with torch.no_grad():
        region = FaceRegion(zoo.SHIPPED / "heads")(torch.from_numpy(w_plus))
    rim = 12  # of pixels that convolutions beyond the cut reach; the picture's own lower edge has none
    expected = cut(whole, 256 // 64)[..., rim:, rim:-rim]
    torch.testing.assert_close(region[..., rim:, rim:-rim], expected, atol=2e-3, rtol=0)


def test_a_face_is_like_itself_and_the_gradient_leads_to_it() -> None:
    rng = np.random.default_rng(6)
    likeness = Likeness(zoo.SHIPPED / "heads")
    w = zoo.load_mapping().map(rng.standard_normal((1, 512)).astype(np.float32))
    truth = torch.from_numpy(broadcast(mean_w() + 0.7 * (w - mean_w())))
    with torch.no_grad():
        wanted = likeness.region(truth).float()
    picture = to_rgb(zoo.load_generator(256).synthesize(truth.numpy()))
    with Landmarker(registry.path("face-landmarker")) as landmarker:
        landmarks = torch.from_numpy((landmarker.detect(picture)[0].landmarks + 0.5) / 256).float()[None]
    assert max(float(part) for part in likeness(truth, wanted, landmarks)) < 0.05  # bfloat16, where there is
    estimate = torch.from_numpy(broadcast(mean_w()[None])).requires_grad_()
    unlike = likeness(estimate, wanted, landmarks)
    assert all(float(part.detach()) > least for part, least in zip(unlike, (0.4, 0.3, 0.02), strict=True))
    for name in Unlike._fields:
        part = getattr(unlike, name)
        (gradient,) = torch.autograd.grad(part.sum(), estimate, retain_graph=True)
        with torch.no_grad():
            nearer = likeness(estimate - 0.5 * gradient / gradient.norm(), wanted, landmarks)
        assert float(getattr(nearer, name)) < float(part.detach())


def test_photographs_without_a_face_teach_nothing(tmp_path: Path) -> None:
    cv2.imwrite(str(tmp_path / "grey.png"), np.full((64, 64, 3), 90, np.uint8))
    with pytest.raises(UserError, match="no face was found"):
        read_portraits([tmp_path / "grey.png"])


def test_the_region_has_the_scale_of_the_pool() -> None:
    assert cut(torch.zeros(1, 3, MADE_AT, MADE_AT), SCALE).shape == (1, 3, 208, 208)
