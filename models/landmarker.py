"""Find faces: MediaPipe's 478 landmarks, 52 blendshapes and the head's pose.

MediaPipe looks at the whole picture first. Only when that finds nothing are parts of it looked at (see
models.face_windows): faces that are small in a large picture, or fill a small one, are found that way.
"""

from __future__ import annotations

import contextlib
import os
import sys
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import mediapipe
import numpy as np
from mediapipe.tasks.python import vision
from mediapipe.tasks.python.core.base_options import BaseOptions

from models.arrays import F32, F64, U8
from models.closing import Closing
from models.errors import UserError
from models.face_windows import Window, around, face_size, holds, overlap, search_levels, whole

BLENDSHAPES: tuple[str, ...] = (
    "_neutral", "browDownLeft", "browDownRight", "browInnerUp", "browOuterUpLeft", "browOuterUpRight",
    "cheekPuff", "cheekSquintLeft", "cheekSquintRight", "eyeBlinkLeft", "eyeBlinkRight", "eyeLookDownLeft",
    "eyeLookDownRight", "eyeLookInLeft", "eyeLookInRight", "eyeLookOutLeft", "eyeLookOutRight",
    "eyeLookUpLeft", "eyeLookUpRight", "eyeSquintLeft", "eyeSquintRight", "eyeWideLeft", "eyeWideRight",
    "jawForward", "jawLeft", "jawOpen", "jawRight", "mouthClose", "mouthDimpleLeft", "mouthDimpleRight",
    "mouthFrownLeft", "mouthFrownRight", "mouthFunnel", "mouthLeft", "mouthLowerDownLeft",
    "mouthLowerDownRight", "mouthPressLeft", "mouthPressRight", "mouthPucker", "mouthRight", "mouthRollLower",
    "mouthRollUpper", "mouthShrugLower", "mouthShrugUpper", "mouthSmileLeft", "mouthSmileRight",
    "mouthStretchLeft", "mouthStretchRight", "mouthUpperUpLeft", "mouthUpperUpRight", "noseSneerLeft",
    "noseSneerRight",
)  # fmt: skip
"""MediaPipe's order; left and right are the person's own."""

# A face in the whole picture may be faint: half hidden, half outside. In tiles, cut from texture, faint
# ones are mostly not faces.
_WHOLE_CONFIDENCE = 0.3
_TILE_CONFIDENCE = 0.5
_PRESENCE = 0.5
_TILES_PER_FRAME = 3  # looked at in each video frame without a face: 8 ms
_SMALL = 0.2  # share of the picture's longer side below which a face is only roughly placed
_SAME_FACE = 0.3  # overlap above which two finds are one face


@dataclass(frozen=True)
class Detection:
    """One face in one picture.

    Attributes:
        landmarks: float32 [478, 2], MediaPipe face mesh with irises, (x, y) pixels, the centre of the
            top-left pixel at (0, 0); they may lie outside the picture.
        blendshapes: float32 [52] in [0, 1], in the order of BLENDSHAPES.
        pose: float32 [3], yaw, pitch, roll in degrees: positive yaw turns to the picture's right, positive
            pitch looks up, positive roll leans clockwise in the picture.
        score: share of the landmarks that lie inside the picture, in [0, 1]. (MediaPipe keeps its own
            confidence, at least 0.5 for every face returned, to itself.)
    """

    landmarks: F32
    blendshapes: F32
    pose: F32
    score: float


