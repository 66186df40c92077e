"""Finds what the encoder misses of a person: an offset in W+, by optimisation through the generator.

The encoder's latents of one person, whatever the pose and the expression, are off by much the same: what it does not
know of that face. One offset, shared by several views, is fitted so that the generator's pictures match them; added
to the encoder's latent of any later picture, it brings the person back. The loss is plain pixels at several sizes,
how far a face recogniser holds the picture from the person, the colour of the eyes, and how grainy skin and hair are:
pixels alone are paid for with soft skin, and with an offset so large that edits fade.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from functools import cache

import cv2
import numpy as np

from models import adam
from models.alignment import crop, to_crop_matrix, to_tensor, transform_points
from models.arrays import F32, U8
from models.face_chip import recogniser_axes
from models.face_mesh import EYE_A, EYE_B, FACE_OVAL
from models.irises import iris_loss, iris_weights
from models.latent import FINE, LAYERS, std_w
from models.texture import texture_loss
from models.zoo import Encoder, IdentityGradient, PictureGradient, load_identity_gradient, load_picture_gradient

STEPS = 240  # of a fit to one view
FEWEST_STEPS = 150  # of the same where steps are slow: the last third brings little
SECONDS = 55.0  # that such a fit should take
RATE = 0.06  # largest step, in standard deviations of W
WARM_UP = 5  # steps
IDENTITY = 0.15  # weight of the identity distance; with more, edits fade, and unseen pictures gain nothing
TEXTURE = 12.0  # weight of the difference in grain; with less, skin is softer
IRIS = 0.1  # weight of the difference of the eyes' colours; with twice as much, the rest is less like the person
PULL = 2e-4  # loss per squared standard deviation, summed over the offset: keeps latents where edits work
FINE_PULL = 8  # times that in the fine layers, which otherwise pay for a few pixels with smooth skin
OUTSIDE = 0.2  # weight of hair and backdrop against the face
EYES = 5.0  # weight of the open eyes against the face: they are small, and people look there first
SOFTNESS = 0.025  # width of the face's soft edge as a share of the picture
EYE_SOFTNESS = 0.006  # the same of the eyes'


@dataclass(frozen=True)
class View:
    """One picture of a person.

    Attributes:
        latent: float32 [1, 18, 512], the encoder's.
        target: float32 [1, 3, R, R], the aligned picture, RGB in [-1, 1].
        weight: float32 [1, 1, R, R], how much each pixel matters; of mean 1.
        down, across: where the recogniser looks, see models.face_chip.recogniser_axes.
        irises: float32 [2, R, R], where the eyes' colours are, see models.irises.
        identity: float32 [1, 128], the recogniser's embedding; None = it has not looked yet.
        wish: float32 [1, 3, R, R], the gradient of what identity, texture and irises have in the loss, at the picture
            that was last made for this view; None = none was made yet.
    """

    latent: F32
    target: F32
    weight: F32
    down: F32
    across: F32
    irises: F32
    identity: F32 | None = None
    wish: F32 | None = None


@dataclass(frozen=True)
class Gradients:
    """What the loss is made of.

    Attributes:
        picture: of the generator's pixels; of the views' size.
        identity: of what the recogniser sees in them.
    """

    picture: PictureGradient
    identity: IdentityGradient


def load_gradients(engine: str = "auto", *, threads: int = 0) -> Gradients:
    """Those of the default generator."""
    return Gradients(load_picture_gradient(engine, threads=threads), load_identity_gradient(engine, threads=threads))


@dataclass(frozen=True)
class Step:
    """Where the optimisation is.

    Attributes:
        number: steps done.
        loss: of the view that this step looked at, before it.
        offset: float32 [1, 18, 512], so far; to be added to the encoder's latents.
    """

    number: int
    loss: float
    offset: F32


def make_view(rgb: U8, landmarks: F32, encoder: Encoder, size: int) -> View:
    """A face as the optimisation needs it.

    Args:
        rgb: uint8 [H, W, 3].
        landmarks: float32 [478, 2], picture pixels.
        encoder: gives the first guess.
        size: pixels per side of the target, R.
    """
    small = crop(rgb, to_crop_matrix(landmarks, encoder.size), encoder.size)
    unit = (transform_points(to_crop_matrix(landmarks, size), landmarks).astype(np.float32) + np.float32(0.5)) / size
    return view_of(rgb, landmarks, encoder.encode(to_tensor(small), unit[None]), size)


def view_of(rgb: U8, landmarks: F32, latent: F32, size: int) -> View:
    """The same of a face whose latent, float32 [1, 18, 512], is known."""
    to_crop = to_crop_matrix(landmarks, size)
    inside = transform_points(to_crop, landmarks).astype(np.float32)
    target = to_tensor(crop(rgb, to_crop, size))
    weight, axes = face_weight(inside, size), recogniser_axes(inside, size)
    return View(latent, target, weight, *axes, iris_weights(inside, size))


def sharpness(view: View) -> float:
    """Strength of the face's fine structure; higher is sharper."""
    grey = view.target[0].mean(axis=0)
    return float((view.weight[0, 0] * np.abs(cv2.Laplacian(grey, cv2.CV_32F))).mean())


