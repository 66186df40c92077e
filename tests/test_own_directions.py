"""Directions from a user's own pictures."""

from __future__ import annotations

import dataclasses
from pathlib import Path

import cv2
import numpy as np
import pytest

from models import registry
from models.alignment import to_rgb
from models.arrays import F32, F64, U8
from models.directions import load_direction
from models.errors import UserError
from models.landmarker import Landmarker
from models.latent import LAYERS, STYLE_DIM, mean_w, move, std_w
from models.zoo import load_encoder, load_generator, load_mapping

pytest.importorskip("dlib", reason="needs the train extra")

from export.directions import main
from export.own_directions import classifier_normal, difference_of_means, encode, from_folders, from_table, make
from export.sampling import sample_w_plus


def planted(rng: np.random.Generator, count: int, *, loud: float = 0.0) -> tuple[F64, F64, F64]:
    """Two classes [2 count, 512] that differ along an axis; `loud` adds variation along another, seen in both."""
    axis, other = np.linalg.qr(rng.normal(size=(512, 2)))[0].T
    classes = np.repeat([0.0, 1.0], count)
    x = 0.3 * rng.normal(size=(2 * count, 512)) + np.outer(6 * classes, axis)
    return x + np.outer(loud * rng.normal(size=2 * count), other), classes, axis


def cosine(a: F64, b: F64) -> float:
    return float(a @ b / np.linalg.norm(a) / np.linalg.norm(b))


def test_both_find_the_axis_and_its_length() -> None:
    x, classes, axis = planted(np.random.default_rng(0), 60)
    for maker in (difference_of_means, classifier_normal):
        found = maker(x, classes)
        assert cosine(found, axis) > 0.95
        assert found @ axis == pytest.approx(6, rel=0.1)


def test_the_classifier_looks_past_what_varies_anyway() -> None:
    x, classes, axis = planted(np.random.default_rng(1), 20, loud=12.0)
    means, normal = difference_of_means(x, classes), classifier_normal(x, classes)
    assert cosine(normal, axis) > cosine(means, axis) + 0.02


def test_accuracy_is_near_chance_when_the_classes_are_alike() -> None:
    rng = np.random.default_rng(2)
    latents: F32 = rng.normal(size=(120, LAYERS, STYLE_DIM)).astype(np.float32)
    made = make(latents[:60], latents[60:])
    assert all(0.3 < own.accuracy < 0.7 for own in made.values())
    latents[60:] += 0.5 * std_w()
    assert all(own.accuracy > 0.95 for own in make(latents[:60], latents[60:]).values())


def test_too_few_pictures_are_refused() -> None:
    few: F32 = np.zeros((3, LAYERS, STYLE_DIM), np.float32)
    with pytest.raises(UserError, match="too few"):
        make(few, few)


def picture(path: Path) -> Path:
    path.parent.mkdir(exist_ok=True)
    cv2.imwrite(str(path), np.zeros((8, 8, 3), np.uint8))
    return path


def test_of_two_folders_the_pairs_count(tmp_path: Path) -> None:
    for name in ("a.jpg", "b.jpg", "only.jpg"):
        picture(tmp_path / "A" / name)
    for name in ("b.png", "a.png"):
        picture(tmp_path / "B" / name)
    pictures = from_folders(tmp_path / "A", tmp_path / "B")
    assert [path.name for path in pictures.without] == ["a.jpg", "b.jpg"]
    assert [path.name for path in pictures.having] == ["a.png", "b.png"]


def test_of_a_pair_both_halves_are_left_out(tmp_path: Path, astronaut: U8) -> None:
    for name in ("a", "b"):
        for folder in ("A", "B"):
            picture(tmp_path / folder / f"{name}.png")
            cv2.imwrite(str(tmp_path / folder / f"{name}.png"), astronaut[..., ::-1])
    picture(tmp_path / "A" / "a.png")
    with Landmarker(registry.path("face-landmarker")) as landmarker:
        pairs = from_folders(tmp_path / "A", tmp_path / "B")
        (without, having), faceless = encode(pairs, load_encoder(), landmarker)
        assert len(without) == len(having) == 1
        assert faceless == [tmp_path / "A" / "a.png"]
        (without, having), _ = encode(dataclasses.replace(pairs, pairs=False), load_encoder(), landmarker)
        assert (len(without), len(having)) == (1, 2)


