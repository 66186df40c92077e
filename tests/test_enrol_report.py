"""The measuring of enrolment."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

pytest.importorskip("dlib", reason="the train extra is not installed")

from export.enrol_report import kept, main
from models.errors import UserError

pytestmark = pytest.mark.train


def test_what_is_kept_of_an_effect_is_a_share_of_all_of_it() -> None:
    rows = [
        {"effect_smile_before": 0.6, "effect_smile": 0.6},
        {"effect_smile_before": 0.2, "effect_smile": 0.0},  # hardly smiled before either: it counts for little
    ]
    assert kept(rows, "smile") == pytest.approx(0.75)


def test_a_folder_without_pairs_is_told_what_is_expected(tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"NAME_neutral\.jpg"):
        main(["--photos", str(tmp_path), "--out", str(tmp_path / "out")])


@pytest.mark.slow
def test_people_come_nearer(faces_dir: Path, tmp_path: Path) -> None:
    main(["--photos", str(faces_dir), "--people", "1", "--steps", "40", "--out", str(tmp_path)])
    (row,) = json.loads((tmp_path / "enrolled.json").read_text()).values()
    assert row["identity"] < 0.9 * row["identity_before"]
    assert row["effect_smile"] > 0.7 * row["effect_smile_before"]
