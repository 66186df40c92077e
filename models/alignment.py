"""Where a face sits in the picture the generator knows: FFHQ's alignment, geometry plus one resampling.

Every network here was trained on FFHQ's square: eyes level, the same distance from eyes to mouth, a fixed
margin. The recipe is the one of NVIDIA's ``ffhq-dataset`` recreation script, with MediaPipe's 478 points in
place of dlib's 68.

Conventions: points are (x, y) in pixels with the centre of the top-left pixel at (0, 0), so a picture of S
pixels reaches from -0.5 to S - 0.5. Matrices are float64 [2, 3] affine maps applied as ``A p + t``;
``to_crop`` maps frame pixels to crop pixels.
"""

from __future__ import annotations

import cv2
import numpy as np
from numpy.typing import ArrayLike, NDArray

from models.arrays import F32, F64, U8

# MediaPipe face mesh: the closed contours of both eyes (without irises) and the corners of the mouth.
EYE_A = (33, 7, 163, 144, 145, 153, 154, 155, 133, 246, 161, 160, 159, 158, 157, 173)
EYE_B = (263, 249, 390, 373, 374, 380, 381, 382, 362, 466, 388, 387, 386, 385, 384, 398)
MOUTH_CORNERS = (61, 291)

# MediaPipe puts eyes and mouth corners a little nearer to each other than dlib, with which FFHQ was cut: without
# this, the square around the generator's own faces has 0.978 of the picture's side. Centre and angle need nothing.
MEDIAPIPE_TO_DLIB = 1.0225

# Shares of the square's side, as in FFHQ's script.
_BORDER = 0.1  # real pixels kept around the square before padding starts to matter
_LEAST_PADDING = 0.3  # over which the padding fades to one colour
_BLUR = 0.02  # standard deviation of the blur of the padding
_FAR = 1.5  # beyond this all of the square lies outside the frame, and farther is no different
_BLUR_PIXELS = 1.25  # the blur is made in a picture shrunk until its standard deviation is this

_DETAIL = 1.4  # patch pixels per crop pixel kept for the warp: fewer would blur, more alias


def quad(landmarks: F32) -> F64:
    """FFHQ's square around a face.

    Args:
        landmarks: float32 [478, 2], frame pixels.

    Returns:
        float64 [4, 2] frame pixels: the square's corners top-left, bottom-left, bottom-right, top-right as
        the upright face sees them. They lie outside the frame when the face is near its edge.
    """
    points = landmarks.astype(np.float64)
    eye_a, eye_b = points[list(EYE_A)].mean(axis=0), points[list(EYE_B)].mean(axis=0)
    eyes = (eye_a + eye_b) / 2
    eye_to_eye = eye_b - eye_a
    eye_to_mouth = points[list(MOUTH_CORNERS)].mean(axis=0) - eyes
    # The right eye is the one on the right when the mouth is below; points of a mirrored picture come with
    # the two swapped, and the square must not collapse.
    if eye_to_eye[0] * eye_to_mouth[1] - eye_to_eye[1] * eye_to_mouth[0] < 0:
        eye_to_eye = -eye_to_eye

    x = eye_to_eye - _rotate90(eye_to_mouth)
    x *= MEDIAPIPE_TO_DLIB * max(2.0 * np.hypot(*eye_to_eye), 1.8 * np.hypot(*eye_to_mouth)) / np.hypot(*x)
    y = _rotate90(x)
    centre = eyes + 0.1 * eye_to_mouth
    return np.stack([centre - x - y, centre - x + y, centre + x + y, centre + x - y])


def to_crop_matrix(landmarks: F32, size: int) -> F64:
    """Similarity from frame pixels to the pixels of a size x size crop.

    The square's corners land on the crop's outer edges, (-0.5, -0.5) to (size - 0.5, size - 0.5).

    Args:
        landmarks: float32 [478, 2], frame pixels.
        size: crop side in pixels.

    Returns:
        float64 [2, 3].
    """
    top_left, bottom_left, _, top_right = quad(landmarks)
    x_step, y_step = (top_right - top_left) / size, (bottom_left - top_left) / size
    origin = top_left + 0.5 * (x_step + y_step)
    return invert(np.column_stack([x_step, y_step, origin]))


def to_unit_matrix(landmarks: F32) -> F64:
    """Similarity from frame pixels to shares of the square: its corners are (0, 0) to (1, 1); float64 [2, 3]."""
    matrix = to_crop_matrix(landmarks, 1)
    matrix[:, 2] += 0.5
    return matrix


