"""W+ -> where the face's landmarks lie in the picture that the generator makes of it."""

from __future__ import annotations

from typing import cast

from torch import Tensor, nn

LANDMARKS = 478
GEOMETRY_LAYERS = 11  # of W+; the finer ones colour, they do not move
STYLE_DIM = 512


class LandmarkRegressor(nn.Module):
    """W+ float32 [N, 18, 512] -> landmarks [N, 478, 2] in [0, 1] of FFHQ's square.

    A linear path and a small perceptron beside it, both ending in principal components of landmarks.

    Args:
        mean_w, std_w: float32 [512], for standardising.
        mean_face: float32 [478, 2].
        components: float32 [K, 956], scaled so that scores have unit variance.
        hidden: width of the perceptron.
    """

    mean_w: Tensor
    std_w: Tensor
    mean_face: Tensor
    components: Tensor

    def __init__(
        self, mean_w: Tensor, std_w: Tensor, mean_face: Tensor, components: Tensor, hidden: int = 224
    ) -> None:
        super().__init__()
        self.register_buffer("mean_w", mean_w)
        self.register_buffer("std_w", std_w)
        self.register_buffer("mean_face", mean_face)
        self.register_buffer("components", components)
        inputs, scores = GEOMETRY_LAYERS * STYLE_DIM, len(components)
        self.linear = nn.Linear(inputs, scores)
        self.curved = nn.Sequential(
            nn.Linear(inputs, hidden), nn.GELU(), nn.Linear(hidden, hidden), nn.GELU(), nn.Linear(hidden, scores)
        )

    def forward(self, w_plus: Tensor) -> Tensor:
        x = ((w_plus[:, :GEOMETRY_LAYERS] - self.mean_w) / self.std_w).flatten(1)
        scores = self.linear(x) + cast(Tensor, self.curved(x))
        return self.mean_face + (scores @ self.components).reshape(-1, LANDMARKS, 2)
