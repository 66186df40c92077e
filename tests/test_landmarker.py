"""Faces found by the real MediaPipe in real pictures: where they are, how they look, which way they turn."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import cv2
import numpy as np
import pytest

from models.alignment import crop, quad, to_crop_matrix, transform_points
from models.arrays import F32, U8
from models.errors import UserError
from models.face_windows import Window, around, face_size, holds, overlap, search_levels
from models.landmarker import BLENDSHAPES, Detection, Landmarker, pose_of

LEFT_TO_RIGHT_EYE = (33, 263)


@pytest.fixture(scope="module")
def landmarker(landmarker_model: Path) -> Iterator[Landmarker]:
    with Landmarker(landmarker_model) as opened:
        yield opened


@pytest.fixture(scope="module")
def astronaut_face(landmarker: Landmarker, astronaut: U8) -> Detection:
    (face,) = landmarker.detect(astronaut)
    return face


def eye_distance(landmarks: F32) -> float:
    a, b = landmarks[list(LEFT_TO_RIGHT_EYE)]
    return float(np.hypot(*(a - b)))


def read_picture(path: Path) -> U8:
    bgr = cv2.imread(str(path))
    assert bgr is not None, path.name
    return np.asarray(cv2.cvtColor(bgr, cv2.COLOR_BGR2RGB), np.uint8)


def placed(rgb: U8, face: Detection, height: int, corner: tuple[int, int], size: tuple[int, int]) -> U8:
    """A frame of ``size`` (width, height), grey, with the picture shrunk so that its face is ``height`` px high."""
    scale = height / float(np.ptp(face.landmarks[:, 1]))
    small = cv2.resize(rgb, None, fx=scale, fy=scale, interpolation=cv2.INTER_AREA)
    frame = np.full((size[1], size[0], 3), 120, np.uint8)
    x, y = corner
    part = small[: size[1] - y, : size[0] - x]
    frame[y : y + part.shape[0], x : x + part.shape[1]] = part
    return frame


def test_what_a_detection_holds(astronaut_face: Detection) -> None:
    assert astronaut_face.landmarks.shape == (478, 2)
    assert astronaut_face.blendshapes.shape == (52,)
    assert astronaut_face.pose.shape == (3,)
    arrays = (astronaut_face.landmarks, astronaut_face.blendshapes, astronaut_face.pose)
    assert all(array.dtype == np.float32 for array in arrays)
    assert astronaut_face.score == 1.0
    assert astronaut_face.blendshapes.min() >= 0
    assert astronaut_face.blendshapes.max() <= 1
    # Eileen Collins's eyes, read off the picture.
    np.testing.assert_allclose(astronaut_face.landmarks[[468, 473]], [[203, 101], [246, 103]], atol=2)


def test_the_blendshapes_are_in_mediapipes_order(landmarker_model: Path, astronaut: U8) -> None:
    import mediapipe
    from mediapipe.tasks.python import vision
    from mediapipe.tasks.python.core.base_options import BaseOptions

    options = vision.FaceLandmarkerOptions(
        base_options=BaseOptions(model_asset_path=str(landmarker_model)), output_face_blendshapes=True
    )
    with vision.FaceLandmarker.create_from_options(options) as task:
        found = task.detect(mediapipe.Image(image_format=mediapipe.ImageFormat.SRGB, data=astronaut))
    assert tuple(shape.category_name for shape in found.face_blendshapes[0]) == BLENDSHAPES


def test_a_smile_is_seen(astronaut_face: Detection) -> None:
    shapes = dict(zip(BLENDSHAPES, astronaut_face.blendshapes, strict=True))
    assert min(shapes["mouthSmileLeft"], shapes["mouthSmileRight"]) > 0.6
    assert shapes["mouthFrownLeft"] < 0.1


def test_a_mirrored_picture_gives_mirrored_points_and_pose(
    landmarker: Landmarker, astronaut: U8, astronaut_face: Detection
) -> None:
    (mirrored,) = landmarker.detect(np.ascontiguousarray(astronaut[:, ::-1]))
    unmirrored = np.array([511, 0]) + mirrored.landmarks * [-1, 1]
    a, b = LEFT_TO_RIGHT_EYE
    np.testing.assert_allclose(unmirrored[[b, a]], astronaut_face.landmarks[[a, b]], atol=2.5)
    yaw, pitch, roll = astronaut_face.pose
    np.testing.assert_allclose(mirrored.pose, [-yaw, pitch, -roll], atol=4)


@pytest.mark.parametrize("lean", [-25, 25])
def test_a_head_leaning_clockwise_has_positive_roll(
    landmarker: Landmarker, astronaut: U8, astronaut_face: Detection, lean: int
) -> None:
    turn = cv2.getRotationMatrix2D((222, 110), -lean, 1)  # OpenCV turns counter-clockwise
    (leaning,) = landmarker.detect(np.asarray(cv2.warpAffine(astronaut, turn, (512, 512)), np.uint8))
    np.testing.assert_allclose(leaning.pose - astronaut_face.pose, [0, 0, lean], atol=5)


def test_yaw_and_pitch_follow_the_nose(landmarker: Landmarker, carphone_frames: list[U8]) -> None:
    """Over the clip: the nose is to the right between the eyes at positive yaw, high at positive pitch."""
    poses, noses = [], []
    for rgb in carphone_frames[::4]:
        (face,) = landmarker.detect(rgb)
        # In the upright crop, where the head's roll plays no part.
        upright = transform_points(to_crop_matrix(face.landmarks, 256), face.landmarks)
        left, right = upright[list(LEFT_TO_RIGHT_EYE)]
        mouth = upright[[61, 291]].mean(0)
        nose = upright[1]
        eyes = (left + right) / 2
        noses.append([(nose[0] - eyes[0]) / (right - left)[0], (eyes[1] - nose[1]) / (mouth - eyes)[1]])
        poses.append(face.pose)
    yaw, pitch, _ = np.array(poses).T
    to_the_right, up = np.array(noses).T
    assert np.ptp(yaw) > 10
    assert np.corrcoef(yaw, to_the_right)[0, 1] > 0.7
    assert np.corrcoef(pitch, up)[0, 1] > 0.5


def test_pose_of_known_turns() -> None:
    def matrix(axis: int, degrees: float) -> np.ndarray[tuple[int, int], np.dtype[np.float64]]:
        vector = np.zeros(3)
        vector[axis] = np.radians(degrees)
        head = np.eye(4)
        head[:3, :3] = 1.3 * cv2.Rodrigues(vector)[0]  # MediaPipe's matrices scale, too
        return head

    # Right-handed turns about x (right), y (up), z (to the camera).
    np.testing.assert_allclose(pose_of(matrix(1, 20)), [20, 0, 0], atol=1e-4)
    np.testing.assert_allclose(pose_of(matrix(0, -20)), [0, 20, 0], atol=1e-4)
    np.testing.assert_allclose(pose_of(matrix(2, -20)), [0, 0, 20], atol=1e-4)
    np.testing.assert_allclose(pose_of(matrix(2, -20) @ matrix(1, 10)), [10, 0, 20], atol=1e-4)


CHANGES: dict[str, Callable[[U8], U8]] = {
    "dark": lambda rgb: (rgb * 0.08).astype(np.uint8),
    "monochrome": lambda rgb: np.dstack([np.asarray(cv2.cvtColor(rgb, cv2.COLOR_RGB2GRAY), np.uint8)] * 3),
    "sepia": lambda rgb: (rgb.mean(-1, keepdims=True) * [1.0, 0.8, 0.6]).astype(np.uint8),
    "pale": lambda rgb: (200 + rgb * 0.2).astype(np.uint8),
    "blurred": lambda rgb: np.asarray(cv2.GaussianBlur(rgb, (0, 0), 3), np.uint8),
    "grainy": lambda rgb: np.clip(rgb + np.random.default_rng(0).normal(0, 20, rgb.shape), 0, 255).astype(np.uint8),
    "cut at the chin": lambda rgb: rgb[:150],
    "cut beside the eye": lambda rgb: np.ascontiguousarray(rgb[:, 190:]),
    "large": lambda rgb: np.asarray(cv2.resize(rgb, (3000, 3000), interpolation=cv2.INTER_CUBIC), np.uint8),
}  # fmt: skip


@pytest.mark.parametrize("change", CHANGES)
def test_a_face_is_found_in_a_difficult_picture(landmarker: Landmarker, astronaut: U8, change: str) -> None:
    assert len(landmarker.detect(CHANGES[change](astronaut))) == 1


def test_a_face_that_fills_the_picture_is_found(
    landmarker: Landmarker, astronaut: U8, astronaut_face: Detection
) -> None:
    aligned = crop(astronaut, to_crop_matrix(astronaut_face.landmarks, 256), 256)
    (face,) = landmarker.detect(aligned)
    expected = transform_points(to_crop_matrix(astronaut_face.landmarks, 256), astronaut_face.landmarks)
    assert np.abs(face.landmarks - expected).mean() < 0.02 * eye_distance(face.landmarks)
    low, high = astronaut_face.landmarks.min(0).astype(int), astronaut_face.landmarks.max(0).astype(int)
    assert landmarker.detect(np.ascontiguousarray(astronaut[low[1] : high[1], low[0] : high[0]]))


@pytest.mark.parametrize(
    ("height", "corner"), [(200, (900, 300)), (120, (30, 700)), (60, (1500, 100)), (60, (813, 371)), (40, (200, 500))]
)  # fmt: skip
def test_a_small_face_in_a_large_frame_is_found_where_it_is(
    landmarker: Landmarker, astronaut: U8, astronaut_face: Detection, height: int, corner: tuple[int, int]
) -> None:
    frame = placed(astronaut, astronaut_face, height, corner, (1920, 1080))
    (face,) = landmarker.detect(frame)
    scale = height / float(np.ptp(astronaut_face.landmarks[:, 1]))
    expected = (astronaut_face.landmarks + 0.5) * scale - 0.5 + corner
    assert np.abs(face.landmarks - expected).mean() < 0.04 * eye_distance(face.landmarks)


def test_several_faces_come_largest_first(landmarker_model: Path, astronaut: U8, astronaut_face: Detection) -> None:
    frame = np.concatenate(
        [placed(astronaut, astronaut_face, height, (0, 0), (400, 480)) for height in (70, 130, 100)], axis=1
    )
    with Landmarker(landmarker_model, max_faces=3) as several:
        faces = several.detect(np.ascontiguousarray(frame))
    assert len(faces) == 3
    sizes = [face_size(face.landmarks) for face in faces]
    assert sizes == sorted(sizes, reverse=True)
    assert [int(face.landmarks[1, 0] // 400) for face in faces] == [1, 2, 0]


@pytest.mark.parametrize("shade", [0, 128, 255])
def test_nobody_is_in_an_empty_picture(landmarker: Landmarker, shade: int) -> None:
    assert landmarker.detect(np.full((480, 640, 3), shade, np.uint8)) == []
    assert landmarker.detect(np.full((2, 3, 3), shade, np.uint8)) == []


def test_the_score_is_the_share_inside_the_picture(landmarker: Landmarker, astronaut: U8) -> None:
    (face,) = landmarker.detect(np.ascontiguousarray(astronaut[:, 200:]))
    assert 0.6 < face.score < 0.95
    assert face.landmarks[:, 0].min() < 0


def test_video_follows_a_real_head(landmarker_model: Path, landmarker: Landmarker, carphone_frames: list[U8]) -> None:
    with Landmarker(landmarker_model, video=True, max_faces=2) as video:
        followed = [video.detect(rgb, round(i * 1000 / 30)) for i, rgb in enumerate(carphone_frames)]
    assert all(len(faces) == 1 for faces in followed)
    (alone,) = landmarker.detect(carphone_frames[60])
    assert np.abs(alone.landmarks - followed[60][0].landmarks).mean() < 0.03 * face_size(alone.landmarks)


def test_video_takes_any_timestamps(landmarker_model: Path, astronaut: U8) -> None:
    with Landmarker(landmarker_model, video=True) as video:
        assert all(len(video.detect(astronaut, t)) == 1 for t in (100, 100, 40, None, 0, 5000))


def test_video_follows_a_small_face_across_a_large_frame(
    landmarker_model: Path, astronaut: U8, astronaut_face: Detection
) -> None:
    """It is in the first frame, and is not lost while it crosses, whichever part of the frame it is in."""
    with Landmarker(landmarker_model, video=True, max_faces=2) as video:
        for i in range(40):
            corner = (300 + 25 * i, 400 + 5 * i)
            frame = placed(astronaut, astronaut_face, 70, corner, (1920, 1080))
            faces = video.detect(frame, i * 33)
            assert len(faces) == 1, f"lost in frame {i}"
            scale = 70 / float(np.ptp(astronaut_face.landmarks[:, 1]))
            expected = (astronaut_face.landmarks + 0.5) * scale - 0.5 + corner
            assert np.abs(faces[0].landmarks - expected).mean() < 4, f"astray in frame {i}"


def test_video_finds_a_small_face_that_comes_later(
    landmarker_model: Path, astronaut: U8, astronaut_face: Detection
) -> None:
    empty = np.full((1080, 1920, 3), 120, np.uint8)
    someone = placed(astronaut, astronaut_face, 70, (1200, 500), (1920, 1080))
    with Landmarker(landmarker_model, video=True, max_faces=2) as video:
        assert all(not video.detect(empty, i * 33) for i in range(10))
        waited = next(i for i in range(60) if video.detect(someone, 330 + i * 33))
        assert waited < 30, "not within a second"
        assert not video.detect(empty, 5000)


def test_every_portrait_has_its_face(landmarker: Landmarker, faces_dir: Path) -> None:
    portraits = sorted(faces_dir.glob("*.jpg"))
    assert len(portraits) > 1
    smiles: dict[str, list[float]] = {"neutral": [], "smiling": []}
    for path in portraits:
        rgb = read_picture(path)
        faces = landmarker.detect(rgb)
        assert len(faces) == 1, path.name
        assert np.abs(faces[0].pose).max() < 15, f"{path.name}: these look straight ahead"
        height, width = rgb.shape[:2]
        assert (np.abs(quad(faces[0].landmarks).mean(0) - [width / 2, height / 2]) < width / 5).all(), path.name
        smile = float(faces[0].blendshapes[[44, 45]].mean())
        smiles[path.stem.rpartition("_")[2]].append(smile)
    assert np.median(smiles["smiling"]) > np.median(smiles["neutral"]) + 0.4


def test_windows_cover_the_picture_and_know_their_place() -> None:
    picture = np.random.default_rng(0).integers(0, 255, (300, 500, 3), dtype=np.uint8)
    (padded,), *tiles = search_levels(picture)
    assert padded.cut(picture).shape == (padded.height, padded.width, 3)
    np.testing.assert_array_equal(padded.cut(picture)[-padded.y :, -padded.x :][:300, :500], picture)
    for level in tiles:
        seen = np.zeros((300, 500), bool)
        for tile in level:
            assert tile.cut(picture).shape == (tile.height, tile.width, 3)
            seen[tile.y : tile.y + tile.height, tile.x : tile.x + tile.width] = True
        assert seen.all()


def test_a_window_beyond_every_edge_repeats_the_edge() -> None:
    picture = np.arange(12, dtype=np.uint8).reshape(2, 2, 3)
    cut = Window(-1, -1, 4, 4).cut(picture)
    np.testing.assert_array_equal(cut, np.pad(picture, ((1, 1), (1, 1), (0, 0)), "edge"))


def test_a_window_holds_its_face_until_it_strays() -> None:
    points = np.random.default_rng(0).uniform(0, 100, (478, 2)).astype(np.float32)
    window = around(points)
    assert holds(window, points)
    assert holds(window, points + np.float32(30))
    assert not holds(window, points + np.float32(60))
    assert not holds(window, points * np.float32(2))
    assert overlap(points, points) == pytest.approx(1)
    assert overlap(points, points + np.float32(200)) == 0


@pytest.mark.parametrize(
    ("content", "complaint"), [(None, "cannot read"), (b"", "not a face landmarker"), (b"PK junk", "not a face")]
)  # fmt: skip
def test_a_bad_model_file_is_the_users_error(tmp_path: Path, content: bytes | None, complaint: str) -> None:
    path = tmp_path / "face_landmarker.task"
    if content is not None:
        path.write_bytes(content)
    with pytest.raises(UserError, match=complaint) as caught:
        Landmarker(path)
    assert "\n" not in str(caught.value)
    assert "pull" in str(caught.value)


def test_nothing_is_written_on_stderr(landmarker_model: Path) -> None:
    """Neither when MediaPipe starts, nor when the interpreter ends."""
    program = (
        "import sys, pathlib, numpy as np\n"
        "from models.landmarker import Landmarker\n"
        "with Landmarker(pathlib.Path(sys.argv[1]), video=True) as landmarker:\n"
        "    landmarker.detect(np.zeros((240, 320, 3), np.uint8), 0)\n"
        "sys.stderr.write('still there')\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", program, str(landmarker_model)], capture_output=True, text=True, check=True
    )
    assert done.stderr == "still there"
    assert done.stdout == ""