def test_mirrored_it_is_the_latent_of_the_mirror_image(tmp_path: Path, astronaut: U8) -> None:
    picture(tmp_path / "A" / "a.png")
    picture(tmp_path / "B" / "a.png")
    cv2.imwrite(str(tmp_path / "A" / "a.png"), astronaut[..., ::-1])
    cv2.imwrite(str(tmp_path / "B" / "a.png"), astronaut[:, ::-1, ::-1])
    pair, encoder = from_folders(tmp_path / "A", tmp_path / "B"), load_encoder()
    with Landmarker(registry.path("face-landmarker")) as landmarker:
        (plain, mirror), _ = encode(pair, encoder, landmarker)
        (mirrored, _), _ = encode(pair, encoder, landmarker, mirrored=True)
    assert np.array_equal(mirrored, mirror)
    assert not np.allclose(plain, mirror, atol=0.1)


def test_the_smile_of_people_is_what_their_smiling_pictures_have_in_common(tmp_path: Path) -> None:
    generator, known = load_generator(256), load_direction("smile").vector
    faces = sample_w_plus(np.random.default_rng(7), 8, load_mapping().map, mean_w())
    for i, face in enumerate(faces):
        for kind, strength in (("neutral", -1.0), ("smiling", 1.5)):
            rgb = to_rgb(generator.synthesize(move(face[None], known, strength)))
            cv2.imwrite(str(tmp_path / f"{i}_{kind}.png"), rgb[..., ::-1])
    main(["--smile-of", str(tmp_path), "--out", str(tmp_path)])
    found = load_direction(str(tmp_path / "smile.npz")).vector
    assert cosine(found.ravel().astype(np.float64), known.ravel().astype(np.float64)) > 0.7
    (tmp_path / "2_smiling.png").unlink()
    with pytest.raises(UserError, match=r"has no 2_smiling\.png"):
        main(["--smile-of", str(tmp_path), "--out", str(tmp_path)])


def test_without_pairs_every_picture_counts(tmp_path: Path) -> None:
    for name in ("a.jpg", "b.jpg"):
        picture(tmp_path / "A" / name)
    picture(tmp_path / "B" / "c.jpg")
    pictures = from_folders(tmp_path / "A", tmp_path / "B")
    assert len(pictures.without) == 2
    assert len(pictures.having) == 1


def test_a_table_names_the_classes(tmp_path: Path) -> None:
    for name in ("a.jpg", "b.jpg", "c.jpg"):
        picture(tmp_path / "pictures" / name)
    table = tmp_path / "labels.csv"
    table.write_text("file,label\npictures/a.jpg,0.1\npictures/b.jpg,0.9\npictures/c.jpg,0.2\n", encoding="utf-8")
    pictures = from_table(table)
    assert [path.name for path in pictures.without] == ["a.jpg", "c.jpg"]
    assert [path.name for path in pictures.having] == ["b.jpg"]


@pytest.mark.parametrize(
    ("text", "problem"),
    [
        ("picture,label\na.jpg,1\n", "columns file,label"),
        ("file,label\na.jpg,smiling\n", "numbers as labels"),
        ("file,label\na.jpg,1\nb.jpg,1\n", "no two classes"),
        ("file,label\na.jpg,1\nmissing.jpg,0\n", "missing.jpg"),
    ],
)
def test_a_bad_table_is_one_clear_line(tmp_path: Path, text: str, problem: str) -> None:
    picture(tmp_path / "a.jpg")
    table = tmp_path / "labels.csv"
    table.write_text(text, encoding="utf-8")
    with pytest.raises(UserError, match=problem) as raised:
        from_table(table)
    assert "\n" not in str(raised.value)
