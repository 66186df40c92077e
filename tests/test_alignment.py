"""FFHQ's alignment: the geometry by its properties, the resampling by pictures whose answer is known."""

from __future__ import annotations

from itertools import pairwise

import cv2
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from models.alignment import (
    EYE_A,
    EYE_B,
    MEDIAPIPE_TO_DLIB,
    MOUTH_CORNERS,
    crop,
    invert,
    quad,
    to_crop_matrix,
    to_rgb,
    to_tensor,
    transform_points,
)
from models.arrays import F32, F64, U8
from tests.pictures import assert_close

SIZE = 128
RESAMPLED = 35.0  # dB; two good ways of shrinking one picture
SAME_PIXELS = 40.0  # dB; the same resampling with other roundings

angles = st.floats(-np.pi, np.pi)
eye_distances = st.floats(5, 400)
places = st.tuples(st.floats(-500, 2500), st.floats(-500, 2500))


def face(
    centre: tuple[float, float] = (300.0, 200.0), eyes: float = 60.0, angle: float = 0.0, mouth: float = 1.1
) -> F32:
    """Landmarks [478, 2] of a schematic face: eyes ``eyes`` apart, mouth ``mouth`` times that below them."""
    points = np.zeros((478, 2))
    points[list(EYE_A)] = [-eyes / 2, 0]
    points[list(EYE_B)] = [eyes / 2, 0]
    points[list(MOUTH_CORNERS)] = [[-0.4 * eyes, mouth * eyes], [0.4 * eyes, mouth * eyes]]
    turn = np.array([[np.cos(angle), -np.sin(angle)], [np.sin(angle), np.cos(angle)]])
    return np.asarray(points @ turn.T + centre, np.float32)


def whole_picture(scale: float, size: int) -> F64:
    """The map that shows a picture of ``scale * size`` pixels in ``size`` pixels, edges to edges."""
    return invert(np.array([[scale, 0, (scale - 1) / 2], [0, scale, (scale - 1) / 2]]))


def reference_quad(points: F32) -> F64:
    """NVIDIA's recreate_aligned_images, line by line, for points of MediaPipe."""
    eye_left, eye_right = points[list(EYE_A)].mean(0), points[list(EYE_B)].mean(0)
    eye_avg, eye_to_eye = (eye_left + eye_right) * 0.5, eye_right - eye_left
    eye_to_mouth = (points[61] + points[291]) * 0.5 - eye_avg
    x = eye_to_eye - np.flipud(eye_to_mouth) * [-1, 1]
    x /= np.hypot(*x)
    x *= max(np.hypot(*eye_to_eye) * 2.0, np.hypot(*eye_to_mouth) * 1.8) * MEDIAPIPE_TO_DLIB
    y = np.flipud(x) * [-1, 1]
    c = eye_avg + eye_to_mouth * 0.1
    return np.stack([c - x - y, c - x + y, c + x + y, c + x - y])


@given(places, eye_distances, angles, st.floats(0.3, 2))
def test_the_square_is_that_of_the_published_recipe(
    centre: tuple[float, float], eyes: float, angle: float, mouth: float
) -> None:
    points = face(centre, eyes, angle, mouth)
    np.testing.assert_allclose(quad(points), reference_quad(points), atol=eyes * 1e-3)


def test_an_upright_face_has_its_corners_where_the_picture_has_them() -> None:
    # Eyes 60 apart, mouth 66 below: half a side is max(2 * 60, 1.8 * 66) = 120; the centre is 6.6 below the eyes.
    half = 120 * MEDIAPIPE_TO_DLIB
    from_centre = quad(face(eyes=60, mouth=1.1)) - [300, 206.6]
    corners = [[-half, -half], [-half, half], [half, half], [half, -half]]
    np.testing.assert_allclose(from_centre, corners, atol=1e-3)


@given(places, eye_distances, angles, angles, st.floats(0.2, 5), places)
def test_the_square_moves_turns_and_grows_with_the_face(
    centre: tuple[float, float],
    eyes: float,
    angle: float,
    turn: float,
    growth: float,
    shift: tuple[float, float],
) -> None:
    points = face(centre, eyes, angle)
    linear = growth * np.array([[np.cos(turn), -np.sin(turn)], [np.sin(turn), np.cos(turn)]])
    matrix = np.column_stack([linear, shift])
    moved = transform_points(matrix, points).astype(np.float32)
    # float32 landmarks a few thousand pixels from the origin are good to a thousandth of a pixel
    np.testing.assert_allclose(quad(moved), transform_points(matrix, quad(points)), atol=growth * 0.05)


