"""The camera's own picture: what is left when nothing is morphed, for measuring what the rest costs."""

from __future__ import annotations

from live.frame import FaceTrack, Frame
from live.render.mode import Inversion
from models.zoo import Generator


class Camera:
    """Shows frames as they were captured; nothing is synthesized."""

    late = True
    synthesizes = False

    def make(self, face: Inversion, generator: Generator) -> bool:
        """Not needed."""
        return True

    def unedited(self, size: int) -> bool:
        """Nothing is made of any face."""
        return True

    def render(self, frame: Frame, track: FaceTrack, made: bool, t: float) -> Frame:
        """The frame itself."""
        return frame
