"""A face that belongs to nobody, moving before a camera that is not there.

A few portraits are made by the generator at the start, along a closed way through W. A frame is two of them
blended and moved about in the picture: hardly any work, so the demo leaves the processor to the mirror.
"""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Sequence
from functools import cache

import cv2
import numpy as np

from live.frame import Frame
from live.sources.pace import Pace
from models.alignment import to_rgb
from models.arrays import F32, U8
from models.closing import Closing
from models.latent import LatentSpace, broadcast, shipped_space, truncate

SIZE = (640, 480)
FPS = 30.0
PEOPLE = (18, 25, 39)  # seeds of latents the way passes through: they look ahead and hardly smile
_BETWEEN = 6  # portraits made from one latent to the next: of fewer, two that are blended show as two
_PSI = 0.6  # truncation: plain, friendly faces
_SECONDS_PER_PORTRAIT = 1.25
_PORTRAIT_SIDE = 430.0  # pixels of the frame, on average
_MARGIN = 0.5  # of blurred background around a portrait, as a share of its side
_BLURRED = 48  # pixels per side of the picture the background is blurred in
_LARGEST = 384  # pixels of a portrait worth keeping


class DemoSource(Closing):
    """The demo.

    Frame n is the same picture in every run with the same generator and people.

    Args:
        synthesize: W+ [1, 18, 512] -> picture float32 [1, 3, R, R] in [-1, 1].
        map_z: z float32 [N, 512] -> w [N, 512].
        sway: float32 [1, 18, 512], a direction added in a sine of time, such as the one that turns the head;
            None = no sway.
        people: seeds of the latents.
        space: of the generator's latents; None = the default one's.
        z_dim: numbers in a z.
        live: see Source.
    """

    def __init__(
        self,
        synthesize: Callable[[F32], F32],
        map_z: Callable[[F32], F32],
        *,
        sway: F32 | None = None,
        people: Sequence[int] = PEOPLE,
        space: LatentSpace | None = None,
        z_dim: int = 512,
        live: bool = True,
    ) -> None:
        self._pace = Pace(FPS, live=live)
        z = np.stack([np.random.default_rng(seed).standard_normal(z_dim) for seed in people]).astype(np.float32)
        way = _way(map_z(z), sway, space or shipped_space())
        portraits = [to_rgb(synthesize(w_plus)) for w_plus in way]
        side = min(portraits[0].shape[0], _LARGEST)
        portraits = [
            np.asarray(cv2.resize(rgb, (side, side), interpolation=cv2.INTER_AREA), np.uint8) for rgb in portraits
        ]
        self._scenes = [_scene(rgb) for rgb in portraits]
        self.name = "demo"
        self.size = SIZE
        self.fps = FPS
        self.live = live
        self.note = "demo: a face that belongs to nobody, made by the generator"

    def close(self) -> None:
        """Nothing is held open."""

    def read(self) -> Frame:
        """The next frame."""
        seq = self._pace.next()
        rgb = self.picture(seq)
        return Frame(rgb, seq, time.perf_counter())

    def picture(self, seq: int) -> U8:
        """The picture of a frame, uint8 [480, 640, 3] RGB."""
        t = seq / FPS
        position = t / _SECONDS_PER_PORTRAIT
        first = int(position) % len(self._scenes)
        second = (first + 1) % len(self._scenes)
        share = position - int(position)
        scene = cv2.addWeighted(self._scenes[first], 1 - share, self._scenes[second], share, 0)
        frame = cv2.warpAffine(
            scene,
            _motion(t, scene.shape[0]),
            SIZE,
            flags=cv2.INTER_LINEAR,
            borderMode=cv2.BORDER_REFLECT_101,
        )
        return np.asarray(frame, np.uint8)


def _way(w: F32, sway: F32 | None, space: LatentSpace) -> list[F32]:
    """W+ [1, 18, 512] of the portraits, along a closed way through a few people's w [N, 512]."""
    people = truncate(broadcast(w, space.layers), space.mean_w, _PSI)
    count = len(people) * _BETWEEN
    way = []
    for i in range(count):
        person, share = divmod(i, _BETWEEN)
        w_plus = people[person] + (people[(person + 1) % len(people)] - people[person]) * (share / _BETWEEN)
        if sway is not None:
            w_plus = w_plus + sway[0] * math.sin(2 * math.pi * i / count)
        way.append(w_plus[None].astype(np.float32))
    return way


def _motion(t: float, side: int) -> F32:
    """Scene pixels -> frame pixels at a time: the head sways, nods, comes closer and leans."""
    scale = _PORTRAIT_SIDE * (1 + 2 * _MARGIN) / side * (1 + 0.12 * math.sin(2 * math.pi * t / 11))
    roll = math.radians(6) * math.sin(2 * math.pi * t / 7)
    x = (SIZE[0] - 1) / 2 + 70 * math.sin(2 * math.pi * t / 9)
    y = 255 + 14 * math.sin(2 * math.pi * t / 5)
    linear = scale * np.array([[math.cos(roll), -math.sin(roll)], [math.sin(roll), math.cos(roll)]])
    centre = (side - 1) / 2
    return np.column_stack([linear, np.array([x, y]) - linear @ [centre, centre]]).astype(np.float32)


def _scene(rgb: U8) -> U8:
    """A portrait amid more of its own blurred background, out of which it has no outline.

    FFHQ's square ends at the top of the hair. What is blurred is the background beside the head, without the head and
    its mirror images, so that the hair ends there rather than in a dark column above it.
    """
    scene = _widen(rgb)
    coarse = cv2.inpaint(_reduced(scene), _head(rgb.shape[0]), 3, cv2.INPAINT_NS)
    coarse = cv2.GaussianBlur(coarse, (0, 0), 2.5)
    blurred = cv2.resize(coarse, (scene.shape[1], scene.shape[0]), interpolation=cv2.INTER_CUBIC)
    return np.asarray(np.rint(blurred + (scene.astype(np.float32) - blurred) * _kept(len(scene))), np.uint8)


def _widen(picture: U8) -> U8:
    """A square picture with its mirror images around it, `_MARGIN` wide."""
    margin = round(picture.shape[0] * _MARGIN)
    return np.asarray(cv2.copyMakeBorder(picture, margin, margin, margin, margin, cv2.BORDER_REFLECT_101), np.uint8)


def _reduced(scene: U8) -> U8:
    return np.asarray(cv2.resize(scene, (_BLURRED, _BLURRED), interpolation=cv2.INTER_AREA), np.uint8)


@cache
def _head(side: int) -> U8:
    """Roughly where heads are, above the shoulders, in the reduced scene of such portraits: uint8, not 0 there."""
    y, x = (np.mgrid[:side, :side] + 0.5) / side
    inside = ((x - 0.5) / 0.46) ** 2 + ((y - 0.55) / 0.62) ** 2 < 1
    return _reduced(_widen(np.asarray(255 * (inside & (y < 0.75)), np.uint8)))


@cache
def _kept(side: int) -> F32:
    """How much of a scene of that side is not blurred: float32 [side, side, 1], 1 inside the portrait, fading out."""
    along = np.abs(np.linspace(-1, 1, side, dtype=np.float32)) * (1 + 2 * _MARGIN)
    distance = (along[None, :] ** 3 + along[:, None] ** 3) ** (1 / 3)
    keep = np.clip((1 - distance) / 0.2, 0, 1)[..., None]
    return np.asarray(keep * keep * (3 - 2 * keep), np.float32)
