"""Polishes the shipped encoder: learns on from its ONNX graph, by what the generator draws of its estimates.

It needs no surrogate and no metric, as `python -m export encoder` does, only a pool of generated faces with whole
pictures. Of some of a batch and of photographs, whose latents nobody knows, the estimate is drawn by the generator
and compared as the eye, a face recogniser and the face mesh see it (export/likeness.py); of all generated ones the
latents count. Steps are taken by SOAP (Vyas et al., "SOAP: Improving and Stabilizing Shampoo using Adam", ICLR 2025)
in sizes of each parameter; from here Adam made the encoder worse. The learning rate follows a cosine of the time
spent. Stopped and started again, it goes on; when its time is up the graph is written, which `--ship` does at any
time.
"""

from __future__ import annotations

import argparse
import copy
import json
import time
from contextlib import ExitStack
from pathlib import Path
from typing import cast

import numpy as np
import torch
from pytorch_optimizer import SOAP
from rich.progress import Progress
from torch import Tensor
from torch.nn import functional as F

from export.checkpoint import append_row, save_checkpoint
from export.encoder_batches import Feed, Mixture, read_portraits
from export.face_region import cut
from export.likeness import SCALE, Likeness, Unlike
from export.photographs import photo_paths, trained_on
from export.pool import Pool, open_pool
from export.recognition import begin_to_recognise
from export.schedule import add_to_average, rate_share, size_of
from export.ship_encoder import count_parameters, export_encoder
from export.shipped_networks import read_encoder
from export.training_input import HELD_OUT, to_input
from models import zoo
from models.errors import UserError
from models.files import sha256
from models.networks.refined_encoder import FoldedEncoder

AVERAGE = 0.98  # decay of the weight average
LATENT = 1.0  # weight of the smooth L1 of standardised W+
DRAWN = {"identity": 8.0, "picture": 0.5, "points": 100.0}  # weights of what the generator draws, by `Unlike`
CLEAN = 0.5  # of the faces are seen as they are: a good camera's are nearly so
WARM = 30  # steps until the rate is whole
COMPARED = 64  # held-out faces
EVERY = 50  # steps between two looks at them, and checkpoints


def latent_loss(net: FoldedEncoder, estimate: Tensor, truth: Tensor) -> Tensor:
    """Smooth L1 of standardised W+ [N, 18, 512]."""
    error = (estimate - truth) / net.encoder.std_w
    return F.smooth_l1_loss(error, torch.zeros_like(error))


def held_out_scores(net: FoldedEncoder, likeness: Likeness, pool: Pool) -> dict[str, float]:
    """Medians over clean held-out faces of what `Unlike` measures."""
    assert pool.pictures is not None
    scores = []
    for row in range(COMPARED):
        rows = slice(row, row + 1)
        landmarks = torch.from_numpy(np.array(pool.landmarks[rows]))
        wanted = cut(to_input(np.array(pool.pictures[rows])), SCALE)
        with torch.no_grad():
            unlike = likeness(net(to_input(np.array(pool.images[rows])), landmarks), wanted, landmarks)
        scores.append([float(value) for value in unlike])
    medians = (float(value) for value in np.median(scores, axis=0))
    return {f"held_out_{name}": value for name, value in zip(Unlike._fields, medians, strict=True)}


def figures_of(graph: Path) -> dict[str, object]:
    """What is known of an encoder's training; nothing, where no such file is beside it."""
    path = graph.with_suffix(".json")
    return cast(dict[str, object], json.loads(path.read_text(encoding="utf-8"))) if path.exists() else {}


def ship(net: FoldedEncoder, pool: Pool, out: Path, before: dict[str, object], run: dict[str, float]) -> None:
    """Writes the graph, and beside it the figures of its training: those from `before` this run, and the run's."""
    path = out.with_suffix(".json")
    polished = [*cast(list[object], before.get("polished", [])), run]
    errors = export_encoder(net, pool, out)
    figures = before | {
        "parameters": count_parameters(out), "polished": polished, "float16_error_in_standard_deviations": errors,
        "sha256": sha256(out),
    }  # fmt: skip
    path.write_text(json.dumps(figures, indent=1) + "\n", encoding="utf-8")
    print(json.dumps(figures))


