"""What a generated face looks like from far away, told from its latent alone: a thumbnail of light and colour."""

from __future__ import annotations

from typing import cast

from torch import Tensor, nn
from torch.nn import functional as F

from models.networks.encoder import LAYERS, STYLE_DIM

SIZE = 16  # pixels


class ThumbnailRegressor(nn.Module):
    """W+ float32 [N, 18, 512] -> weighted thumbnail [N, 3 * SIZE * SIZE] of its picture, by a linear map.

    Args:
        mean_w, std_w: float32 [512], for standardising.
        weight: float32 [1, 1, SIZE, SIZE], what each pixel is multiplied by: the face counts, the backdrop little.
        mean: float32 [768], the mean weighted thumbnail.
        components: float32 [K, 768], its principal components.
    """

    mean_w: Tensor
    std_w: Tensor
    weight: Tensor
    mean: Tensor
    components: Tensor

    def __init__(self, mean_w: Tensor, std_w: Tensor, weight: Tensor, mean: Tensor, components: Tensor) -> None:
        super().__init__()
        self.register_buffer("mean_w", mean_w)
        self.register_buffer("std_w", std_w)
        self.register_buffer("weight", weight)
        self.register_buffer("mean", mean)
        self.register_buffer("components", components)
        self.linear = nn.Linear(LAYERS * STYLE_DIM, len(components))

    def seen(self, image: Tensor) -> Tensor:
        """The weighted thumbnail of pictures [N, 3, 128, 128] in [-1, 1]: [N, 768]."""
        return (F.avg_pool2d(image, int(image.shape[-1]) // SIZE) * self.weight).flatten(1)

    def forward(self, w_plus: Tensor) -> Tensor:
        scores = cast(Tensor, self.linear(((w_plus - self.mean_w) / self.std_w).flatten(1)))
        return self.mean + scores @ self.components
