"""The encoder with feedback: it corrects its estimate by how that would look, without making a picture.

ReStyle (Alaluf et al., arXiv:2104.02699) looks at what the generator makes of an estimate, corrects that, and looks
again. Here a small network tells from the latent alone the landmarks and the colours of that face, which costs next
to nothing; what they miss of the crop's, and what the encoder saw of it, say how the latent is to change.
"""

from __future__ import annotations

from typing import NamedTuple, cast

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from models.networks.encoder import HIDDEN, LAYERS, STYLE_DIM, Encoder
from models.networks.surrogate import VISIBLE, Surrogate

STEPS = 3
RANK = 192


class Feedback(nn.Module):
    """What an estimate misses [N, VISIBLE], what the encoder saw [N, HIDDEN] -> change of standardised W+.

    Args:
        hidden: width.
    """

    def __init__(self, hidden: int = 512) -> None:
        super().__init__()
        self.net = nn.Sequential(
            nn.Linear(VISIBLE + HIDDEN, hidden), nn.GELU(), nn.Linear(hidden, RANK), nn.GELU(),
            nn.Linear(RANK, LAYERS * STYLE_DIM),
        )  # fmt: skip
        last = cast(nn.Linear, self.net[-1])
        nn.init.zeros_(last.weight)
        nn.init.zeros_(last.bias)

    def forward(self, missed: Tensor, features: Tensor) -> Tensor:
        return cast(Tensor, self.net(torch.cat([missed, features], 1))).reshape(-1, LAYERS, STYLE_DIM)


class RefinedEncoder(nn.Module):
    """Crop float32 [N, 3, 128, 128] in [-1, 1], landmarks [N, 478, 2] in [0, 1] -> W+ [N, 18, 512].

    Args:
        encoder: gives the first estimate.
        surrogate: W+ -> how it would look.
        steps: corrections, all by the same network.
    """

    def __init__(self, encoder: Encoder, surrogate: Surrogate, steps: int = STEPS) -> None:
        super().__init__()
        self.encoder = encoder
        self.surrogate = surrogate
        self.feedback = Feedback()
        self.steps = steps

    def estimates(self, image: Tensor, landmarks: Tensor) -> list[Tensor]:
        """The standardised W+ before every correction and after the last."""
        features = self.encoder.features(image, landmarks)
        seen = self.surrogate.seen(image, landmarks)
        estimates = [self.encoder.standardised(features).float()]  # trained in bfloat16, summed in float32
        for _ in range(self.steps):
            missed = seen - self.surrogate(estimates[-1])[:, :VISIBLE]
            estimates.append(estimates[-1] + self.feedback(missed, features))
        return estimates

    def forward(self, image: Tensor, landmarks: Tensor) -> Tensor:
        return self.encoder.mean_w + self.encoder.std_w * self.estimates(image, landmarks)[-1]


class Hints(NamedTuple):
    """What else is known of a face, added where it is of use.

    Attributes:
        trunk: [N, HIDDEN], to what the trunk's first layer makes of crop and landmarks.
        feedback: [N, 512], to what the feedback reads in every step.
        latent: [N, LAYERS * STYLE_DIM], to the standardised W+.
    """

    trunk: Tensor
    feedback: Tensor
    latent: Tensor


class FoldedEncoder(nn.Module):
    """A refined encoder in fewer multiplications: the same function, to the rounding.

    Between two steps the latent is only read by the surrogate's first layers, which are linear, and it only changes
    by what the feedback's last layer makes of `RANK` numbers. So those layers are multiplied beforehand, and the
    9,216 numbers of a latent are made once, at the end.

    Args:
        net: the encoder with its feedback.
    """

    def __init__(self, net: RefinedEncoder) -> None:
        super().__init__()
        self.encoder = net.encoder
        self.surrogate = net.surrogate
        self.steps = net.steps
        look, self.decide, self.answer = (cast(nn.Linear, net.feedback.net[i]) for i in (0, 2, 4))
        self.look_missed = _linear(look.weight[:, :VISIBLE], None)
        self.look_features = _linear(look.weight[:, VISIBLE:], look.bias)
        first = torch.cat([net.surrogate.linear.weight, net.surrogate.curved[0].weight])
        bias = torch.cat([net.surrogate.linear.bias, net.surrogate.curved[0].bias])
        # The base goes to every layer of W+: the sum over the layers meets it.
        shared = first.reshape(len(first), LAYERS, STYLE_DIM).sum(1)
        base, offsets = net.encoder.base, cast(nn.Linear, net.encoder.offsets[-1])
        self.first_of_features = _linear(shared @ base.weight, bias + shared @ base.bias + first @ offsets.bias)
        self.first_of_offsets = _linear(first @ offsets.weight, None)
        self.first_of_answer = _linear(first @ self.answer.weight, first @ self.answer.bias)

    def forward(self, image: Tensor, landmarks: Tensor) -> Tensor:
        return self.estimate(image, landmarks, None)

    def estimate(self, image: Tensor, landmarks: Tensor, hints: Hints | None) -> Tensor:
        """As `forward`, with what else is known of the faces."""
        features = self.encoder.features(image, landmarks, None if hints is None else hints.trunk)
        inner = self.encoder.offsets[1](self.encoder.offsets[0](features))
        offsets = cast(nn.Linear, self.encoder.offsets[2])(inner)
        seen = self.surrogate.seen(image, landmarks)
        looked = self.look_features(features)
        if hints is not None:
            looked, offsets = looked + hints.feedback, offsets + hints.latent
        first = self.first_of_features(features) + self.first_of_offsets(inner)
        answers = torch.zeros_like(first[:, :RANK])
        for _ in range(self.steps):
            missed = seen - self.surrogate.from_first(first)[:, :VISIBLE]
            answer = F.gelu(self.decide(F.gelu(looked + self.look_missed(missed))))
            first = first + self.first_of_answer(answer)
            answers = answers + answer
        change = F.linear(answers, self.answer.weight, self.steps * self.answer.bias)
        standardised = self.encoder.base(features).unsqueeze(1) + (offsets + change).reshape(-1, LAYERS, STYLE_DIM)
        return self.encoder.mean_w + self.encoder.std_w * standardised


def _linear(weight: Tensor, bias: Tensor | None) -> nn.Linear:
    """A linear layer with these weights."""
    layer = nn.Linear(weight.shape[1], weight.shape[0], bias=bias is not None)
    layer.weight = nn.Parameter(weight.detach().clone())
    if bias is not None:
        layer.bias = nn.Parameter(bias.detach().clone())
    return layer
