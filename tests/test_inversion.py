"""What the fit of a face makes of the two gradients."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
import pytest

from models.arrays import F32
from models.engine import Engine
from models.inversion import FINE_PULL, IDENTITY, PULL, STEPS, Gradients, View, compare, fit_offset
from models.latent import FINE, std_w
from models.zoo import IdentityGradient, PictureGradient
from tests.bowls import STEEPNESS, bowl

LATENT = np.zeros((1, 18, 512), np.float32)
AXIS = np.zeros((1, 150, 2), np.float32)
NO_EYES = np.zeros((2, 2, 2), np.float32)


def view(grey: float) -> View:
    """Of two pixels by two."""
    picture, weight = np.full((1, 3, 2, 2), grey, np.float32), np.ones((1, 1, 2, 2), np.float32)
    return View(LATENT, picture, weight, AXIS, AXIS, NO_EYES)


def watched(wishes: list[tuple[float, float]]) -> Gradients:
    """Notes the grey of a view and what is wished for it; the recogniser wants as much as the pictures were many."""
    made: list[float] = []

    def picture(feeds: Mapping[str, F32]) -> dict[str, F32]:
        wishes.append((float(feeds["target"].mean()), float(feeds["wish"].mean())))
        made.append(float(feeds["target"].mean()))
        return {"loss": np.ones(1, np.float32), "gradient": LATENT, "image": 10 + feeds["target"]}

    def identity(feeds: Mapping[str, F32]) -> dict[str, F32]:
        embedding = np.full((1, 128), feeds["image"].mean(), np.float32)
        distance = np.abs(embedding - feeds["wanted"])[0, :1]
        return {
            "embedding": embedding,
            "distance": distance,
            "gradient": np.full((1, 3, 2, 2), len(made), np.float32),
        }

    return Gradients(
        PictureGradient(2, Engine("a picture", {}, picture)),
        IdentityGradient(Engine("a recogniser", {"wanted": (1, 128)}, identity)),
    )


def test_what_the_recogniser_wants_counts_when_the_view_is_looked_at_again() -> None:
    wishes: list[tuple[float, float]] = []
    list(fit_offset([view(1.0), view(2.0)], watched(wishes), 4))
    assert [grey for grey, _ in wishes] == [2.0, 1.0, 2.0, 1.0]
    assert [wish for _, wish in wishes] == pytest.approx([0.0, 0.0, IDENTITY * 1, IDENTITY * 2])


def test_the_loss_is_that_of_the_pixels_and_the_share_of_the_identity() -> None:
    gradients = watched([])
    seen, loss, _ = compare(view(3.0), LATENT, gradients)
    assert loss == pytest.approx(1 + 10 * IDENTITY)  # the picture is 10 from the view
    assert seen.identity is not None
    assert float(seen.identity.mean()) == pytest.approx(3.0)
    again, same, _ = compare(seen, LATENT, gradients)
    assert again.identity is seen.identity
    assert same == loss


def test_the_pull_to_the_encoders_latent_is_stronger_in_the_fine_layers() -> None:
    far = np.float32(5.0)  # standard deviations of W; the bowl is as steep everywhere
    *_, last = fit_offset([view(0.0)], bowl(lambda w_plus: w_plus / std_w() - far, size=2), STEPS)
    offset = np.abs(last.offset / std_w()).mean(axis=2)[0]
    steepness = STEEPNESS / LATENT.size
    np.testing.assert_allclose(offset[FINE], steepness / (2 * PULL * FINE_PULL), rtol=0.05)
    assert offset[: FINE.start].min() > 3 * offset[FINE].max()
