"""Cuts what a recogniser and a face mesh read out of pictures in torch, in batches, so that gradients pass."""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional as F

from models.face_chip import CHIP_POINTS, IDENTITY_CHIP, chip_axis, face_in_chip
from models.face_mesh import EYE_CORNERS
from models.networks.mesh_detector import SIZE

ROOM = 1.5  # side of the face mesh's square, in sides of the face: MediaPipe's


def cut_chips(images: Tensor, landmarks: Tensor) -> Tensor:
    """As `face_chip` of export.measure, bilinear and thus for pictures whose faces are hardly larger than the chips.

    Args:
        images: float32 [N, 3, S, S] in [-1, 1].
        landmarks: float32 [N, 478, 2], in [0, 1] of the picture.

    Returns:
        float32 [N, 3, 150, 150] in [0, 255].
    """
    size, padding = IDENTITY_CHIP
    in_chip = torch.from_numpy(face_in_chip(size, padding)).float()
    centre, seen = in_chip.mean(0), landmarks[:, list(CHIP_POINTS)]
    # The similarity nearest in least squares: its scale times the cosine and the sine of its angle. Real numbers,
    # since ONNX has no complex ones.
    chip, mean = in_chip - centre, seen.mean(1, keepdim=True)
    face, square = seen - mean, chip.square().sum()
    cosine = (face * chip).sum((1, 2)) / square
    sine = (face[..., 1] * chip[:, 0] - face[..., 0] * chip[:, 1]).sum(1) / square
    axis = torch.from_numpy(chip_axis(size)).float()
    y, x = torch.meshgrid(axis - centre[1], axis - centre[0], indexing="ij")
    cosine, sine = cosine[:, None, None], sine[:, None, None]
    places = torch.stack([cosine * x - sine * y, sine * x + cosine * y], -1) + mean[:, :, None]
    chips = F.grid_sample(images, 2 * places - 1, padding_mode="zeros", align_corners=False)
    return 127.5 * (chips + 1)


def cut_squares(images: Tensor, landmarks: Tensor) -> Tensor:
    """The squares that MediaPipe's face mesh looks at: around all landmarks, the eyes level.

    Args:
        images: float32 [N, 3, S, S] in [-1, 1].
        landmarks: float32 [N, 478, 2], in [0, 1] of the picture.

    Returns:
        float32 [N, 3, 256, 256] in [0, 1].
    """
    points = torch.view_as_complex(landmarks.contiguous())
    eyes = points[:, EYE_CORNERS[1]] - points[:, EYE_CORNERS[0]]
    turn = (eyes / eyes.abs())[:, None]
    level = torch.view_as_real(points * turn.conj())
    least, most = level.amin(1), level.amax(1)
    centre = torch.view_as_complex((0.5 * (least + most)).contiguous())[:, None] * turn
    half = 0.5 * ROOM * (most - least).amax(1, keepdim=True)
    axis = (torch.arange(SIZE) + 0.5) * (2 / SIZE) - 1
    square = torch.complex(*torch.broadcast_tensors(axis[None], axis[:, None]))
    places = torch.view_as_real(centre[..., None] + (half * turn)[..., None] * square)
    squares = F.grid_sample(images, 2 * places - 1, padding_mode="border", align_corners=False)
    return 0.5 * (squares + 1)
