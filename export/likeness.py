"""How like its input a reconstruction is, drawn by the generator itself: to the eye, a recogniser and a tracker."""

from __future__ import annotations

from pathlib import Path
from typing import NamedTuple

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from export.chips import cut_chips, cut_squares
from export.face_region import LEFT, TOP, FaceRegion, cut
from export.head_patches import FRONT_SIZE
from export.latent_metric import face_weight
from export.pool import MADE_AT
from export.precision import autocast
from models import registry
from models.face_mesh import EYE_A, EYE_B
from models.networks.face_recogniser import load_recogniser
from models.networks.mesh_detector import load_mesh_detector
from models.networks.synthesis_gradient import picture_loss

SCALE = MADE_AT // FRONT_SIZE  # of the region's pixels against the generator's features that it is cut from


class Unlike(NamedTuple):
    """How unlike reconstructions are, of each face, [N].

    Attributes:
        identity: distance of the recogniser's embeddings.
        picture: `picture_loss` at half the size, which is the encoder's.
        points: mean distance of the face mesh's points, in distances of the eyes.
    """

    identity: Tensor
    picture: Tensor
    points: Tensor


def eye_distances(landmarks: Tensor) -> Tensor:
    """[N, 478, 2] -> [N]."""
    middle_a, middle_b = (landmarks[:, list(eye)].mean(1) for eye in (EYE_A, EYE_B))
    return (middle_a - middle_b).norm(dim=1)


class Likeness(nn.Module):
    """How unlike reconstructions are to the faces they were to be, differentiable in their latents.

    Args:
        heads: folder of the generator's image heads.
    """

    weight: Tensor
    corner: Tensor

    def __init__(self, heads: Path) -> None:
        super().__init__()
        self.region = FaceRegion(heads).to(memory_format=torch.channels_last)
        self.recogniser = load_recogniser(registry.path("identity")).to(memory_format=torch.channels_last)
        self.mesh = load_mesh_detector(registry.path("face-landmarker")).to(memory_format=torch.channels_last)
        weight = cut(face_weight(MADE_AT // 2), SCALE // 2)
        self.register_buffer("weight", weight / weight.mean())
        self.register_buffer("corner", SCALE * torch.tensor([LEFT, TOP]) / MADE_AT)

    def forward(self, w_plus: Tensor, wanted: Tensor, landmarks: Tensor) -> Unlike:
        """Compares what is drawn with what was wanted.

        Args:
            w_plus: float32 [N, 18, 512].
            wanted: float32 [N, 3, 208, 208], about [-1, 1]; the region of pictures of 256 px (`cut`).
            landmarks: float32 [N, 478, 2], in [0, 1] of those pictures.
        """
        with autocast():
            made = self.region(w_plus).float()
        points = (landmarks - self.corner) * (MADE_AT / wanted.shape[-1])
        with torch.no_grad():
            who, where = self._look(wanted, points)
        looks, lies = self._look(made, points)
        picture, _ = picture_loss(F.avg_pool2d(made, 2), F.avg_pool2d(wanted, 2), self.weight)
        off = ((lies - where).square().sum(2) + 1e-12).sqrt().mean(1)
        return Unlike(((looks - who).square().sum(1) + 1e-12).sqrt(), picture, off / eye_distances(where))

    def _look(self, pictures: Tensor, points: Tensor) -> tuple[Tensor, Tensor]:
        """What the recogniser and the face mesh make of the region [N, 3, 208, 208]."""
        with autocast():
            embeddings = self.recogniser(cut_chips(pictures, points)).float()
        return embeddings, self.mesh(cut_squares(pictures, points))  # whose points bfloat16 would move by a pixel
