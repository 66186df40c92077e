"""Follow one face through the frames and steady its landmarks."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from types import TracebackType

import numpy as np

from live.frame import FaceTrack, Frame
from models.arrays import F32, F64
from models.face_windows import face_size, overlap
from models.landmarker import Detection, Landmarker

_MAX_FACES = 3  # looked at, to know the largest one and to hold on to the followed one
_SAME_FACE = 0.1  # least overlap of one face's boxes in two frames; heads move fast at low frame rates
_PATIENCE = 0.25  # seconds to wait for the followed face before another one in view is taken
_MEMORY = 1.0  # seconds a face may be out of sight and come back as itself


@dataclass(frozen=True)
class Steadied:
    """What the landmark filter remembers.

    Attributes:
        t: seconds, when.
        points: float32 [N, 2], the filtered points, pixels.
        speed: float32 [N, 2], their filtered speed, face sizes per second.
    """

    t: float
    points: F32
    speed: F32


@dataclass(frozen=True)
class LandmarkFilter:
    """The One-Euro filter (Casiez, Roussel, Vogel: "1 Euro Filter", CHI 2012), point by point.

    A point at rest is averaged over long, a moving one hardly at all. Speeds are in face sizes, so that the
    camera's resolution and the distance to it make no difference. The constants were chosen on a still and a
    shaken picture with sensor noise: from frame to frame a still face's points move a fifth of what they do
    unfiltered, a head that sways by 1.8 face sizes a second lags 4 ms.

    Attributes:
        min_cutoff: Hz, at rest; lower is steadier.
        beta: Hz per face size per second; higher follows faster.
        speed_cutoff: Hz, for the speed itself.
    """

    min_cutoff: float = 0.5
    beta: float = 20.0
    speed_cutoff: float = 3.0

    def steady(self, points: F32, t: float, state: Steadied | None) -> Steadied:
        """Take float32 [N, 2] points of time ``t``; without a state before that time, start afresh."""
        if state is None or t <= state.t:
            return Steadied(t, points, np.zeros_like(points))
        dt = t - state.t
        newest_speed = (points - state.points) / (dt * face_size(points))
        speed = state.speed + _weight(np.asarray(self.speed_cutoff), dt) * (newest_speed - state.speed)
        cutoff: F64 = self.min_cutoff + self.beta * np.linalg.norm(speed, axis=1, keepdims=True)
        steadied = state.points + _weight(cutoff, dt) * (points - state.points)
        return Steadied(t, steadied.astype(np.float32), speed.astype(np.float32))


class FaceTracker:
    """Follows the largest face; once chosen, it stays the one while it is in view.

    A context manager, for one thread at a time.

    Args:
        model: MediaPipe's ``face_landmarker.task``.
        fps: frame rate of a recording, whose time is counted by its frames. None = live: frames were captured
            when they say.
        smoothing: the landmark filter.
    """

    def __init__(
        self,
        model: Path,
        *,
        fps: float | None = None,
        smoothing: LandmarkFilter | None = None,
        max_faces: int = 1,
    ) -> None:
        self._landmarker = Landmarker(model, video=True, max_faces=max(_MAX_FACES, max_faces))
        self._fps = fps
        self._filter = smoothing or LandmarkFilter()
        self._face_id = -1
        self._last: F32 | None = None  # the followed face's landmarks as last detected
        self._last_seen = 0.0
        self._steadied: Steadied | None = None

    def __enter__(self) -> FaceTracker:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def close(self) -> None:
        """Release MediaPipe."""
        self._landmarker.close()

    def track(self, frame: Frame) -> tuple[FaceTrack, ...]:
        """The followed faces in the next frame, by place; empty = none is there."""
        t = frame.captured if self._fps is None else frame.seq / self._fps
        face = self._choose(self._landmarker.detect(frame.rgb, round(t * 1000)), t)
        if face is None:
            self._steadied = None
            return ()
        self._last, self._last_seen = face.landmarks, t
        self._steadied = self._filter.steady(face.landmarks, t, self._steadied)
        track = FaceTrack(
            landmarks=self._steadied.points,
            blendshapes=face.blendshapes,
            pose=face.pose,
            face_id=self._face_id,
            score=face.score,
        )
        return (track,)

    def _choose(self, faces: list[Detection], t: float) -> Detection | None:
        """The followed face among those found (largest first), or the one to follow from now on."""
        if not faces:
            return None
        away = t - self._last_seen
        if self._last is not None and away < _MEMORY:
            last = self._last
            nearest = max(faces, key=lambda face: overlap(face.landmarks, last))
            if overlap(nearest.landmarks, last) > _SAME_FACE:
                return nearest
            if len(faces) > 1 and away < _PATIENCE:
                return None
        self._face_id += 1
        self._steadied = None
        return faces[0]


def _weight(cutoff: F64, dt: float) -> F64:
    """The weight of the newest sample in an exponential filter of cut-off ``cutoff`` Hz."""
    weight: F64 = 1 / (1 + 1 / (2 * np.pi * cutoff * dt))
    return weight
