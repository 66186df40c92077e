"""The directions there are: what each moves, in which layers of W+, how far, and what it must leave alone."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

import numpy as np

from models.latent import EVERY_LAYER, MIDDLE

COARSE_AND_MIDDLE = slice(0, 8)
FROM_MIDDLE = slice(4, 18)
TEXTURE = slice(9, 18)  # an edit of these alone redoes only the generator's last blocks

ANYTHING = (-np.inf, np.inf)


@dataclass(frozen=True)
class Recipe:
    """How one direction is made.

    Attributes:
        attribute: the attribute of export.measure it moves.
        description: what positive strengths do, for users.
        layers: the W+ layers it is applied to; the others keep their style.
        target: the change of the attribute that strength 1 should make.
        start: the range of the attribute within which a face counts for that target; a face that already
            smiles cannot show what a smile direction does.
        still: what else should change little, "bones" or "surroundings", and how much that weighs.
        free: attributes that may follow, because they are part of this one; all others are held, `LOOSE` ones less.
        most: strength at which pictures still look like faces, either way; found by looking.
    """

    attribute: str
    description: str
    layers: slice
    target: float
    start: tuple[float, float] = ANYTHING
    still: Mapping[str, float] = field(default_factory=dict)
    free: tuple[str, ...] = ()
    most: float = 3.0


# An expression leaves skull, hair and background alone. At this weight they change a half to a third as much as
# without, and the step is hardly less likely (Mahalanobis length of the smile 2.07 instead of 1.96).
AN_EXPRESSION = {"bones": 300.0, "surroundings": 300.0}
A_FEATURE = {"surroundings": 100.0}
IN_PLACE = {"surroundings": 30.0}
OF_SURPRISE = ("brows-up", "mouth-open", "eyes-wide", "eyes-closed", "brow-furrow", "squint")
OF_LIDS = ("eyes-closed", "eyes-wide", "squint", "eye-size")
OF_BROWS = ("brows-up", "brow-furrow", "surprise")

# Layers, by trial on 16 faces: the fewest without more leaks, change of identity and of background per effect.
RECIPES = {
    "smile": Recipe("smile", "smiles", COARSE_AND_MIDDLE, 0.45, (0.0, 0.3), AN_EXPRESSION, ("mouth-narrow",)),
    "mouth-open": Recipe("mouth-open", "opens the mouth", COARSE_AND_MIDDLE, 0.16, (0.0, 0.2), AN_EXPRESSION),
    "surprise": Recipe("surprise", "is surprised", COARSE_AND_MIDDLE, 0.3, ANYTHING, AN_EXPRESSION, OF_SURPRISE),
    "eyes-closed": Recipe("eyes-closed", "closes the eyes", MIDDLE, 0.2, (0.0, 0.3), AN_EXPRESSION, OF_LIDS),
    "brows-up": Recipe("brows-up", "raises the brows", COARSE_AND_MIDDLE, 0.17, (0.0, 0.3), AN_EXPRESSION, OF_BROWS),
    "brow-furrow": Recipe(
        "brow-furrow", "furrows the brows", COARSE_AND_MIDDLE, 0.15, (0.0, 0.3), AN_EXPRESSION, OF_BROWS
    ),
    # MediaPipe's mouthPucker is high on babies alone, its cheekPuff on no generated face: distances stand for them.
    "pucker": Recipe(
        "mouth-narrow",
        "purses the lips; negative, widens the mouth",
        COARSE_AND_MIDDLE,
        0.05,
        ANYTHING,
        AN_EXPRESSION,
        ("pucker", "lip-fullness"),
    ),
    "cheek-puff": Recipe(
        "cheek-width",
        "puffs the cheeks; negative, hollows them",
        COARSE_AND_MIDDLE,
        0.02,
        still={"bones": 300.0, "surroundings": 3000.0},  # at an expression's 300 hats come at strength 2
        most=2.0,
    ),
    "look-aside": Recipe("gaze-x", "looks to the picture's right", COARSE_AND_MIDDLE, 0.2, still=AN_EXPRESSION),
    "look-up": Recipe("gaze-y", "looks up; negative, down", COARSE_AND_MIDDLE, 0.15, still=AN_EXPRESSION),
    "age": Recipe("age", "makes older; negative, younger", EVERY_LAYER, 7.0, (20.0, 50.0), IN_PLACE),
    "gender": Recipe("gender", "makes masculine; negative, feminine", EVERY_LAYER, 0.4, (0.0, 0.1), IN_PLACE),
    "yaw": Recipe("yaw", "turns to the picture's right", COARSE_AND_MIDDLE, 6.0, still=A_FEATURE),
    "pitch": Recipe("pitch", "raises the chin; negative, lowers it", COARSE_AND_MIDDLE, 5.0, still=A_FEATURE),
    "glasses": Recipe("glasses", "puts on glasses", COARSE_AND_MIDDLE, 0.4, (0.0, 0.2), IN_PLACE, most=2.0),
    "beard": Recipe("beard", "grows a beard", FROM_MIDDLE, 5.0, still=IN_PLACE, free=("gender",)),
    "make-up": Recipe("make-up", "puts on make-up", FROM_MIDDLE, 4.0, still=IN_PLACE, free=("lip-redness",)),
    "hair-length": Recipe("hair-length", "lengthens the hair; negative, shortens it", slice(0, 12), 0.07),
    "hair-darkness": Recipe("hair-darkness", "darkens the hair; negative, lightens it", FROM_MIDDLE, 8.0),
    "skin-lightness": Recipe("skin-lightness", "lightens the skin; negative, darkens it", FROM_MIDDLE, 14.0),
    "background-light": Recipe("background-light", "lightens the background; negative, darkens it", TEXTURE, 30.0),
    "face-width": Recipe(
        "face-width", "widens the face; negative, narrows it", COARSE_AND_MIDDLE, 0.03, still=IN_PLACE
    ),
    "lip-fullness": Recipe(
        "lip-fullness", "fills the lips; negative, thins them", MIDDLE, 0.04, still=IN_PLACE, most=1.5
    ),
    "nose-width": Recipe(
        "nose-width", "widens the nose; negative, narrows it", COARSE_AND_MIDDLE, 0.01, still=IN_PLACE
    ),
}

# Not directions themselves, but what a direction must not move on the side.
NUISANCES = ("squint", "eyes-wide", "pucker", "eye-size", "roll", "lip-redness")

# Of each attribute: the standard deviation over 24,000 generated faces of the pool, and what it is counted in.
UNITS: dict[str, tuple[float, str]] = {
    "smile": (0.34, "of 1"),
    "mouth-open": (0.055, "of 1"),
    "surprise": (0.088, "of 1"),
    "eyes-closed": (0.079, "of 1"),
    "brows-up": (0.1, "of 1"),
    "brow-furrow": (0.19, "of 1"),
    "squint": (0.15, "of 1"),
    "eyes-wide": (0.012, "of 1"),
    "pucker": (0.084, "of 1"),
    "gaze-x": (0.31, "of 1"),
    "gaze-y": (0.18, "of 1"),
    "age": (12, "years"),
    "gender": (0.47, "of 1"),
    "yaw": (11, "degrees"),
    "pitch": (6.2, "degrees"),
    "glasses": (0.23, "of 1"),
    "beard": (6, "of 100"),
    "make-up": (5.1, "of 100"),
    "hair-length": (0.16, "of 1"),
    "hair-darkness": (17, "of 100"),
    "skin-lightness": (23, "of 255"),
    "background-light": (55, "of 255"),
    "face-width": (0.047, "of its height"),
    "lip-fullness": (0.065, "of their width"),
    "eye-size": (0.059, "of their width"),
    "nose-width": (0.018, "of the face's"),
    "mouth-narrow": (0.073, "of the eyes' distance"),
    "cheek-width": (0.02, "of the face's"),
    "roll": (1.1, "degrees"),
    "lip-redness": (6.8, "of 100"),
}

# Held less firmly: a smile of teeth moves lips and lids too, and one without any of it would be no smile.
LOOSE = (
    "surprise", "brow-furrow", "squint", "eyes-wide", "pucker", "gaze-x",
    "gaze-y", "lip-fullness", "eye-size", "nose-width", "hair-length", "face-width", "roll", "mouth-narrow",
    "cheek-width",
)  # fmt: skip

# Blendshapes pile up at 0 and probabilities at both ends: their ranks are closer to linear in W than they are
# (correlation on faces left out of the fit: brows-up 0.84 instead of 0.69, smile 0.88 instead of 0.83).
SKEWED = (
    "smile", "mouth-open", "surprise", "eyes-closed", "brows-up", "brow-furrow", "squint", "eyes-wide",
    "gender",
)  # fmt: skip
