"""How faithful a reconstruction is to its input: the numbers of one pair, and their summary over many."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass, fields

import cv2
import numpy as np

from export.measure import Measures, eye_distance, identity_distance
from models.arrays import F32, U8
from models.latent import COARSE, FINE, MIDDLE

LAYER_GROUPS = {"coarse": COARSE, "middle": MIDDLE, "fine": FINE}

# MediaPipe's outline of the face, in order.
FACE_OVAL = (
    10, 338, 297, 332, 284, 251, 389, 356, 454, 323, 361, 288, 397, 365, 379, 378, 400, 377,
    152, 148, 176, 149, 150, 136, 172, 58, 132, 93, 234, 127, 162, 21, 54, 103, 67, 109,
)  # fmt: skip


@dataclass(frozen=True)
class Sample:
    """A picture and all that is measured of it.

    Attributes:
        rgb: uint8 [R, R, 3], FFHQ-aligned.
        measures: of its face, landmarks in its pixels.
        identity: float32 [128] embedding.
    """

    rgb: U8
    measures: Measures
    identity: F32


@dataclass(frozen=True)
class Fidelity:
    """A reconstruction against its input; differences are reconstruction minus input.

    Attributes:
        identity: distance of the embeddings; 0.6 is where two persons begin.
        landmarks: mean distance of the 478 landmarks, as a fraction of the distance between the eye centres
            (means of the two eye contours) of the input.
        psnr: dB over the whole square, peak 255.
        face_l1: mean absolute difference in levels of 255, within the outline of the input's face.
        multiscale_l1: the same over the whole square, mean of the pictures as they are and reduced 2, 4 and 8 times.
        smile, mouth_open, eyes_closed, brows_up: differences of blendshapes, each in [-1, 1].
        gaze_x, gaze_y: differences of gaze, blendshapes of the two senses subtracted.
        yaw, pitch, roll: differences in degrees.
        age: difference in years.
    """

    identity: float
    landmarks: float
    psnr: float
    face_l1: float
    multiscale_l1: float
    smile: float
    mouth_open: float
    eyes_closed: float
    brows_up: float
    gaze_x: float
    gaze_y: float
    yaw: float
    pitch: float
    roll: float
    age: float


UNSIGNED = ("identity", "landmarks", "psnr", "face_l1", "multiscale_l1")
SCALES = (1, 2, 4, 8)
SIGNED = tuple(field.name for field in fields(Fidelity) if field.name not in UNSIGNED)


@dataclass(frozen=True)
class Summary:
    """One number of `Fidelity` over many pairs.

    Attributes:
        median: of the absolute value.
        worst_tenth: the absolute value that the worst tenth exceeds (of a PSNR: falls below).
        mean: of the absolute value.
        bias: mean of the signed value; None where there is no sign.
    """

    median: float
    worst_tenth: float
    mean: float
    bias: float | None


def compare(before: Sample, after: Sample) -> Fidelity:
    """Measures a reconstruction against its input; both pictures have the same size."""
    landmarks = before.measures.detection.landmarks
    distances = np.linalg.norm(after.measures.detection.landmarks - landmarks, axis=1)
    difference = after.rgb.astype(np.float64) - before.rgb
    signed = {
        name: after.measures.attribute(name.replace("_", "-")) - before.measures.attribute(name.replace("_", "-"))
        for name in SIGNED
    }
    return Fidelity(
        identity=identity_distance(before.identity, after.identity),
        landmarks=float(distances.mean()) / eye_distance(landmarks),
        # Half a level of error on every pixel is the rounding of the picture itself: no better is claimed.
        psnr=float(20 * np.log10(255 / max(np.sqrt(np.mean(difference**2)), 0.5))),
        face_l1=float(np.abs(difference)[face_mask(landmarks, before.rgb.shape[0])].mean()),
        multiscale_l1=float(np.mean([_reduced_l1(before.rgb, after.rgb, factor) for factor in SCALES])),
        **signed,
    )


def _reduced_l1(a: U8, b: U8, factor: int) -> float:
    size = (a.shape[1] // factor, a.shape[0] // factor)
    small = [cv2.resize(rgb, size, interpolation=cv2.INTER_AREA).astype(np.float64) for rgb in (a, b)]
    return float(np.abs(small[0] - small[1]).mean())


def face_mask(landmarks: F32, side: int) -> np.ndarray[tuple[int, ...], np.dtype[np.bool_]]:
    """Mask bool [side, side], True within the face's outline."""
    outline = np.rint(landmarks[list(FACE_OVAL)]).astype(np.int32)
    return cv2.fillPoly(np.zeros((side, side), np.uint8), [outline], 1).astype(bool)


def summarise(rows: Sequence[Fidelity]) -> dict[str, Summary]:
    """`Summary` of every field of `Fidelity`."""
    table = {name: np.array([asdict(row)[name] for row in rows]) for name in (*UNSIGNED, *SIGNED)}
    return {
        name: Summary(
            median=float(np.median(np.abs(values))),
            worst_tenth=float(np.percentile(np.abs(values), 10 if name == "psnr" else 90)),
            mean=float(np.abs(values).mean()),
            bias=float(values.mean()) if name in SIGNED else None,
        )
        for name, values in table.items()
    }


def distance_from_w(w_plus: F32, std_w: F32) -> F32:
    """How far latents lie from W, where all layers are one style and edits work best; float32 [N].

    Args:
        w_plus: float32 [N, 18, 512].
        std_w: float32 [512].

    Returns:
        Root mean square deviation of the layers from their mean, in standard deviations of W.
    """
    deviation = (w_plus - w_plus.mean(axis=1, keepdims=True)) / std_w
    return np.asarray(np.sqrt((deviation**2).mean(axis=(1, 2))), np.float32)


def r2_by_layers(truth: F32, estimate: F32, mean_w: F32, std_w: F32) -> dict[str, float]:
    """Share of the variance of standardised W+ that the estimate explains, per group of layers.

    Args:
        truth: float32 [N, 18, 512].
        estimate: float32 [N, 18, 512].
        mean_w: float32 [512]; estimating it for every face scores 0.
        std_w: float32 [512].
    """
    error, spread = ((estimate - truth) / std_w) ** 2, ((truth - mean_w) / std_w) ** 2
    return {
        name: float(1 - error[:, layers].sum() / spread[:, layers].sum()) for name, layers in LAYER_GROUPS.items()
    }
