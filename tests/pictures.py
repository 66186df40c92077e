"""How close two pictures are: every tolerance the tests compare pictures with."""

from __future__ import annotations

import numpy as np

from models.arrays import U8

LOSSLESS = float("inf")  # the same picture
VIDEO = 34.0  # dB; after the lossy codecs of a video file, 4:2:0 colour included
FAST = 26.0  # dB; the narrow generator's picture of the mean face, and of strong smiles of it
SCREEN = 38.0  # dB; a screenshot of an unscaled window


def peak_signal_to_noise(a: U8, b: U8) -> float:
    """Peak signal-to-noise ratio in dB of two uint8 pictures of one shape; infinite where they are equal."""
    assert a.shape == b.shape, f"pictures of different shapes: {a.shape} and {b.shape}"
    error = float(np.mean((a.astype(np.float64) - b.astype(np.float64)) ** 2))
    return float("inf") if error == 0 else float(10 * np.log10(255**2 / error))


def assert_close(a: U8, b: U8, *, psnr: float) -> None:
    """Fail, naming the figure, where two uint8 pictures are further apart than ``psnr`` dB."""
    found = peak_signal_to_noise(a, b)
    assert found >= psnr, f"pictures are {found:.1f} dB apart, wanted at least {psnr:.1f} dB"
