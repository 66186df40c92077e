"""Sources on real files, a real server, and whatever cameras this machine has or has not."""

from __future__ import annotations

import os
import platform
import struct
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from functools import partial
from http.server import BaseHTTPRequestHandler, SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import cast

import cv2
import numpy as np
import pytest

from live.frame import Frame
from live.sources.camera import CameraInfo, list_cameras
from live.sources.clip import ClipSource, StreamSource
from live.sources.pace import Pace
from live.sources.source import Source, SourceLost, open_source
from live.sources.still import LONGEST_SIDE, StillSource, read_picture
from models.arrays import U8
from models.errors import UserError
from tests.pictures import VIDEO, assert_close


def no_demo() -> Source:
    raise AssertionError("the demo was not asked for")


open_without_demo = partial(open_source, make_demo=no_demo)


def read_all(source: Source) -> list[Frame]:
    frames = []
    while (frame := source.read()) is not None:
        frames.append(frame)
    return frames


# --- video files


def test_a_video_file_gives_every_frame_once(carphone: Path, carphone_frames: list[U8]) -> None:
    with open_without_demo(str(carphone)) as source:
        assert source.size == (176, 144)
        assert source.fps == pytest.approx(29.97, abs=0.01)
        assert not source.live
        frames = read_all(source)
    assert [frame.seq for frame in frames] == list(range(120))
    assert all(np.array_equal(frame.rgb, rgb) for frame, rgb in zip(frames, carphone_frames, strict=True))
    stamps = [frame.captured for frame in frames]
    assert stamps == sorted(stamps)
    assert abs(time.perf_counter() - stamps[-1]) < 60


def write_video(path: Path, codec: str, frames: list[U8], fps: float = 25.0) -> None:
    size = (frames[0].shape[1], frames[0].shape[0])
    writer = cv2.VideoWriter(str(path), cv2.VideoWriter.fourcc(*codec), fps, size)
    assert writer.isOpened()
    for rgb in frames:
        writer.write(cv2.cvtColor(rgb, cv2.COLOR_RGB2BGR))
    writer.release()


@pytest.mark.parametrize(("name", "codec"), [("a.avi", "MJPG"), ("b.mp4", "mp4v"), ("ü ñ.mkv", "MJPG")])
def test_colours_are_rgb(tmp_path: Path, name: str, codec: str) -> None:
    red = np.full((48, 64, 3), (200, 40, 30), np.uint8)
    write_video(tmp_path / name, codec, [red] * 10)
    with open_without_demo(str(tmp_path / name)) as source:
        frames = read_all(source)
    assert len(frames) == 10
    assert_close(frames[5].rgb, red, psnr=VIDEO)


