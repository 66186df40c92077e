"""Makes a narrow copy of the generator at 256 px to start the student from: its most useful channels, refitted.

From 64 px on each convolution keeps the channels that weigh most in what reads them; a Haar band's channel goes with
its three sisters. Layer by layer, the pointwise weights are then solved for by least squares, so that from what the
narrow network has they make what the published one would (as He et al., "Channel Pruning", ICCV 2017).
"""

from __future__ import annotations

from typing import cast

import torch
from rich.progress import track
from torch import Tensor, nn

from models.networks import mobile_stylegan as ms
from models.networks.student import CHANNELS, NARROWED

PIXELS = 192  # of each face, that the least squares see
RIDGE = 1e-3  # of the mean variance of a channel

CONVS = tuple(f"blocks.{i}.{conv}" for i in NARROWED for conv in ("conv1", "conv2"))


def pruned(teacher: ms.Synthesis, w_plus: Tensor, channels: tuple[int, ...] = CHANNELS) -> ms.Synthesis:
    """A student with weights of the teacher.

    Args:
        teacher: the generator at 256 px.
        w_plus: float32 [N, 18, 512], faces to choose and to fit on.
        channels: of the student's blocks.
    """
    readers = _readers(teacher)
    first = {name: convs[0] for name, convs in readers.items()}  # the head's two read the same
    squares, pixels = _look(teacher, first, w_plus, "Looking at channels")
    use = {
        name: square * torch.cat([conv.weight for conv in readers[name]]).square().sum((0, 2, 3))
        for name, square in squares.items()
    }
    kept = _choose(use, channels)
    student = ms.Synthesis(teacher.size, channels).eval().requires_grad_(False)
    _copy(teacher, student, kept)
    for name in readers:
        _refit(student, name, readers[name], pixels[name], _outputs(name, kept), w_plus)
    return student


def _readers(net: ms.Synthesis) -> dict[str, list[nn.Conv2d]]:
    """The pointwise convolutions that read what may be left out, by layer: one each, of the head two."""
    convs = {name: [cast(nn.Conv2d, net.get_submodule(name).conv)] for name in CONVS}
    head = cast(ms.LowHead, net.head)
    return convs | {"head": [head.linear, head.hidden]}


def _look(
    net: ms.Synthesis, modules: dict[str, nn.Conv2d], w_plus: Tensor, task: str
) -> tuple[dict[str, Tensor], dict[str, Tensor]]:
    """What enters the modules: mean squares by channel [C], and some pixels of each face [N * PIXELS, C]."""
    squares: dict[str, list[Tensor]] = {name: [] for name in modules}
    pixels: dict[str, list[Tensor]] = {name: [] for name in modules}

    def watch(name: str) -> torch.utils.hooks.RemovableHandle:
        def note(_module: nn.Module, inputs: tuple[Tensor]) -> None:
            squares[name].append(inputs[0].square().mean((0, 2, 3)))
            pixels[name].append(_some(inputs[0], face=len(pixels[name])))

        return modules[name].register_forward_pre_hook(note)

    handles = [watch(name) for name in modules]
    for row in track(w_plus, description=task):
        net(row[None])
    for handle in handles:
        handle.remove()
    means = {name: torch.stack(rows).mean(0) for name, rows in squares.items()}
    return means, {name: torch.cat(rows) for name, rows in pixels.items()}


def _some(x: Tensor, face: int) -> Tensor:
    """`PIXELS` of the pixels of features [1, C, H, W], the same ones for every network: [PIXELS, C]."""
    rows = x[0].flatten(1).T
    chosen = torch.randint(len(rows), (PIXELS,), generator=torch.Generator().manual_seed(face))
    return rows[chosen].clone()


