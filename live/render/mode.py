"""What every way of showing an edit can do.

A mode works in two halves, because a generator is slower than a camera. `make` runs where faces are synthesized, as
often as that goes, and returns whatever the mode needs of it. `render` runs for camera frames and puts the newest of
that onto them.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol, TypeVar

from live.frame import AlignedCrop, FaceTrack, Frame
from models.arrays import F32
from models.zoo import Generator

M = TypeVar("M")


@dataclass(frozen=True)
class Inversion:
    """A face of a frame as a latent, and what the effects make of it.

    Attributes:
        frame: where the face was seen.
        track: the face in it.
        crop: the face cut out.
        latent: float32 [1, 18, 512], W+ of the face as it is.
        edited: float32 [1, 18, 512], W+ as it is to look; `latent` itself where nothing is to change.
    """

    frame: Frame
    track: FaceTrack
    crop: AlignedCrop
    latent: F32
    edited: F32


class Mode(Protocol[M]):
    """One way of showing an edit, for one run; keeps what it must remember between frames.

    Attributes:
        late: True = `render` puts what was made of an earlier frame onto any later one, so that the camera's rate
            is kept; False = a frame is shown once something was made of that very frame.
        synthesizes: False = `make` is never needed, `unedited` is all there is.
    """

    late: bool
    synthesizes: bool

    def make(self, face: Inversion, generator: Generator) -> M:
        """What `render` will need; called on the thread that synthesizes."""
        ...

    def unedited(self, size: int) -> M | None:
        """What `make` comes to for a face that is not edited, at `size` pixels; None = it takes a generator."""
        ...

    def render(self, frame: Frame, track: FaceTrack, made: M, t: float) -> Frame | None:
        """The picture to show.

        Args:
            frame: as captured, or with other faces in it done already.
            track: the face in it.
            made: the newest that `make` returned for this face.
            t: seconds, rising.

        Returns:
            A frame of the same size, `seq` and `captured`; None = the face does not lie inside the frame.
        """
        ...
