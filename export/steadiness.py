"""Measures how steady the inversion of a film is: what trembles that does not tremble before the camera."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from pathlib import Path

import av
import numpy as np
from rich.progress import track
from rich.table import Table

from export.measure import eye_distance
from models import registry
from models.alignment import crop, to_crop_matrix, to_rgb, to_tensor, to_unit_matrix, transform_points
from models.arrays import F32, F64
from models.errors import UserError
from models.landmarker import Landmarker
from models.latent import std_w
from models.zoo import Encoder, Generator

MOST_FRAMES = 300
STILL_SHARE = 0.25  # of the frames, those in which the camera's own face moves least


@dataclass(frozen=True)
class Steadiness:
    """Medians over the frames of a film; accelerations are second differences from frame to frame.

    Attributes:
        frames: with a face, before and behind a frame with one.
        camera_landmarks: acceleration of the camera's landmarks in FFHQ's square, shares of the eye distance.
        landmarks: the same of the reconstruction.
        still_camera_landmarks, still_landmarks: the same in the quarter of frames in which the camera's face
            keeps stillest.
        latent: root mean square acceleration of standardised W+.
        still_latent: the same in those frames.
    """

    frames: int
    camera_landmarks: float
    landmarks: float
    still_camera_landmarks: float
    still_landmarks: float
    latent: float
    still_latent: float


def measure_clip(path: Path, encoder: Encoder, generator: Generator) -> Steadiness:
    """Inverts every frame of a film by itself, without the application's smoothing.

    Raises:
        UserError: it cannot be read, or has no face in three frames in a row.
    """
    shown: list[int] = []
    seen: list[F64] = []
    made: list[F64] = []
    latents: list[F32] = []
    frames = read_frames(path)
    model = registry.path("face-landmarker")
    with Landmarker(model, video=True) as of_camera, Landmarker(model) as of_picture:
        for i, rgb in enumerate(track(frames, description=f"Frames of {path.name}")):
            found = of_camera.detect(rgb, i * 33)
            if not found:
                continue
            landmarks, size = found[0].landmarks, encoder.size
            inside = transform_points(to_unit_matrix(landmarks), landmarks)
            image = to_tensor(crop(rgb, to_crop_matrix(landmarks, size), size))
            w_plus = encoder.encode(image, inside.astype(np.float32)[None])
            picture = to_rgb(generator.synthesize(w_plus))
            again = of_picture.detect(picture)
            if not again:
                continue
            shown.append(i)
            seen.append(inside / eye_distance(inside.astype(np.float32)))
            made.append((again[0].landmarks / picture.shape[0]) / eye_distance(inside.astype(np.float32)))
            latents.append(w_plus[0] / std_w())
    # Whether a frame's neighbours are those before and behind it in the film.
    whole = np.subtract(shown[2:], shown[:-2]) == 2
    if not whole.any():
        raise UserError(f"{path} shows too few faces; a film of one face for a second or more is needed")
    camera, reconstruction = _accelerations(np.stack(seen))[whole], _accelerations(np.stack(made))[whole]
    latent = _accelerations(np.stack(latents))[whole]
    still = camera <= np.quantile(camera, STILL_SHARE)
    return Steadiness(
        frames=len(camera),
        camera_landmarks=float(np.median(camera)),
        landmarks=float(np.median(reconstruction)),
        still_camera_landmarks=float(np.median(camera[still])),
        still_landmarks=float(np.median(reconstruction[still])),
        latent=float(np.median(latent)),
        still_latent=float(np.median(latent[still])),
    )


def _accelerations(values: F64 | F32) -> F64:
    """Root mean square second difference, for each frame but the first and the last."""
    second = np.diff(values.astype(np.float64), n=2, axis=0)
    return np.asarray(np.sqrt((second**2).mean(axis=tuple(range(1, second.ndim)))), np.float64)


def read_frames(path: Path) -> list[np.ndarray[tuple[int, ...], np.dtype[np.uint8]]]:
    """The first frames of a film, uint8 [H, W, 3] RGB.

    Raises:
        UserError: it cannot be read.
    """
    try:
        with av.open(str(path)) as container:
            decoded = container.decode(video=0)
            return [frame.to_ndarray(format="rgb24") for _, frame in zip(range(MOST_FRAMES), decoded, strict=False)]
    except (OSError, av.FFmpegError) as error:
        raise UserError(f"cannot read the film {path}: {error}") from error


def table(name: str, steadiness: Steadiness) -> Table:
    """For the terminal."""
    shown = Table(title=f"{name}: {steadiness.frames} frames, accelerations")
    shown.add_column("")
    shown.add_column("median", justify="right")
    for key, value in asdict(steadiness).items():
        if key != "frames":
            shown.add_row(key.replace("_", " "), f"{value:.4f}")
    return shown
