"""The encoder, corrected by the landmarks that its estimate would have: feedback, as in ReStyle, without a picture.

ReStyle (Alaluf et al., arXiv:2104.02699) looks at what the generator makes of an estimate and corrects that. Here a
regressor tells the landmarks of that face from the latent alone, which costs next to nothing; what they miss of the
crop's landmarks says, by a linear map, how the latent is probably off.
"""

from __future__ import annotations

from typing import cast

from torch import Tensor, nn

from models.networks.encoder import LAYERS, STYLE_DIM, Encoder
from models.networks.landmark_regressor import LandmarkRegressor


class Correction(nn.Module):
    """Missed landmarks float32 [N, 956], found minus expected -> what to add to standardised W+ [N, 18, 512].

    Args:
        components: float32 [956, K], principal components of what is missed, of length 1 each.
        answer: float32 [K, 9216], to each of them.
    """

    components: Tensor
    answer: Tensor

    def __init__(self, components: Tensor, answer: Tensor) -> None:
        super().__init__()
        self.register_buffer("components", components)
        self.register_buffer("answer", answer)

    def forward(self, missed: Tensor) -> Tensor:
        return ((missed @ self.components) @ self.answer).reshape(-1, LAYERS, STYLE_DIM)


class RefinedEncoder(nn.Module):
    """Crop float32 [N, 3, 128, 128] in [-1, 1], landmarks [N, 478, 2] in [0, 1] -> W+ [N, 18, 512].

    Args:
        encoder: gives the first estimate.
        regressor: W+ -> landmarks.
        correction: of an estimate.
        steps: how many times to correct.
    """

    def __init__(self, encoder: Encoder, regressor: LandmarkRegressor, correction: Correction, steps: int) -> None:
        super().__init__()
        self.encoder = encoder
        self.regressor = regressor
        self.correction = correction
        self.steps = steps

    def forward(self, image: Tensor, landmarks: Tensor) -> Tensor:
        w_plus = cast(Tensor, self.encoder(image, landmarks))
        for _ in range(self.steps):
            missed = (landmarks - cast(Tensor, self.regressor(w_plus))).flatten(1)
            w_plus = w_plus + self.encoder.std_w * self.correction(missed)
        return w_plus
