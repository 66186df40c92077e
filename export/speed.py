"""Times the generator against the floor: the bare float32 matrix products that its convolutions are.

All in one process and by turns. Processor time is the fairer figure on a machine that does other things too: it
counts the work of all threads and no waiting.
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Callable

import numpy as np
import torch
from rich.console import Console
from rich.table import Table
from torch import Tensor, nn

from export.default_generator import load_network
from models import zoo
from models.errors import UserError
from models.latent import broadcast, mean_w
from models.networks import mobile_stylegan as ms
from models.runtime import Precision

VARIANTS: tuple[tuple[str, Precision], ...] = (
    ("openvino", "float32"),
    ("openvino", "bfloat16"),
    ("openvino", "int8"),
    ("onnxruntime", "float32"),
)


def matrix_products(net: ms.Synthesis) -> list[tuple[Tensor, Tensor]]:
    """Operands [pixels, inputs] and [inputs, outputs] of every convolution but the (cheap) depthwise ones."""
    found = []

    def note(conv: nn.Conv2d, _inputs: tuple[Tensor], output: Tensor) -> None:
        if conv.groups == 1:
            weights = conv.weight.flatten(1).T.contiguous()
            found.append((torch.rand(output.shape[-2] * output.shape[-1], len(weights)), weights))

    for module in net.modules():
        if isinstance(module, nn.Conv2d):
            module.register_forward_hook(note)
    with torch.no_grad():
        net(torch.zeros(1, 18, 512))
    return found


def main(argv: list[str] | None = None) -> None:
    """Command line of `python -m export speed`."""
    parser = argparse.ArgumentParser(prog="python -m export speed", description=__doc__)
    parser.add_argument("--size", type=int, default=256, choices=zoo.SIZES)
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--rounds", type=int, default=15)
    args = parser.parse_args(argv)

    torch.set_num_threads(args.threads)
    products = matrix_products(load_network(args.size, zoo.SHIPPED / "heads"))
    w_plus = np.array(broadcast(mean_w()[None]))

    def floor() -> None:
        for rows, columns in products:
            torch.mm(rows, columns)

    def at_once(engine: str, precision: Precision) -> Callable[[], object]:
        generator = zoo.load_generator(args.size, engine, precision, threads=args.threads)
        return lambda: generator.engine({"w_plus": w_plus})

    def back(engine: str) -> Callable[[], object]:
        generator = zoo.load_generator(args.size, engine, threads=args.threads)
        generator.synthesize(w_plus)
        return lambda: generator.synthesize(w_plus)

    runs: dict[str, Callable[[], object]] = {"matrix products, float32": floor}
    for engine, precision in VARIANTS:
        if precision != "int8" or args.size in zoo.INT8_SIZES:
            try:
                runs[f"{engine} {precision}"] = at_once(engine, precision)
            except UserError as refusal:  # not every processor computes in bfloat16
                print(f"left out: {refusal}")
    runs["openvino, only the back"] = back("openvino")
    if args.size == zoo.STUDENT_SIZE:
        student = zoo.load_student("openvino", threads=args.threads).engine
        runs[f"the student, {student.name}"] = lambda: student({"w_plus": w_plus})

    times: dict[str, list[tuple[float, float]]] = {name: [] for name in runs}
    for _ in range(args.rounds + 1):  # the first round warms up
        for name, run in runs.items():
            wall, processor = time.perf_counter(), time.process_time()
            run()
            times[name].append((time.perf_counter() - wall, time.process_time() - processor))
    medians = {name: np.median(pairs[1:], axis=0) * 1000 for name, pairs in times.items()}
    table = Table("", "processor, ms", "times the floor", "wall clock, ms")
    for name, (wall_ms, processor_ms) in medians.items():
        ratio = processor_ms / medians["matrix products, float32"][1]
        table.add_row(name, f"{processor_ms:.1f}", f"{ratio:.2f}", f"{wall_ms:.1f}")
    Console().print(f"{args.size} px, threads: {args.threads}, median of {args.rounds}", table)


if __name__ == "__main__":
    main()
