"""A video file that the person in front of the window starts and stops."""

from __future__ import annotations

from datetime import datetime
from pathlib import Path

import platformdirs

from live.frame import Frame
from live.outputs.video import VideoFile
from models.closing import Closing
from models.errors import UserError


def videos_folder() -> Path:
    """Where recordings go: ``morphcam`` in the user's videos folder."""
    return platformdirs.user_videos_path() / "morphcam"


class Recorder(Closing):
    """Sink that writes what it is sent while it is started, one file per start.

    Args:
        fps: frames per second of the files.
        folder: made where it does not exist; None = ``videos_folder()``.

    Attributes:
        path: the file being written; None = stopped.
        problem: why a recording was cut short; None = it was not.
    """

    name = "recorder"

    def __init__(self, *, fps: float, folder: Path | None = None) -> None:
        self.path: Path | None = None
        self.problem: UserError | None = None
        self._fps = fps
        self._folder = folder or videos_folder()
        self._video: VideoFile | None = None

    def start(self) -> Path:
        """Begins a file with the next frame, and says which.

        Raises:
            UserError: the folder cannot be made.
        """
        try:
            self._folder.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise UserError(f"cannot record to {self._folder}: {error.strerror}; make the folder writable") from error
        self.path = self._folder / f"morphcam-{datetime.now():%Y%m%d-%H%M%S-%f}.mp4"
        self.problem = None
        return self.path

    def stop(self) -> Path | None:
        """Finishes the file, and says which; None = there was none."""
        path, self.path = self.path, None
        video, self._video = self._video, None
        if video is not None:
            video.close()
        return path

    def send(self, frame: Frame) -> None:
        """Writes one frame, if started."""
        if self.path is None:
            return
        try:
            if self._video is None:
                height, width = frame.rgb.shape[:2]
                self._video = VideoFile(self.path, size=(width, height), fps=self._fps)
            self._video.send(frame)
        except UserError as problem:  # the show goes on without the recording
            self.problem = problem
            self.stop()

    def close(self) -> None:
        """Finishes a recording that goes on."""
        self.stop()
