"""Learning a face: the fit, the files it leaves, the command, and what the mirror does with them."""

from __future__ import annotations

import os
from dataclasses import replace
from pathlib import Path

import cv2
import numpy as np
import pytest

from live import people
from live.__main__ import main
from live.effects import EffectStack
from live.enrolment import enrol
from live.enrolment.loss_plot import CURVE, REFERENCE, plot
from live.frame import FaceTrack, Frame
from live.options import parse
from live.render import make_mode
from live.sources.still import read_picture
from live.synthesis import Request, Synthesizer
from live.timing import Timings
from models import registry
from models.arrays import F32, U8
from models.errors import UserError
from models.inversion import (
    FEWEST_STEPS,
    SECONDS,
    STEPS,
    View,
    face_weight,
    fit_offset,
    load_gradients,
    make_view,
    steps_for,
)
from models.irises import iris_loss
from models.landmarker import Landmarker
from models.latent import std_w
from models.texture import texture_loss
from models.tuned_generator import LENGTH, load_tuned_parts
from models.zoo import Generator, load_encoder, load_generator, load_landmark_regressor


@pytest.fixture(autouse=True)
def _own_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MORPHCAM_DATA", str(tmp_path / "data"))


@pytest.fixture
def _no_camera(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("live.sources.source.list_cameras", list)


@pytest.fixture(scope="module")
def view(astronaut: U8) -> View:
    with Landmarker(registry.path("face-landmarker")) as landmarker:
        (face,) = landmarker.detect(astronaut)
    return make_view(astronaut, face.landmarks, load_encoder(), 256)


def some_offset() -> F32:
    return 0.3 * std_w() * np.random.default_rng(1).standard_normal((1, 18, 512)).astype(np.float32)


def save(name: str, offset: F32 | None = None, change: F32 | None = None) -> Path:
    return people.save(
        name, some_offset() if offset is None else offset, change, 1, {"loss.png": np.zeros((4, 4, 3), np.uint8)}
    )


@pytest.mark.slow
def test_a_photograph_comes_nearer_with_every_part_of_the_fit(view: View) -> None:
    gradients = load_gradients()
    steps = list(fit_offset([view], gradients, 30))
    losses = [step.loss for step in steps]
    assert losses[-1] < 0.7 * losses[0]
    picture = load_generator(256).synthesize(view.latent + steps[-1].offset)
    before = load_generator(256).synthesize(view.latent)
    errors = [float((view.weight * np.abs(image - view.target)).mean()) for image in (before, picture)]
    assert errors[1] < 0.75 * errors[0]
    axes = view.down, view.across
    who = gradients.identity.embed(view.target, *axes)
    distances = [gradients.identity.at(image, *axes, who)[0] for image in (before, picture)]
    assert distances[1] < 0.6 * distances[0]
    grain = [texture_loss(image, view.target, view.weight)[0] for image in (before, picture)]
    assert grain[1] < 0.8 * grain[0]
    eyes = [iris_loss(image, view.target, view.irises)[0] for image in (before, picture)]
    assert eyes[1] < 0.5 * eyes[0]


@pytest.mark.slow
def test_views_share_one_offset_and_keep_their_own_latents(view: View) -> None:
    gradients = load_gradients()
    mirrored = replace(view, target=np.ascontiguousarray(view.target[..., ::-1]))
    *_, one = fit_offset([view], gradients, 6)
    *_, both = fit_offset([view, mirrored], gradients, 6)
    assert one.offset.shape == both.offset.shape == view.latent.shape
    assert np.abs(one.offset - both.offset).max() > 1e-3


def test_the_face_weighs_more_than_what_is_around_it(view: View) -> None:
    assert view.weight.shape == (1, 1, 256, 256)
    assert float(view.weight.mean()) == pytest.approx(1.0, abs=1e-4)
    assert view.weight[0, 0, 140, 128] > 4 * view.weight[0, 0, 5, 5]
    assert float((view.irises[0] * view.weight[0, 0]).sum()) > 3 * view.weight[0, 0, 140, 128], "the eyes most of all"
    far = np.full((478, 2), 1000.0, np.float32)
    np.testing.assert_allclose(face_weight(far, 64), 1.0, rtol=1e-5)


def test_what_is_saved_is_what_is_loaded() -> None:
    offset = some_offset()
    folder = save("me", offset)
    assert {path.name for path in folder.iterdir()} == {"identity.npz", "loss.png"}
    np.testing.assert_array_equal(people.load("me").offset, offset)
    assert people.enrolled() == ["me"]


def test_what_was_tuned_comes_back_to_three_digits() -> None:
    save("me")
    assert people.load("me").change is None
    change = 0.1 * np.random.default_rng(2).standard_normal((1, LENGTH)).astype(np.float32)
    folder = save("me", change=change)
    loaded = people.load("me").change
    assert loaded is not None
    np.testing.assert_allclose(loaded, change, rtol=1e-3, atol=1e-4)
    assert (folder / people.FILE).stat().st_size < 400_000


@pytest.mark.parametrize("change", [np.zeros((1, 5), np.float32), np.full((1, LENGTH), np.inf, np.float32)])
def test_a_change_of_other_weights_is_refused(change: F32) -> None:
    save("me", change=change)
    with pytest.raises(UserError, match="damaged; enrol again"):
        people.load("me")


def test_enrolling_again_replaces_and_leaves_nothing_behind() -> None:
    save("me")
    save("me", 2 * some_offset())
    np.testing.assert_array_equal(people.load("me").offset, 2 * some_offset())
    assert [path.name for path in people.people_folder().iterdir()] == ["me"]


def test_the_enrolment_before_comes_back_where_the_new_one_cannot_be_put(monkeypatch: pytest.MonkeyPatch) -> None:
    folder, rename = save("me"), Path.rename

    def refuse(path: Path, target: Path) -> Path:
        """As Windows does while a file in the folder is open elsewhere."""
        if path.name == "me" and target == folder:
            raise PermissionError(13, "Permission denied")
        return rename(path, target)

    monkeypatch.setattr(Path, "rename", refuse)
    with pytest.raises(UserError, match=r"cannot write to .*: Permission denied"):
        save("me", 2 * some_offset())
    np.testing.assert_array_equal(people.load("me").offset, some_offset())
    assert [path.name for path in people.people_folder().iterdir()] == ["me"]


@pytest.mark.parametrize("name", ["", "..", "a/b", "a\\b", ".me", "x" * 41, "a b", "con", "Lpt1"])
def test_a_name_is_no_path(name: str) -> None:
    with pytest.raises(UserError, match="cannot be a person's name"):
        people.load(name)


def test_an_enrolment_with_another_encoder_is_refused_in_one_line(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    save("me")
    monkeypatch.setattr("models.files.sha256", lambda _: "another")
    assert main(["--identity", "me", "--source", "demo", "--output", "null"]) == 2
    error = capsys.readouterr().err
    assert error.count("\n") == 1
    assert "another generator, encoder or version" in error
    assert error.endswith("enrol again: ./run.sh enrol --name me\n")
    views = people.people_folder() / "me" / people.VIEWS
    views.mkdir()
    assert main(["--identity", "me", "--source", "demo", "--output", "null"]) == 2
    assert f"enrol again: ./run.sh enrol --name me --photos {views}\n" in capsys.readouterr().err


def test_somebody_who_is_not_enrolled_is_named_with_those_who_are() -> None:
    save("you")
    with pytest.raises(UserError, match=r"nobody is enrolled as 'me' \(enrolled: you\)"):
        people.load("me")


def test_a_damaged_file_is_refused() -> None:
    path = save("me") / people.FILE
    path.write_bytes(path.read_bytes()[:1000])
    with pytest.raises(UserError, match=r"identity\.npz"):
        people.load("me")
    np.savez(path, offset=some_offset())
    with pytest.raises(UserError, match="not an enrolment"):
        people.load("me")


@pytest.mark.parametrize(
    ("name", "value"), [("version", [2, 2]), ("version", "two"), ("views", [1, 2]), ("views", "one"), ("views", 1.5)]
)
def test_a_malformed_file_is_refused_and_does_not_end_the_list(
    name: str, value: object, capsys: pytest.CaptureFixture[str]
) -> None:
    path = save("me") / people.FILE
    with np.load(path) as stored:
        arrays = dict(stored)
    np.savez(path, **{**arrays, name: np.array(value)})
    with pytest.raises(UserError, match="enrol again"):
        people.load("me")
    assert main(["enrol", "--list"]) == 0
    assert "enrol again" in capsys.readouterr().out


def test_what_a_killed_program_or_a_failed_deletion_left_can_be_removed() -> None:
    folder = save("me")
    (folder / people.FILE).unlink()
    people.delete("me")
    assert not folder.exists()
    old, new = (people.people_folder() / f".new-{name}" for name in ("old", "new"))
    for left in (old, new):
        left.mkdir()
    os.utime(old, (0, 0))
    save("me")
    assert not old.exists()
    assert new.exists(), "another program may be writing it"


def test_the_list_and_what_is_deleted_from_it(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["enrol", "--list"]) == 0
    assert "nobody is enrolled" in capsys.readouterr().out
    folder = save("me")
    assert main(["enrol", "--list"]) == 0
    assert capsys.readouterr().out.startswith("me: from 1 picture(s), ")
    assert main(["enrol", "--delete", "me"]) == 0
    assert not folder.exists()
    assert main(["enrol", "--delete", "me"]) == 2


@pytest.mark.parametrize(
    ("arguments", "complaint"),
    [
        (["--seconds", "0"], "--seconds 0"),
        (["--seconds", "nan"], "--seconds nan"),
        (["--steps", "0"], "--steps 0"),
        (["--name", "a/b"], "cannot be a person's name"),
    ],
)
def test_bad_arguments_are_told(arguments: list[str], complaint: str) -> None:
    with pytest.raises(UserError, match=complaint):
        enrol.parse(arguments)


def test_pictures_without_a_face_enrol_nobody(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    cv2.imwrite(str(tmp_path / "grey.png"), np.full((200, 200, 3), 128, np.uint8))
    assert main(["enrol", "--photos", str(tmp_path)]) == 2
    assert "no face was found" in capsys.readouterr().err
    assert main(["enrol", "--photos", str(tmp_path / "none")]) == 2
    assert people.enrolled() == []


@pytest.mark.slow
def test_a_photograph_is_enrolled_by_the_command(
    tmp_path: Path, astronaut: U8, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    photos = tmp_path / "photos"
    photos.mkdir()
    cv2.imwrite(str(photos / "face.png"), cv2.cvtColor(astronaut, cv2.COLOR_RGB2BGR))
    monkeypatch.delenv("DISPLAY", raising=False)
    monkeypatch.setattr("models.tuning.STEPS", 3)
    assert main(["enrol", "--name", "me", "--photos", str(photos), "--steps", "3", "--tune"]) == 0
    person = people.load("me")
    assert person.views == 1
    assert np.abs(person.offset).max() > 0
    assert person.change is not None
    assert np.abs(person.change).max() > 0
    assert read_picture(people.people_folder() / "me" / "pictures.png").shape == (256, 4 * 256, 3)
    assert main(["--identity", "me", "--source", str(photos / "face.png"), "--output", "null", "--frames", "2"]) == 0
    assert "me has layers of the generator tuned for them\n" in capsys.readouterr().out
    (kept,) = (people.people_folder() / "me" / people.VIEWS).iterdir()
    assert read_picture(kept).shape == (512, 512, 3)
    assert main(["enrol", "--name", "me", "--photos", str(kept.parent), "--steps", "1"]) == 0
    assert "will be replaced" in capsys.readouterr().out


def test_a_still_is_one_view(tmp_path: Path, astronaut: U8) -> None:
    path = tmp_path / "face.png"
    cv2.imwrite(str(path), cv2.cvtColor(astronaut, cv2.COLOR_RGB2BGR))
    (group,) = enrol.look(enrol.parse(["--source", str(path), "--seconds", "1"]), print)
    assert len(group.pictures) == 1


@pytest.mark.usefixtures("_no_camera")
def test_without_a_camera_the_demo_is_not_enrolled_unasked(capsys: pytest.CaptureFixture[str]) -> None:
    save("me")
    before = people.load("me").offset
    assert main(["enrol", "--name", "me"]) == 2
    assert "there is no camera to see you" in capsys.readouterr().err
    np.testing.assert_array_equal(people.load("me").offset, before)


def test_a_folder_that_cannot_be_written_is_told_before_the_work(
    tmp_path: Path, astronaut: U8, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "file").write_text("in the way")
    monkeypatch.setenv("MORPHCAM_DATA", str(tmp_path / "file"))
    monkeypatch.setattr(enrol, "choose", lambda *_: pytest.fail("it looked at pictures first"))
    cv2.imwrite(str(tmp_path / "face.png"), cv2.cvtColor(astronaut, cv2.COLOR_RGB2BGR))
    assert main(["enrol", "--photos", str(tmp_path)]) == 2
    assert "cannot write to" in capsys.readouterr().err


def test_the_plot_shows_the_curve_below_the_mean_face() -> None:
    picture = plot("me", [4.0 / step for step in range(1, 100)], 1, 2.0)
    rows = {colour: np.argwhere((picture == colour).all(axis=2))[:, 0] for colour in (CURVE, REFERENCE)}
    lowest, reference = rows[CURVE].max(), np.median(rows[REFERENCE][rows[REFERENCE] > 80])
    assert lowest > reference > 80


def test_what_tuning_did_is_a_curve_of_its_own() -> None:
    losses, tuned = [4.0 / step for step in range(1, 100)], [2.0] * 60
    whole, apart = plot("me", [*losses, *tuned], 1, 2.0), plot("me", losses, 1, 2.0, tuned)
    joined, parted = ((picture == CURVE).all(axis=2).sum() for picture in (whole, apart))
    assert 0 < parted < joined - 100, "nothing leads from one to the other"


@pytest.mark.parametrize(("steps", "views", "tuned"), [(1, 1, 0), (1, 5, 1), (3, 4, 2), (5, 5, 0)])
def test_the_plot_needs_no_more_than_a_step(steps: int, views: int, tuned: int) -> None:
    assert plot("me", [1.0] * steps, views, 2.0, [0.5] * tuned).shape == (560, 900, 3)


def test_identity_belongs_to_a_face_that_is_followed() -> None:
    assert parse(["--identity", "me"]).identities == ((0, "me"),)
    assert parse(["--identity", "2:me", "--faces", "2"]).identities == ((1, "me"),)
    with pytest.raises(UserError, match="there is no face 2"):
        parse(["--identity", "2:me"])
    with pytest.raises(UserError, match="twice"):
        parse(["--identity", "me", "--identity", "1:you"])


def test_the_mirror_adds_the_offset_to_the_face_it_is_for(astronaut: U8) -> None:
    with Landmarker(registry.path("face-landmarker")) as landmarker:
        (found,) = landmarker.detect(astronaut)
    mode, generator, encoder = make_mode("portrait", load_landmark_regressor()), load_generator(256), load_encoder()

    def portrait(offsets: dict[int, F32], tuned: dict[int, Generator] | None = None) -> F32:
        maker = Synthesizer(
            encoder=encoder,
            load_generator=lambda _: generator,
            effects=EffectStack([]),
            timings=Timings(),
            offsets=offsets,
            tuned=tuned or {},
        )
        track = FaceTrack(found.landmarks, found.blendshapes, found.pose, 3, found.score)
        return np.asarray(maker.make(Request(Frame(astronaut, 0, 0.0), (track,), 0.0, mode, 256)).made[3])

    bare, other, mine = portrait({}), portrait({1: some_offset()}), portrait({0: some_offset()})
    np.testing.assert_array_equal(bare, other)
    assert float(np.abs(mine - bare).mean()) > 0.02
    parts = load_tuned_parts()
    as_it_was, changed = (parts.generator(np.full((1, LENGTH), size, np.float32)) for size in (0.0, 0.05))
    np.testing.assert_array_equal(portrait({}, {1: changed}), bare)
    assert float(np.abs(portrait({}, {0: as_it_was}) - bare).mean()) < 0.02
    assert float(np.abs(portrait({}, {0: changed}) - bare).mean()) > 0.02


def test_slow_machines_take_fewer_steps_but_not_too_few() -> None:
    assert steps_for(1) == steps_for(1, 0.01) == STEPS
    assert FEWEST_STEPS < steps_for(1, SECONDS / 200.5) == 200 < STEPS
    assert steps_for(1, 60.0) == FEWEST_STEPS
    assert steps_for(3, 60.0) == 2 * FEWEST_STEPS