def crop(rgb: U8, to_crop: F64, size: int) -> U8:
    """Resample the square of a frame, antialiased, with FFHQ's soft padding beyond the frame's edges.

    Args:
        rgb: uint8 [H, W, 3].
        to_crop: float64 [2, 3], frame pixels -> crop pixels (a similarity).
        size: crop side in pixels.

    Returns:
        uint8 [size, size, 3], same colour order as ``rgb``.
    """
    to_frame = invert(to_crop)
    side = float(np.hypot(*to_frame[:, 0])) * size
    outline = np.array([[-0.5, -0.5], [-0.5, size - 0.5], [size - 0.5, size - 0.5], [size - 0.5, -0.5]])
    corners = transform_points(to_frame, outline)
    low, high = corners.min(axis=0), corners.max(axis=0)

    # 1. The part of the frame under the square, averaged over whole blocks of pixels.
    shrink = max(1, int(side / size / _DETAIL))
    patch, to_patch = _shrunk_region(rgb, low, high, shrink, margin=2 * shrink)

    # 2. Padding, only when the square leaves the frame.
    frame_height, frame_width = rgb.shape[:2]
    overhang = np.array([-0.5 - low[0], -0.5 - low[1], high[0] - (frame_width - 0.5), high[1] - (frame_height - 0.5)])
    if overhang.max() > 0:
        patch, offset = _pad_softly(patch, np.clip(overhang, 0, _FAR * side) / shrink, side / shrink)
        to_patch[:, 2] += offset

    # 3. One warp. A minifying one goes to twice the size first, so that averaging 2x2 is the antialiasing.
    oversample = 2 if side > size else 1
    matrix = _compose(_scaling(oversample), _compose(to_crop, invert(to_patch)))
    out = cv2.warpAffine(
        patch,
        matrix,
        (size * oversample, size * oversample),
        flags=cv2.INTER_LINEAR,
        borderMode=cv2.BORDER_REFLECT_101,
    )
    if oversample > 1:
        out = cv2.resize(out, (size, size), interpolation=cv2.INTER_AREA)
    return np.asarray(out, np.uint8)


def to_tensor(rgb: U8) -> F32:
    """Picture to network input: uint8 [S, S, 3] in [0, 255] -> float32 [1, 3, S, S] in [-1, 1]."""
    planes = np.ascontiguousarray(rgb.transpose(2, 0, 1), np.float32)
    planes *= np.float32(1 / 127.5)
    planes -= np.float32(1.0)
    return planes[None]


def to_rgb(tensor: F32) -> U8:
    """Network output to picture: float32 [1, 3, S, S] about [-1, 1] -> uint8 [S, S, 3], clipped, rounded."""
    planes = tensor[0] * np.float32(127.5)
    planes += np.float32(127.5)
    np.rint(planes, out=planes)
    np.clip(planes, 0, 255, out=planes)
    return np.ascontiguousarray(planes.astype(np.uint8).transpose(1, 2, 0))


def transform_points(matrix: F64, points: ArrayLike) -> F64:
    """Map points [..., 2] by an affine map [2, 3]; float64 [..., 2]."""
    mapped: F64 = np.asarray(points, np.float64) @ matrix[:, :2].T + matrix[:, 2]
    return mapped


def invert(matrix: F64) -> F64:
    """The inverse of an affine map; float64 [2, 3]."""
    linear = np.linalg.inv(matrix[:, :2])
    return np.column_stack([linear, -linear @ matrix[:, 2]])


def _rotate90(vector: F64) -> F64:
    return np.array([-vector[1], vector[0]])


def _compose(outer: F64, inner: F64) -> F64:
    """The map that applies ``inner`` first."""
    return np.column_stack([outer[:, :2] @ inner[:, :2], transform_points(outer, inner[:, 2])])


def _scaling(factor: float) -> F64:
    """Enlargement of a picture by ``factor``, edges to edges under the pixel-centre rule."""
    shift = (factor - 1) / 2
    return np.array([[factor, 0, shift], [0, factor, shift]], np.float64)


