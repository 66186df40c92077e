"""The generator's picture of the face alone, in torch: what learning through it costs is mostly its later blocks."""

from __future__ import annotations

from pathlib import Path

from torch import Tensor, nn

from models import ir, registry
from models.networks import mobile_stylegan as ms

# Of the features at 64 px: rows and columns within which the faces of aligned crops lie.
TOP, BOTTOM, LEFT, RIGHT = 12, 64, 6, 58


class FaceRegion(nn.Module):
    """W+ float32 [N, 18, 512] -> the region of the 256 px picture, [N, 3, 208, 208], RGB, about [-1, 1].

    As the whole picture has it, but for a rim of a few pixels where convolutions would read beyond.
    """

    def __init__(self, heads: Path) -> None:
        super().__init__()
        self.net = ms.load_published(ir.read(registry.path("synthesis-xml")), 256)
        ms.load_head(self.net, heads / "head-256.npz")
        for i in range(ms.FRONT_BLOCKS, len(self.net.blocks)):
            scale = 2 << (i - ms.FRONT_BLOCKS)
            for conv in (self.net.blocks[i].conv1, self.net.blocks[i].conv2):
                conv.noise = nn.Parameter(cut(conv.noise.detach(), scale).clone(), requires_grad=False)

    def forward(self, w_plus: Tensor) -> Tensor:  # noqa: D102 - described by the class
        return self.net.back(cut(self.net.front(w_plus), 1), w_plus)


def cut(pictures: Tensor, scale: int) -> Tensor:
    """The region of pictures [N, C, S, S] whose side is `scale` times that of the features at 64 px."""
    return pictures[..., scale * TOP : scale * BOTTOM, scale * LEFT : scale * RIGHT]
