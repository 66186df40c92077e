"""Where the recogniser looks in an aligned crop."""

from __future__ import annotations

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from models.arrays import F32
from models.face_chip import CHIP_POINTS, IDENTITY_CHIP, face_in_chip, recogniser_axes

R = 256
SIDE = IDENTITY_CHIP[0]


def face(scale: float, x: float, y: float) -> F32:
    """Landmarks that lie as in the recogniser's chip, so many times as large and moved, in pixels of a crop."""
    landmarks = np.zeros((478, 2), np.float32)
    landmarks[list(CHIP_POINTS)] = scale * face_in_chip(*IDENTITY_CHIP) + (x, y)
    return landmarks


@given(st.floats(0.3, 1.6), st.floats(0, 15), st.floats(0, 15))
def test_each_pixel_of_the_chip_is_read_where_the_face_has_it(scale: float, x: float, y: float) -> None:
    ramp = np.broadcast_to(np.arange(R, dtype=np.float32), (R, R))
    down, across = (axis[0] for axis in recogniser_axes(face(scale, x, y), R))
    assert down.shape == across.shape == (SIDE, R)
    places = np.linspace(1, SIDE - 1, SIDE)
    for found, start in ((down @ ramp @ across.T, x), ((down @ ramp.T @ across.T).T, y)):
        np.testing.assert_allclose(found, np.broadcast_to(scale * places + start, (SIDE, SIDE)), atol=0.01)


def test_what_lies_beyond_the_crop_is_not_read() -> None:
    down, across = recogniser_axes(face(1.0, -400.0, 60.0), R)
    assert not across.any()
    assert down.any()
