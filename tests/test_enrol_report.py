"""The measuring of enrolment."""

from __future__ import annotations

import json
import math
import shutil
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

pytest.importorskip("dlib", reason="the train extra is not installed")

from export.enrol_report import attribute, kept, kept_error, main
from export.measure import Meter, eye_distance
from models.arrays import U8
from models.errors import UserError

pytestmark = pytest.mark.train


def test_what_is_kept_of_an_effect_is_a_share_of_all_of_it() -> None:
    effects = [(0.6, 0.6), (0.2, 0.0)]  # the second hardly smiled before either: it counts for little
    people = [{"encoder": {"effect_smile_2": bare}, "tuned": {"effect_smile_2": left}} for bare, left in effects]
    assert kept(people, "smile", 2, "tuned") == pytest.approx(0.75)


def test_the_error_of_a_share_is_known_from_the_people_it_is_of() -> None:
    def people(*kept_of_two: float) -> list[dict[str, dict[str, float]]]:
        return [{"encoder": {"effect_age_2": 2.0}, "enrolled": {"effect_age_2": left}} for left in kept_of_two]

    assert math.isnan(kept_error(people(1.0), "age", 2, "enrolled"))
    assert kept_error(people(1.5, 1.5, 1.5), "age", 2, "enrolled") == pytest.approx(0)
    # Of equal effects the share is a mean, and the jackknife's error the textbook's.
    shares = np.array([0.5, 0.75, 1.0, 0.95])
    expected = shares.std(ddof=1) / math.sqrt(len(shares))
    assert kept_error(people(*(2 * shares)), "age", 2, "enrolled") == pytest.approx(expected)


def test_an_open_mouth_is_told_by_the_lips(astronaut: U8) -> None:
    with Meter() as meter:
        measures = meter.measure(astronaut)
    assert measures is not None
    landmarks = measures.detection.landmarks.copy()
    landmarks[13], landmarks[14] = (0.0, 10.0), (0.0, 10.0 + 0.25 * eye_distance(landmarks))
    opened = replace(measures, detection=replace(measures.detection, landmarks=landmarks))
    assert attribute(opened, "mouth-open") == pytest.approx(0.25, rel=1e-4)
    assert attribute(opened, "smile") == measures.attribute("smile")


def test_a_folder_without_pairs_is_told_what_is_expected(tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"NAME_neutral\.jpg"):
        main(["--photos", str(tmp_path), "--out", str(tmp_path / "out")])


@pytest.mark.slow
def test_people_come_nearer(faces_dir: Path, tmp_path: Path) -> None:
    name = sorted(path.name.split("_")[0] for path in faces_dir.glob("*_neutral.*"))[1]  # the first was trained on
    for path in faces_dir.glob(f"{name}_*"):
        shutil.copy(path, tmp_path)
    few = ["--people", "1", "--viewed", "0", "--steps", "40", "--tuning-steps", "24"]
    main(["--photos", str(tmp_path), *few, "--out", str(tmp_path)])
    report = json.loads((tmp_path / "enrolled.json").read_text())
    (person,) = report["people"].values()
    assert person["enrolled"]["identity"] < 0.6 * person["encoder"]["identity"]
    assert person["tuned"]["landmarks"] < person["enrolled"]["landmarks"]
    assert person["tuned"]["sharpness"] > person["encoder"]["sharpness"]  # pixels alone would be soft
    assert person["enrolled"]["eye_colour"] < 0.7 * person["encoder"]["eye_colour"]
    assert person["enrolled"]["effect_smile_1"] > 0.7 * person["encoder"]["effect_smile_1"]
    assert report["views"] == []
