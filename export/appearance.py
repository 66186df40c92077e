"""Cheap statistics of a face's picture: what hair, lips, lids and chin look like, and how features are shaped.

They are read where the landmarks say these parts are, so they hold for faces as FFHQ aligns them. Each is rough on
one face; directions are fitted to thousands, where the errors average out.
"""

from __future__ import annotations

import cv2
import numpy as np

from models.arrays import F32, F64, U8

APPEARANCE = (
    "hair_lightness", "hair_length", "beard", "lip_redness", "lid_darkness",
    "face_width", "lip_fullness", "eye_size", "nose_width", "mouth_width", "cheek_width",
)  # fmt: skip
"""What `appearance` returns, in order; see there."""

CHEEKS = (50, 101, 118, 205, 280, 330, 347, 425)  # points on both cheeks
LIPS = ((0, 13), (37, 82), (267, 312), (17, 14), (84, 87), (314, 317))  # between each pair, the red of a lip
LIDS = (27, 28, 29, 257, 258, 259)
STUBBLE = (164, 167, 393, 32, 262, 199, 200, 208, 428, 210, 430, 214, 434)  # moustache, chin, jaws
TOP = (54, 103, 67, 109, 10, 338, 297, 332, 284)  # the face's edge from temple to temple
SIDES = (58, 172, 136, 288, 397, 365)  # its edge beside the mouth
HAIR_ABOVE = (1.2, 1.35)  # the crown's hair is so much farther from between the eyes than the face's edge
HAIR_BESIDE = (1.3, 1.45)  # long hair falls so much farther from the nose than that
BETWEEN_EYES, NOSE = 168, 1


def appearance(rgb: U8, landmarks: F32) -> F32:
    """Measures one face.

    Args:
        rgb: uint8 [H, W, 3]; aligned as FFHQ's faces are, for what is read beside the face to be what it is for.
        landmarks: float32 [478, 2], its pixels.

    Returns:
        float32 [len(APPEARANCE)]. Lightness (CIE Lab, 0 to 100) of the hair above the face; share of what is beside
        mouth and neck that looks like that hair rather than like the backdrop, in [0, 1]; how much darker than the
        cheeks moustache, chin and jaws are; how much redder (Lab's a) the lips and how much darker the lids are;
        in the picture's plane: the face's width over its height, the lips' thickness and the eyes' opening over their
        widths, the nose's width over the face's, the mouth's over that from eye to eye, the face's beside and below
        the mouth over that at its cheekbones.
    """
    small = cv2.GaussianBlur(rgb, (0, 0), rgb.shape[0] / 128).astype(np.float32) / 255
    lab = np.asarray(cv2.cvtColor(small, cv2.COLOR_RGB2LAB), np.float32)
    points = landmarks.astype(np.float64)
    cheeks = _colours(lab, points[list(CHEEKS)]).mean(axis=0)
    hair = np.median(_colours(lab, _outwards(points, BETWEEN_EYES, TOP, HAIR_ABOVE)), axis=0)
    lips = _colours(lab, np.stack([(points[a] + points[b]) / 2 for a, b in LIPS])).mean(axis=0)
    lids = _colours(lab, points[list(LIDS)]).mean(axis=0)
    stubble = _colours(lab, points[list(STUBBLE)]).mean(axis=0)
    colours = (
        hair[0],
        _hair_share(lab, _colours(lab, _outwards(points, NOSE, SIDES, HAIR_BESIDE)), hair),
        cheeks[0] - stubble[0],
        lips[1] - cheeks[1],
        cheeks[0] - lids[0],
    )
    return np.array([*colours, *_shapes(points)], np.float32)


def _hair_share(lab: F32, beside: F32, hair: F32) -> float:
    side = lab.shape[0] // 8
    share = np.empty(len(beside))
    # Points come left and right in turn; each half has the backdrop of its own upper corner.
    half = len(SIDES) // 2
    for i, colour in enumerate(beside):
        corner = lab[:side, :side] if i % len(SIDES) < half else lab[:side, -side:]
        to_backdrop = np.linalg.norm(colour - corner.mean(axis=(0, 1)))
        share[i] = to_backdrop / (to_backdrop + np.linalg.norm(colour - hair) + 5)
    return float(share.mean())


def _shapes(points: F64) -> tuple[float, ...]:
    def apart(a: int, b: int) -> float:
        return float(np.linalg.norm(points[a] - points[b]))

    width = apart(234, 454)
    lips = apart(0, 13) + apart(14, 17)
    eyes = apart(159, 145) / apart(33, 133) + apart(386, 374) / apart(362, 263)
    mouth = apart(61, 291)
    return (
        width / apart(10, 152),
        lips / mouth,
        eyes / 2,
        apart(129, 358) / width,
        mouth / apart(33, 263),
        (apart(58, 288) + apart(172, 397)) / 2 / width,
    )


def _outwards(points: F64, centre: int, edge: tuple[int, ...], factors: tuple[float, ...]) -> F64:
    """The edge's points moved away from a centre, all at the first factor, then all at the next."""
    return np.concatenate([points[centre] + factor * (points[list(edge)] - points[centre]) for factor in factors])


def _colours(lab: F32, points: F64) -> F32:
    """Colours [N, 3] at points [N, 2]; those outside count as the nearest inside."""
    height, width = lab.shape[:2]
    x, y = np.clip(np.rint(points), 0, (width - 1, height - 1)).astype(int).T
    return lab[y, x]
