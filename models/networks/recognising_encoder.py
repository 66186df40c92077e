"""The encoder that is also told who it sees: what a face recogniser makes of the crop is a third input.

As pSp and e4e start from a network trained to recognise faces (Richardson et al., "Encoding in Style", 2021, 4), this
one reads a recogniser's embedding: who somebody is looks the same to it in a photograph and in a generated picture.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

from models.networks.encoder import HIDDEN, LAYERS, STYLE_DIM
from models.networks.face_recogniser import EMBEDDING
from models.networks.refined_encoder import FoldedEncoder, Hints, RefinedEncoder


class RecognisingEncoder(FoldedEncoder):
    """Crop float32 [N, 3, 128, 128] in [-1, 1], landmarks [N, 478, 2] in [0, 1] -> W+ [N, 18, 512].

    It begins as the encoder that it is made of: what reads the embedding is zero.

    Args:
        net: the encoder with its feedback.
        recognise: crop and landmarks -> embedding [N, EMBEDDING]; it does not learn.
    """

    embedding_mean: Tensor
    embedding_std: Tensor

    def __init__(self, net: RefinedEncoder, recognise: nn.Module) -> None:
        super().__init__(net)
        self.recognise = recognise
        self.register_buffer("embedding_mean", torch.zeros(EMBEDDING))
        self.register_buffer("embedding_std", torch.ones(EMBEDDING))
        self.to_trunk = nn.Linear(EMBEDDING, HIDDEN)
        self.to_feedback = nn.Linear(EMBEDDING, self.look_features.out_features)
        self.to_latent = nn.Linear(EMBEDDING, LAYERS * STYLE_DIM)
        for layer in (self.to_trunk, self.to_feedback, self.to_latent):
            nn.init.zeros_(layer.weight)
            nn.init.zeros_(layer.bias)

    def embedding(self, image: Tensor, landmarks: Tensor) -> Tensor:
        """Who the recogniser sees, standardised over generated faces: [N, EMBEDDING]."""
        with torch.no_grad():
            found: Tensor = self.recognise(image, landmarks)
        return (found - self.embedding_mean) / self.embedding_std

    def forward(self, image: Tensor, landmarks: Tensor) -> Tensor:
        who = self.embedding(image, landmarks)
        return self.estimate(image, landmarks, Hints(self.to_trunk(who), self.to_feedback(who), self.to_latent(who)))
