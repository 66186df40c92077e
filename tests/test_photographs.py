"""Folders of photographs: which files count, who is held out, what they are called."""

from __future__ import annotations

from pathlib import Path

import pytest

from export.photographs import held_out, names_of, photo_paths, read_photo, trained_on
from models.errors import UserError


def test_hidden_files_and_others_do_not_count(tmp_path: Path) -> None:
    for name in ("b.JPG", "a.png", "._a.png", "notes.txt"):
        (tmp_path / name).write_bytes(b"")
    assert [path.name for path in photo_paths(tmp_path)] == ["a.png", "b.JPG"]


@pytest.mark.parametrize("content", [b"", b"not a picture"])
def test_a_broken_photograph_is_named(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "face.jpg"
    path.write_bytes(content)
    with pytest.raises(UserError, match=r"face\.jpg"):
        read_photo(path)


def test_a_folder_without_photographs_is_named(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="no photographs"):
        photo_paths(tmp_path)
    with pytest.raises(UserError, match="not a folder"):
        photo_paths(tmp_path / "none")


def test_every_person_is_either_trained_on_or_measured() -> None:
    paths = [
        Path(f"{person}_{kind}.jpg") for person in ("001", "003", "007", "Ada") for kind in ("neutral", "smiling")
    ]
    assert [path.name[:3] for path in trained_on(paths)] == ["001", "001", "007", "007"]
    assert [path.name[:3] for path in held_out(paths)] == ["003", "003", "Ada", "Ada"]


def test_folders_of_one_name_are_told_apart() -> None:
    paths = [Path("/a/faces"), Path("/b/faces"), Path("/generated"), Path("/c/faces")]
    assert names_of(paths, taken=["generated"]) == dict(
        zip(["faces", "faces-2", "generated-2", "faces-3"], paths, strict=True)
    )
