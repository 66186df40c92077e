"""The encoder's last correction: colours, by a linear map of the thumbnail that its estimate misses.

Trained on pictures whose light and colours were changed and whose latents were not, the feedback learns to trust
colours little, and gives photographs a generated face's warm skin. This map is fitted to the pool as it is.
"""

from __future__ import annotations

import numpy as np
import torch
from rich.progress import track
from torch import nn

from export.pool import Pool
from export.training_input import HELD_OUT, to_input
from models.networks.encoder import LAYERS, STYLE_DIM
from models.networks.refined_encoder import RefinedEncoder
from models.networks.surrogate import PARTS, THUMBNAIL_SCORES

FACES = 4096
BATCH = 64
RIDGE = 0.05  # share of the faces' number: the prior's weight against the data's
SEED = 4


def fit_recolour(net: RefinedEncoder, pool: Pool) -> nn.Linear:
    """Ridge regression of the estimates' errors on what their thumbnails miss, standardised; without a constant.

    Returns:
        Missed scores [N, THUMBNAIL_SCORES] -> change of standardised W+ [N, 9216].
    """
    rows = np.sort(HELD_OUT + np.random.default_rng(SEED).permutation(pool.filled - HELD_OUT)[:FACES])
    missed, errors = [], []
    with torch.no_grad():
        for chosen in track(np.array_split(rows, -(-len(rows) // BATCH)), description="Recolouring"):
            images, landmarks = to_input(np.array(pool.images[chosen])), torch.from_numpy(pool.landmarks[chosen])
            estimate = net.estimates(images, landmarks)[-1]
            truth = torch.from_numpy(pool.latents[chosen].astype(np.float32))
            seen = net.surrogate.seen(images, landmarks)
            missed.append(net.missed(estimate, seen)[:, PARTS["thumbnail"]])
            errors.append(((truth - net.encoder.mean_w) / net.encoder.std_w - estimate).flatten(1))
        scores, error = torch.cat(missed), torch.cat(errors)
        deviations = scores.std(0)
        scores = scores / deviations
        gram = scores.T @ scores + RIDGE * len(scores) * torch.eye(THUMBNAIL_SCORES)
        answer = torch.linalg.solve(gram, scores.T @ error) / deviations[:, None]
        recolour = nn.Linear(THUMBNAIL_SCORES, LAYERS * STYLE_DIM, bias=False)
        recolour.weight.copy_(answer.T)
    return recolour
