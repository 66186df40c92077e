"""Rendering: what each mode changes in a frame, what it leaves alone, and that no seam shows."""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path

import cv2
import numpy as np
import pytest

from live.faces.align import align
from live.frame import AlignedCrop, FaceTrack, Frame
from live.render.colour import fit_colour
from live.render.mask import face_region
from live.render.paste import Paste
from live.render.portrait import Portrait
from models.alignment import to_tensor
from models.arrays import F32, U8
from models.landmarker import Landmarker
from tests.pictures import assert_close, peak_signal_to_noise

CROP = 256
MODES: dict[str, Paste | Portrait] = {"paste": Paste(), "portrait": Portrait()}
RESAMPLED = 38.0  # dB; a face that went through a crop of its own size and back
RECOLOURED = 32.0  # dB; the same after its colours were changed and matched again


@dataclass(frozen=True)
class Scene:
    """A real face in a frame, and the frame's stages up to the portrait."""

    frame: Frame
    track: FaceTrack
    crop: AlignedCrop


@pytest.fixture(scope="module")
def scene(landmarker_model: Path, astronaut: U8) -> Scene:
    """A 640x480 frame with a face of about 180 px."""
    rgb = np.asarray(cv2.resize(astronaut[:240, 60:380], (640, 480), interpolation=cv2.INTER_CUBIC), np.uint8)
    with Landmarker(landmarker_model) as landmarker:
        (found,) = landmarker.detect(rgb)
    frame = Frame(rgb=rgb, seq=41, captured=12.5)
    track = FaceTrack(found.landmarks, found.blendshapes, found.pose, face_id=1, score=found.score)
    return Scene(frame, track, align(frame, track, CROP))


def moved(scene: Scene, offset: tuple[float, float]) -> Scene:
    """The same face elsewhere in the frame, by whole pixels, what is uncovered mirrored."""
    shift = np.array([[1, 0, offset[0]], [0, 1, offset[1]]], np.float64)
    rgb = cv2.warpAffine(scene.frame.rgb, shift, (640, 480), borderMode=cv2.BORDER_REFLECT_101)
    frame = replace(scene.frame, rgb=np.asarray(rgb, np.uint8))
    track = replace(scene.track, landmarks=scene.track.landmarks + np.array(offset, np.float32))
    return Scene(frame, track, align(frame, track, CROP))


def render(mode: str, scene: Scene, portrait: F32) -> Frame:
    shown = MODES[mode].render(scene.frame, scene.track, portrait, t=0.0)
    return scene.frame if shown is None else shown


def noise_portrait(size: int = CROP) -> F32:
    return np.random.default_rng(2).uniform(-1.2, 1.2, (1, 3, size, size)).astype(np.float32)


def alpha(scene: Scene) -> F32:
    """The mask over the whole frame."""
    region = face_region(scene.track.landmarks, scene.crop.to_crop, (480, 640))
    assert region is not None
    whole = np.zeros((480, 640), np.float32)
    whole[region.rows, region.columns] = region.alpha
    return whole


@pytest.mark.parametrize("mode", MODES)
@pytest.mark.parametrize("size", [128, 256, 512, 1024])
def test_every_mode_takes_every_portrait_and_keeps_the_frame(scene: Scene, mode: str, size: int) -> None:
    camera, portrait = scene.frame.rgb.copy(), noise_portrait(size)
    before = portrait.copy()
    shown = render(mode, scene, portrait)
    assert (shown.seq, shown.captured) == (scene.frame.seq, scene.frame.captured)
    assert shown.rgb.shape == camera.shape
    assert shown.rgb.dtype == np.uint8
    np.testing.assert_array_equal(scene.frame.rgb, camera)
    np.testing.assert_array_equal(portrait, before)
    assert (shown.rgb != camera).any()


