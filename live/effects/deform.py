"""Swings some layers of the latent to and fro: a slow wave through the face."""

from __future__ import annotations

import math
import re
from dataclasses import dataclass, replace

import numpy as np

from live.effects.ease import Ease
from live.effects.numbers import parse_number
from live.effects.place import split_place, with_place
from models.arrays import F32
from models.errors import UserError
from models.latent import COARSE, FINE, LAYERS, MIDDLE, LatentSpace, move, shipped_space

_ALL = range(LAYERS)
LAYER_GROUPS = {"coarse": _ALL[COARSE], "middle": _ALL[MIDDLE], "fine": _ALL[FINE], "all": _ALL}
MOST_DEPTH = 10.0  # the face is gone at about 3
MOST_RATE = 15.0  # Hz; what 30 frames a second can still show


@dataclass(frozen=True)
class DeformSpec:
    """How the latent swings.

    Attributes:
        layers: which of the 18 W+ layers; of a generator that has fewer, those of a group that it has.
        depth: how far at the peak, in standard deviations of W; 1 is clearly visible and still a face.
        rate: swings per second, Hz.
        seed: which way; the same seed swings the same way on every machine.
        place: of the face that swings; None = every face.
    """

    layers: range = LAYER_GROUPS["middle"]
    depth: float = 1.0
    rate: float = 0.25
    seed: int = 0
    place: int | None = None


def parse_deform(text: str) -> DeformSpec:
    """Reads ``[FACE:][LAYERS][=DEPTH[@HZ]]``, such as "", "middle", "4-8=1.2@0.5", "2:fine", "=2" or "=@1".

    LAYERS is a layer 0 to 17, a range of them with both ends in it, or coarse, middle, fine or all.

    Raises:
        UserError: unknown layers, or a number that is absurd or none.
    """
    place, loop = split_place(text)
    layers, _, setting = loop.partition("=")
    depth, _, rate = setting.partition("@")
    default = DeformSpec()
    return DeformSpec(
        layers=_parse_layers(layers) if layers else default.layers,
        depth=_parse(depth, "depth", 0.0, MOST_DEPTH) if depth else default.depth,
        rate=_parse(rate, "rate in Hz", 0.001, MOST_RATE) if rate else default.rate,
        place=place,
    )


def _parse(text: str, name: str, lowest: float, highest: float) -> float:
    return parse_number(text, what=f"the {name} of the deform loop", lowest=lowest, highest=highest)


def _parse_layers(text: str) -> range:
    if text in LAYER_GROUPS:
        return LAYER_GROUPS[text]
    numbers = re.fullmatch(r"(\d{1,2})(?:-(\d{1,2}))?", text)
    if numbers:
        first = int(numbers[1])
        last = int(numbers[2] or first)
        if first <= last < LAYERS:
            return range(first, last + 1)
    raise UserError(
        f"unknown layers {text!r} of the deform loop; expected a layer from 0 to {LAYERS - 1}, "
        f"a range such as 4-8, or one of {', '.join(LAYER_GROUPS)}"
    )


def _layers_of(spec: DeformSpec, space: LatentSpace) -> range:
    """The layers that are meant, of those the generator has."""
    meant = range(spec.layers.start, min(spec.layers.stop, space.layers))
    if meant != spec.layers and (not meant or spec.layers not in LAYER_GROUPS.values()):
        raise UserError(
            f"no layers {spec.layers.start}-{spec.layers.stop - 1} for the deform loop; "
            f"this generator has the layers 0 to {space.layers - 1}"
        )
    return meant


class DeformLoop:
    """``w + depth * sin(2 pi rate t) * offset`` on the chosen layers, eased on and off.

    Args:
        spec: see there.
        active: whether it is switched on.
        space: what it swings in; None = the default generator's W+.

    Raises:
        UserError: a generator that has no such layers.
    """

    def __init__(self, spec: DeformSpec, *, active: bool = True, space: LatentSpace | None = None) -> None:
        space = space or shipped_space()
        self.spec = replace(spec, layers=_layers_of(spec, space))
        self._active = active
        self._presence = Ease.at(float(active))  # 0 = off, 1 = on
        # A fresh draw in every layer: one draw in all of them adds up and breaks faces at half the depth.
        draw = np.random.default_rng(spec.seed).standard_normal((1, space.layers, space.style_dim)).astype(np.float32)
        self._offset = np.zeros_like(draw)
        chosen = slice(self.spec.layers.start, self.spec.layers.stop)
        self._offset[:, chosen] = draw[:, chosen] * space.std_w

    @property
    def name(self) -> str:
        """Always "deform", with the face's number if it is for one."""
        return with_place(self.place, "deform")

    @property
    def place(self) -> int | None:
        """The place of the face it is for; None = every face."""
        return self.spec.place

    @property
    def label(self) -> str:
        """Name, layers, depth and rate, such as "deform 4-7 1 @ 0.25 Hz"."""
        layers = self.spec.layers
        return f"{self.name} {layers.start}-{layers.stop - 1} {self.spec.depth:.3g} @ {self.spec.rate:.3g} Hz"

    @property
    def active(self) -> bool:
        """Whether it is switched on; it may still be gliding on or off."""
        return self._active

    def toggle(self, t: float) -> None:
        """Switch on or off at ``t`` seconds; the wave goes on beneath."""
        self._active = not self._active
        self._presence = self._presence.retarget(float(self._active), t)

    def edit(self, w_plus: F32, t: float) -> F32:
        """The latent as it swings at ``t`` seconds; float32 [N, 18, 512] to the same."""
        presence = self._presence.value(t)
        if not presence:
            return w_plus
        swing = math.sin(2 * math.pi * self.spec.rate * t)
        return move(w_plus, self._offset, presence * self.spec.depth * swing)
