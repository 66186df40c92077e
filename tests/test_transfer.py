"""The change of a face, measured between two generated pictures and put onto the camera's."""

from __future__ import annotations

import itertools
from dataclasses import dataclass, replace
from pathlib import Path

import cv2
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from live.faces.align import align
from live.frame import FaceTrack, Frame
from live.render.bend import BOX, CONTROL, bend, cell_centres
from live.render.canonical import to_canonical
from live.render.change import Change, no_change
from live.render.face_parts import face_parts
from live.render.mode import Inversion
from live.render.occlusion import SIZE, find_free
from live.render.put import put
from live.render.transfer import Transfer
from models.alignment import to_unit_matrix, transform_points
from models.arrays import F32, U8
from models.directions import load_direction
from models.face_mesh import INNER_LIPS, canonical_face
from models.landmarker import BLENDSHAPES, Landmarker
from models.latent import move
from models.zoo import Encoder, Generator, LandmarkRegressor, load_encoder, load_generator, load_landmark_regressor
from tests.pictures import LOSSLESS, assert_close

SMILES = [BLENDSHAPES.index("mouthSmileLeft"), BLENDSHAPES.index("mouthSmileRight")]
EVERYWHERE = np.ones((64, 64), np.float32)


@dataclass(frozen=True)
class Scene:
    """A real face that does not smile, and what a smile of two units changes of it."""

    frame: Frame
    track: FaceTrack
    change: Change
    smile: float


@dataclass(frozen=True)
class Networks:
    """What a change is made with."""

    encoder: Encoder
    generator: Generator
    regressor: LandmarkRegressor


@pytest.fixture(scope="module")
def networks() -> Networks:
    return Networks(load_encoder(), load_generator(256), load_landmark_regressor())


def first_frame(clip: Path) -> U8:
    capture = cv2.VideoCapture(str(clip))
    given, bgr = capture.read()
    capture.release()
    assert given
    return np.asarray(cv2.cvtColor(bgr, cv2.COLOR_BGR2RGB), np.uint8)


def changed(networks: Networks, frame: Frame, track: FaceTrack, direction: str, strength: float) -> Change:
    """What an edit changes of a face."""
    crop = align(frame, track, networks.encoder.size)
    latent = networks.encoder.encode(crop.image, crop.landmarks)
    edited = move(latent, load_direction(direction).vector, strength)
    return Transfer(networks.regressor).make(Inversion(frame, track, crop, latent, edited), networks.generator)


def scene_of(networks: Networks, model: Path, rgb: U8) -> Scene:
    with Landmarker(model) as landmarker:
        (found,) = landmarker.detect(rgb)
    frame = Frame(rgb, 0, 0.0)
    track = FaceTrack(found.landmarks, found.blendshapes, found.pose, 0, found.score)
    smile = float(found.blendshapes[SMILES].mean())
    return Scene(frame, track, changed(networks, frame, track, "smile", 2.0), smile)


@pytest.fixture(scope="module")
def scene(networks: Networks, landmarker_model: Path, carphone: Path) -> Scene:
    """The clip's first frame, enlarged: a face of about 200 px."""
    rgb = np.asarray(cv2.resize(first_frame(carphone), None, fx=4, fy=4, interpolation=cv2.INTER_CUBIC), np.uint8)
    return scene_of(networks, landmarker_model, rgb)


def smile_of(rgb: U8, model: Path) -> float:
    with Landmarker(model) as landmarker:
        (found,) = landmarker.detect(rgb)
    return float(found.blendshapes[SMILES].mean())


def shown(scene: Scene, change: Change, gate: F32 = EVERYWHERE) -> U8:
    rgb = put(change, scene.frame.rgb, scene.track.landmarks, gate)
    assert rgb is not None
    return rgb


# --- the bending -----------------------------------------------------------------------------------------------


def face_points(seed: int) -> F32:
    """Control points of a face that is not quite the canonical one."""
    noise = np.random.default_rng(seed).normal(0, 0.004, (len(CONTROL), 2))
    return np.asarray(canonical_face()[CONTROL] + noise, np.float32)


