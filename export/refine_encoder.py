"""Fits the correction of the refined encoder: missed landmarks -> error of W+, by ridge regression on the pool.

The pictures are the pool's as they are: its landmarks have the tracker's noise already, and more of it made the
correction too timid on photographs. It is fitted to the encoder's first estimate and applied more than once: a second
one, fitted to what the first leaves, was too timid as well (landmark error 1.8% of the eye distance instead of 1.6%).
"""

from __future__ import annotations

from pathlib import Path

import numpy as np
import onnx
import torch
from onnx import numpy_helper
from rich.progress import track
from torch import Tensor

from export.pool import Pool
from export.train_encoder import HELD_OUT, to_input
from models.networks.encoder import Encoder
from models.networks.landmark_regressor import LandmarkRegressor
from models.networks.refined_encoder import Correction, RefinedEncoder

STEPS = 3
COMPONENTS = 64
FACES = 6144
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


def refined(encoder: Encoder, regressor: LandmarkRegressor, pool: Pool, faces: int = FACES) -> RefinedEncoder:
    """The encoder with a correction fitted to `faces` of the pool, none of them held out."""
    rows = HELD_OUT + np.random.default_rng(SEED).permutation(pool.filled - HELD_OUT)[:faces]
    missed, errors = [], []
    with torch.no_grad():
        for chosen in track(np.array_split(rows, -(-len(rows) // BATCH)), description="Encoding"):
            landmarks = torch.from_numpy(pool.landmarks[chosen])
            estimate = encoder(to_input(pool.images[chosen]), landmarks)
            truth = torch.from_numpy(pool.latents[chosen].astype(np.float32))
            missed.append((landmarks - regressor(estimate)).flatten(1))
            errors.append(((truth - estimate) / encoder.std_w).flatten(1))
        correction = fit(torch.cat(missed), torch.cat(errors))
    return RefinedEncoder(encoder, regressor, correction, STEPS).eval()


def fit(missed: Tensor, error: Tensor) -> Correction:
    """Ridge regression of errors [N, 9216] on the principal components of missed landmarks [N, 956].

    Without a constant: landmarks that are met ask for nothing.
    """
    _, values, directions = torch.linalg.svd(missed, full_matrices=False)
    components = directions[:COMPONENTS].T
    deviations = values[:COMPONENTS] / len(missed) ** 0.5
    scores = missed @ components / deviations
    gram = scores.T @ scores + RIDGE * len(scores) * torch.eye(scores.shape[1])
    answer = torch.linalg.solve(gram, scores.T @ error) / deviations[:, None]
    return Correction(components.contiguous(), answer)
