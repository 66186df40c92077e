"""What the command lines of both benchmarks have in common."""

from __future__ import annotations

from argparse import Namespace
from collections.abc import Sequence
from typing import Any

from live.options import OneLineParser


def make_parser(description: str | None, what: Sequence[str], about: str) -> OneLineParser:
    """A parser of ``bench``.

    Args:
        description: of the benchmark.
        what: may be measured.
        about: help on `what`.
    """
    parser = OneLineParser(prog="python -m live bench", description=description, allow_abbrev=False)
    parser.add_argument("what", choices=what, help=about)
    parser.add_argument("--debug", action="store_true", help="show the traceback of an error")
    return parser


def each_once(given: Namespace, *names: str) -> dict[str, tuple[Any, ...]]:
    """Options that take several values, without the repeated ones."""
    return {name: tuple(dict.fromkeys(getattr(given, name))) for name in names}
