"""Fits directions in W to the labels of generated faces: ridge regression, then the step that moves one."""

from __future__ import annotations

from dataclasses import dataclass
from statistics import NormalDist

import numpy as np

from export.direction_recipes import LOOSE, SKEWED, Recipe
from export.fidelity import LAYER_GROUPS
from export.labelling import Labels
from models.arrays import F32, F64
from models.latent import LAYERS

# Layers that share a style in the fit. Five groups instead of three predict no better.
GROUPS = tuple(LAYER_GROUPS.values())
PENALTIES = (100, 300, 1000, 3000, 10_000, 30_000)
# Variance of a held attribute that a step may leave: holding harder asks for steps no face has ever made
# (Mahalanobis length of the smile with 31 attributes held: 5.6 at 0.003, 2.0 with these).
SLACK, LOOSE_SLACK = 0.03, 0.3
COMPONENTS = 32  # of bones and of surroundings
# Shrinks the covariance of W to its diagonal: with a few thousand faces the small axes are mostly noise.
COVARIANCE_SHRINKAGE = 0.2


def _normal_scores(values: F64) -> F64:
    ranks = values.argsort().argsort()
    quantiles = (ranks + 0.5) / len(values)
    return np.array([NormalDist().inv_cdf(quantile) for quantile in quantiles])


@dataclass(frozen=True)
class Gradients:
    """Linear models of attributes on W+, one style per group of layers, standardised.

    Attributes:
        names: the attributes, A of them.
        slopes: float64 [A, G, 512], in standard deviations of the (transformed) attribute per standardised w.
        correlation: float64 [A], between prediction and label, on faces left out of the fit.
        still: float64 [K, G, 512] per name ("bones", "surroundings"): principal components of what a
            direction may be asked to leave alone; the squares of all of them sum to about 1 for a random face.
        covariance: float64 [512, 512] of standardised w, the same in every group.
        spread: float64 [512], the standard deviations that standardise w.
    """

    names: tuple[str, ...]
    slopes: F64
    correlation: F64
    still: dict[str, F64]
    covariance: F64
    spread: F64


def fit(labels: Labels, names: tuple[str, ...]) -> Gradients:
    """Ridge regression of each attribute on the styles of the layer groups.

    Style mixes among the faces tell apart what the groups do. A tenth of the faces is left out, to choose each
    attribute's penalty and to tell how well the fit works.
    """
    styles = np.stack([labels.w_plus[:, group].mean(axis=1) for group in GROUPS], axis=1)
    centre, spread = styles.mean(axis=(0, 1)), styles.std(axis=(0, 1))
    x = ((styles - centre) / spread).astype(np.float64)
    covariance = np.mean([np.cov(x[:, group], rowvar=False) for group in range(len(GROUPS))], axis=0)
    covariance += COVARIANCE_SHRINKAGE * (np.diag(np.diag(covariance)) - covariance)

    flat = x.reshape(len(x), -1)
    flat -= flat.mean(axis=0)
    targets = np.stack([_standardised_target(labels, name) for name in names], axis=1)
    slopes, correlation = _ridge(flat, targets)
    still = {}
    for name, values in (("bones", labels.bones), ("surroundings", labels.surroundings)):
        components = _principal_components(values)
        still[name] = _ridge(flat, components)[0].reshape(-1, *x.shape[1:])
    return Gradients(
        names, slopes.reshape(-1, *x.shape[1:]), correlation, still, covariance, spread.astype(np.float64)
    )


def _ridge(x: F64, targets: F64) -> tuple[F64, F64]:
    """Slopes [T, P] of targets [N, T] on x [N, P], each at the best penalty; correlations on rows left out."""
    held_out = np.arange(len(x)) % 10 == 0
    gram, answers = x[~held_out].T @ x[~held_out], x[~held_out].T @ targets[~held_out]
    slopes, correlation = np.empty((targets.shape[1], x.shape[1])), np.full(targets.shape[1], -np.inf)
    for penalty in PENALTIES:
        weights = np.linalg.solve(gram + penalty * np.eye(len(gram)), answers)
        predictions = x[held_out] @ weights
        for i in range(targets.shape[1]):
            score = np.corrcoef(predictions[:, i], targets[held_out, i])[0, 1]
            if score > correlation[i]:
                slopes[i], correlation[i] = weights[:, i], score
    return slopes, correlation


