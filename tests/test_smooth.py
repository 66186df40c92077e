"""Smoothing of W+ in time."""

from __future__ import annotations

import itertools

import numpy as np
import pytest

from live.smooth import LatentSmoother, SmoothingState
from models.arrays import F32

RNG = np.random.default_rng(5)
FACE: F32 = RNG.normal(size=(1, 18, 512)).astype(np.float32) * 0.5
EXPRESSION: F32 = RNG.normal(size=(1, 18, 512)).astype(np.float32) * 0.1  # a talking head's latents spread by 0.06
JITTER = 0.01  # a still portrait's, with sensor noise, move by a tenth of this from frame to frame


def _run(latents: list[F32], fps: float) -> list[F32]:
    smoother, state = LatentSmoother(), None
    values = []
    for i, latent in enumerate(latents):
        state = smoother.smooth(latent, 0, i / fps, state)
        values.append(state.value)
    return values


def _rms(a: F32) -> float:
    return float(np.sqrt(np.mean(a**2)))


@pytest.mark.parametrize("fps", [10, 30])
def test_a_still_face_does_not_flicker(fps: float) -> None:
    raw = [FACE + RNG.normal(size=FACE.shape).astype(np.float32) * JITTER for _ in range(60)]
    smooth = _run(raw, fps)
    flicker_before = np.mean([_rms(b - a) for a, b in itertools.pairwise(raw)])
    flicker_after = np.mean([_rms(b - a) for a, b in itertools.pairwise(smooth)])
    assert flicker_after < 0.5 * flicker_before
    assert _rms(smooth[-1] - FACE) < JITTER


@pytest.mark.parametrize("fps", [10, 30])
def test_an_expression_follows_within_a_tenth_of_a_second(fps: float) -> None:
    start = 30
    noise = [RNG.normal(size=FACE.shape).astype(np.float32) * JITTER for _ in range(60)]
    raw = [FACE + n + EXPRESSION * np.float32(i >= start) for i, n in enumerate(noise)]
    smooth = _run(raw, fps)
    arrived = smooth[start + max(round(0.1 * fps), 1)] - FACE
    share = float(np.sum(arrived * EXPRESSION) / np.sum(EXPRESSION**2))
    assert share > 0.63  # the time constant of a first-order lag: 63% of the way


def test_a_new_face_starts_afresh() -> None:
    state = LatentSmoother().smooth(FACE, 0, 0.0, None)
    other = FACE + 1
    state = LatentSmoother().smooth(other, 1, 0.1, state)
    assert np.array_equal(state.value, other)


def test_time_running_backwards_starts_afresh() -> None:
    state: SmoothingState | None = LatentSmoother().smooth(FACE, 0, 5.0, None)
    assert np.array_equal(LatentSmoother().smooth(FACE + 1, 0, 0.0, state).value, FACE + 1)
