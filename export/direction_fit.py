"""Fits directions in W to the labels of generated faces: ridge regression, then the step that moves one."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from statistics import NormalDist

import numpy as np
from numpy.typing import NDArray
from sklearn.linear_model import RidgeCV

from export.labelling import Labels
from models.arrays import F32, F64
from models.latent import LAYERS

PENALTIES = tuple(np.logspace(1, 4, 13))
# Shrinks the covariance of W to its diagonal: with a few thousand faces the small axes are mostly noise.
COVARIANCE_SHRINKAGE = 0.1


@dataclass(frozen=True)
class Recipe:
    """How one direction is made.

    Attributes:
        attribute: the attribute of export.measure it moves.
        description: what positive strengths do, for users.
        layers: the W+ layers it is applied to; the others keep their style.
        target: the change of the attribute that strength 1 should make.
        start: the range of the attribute within which a face counts for that target; a face that already
            smiles cannot show what a smile direction does.
    """

    attribute: str
    description: str
    layers: slice
    target: float
    start: tuple[float, float] = (-np.inf, np.inf)


RECIPES = {
    "smile": Recipe("smile", "smiles", slice(3, 8), 0.35, (0.0, 0.3)),
    "mouth-open": Recipe("mouth-open", "opens the mouth", slice(2, 8), 0.15, (0.0, 0.2)),
    "eyes-closed": Recipe("eyes-closed", "closes the eyes", slice(3, 8), 0.2, (0.0, 0.4)),
    "brows-up": Recipe("brows-up", "raises the eyebrows", slice(3, 8), 0.2, (0.0, 0.3)),
    "age": Recipe("age", "makes older; negative, younger", slice(0, 10), 9.0, (20.0, 50.0)),
    "gender": Recipe("gender", "makes masculine; negative, feminine", slice(0, 10), 0.4, (0.0, 0.1)),
    "yaw": Recipe("yaw", "turns the head to the picture's right", slice(0, 4), 9.0),
    "pitch": Recipe("pitch", "lifts the head; negative, lowers it", slice(0, 4), 5.0),
}

# Not directions themselves, but what a direction must not move on the side.
NUISANCES = ("roll", "glasses", "skin", "backdrop")


def _identity(values: F64) -> F64:
    return values


def _log(values: F64) -> F64:
    return np.log(values + 0.02)


def _normal_scores(values: F64) -> F64:
    ranks = values.argsort().argsort()
    quantiles = (ranks + 0.5) / len(values)
    return np.array([NormalDist().inv_cdf(quantile) for quantile in quantiles])


# Blendshapes pile up at 0 and probabilities at both ends: what is regressed on is a less skewed form of them.
TRANSFORMS: dict[str, Callable[[F64], F64]] = {
    "smile": _normal_scores,
    "mouth-open": _log,
    "eyes-closed": _log,
    "brows-up": _log,
    "gender": _normal_scores,
    "glasses": _log,
}


@dataclass(frozen=True)
class Gradients:
    """Linear models of attributes on W standardised by the labelled faces' own mean and spread.

    Attributes:
        names: the attributes, A of them.
        slopes: float64 [A, 512], in standard deviations of the (transformed) attribute per standardised w.
        correlation: float64 [A], between prediction and label, on faces left out of the fit.
        covariance: float64 [512, 512] of standardised w, shrunk.
        spread: float64 [512], the standard deviations that standardise w.
    """

    names: tuple[str, ...]
    slopes: F64
    correlation: F64
    covariance: F64
    spread: F64


def fit(labels: Labels, names: tuple[str, ...]) -> Gradients:
    """Regresses each attribute on W; a tenth of the faces is left out to tell how well it worked."""
    w = labels.w.astype(np.float64)
    spread = w.std(axis=0)
    x = (w - w.mean(axis=0)) / spread
    held_out = np.arange(len(x)) % 10 == 0
    slopes, correlation = np.empty((len(names), x.shape[1])), np.empty(len(names))
    for i, name in enumerate(names):
        y = TRANSFORMS.get(name, _identity)(labels.values(name).astype(np.float64))
        y = (y - y.mean()) / y.std()
        model = RidgeCV(PENALTIES).fit(x[~held_out], y[~held_out])
        slopes[i] = model.coef_
        correlation[i] = np.corrcoef(model.predict(x[held_out]), y[held_out])[0, 1]
    covariance = np.cov(x, rowvar=False)
    covariance += COVARIANCE_SHRINKAGE * (np.diag(np.diag(covariance)) - covariance)
    return Gradients(names, slopes, correlation, covariance, spread)


def step(gradients: Gradients, name: str, *, raw: bool) -> F32:
    """The likeliest change of w that raises one attribute by a standard deviation.

    With B the slopes of the attributes concerned and C the covariance of W, the shortest step in Mahalanobis
    distance with B step = target is C B' (B C B')^-1 target.

    Args:
        gradients: the fitted models.
        name: the attribute to move.
        raw: move it alone in view (True), or hold all the other attributes still as far as the linear models
            know them (False).

    Returns:
        float32 [512], in units of w.
    """
    index = gradients.names.index(name)
    rows: NDArray[np.intp] = np.array([index]) if raw else np.arange(len(gradients.names))
    slopes = gradients.slopes[rows]
    target = (rows == index).astype(np.float64)
    across = gradients.covariance @ slopes.T
    return np.asarray(across @ np.linalg.solve(slopes @ across, target) * gradients.spread, np.float32)


def on_layers(w_step: F32, layers: slice) -> F32:
    """A step in W as a direction in W+, float32 [18, 512], zero outside `layers`."""
    direction = np.zeros((LAYERS, w_step.shape[-1]), np.float32)
    direction[layers] = w_step
    return direction