def _shrunk_region(rgb: U8, low: F64, high: F64, shrink: int, margin: int) -> tuple[U8, F64]:
    """The frame between two corners (clipped to the frame), area-averaged by ``shrink``.

    Returns:
        The patch and the map frame pixels -> patch pixels.
    """
    start, stop = np.empty(2, int), np.empty(2, int)
    for axis, length in enumerate((rgb.shape[1], rgb.shape[0])):
        first = min(max(int(np.floor(low[axis])) - margin, 0), length - 1)
        last = min(max(int(np.ceil(high[axis])) + margin + 1, first + 1), length)
        whole_blocks = first + -(-(last - first) // shrink) * shrink
        start[axis], stop[axis] = first, min(whole_blocks, length)
    region = rgb[start[1] : stop[1], start[0] : stop[0]]
    extent = stop - start
    shrunk = np.maximum(1, np.rint(extent / shrink).astype(int))
    if shrink > 1:
        region = np.asarray(
            cv2.resize(region, (int(shrunk[0]), int(shrunk[1])), interpolation=cv2.INTER_AREA), np.uint8
        )
    factor = shrunk / extent
    return region, np.column_stack([np.diag(factor), (0.5 - start) * factor - 0.5])


def _pad_softly(patch: U8, overhang: F64, side: float) -> tuple[U8, F64]:
    """FFHQ's padding: mirrored, blurred from a little inside the edge on, fading to the median colour.

    FFHQ's blur reaches a fixed way into the picture; here it grows with the overhang up to that, so that
    nothing pops when a face moves across the edge.

    Args:
        patch: uint8 [h, w, 3], what the frame has of the square.
        overhang: float64 [4], pixels by which the square passes the edges left, top, right, bottom; >= 0.
        side: the square's side in patch pixels.

    Returns:
        The padded patch and float64 [2], where the old origin now lies.
    """
    left, top, right, bottom = (int(np.ceil(o)) + 2 if o > 0 else 0 for o in overhang)
    height, width = patch.shape[:2]
    padded = cv2.copyMakeBorder(patch, top, bottom, left, right, cv2.BORDER_REFLECT_101)
    rows, columns = padded.shape[:2]

    # Blur and median colour are smooth: they are made small and enlarged.
    reduce = max(1, int(_BLUR * side / _BLUR_PIXELS))
    small_rows, small_columns = max(1, rows // reduce), max(1, columns // reduce)
    small = cv2.resize(padded, (small_columns, small_rows), interpolation=cv2.INTER_AREA)
    median = np.median(small.reshape(-1, 3), axis=0).astype(np.float32)
    blurred = cv2.GaussianBlur(small, (0, 0), _BLUR * side / reduce).astype(np.float32)
    small_x = (np.arange(small_columns) + 0.5) * columns / small_columns - 0.5 - left
    small_y = (np.arange(small_rows) + 0.5) * rows / small_rows - 0.5 - top
    fade_x, _ = _edge_weights(small_x, width, overhang[0::2], side)
    fade_y, _ = _edge_weights(small_y, height, overhang[1::2], side)
    blurred += (median - blurred) * np.maximum(fade_x[None, :], fade_y[:, None])[..., None]
    backdrop = cv2.resize(np.rint(blurred).astype(np.uint8), (columns, rows), interpolation=cv2.INTER_LINEAR)

    _, soft_x = _edge_weights(np.arange(columns) - left, width, overhang[0::2], side)
    _, soft_y = _edge_weights(np.arange(rows) - top, height, overhang[1::2], side)
    clear_x, clear_y = _span(soft_x == 0), _span(soft_y == 0)
    for y, x in (
        (slice(0, clear_y.start), slice(0, columns)),
        (slice(clear_y.stop, rows), slice(0, columns)),
        (clear_y, slice(0, clear_x.start)),
        (clear_y, slice(clear_x.stop, columns)),
    ):
        soft = np.maximum(soft_x[None, x], soft_y[y, None])
        if soft.size:
            padded[y, x] = cv2.blendLinear(backdrop[y, x], padded[y, x], soft, 1 - soft)
    return np.asarray(padded, np.uint8), np.array([left, top], np.float64)


def _span(flags: NDArray[np.bool_]) -> slice:
    """The run of True in an array that has at most one; an empty slice at its end where it has none."""
    places = np.flatnonzero(flags)
    return slice(int(places[0]), int(places[-1]) + 1) if places.size else slice(len(flags), len(flags))


def _edge_weights(position: NDArray[np.int_] | F64, length: int, overhang: F64, side: float) -> tuple[F32, F32]:
    """Weights along one axis of the padded patch.

    Args:
        position: pixel positions, 0 at the patch's first pixel.
        length: the patch's extent.
        overhang: float64 [2], pixels past the first and the last edge.
        side: the square's side in pixels.

    Returns:
        Two float32 arrays in [0, 1]: share of the median colour (0 within the frame, rising outwards) and
        share of the blur (1 outside, falling inwards).
    """
    fade = np.zeros(position.shape, np.float32)
    soft = np.zeros(position.shape, np.float32)
    for outside, over in ((-0.5 - position, overhang[0]), (position - (length - 0.5), overhang[1])):
        if over <= 0:
            continue
        padding = max(over + _BORDER * side, _LEAST_PADDING * side)
        reach = min(over, padding / 3)
        fade = np.maximum(fade, np.clip(outside / padding, 0, 1))
        soft = np.maximum(soft, np.clip(1 + outside / reach, 0, 1))
    return fade.astype(np.float32), soft.astype(np.float32)
