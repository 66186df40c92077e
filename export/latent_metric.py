"""What a change of W+ does to the picture and to the face's geometry, as one linear map.

Equal errors of W+ are not equally visible: most of its 9,216 dimensions hardly show. The Gauss-Newton matrix of a
multi-scale picture loss, J'J averaged over faces, is estimated from random projections of the picture: each is one
backward pass, g = J'v. Landmarks and blendshapes are close to linear in W+, so ridge regression gives their rows,
and of a face recogniser's embedding what is linear in W+. All rows make the map L; |L (a - b)|^2 is the distance that
a and b are apart to the eye.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from rich.progress import track
from torch import Tensor
from torch.nn import functional as F

from export.pool import Pool
from models import ir, registry
from models.arrays import F32
from models.networks import mobile_stylegan as ms

PICTURE_ROWS = 384
GEOMETRY_ROWS = 96
CHUNK = 4096  # faces
RIDGE = 0.3  # of the mean variance


def face_weight(size: int) -> Tensor:
    """Weight of each pixel of an aligned crop, [1, 1, S, S]: the face 1, the corners 0.15."""
    axis = (torch.arange(size) + 0.5) / size
    y, x = torch.meshgrid(axis, axis, indexing="ij")
    distance = ((x - 0.5) / 0.36) ** 2 + ((y - 0.58) / 0.42) ** 2
    return (0.15 + 0.85 * torch.sigmoid(6 * (1.1 - distance)))[None, None]


def projection(image: Tensor, weight: Tensor) -> Tensor:
    """A random projection of the picture at four scales, its edges counted twice: scalar."""
    total = image.new_zeros(())
    for scale in (1, 2, 4, 8):
        small = F.avg_pool2d(image * weight, scale)
        across, down = small.diff(dim=3), small.diff(dim=2)
        for part, share in ((small, 1.0), (across, 2.0), (down, 2.0)):
            total = total + share * scale * (part * torch.randn_like(part)).sum()
    return total


def picture_rows(pool: Pool, heads: Path, unit: F32, faces: int = 110, projections: int = 4) -> F32:
    """float32 [PICTURE_ROWS, 9216]: principal rows of J, for W+ in units of `unit` [512]."""
    net = ms.load_published(ir.read(registry.path("synthesis-xml")), 256)
    ms.load_head(net, heads / "head-256.npz")
    weight = face_weight(128)
    gradients = []
    for i in track(range(faces), description="Picture metric"):
        standard = torch.from_numpy(pool.latents[i].astype(np.float32) / unit)[None].requires_grad_()
        image = F.avg_pool2d(net(standard * torch.from_numpy(unit)), 2)
        for k in range(projections):
            scalar = projection(image, weight)
            (gradient,) = torch.autograd.grad(scalar, standard, retain_graph=k < projections - 1)
            gradients.append(gradient.flatten().numpy())
    matrix = np.stack(gradients) / np.sqrt(len(gradients))
    _, values, rows = np.linalg.svd(matrix, full_matrices=False)
    return (values[:PICTURE_ROWS, None] * rows[:PICTURE_ROWS]).astype(np.float32)


def geometry_rows(pool: Pool, unit: F32) -> F32:
    """float32 [GEOMETRY_ROWS, 9216]: W+ (standardised) -> principal components of landmarks and blendshapes."""
    n = pool.filled
    shapes = pool.blendshapes[:n] * 0.15  # in units comparable with landmarks in [0, 1], summed over 956
    target = np.concatenate([pool.landmarks[:n].reshape(n, -1), shapes], 1)
    target -= target.mean(0)
    _, _, components = np.linalg.svd(target[:4000], full_matrices=False)
    return ridge_rows(pool.latents[:n], target @ components[:GEOMETRY_ROWS].T, unit)


def identity_rows(pool: Pool, embedded: F32, unit: F32) -> F32:
    """float32 [128, 9216]: W+ (standardised) -> the embedding of a face recogniser, `embedded` of the first faces."""
    return ridge_rows(pool.latents[: len(embedded)], embedded, unit)


def ridge_rows(latents: NDArray[np.float16], target: F32, unit: F32) -> F32:
    """Ridge regression of targets [N, K] on standardised W+ [N, 18, 512]: float32 [K, 9216]."""
    n, dimensions = len(latents), latents[0].size
    centre = latents.mean(axis=0, dtype=np.float64).astype(np.float32)
    gram = np.zeros((dimensions, dimensions), np.float32)
    products = np.zeros((dimensions, target.shape[1]), np.float32)
    for rows in track(np.array_split(np.arange(n), -(-n // CHUNK)), description="Regression"):
        standard = ((latents[rows] - centre) / unit).reshape(len(rows), -1)
        gram += standard.T @ standard
        products += standard.T @ (target[rows] - target.mean(0))
    gram[np.diag_indices(dimensions)] += RIDGE * np.trace(gram) / n
    return np.linalg.solve(gram, products).T.astype(np.float32)


def normalised(rows: F32, pool: Pool, mean: F32, unit: F32) -> F32:
    """Rows scaled so that guessing the mean latent costs 1."""
    n = min(2000, pool.filled)
    standard = ((pool.latents[:n].astype(np.float32) - mean) / unit).reshape(n, -1)
    cost = float(((standard @ rows.T) ** 2).sum(1).mean())
    return (rows / np.sqrt(cost)).astype(np.float32)
