"""The encoder with feedback: it corrects its estimate by how that would look, without making a picture.

ReStyle (Alaluf et al., arXiv:2104.02699) looks at what the generator makes of an estimate, corrects that, and looks
again. Here a small network tells from the latent alone the landmarks and the colours of that face, which costs next
to nothing; what they miss of the crop's, and what the encoder saw of it, say how the latent is to change.
"""

from __future__ import annotations

from typing import cast

import torch
from torch import Tensor, nn

from models.networks.encoder import HIDDEN, LAYERS, STYLE_DIM, Encoder
from models.networks.surrogate import VISIBLE, Surrogate

STEPS = 3
RANK = 192


class Feedback(nn.Module):
    """What an estimate misses [N, VISIBLE], what the encoder saw [N, HIDDEN] -> change of standardised W+.

    Args:
        hidden: width.
    """

    def __init__(self, hidden: int = 512) -> None:
        super().__init__()
        self.net = nn.Sequential(
            nn.Linear(VISIBLE + HIDDEN, hidden), nn.GELU(), nn.Linear(hidden, RANK), nn.GELU(),
            nn.Linear(RANK, LAYERS * STYLE_DIM),
        )  # fmt: skip
        last = cast(nn.Linear, self.net[-1])
        nn.init.zeros_(last.weight)
        nn.init.zeros_(last.bias)

    def forward(self, missed: Tensor, features: Tensor) -> Tensor:
        return cast(Tensor, self.net(torch.cat([missed, features], 1))).reshape(-1, LAYERS, STYLE_DIM)


class RefinedEncoder(nn.Module):
    """Crop float32 [N, 3, 128, 128] in [-1, 1], landmarks [N, 478, 2] in [0, 1] -> W+ [N, 18, 512].

    Args:
        encoder: gives the first estimate.
        surrogate: W+ -> how it would look.
        steps: corrections, all by the same network.
    """

    def __init__(self, encoder: Encoder, surrogate: Surrogate, steps: int = STEPS) -> None:
        super().__init__()
        self.encoder = encoder
        self.surrogate = surrogate
        self.feedback = Feedback()
        self.steps = steps

    def estimates(self, image: Tensor, landmarks: Tensor) -> list[Tensor]:
        """The standardised W+ before every correction and after the last."""
        features = self.encoder.features(image, landmarks)
        seen = self.surrogate.seen(image, landmarks)
        estimates = [self.encoder.standardised(features).float()]  # trained in bfloat16, summed in float32
        for _ in range(self.steps):
            missed = seen - self.surrogate(estimates[-1])[:, :VISIBLE]
            estimates.append(estimates[-1] + self.feedback(missed, features))
        return estimates

    def forward(self, image: Tensor, landmarks: Tensor) -> Tensor:
        return self.encoder.mean_w + self.encoder.std_w * self.estimates(image, landmarks)[-1]
