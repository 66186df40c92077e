"""Where the landmarks of a generated face are.

For the default generator a small network tells them from the latent alone (models.zoo.LandmarkRegressor): cheap, and
as smooth as the latent. It knows the faces of that one generator; those of others are looked for in their pictures.
"""

from __future__ import annotations

from pathlib import Path

import cv2
import numpy as np

from models.arrays import F32, U8
from models.landmarker import Landmarker

_LARGEST = 384  # pixels a side that are looked at: of a face in FFHQ's square the landmarker sees no more

# Of the distance of the eyes, on average over all points. On 24 faces of the default generator the regressor and the
# detector agreed to 0.6 to 1.6%, on its mean face to 0.8%; on faces of other proportions (drawings) they cannot.
_AGREE = 0.02
_EYES = (33, 263)  # outer corners


class LandmarkDetector:
    """Finds the face in the picture, with MediaPipe. Close it before the interpreter ends; one thread at a time.

    Args:
        model: MediaPipe's ``face_landmarker.task``.
    """

    def __init__(self, model: Path) -> None:
        self._landmarker = Landmarker(model)

    def landmarks(self, w_plus: F32, rgb: U8) -> F32 | None:
        """Of one generated face.

        Args:
            w_plus: its latent; not looked at.
            rgb: uint8 [R, R, 3], its picture.

        Returns:
            float32 [478, 2] in [0, 1] of the picture; None = there is no face in it.
        """
        size = rgb.shape[0]
        if size > _LARGEST:
            size = _LARGEST
            rgb = np.asarray(cv2.resize(rgb, (size, size), interpolation=cv2.INTER_AREA), np.uint8)
        found = self._landmarker.detect(rgb)
        return (found[0].landmarks + np.float32(0.5)) / np.float32(size) if found else None

    def close(self) -> None:
        """Releases MediaPipe; harmless when done already."""
        self._landmarker.close()


def agree(told: F32 | None, found: F32 | None) -> bool:
    """Whether two ways see the same face in a picture; both float32 [478, 2], None = there is none."""
    if told is None or found is None:
        return False
    eyes = np.hypot(*(found[_EYES[0]] - found[_EYES[1]]))
    return bool(np.hypot(*(told - found).T).mean() < _AGREE * eyes)
