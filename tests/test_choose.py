"""What a face is learned from: the sharpest pictures, of one person, whatever else lies in the folder."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import cv2
import numpy as np
import pytest

from live.enrolment import enrol
from live.enrolment.choose import KEPT_SIZE, Face, Group, choose, photographs
from live.sources.still import read_picture
from models.arrays import U8
from models.errors import UserError
from models.inversion import Gradients
from models.zoo import load_encoder, load_identity_gradient
from tests import bowls

SIZE = 256
MOST = 8


@pytest.fixture(scope="module")
def gradients() -> Gradients:
    return Gradients(bowls.bowl(lambda w_plus: w_plus, SIZE).picture, load_identity_gradient())


@pytest.fixture
def chosen(gradients: Gradients) -> Callable[..., tuple[list[Face], list[str]]]:
    """Chooses of groups; what was chosen, and what was said."""
    said: list[str] = []
    return lambda *groups, most=MOST: (choose(groups, load_encoder(), gradients, most, said.append), said)


def mirrored(rgb: U8) -> U8:
    return np.ascontiguousarray(rgb[:, ::-1])


def blurred(rgb: U8) -> U8:
    return np.asarray(cv2.GaussianBlur(rgb, (0, 0), 3), np.uint8)


def write(path: Path, rgb: U8) -> None:
    cv2.imwrite(str(path), cv2.cvtColor(rgb, cv2.COLOR_RGB2BGR))


def test_of_a_clip_the_sharpest_face_of_each_stretch_is_taken(
    carphone: Path, chosen: Callable[..., tuple[list[Face], list[str]]]
) -> None:
    parts = enrol.look(enrol.parse(["--source", str(carphone), "--seconds", "2"]), print)
    assert len(parts) == enrol.CAMERA_VIEWS
    frames = parts[0].pictures
    nothing = Group("a wall", [np.zeros((90, 90, 3), np.uint8)])
    faces, said = chosen(Group("a stretch", [*map(blurred, frames), frames[0]]), nothing)
    (sharp,), _ = chosen(Group("one", frames[:1]))
    assert len(faces) == 1, "a stretch without a face gives none"
    np.testing.assert_array_equal(faces[0].view.target, sharp.view.target)
    assert said == ["left out: no face in a wall"]


def test_a_long_film_is_not_kept_whole(carphone: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(enrol, "MOST_FRAMES", 6)
    parts = enrol.look(enrol.parse(["--source", str(carphone), "--seconds", "3"]), print)
    assert sum(len(part.pictures) for part in parts) <= 6 + 1


def test_another_person_is_left_out(
    astronaut: U8, carphone_frames: list[U8], chosen: Callable[..., tuple[list[Face], list[str]]]
) -> None:
    hers = Group("a.png", [astronaut]), Group("b.png", [mirrored(astronaut)])
    faces, said = chosen(hers[0], Group("his.png", carphone_frames[:1]), hers[1])
    assert len(faces) == 2
    assert said == ["left out: his.png shows another person than most"]
    assert faces[0].crop.shape == (KEPT_SIZE, KEPT_SIZE, 3)


def test_in_a_picture_of_two_it_is_the_one_of_the_other_pictures_or_the_larger(
    astronaut: U8, carphone_frames: list[U8], chosen: Callable[..., tuple[list[Face], list[str]]]
) -> None:
    his = cv2.resize(
        carphone_frames[0], None, fx=512 / carphone_frames[0].shape[0], fy=512 / carphone_frames[0].shape[0]
    )
    both = np.hstack([astronaut, np.asarray(his, np.uint8)])
    (him,), _ = chosen(Group("his.png", carphone_frames[:1]))
    (_, in_both), said = chosen(Group("his.png", carphone_frames[:1]), Group("both.png", [both]))
    assert np.linalg.norm(in_both.identity - him.identity) < 0.4
    assert said == []
    (alone,), _ = chosen(Group("both.png", [both]))
    assert alone.size >= in_both.size


def test_a_folder_holds_all_sorts(tmp_path: Path, astronaut: U8) -> None:
    for name in "abcd":
        write(tmp_path / f"{name}.png", astronaut)
    whole = (tmp_path / "a.png").read_bytes()
    (tmp_path / "b.png").write_bytes(whole[: len(whole) // 100])
    (tmp_path / "._a.png").write_bytes(b"what a Mac leaves on other systems' disks")
    (tmp_path / "notes.txt").write_text("not a picture")
    said: list[str] = []
    names = [group.name for group in photographs(tmp_path, 2, said.append)]
    assert names == ["a.png", "c.png", "d.png"], "evenly picked ones first, then the others in their place"
    (complaint,) = said
    assert complaint.startswith("left out: ")
    assert "b.png" in complaint
    with pytest.raises(UserError, match=r"b\.png"):
        list(photographs(tmp_path / "b.png", 2, said.append))


def test_enough_is_enough(astronaut: U8, chosen: Callable[..., tuple[list[Face], list[str]]]) -> None:
    def endless() -> Group:
        return Group("a.png", [astronaut])

    assert len(chosen(endless(), endless(), endless(), most=2)[0]) == 2


def test_a_smile_makes_nobody_another_person(
    faces_dir: Path, chosen: Callable[..., tuple[list[Face], list[str]]]
) -> None:
    straight = sorted(faces_dir.glob("*_neutral.*"))[:10]
    for i, path in enumerate(straight):
        theirs = [Group(path.name, [read_picture(path)])]
        theirs += [Group("smiling", [read_picture(path.with_name(path.name.replace("neutral", "smiling")))])]
        other = Group("other", [read_picture(straight[i - 1])])
        faces, said = chosen(*theirs, other)
        assert len(faces) == 2
        assert said[-1:] == ["left out: other shows another person than most"]