class Landmarker(Closing):
    """Finds faces in pictures, or follows them through the frames of a video.

    A context manager; close it before the interpreter ends. One thread at a time.

    Args:
        model: MediaPipe's ``face_landmarker.task``.
        video: False = every picture stands alone. True = pictures are a video's frames: faces are followed
            from one to the next, which is quicker and steadier.
        max_faces: at most so many are returned. MediaPipe smooths a video's landmarks itself when this is 1.

    Raises:
        UserError: the model file is missing or is not a face landmarker.
    """

    def __init__(self, model: Path, *, video: bool = False, max_faces: int = 1) -> None:
        try:
            self._model = model.read_bytes()
        except OSError as error:
            raise UserError(
                f"cannot read the face landmarker {model}: {error.strerror}; run './run.sh pull' to fetch it"
            ) from error
        self._path = model
        self._video = video
        self._max_faces = max_faces
        self._clock = -1  # the last timestamp MediaPipe saw, milliseconds
        self._window: Window | None = None  # where a video's face is followed; None = in the whole picture
        self._next_tile = 0
        self._first = True
        self._tiles: Any = None  # made when first needed
        mode = vision.RunningMode.VIDEO if video else vision.RunningMode.IMAGE
        self._main = self._create(mode, _WHOLE_CONFIDENCE)

    def close(self) -> None:
        """Release MediaPipe; harmless when done already."""
        for task in (self._main, self._tiles):
            if task is not None:
                task.close()

    def detect(self, rgb: U8, timestamp_ms: int | None = None) -> list[Detection]:
        """Find faces, largest first.

        Args:
            rgb: uint8 [H, W, 3].
            timestamp_ms: when a video's frame was captured; None = a millisecond after the one before. A time
                that does not increase is taken as that, too. Without meaning for single pictures.
        """
        if not self._video:
            faces = self._run(self._main, rgb, whole(rgb), None)
            if any(face_size(face.landmarks) < _SMALL * max(rgb.shape[:2]) for face in faces):
                faces = self._distinct(rgb, faces, [])
            faces = faces or self._search(rgb, None)
        else:
            faces = self._follow(rgb, max(self._clock + 1, timestamp_ms or 0))
        return sorted(faces, key=lambda face: -face_size(face.landmarks))[: self._max_faces]

    def _follow(self, rgb: U8, now: int) -> list[Detection]:
        faces = self._run(self._main, rgb, self._window or whole(rgb), now)
        if faces and (self._window is None or holds(self._window, faces[0].landmarks)):
            return faces
        if self._window is not None:
            self._forget()
            self._window = None
        if not faces:
            # A video that opens on a small face shall have it in its first frame; later on the search is
            # spread over frames, so that none is late.
            faces = self._search(rgb, None if self._first else _TILES_PER_FRAME)
        self._first = False
        if faces:
            self._window = around(faces[0].landmarks)
        return faces

    def _forget(self) -> None:
        """Make MediaPipe drop the faces it follows: their places are in the coordinates of another window."""
        self._clock += 1
        blank = mediapipe.Image(image_format=mediapipe.ImageFormat.SRGB, data=np.zeros((32, 32, 3), np.uint8))
        self._main.detect_for_video(blank, self._clock)

    def _search(self, rgb: U8, budget: int | None) -> list[Detection]:
        """Look at parts of the picture; stop at the first size of tiles that holds a face.

        Args:
            rgb: uint8 [H, W, 3].
            budget: how many parts to look at, going on where the last search ended. None = all.
        """
        levels = search_levels(rgb)
        if budget is not None:
            tiles = [tile for level in levels for tile in level]
            levels = [[tiles[(self._next_tile + i) % len(tiles)] for i in range(min(budget, len(tiles)))]]
            self._next_tile = (self._next_tile + budget) % len(tiles)
        for level in levels:
            found: list[Detection] = []
            for tile in level:
                found = self._distinct(rgb, self._run(self._look_closer(), rgb, tile, None), found)
            if found:
                return found
        return []

    def _distinct(self, rgb: U8, glimpses: list[Detection], found: list[Detection]) -> list[Detection]:
        """Add to the faces found those of which a part of the picture, or one too small, gave a glimpse.

        The part may cut the face, and a small one is only roughly placed: a window around it shows where its
        points really are.
        """
        for glimpse in glimpses:
            for face in self._run(self._look_closer(), rgb, around(glimpse.landmarks), None)[:1]:
                if all(overlap(face.landmarks, other.landmarks) < _SAME_FACE for other in found):
                    found = [*found, face]
        return found

    def _look_closer(self) -> Any:  # noqa: ANN401
        if self._tiles is None:
            self._tiles = self._create(vision.RunningMode.IMAGE, _TILE_CONFIDENCE)
        return self._tiles

    def _run(self, task: Any, rgb: U8, window: Window, now: int | None) -> list[Detection]:  # noqa: ANN401
        image = mediapipe.Image(image_format=mediapipe.ImageFormat.SRGB, data=window.cut(rgb))
        if now is None:
            result = task.detect(image)
        else:
            self._clock = now
            result = task.detect_for_video(image, now)
        faces = zip(
            result.face_landmarks, result.face_blendshapes, result.facial_transformation_matrixes, strict=True
        )
        return [_detection(rgb, window, *face) for face in faces]

    def _create(self, mode: Any, confidence: float) -> Any:  # noqa: ANN401
        options = vision.FaceLandmarkerOptions(
            base_options=BaseOptions(model_asset_buffer=self._model),
            running_mode=mode,
            num_faces=self._max_faces,
            min_face_detection_confidence=confidence,
            min_face_presence_confidence=_PRESENCE,
            min_tracking_confidence=_PRESENCE,
            output_face_blendshapes=True,
            output_facial_transformation_matrixes=True,
        )
        try:
            with _without_chatter():
                return vision.FaceLandmarker.create_from_options(options)
        except (RuntimeError, ValueError) as error:
            raise UserError(
                f"{self._path} is not a face landmarker MediaPipe can load ({error}); "
                "run './run.sh pull' to fetch it anew"
            ) from error


