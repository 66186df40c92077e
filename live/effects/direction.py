"""Moves the latent along one direction: a smile, more years, another turn of the head."""

from __future__ import annotations

from dataclasses import dataclass, replace

from live.effects.ease import Ease
from live.effects.numbers import parse_number
from live.effects.place import split_place, with_place
from models.arrays import F32
from models.directions import SUFFIXES, Direction
from models.latent import move

DEFAULT_STRENGTH = 1.0
MOST_STRENGTH = 100.0  # published directions of unit length want tens; more leaves nothing of a face


@dataclass(frozen=True)
class DirectionSpec:
    """A direction as it was asked for.

    Attributes:
        name: of a shipped direction, or a file's path.
        strength: in the direction's unit.
        place: of the face it is for; None = every face.
    """

    name: str
    strength: float = DEFAULT_STRENGTH
    place: int | None = None


def parse_direction(text: str) -> DirectionSpec:
    """Reads ``[FACE:]NAME[=X]``, such as "smile", "age=-1.5", "2:smile" or "path/to/smile.pt=3".

    Raises:
        UserError: the strength is not a number or is absurd.
    """
    place, direction = split_place(text)
    name, equals, strength = direction.rpartition("=")
    if not equals or strength.endswith(SUFFIXES):  # a file with = in its path, without a strength
        return DirectionSpec(direction, place=place)
    number = parse_number(
        strength, what=f"the strength of direction {name!r}", lowest=-MOST_STRENGTH, highest=MOST_STRENGTH
    )
    return DirectionSpec(name, number, place)


@dataclass(frozen=True)
class _State:
    strength: float  # what it is set to, in the direction's unit
    active: bool
    amount: Ease  # what it is now: on its way to the strength, or to 0


class DirectionEffect:
    """``w + strength * direction``, eased."""

    def __init__(
        self,
        direction: Direction,
        strength: float = DEFAULT_STRENGTH,
        *,
        active: bool = True,
        place: int | None = None,
    ) -> None:
        self.direction = direction
        self.place = place
        self._state = _State(strength, active, Ease.at(strength if active else 0.0))

    @property
    def name(self) -> str:
        """The direction's name, with the face's number if it is for one."""
        return with_place(self.place, self.direction.name)

    @property
    def label(self) -> str:
        """Name and strength, such as "smile +1.5"."""
        return f"{self.name} {self._state.strength:+.3g}"

    @property
    def active(self) -> bool:
        """Whether it is switched on; it may still be gliding on or off."""
        return self._state.active

    @property
    def strength(self) -> float:
        """What it is set to, whether it is on or off."""
        return self._state.strength

    def toggle(self, t: float) -> None:
        """Switch on or off at ``t`` seconds."""
        state = self._state
        target = 0.0 if state.active else state.strength
        self._state = replace(state, active=not state.active, amount=state.amount.retarget(target, t))

    def change_strength(self, step: float, t: float) -> None:
        """Stronger or weaker by ``step``, within the direction's range (or what it was set to beyond it)."""
        state = self._state
        lowest, highest = self.direction.range
        strength = min(max(state.strength + step, min(lowest, state.strength)), max(highest, state.strength))
        amount = state.amount.retarget(strength, t) if state.active else state.amount
        self._state = replace(state, strength=strength, amount=amount)

    def edit(self, w_plus: F32, t: float) -> F32:
        """The latent moved by what the strength is at ``t`` seconds; float32 [N, 18, 512] to the same."""
        amount = self._state.amount.value(t)
        return move(w_plus, self.direction.vector, amount) if amount else w_plus
