"""What a trainer leaves on disk as it goes: its state, whole or not at all, and a row of figures at a time."""

from __future__ import annotations

import csv
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch


def save_checkpoint(path: Path, state: Mapping[str, Any]) -> None:
    """Replaces `path` once the new state is written."""
    torch.save(dict(state), path.with_suffix(".tmp"))
    path.with_suffix(".tmp").replace(path)


def append_row(path: Path, row: Mapping[str, float]) -> None:
    """Adds a row to a CSV file; the first brings the names of the columns."""
    with path.open("a", newline="") as file:
        writer = csv.DictWriter(file, row)
        if file.tell() == 0:
            writer.writeheader()
        writer.writerow(row)