def main(argv: list[str] | None = None) -> None:
    """Command line of `python -m export polish`."""
    parser = argparse.ArgumentParser(prog="python -m export polish", description=__doc__)
    parser.add_argument("--minutes", type=float, default=90, help="time to train for, over all runs")
    parser.add_argument("--batch", type=int, default=24)
    parser.add_argument("--drawn", type=int, default=14, help="faces of a batch whose estimate is drawn")
    parser.add_argument("--rate", type=float, default=2e-3, help="longest step, in sizes of a parameter's values")
    parser.add_argument("--photos", type=Path, metavar="DIR", help="every other person here takes part, unlabelled")
    parser.add_argument("--portraits", type=int, default=2, help="photographs in a batch")
    parser.add_argument("--ship", action="store_true", help="write the graph of the last checkpoint; train no more")
    parser.add_argument(
        "--compile", action="store_true", help="needs a C++ compiler and minutes to start; then faster"
    )
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--pool", type=Path, default=Path("runs/pool"), help="filled with --pictures, a new --seed")
    parser.add_argument("--heads", type=Path, default=zoo.SHIPPED / "heads")
    parser.add_argument("--run", type=Path, default=Path("runs/polish"))
    parser.add_argument("--from", dest="start", type=Path, default=zoo.ENCODER, help="the encoder")
    parser.add_argument("--out", type=Path, default=zoo.ENCODER)
    args = parser.parse_args(argv)
    if not 0 <= args.drawn <= args.batch:
        raise UserError(f"--drawn {args.drawn}: give a number from 0 to that of --batch, {args.batch}")
    args.run.mkdir(parents=True, exist_ok=True)
    torch.set_num_threads(args.threads)
    torch.manual_seed(1)
    pool = open_pool(args.pool)
    if pool.pictures is None or pool.filled <= HELD_OUT:
        raise UserError(f"the pool in {args.pool} has too few whole pictures; python -m export pool --pictures")
    net, last = read_encoder(args.start).to(memory_format=torch.channels_last), args.run / "last.pt"
    if args.ship and not last.exists():
        raise UserError(f"no checkpoint {last}; polish first, without --ship")
    if not last.exists() and not net.to_latent.weight.any():
        begin_to_recognise(net, pool)
    average = copy.deepcopy(net).requires_grad_(False)
    learned = [p for p in net.parameters() if p.requires_grad]
    optimizer = SOAP(
        [{"params": [parameter], "share": size_of(parameter)} for parameter in learned],
        betas=(0.975, 0.995),  # the gradient of a few faces is mostly noise
        weight_decay=0.0,
        precondition_frequency=10,  # steps between two looks for the directions that a step is measured in
        max_precondition_dim=1024,  # a latent has 9,216 numbers: too many to look for theirs
    )
    step, spent = 0, 0.0
    before = figures_of(args.start)
    if last.exists():
        saved = torch.load(last, weights_only=True)
        net.load_state_dict(saved["net"])
        average.load_state_dict(saved["average"])
        optimizer.load_state_dict(saved["optimizer"])
        step, spent, before = saved["step"], saved["spent"], saved["before"]

    def write() -> None:
        run = {"steps": step, "minutes": round(spent / 60, 1), "faces": pool.filled - HELD_OUT}
        ship(average, pool, args.out, before, run)

    if args.ship:
        write()
        return

    portraits = read_portraits(trained_on(photo_paths(args.photos))) if args.photos else None
    mixture = Mixture(args.batch, args.drawn, args.portraits if portraits else 0, CLEAN)
    likeness = Likeness(args.heads)
    judge = likeness
    if args.compile:
        likeness = copy.deepcopy(likeness)  # the judge looks at one face at a time: that is not worth compiling for
        for part in (likeness.region, likeness.recogniser):  # the face mesh would be no faster
            part.compile(dynamic=False)

    def save() -> None:
        state = {"net": net.state_dict(), "average": average.state_dict(), "optimizer": optimizer.state_dict(),
                 "step": step, "spent": spent, "before": before}  # fmt: skip
        save_checkpoint(last, state)

    budget, running = args.minutes * 60, dict[str, float]()
    with ExitStack() as stack:
        stack.callback(save)
        feed = stack.enter_context(Feed(pool, portraits, mixture, step + 1))
        progress = stack.enter_context(Progress())
        task = progress.add_task(f"step {step}", total=budget, completed=int(spent))
        clock = time.monotonic()
        while spent < budget:
            batch = feed.next()
            share = rate_share(step, WARM, spent / budget, least=0.01)
            for group in optimizer.param_groups:
                group["lr"] = args.rate * group["share"] * share
            estimate = net(batch.images, batch.landmarks)
            losses = {"latent": LATENT * latent_loss(net, estimate[: args.batch], batch.latents)}
            if mixture.to_draw:
                unlike = likeness(estimate[mixture.to_draw], cut(batch.wanted, SCALE), batch.points)
                losses |= {name: DRAWN[name] * part.mean() for name, part in unlike._asdict().items()}
            loss = torch.stack(list(losses.values())).sum()
            optimizer.zero_grad(set_to_none=True)
            loss.backward()
            torch.nn.utils.clip_grad_norm_(learned, 1.0)
            optimizer.step()
            step += 1
            now = time.monotonic()
            spent, clock = spent + now - clock, now
            progress.update(task, completed=spent, description=f"step {step}, loss {float(loss.detach()):.3f}")
            add_to_average(average, net, step, AVERAGE)
            for name, value in losses.items():
                now_is = float(value.detach())
                running[name] = 0.98 * running.get(name, now_is) + 0.02 * now_is
            if step % EVERY == 0:
                row = {"step": step, "minutes": round(spent / 60, 2), "pool": pool.filled, **running,
                       **held_out_scores(average, judge, pool)}  # fmt: skip
                append_row(args.run / "log.csv", row)
                progress.console.print({name: round(value, 4) for name, value in row.items()})
                save()
    write()


if __name__ == "__main__":
    main()
