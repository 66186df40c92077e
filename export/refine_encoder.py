"""Fits the corrections of the refined encoder: what its estimate misses -> error of W+, by ridge regression.

The pictures are the pool's as they are: its landmarks have the tracker's noise already, and more of it made the
correction too timid on photographs. That of the landmarks is fitted to one estimate and applied more than once: a
second one, fitted to what the first leaves, was too timid as well (landmark error 1.8% of the eye distance instead of
1.6%).
"""

from __future__ import annotations

from pathlib import Path

import numpy as np
import onnx
import torch
from numpy.typing import NDArray
from onnx import numpy_helper
from rich.progress import track
from torch import Tensor

from export.latent_metric import face_weight, ridge_rows
from export.pool import Pool
from export.train_encoder import HELD_OUT, to_input
from models.latent import mean_w, std_w
from models.networks.encoder import Encoder
from models.networks.landmark_regressor import LandmarkRegressor
from models.networks.refined_encoder import Correction, RefinedEncoder
from models.networks.thumbnail_regressor import SIZE as THUMBNAIL
from models.networks.thumbnail_regressor import ThumbnailRegressor

STEPS = 3  # by landmarks
COMPONENTS = 64
FACES = 6144
THUMBNAILS = 9000  # faces that their regressor is fitted to
BACKDROP = 0.2  # weight of what is around the face, at most, against the face
BATCH = 64
RIDGE = 0.05  # share of the faces' number: the prior's weight against the data's
SEED = 5


def load_regressor(path: Path) -> LandmarkRegressor:
    """The landmark regressor of a shipped graph, as a network again."""
    arrays = {i.name: numpy_helper.to_array(i) for i in onnx.load(path).graph.initializer}
    state = {name.removesuffix(".half"): torch.from_numpy(a.astype(np.float32)) for name, a in arrays.items()}
    net = LandmarkRegressor(*(state[name] for name in ("mean_w", "std_w", "mean_face", "components")))
    net.load_state_dict({name: state[name] for name in net.state_dict()})
    return net.eval()


def fit_thumbnails(pool: Pool, rows: NDArray[np.int64]) -> ThumbnailRegressor:
    """The regressor of thumbnails, fitted to rows of the pool."""
    weight = face_weight(THUMBNAIL)
    net = ThumbnailRegressor(
        torch.from_numpy(np.array(mean_w())), torch.from_numpy(np.array(std_w())),
        torch.where(weight > 0.5, 1.0, BACKDROP * weight), torch.zeros(1), torch.zeros(COMPONENTS, 1),
    )  # fmt: skip
    seen = torch.cat([net.seen(to_input(np.array(pool.images[chosen]))) for chosen in np.array_split(rows, 50)])
    net.mean = seen.mean(0)
    net.components = torch.linalg.svd(seen - net.mean, full_matrices=False)[2][:COMPONENTS].contiguous()
    latents, scores = pool.latents[rows], (seen - net.mean) @ net.components.T
    slopes = ridge_rows(latents, scores.numpy(), np.array(mean_w()), np.array(std_w()))
    centre = (latents.astype(np.float32).mean(0) - mean_w()) / std_w()
    with torch.no_grad():
        net.linear.weight.copy_(torch.from_numpy(slopes))
        net.linear.bias.copy_(torch.from_numpy(-slopes @ centre.ravel()))
    return net.eval()


def refined(encoder: Encoder, regressor: LandmarkRegressor, pool: Pool, faces: int = FACES) -> RefinedEncoder:
    """The encoder with corrections fitted to `faces` of the pool, none of them held out."""
    unit = encoder.std_w
    shuffled = HELD_OUT + np.random.default_rng(SEED).permutation(pool.filled - HELD_OUT)
    thumbnails = fit_thumbnails(pool, np.sort(shuffled[:THUMBNAILS]))
    rows = np.sort(shuffled[:faces])
    estimates, unseen = [], []
    with torch.no_grad():
        for chosen in track(np.array_split(rows, -(-len(rows) // BATCH)), description="Encoding"):
            images, landmarks = to_input(np.array(pool.images[chosen])), torch.from_numpy(pool.landmarks[chosen])
            estimates.append(encoder(images, landmarks))
            unseen.append(thumbnails.seen(images) - thumbnails(estimates[-1]))
        estimate, missed = torch.cat(estimates), torch.cat(unseen)
        truth = torch.from_numpy(pool.latents[rows].astype(np.float32))
        recolour = fit(missed, ((truth - estimate) / unit).flatten(1))
        estimate = estimate + unit * recolour(missed)
        missed = (torch.from_numpy(pool.landmarks[rows]) - regressor(estimate)).flatten(1)
        reshape = fit(missed, ((truth - estimate) / unit).flatten(1))
    return RefinedEncoder(encoder, thumbnails, recolour, regressor, reshape, STEPS).eval()


def fit(missed: Tensor, error: Tensor) -> Correction:
    """Ridge regression of errors [N, 9216] on the principal components of what is missed [N, D].

    Without a constant: what is met asks for nothing.
    """
    _, values, directions = torch.linalg.svd(missed, full_matrices=False)
    components = directions[:COMPONENTS].T
    deviations = values[:COMPONENTS] / len(missed) ** 0.5
    scores = missed @ components / deviations
    gram = scores.T @ scores + RIDGE * len(scores) * torch.eye(scores.shape[1])
    answer = torch.linalg.solve(gram, scores.T @ error) / deviations[:, None]
    return Correction(components.contiguous(), answer)
