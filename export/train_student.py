"""Trains the student: the generator at 256 px with fewer channels from 64 px on, less than half its multiplications.

It starts from the published weights (export/prune.py) and learns to draw the pool's pictures from their W+: the
teacher's, or better those at 1024 px, reduced (`python -m export pool --draw-at 1024`), which know what the teacher's
own head at 256 px does not. Up to 32 px it is the published generator, byte for byte. The loss is the mean over faces
of the logarithm of the squared error, which is their PSNR: a smooth face counts as much as one with a lot of hair,
whose error is ten times as large. Steps are taken by SOAP (Vyas et al., "SOAP: Improving and Stabilizing Shampoo
using Adam", ICLR 2025): the channels that a pointwise convolution reads are much alike, and Adam, which sees weights
one by one, took more than twice as many steps. The learning rate follows a cosine of the time spent. Stopped and
started again, it goes on.
"""

from __future__ import annotations

import argparse
import copy
import json
import math
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
import torch
from pytorch_optimizer import SOAP
from rich.progress import Progress, track
from torch import Tensor
from torch.nn import functional as F

from export.checkpoint import append_row, save_checkpoint
from export.default_generator import load_network
from export.narrow_draw import from_narrowed, up_to_narrowed
from export.pool import Pool, open_pool
from export.prune import pruned
from export.schedule import add_to_average, rate_share, size_of
from export.train_heads import clipped_error, psnr
from export.training_input import HELD_OUT, to_input
from models import ir, registry, zoo
from models.errors import UserError
from models.networks import mobile_stylegan as ms
from models.networks.student import SIZE, load_student, reads_published

START_FACES = 40  # that the start is chosen and refitted on
AVERAGE = 0.999  # decay of the weight average
EDGES = 0.5  # weight of the error's steps from pixel to pixel: what is drawn soft has large ones
STYLE_SHARE = 0.1  # of the step's length, for what reads styles: a sum over hundreds of numbers of order one
CLIPPED = 1.0  # length of the gradient
COMPARED = 32  # held-out faces
EVERY = 500  # steps between two looks at them
LEAST = 1e-4  # squared error that is as good as none: 46 dB


def loss_of(image: Tensor, wanted: Tensor) -> Tensor:
    """Mean over faces of the logarithm of the squared error, edges included; wanted [N, 3, S, S] lies in [-1, 1]."""
    error = clipped_error(image, wanted)
    square = error.square().mean((1, 2, 3))
    for axis in (2, 3):
        square = square + EDGES * error.diff(dim=axis).square().mean((1, 2, 3))
    return (square + LEAST).log().mean()


def step_share(name: str, parameter: Tensor) -> float:
    """How long a parameter's steps are."""
    return size_of(parameter) * (STYLE_SHARE if ".affine." in name or "style_bias" in name else 1.0)


def held_out_latent(pool: Pool, row: int) -> Tensor:
    """W+ [1, 18, 512] of a held-out face."""
    return torch.from_numpy(pool.latents[row : row + 1].astype(np.float32))


def held_out_ratios(net: ms.Synthesis, pool: Pool) -> list[float]:
    """DB against the pool's pictures of held-out faces."""
    assert pool.pictures is not None
    with torch.no_grad():
        drawn = [net(held_out_latent(pool, row)).numpy() for row in range(COMPARED)]
    return [psnr(image, to_input(np.array(pool.pictures[k : k + 1])).numpy()) for k, image in enumerate(drawn)]


def ship(net: ms.Synthesis, pool: Pool, heads: Path, out: Path) -> dict[str, object]:
    """Writes what was trained, in float16, and how near it comes; returns the figures."""
    state = net.state_dict()
    own = {name: value.numpy().astype(np.float16) for name, value in state.items() if not reads_published(name)}
    net.load_state_dict({**state, **{name: torch.from_numpy(value).float() for name, value in own.items()}})
    full, default = load_network(1024, heads), load_network(SIZE, heads)
    teacher, reduced = [], []
    for row in track(range(COMPARED), description="Comparing"):
        w_plus = held_out_latent(pool, row)
        with torch.no_grad():
            image = net(w_plus).numpy()
            reduced.append(psnr(image, F.avg_pool2d(full(w_plus), 4).numpy()))
            teacher.append(psnr(image, default(w_plus).numpy()))
    figures: dict[str, object] = {
        "held_out_faces": COMPARED,
        "psnr_db_teacher": float(np.mean(teacher)),
        "psnr_db_teacher_worst": float(np.min(teacher)),
        "psnr_db_reduced": float(np.mean(reduced)),
        "psnr_db_reduced_worst": float(np.min(reduced)),
        "own_parameters": sum(value.size for value in own.values()),
    }
    np.savez_compressed(out / "student.npz", **own)
    return figures