@pytest.mark.parametrize("width", [480, 640, 853, 300])
def test_the_portrait_fills_the_frame_and_is_itself_in_the_middle(scene: Scene, width: int) -> None:
    rgb = np.zeros((480, width, 3), np.uint8)
    shown = render("portrait", replace(scene, frame=replace(scene.frame, rgb=rgb)), scene.crop.image).rgb
    assert shown.shape == rgb.shape
    side = min(width, 480)
    top, left = (480 - side) // 2, (width - side) // 2
    inner = np.s_[side // 10 : -side // 10, side // 10 : -side // 10]
    expected = cv2.resize(
        np.rint((scene.crop.image[0].transpose(1, 2, 0) + 1) * 127.5).astype(np.uint8),
        (side, side),
        interpolation=cv2.INTER_CUBIC,
    )
    square = shown[top : top + side, left : left + side]
    assert_close(square[inner], np.asarray(expected, np.uint8)[inner], psnr=45)
    assert shown[:, : max(1, left)].mean() > 5, "the backdrop is a picture too, not black bars"


def test_paste_leaves_every_pixel_outside_the_mask(scene: Scene) -> None:
    shown = render("paste", scene, noise_portrait()).rgb
    outside = alpha(scene) == 0
    assert outside.mean() > 0.7
    np.testing.assert_array_equal(shown[outside], scene.frame.rgb[outside])


def test_a_reconstruction_without_error_leaves_the_picture_as_it_was(scene: Scene) -> None:
    shown = render("paste", scene, scene.crop.image).rgb
    inside = alpha(scene) > 0.5
    assert_close(shown[inside], scene.frame.rgb[inside], psnr=RESAMPLED)


@pytest.mark.parametrize(
    ("gain", "offset"), [((0.7, 0.7, 0.7), 0.0), ((1.0, 1.0, 0.8), 0.1), ((0.8, 0.75, 0.7), -0.1)]
)
def test_a_face_of_another_skin_tone_gets_the_cameras(scene: Scene, gain: tuple[float, ...], offset: float) -> None:
    other = scene.crop.image * np.array(gain, np.float32)[:, None, None] + np.float32(offset)
    inside = alpha(scene) > 0.5
    shown = render("paste", scene, other).rgb
    assert peak_signal_to_noise(shown[inside], scene.frame.rgb[inside]) > RECOLOURED


def test_light_from_one_side_stays(scene: Scene) -> None:
    """A camera face in half shade over an evenly lit generated one."""
    ramp = np.linspace(0.45, 1.0, 640, dtype=np.float32)[None, :, None]
    shaded = replace(scene.frame, rgb=(scene.frame.rgb * ramp).astype(np.uint8))
    shown = render("paste", replace(scene, frame=shaded), scene.crop.image).rgb
    inside = alpha(scene) > 0.5
    assert peak_signal_to_noise(shown[inside], shaded.rgb[inside]) > 28.0


def test_eyes_and_teeth_stay_grey_when_skin_changes_its_colour() -> None:
    """Grey pixels take but a share of a change that is the skin's."""
    camera = np.full((80, 80, 3), (0.75, 0.6, 0.53), np.float32)
    generated = np.full((80, 80, 3), (0.8, 0.55, 0.4), np.float32)
    generated[30:36, 30:50] = 0.8  # teeth
    skin = np.ones((80, 80), np.float32)
    skin[26:40, 26:54] = 0
    colour = fit_colour(generated, camera, skin, scale=80.0)
    assert colour is not None
    matched = colour.apply(generated)
    np.testing.assert_allclose(matched[60, 60], camera[60, 60], atol=0.02)
    teeth = matched[33, 40]
    assert teeth.max() - teeth.min() < 0.08


def test_no_seam_shows_where_the_generated_face_ends(scene: Scene) -> None:
    """Across the soft edge, the picture changes no faster than the camera's own picture does there."""
    tinted = scene.crop.image * np.float32(0.7) + np.array((0.15, 0.0, -0.1), np.float32)[:, None, None]
    shown = render("paste", scene, tinted).rgb
    mask = alpha(scene)
    edge = (mask > 0.02) & (mask < 0.98)

    def steepness(rgb: U8) -> F32:
        grey = np.asarray(cv2.cvtColor(rgb, cv2.COLOR_RGB2GRAY), np.float32)
        return np.hypot(cv2.Sobel(grey, cv2.CV_32F, 1, 0) / 8, cv2.Sobel(grey, cv2.CV_32F, 0, 1) / 8)

    camera, pasted = steepness(scene.frame.rgb)[edge], steepness(shown)[edge]
    assert np.percentile(pasted, 99) <= np.percentile(camera, 99) + 1.0
    assert pasted.mean() <= camera.mean() + 0.5


def test_a_generated_head_that_is_narrower_does_not_bring_its_background(scene: Scene) -> None:
    """White where the camera shows the rim of a cheek: the cheek stays; deep inside, white is shown."""
    region = face_region(scene.track.landmarks, scene.crop.to_crop, (480, 640))
    assert region is not None
    portrait = scene.crop.image.copy()
    left_of_face, right_of_face = (scene.crop.landmarks[0, index, 0] * CROP for index in (234, 454))
    width = right_of_face - left_of_face
    portrait[..., : int(left_of_face + 0.12 * width)] = 1.0
    nose = np.rint(scene.crop.landmarks[0, 1] * CROP).astype(int)
    portrait[..., nose[1] - 8 : nose[1] + 8, nose[0] - 8 : nose[0] + 8] = 1.0
    shown = render("paste", scene, portrait).rgb[region.rows, region.columns].astype(int)
    camera = scene.frame.rgb[region.rows, region.columns].astype(int)
    row = camera.shape[0] // 2
    rim = np.s_[row - 10 : row + 10, : camera.shape[1] // 6]
    assert (shown[rim] - camera[rim]).max() < 65  # over 100 that without a look at the camera
    tip = np.rint(scene.track.landmarks[1]).astype(int) - (region.columns.start, region.rows.start)
    assert shown[tip[1], tip[0]].min() > 200


def test_the_mask_holds_the_face_and_leaves_the_hair(scene: Scene) -> None:
    mask, points = alpha(scene), np.rint(scene.track.landmarks).astype(int)
    for index in (1, 13, 14, 33, 133, 263, 362, 61, 291, 50, 280):  # nose, lips, eyes, cheeks
        assert mask[points[index, 1], points[index, 0]] > 0.95
    top = points[10]
    assert mask[top[1], top[0]] < 0.05
    assert mask[top[1] - 20 :: -1, top[0]].max() == 0


def test_the_masks_edge_is_soft_in_proportion_to_the_face(scene: Scene) -> None:
    mask, face_width = alpha(scene), np.ptp(scene.track.landmarks[:, 0])
    steepest = max(float(np.abs(np.diff(mask, axis=axis)).max()) for axis in (0, 1))
    assert 0.08 < 1 / (steepest * face_width) < 0.25  # the edge's width, as a share of the face's


@pytest.mark.parametrize("offset", [(-330, 0), (330, 0), (0, -150), (0, 300), (-300, 300)])
def test_a_face_that_leaves_the_frame_is_pasted_as_far_as_it_is_there(scene: Scene, offset: tuple[int, int]) -> None:
    away = moved(scene, offset)
    shown = render("paste", away, away.crop.image).rgb
    outside = alpha(away) == 0
    np.testing.assert_array_equal(shown[outside], away.frame.rgb[outside])


def test_a_face_outside_the_frame_changes_nothing(scene: Scene) -> None:
    away = moved(scene, (2000, 0))
    assert render("paste", away, noise_portrait()).rgb is away.frame.rgb


def test_a_turned_frame_gives_a_turned_picture(scene: Scene) -> None:
    portrait = np.ascontiguousarray(scene.crop.image[..., ::-1])  # the face mirrored: clearly another one
    upright = render("paste", scene, portrait).rgb
    rgb = np.ascontiguousarray(np.rot90(scene.frame.rgb))
    x, y = scene.track.landmarks.T
    track = replace(scene.track, landmarks=np.stack([y, 639 - x], axis=1))
    frame = replace(scene.frame, rgb=rgb)
    shown = render("paste", Scene(frame, track, align(frame, track, CROP)), portrait).rgb
    assert_close(np.ascontiguousarray(np.rot90(shown, -1)), upright, psnr=RESAMPLED)


def test_the_portrait_of_a_wide_frame_has_no_seam(scene: Scene) -> None:
    """The portrait fades into its backdrop: no column differs from the next more than within the picture."""
    shown = render("portrait", scene, to_tensor(scene.frame.rgb[100:356, 200:456])).rgb.astype(np.float32)
    steps = np.abs(np.diff(shown, axis=1)).mean(axis=(0, 2))
    assert steps[70:95].max() < steps[120:520].max()


def test_real_faces_stay_themselves(landmarker_model: Path, faces_dir: Path) -> None:
    """A face pasted over itself is itself, whoever it is; the first 10 of the folder."""
    paths = sorted(faces_dir.glob("*_neutral.jpg"))[:10]
    assert paths
    with Landmarker(landmarker_model) as landmarker:
        for path in paths:
            bgr = cv2.imread(str(path))
            assert bgr is not None
            rgb = np.asarray(cv2.cvtColor(bgr, cv2.COLOR_BGR2RGB), np.uint8)
            rgb = np.asarray(cv2.resize(rgb, None, fx=0.5, fy=0.5, interpolation=cv2.INTER_AREA), np.uint8)
            found = landmarker.detect(rgb)[0]
            frame = Frame(rgb, 0, 0.0)
            track = FaceTrack(found.landmarks, found.blendshapes, found.pose, 0, found.score)
            crop = align(frame, track, 512)
            dimmed = crop.image * np.float32(0.8) - np.float32(0.1)
            shown = render("paste", Scene(frame, track, crop), dimmed).rgb
            region = face_region(track.landmarks, crop.to_crop, (rgb.shape[0], rgb.shape[1]))
            assert region is not None
            inside = region.alpha > 0.5
            pasted, camera = (picture[region.rows, region.columns][inside] for picture in (shown, frame.rgb))
            assert peak_signal_to_noise(pasted, camera) > RECOLOURED, path.name


@pytest.mark.parametrize("light", [(0.25, 0.25, 0.25), (0.35, 0.5, 1.0), (1.1, 0.75, 0.45)])
def test_teeth_and_lips_take_the_light_of_the_scene(light: tuple[float, float, float]) -> None:
    """What is generated in daylight is placed into a dark room, or into blue light, as if it had been there."""
    daylight = np.full((80, 80, 3), (0.8, 0.6, 0.5), np.float32)
    daylight[30:36, 30:50] = 0.85  # teeth
    daylight[40:46, 30:50] = (0.75, 0.3, 0.3)  # lips
    skin = np.ones((80, 80), np.float32)
    skin[26:50, 26:54] = 0
    there = daylight * np.array(light, np.float32)
    colour = fit_colour(daylight, there, skin, scale=80.0)
    assert colour is not None
    matched = colour.apply(daylight)
    np.testing.assert_allclose(matched[33, 40], there[33, 40], atol=0.16)
    np.testing.assert_allclose(matched[43, 40], there[43, 40], atol=0.25)
    assert np.abs(matched[33, 40] - daylight[33, 40]).max() > 0.2
