"""Hotkeys: one table from key to action, from which the help overlay and the README are made too."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from enum import Enum, auto

AUTO_REPEAT = 0.12  # seconds; held keys repeat every 30 to 90 ms, no finger is that fast on purpose
RELEASED_AFTER = 0.25  # seconds without a repeat after which a held key counts as let go


class Action(Enum):
    """What a key can ask for."""

    TOGGLE_DIRECTION = auto()
    STRONGER = auto()
    WEAKER = auto()
    TOGGLE_DEFORM = auto()
    NEXT_MODE = auto()
    COMPARE = auto()
    SNAPSHOT = auto()
    RECORD = auto()
    HELP = auto()
    FULL_SCREEN = auto()
    QUIT = auto()


@dataclass(frozen=True)
class Binding:
    """One row of the table.

    Attributes:
        action: what the keys ask for.
        keys: key names as a window reports them: the character in lower case, or "space", "escape".
        label: how the keys are written for people.
        description: what happens, for the overlay and the README.
        repeats: True = holding the key down repeats the action; False = it acts once per press.
    """

    action: Action
    keys: tuple[str, ...]
    label: str
    description: str
    repeats: bool = False


@dataclass(frozen=True)
class Command:
    """What a key press asks for; ``number`` is 0..8, the direction's place, for TOGGLE_DIRECTION only."""

    action: Action
    number: int | None = None


BINDINGS: tuple[Binding, ...] = (
    Binding(Action.TOGGLE_DIRECTION, tuple("123456789"), "1 - 9", "direction on or off"),
    # "=" is the key of "+" on US keyboards, without shift.
    Binding(Action.STRONGER, ("+", "="), "+", "the last one stronger", repeats=True),
    Binding(Action.WEAKER, ("-", "_"), "-", "the last one weaker", repeats=True),
    Binding(Action.TOGGLE_DEFORM, ("d",), "D", "deform on or off"),
    Binding(Action.NEXT_MODE, ("m",), "M", "next mode"),
    Binding(Action.COMPARE, ("space",), "Space", "show the camera"),
    Binding(Action.SNAPSHOT, ("s",), "S", "save a snapshot"),
    Binding(Action.RECORD, ("r",), "R", "record / stop"),
    Binding(Action.HELP, ("h",), "H", "help"),
    Binding(Action.FULL_SCREEN, ("f",), "F", "full screen"),
    Binding(Action.QUIT, ("q", "escape"), "Q, Esc", "quit"),
)

_BY_KEY: dict[str, Binding] = {key: binding for binding in BINDINGS for key in binding.keys}
_COMPARE_KEYS = tuple(key for key, binding in _BY_KEY.items() if binding.action is Action.COMPARE)


class Keyboard:
    """Turns the stream of key presses of one window into commands.

    OpenCV reports presses only, never releases, and a held key arrives as a burst of presses. The burst is
    recognised by its rhythm: a toggle acts on the first press of it alone, and COMPARE, toggled by a short
    press, ends by itself once a held key is let go. (The system waits about half a second before the burst
    starts; its first repeat still looks like a second press and undoes COMPARE for one repeat period.)

    Times are seconds of any steadily rising clock.
    """

    def __init__(self) -> None:
        self._last_key = ""
        self._last_time = float("-inf")
        self._comparing = False
        self._held = False

    def press(self, key: str, now: float) -> Command | None:
        """What pressing ``key`` at ``now`` asks for; None = the key is not bound, or only repeats itself."""
        repeated = key == self._last_key and now - self._last_time < AUTO_REPEAT
        self._last_key, self._last_time = key, now
        binding = _BY_KEY.get(key)
        if binding is None:
            return None
        if binding.action is Action.COMPARE:
            self._comparing = repeated or not self._comparing
            self._held = repeated
            return None if repeated else Command(Action.COMPARE)
        if repeated and not binding.repeats:
            return None
        number = binding.keys.index(key) if binding.action is Action.TOGGLE_DIRECTION else None
        return Command(binding.action, number)

    def comparing(self, now: float) -> bool:
        """Whether the camera's own picture is asked for at ``now``; ask once per shown frame."""
        if self._held and (self._last_key not in _COMPARE_KEYS or now - self._last_time > RELEASED_AFTER):
            self._held = self._comparing = False
        return self._comparing


def help_rows(directions: Sequence[str]) -> tuple[tuple[str, str], ...]:
    """(label, description) of every key that does something while these directions are loaded, in order.

    A direction's key has the direction's name for a description.
    """
    rows: list[tuple[str, str]] = []
    for binding in BINDINGS:
        if binding.action is Action.TOGGLE_DIRECTION:
            rows += zip(binding.keys, directions, strict=False)
        elif directions or binding.action not in (Action.STRONGER, Action.WEAKER):
            rows.append((binding.label, binding.description))
    return tuple(rows)


def markdown_table() -> str:
    """The table of keys as the README shows it."""
    rows = [f"| `{binding.label}` | {binding.description} |" for binding in BINDINGS]
    return "\n".join(["| key | what it does |", "|---|---|", *rows]) + "\n"
