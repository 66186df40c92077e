"""Makes generated crops look like camera crops: light, colour, blur, noise, compression, small misalignment."""

from __future__ import annotations

import cv2
import numpy as np

from models.arrays import F32, U8


def misalign(rgb: U8, landmarks: F32, rng: np.random.Generator) -> tuple[U8, F32]:
    """Shifts, scales and turns a crop and its landmarks (in [0, 1]) a little, as a tracker's error does.

    Very little: the latent to be found stays that of the untouched picture, and with a shift of a hundredth of the
    side, a pixel, the encoder learned to place a face only to within that pixel.
    """
    size = rgb.shape[0]
    centre = (size - 1) / 2
    turn, scale = rng.normal(0, 0.4), np.exp(rng.normal(0, 0.007))
    matrix = np.array(cv2.getRotationMatrix2D((centre, centre), turn, scale), np.float64)
    matrix[:, 2] += rng.normal(0, 0.003 * size, 2)
    moved = cv2.warpAffine(rgb, matrix, (size, size), flags=cv2.INTER_LINEAR, borderMode=cv2.BORDER_REFLECT_101)
    pixels = landmarks * size - 0.5
    points = (pixels @ matrix[:, :2].T + matrix[:, 2] + 0.5) / size
    return np.asarray(moved, np.uint8), points.astype(np.float32)


def disturb_landmarks(landmarks: F32, rng: np.random.Generator) -> F32:
    """Adds the tracker's noise: a common error of each axis and a little of each point."""
    noise = rng.normal(0, 0.002, landmarks.shape) + rng.normal(0, 0.001, (1, 2))
    return (landmarks + noise).astype(np.float32)


def photograph(rgb: U8, rng: np.random.Generator) -> U8:
    """Another light, camera and wire: gain, gamma, white balance, saturation, blur, noise, JPEG.

    Colour and brightness change little: the latent to be found stays that of the untouched picture, and with
    strong changes the encoder learns to give everybody the average skin.
    """
    image = rgb.astype(np.float32) / 255
    size = rgb.shape[0]
    if rng.random() < 0.3:  # light from one side
        angle = rng.uniform(0, 2 * np.pi)
        ramp = np.linspace(-1, 1, size, dtype=np.float32)
        slope = np.cos(angle) * ramp[None, :] + np.sin(angle) * ramp[:, None]
        image *= 1 + rng.uniform(0, 0.3) * slope[..., None]
    image *= np.exp(rng.normal(0, 0.06)) * np.exp(rng.normal(0, 0.025, 3)).astype(np.float32)
    grey = image.mean(2, keepdims=True)
    image = grey + (image - grey) * (0 if rng.random() < 0.03 else np.exp(rng.normal(0, 0.12)))
    image = np.clip(image, 0, 1) ** np.exp(rng.normal(0, 0.08))
    image = 0.5 + (image - 0.5) * np.exp(rng.normal(0, 0.07))
    if rng.random() < 0.4:
        image = cv2.GaussianBlur(image, (0, 0), rng.uniform(0.3, 1.6))
    elif rng.random() < 0.3:
        soft = cv2.GaussianBlur(image, (0, 0), 1.0)
        image = image + rng.uniform(0.2, 1.0) * (image - soft)
    if rng.random() < 0.2:
        small = int(size * rng.uniform(0.35, 0.9))
        image = cv2.resize(cv2.resize(image, (small, small), interpolation=cv2.INTER_AREA), (size, size))
    if rng.random() < 0.5:
        image = image + rng.normal(0, rng.uniform(0, 0.04), image.shape)
    out = np.clip(image * 255 + 0.5, 0, 255).astype(np.uint8)
    if rng.random() < 0.3:
        _, coded = cv2.imencode(".jpg", out, [cv2.IMWRITE_JPEG_QUALITY, int(rng.uniform(30, 90))])
        out = np.asarray(cv2.imdecode(coded, cv2.IMREAD_COLOR), np.uint8)
    if rng.random() < 0.1:  # a hand, a cup, a microphone
        x, y = rng.integers(0, size, 2)
        w, h = rng.integers(size // 10, size // 3, 2)
        out[y : y + h, x : x + w] = rng.integers(0, 256, 3)
    return out
