"""Outputs other than the window: video files, snapshots, the virtual camera."""

from __future__ import annotations

import signal
import subprocess
import sys
import time
from pathlib import Path

import cv2
import numpy as np
import pytest

from live.frame import Frame
from live.outputs.fit import fit
from live.outputs.sink import OUTPUTS, NullSink, list_outputs, open_sink
from live.outputs.snapshot import save_snapshot
from live.outputs.video import VideoFile
from models.arrays import U8
from models.errors import UserError
from tests.pictures import LOSSLESS, VIDEO, assert_close, peak_signal_to_noise

SIZE = (160, 120)
FPS = 25.0


def picture(number: int, size: tuple[int, int] = SIZE) -> U8:
    """A smooth coloured gradient with a bright square whose place tells the number."""
    width, height = size
    y, x = np.mgrid[0:height, 0:width]
    rgb = np.stack([x * 200 // width, y * 200 // height, np.full_like(x, 120)], axis=2).astype(np.uint8)
    left = 8 + 6 * (number % 20)
    rgb[40:64, left : left + 24] = (250, 220, 40)
    return rgb


def write(sink_path: Path, times: list[float]) -> None:
    with open_sink(str(sink_path), SIZE, FPS) as sink:
        for number, captured in enumerate(times):
            sink.send(Frame(picture(number), number, captured))


def read(path: Path) -> tuple[list[U8], float]:
    """Every picture of a video as uint8 RGB [H, W, 3], and its frames per second."""
    capture = cv2.VideoCapture(str(path))
    assert capture.isOpened()
    pictures = []
    while True:
        ok, bgr = capture.read()
        if not ok:
            break
        pictures.append(cv2.cvtColor(bgr, cv2.COLOR_BGR2RGB))
    fps = capture.get(cv2.CAP_PROP_FPS)
    capture.release()
    return [np.asarray(rgb, np.uint8) for rgb in pictures], fps


def which(rgb: U8) -> int:
    """The number of the picture that a decoded one shows."""
    return int(np.argmax([peak_signal_to_noise(rgb, picture(number)) for number in range(20)]))


@pytest.mark.parametrize("name", ["clip.mp4", "clip.mkv", "clip.avi", "CLIP.MP4"])
def test_a_video_reads_back_with_the_same_pictures_and_rate(tmp_path: Path, name: str) -> None:
    write(tmp_path / name, [100 + number / FPS for number in range(20)])
    pictures, fps = read(tmp_path / name)
    assert fps == pytest.approx(FPS)
    assert len(pictures) == 20
    for number, rgb in enumerate(pictures):
        assert_close(rgb, picture(number), psnr=VIDEO)
    assert [path.name for path in tmp_path.iterdir()] == [name]


def test_frames_are_placed_by_the_time_they_were_captured(tmp_path: Path) -> None:
    # In periods of the file: two frames in one (the newer stays), then a gap of three (repeat the older).
    periods = [0.0, 1.0, 1.9, 2.1, 5.0, 6.0]
    write(tmp_path / "clip.mp4", [7 + period / FPS for period in periods])
    pictures, _ = read(tmp_path / "clip.mp4")
    assert [which(rgb) for rgb in pictures] == [0, 1, 3, 3, 3, 4, 5]


def test_a_clock_that_runs_back_does_not_stop_the_film(tmp_path: Path) -> None:
    write(tmp_path / "clip.mp4", [1.0, 1.0 + 1 / FPS, 0.5, 1.0 + 2 / FPS])
    pictures, _ = read(tmp_path / "clip.mp4")
    assert [which(rgb) for rgb in pictures] == [0, 2, 3]


def test_odd_sizes_and_frames_of_another_size_are_taken(tmp_path: Path) -> None:
    with VideoFile(tmp_path / "clip.mp4", size=(161, 121), fps=FPS) as sink:
        sink.send(Frame(picture(0, (161, 121)), 0, 0.0))
        sink.send(Frame(picture(3, (64, 64)), 1, 1 / FPS))
    pictures, _ = read(tmp_path / "clip.mp4")
    assert_close(pictures[0], picture(0, (161, 121))[:120, :160], psnr=VIDEO)
    assert_close(pictures[1], fit(picture(3, (64, 64)), (161, 121))[:120, :160], psnr=VIDEO)


def test_an_exception_leaves_a_whole_file(tmp_path: Path) -> None:
    with pytest.raises(KeyboardInterrupt), open_sink(str(tmp_path / "clip.mp4"), SIZE, FPS) as sink:
        for number in range(5):
            sink.send(Frame(picture(number), number, number / FPS))
        raise KeyboardInterrupt
    pictures, _ = read(tmp_path / "clip.mp4")
    assert [which(rgb) for rgb in pictures] == [0, 1, 2, 3, 4]


WRITE_FOR_EVER = """
import sys, itertools
from pathlib import Path
from live.frame import Frame
from live.outputs.sink import open_sink
from tests.test_sink import FPS, SIZE, picture
with open_sink(sys.argv[1], SIZE, FPS) as sink:
    for number in itertools.count():
        sink.send(Frame(picture(number), number, number / FPS))
        print(number, flush=True)
"""


@pytest.mark.skipif(sys.platform == "win32", reason="Windows has no SIGKILL and SIGINT for one child")
@pytest.mark.parametrize(
    ("name", "stop", "left"),
    [
        ("clip.mp4", "SIGINT", "clip.mp4"),
        ("clip.mp4", "SIGKILL", "clip.partial.mp4"),
        ("clip.mkv", "SIGKILL", "clip.partial.mkv"),
    ],
)
def test_a_stopped_process_leaves_a_playable_file(tmp_path: Path, name: str, stop: str, left: str) -> None:
    path = tmp_path / name
    root = Path(__file__).parents[1]
    with subprocess.Popen(
        [sys.executable, "-c", WRITE_FOR_EVER, str(path)],
        cwd=root,
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        text=True,
    ) as process:
        assert process.stdout is not None
        for line in process.stdout:
            if int(line) == 100:
                process.send_signal(getattr(signal, stop))
                break
        process.stdout.read()
    assert [file.name for file in tmp_path.iterdir()] == [left]
    pictures, _ = read(tmp_path / left)
    assert len(pictures) >= 50  # a killed process loses the fragment it was at, one second
    assert [which(rgb) for rgb in pictures[:20]] == list(range(20))


def test_an_older_video_is_replaced_only_by_a_complete_one(tmp_path: Path) -> None:
    path = tmp_path / "clip.mp4"
    path.write_bytes(b"older")
    with open_sink(str(path), SIZE, FPS) as sink:
        sink.send(Frame(picture(0), 0, 0.0))
        sink.send(Frame(picture(1), 1, 1.0))
        assert path.read_bytes() == b"older"
    assert len(read(path)[0]) == 26


def test_without_a_frame_there_is_no_file(tmp_path: Path) -> None:
    with open_sink(str(tmp_path / "clip.mp4"), SIZE, FPS) as sink:
        pass
    sink.close()
    assert not list(tmp_path.iterdir())


def test_a_camera_picture_is_written_within_its_period(tmp_path: Path) -> None:
    size = (640, 480)
    pictures = [picture(number, size) for number in range(20)]
    took = []
    with open_sink(str(tmp_path / "clip.mp4"), size, 30.0) as sink:
        for number in range(60):
            start = time.perf_counter()
            sink.send(Frame(pictures[number % 20], number, number / 30))
            took.append(time.perf_counter() - start)
    # The quick ones tell what it costs; the slow ones tell what else runs on the machine.
    assert float(np.quantile(took, 0.2)) < 0.03, "a frame period at 30 fps"


@pytest.mark.parametrize("name", ["missing/clip.mp4", "file.txt/clip.mp4", "folder.mp4"])
def test_a_place_that_cannot_be_written_is_one_clear_line(tmp_path: Path, name: str) -> None:
    (tmp_path / "file.txt").write_text("a file, not a folder")
    (tmp_path / "folder.mp4").mkdir()
    before = sorted(tmp_path.rglob("*"))
    with pytest.raises(UserError, match="cannot write") as caught:
        open_sink(str(tmp_path / name), SIZE, FPS)
    assert "\n" not in str(caught.value)
    assert sorted(tmp_path.rglob("*")) == before


FILL_THE_DISK = """
import resource, sys
import numpy as np
from live.frame import Frame
from live.outputs.video import VideoFile
from models.errors import UserError
from pathlib import Path
resource.setrlimit(resource.RLIMIT_FSIZE, (200_000, 200_000))
noise = np.random.default_rng(0)
try:
    with VideoFile(Path(sys.argv[1]), size=(320, 240), fps=5.0) as sink:
        for number in range(200):
            sink.send(Frame(noise.integers(0, 256, (240, 320, 3), dtype=np.uint8), number, number / 5))
except UserError as error:
    print(error)
"""


@pytest.mark.skipif(sys.platform == "win32", reason="Windows has no limit for the size of files")
def test_a_full_disk_is_told_and_keeps_what_was_written(tmp_path: Path) -> None:
    done = subprocess.run(
        [sys.executable, "-c", FILL_THE_DISK, str(tmp_path / "clip.mp4")],
        cwd=Path(__file__).parents[1],
        capture_output=True,
        text=True,
        check=True,
    )
    assert done.stdout.startswith("stopped writing ") and done.stdout.count("\n") == 1
    assert "clip.partial.mp4" in done.stdout
    assert done.stderr == ""
    assert [path.name for path in tmp_path.iterdir()] == ["clip.partial.mp4"]


@pytest.mark.parametrize("spec", ["clip.xyz", "screen", "", "window:2", "clip"])
def test_an_unknown_output_names_those_there_are(spec: str) -> None:
    with pytest.raises(UserError, match="no output") as caught:
        open_sink(spec, SIZE, FPS)
    assert "window" in str(caught.value) and ".mp4" in str(caught.value)


@pytest.mark.skipif(
    any(Path("/dev").glob("video*")) or sys.platform != "linux",
    reason="this machine may have a virtual camera",
)
@pytest.mark.parametrize("spec", ["virtual-camera", "virtual-camera:/dev/video4"])
def test_a_missing_virtual_camera_says_how_to_get_one(spec: str) -> None:
    with pytest.raises(UserError, match="sudo modprobe v4l2loopback") as caught:
        open_sink(spec, SIZE, FPS)
    assert ("/dev/video4" in str(caught.value)) == spec.endswith("4")
    assert "\n" not in str(caught.value)
    problem = {output.name: output.problem for output in list_outputs()}["virtual-camera"]
    assert problem is not None and "modprobe" in problem


def test_all_outputs_are_listed() -> None:
    outputs = list_outputs()
    assert [output.name for output in outputs] == list(OUTPUTS)
    assert {output.name: output.problem for output in outputs}["null"] is None


def test_null_takes_frames() -> None:
    with open_sink("null", SIZE, FPS) as sink:
        sink.send(Frame(picture(0), 0, 0.0))
        assert isinstance(sink, NullSink)


def test_fit_keeps_the_proportions() -> None:
    white = np.full((100, 100, 3), 255, np.uint8)
    fitted = fit(white, (300, 200))
    assert fitted.shape == (200, 300, 3)
    assert (fitted[:, 50:250] == 255).all() and not fitted[:, :50].any() and not fitted[:, 250:].any()
    assert fit(white, (100, 100)) is white


def test_snapshots_are_lossless_and_never_overwritten(tmp_path: Path) -> None:
    folder = tmp_path / "new" / "folder"
    paths = [save_snapshot(picture(number), folder) for number in range(3)]
    assert len(set(paths)) == 3 and sorted(folder.iterdir()) == sorted(paths)
    for number, path in enumerate(paths):
        saved = cv2.imread(str(path))
        assert saved is not None
        assert_close(np.asarray(saved[:, :, ::-1]), picture(number), psnr=LOSSLESS)


def test_a_snapshot_that_cannot_be_saved_is_one_clear_line(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("not a folder")
    with pytest.raises(UserError, match="cannot save a snapshot") as caught:
        save_snapshot(picture(0), tmp_path / "file")
    assert "\n" not in str(caught.value)
    assert [path.name for path in tmp_path.iterdir()] == ["file"]