def main(argv: list[str] | None = None) -> None:
    """Command line of `python -m export student`."""
    parser = argparse.ArgumentParser(prog="python -m export student", description=__doc__)
    parser.add_argument("--minutes", type=float, default=60, help="time to train for, over all runs")
    parser.add_argument("--batch", type=int, default=4)
    parser.add_argument("--rate", type=float, default=0.01, help="longest step, in sizes of a parameter's values")
    parser.add_argument("--anew", action="store_true", help="a schedule of its own for the trained student")
    parser.add_argument(
        "--resume", type=Path, metavar="FILE.npz", help="start from a student's weights, such as the shipped"
    )
    parser.add_argument(
        "--compile", action="store_true", help="needs a C++ compiler and minutes to start; then faster"
    )
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--pool", type=Path, default=Path("runs/pool"), help="filled with --pictures")
    parser.add_argument("--heads", type=Path, default=zoo.SHIPPED / "heads")
    parser.add_argument("--run", type=Path, default=Path("runs/student"))
    parser.add_argument("--out", type=Path, default=zoo.SHIPPED)
    args = parser.parse_args(argv)
    args.run.mkdir(parents=True, exist_ok=True)
    torch.set_num_threads(args.threads)
    torch.manual_seed(1)
    pool = open_pool(args.pool)
    if pool.pictures is None or pool.filled <= HELD_OUT + START_FACES:
        raise UserError(f"the pool in {args.pool} has too few whole pictures; python -m export pool --pictures")

    last, log_path = args.run / "last.pt", args.run / "log.csv"
    step, spent = 0, 0.0
    saved = torch.load(last, weights_only=True) if last.exists() else None
    if saved is not None or args.resume is not None:
        net = load_student(ir.read(registry.path("synthesis-xml")), None if saved else args.resume)
        if saved is not None:
            net.load_state_dict(saved["net"])
    else:
        faces = torch.from_numpy(pool.latents[HELD_OUT : HELD_OUT + START_FACES].astype(np.float32))
        with torch.no_grad():
            net = pruned(load_network(SIZE, args.heads), faces)
    for name, parameter in net.named_parameters():
        parameter.requires_grad_(not reads_published(name))
    net = net.eval()
    average = copy.deepcopy(net).requires_grad_(False)
    named = {name: parameter for name, parameter in net.named_parameters() if parameter.requires_grad}
    learned = list(named.values())
    optimizer = SOAP(
        [{"params": [parameter], "share": step_share(name, parameter)} for name, parameter in named.items()],
        betas=(0.9, 0.99),
        weight_decay=0.0,
        precondition_frequency=5,  # steps between two looks for the directions that a step is measured in
        max_precondition_dim=1024,  # the head reads 1,536 numbers of styles: too many to look for theirs
    )
    if saved is not None:
        average.load_state_dict(saved["average"])
        optimizer.load_state_dict(saved["optimizer"])
        step, spent = saved["step"], 0.0 if args.anew else saved["spent"]
    draw: Callable[[ms.Synthesis, Tensor, Tensor], Tensor] = from_narrowed
    if args.compile:
        draw = torch.compile(from_narrowed, dynamic=False)

    def save() -> None:
        state = {"net": net.state_dict(), "average": average.state_dict(), "optimizer": optimizer.state_dict(),
                 "step": step, "spent": spent}  # fmt: skip
        save_checkpoint(last, state)

    rng = np.random.default_rng(step + 1)
    budget, clock, running = args.minutes * 60, time.monotonic(), math.nan
    with Progress() as progress:
        task = progress.add_task(f"step {step}", total=budget, completed=int(spent))
        try:
            while spent < budget:
                rows = np.sort(rng.integers(HELD_OUT, pool.filled, args.batch))
                share = rate_share(step, 100, spent / budget, least=0.01)
                for group in optimizer.param_groups:
                    group["lr"] = args.rate * group["share"] * share
                w_plus = torch.from_numpy(pool.latents[rows].astype(np.float32))
                with torch.no_grad():
                    features = up_to_narrowed(net, w_plus)
                loss = loss_of(draw(net, features, w_plus), to_input(np.array(pool.pictures[rows])))
                optimizer.zero_grad(set_to_none=True)
                loss.backward()
                torch.nn.utils.clip_grad_norm_(learned, CLIPPED)
                optimizer.step()
                step += 1
                now = time.monotonic()
                spent, clock = spent + now - clock, now
                value = float(loss.detach())
                running = value if math.isnan(running) else 0.98 * running + 0.02 * value
                progress.update(task, completed=spent, description=f"step {step}, loss {running:.3f}")
                add_to_average(average, net, step, AVERAGE)
                if step % EVERY == 0:
                    ratios = held_out_ratios(average, pool)
                    row = {"step": step, "minutes": round(spent / 60, 2), "pool": pool.filled, "loss": running,
                           "psnr": float(np.mean(ratios)), "worst": float(np.min(ratios))}  # fmt: skip
                    append_row(log_path, row)
                    progress.console.print({name: round(value, 3) for name, value in row.items()})
                    save()
        finally:
            save()
    figures = {"steps": step, "faces": pool.filled - HELD_OUT, **ship(average, pool, args.heads, args.out)}
    (args.out / "student.json").write_text(json.dumps(figures, indent=1) + "\n")
    print(json.dumps(figures))


if __name__ == "__main__":
    main()
