"""How steady an inversion is: a still film and a trembling one."""

from __future__ import annotations

from pathlib import Path

import av
import numpy as np
import pytest

from models import registry
from models.arrays import U8
from models.errors import UserError
from models.latent import broadcast, mean_w, std_w

pytest.importorskip("dlib", reason="needs the train extra")

from export.fidelity import distance_from_w
from export.steadiness import measure_clip
from models.zoo import load_encoder, load_generator

if not all(registry.is_intact(registry.artefacts()[name]) for name in registry.choose(["default"])):
    pytest.skip("the models are not pulled: ./run.sh pull", allow_module_level=True)

STILL = 0.006  # standard deviations of W: the application takes less for a face at rest


def write_film(path: Path, frames: list[U8]) -> None:
    with av.open(str(path), "w") as container:
        stream = container.add_stream("libx264", rate=25)
        stream.width, stream.height = frames[0].shape[1], frames[0].shape[0]
        stream.pix_fmt, stream.options = "yuv444p", {"crf": "0"}
        for rgb in frames:
            container.mux(stream.encode(av.VideoFrame.from_ndarray(rgb, format="rgb24")))
        container.mux(stream.encode())


def test_what_trembles_before_the_camera_trembles_more_than_what_does_not(tmp_path: Path, astronaut: U8) -> None:
    rng = np.random.default_rng(0)
    still = [astronaut] * 8
    noisy = [np.clip(astronaut + rng.normal(0, 12, astronaut.shape), 0, 255).astype(np.uint8) for _ in range(8)]
    encoder, generator = load_encoder(), load_generator(256)
    found = []
    for name, frames in (("still.mp4", still), ("noisy.mp4", noisy)):
        write_film(tmp_path / name, frames)
        found.append(measure_clip(tmp_path / name, encoder, generator))
    assert found[0].frames == found[1].frames == 6
    assert found[0].still_latent < STILL
    assert found[1].latent > 3 * found[0].latent
    assert found[1].camera_landmarks > 2 * found[0].camera_landmarks


def test_frames_on_both_sides_of_a_gap_are_no_neighbours(tmp_path: Path, astronaut: U8) -> None:
    moved = np.roll(astronaut, 40, axis=1)
    blank = [np.full_like(astronaut, 90)] * 3
    encoder, generator = load_encoder(), load_generator(256)
    write_film(tmp_path / "cut.mp4", [*[astronaut] * 4, *blank, *[moved] * 4])
    cut = measure_clip(tmp_path / "cut.mp4", encoder, generator)
    assert cut.frames == 4
    assert cut.camera_landmarks < 0.01, "nobody moved but where nobody was seen"
    write_film(tmp_path / "torn.mp4", [*[astronaut] * 2, *blank, *[moved] * 2])
    with pytest.raises(UserError, match="too few faces"):
        measure_clip(tmp_path / "torn.mp4", encoder, generator)


def test_a_film_without_a_face_is_told(tmp_path: Path) -> None:
    write_film(tmp_path / "grey.mp4", [np.full((64, 64, 3), 90, np.uint8)] * 4)
    with pytest.raises(UserError, match="too few faces"):
        measure_clip(tmp_path / "grey.mp4", load_encoder(), load_generator(256))
    with pytest.raises(UserError, match="cannot read"):
        measure_clip(tmp_path / "missing.mp4", load_encoder(), load_generator(256))


def test_a_style_for_all_layers_lies_in_w() -> None:
    in_w = broadcast(mean_w()[None])
    assert distance_from_w(in_w, std_w())[0] < 1e-5
    apart = in_w.copy()
    apart[:, :9] += std_w()
    assert distance_from_w(apart, std_w())[0] == pytest.approx(0.5, rel=1e-3)
