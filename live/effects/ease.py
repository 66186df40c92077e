"""Values that glide to their target in time, so that nothing on the screen jumps."""

from __future__ import annotations

from dataclasses import dataclass

GLIDE = 0.4  # seconds from one value to the next


@dataclass(frozen=True)
class Ease:
    """A value on its way to ``target``: the cubic that leaves with the speed it had and arrives at rest.

    From rest this is the well-known smoothstep. Keeping the speed matters when the target moves on before it
    is reached: a held key retargets thirty times a second, and a value that started from rest each time
    would hardly move.

    Attributes:
        start: value at ``since``.
        target: value from ``since + GLIDE`` on.
        since: seconds at which the glide began.
        speed: units per second at ``since``.
    """

    start: float
    target: float
    since: float = 0.0
    speed: float = 0.0

    @classmethod
    def at(cls, value: float) -> Ease:
        """A value at rest."""
        return cls(value, value)

    def value(self, t: float) -> float:
        """The value at ``t`` seconds; before ``since`` it is ``start``."""
        x = min(max((t - self.since) / GLIDE, 0.0), 1.0)
        if x == 1.0:
            return self.target
        rest = 1.0 - x
        step = x * x * (3.0 - 2.0 * x)
        return self.start + (self.target - self.start) * step + GLIDE * self.speed * x * rest * rest

    def retarget(self, target: float, t: float) -> Ease:
        """The same value at ``t`` with the same speed, from there on its way to another target."""
        return Ease(self.value(t), target, t, self._speed_at(t))

    def _speed_at(self, t: float) -> float:
        x = (t - self.since) / GLIDE
        if not 0.0 <= x < 1.0:
            return 0.0
        rest = 1.0 - x
        return (self.target - self.start) * 6.0 * x * rest / GLIDE + self.speed * rest * (1.0 - 3.0 * x)