@given(places, eye_distances, angles)
def test_swapped_eyes_make_the_same_square(centre: tuple[float, float], eyes: float, angle: float) -> None:
    points = face(centre, eyes, angle)
    swapped = points.copy()
    swapped[list(EYE_A)], swapped[list(EYE_B)] = points[list(EYE_B)], points[list(EYE_A)]
    np.testing.assert_allclose(quad(swapped), quad(points), atol=1e-3)


@given(places, eye_distances, angles, st.integers(16, 1024))
def test_points_come_back_from_the_crop(centre: tuple[float, float], eyes: float, angle: float, size: int) -> None:
    points = face(centre, eyes, angle)
    to_crop = to_crop_matrix(points, size)
    there = transform_points(to_crop, points)
    np.testing.assert_allclose(transform_points(invert(to_crop), there), points, atol=1e-6)


@given(places, eye_distances, angles, st.integers(16, 1024))
def test_the_square_fills_the_crop_edge_to_edge_without_shear(
    centre: tuple[float, float], eyes: float, angle: float, size: int
) -> None:
    points = face(centre, eyes, angle)
    to_crop = to_crop_matrix(points, size)
    edges = [[-0.5, -0.5], [-0.5, size - 0.5], [size - 0.5, size - 0.5], [size - 0.5, -0.5]]
    np.testing.assert_allclose(transform_points(to_crop, quad(points)), edges, atol=1e-6)
    (a, b), (c, d) = to_crop[:, :2]
    np.testing.assert_allclose([a, b], [d, -c], atol=1e-9)
    assert a * d - b * c > 0, "a similarity that mirrors"


@pytest.mark.parametrize("scale", [0.5, 1.0, 1.5, 2.0, 3.0, 7.3])
def test_a_gradient_arrives_where_the_geometry_says(scale: float) -> None:
    frame_side = int(SIZE * scale)
    ramp = np.linspace(20, 235, frame_side)
    rising_x_falling_y = np.stack(np.broadcast_arrays(ramp[None, :], ramp[::-1, None], 128.0), -1)
    to_crop = whole_picture(frame_side / SIZE, SIZE)
    out = crop(np.rint(rising_x_falling_y).astype(np.uint8), to_crop, SIZE).astype(float)
    expected = 20 + 215 * ((np.arange(SIZE) + 0.5) / SIZE * frame_side - 0.5) / (frame_side - 1)
    inner = slice(2, -2)
    rising, falling = out[64, inner, 0] - expected[inner], out[inner, 64, 1] - expected[::-1][inner]
    assert max(np.abs(rising).max(), np.abs(falling).max()) < 2
    # OpenCV's averaging rounds halves up, alike in both; a shift is what differs between them.
    assert abs((rising - falling).mean()) < 0.2, "half a crop pixel would be 1.7"


@pytest.mark.parametrize("scale", [1.3, 2.0, 2.75, 3.7, 5.5, 8.0])
@pytest.mark.parametrize("angle", [0.0, 0.4])
def test_shrinking_does_not_alias(scale: float, angle: float) -> None:
    """The finest chequerboard there is becomes plain grey, whatever the shrinkage and the turn."""
    frame_side = int(SIZE * scale * 1.6)
    board = (np.indices((frame_side, frame_side)).sum(0) % 2 * 255).astype(np.uint8)
    linear = scale * np.array([[np.cos(angle), -np.sin(angle)], [np.sin(angle), np.cos(angle)]])
    centre = np.full(2, (frame_side - 1) / 2) - linear @ np.full(2, (SIZE - 1) / 2)
    out = crop(np.dstack([board] * 3), invert(np.column_stack([linear, centre])), SIZE)
    assert np.abs(out.astype(int) - 128).mean() < 18, "unfiltered sampling leaves 127"


def test_mean_colour_is_kept(astronaut: U8) -> None:
    out = crop(astronaut, whole_picture(4.0, SIZE), SIZE)
    np.testing.assert_allclose(out.mean((0, 1)), astronaut.mean((0, 1)), atol=0.5)


@pytest.mark.parametrize("scale", [1.5, 2.0, 2.75, 3.0, 4.0])
def test_a_shrunk_crop_is_the_area_average(astronaut: U8, scale: float) -> None:
    part = astronaut[: int(SIZE * scale), : int(SIZE * scale)]
    area = np.asarray(cv2.resize(part, (SIZE, SIZE), interpolation=cv2.INTER_AREA), np.uint8)
    assert_close(crop(part, whole_picture(scale, SIZE), SIZE), area, psnr=RESAMPLED)


