"""The table of hotkeys and what presses mean."""

from __future__ import annotations

import pytest

from live.display.keys import BINDINGS, Action, Command, Keyboard, help_rows, markdown_table


def hold(keyboard: Keyboard, key: str, start: float, seconds: float) -> list[Command | None]:
    """Press and keep a key down: the first press, half a second of nothing, then one each 33 ms."""
    times = [start, *(start + 0.5 + 0.033 * n for n in range(int((seconds - 0.5) / 0.033)))]
    return [keyboard.press(key, now) for now in times]


def test_no_key_is_bound_twice() -> None:
    keys = [key for binding in BINDINGS for key in binding.keys]
    assert len(keys) == len(set(keys))


def test_every_action_has_a_key() -> None:
    assert [binding.action for binding in BINDINGS] == list(Action)


@pytest.mark.parametrize(
    ("key", "command"),
    [
        ("1", Command(Action.TOGGLE_DIRECTION, 0)),
        ("9", Command(Action.TOGGLE_DIRECTION, 8)),
        ("+", Command(Action.STRONGER)),
        ("=", Command(Action.STRONGER)),
        ("-", Command(Action.WEAKER)),
        ("escape", Command(Action.QUIT)),
        ("q", Command(Action.QUIT)),
        ("0", None),
        ("x", None),
    ],
)
def test_a_key_asks_for_its_action(key: str, command: Command | None) -> None:
    assert Keyboard().press(key, 1.0) == command


def test_a_held_toggle_acts_once_until_its_repeats_begin() -> None:
    commands = hold(Keyboard(), "d", 1.0, 2.0)
    # The first repeat comes so late that it cannot be told from a second press.
    assert [command is not None for command in commands] == [True, True] + [False] * (len(commands) - 2)


def test_a_held_plus_goes_on() -> None:
    commands = hold(Keyboard(), "+", 1.0, 1.5)
    assert commands == [Command(Action.STRONGER)] * len(commands)


def test_two_different_keys_at_once_both_count() -> None:
    keyboard = Keyboard()
    assert keyboard.press("1", 1.0) == Command(Action.TOGGLE_DIRECTION, 0)
    assert keyboard.press("2", 1.01) == Command(Action.TOGGLE_DIRECTION, 1)


def test_a_short_press_of_space_toggles_the_comparison() -> None:
    keyboard = Keyboard()
    assert not keyboard.comparing(0.0)
    keyboard.press("space", 1.0)
    assert keyboard.comparing(1.1) and keyboard.comparing(60.0)
    keyboard.press("space", 61.0)
    assert not keyboard.comparing(61.1)


def test_held_space_compares_until_it_is_let_go() -> None:
    keyboard = Keyboard()
    hold(keyboard, "space", 1.0, 2.0)
    assert keyboard.comparing(3.0)
    assert not keyboard.comparing(3.4)
    keyboard.press("space", 5.0)
    assert keyboard.comparing(9.0), "the next short press toggles again"


def test_another_key_ends_a_held_comparison() -> None:
    keyboard = Keyboard()
    hold(keyboard, "space", 1.0, 2.0)
    keyboard.press("1", 3.0)
    assert not keyboard.comparing(3.01)


def test_the_overlay_names_the_loaded_directions() -> None:
    rows = help_rows(["smile", "age"])
    assert rows[:2] == (("1", "smile"), ("2", "age"))
    assert "3" not in dict(rows)
    assert {binding.label for binding in BINDINGS[1:]} <= set(dict(rows))


def test_the_overlay_leaves_out_keys_that_do_nothing() -> None:
    labels = dict(help_rows([]))
    assert "1" not in labels and "+" not in labels and "-" not in labels and "H" in labels


def test_the_table_for_the_readme_has_a_row_per_binding() -> None:
    lines = markdown_table().splitlines()
    assert lines[:2] == ["| key | what it does |", "|---|---|"]
    assert lines[2:] == [f"| `{b.label}` | {b.description} |" for b in BINDINGS]