def face_weight(landmarks: F32, size: int) -> F32:
    """Weight of each pixel: 1 on the face, `EYES` on the eyes, `OUTSIDE` around it, then scaled to mean 1.

    Args:
        landmarks: float32 [478, 2], pixels of the picture.
        size: its pixels per side, R.

    Returns:
        float32 [1, 1, R, R].
    """
    soft = SOFTNESS * size
    side = 1 + 2 * round(0.7 * soft)
    face = cv2.fillPoly(np.zeros((size, size), np.float32), [np.rint(landmarks[list(FACE_OVAL)]).astype(int)], 1.0)
    face = cv2.GaussianBlur(cv2.dilate(face, np.ones((side, side), np.uint8)), (0, 0), soft)
    hulls = [cv2.convexHull(np.rint(landmarks[list(eye)]).astype(np.int32)) for eye in (EYE_A, EYE_B)]
    eyes = cv2.GaussianBlur(cv2.fillPoly(np.zeros_like(face), hulls, 1.0), (0, 0), EYE_SOFTNESS * size)
    weight = (OUTSIDE + (1 - OUTSIDE) * face) * (1 + (EYES - 1) * eyes)
    return np.asarray(weight / weight.mean(), np.float32)[None, None]


@dataclass(frozen=True)
class Descent:
    """An optimisation under way: where it is, and what Adam remembers.

    Attributes:
        offset: float32 [1, 18, 512], so far; in standard deviations of W.
        memory: of the gradients.
    """

    offset: F32
    memory: adam.Adam

    @property
    def number(self) -> int:
        """Steps done."""
        return self.memory.number


def start(latent: F32) -> Descent:
    """Before the first step: no offset from latents such as this."""
    nothing = np.zeros_like(latent)
    return Descent(nothing, adam.begin(nothing))


def compare(view: View, w_plus: F32, gradients: Gradients) -> tuple[View, float, F32]:
    """Compares a view with the picture of a latent.

    Which way identity, texture and irises want the picture is known when it is made, and counts when the next one is
    made for this view: a step changes little, and the generator has to run but once.

    Args:
        view: what to compare with.
        w_plus: float32 [1, 18, 512].
        gradients: at the view's size.

    Returns:
        The view, with what the picture is wished to be; the loss; and which way it rises, float32 [1, 18, 512]: the
        gradient of the pixels' loss and of what was wished last time.
    """
    identity = view.identity
    if identity is None:
        identity = gradients.identity.embed(view.target, view.down, view.across)
    loss, slope, image = gradients.picture.at(w_plus, view.target, view.weight, view.wish)
    distance, at_identity = gradients.identity.at(image, view.down, view.across, identity)
    texture, at_texture = texture_loss(image, view.target, view.weight)
    colour, at_colour = iris_loss(image, view.target, view.irises)
    wish = np.asarray(IDENTITY * at_identity + TEXTURE * at_texture + IRIS * at_colour, np.float32)
    loss += IDENTITY * distance + TEXTURE * texture + IRIS * colour
    return replace(view, identity=identity, wish=wish), loss, slope


def descend(state: Descent, view: View, gradients: Gradients, rate: float) -> tuple[Descent, View, float]:
    """Takes one step.

    Args:
        state: where it is.
        view: what to look at.
        gradients: at the view's size.
        rate: length of the step, in standard deviations of W.

    Returns:
        Where it is then, the view for the next step that looks at it, and its loss before this one.
    """
    view, loss, slope = compare(view, view.latent + std_w() * state.offset, gradients)
    slope = std_w() * slope + 2 * _pull() * state.offset
    memory, move = adam.step(state.memory, slope)
    return Descent(np.asarray(state.offset + rate * move, np.float32), memory), view, loss


@cache
def _pull() -> F32:
    """Of each layer, float32 [1, 18, 1]."""
    pull = np.full((1, LAYERS, 1), PULL, np.float32)
    pull[:, FINE] *= FINE_PULL
    return pull


def rate_of(number: int, left: float) -> float:
    """How long a step may be: short at first, fading out over the second half.

    Args:
        number: of the step, from 1.
        left: share of all the steps that is left, in [0, 1].
    """
    return RATE * min(1.0, number / WARM_UP, 2 * left)


def steps_for(views: int, seconds: float = 0.0) -> int:
    """How many steps a fit takes: twice as many where several views take turns, whose offset is a compromise.

    Args:
        views: how many.
        seconds: that a step takes; slow ones are fewer.
    """
    steps = STEPS if seconds * STEPS <= SECONDS else max(FEWEST_STEPS, int(SECONDS / seconds))
    return steps if views == 1 else 2 * steps


def fit_offset(views: Sequence[View], gradients: Gradients, steps: int = STEPS) -> Iterator[Step]:
    """Fits the offset that the views share, one view a step, in turn.

    Args:
        views: at least one.
        gradients: at the views' size.
        steps: how many; the step's length fades out over the second half.

    Yields:
        After each step, where it is.
    """
    state, views = start(views[0].latent), list(views)
    for number in range(1, steps + 1):
        rate = rate_of(number, left=1 - number / (steps + 1))
        turn = number % len(views)
        state, views[turn], loss = descend(state, views[turn], gradients, rate)
        yield Step(number, loss, std_w() * state.offset)