def _principal_components(values: F32) -> F64:
    """The strongest components [N, COMPONENTS], scaled so that the mean square of a whole row of values is 1."""
    centred = (values - values.mean(axis=0)).astype(np.float64)
    _, vectors = np.linalg.eigh(centred.T @ centred)
    strongest = vectors[:, ::-1][:, :COMPONENTS]
    return np.asarray(centred @ strongest / np.sqrt((centred**2).sum(axis=1).mean()))


def _standardised_target(labels: Labels, name: str) -> F64:
    values = labels.values(name).astype(np.float64)
    if name in SKEWED:
        values = _normal_scores(values)
    return np.asarray((values - values.mean()) / values.std())


def step(gradients: Gradients, recipe: Recipe, *, raw: bool) -> F32:
    """The likeliest change of W+ that raises one attribute by a standard deviation.

    Likeliest is the shortest in Mahalanobis distance, C being the covariance of W; what is to keep still, J,
    lengthens it: the step s minimises s' (C^-1 + weights J'J) s. With B the slopes of the attributes concerned
    and M the inverse of that matrix, the s with B s = target is M B' (B M B')^-1 target. Held attributes may give
    way a little: a slack d on the diagonal of B M B' adds (B s)^2 / d to what is minimised, for each of them.

    Args:
        gradients: the fitted models.
        recipe: the attribute to move, the layers that may change, what to keep still.
        raw: move it alone in view (True), or hold all the other attributes still, but those that the recipe
            sets free, as far as the linear models know them (False).

    Returns:
        float32 [18, 512], in units of w, zero outside the recipe's layers.
    """
    rows = [
        i for i, name in enumerate(gradients.names) if name == recipe.attribute or not (raw or name in recipe.free)
    ]
    allowed = np.array([_overlap(group, recipe.layers) for group in GROUPS])[:, None]
    slopes = gradients.slopes[rows] * allowed
    target = np.array([gradients.names[row] == recipe.attribute for row in rows], np.float64)
    across = slopes @ gradients.covariance  # B M, still to be corrected for J
    if recipe.still and not raw:
        weighted = [np.sqrt(weight) * gradients.still[name] for name, weight in recipe.still.items()]
        keep = np.concatenate(weighted) * allowed
        spread_keep = keep @ gradients.covariance
        # Woodbury: M = C - C J' (1 + J C J')^-1 J C
        inner = np.eye(len(keep)) + np.einsum("kgi,lgi->kl", keep, spread_keep)
        shared = np.linalg.solve(inner, np.einsum("kgi,agi->ka", keep, across))
        across = across - np.einsum("ka,kgi->agi", shared, spread_keep)
    system = np.einsum("agi,bgi->ab", slopes, across)
    names = [gradients.names[row] for row in rows]
    slack = [0.0 if name == recipe.attribute else LOOSE_SLACK if name in LOOSE else SLACK for name in names]
    system[np.diag_indices(len(rows))] += slack
    by_group = np.einsum("a,agi->gi", np.linalg.solve(system, target), across) * gradients.spread
    direction = np.zeros((LAYERS, by_group.shape[-1]), np.float32)
    for group, style in zip(GROUPS, by_group, strict=True):
        direction[group] = style
    direction[: recipe.layers.start] = 0
    direction[recipe.layers.stop :] = 0
    return direction


def _overlap(group: slice, layers: slice) -> float:
    """Share of a group that lies within `layers`."""
    inside = range(max(group.start, layers.start), min(group.stop, layers.stop))
    return len(inside) / len(range(group.start, group.stop))
