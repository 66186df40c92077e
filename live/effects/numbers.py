"""Numbers the user wrote."""

from __future__ import annotations

import math

from models.errors import UserError


def parse_number(text: str, *, what: str, lowest: float, highest: float) -> float:
    """``text`` as a finite number in [lowest, highest].

    Args:
        text: what was written.
        what: its name in the message, such as "strength of smile".
        lowest: least value taken.
        highest: largest value taken.

    Raises:
        UserError: not a number, not finite, or out of range.
    """
    try:
        number = float(text)
    except ValueError:
        number = math.nan
    if not lowest <= number <= highest:  # false for NaN as well
        raise UserError(f"{what} is {text!r}; expected a number from {lowest:g} to {highest:g}")
    return number