@given(seed=st.integers(0, 1000), x=st.floats(-0.05, 0.05), y=st.floats(-0.05, 0.05))
def test_a_face_that_moves_as_a_whole_is_moved_as_a_whole(seed: int, x: float, y: float) -> None:
    points = face_points(seed)
    everywhere = np.broadcast_to(np.array((x, y), np.float32), points.shape)
    middle = points.mean(axis=0)[None]
    np.testing.assert_allclose(bend(points, everywhere, middle)[0], (x, y), atol=0.004)


@given(seed=st.integers(0, 1000))
def test_bending_is_linear_and_rests_at_the_border(seed: int) -> None:
    rng = np.random.default_rng(seed)
    points = face_points(seed)
    a, b = (rng.normal(0, 0.02, points.shape).astype(np.float32) for _ in range(2))
    at = rng.random((50, 2)).astype(np.float32)
    np.testing.assert_allclose(bend(points, a, at) + 2 * bend(points, b, at), bend(points, a + 2 * b, at), atol=2e-4)
    left, top, right, bottom = BOX
    corners = np.array([(left, top), (right, top), (right, bottom), (left, bottom)], np.float32)
    assert np.abs(bend(points, a, corners)).max() < 0.005


def test_lips_that_touch_can_be_parted() -> None:
    """Control points in the same place that want different displacements do not make the system singular."""
    points = canonical_face()[CONTROL].copy()
    inner = np.isin(CONTROL, INNER_LIPS)
    points[inner] = points[inner].mean(axis=0)
    displaced = (canonical_face()[CONTROL] - points).astype(np.float32)
    field = bend(points, displaced, cell_centres(20, 20))
    assert np.isfinite(field).all() and np.abs(field).max() < 0.2


@given(seed=st.integers(0, 1000))
def test_the_canonical_picture_has_every_landmark_in_its_place(seed: int) -> None:
    """A picture whose values are its coordinates tells where its parts went."""
    noise = np.random.default_rng(seed).normal(0, 0.01, (478, 2)).astype(np.float32)
    landmarks = np.asarray(canonical_face() + cv2.GaussianBlur(noise, (1, 9), 3), np.float32)
    size = 128
    axis = (np.arange(size, dtype=np.float32) + 0.5) / size
    coordinates = np.dstack([*np.meshgrid(axis, axis), np.zeros((size, size), np.float32)])
    warped = to_canonical(coordinates, landmarks, size)
    column, row = np.rint(canonical_face()[CONTROL] * size - 0.5).astype(int).T
    error = np.abs(warped[row, column, :2] - landmarks[CONTROL])
    assert np.median(error) < 1 / size  # half a pixel of it is the rounding


# --- the change on the camera's picture ------------------------------------------------------------------------


def test_no_change_leaves_every_pixel(scene: Scene) -> None:
    assert_close(shown(scene, no_change(256)), scene.frame.rgb, psnr=LOSSLESS)


def test_pixels_away_from_the_face_stay_exactly_the_cameras(scene: Scene) -> None:
    rgb = shown(scene, scene.change)
    height, width = rgb.shape[:2]
    x, y = np.meshgrid(np.arange(width), np.arange(height))
    at = transform_points(to_unit_matrix(scene.track.landmarks), np.dstack([x, y]))
    away = (at < 0.0).any(axis=-1) | (at > 1.06).any(axis=-1)
    assert away.any()
    np.testing.assert_array_equal(rgb[away], scene.frame.rgb[away])


def test_a_face_outside_the_frame_is_told(scene: Scene) -> None:
    assert put(scene.change, scene.frame.rgb, scene.track.landmarks + np.float32(5000), EVERYWHERE) is None


def test_a_closed_mouth_smiles_and_the_person_stays(scene: Scene, landmarker_model: Path) -> None:
    rgb = shown(scene, scene.change)
    assert smile_of(rgb, landmarker_model) > max(0.6, scene.smile + 0.4)
    # The forehead keeps the camera's own detail, moved a little; the generator's reconstruction shares none of it.
    left, right = np.rint(scene.track.landmarks[[108, 337]][:, 0]).astype(int)
    row, reach = int(scene.track.landmarks[151, 1]), 6
    kept, own = (
        grey.astype(np.float32) - cv2.GaussianBlur(grey.astype(np.float32), (0, 0), 4)
        for grey in (cv2.cvtColor(p, cv2.COLOR_RGB2GRAY) for p in (rgb, scene.frame.rgb))
    )
    box = kept[row - 20 : row + 20, left:right]
    around = own[row - 20 - reach : row + 20 + reach, left - reach : right + reach]
    assert cv2.matchTemplate(around, box, cv2.TM_CCOEFF_NORMED).max() > 0.5  # of a clip enlarged four times