def pose_of(matrix: F64) -> F32:
    """Yaw, pitch, roll of a head.

    Args:
        matrix: float64 [4, 4], head to camera; x to the picture's right, y up, z towards the camera.

    Returns:
        float32 [3] degrees, signs as in Detection. Roll is the last turn, in the picture's plane, so yaw and
        pitch are those of the picture turned upright.
    """
    scale = np.cbrt(np.linalg.det(matrix[:3, :3]))
    rotation = matrix[:3, :3] / scale
    yaw = -np.arcsin(np.clip(rotation[2, 0], -1, 1))
    pitch = -np.arctan2(rotation[2, 1], rotation[2, 2])
    roll = -np.arctan2(rotation[1, 0], rotation[0, 0])
    return np.degrees([yaw, pitch, roll]).astype(np.float32)


def _detection(rgb: U8, window: Window, landmarks: Any, blendshapes: Any, matrix: Any) -> Detection:  # noqa: ANN401
    shares = np.array([(point.x, point.y) for point in landmarks], np.float64)
    # MediaPipe's coordinates are shares of the picture's extent, from edge to edge.
    points = shares * [window.width, window.height] + [window.x - 0.5, window.y - 0.5]
    inside = ((points > -0.5) & (points < [rgb.shape[1] - 0.5, rgb.shape[0] - 0.5])).all(axis=1)
    return Detection(
        landmarks=points.astype(np.float32),
        blendshapes=np.array([shape.score for shape in blendshapes], np.float32),
        pose=pose_of(np.asarray(matrix, np.float64)),
        score=float(inside.mean()),
    )


@contextlib.contextmanager
def _without_chatter() -> Iterator[None]:
    """Hold back MediaPipe's C++ notes and warnings on stderr; anything graver is passed on.

    They come from native code, which writes to the file descriptor and heeds no log level.
    """
    sys.stderr.flush()
    try:
        kept = os.dup(2)
    except OSError:  # no stderr, as in a windowed program
        yield
        return
    with tempfile.TemporaryFile() as held:
        os.dup2(held.fileno(), 2)
        try:
            yield
        finally:
            os.dup2(kept, 2)
            os.close(kept)
            held.seek(0)
            for line in held.read().decode(errors="replace").splitlines():
                if not line.startswith(("W0", "I0", "INFO:", "WARNING:")):
                    sys.stderr.write(line + "\n")
