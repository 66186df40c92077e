"""The values that flow through the loop, from the camera to the sinks.

Pixel coordinates are (x, y) with the centre of the top-left pixel at (0, 0).
"""

from __future__ import annotations

from dataclasses import dataclass

from models.arrays import F32, F64, U8


@dataclass(frozen=True)
class Frame:
    """One picture and the moment it was captured.

    Attributes:
        rgb: uint8 [H, W, 3], RGB.
        seq: counts up from 0 at the source; gaps are dropped frames.
        captured: ``time.perf_counter()`` seconds at capture; survives to the sink, so that latency is one
            subtraction there.
    """

    rgb: U8
    seq: int
    captured: float


@dataclass(frozen=True)
class FaceTrack:
    """One face found in a frame.

    Attributes:
        landmarks: float32 [478, 2], MediaPipe face mesh with irises, (x, y) in frame pixels, smoothed.
        blendshapes: float32 [52] in [0, 1], in MediaPipe's order (see models.landmarker.BLENDSHAPES).
        pose: float32 [3], head yaw, pitch, roll in degrees; positive yaw turns to the picture's right,
            positive pitch looks up, positive roll leans clockwise in the picture.
        face_id: stays the same while the face is followed.
        score: share of the landmarks that lie inside the picture, in [0, 1].
        place: which of the faces followed it is, from 0, left to right as first seen; a person keeps it.
        person: whose face it is; stays the same when they come back while they are remembered.
    """

    landmarks: F32
    blendshapes: F32
    pose: F32
    face_id: int
    score: float
    place: int = 0
    person: int = 0


@dataclass(frozen=True)
class AlignedCrop:
    """A face cut out of a frame by the FFHQ recipe.

    Attributes:
        image: float32 [1, 3, S, S], RGB in [-1, 1].
        landmarks: float32 [1, 478, 2], the track's landmarks in crop coordinates scaled to [0, 1].
        to_crop: float64 [2, 3], affine map from frame pixels to pixels of the S x S crop.
    """

    image: F32
    landmarks: F32
    to_crop: F64
    size: int