def test_what_is_added_to_a_grey_picture_is_grey(networks: Networks, scene: Scene) -> None:
    grey = np.asarray(cv2.cvtColor(cv2.cvtColor(scene.frame.rgb, cv2.COLOR_RGB2GRAY), cv2.COLOR_GRAY2RGB), np.uint8)
    frame = replace(scene.frame, rgb=grey)
    change = changed(networks, frame, scene.track, "smile", 2.0)
    rgb = shown(replace(scene, frame=frame), change).astype(int)
    assert np.percentile(np.ptp(rgb, axis=-1), 99.5) < 24
    assert np.ptp(rgb, axis=-1).mean() < 2


def test_a_frame_turned_upside_down_is_changed_alike(scene: Scene) -> None:
    rgb = shown(scene, scene.change)
    height, width = rgb.shape[:2]
    turned = np.array((width - 1, height - 1), np.float32) - scene.track.landmarks
    other = put(scene.change, np.ascontiguousarray(scene.frame.rgb[::-1, ::-1]), turned, EVERYWHERE)
    assert other is not None
    assert np.abs(other[::-1, ::-1].astype(int) - rgb).mean() < 1.0


@given(x=st.floats(-3, 3), y=st.floats(-3, 3))
def test_the_change_moves_with_the_face(scene: Scene, x: float, y: float) -> None:
    """Nothing swims: the picture of a shifted face is the shifted picture."""
    shift = np.array([[1, 0, x], [0, 1, y]], np.float64)
    size = (scene.frame.rgb.shape[1], scene.frame.rgb.shape[0])

    def shifted(rgb: U8) -> U8:
        return np.asarray(cv2.warpAffine(rgb, shift, size, borderMode=cv2.BORDER_REFLECT), np.uint8)

    landmarks = scene.track.landmarks + np.array((x, y), np.float32)
    there = put(scene.change, shifted(scene.frame.rgb), landmarks, EVERYWHERE)
    assert there is not None
    assert np.abs(there.astype(int) - shifted(shown(scene, scene.change))).mean() < 1.5


# --- what comes before the face --------------------------------------------------------------------------------


def with_hand(scene: Scene, point: int, radius: float) -> tuple[U8, np.ndarray[tuple[int, ...], np.dtype[np.bool_]]]:
    """The frame with a skin-coloured disc over a landmark, and where it is."""
    rgb = scene.frame.rgb.copy()
    width = float(np.ptp(scene.track.landmarks[:, 0]))
    centre = tuple(np.rint(scene.track.landmarks[point]).astype(int).tolist())
    mask = np.zeros(rgb.shape[:2], np.uint8)
    cv2.circle(mask, centre, round(radius * width), 255, -1)
    skin = rgb[tuple(np.rint(scene.track.landmarks[50][::-1]).astype(int))]
    rgb[mask > 0] = np.clip(skin.astype(float) * (0.75, 0.62, 0.55), 0, 255).astype(np.uint8)
    return rgb, cv2.erode(mask, np.ones((5, 5), np.uint8)) > 0


@pytest.mark.parametrize(("point", "radius"), [(205, 0.16), (14, 0.3)])
def test_a_hand_before_the_face_stays_the_cameras(scene: Scene, point: int, radius: float) -> None:
    landmarks = scene.track.landmarks
    _, look = find_free(scene.frame.rgb, landmarks, 0.0, None)
    rgb, hand = with_hand(scene, point, radius)
    free, _ = find_free(rgb, landmarks, 1 / 30, look)
    kept = put(scene.change, rgb, landmarks, free)
    bare = put(scene.change, rgb, landmarks, EVERYWHERE)
    assert kept is not None and bare is not None
    touched = np.abs(kept[hand].astype(int) - rgb[hand]).mean()
    untouched = np.abs(bare[hand].astype(int) - rgb[hand]).mean()
    assert touched < 4.0 and touched < untouched / 3