def test_a_turned_frame_gives_the_same_crop(astronaut: U8) -> None:
    points = face((222, 110), 40)
    turned = np.ascontiguousarray(np.rot90(astronaut))
    turned_points = np.column_stack([points[:, 1], 511 - points[:, 0]]).astype(np.float32)
    upright = crop(astronaut, to_crop_matrix(points, SIZE), SIZE)
    assert_close(crop(turned, to_crop_matrix(turned_points, SIZE), SIZE), upright, psnr=SAME_PIXELS)


def test_inside_the_frame_nothing_but_the_frame_is_seen(astronaut: U8) -> None:
    """A frame that goes on beyond the square, and one cut off right there, give the same crop."""
    points = face((220, 180), 40)
    low, high = quad(points).min(0).astype(int), np.ceil(quad(points).max(0)).astype(int) + 1
    part = np.ascontiguousarray(astronaut[low[1] : high[1], low[0] : high[0]])
    out = crop(part, to_crop_matrix(points - low.astype(np.float32), SIZE), SIZE)
    assert_close(out, crop(astronaut, to_crop_matrix(points, SIZE), SIZE), psnr=SAME_PIXELS)


@pytest.mark.parametrize("centre", [(5.0, 200.0), (500.0, 250.0), (250.0, 10.0), (250.0, 505.0), (2.0, 2.0)])
def test_beyond_the_edge_is_soft_and_of_the_pictures_colour(astronaut: U8, centre: tuple[float, float]) -> None:
    points = face(centre, 50)
    to_crop = to_crop_matrix(points, SIZE)
    out = crop(astronaut, to_crop, SIZE)
    grid = np.stack(np.meshgrid(np.arange(SIZE), np.arange(SIZE)), -1)
    on_frame = transform_points(invert(to_crop), grid)
    outside = (on_frame < -8).any(-1) | (on_frame > 519).any(-1)
    well_inside = ((on_frame > 40) & (on_frame < 471)).all(-1)
    assert outside.sum() > 500
    assert well_inside.sum() > 500
    sharpness = np.abs(cv2.Laplacian(out, cv2.CV_32F)).mean(-1)
    assert sharpness[outside].mean() < 0.4 * sharpness[well_inside].mean()
    assert out[outside].min() > 0, "black padding"
    # inside, the frame's own pixels
    nearest = np.rint(on_frame[well_inside]).astype(int)
    assert np.abs(out[well_inside].astype(int) - astronaut[nearest[:, 1], nearest[:, 0]]).mean() < 12


def test_nothing_pops_when_a_face_crosses_the_edge(astronaut: U8) -> None:
    """Moved by a tenth of a pixel across the edge, the crop changes as little as anywhere else."""
    half_side = 2.0 * 40
    crossing = [
        crop(astronaut, to_crop_matrix(face((half_side - 1 + step / 10, 250), 40), SIZE), SIZE).astype(int)
        for step in range(-20, 21)
    ]
    jumps = [np.abs(a - b).max() for a, b in pairwise(crossing)]
    assert max(jumps) <= 25


@given(places, st.floats(1, 600), angles)
def test_any_face_anywhere_gives_a_picture(centre: tuple[float, float], eyes: float, angle: float) -> None:
    frame = np.full((120, 160, 3), (200, 100, 50), np.uint8)
    out = crop(frame, to_crop_matrix(face(centre, eyes, angle), 64), 64)
    assert out.shape == (64, 64, 3)
    assert out.dtype == np.uint8
    assert np.abs(out.astype(int) - (200, 100, 50)).max() <= 1, "a plain wall is a plain wall, padded or not"


def test_tensor_and_back_is_the_same_picture(astronaut: U8) -> None:
    tensor = to_tensor(astronaut)
    assert tensor.shape == (1, 3, 512, 512)
    assert tensor.dtype == np.float32
    assert tensor.min() >= -1
    assert tensor.max() <= 1
    np.testing.assert_array_equal(to_rgb(tensor), astronaut)


def test_a_generators_overshoot_is_clipped() -> None:
    overshoot = np.array([-1.7, -1.0, 0.0, 1.0, 1.7], np.float32)
    tensor = np.broadcast_to(overshoot, (1, 3, 5, 5)).copy()
    np.testing.assert_array_equal(to_rgb(tensor)[0, :, 0], [0, 0, 128, 255, 255])
    assert tensor[0, 0, 0, 0] == np.float32(-1.7), "the generator's own array was written into"
