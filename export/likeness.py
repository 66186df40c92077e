"""How like its input a reconstruction is: to the eye and to a face recogniser, drawn by the generator itself."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from export.chips import cut_chips
from export.evaluate import read_photo
from export.face_region import LEFT, TOP, FaceRegion, cut
from export.head_patches import FRONT_SIZE
from export.latent_metric import face_weight
from export.pool import SIZE
from models import registry
from models.alignment import crop, to_crop_matrix, transform_points
from models.arrays import F32, U8
from models.errors import UserError
from models.landmarker import Landmarker
from models.networks.face_recogniser import load_recogniser
from models.networks.synthesis_gradient import picture_loss

SCALE = SIZE // FRONT_SIZE  # of the region's pixels against the generator's features that it is cut from


class Likeness(nn.Module):
    """How unlike reconstructions are to the faces they were to be, differentiable in their latents.

    Args:
        heads: folder of the generator's image heads.
    """

    weight: Tensor

    def __init__(self, heads: Path) -> None:
        super().__init__()
        self.region = FaceRegion(heads).to(memory_format=torch.channels_last)
        self.recogniser = load_recogniser(registry.path("identity")).to(memory_format=torch.channels_last)
        weight = cut(face_weight(SIZE), SCALE)
        self.register_buffer("weight", weight / weight.mean())
        self.register_buffer("corner", SCALE * torch.tensor([LEFT, TOP]) / SIZE)

    def draw(self, w_plus: Tensor) -> Tensor:
        """The generator's picture of W+ [N, 18, 512] as `forward` wants it: [N, 3, 104, 104]."""
        return F.avg_pool2d(self.region(w_plus), 2).float()

    def forward(self, w_plus: Tensor, wanted: Tensor, landmarks: Tensor) -> tuple[Tensor, Tensor]:
        """Squared distance of the recogniser's embeddings and of the pictures (`picture_loss`), means over faces.

        Args:
            w_plus: float32 [N, 18, 512].
            wanted: float32 [N, 3, 104, 104], about [-1, 1]; the region of pictures of 128 px (`cut`).
            landmarks: float32 [N, 478, 2], in [0, 1] of those pictures.
        """
        made = self.draw(w_plus)
        points = (landmarks - self.corner) * (SIZE / wanted.shape[-1])
        with torch.no_grad():
            known = self.recogniser(cut_chips(wanted, points)).float()
        embedded = self.recogniser(cut_chips(made, points)).float()
        loss, _ = picture_loss(made, wanted, self.weight)
        return (embedded - known).square().sum(1).mean(), loss.mean()


@dataclass(frozen=True)
class Portraits:
    """Photographs of people, aligned.

    Attributes:
        images: uint8 [N, 128, 128, 3], RGB.
        landmarks: float32 [N, 478, 2], in [0, 1].
    """

    images: U8
    landmarks: F32


def read_portraits(paths: Sequence[Path]) -> Portraits:
    """The largest face of each photograph; those without one are left out.

    Raises:
        UserError: there is none at all.
    """
    images, landmarks = [], []
    with Landmarker(registry.path("face-landmarker")) as landmarker:
        for path in paths:
            photo = read_photo(path)
            if faces := landmarker.detect(photo):
                matrix = to_crop_matrix(faces[0].landmarks, SIZE)
                images.append(crop(photo, matrix, SIZE))
                landmarks.append((transform_points(matrix, faces[0].landmarks) + 0.5) / SIZE)
    if not images:
        raise UserError("no face was found in any of the photographs to learn from")
    return Portraits(np.stack(images), np.stack(landmarks).astype(np.float32))
