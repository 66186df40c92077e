"""The bench itself: an encoder that knows the answer scores perfectly, one that does not scores badly."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest

from models import registry
from models.arrays import F32
from models.latent import broadcast, mean_w, move, std_w

pytest.importorskip("dlib", reason="needs the train extra")

from export.evaluate import edits_of, summary
from export.fidelity import summarise
from export.inversion_bench import Bench, Edit, Results
from export.measure import Meter
from export.photographs import photo_paths
from export.sampling import sample_w_plus
from models.directions import load_direction, shipped_directions
from models.zoo import Generator, load_generator, load_mapping

if not all(registry.is_intact(registry.artefacts()[name]) for name in registry.choose(["default", "measure"])):
    pytest.skip("the measuring models are not pulled: ./run.sh pull measure", allow_module_level=True)

FACES = 4


class Oracle:
    """Answers with given latents, in order; what it is asked is checked for shape and range."""

    size = 128

    def __init__(self, answers: F32) -> None:
        self._answers = iter(answers)

    def encode(self, image: F32, landmarks: F32) -> F32:
        """The next answer, float32 [1, 18, 512]."""
        assert image.shape == (1, 3, self.size, self.size)
        assert np.abs(image).max() <= 1
        assert landmarks.shape == (1, 478, 2)
        assert 0.2 < landmarks.mean() < 0.8
        answer: F32 = next(self._answers)
        return answer[None]


@pytest.fixture(scope="module")
def generator() -> Generator:
    return load_generator(256)


@pytest.fixture(scope="module")
def faces() -> F32:
    return sample_w_plus(np.random.default_rng(5), FACES, load_mapping().map, mean_w())


@pytest.fixture(scope="module")
def meter() -> Iterator[Meter]:
    with Meter() as opened:
        yield opened


def test_the_right_latents_score_perfectly(generator: Generator, faces: F32, meter: Meter) -> None:
    bench = Bench(Oracle(faces), generator, meter)
    results = bench.run(bench.generated(faces), Results())
    assert len(results.rows) == FACES
    scores = summarise(results.rows)
    assert all(score.mean == 0 for name, score in scores.items() if name != "psnr")
    assert scores["psnr"].median > 50
    assert summary(results, {})["r2"] == {"coarse": 1.0, "middle": 1.0, "fine": 1.0}


def test_the_mean_face_is_another_person(generator: Generator, faces: F32, meter: Meter) -> None:
    guess = np.repeat(broadcast(mean_w()[None]), FACES, axis=0)
    bench = Bench(Oracle(guess), generator, meter)
    results = bench.run(bench.generated(faces), Results())
    scores = summarise(results.rows)
    assert scores["identity"].median > 0.5
    assert scores["landmarks"].median > 0.02
    assert scores["psnr"].median < 20
    assert summary(results, {})["r2"] == pytest.approx({"coarse": 0.0, "middle": 0.0, "fine": 0.0}, abs=1e-6)


def test_a_small_error_of_the_latent_is_a_small_error_of_the_face(
    generator: Generator, faces: F32, meter: Meter
) -> None:
    noise = np.random.default_rng(0).normal(size=faces.shape) * std_w()
    bench = Bench(Oracle((faces + 0.1 * noise).astype(np.float32)), generator, meter)
    scores = summarise(bench.run(bench.generated(faces), Results()).rows)
    assert 0 < scores["identity"].median < 0.4
    assert 0 < scores["landmarks"].median < 0.02


def test_edits_of_the_reconstruction_are_measured_and_shown(generator: Generator, faces: F32, meter: Meter) -> None:
    edits = [Edit(load_direction("smile"), 2.0), Edit(load_direction("age"), 2.0)]
    bench = Bench(Oracle(faces[:2]), generator, meter, edits)
    results = bench.run(bench.generated(faces[:2]), Results())
    assert [len(row) for row in results.pictures] == [4, 4]
    assert set(results.edited_identity) == {"smile=+2", "age=+2"}
    assert min(results.edited_change["age=+2"]) > 2
    kept = summary(results, {})["edits"]
    assert kept["age=+2"]["share_of_true_change"] == pytest.approx(1)  # type: ignore[index]
    unknown = dataclasses.replace(results, true_change={})
    twice = {"age=+2": [2 * change for change in results.true_change["age=+2"]]}
    kept = summary(unknown, twice)["edits"]
    assert kept["age=+2"]["share_of_true_change"] == pytest.approx(0.5)  # type: ignore[index]


def test_edits_are_named_as_on_the_command_line_of_the_application() -> None:
    edits = edits_of(["smile=-1.5", "age", "age=2"])
    assert [edit.caption for edit in edits] == ["smile=-1.5", "age=+2"]
    every = edits_of(["all"])
    assert {edit.direction.name for edit in every} == set(shipped_directions())
    assert all(0 < edit.strength <= min(2, edit.direction.range[1]) for edit in every)


def test_what_an_edit_does_is_told_of_the_same_faces_before_and_after(
    generator: Generator, faces: F32, meter: Meter
) -> None:
    smile = Edit(load_direction("smile"), 2.0)
    vector = smile.direction.vector
    half_smile = np.concatenate([move(faces[:2], vector, -3.0), move(faces[2:], vector, 2.0)])
    bench = Bench(Oracle(half_smile), generator, meter, [smile])
    results = bench.run(bench.generated(half_smile), Results())
    assert len(results.edited_change["smile=+2"]) == len(results.true_change["smile=+2"]) == 2
    assert len(results.edited_identity["smile=+2"]) == FACES


def test_a_photograph_goes_through_the_live_chain(
    generator: Generator, faces: F32, meter: Meter, tmp_path: Path
) -> None:
    data = pytest.importorskip("skimage.data")
    from export.sheet import write_png

    write_png(tmp_path / "Ä face.png", np.asarray(data.astronaut(), np.uint8))
    write_png(tmp_path / "nobody.png", np.full((200, 200, 3), 90, np.uint8))
    (tmp_path / "broken.jpg").write_bytes(b"")
    bench = Bench(Oracle(faces), generator, meter)
    results = Results()
    bench.run(bench.photographs(photo_paths(tmp_path), results.lost), results)
    assert results.lost == ["broken.jpg", "nobody.png"]
    assert len(results.rows) == 1
    assert results.rows[0].identity > 0.5  # she is not the first of the generated faces
