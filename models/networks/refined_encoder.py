"""The encoder, corrected by how its estimate would look: feedback, as in ReStyle, without making a picture.

ReStyle (Alaluf et al., arXiv:2104.02699) looks at what the generator makes of an estimate and corrects that. Here
small networks tell from the latent alone the landmarks of that face and a thumbnail of its colours, which costs next
to nothing; what these miss of the crop's says, by a linear map, how the latent is probably off.
"""

from __future__ import annotations

from typing import cast

from torch import Tensor, nn

from models.networks.encoder import LAYERS, STYLE_DIM, Encoder
from models.networks.landmark_regressor import LandmarkRegressor
from models.networks.thumbnail_regressor import ThumbnailRegressor


class Correction(nn.Module):
    """What is missed, float32 [N, D], found minus expected -> what to add to standardised W+ [N, 18, 512].

    Args:
        components: float32 [D, K], principal components of what is missed, of length 1 each.
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
        thumbnails: W+ -> thumbnail.
        recolour: corrects the estimate once by the thumbnail it misses.
        regressor: W+ -> landmarks.
        reshape: corrects it by the landmarks it misses.
        steps: how many times.
    """

    def __init__(
        self,
        encoder: Encoder,
        thumbnails: ThumbnailRegressor,
        recolour: Correction,
        regressor: LandmarkRegressor,
        reshape: Correction,
        steps: int,
    ) -> None:
        super().__init__()
        self.encoder = encoder
        self.thumbnails = thumbnails
        self.recolour = recolour
        self.regressor = regressor
        self.reshape = reshape
        self.steps = steps

    def forward(self, image: Tensor, landmarks: Tensor) -> Tensor:
        unit = self.encoder.std_w
        w_plus = cast(Tensor, self.encoder(image, landmarks))
        w_plus = w_plus + unit * self.recolour(self.thumbnails.seen(image) - self.thumbnails(w_plus))
        for _ in range(self.steps):
            missed = (landmarks - cast(Tensor, self.regressor(w_plus))).flatten(1)
            w_plus = w_plus + unit * self.reshape(missed)
        return w_plus