def _choose(use: dict[str, Tensor], channels: tuple[int, ...]) -> dict[str, Tensor]:
    """For each convolution, and the head, which of its input channels stay."""
    kept = {f"blocks.{NARROWED.start}.conv1": torch.arange(len(use[f"blocks.{NARROWED.start}.conv1"]))}
    for i in NARROWED:
        following = f"blocks.{i + 1}.conv1" if i + 1 in NARROWED else "head"
        for name, count in ((f"blocks.{i}.conv2", channels[i]), (following, channels[i] // 4)):
            kept[name] = use[name].topk(count).indices.sort().values
    return kept


def _outputs(name: str, kept: dict[str, Tensor]) -> Tensor | None:
    """Which of a convolution's output channels stay; None = all."""
    if name == "head":
        return None
    block, conv = int(name.split(".")[1]), name.split(".")[2]
    if conv == "conv1":
        return kept[f"blocks.{block}.conv2"]
    if block + 1 not in NARROWED:
        return kept["head"]  # of the bands LL alone is made
    # All four Haar bands of the channels that stay.
    published = ms.BLOCK_CHANNELS[block] // 4
    return torch.cat([kept[f"blocks.{block + 1}.conv1"] + band * published for band in range(4)])


def _copy(teacher: ms.Synthesis, student: ms.Synthesis, kept: dict[str, Tensor]) -> None:
    """Gives the student the teacher's values of what it keeps."""
    outputs = {name: _outputs(name, kept) for name in CONVS}
    outputs |= {f"blocks.{i + 1}.up": outputs[f"blocks.{i}.conv2"] for i in NARROWED}

    def part(name: str, value: Tensor) -> Tensor:
        """What the student has of one of the teacher's parameters."""
        owner = ".".join(name.split(".")[: 1 if name.startswith("head.") else 3])
        rows, columns = outputs.get(owner), kept.get(owner)
        if name.endswith(".noise"):
            return value
        if owner == "head":
            if name.startswith(("head.modulation.", "head.depthwise.")):
                return value[columns]
            return value[:, columns] if name in ("head.linear.weight", "head.hidden.weight") else value
        if name.endswith(".conv.weight") and columns is not None:
            return value[rows][:, columns]
        if owner.endswith(".up"):
            return value if rows is None else value[rows]
        if columns is None:  # of the layers that stay whole
            return value
        return value[:, rows] if name == f"{owner}.bias" else value[columns]

    student.load_state_dict({name: part(name, value).clone() for name, value in teacher.state_dict().items()})
    ms.copy_gains(teacher, student)


def _refit(
    student: ms.Synthesis, name: str, published: list[nn.Conv2d], seen: Tensor, rows: Tensor | None, w_plus: Tensor
) -> None:
    """Solves for a layer's pointwise weights, from what enters the student's to what the published ones put out.

    Args:
        student: is changed.
        name: of the layer; those before it are as they stay.
        published: its convolutions.
        seen: float32 [N * PIXELS, C], some of what enters those.
        rows: which of their outputs stay; None = all.
        w_plus: float32 [N, 18, 512], the faces.
    """
    ours = _readers(student)[name]
    _, entered = _look(student, {name: ours[0]}, w_plus, f"Refitting {name}")
    x = entered[name].double()
    x = torch.cat([x, torch.ones(len(x), 1, dtype=x.dtype)], 1)
    gram = x.T @ x
    gram.diagonal()[:-1].add_(RIDGE * float(gram.diagonal()[:-1].mean()))
    for narrow, wide in zip(ours, published, strict=True):
        wanted = seen.double() @ wide.weight.flatten(1).T.double()
        # What is solved for is the change of the weights: where the faces say nothing they stay as they were.
        left = (wanted if rows is None else wanted[:, rows]) - x[:, :-1] @ narrow.weight.flatten(1).T.double()
        change = torch.linalg.solve(gram, x.T @ left).float()
        narrow.weight.add_(change[:-1].T[..., None, None])
        if narrow.bias is None:
            student.get_submodule(name).bias.add_(change[-1][None, :, None, None])
        else:
            narrow.bias.add_(change[-1])
