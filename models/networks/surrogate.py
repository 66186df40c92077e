"""What a generated face looks like, told from its latent without drawing it: its landmarks, colours and identity."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from models.networks.encoder import LANDMARKS, LAYERS, STYLE_DIM
from models.networks.face_recogniser import EMBEDDING

THUMBNAIL = 32  # pixels
LANDMARK_SCORES = 64
THUMBNAIL_SCORES = 128
VISIBLE = LANDMARK_SCORES + THUMBNAIL_SCORES  # what a picture with its landmarks shows without another network
SCORES = VISIBLE + EMBEDDING
PARTS = {
    "landmarks": slice(0, LANDMARK_SCORES),
    "thumbnail": slice(LANDMARK_SCORES, VISIBLE),
    "identity": slice(VISIBLE, SCORES),
}


@dataclass(frozen=True)
class Whitening:
    """Principal components of what is told, standardised.

    Attributes:
        mean: float32 [D].
        rows: float32 [D, K]; ``(x - mean) @ rows`` has unit variance in every component.
        shares: float32 [K], the square root of each component's share of their common variance.
    """

    mean: Tensor
    rows: Tensor
    shares: Tensor


class Surrogate(nn.Module):
    """Standardised W+ float32 [N, 18, 512] -> scores [N, SCORES] of landmarks, thumbnail and embedding (`PARTS`).

    Args:
        landmarks: of landmarks [N, 956], each point times its root in `importance`.
        thumbnails: of weighted thumbnails [N, 3 * THUMBNAIL ** 2].
        embeddings: of a face recogniser's embeddings [N, 128].
        importance: float32 [478, 1], weight of each point's squared error.
        weight: float32 [1, 1, THUMBNAIL, THUMBNAIL], of each pixel: the face counts, the backdrop little.
        hidden: width.
    """

    landmark_mean: Tensor
    landmark_rows: Tensor
    thumbnail_mean: Tensor
    thumbnail_rows: Tensor
    shares: Tensor
    root: Tensor
    weight: Tensor

    def __init__(
        self,
        landmarks: Whitening,
        thumbnails: Whitening,
        embeddings: Whitening,
        importance: Tensor,
        weight: Tensor,
        hidden: int = 768,
    ) -> None:
        super().__init__()
        self.register_buffer("landmark_mean", landmarks.mean)
        self.register_buffer("landmark_rows", landmarks.rows)
        self.register_buffer("thumbnail_mean", thumbnails.mean)
        self.register_buffer("thumbnail_rows", thumbnails.rows)
        self.register_buffer("shares", torch.cat([landmarks.shares, thumbnails.shares, embeddings.shares]))
        self.register_buffer("root", importance.sqrt())
        self.register_buffer("weight", weight)
        self.linear = nn.Linear(LAYERS * STYLE_DIM, LANDMARK_SCORES)
        self.curved = nn.Sequential(
            nn.Linear(LAYERS * STYLE_DIM, hidden), nn.GELU(), nn.Linear(hidden, hidden), nn.GELU(),
            nn.Linear(hidden, SCORES),
        )  # fmt: skip

    def seen(self, image: Tensor, landmarks: Tensor) -> Tensor:
        """The scores [N, VISIBLE] of pictures [N, 3, 128, 128] in [-1, 1] with landmarks [N, 478, 2] in [0, 1]."""
        points, pixels = weighted_points(landmarks, self.root), weighted_thumbnails(image, self.weight)
        scores = (
            (points - self.landmark_mean) @ self.landmark_rows,
            (pixels - self.thumbnail_mean) @ self.thumbnail_rows,
        )
        return torch.cat(scores, 1)

    def forward(self, standardised: Tensor) -> Tensor:
        x = standardised.flatten(1)
        return self.from_first(torch.cat([self.linear(x), self.curved[0](x)], 1))

    def from_first(self, first: Tensor) -> Tensor:
        """The scores from what the layers that read the latent make of it, [N, LANDMARK_SCORES + hidden]."""
        linear, x = first[:, :LANDMARK_SCORES], first[:, LANDMARK_SCORES:]
        for layer in self.curved[1:]:
            x = layer(x)
        return x + F.pad(linear, (0, SCORES - LANDMARK_SCORES))

    def unlike(self, error: Tensor) -> dict[str, Tensor]:
        """Mean squared error of scores by part, in units in which the mean face is off by 1; error [N, SCORES]."""
        squares = (error * self.shares).square()
        return {name: squares[:, part].sum(1).mean() for name, part in PARTS.items()}


def weighted_points(landmarks: Tensor, root: Tensor) -> Tensor:
    """Landmarks [N, 478, 2], each times the root of its importance [478, 1]: [N, 956]."""
    return (landmarks * root).flatten(1)


def weighted_thumbnails(image: Tensor, weight: Tensor) -> Tensor:
    """Pictures [N, 3, S, S] from far away, each pixel times its weight: [N, 3 * THUMBNAIL ** 2]."""
    return (F.avg_pool2d(image, int(image.shape[-1]) // THUMBNAIL) * weight).flatten(1)


def empty_surrogate() -> Surrogate:
    """One of the right shapes, for a saved state to be loaded into."""

    def nothing(dimensions: int, scores: int) -> Whitening:
        return Whitening(torch.zeros(dimensions), torch.zeros(dimensions, scores), torch.zeros(scores))

    return Surrogate(
        nothing(2 * LANDMARKS, LANDMARK_SCORES),
        nothing(3 * THUMBNAIL**2, THUMBNAIL_SCORES),
        nothing(EMBEDDING, EMBEDDING),
        torch.zeros(LANDMARKS, 1),
        torch.zeros(1, 1, THUMBNAIL, THUMBNAIL),
    )
