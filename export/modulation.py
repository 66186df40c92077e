"""Times the two forms of StyleGAN2's modulated convolution, in each engine: what the exporter's choice stands on.

"activations": the style scales what goes in, demodulation what comes out; weights are constants that an engine lays
out once. "weights": each picture has weights of its own, made as it runs. The network is config-f with random
weights, which take as long as any.
"""

from __future__ import annotations

import argparse
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import get_args

import numpy as np
import onnx
import torch
from rich.console import Console
from rich.table import Table

from export.trace import traced
from models.arrays import F32
from models.networks.stylegan2 import Modulate, StyleGAN2Config, Synthesis
from models.runtime import load_engine

ENGINES = ("openvino", "onnxruntime")


def main(argv: list[str] | None = None) -> None:
    """Command line of `python -m export modulation`."""
    parser = argparse.ArgumentParser(prog="python -m export modulation", description=__doc__)
    parser.add_argument("--size", type=int, default=256, help="pixels of the picture's side, a power of two")
    parser.add_argument("--rounds", type=int, default=9)
    args = parser.parse_args(argv)
    config = StyleGAN2Config(args.size)
    feeds = {"w_plus": np.random.default_rng(0).standard_normal((1, config.layers, config.w_dim)).astype(np.float32)}
    runs: dict[tuple[str, str], Callable[[dict[str, F32]], dict[str, F32]]] = {}
    with tempfile.TemporaryDirectory() as work:
        for form in get_args(Modulate):
            torch.manual_seed(0)
            net = Synthesis(config, modulate=form).eval().requires_grad_(False)
            file = Path(work) / f"{form}.onnx"
            onnx.save(traced(net, feeds, "image"), file)
            runs |= {(form, engine): load_engine(file, engine, "float32", threads=1) for engine in ENGINES}
    pictures = [run(feeds)["image"] for run in runs.values()]  # warms up as well
    spread = max(float(np.abs(picture - pictures[0]).max()) for picture in pictures) / float(np.ptp(pictures[0]))
    times: dict[tuple[str, str], list[float]] = {key: [] for key in runs}
    for _ in range(args.rounds):
        for key, run in runs.items():
            started = time.process_time()
            run(feeds)
            times[key].append(time.process_time() - started)
    table = Table("style on", *(f"{engine}, ms of processor time" for engine in ENGINES))
    for form in get_args(Modulate):
        table.add_row(form, *(f"{np.median(times[form, engine]) * 1e3:.0f}" for engine in ENGINES))
    Console().print(
        f"config-f, {args.size} px, batch 1, float32, one thread, median of {args.rounds} by turns", table
    )
    print(f"largest difference between the pictures: {spread:.1e} of their spread")


if __name__ == "__main__":
    main()
