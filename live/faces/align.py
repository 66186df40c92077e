"""Cut the tracked face out of the frame as the encoder expects it."""

from __future__ import annotations

import numpy as np

from live.frame import AlignedCrop, FaceTrack, Frame
from models.alignment import crop, to_crop_matrix, to_tensor, transform_points


def align(frame: Frame, track: FaceTrack, size: int) -> AlignedCrop:
    """FFHQ's square around the face, as network input.

    Args:
        frame: the frame the face was tracked in.
        track: where the face is.
        size: side of the crop in pixels, S.
    """
    to_crop = to_crop_matrix(track.landmarks, size)
    # Edge to edge is 0 to 1: the centre of the first pixel is half a pixel in.
    landmarks = (transform_points(to_crop, track.landmarks) + 0.5) / size
    return AlignedCrop(
        image=to_tensor(crop(frame.rgb, to_crop, size)),
        landmarks=landmarks.astype(np.float32)[None],
        to_crop=to_crop,
        size=size,
    )