def test_light_that_changes_hides_nothing(scene: Scene) -> None:
    landmarks = scene.track.landmarks
    _, look = find_free(scene.frame.rgb, landmarks, 0.0, None)
    darker = np.clip(scene.frame.rgb * 0.75, 0, 255).astype(np.uint8)
    free, _ = find_free(darker, landmarks, 1 / 30, look)
    assert free.mean() > 0.95


def test_a_face_that_was_hidden_where_it_tells_most_is_free_again(scene: Scene) -> None:
    landmarks = scene.track.landmarks
    _, look = find_free(scene.frame.rgb, landmarks, 0.0, None)
    hidden = replace(look, free=np.where(face_parts(SIZE).telling > 0.5, 0, 1).astype(np.float32))
    free, _ = find_free(scene.frame.rgb, landmarks, 1 / 30, hidden)
    assert free.mean() > 0.95


# --- in time ---------------------------------------------------------------------------------------------------


def mean_step(a: U8, b: U8) -> float:
    return float(np.abs(a.astype(int) - b).mean())


def test_a_newer_change_takes_over_without_a_pop(networks: Networks, scene: Scene) -> None:
    mode = Transfer(networks.regressor)
    plain = mode.render(scene.frame, scene.track, mode.unedited(256), 0.0)
    assert plain is not None and plain.rgb is scene.frame.rgb
    pictures = [plain.rgb]
    for i in range(1, 25):
        frame = mode.render(scene.frame, scene.track, scene.change, i / 30)
        assert frame is not None
        pictures.append(frame.rgb)
    steps = [mean_step(a, b) for a, b in itertools.pairwise(pictures)]
    whole = mean_step(pictures[0], pictures[-1])
    assert whole > 0.5
    assert max(steps) < 0.5 * whole  # never at once
    assert steps[-1] < 0.02 * whole  # and then it rests


@pytest.mark.parametrize("size", [64, 256])
def test_the_hair_s_change_ends_before_the_square_does(size: int) -> None:
    """Hair often goes on beyond it, and a tint that is cut off shows as a line across the head."""
    head = face_parts(size).head
    border = np.concatenate([head[0], head[-1], head[:, 0], head[:, -1]])
    assert border.max() < 0.05
    assert np.abs(np.diff(head[: size // 4, size // 2])).max() < 16 / size, "softly"
    assert head[size // 2, size // 2] == 1


@pytest.mark.parametrize(("yaw", "least", "most"), [(0.0, 0.99, 1.01), (31.0, 0.2, 0.8), (50.0, 0.0, 0.05)])
def test_the_effect_fades_as_the_head_turns_away(
    networks: Networks, scene: Scene, yaw: float, least: float, most: float
) -> None:
    ahead, turned = (
        Transfer(networks.regressor).render(
            scene.frame, replace(scene.track, pose=np.array((angle, 0, 0), np.float32)), scene.change, 0.0
        )
        for angle in (0.0, yaw)
    )
    assert ahead is not None and turned is not None
    share = mean_step(turned.rgb, scene.frame.rgb) / mean_step(ahead.rgb, scene.frame.rgb)
    assert least <= share <= most


def test_real_faces_smile_and_stay_themselves(networks: Networks, landmarker_model: Path, faces_dir: Path) -> None:
    """The first eight straight faces of the folder: half a smile at least, and most of the camera's own picture."""
    gained = []
    for path in sorted(faces_dir.glob("*_neutral.jpg"))[:8]:
        bgr = cv2.imread(str(path))
        assert bgr is not None
        scale = 480 / bgr.shape[0]
        small = cv2.resize(bgr, None, fx=scale, fy=scale, interpolation=cv2.INTER_AREA)
        real = scene_of(networks, landmarker_model, np.asarray(cv2.cvtColor(small, cv2.COLOR_BGR2RGB), np.uint8))
        gained.append(smile_of(shown(real, real.change), landmarker_model) - real.smile)
    assert np.median(gained) > 0.6
