"""Measures a face picture: landmarks, expression, head pose, age, gender, identity.

All networks here are independent of the generator and of the encoder, so that they can judge both.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from types import TracebackType

import cv2
import dlib
import numpy as np
import onnxruntime as ort

from export.appearance import APPEARANCE, CHEEKS, appearance
from models import registry
from models.alignment import EYE_A, EYE_B
from models.arrays import F32, U8
from models.face_chip import CHIP_POINTS, IDENTITY_CHIP, face_in_chip
from models.landmarker import BLENDSHAPES, Detection, Landmarker

AGE_CHIP = (64, 0.2)
GENDER_CHIP = (32, 0.2)
GLASSES_CHIP = (86, 0.0)  # 64 px between the outer eye corners
BRIDGE = (8, 32, 38, 48)  # top, bottom, left, right of the bridge of the nose in that chip
FRAME_EDGE = 2.2  # edge at which glasses are as likely as not
CHANNEL_MEANS: F32 = np.array([122.781998, 117.000999, 104.297997], np.float32)
# The age network's class i means age i, but class 0 "a few months".
CLASS_AGES: F32 = np.array([0.25, *range(1, 81)], np.float32)


# Everything that is measured of a picture besides its landmarks, in the order of `Measures.columns`.
COLUMNS = (*BLENDSHAPES, "yaw", "pitch", "roll", "age", "male", "glasses", "skin", "backdrop", *APPEARANCE)

# An attribute is a weighted sum of columns.
ATTRIBUTES: dict[str, dict[str, float]] = {
    "smile": {"mouthSmileLeft": 0.5, "mouthSmileRight": 0.5},
    "mouth-open": {"jawOpen": 1.0},
    "eyes-closed": {"eyeBlinkLeft": 0.5, "eyeBlinkRight": 0.5},
    "brows-up": {"browInnerUp": 1 / 3, "browOuterUpLeft": 1 / 3, "browOuterUpRight": 1 / 3},
    "age": {"age": 1.0},
    "gender": {"male": 1.0},
    "yaw": {"yaw": 1.0},
    "pitch": {"pitch": 1.0},
    "roll": {"roll": 1.0},
    # Positive to the picture's right and up.
    "gaze-x": {
        "eyeLookOutLeft": 0.5,
        "eyeLookInRight": 0.5,
        "eyeLookInLeft": -0.5,
        "eyeLookOutRight": -0.5,
    },
    "gaze-y": {
        "eyeLookUpLeft": 0.5,
        "eyeLookUpRight": 0.5,
        "eyeLookDownLeft": -0.5,
        "eyeLookDownRight": -0.5,
    },
    "brow-furrow": {"browDownLeft": 0.5, "browDownRight": 0.5},
    "squint": {"eyeSquintLeft": 0.5, "eyeSquintRight": 0.5},
    "eyes-wide": {"eyeWideLeft": 0.5, "eyeWideRight": 0.5},
    "pucker": {"mouthPucker": 1.0},
    # Raised brows, wide eyes, a dropped jaw, each counted by how much faces differ in it.
    "surprise": {
        "browInnerUp": 0.2,
        "browOuterUpLeft": 0.2,
        "browOuterUpRight": 0.2,
        "jawOpen": 1.0,
        "eyeWideLeft": 1.0,
        "eyeWideRight": 1.0,
    },
    "glasses": {"glasses": 1.0},
    "skin-lightness": {"skin": 1.0},
    "background-light": {"backdrop": 1.0},
    "hair-darkness": {"hair_lightness": -1.0},
    "hair-length": {"hair_length": 1.0},
    "beard": {"beard": 1.0},
    "lip-redness": {"lip_redness": 1.0},
    "make-up": {"lip_redness": 0.5, "lid_darkness": 0.35},
    "face-width": {"face_width": 1.0},
    "lip-fullness": {"lip_fullness": 1.0},
    "eye-size": {"eye_size": 1.0},
    "nose-width": {"nose_width": 1.0},
    "mouth-narrow": {"mouth_width": -1.0},
    "cheek-width": {"cheek_width": 1.0},
}


@dataclass(frozen=True)
class Measures:
    """What is measured of one face in one picture.

    Attributes:
        detection: landmarks in picture pixels, blendshapes, head pose.
        age: years, the mean of the age network's distribution.
        male: probability in [0, 1].
        glasses: how sure the edge across the bridge of the nose is a frame's, in [0, 1].
        skin: mean lightness of the cheeks in [0, 255].
        backdrop: mean lightness of the picture's upper corners in [0, 255].
        appearance: float32 [len(APPEARANCE)], see export.appearance.
    """

    detection: Detection
    age: float
    male: float
    glasses: float
    skin: float
    backdrop: float
    appearance: F32

    def columns(self) -> F32:
        """float32 [len(COLUMNS)]."""
        rest = (self.age, self.male, self.glasses, self.skin, self.backdrop)
        return np.concatenate([self.detection.blendshapes, self.detection.pose, rest, self.appearance]).astype(
            np.float32
        )

    def attribute(self, name: str) -> float:
        """The value of one of `ATTRIBUTES`."""
        return float(attribute_values(self.columns()[None], name)[0])


def attribute_values(columns: F32, name: str) -> F32:
    """Values [N] of an attribute, from columns [N, len(COLUMNS)]."""
    weights = ATTRIBUTES[name]
    values = sum(weight * columns[:, COLUMNS.index(column)] for column, weight in weights.items())
    return np.asarray(values, np.float32)


def eye_distance(landmarks: F32) -> float:
    """Distance in pixels between the means of the two eye contours."""
    eye_a, eye_b = landmarks[list(EYE_A)].mean(axis=0), landmarks[list(EYE_B)].mean(axis=0)
    return float(np.hypot(*(eye_b - eye_a)))


def face_chip(rgb: U8, landmarks: F32, size: int, padding: float) -> U8:
    """The face chip of dlib, placed by MediaPipe's landmarks.

    Args:
        rgb: uint8 [H, W, 3].
        landmarks: float32 [478, 2], picture pixels.
        size: chip side in pixels.
        padding: share of the face's size added on each side.

    Returns:
        uint8 [size, size, 3].
    """
    in_chip = face_in_chip(size, padding)
    details = dlib.chip_details(
        dlib.dpoints([dlib.dpoint(x, y) for x, y in in_chip]),
        dlib.dpoints([dlib.dpoint(float(x), float(y)) for x, y in landmarks[list(CHIP_POINTS)]]),
        dlib.chip_dims(size, size),
    )
    chip: U8 = np.ascontiguousarray(dlib.extract_image_chip(np.ascontiguousarray(rgb), details))
    return chip


def glasses(lightness: U8, landmarks: F32) -> float:
    """See `Measures.glasses`; lightness uint8 [H, W], landmarks float32 [478, 2] in its pixels."""
    # 64 px between the eyes' outer corners, so that the edge's scale does not depend on the picture's.
    size, padding = GLASSES_CHIP
    chip = face_chip(np.repeat(lightness[..., None], 3, axis=2), landmarks, size, padding)[..., 0]
    steps = np.abs(np.diff(cv2.GaussianBlur(chip, (0, 0), 1.0).astype(np.float32), axis=0))
    top, bottom, left, right = BRIDGE
    # Across the bridge a frame is one edge over the whole width; a wrinkle or a shadow is not. What counts is
    # its strength against the face's own texture: 1 without glasses, 3 to 8 with them.
    edge = steps[top:bottom, left:right].min(axis=1).max() / (np.median(steps) + 1)
    return float(1 / (1 + np.exp(-3 * (edge - FRAME_EDGE))))


def cheek_lightness(lightness: U8, landmarks: F32) -> float:
    """See `Measures.skin`; lightness uint8 [H, W], landmarks float32 [478, 2] in its pixels."""
    height, width = lightness.shape
    x, y = np.rint(landmarks[list(CHEEKS)]).astype(int).T
    return float(lightness[np.clip(y, 0, height - 1), np.clip(x, 0, width - 1)].mean())


def corner_lightness(lightness: U8) -> float:
    """See `Measures.backdrop`; lightness uint8 [H, W]."""
    side = max(1, lightness.shape[1] // 8)
    corners = np.concatenate([lightness[:side, :side], lightness[:side, -side:]], axis=1)
    return float(corners.mean())


class Meter:
    """Finds the face of a picture and measures it; a context manager, because MediaPipe must be closed."""

    def __init__(self) -> None:
        self._landmarker = Landmarker(registry.path("face-landmarker"))
        self._age = _session(registry.path("age"))
        self._gender = _session(registry.path("gender"))

    def __enter__(self) -> Meter:
        self._landmarker.__enter__()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._landmarker.__exit__(kind, error, trace)

    def measure(self, rgb: U8) -> Measures | None:
        """Measures the face in uint8 [H, W, 3]; None when there is none."""
        found = self._landmarker.detect(rgb)
        return self.read(rgb, found[0]) if found else None

    def read(self, rgb: U8, detection: Detection) -> Measures:
        """Measures a face already found in uint8 [H, W, 3]."""
        landmarks = detection.landmarks
        age = float(_run(self._age, face_chip(rgb, landmarks, *AGE_CHIP)) @ CLASS_AGES)
        _, male = _run(self._gender, face_chip(rgb, landmarks, *GENDER_CHIP))
        lightness = np.asarray(cv2.cvtColor(rgb, cv2.COLOR_RGB2GRAY), np.uint8)
        return Measures(
            detection,
            age,
            float(male),
            glasses=glasses(lightness, landmarks),
            skin=cheek_lightness(lightness, landmarks),
            backdrop=corner_lightness(lightness),
            appearance=appearance(rgb, landmarks),
        )


class IdentityMeter:
    """dlib's face embedding; two pictures of one person lie about 0.25 apart, of two persons about 0.85."""

    def __init__(self) -> None:
        self._network = dlib.face_recognition_model_v1(str(registry.path("identity")))

    def embed(self, rgb: U8, landmarks: F32) -> F32:
        """Embedding of the face with these landmarks (picture pixels); float32 [128]."""
        chip = face_chip(rgb, landmarks, *IDENTITY_CHIP)
        return np.asarray(self._network.compute_face_descriptor(chip), np.float32)


def identity_distance(a: F32, b: F32) -> float:
    """Euclidean distance of two embeddings; see `models.face_chip.SAME_PERSON`."""
    return float(np.linalg.norm(a - b))


def _session(path: Path) -> ort.InferenceSession:
    options = ort.SessionOptions()
    options.intra_op_num_threads = 1  # chips are small; more threads only wait for each other
    return ort.InferenceSession(str(path), options, providers=["CPUExecutionProvider"])


def _run(session: ort.InferenceSession, chip: U8) -> F32:
    """Class probabilities, float32 [classes], of one chip."""
    values = (chip.astype(np.float32) - CHANNEL_MEANS) / np.float32(256)
    feeds = {session.get_inputs()[0].name: np.ascontiguousarray(values.transpose(2, 0, 1)[None])}
    probabilities: F32 = session.run(None, feeds)[0][0]
    return probabilities