def test_a_clip_broken_off_is_refused(tmp_path: Path, carphone: Path) -> None:
    noise = [np.random.default_rng(i).integers(0, 255, (48, 64, 3), dtype=np.uint8) for i in range(60)]
    whole = tmp_path / "whole.avi"
    write_video(whole, "MJPG", noise)
    half_avi, half_mp4 = tmp_path / "half.avi", tmp_path / "half.mp4"
    half_avi.write_bytes(whole.read_bytes()[: whole.stat().st_size // 2])
    half_mp4.write_bytes(carphone.read_bytes()[: carphone.stat().st_size // 2])
    with ClipSource(whole) as source:
        assert len(read_all(source)) == 60
    for path in (half_avi, half_mp4):
        with pytest.raises(UserError, match="breaks off"):
            ClipSource(path)


# --- pictures


def write(path: Path, picture: np.ndarray[tuple[int, ...], np.dtype[np.generic]]) -> Path:
    """Save by OpenCV: BGR(A) or grey."""
    encoded, data = cv2.imencode(path.suffix, cast(U8, picture))
    assert encoded
    path.write_bytes(data.tobytes())
    return path


@pytest.mark.parametrize("suffix", [".png", ".jpg", ".webp", ".bmp", ".tif"])
def test_a_picture_is_read_in_rgb(tmp_path: Path, astronaut: U8, suffix: str) -> None:
    path = write(tmp_path / f"pícture{suffix}", np.ascontiguousarray(astronaut[..., ::-1]))
    assert_close(read_picture(path), astronaut, psnr=30.0)


def test_grey_sixteen_bit_and_transparent_pictures(tmp_path: Path, astronaut: U8) -> None:
    grey = np.asarray(cv2.cvtColor(astronaut, cv2.COLOR_RGB2GRAY), np.uint8)
    np.testing.assert_array_equal(read_picture(write(tmp_path / "grey.png", grey)), np.dstack([grey] * 3))

    deep = np.ascontiguousarray(astronaut[..., ::-1]).astype(np.uint16) * 257
    difference = read_picture(write(tmp_path / "deep.png", deep)).astype(int) - astronaut
    assert np.abs(difference).max() <= 1

    for most, kind in ((255, np.uint8), (65535, np.uint16)):
        bgra = np.zeros((40, 60, 4), kind)
        bgra[..., 2] = most  # red
        bgra[:, 30:, 3] = most  # opaque on the right
        rgb = read_picture(write(tmp_path / "alpha.png", bgra))
        np.testing.assert_array_equal(rgb[0, 0], [128, 128, 128])
        np.testing.assert_array_equal(rgb[0, 59], [255, 0, 0])


@pytest.mark.parametrize(("orientation", "corner"), [(1, (0, 0)), (3, (1, 1)), (6, (0, 1)), (8, (1, 0))])
def test_a_picture_is_turned_upright(tmp_path: Path, orientation: int, corner: tuple[int, int]) -> None:
    """The corner that is stored first ends where the orientation tag says, as (lower, right)."""
    stored = np.zeros((60, 100, 3), np.uint8)
    stored[:20, :20] = 255
    _, data = cv2.imencode(".jpg", stored)
    tag = struct.pack("<HHIHH", 0x0112, 3, 1, orientation, 0)
    exif = b"Exif\0\0II*\0" + struct.pack("<IH", 8, 1) + tag + struct.pack("<I", 0)
    segment = b"\xff\xe1" + struct.pack(">H", len(exif) + 2) + exif
    path = tmp_path / "turned.jpg"
    path.write_bytes(data.tobytes()[:2] + segment + data.tobytes()[2:])
    rgb = read_picture(path)
    assert rgb.shape[:2] == ((60, 100) if orientation in (1, 3) else (100, 60))
    lower, right = corner
    assert rgb[-5 if lower else 5, -5 if right else 5].mean() > 200
    assert rgb[5 if lower else -5, 5 if right else -5].mean() < 50


def test_a_huge_picture_is_shrunk_to_a_cameras_size(tmp_path: Path) -> None:
    path = write(tmp_path / "huge.png", np.full((1000, 5000, 3), 77, np.uint8))
    assert read_picture(path).shape == (LONGEST_SIDE // 5, LONGEST_SIDE, 3)


def test_a_still_goes_on_and_on(tmp_path: Path, astronaut: U8) -> None:
    path = write(tmp_path / "still.png", np.ascontiguousarray(astronaut[..., ::-1]))
    with open_without_demo(str(path), live_stills=False) as source:
        frames = [source.read() for _ in range(200)]
    assert source.size == (512, 512)
    assert [frame.seq for frame in frames if frame] == list(range(200))
    assert all(frame is not None and np.array_equal(frame.rgb, astronaut) for frame in frames)


# --- pace


def test_a_live_pace_keeps_time_and_leaves_out_what_is_late() -> None:
    pace = Pace(50.0, live=True)
    start = time.perf_counter()
    numbers = [pace.next() for _ in range(11)]
    assert time.perf_counter() - start >= 0.2
    assert numbers[0] == 0
    assert numbers[-1] >= 10
    time.sleep(0.2)
    assert pace.next() >= numbers[-1] + 9


def test_a_pace_that_is_not_live_never_waits() -> None:
    pace = Pace(0.001, live=False)
    assert [pace.next() for _ in range(5)] == [0, 1, 2, 3, 4]


# --- network


class Folder(SimpleHTTPRequestHandler):
    """A web server's folder."""

    def log_message(self, format: str, *args: object) -> None:
        """Say nothing."""


class MotionJpeg(BaseHTTPRequestHandler):
    """A network camera: twenty JPEGs, then the connection breaks."""

    def do_GET(self) -> None:
        """Send the pictures."""
        self.send_response(200)
        self.send_header("Content-Type", "multipart/x-mixed-replace; boundary=frame")
        self.end_headers()
        _, data = cv2.imencode(".jpg", np.full((48, 64, 3), (30, 40, 200), np.uint8))
        for _ in range(20):
            self.wfile.write(b"--frame\r\nContent-Type: image/jpeg\r\n")
            self.wfile.write(b"Content-Length: %d\r\n\r\n" % len(data) + data.tobytes() + b"\r\n")
            time.sleep(0.01)

    def log_message(self, format: str, *args: object) -> None:
        """Say nothing."""


@pytest.fixture
def serve() -> Iterator[Callable[[Callable[..., BaseHTTPRequestHandler]], str]]:
    servers: list[ThreadingHTTPServer] = []

    def start(handler: Callable[..., BaseHTTPRequestHandler]) -> str:
        server = ThreadingHTTPServer(("127.0.0.1", 0), handler)
        servers.append(server)
        threading.Thread(target=server.serve_forever, daemon=True).start()
        return f"127.0.0.1:{server.server_port}"

    yield start
    for server in servers:
        server.shutdown()
        server.server_close()


Serve = Callable[[Callable[..., BaseHTTPRequestHandler]], str]


def test_a_video_on_a_web_server_is_read_to_its_end(serve: Serve, tmp_path: Path, carphone_frames: list[U8]) -> None:
    write_video(tmp_path / "clip.avi", "MJPG", carphone_frames[:40])
    address = serve(partial(Folder, directory=tmp_path))
    with open_without_demo(f"http://{address}/clip.avi") as source:
        assert not source.live
        assert source.fps == 25
        assert [frame.seq for frame in read_all(source)] == list(range(40))


def test_a_network_camera_that_stops_is_lost_not_ended(serve: Serve) -> None:
    address = serve(MotionJpeg)
    with open_without_demo(f"http://viewer:secret@{address}/stream.mjpg?key=hidden") as source:
        assert source.live
        frames = []
        with pytest.raises(SourceLost, match="stopped") as caught:
            while True:
                frames.append(source.read())
    assert 15 <= len(frames) <= 20
    assert frames[0] is not None
    assert_close(frames[0].rgb, np.full((48, 64, 3), (200, 40, 30), np.uint8), psnr=VIDEO)
    for text in (str(caught.value), source.note, source.name):
        assert "secret" not in text
        assert "hidden" not in text


def test_a_silent_address_is_the_users_error() -> None:
    with pytest.raises(UserError, match=r"no video comes from http://127.0.0.1:9/x") as caught:
        StreamSource("http://viewer:secret@127.0.0.1:9/x")
    assert "secret" not in str(caught.value)


# --- what cannot be opened


def make_empty(folder: Path) -> str:
    (folder / "empty.mp4").touch()
    return str(folder / "empty.mp4")


def make_text(name: str) -> Callable[[Path], str]:
    def make(folder: Path) -> str:
        (folder / name).write_text("not what its name says\n" * 50)
        return str(folder / name)

    return make


def make_half_jpeg(folder: Path) -> str:
    (folder / "half.jpg").write_bytes(b"\xff\xd8\xff\xe0\0\x10JFIF\0")
    return str(folder / "half.jpg")


BAD: dict[str, tuple[Callable[[Path], str], str]] = {
    "missing file": (lambda _: "nowhere/clip.mp4", "there is no file"),
    "word": (lambda _: "webcam", "there is no file"),
    "empty argument": (lambda _: "", "expected"),
    "folder": (str, "not a file"),
    "empty video": (make_empty, "is empty"),
    "text as video": (make_text("clip.mp4"), "not a video"),
    "text": (make_text("notes.txt"), "not a video"),
    "text as picture": (make_text("face.png"), "not a whole picture"),
    "half a picture": (make_half_jpeg, "not a whole picture"),
    "unknown scheme": (lambda _: "gopher://host/x", "expected an address"),
    "device that is none": (lambda _: "/dev/null", "not a camera|no camera"),
    "absent device": (lambda _: "/dev/video97", "no camera"),
    "absent number": (lambda _: "97", "no camera|no picture"),
}


@pytest.mark.parametrize("case", BAD)
def test_what_cannot_be_opened_is_said_in_one_line(
    tmp_path: Path, case: str, capfd: pytest.CaptureFixture[str]
) -> None:
    make, complaint = BAD[case]
    with pytest.raises(UserError, match=complaint) as caught:
        open_without_demo(make(tmp_path))
    assert "\n" not in str(caught.value)
    assert capfd.readouterr().err == "", "OpenCV or FFmpeg spoke, too"


@pytest.mark.skipif(os.name != "posix" or os.geteuid() == 0, reason="needs a user who may not read everything")
def test_a_picture_one_may_not_read(tmp_path: Path, astronaut: U8) -> None:
    path = write(tmp_path / "private.png", astronaut)
    path.chmod(0)
    with pytest.raises(UserError, match="cannot read"):
        StillSource(path)


# --- cameras


def test_cameras_are_listed_without_a_sound(capfd: pytest.CaptureFixture[str]) -> None:
    cameras = list_cameras()
    assert capfd.readouterr().err == ""
    if platform.system() == "Linux":
        listed = Path("/sys/class/video4linux")
        assert len(cameras) <= (len(list(listed.iterdir())) if listed.is_dir() else 0)
    assert all(camera.spec and camera.name for camera in cameras)


def test_a_camera_is_shown_with_what_matters() -> None:
    plain = CameraInfo("/dev/video0", "HD Webcam", "MJPG YUYV")
    assert str(plain) == "/dev/video0: HD Webcam (MJPG YUYV)"
    busy = CameraInfo("1", "camera 1", problem="busy")
    assert str(busy) == "1: camera 1 (busy)"


@pytest.mark.skipif(not any(not camera.virtual for camera in list_cameras()), reason="this machine has no camera")
def test_a_real_camera_gives_pictures_it_told_the_size_of() -> None:
    with open_source("auto", make_demo=no_demo) as source:
        frames = [source.read() for _ in range(5)]
    assert source.live
    assert [frame.seq for frame in frames if frame] == [0, 1, 2, 3, 4]
    assert all(frame is not None and frame.rgb.shape == (source.size[1], source.size[0], 3) for frame in frames)


def test_opening_sources_brings_in_no_torch() -> None:
    program = "import sys, live.sources.source, live.faces.track, live.faces.align; sys.exit('torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", program], check=False).returncode == 0
