"""What a step of SAM costs, forward and backward, beside what else there is in Python.

    python step.py                        # some minutes
    python step.py --sizes 1024 65536 --steps 20

Batch 8, 100 hidden units, 4 heads of 32 numbers, 4 words read by a head, sequences of ``--steps`` steps. Beside it:
PyTorch's LSTM of the same size; SAM with exact search in plain PyTorch (``plain.py``); and the package ``dnc`` from
PyPI, if it is installed (``pip install --no-deps dnc``): its DNC, whose time and memory grow with the square of the
words, and its SAM, which needs FAISS for a GPU, or the C library FLANN.

A step's time is the median over ``--repeats`` sequences, by their steps; memory is by how much the process's peak grew
since PyTorch first went back through something. Every row is a process of its own, so that none inherits another's
peak; one that takes longer than ``--limit`` seconds is ended.
"""

from __future__ import annotations

import argparse
import importlib
import json
import resource
import statistics
import subprocess
import sys
import time
from collections.abc import Callable

import torch
from plain import PlainSam
from sparsam.torch import SAM
from torch import Tensor, nn

ROWS, INPUT, HIDDEN, HEADS, READS, WORD = 8, 10, 100, 4, 4, 32

LABELS = {
    "lstm": "torch.nn.LSTM",
    "sam": "sparsam.torch.SAM",
    "plain": "SAM in plain PyTorch",
    "dnc": "DNC of the package dnc",
    "dnc-sam": "SAM of the package dnc",
}


def build(name: str, size: int) -> Callable[[Tensor], Tensor]:
    """A model that takes (T, B, I)."""
    if name == "plain":
        return PlainSam(INPUT, HIDDEN, size, WORD, HEADS, READS)
    model: nn.Module
    if name == "lstm":
        model = nn.LSTM(INPUT, HIDDEN)
    elif name == "sam":
        model = SAM(INPUT, HIDDEN, memory_size=size, word_size=WORD, num_heads=HEADS, num_reads=READS)
    else:
        # It has no types, and need not be there.
        dnc = importlib.import_module("dnc")
        options = {
            "num_hidden_layers": 1,
            "nr_cells": size,
            "read_heads": HEADS,
            "cell_size": WORD,
            "batch_first": False,
        }
        model = (
            dnc.DNC(INPUT, HIDDEN, **options)
            if name == "dnc"
            else dnc.SAM(INPUT, HIDDEN, sparse_reads=READS, **options)
        )

    def run(input: Tensor) -> Tensor:
        output: Tensor = model(input)[0]
        return output

    return run


def peak() -> int:
    """Of this process so far, in KiB."""
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss


def measure(name: str, size: int, steps: int, repeats: int) -> dict[str, float]:
    torch.manual_seed(1)
    input = torch.randn(steps, ROWS, INPUT, requires_grad=True)
    torch.autograd.backward(nn.LSTM(INPUT, 2)(input)[0].square().mean())
    before, times = peak(), []
    model = build(name, size)
    torch.autograd.backward(model(input[:2]).square().mean())
    for _ in range(repeats):
        started = time.perf_counter()
        torch.autograd.backward(model(input).square().mean())
        times.append(time.perf_counter() - started)
    return {"microseconds": 1e6 * statistics.median(times) / steps, "mebibytes": (peak() - before) / 1024}


def main() -> None:
    arguments = argparse.ArgumentParser(description="What a step of SAM costs beside what else there is in Python.")
    arguments.add_argument("--sizes", type=int, nargs="+", default=[1024, 4096, 16384, 65536], help="words of the SAMs")
    arguments.add_argument(
        "--dnc-sizes", type=int, nargs="*", default=[128, 256, 1024], help="words of the package dnc's"
    )
    arguments.add_argument("--steps", type=int, default=50)
    arguments.add_argument("--repeats", type=int, default=5)
    arguments.add_argument("--limit", type=float, default=300, help="seconds for a row")
    arguments.add_argument("--one", nargs=2, help=argparse.SUPPRESS)
    given = arguments.parse_args()
    if given.one:
        print(json.dumps(measure(given.one[0], int(given.one[1]), given.steps, given.repeats)))
        return

    def row(name: str, size: int) -> dict[str, float] | str:
        """What was measured, or why nothing was."""
        options = ["--steps", str(given.steps), "--repeats", str(given.repeats), "--one", name, str(size)]
        command = [sys.executable, __file__, *options]
        try:
            result = subprocess.run(command, capture_output=True, text=True, check=False, timeout=given.limit)
        except subprocess.TimeoutExpired:
            return f"more than {given.limit:.0f} seconds"
        if result.returncode != 0:
            reason = result.stderr.strip().splitlines()[-1:] or [f"ended with {result.returncode}"]
            return reason[0]
        numbers: dict[str, float] = json.loads(result.stdout.splitlines()[-1])
        return numbers

    print(f"PyTorch {torch.__version__}, {torch.get_num_threads()} threads, {given.steps} steps\n")
    print("| | words | µs a step | ÷ LSTM | ÷ SAM | MiB | ÷ SAM |\n|---|---|---|---|---|---|---|")
    lstm = row("lstm", 0)
    assert not isinstance(lstm, str), lstm
    sams = {size: row("sam", size) for size in sorted({*given.sizes, *given.dnc_sizes})}
    rows: list[tuple[str, int, dict[str, float] | str]] = [("lstm", 0, lstm)]
    for size in given.sizes:
        rows += [("sam", size, sams[size]), ("plain", size, row("plain", size))]
    for size in given.dnc_sizes:
        rows += [("sam", size, sams[size]), ("dnc", size, row("dnc", size)), ("dnc-sam", size, row("dnc-sam", size))]
    for name, size, cost in rows:
        label = f"| {LABELS[name]} | {size or '':,} |" if size else f"| {LABELS[name]} | |"
        if isinstance(cost, str):
            print(f"{label} {cost} | | | | |")
            continue
        sam = sams.get(size)
        by_sam = [f"{cost[part] / sam[part]:.2f}" if isinstance(sam, dict) else "" for part in cost]
        time_ratio = cost["microseconds"] / lstm["microseconds"]
        print(
            f"{label} {cost['microseconds']:.0f} | {time_ratio:.2f} | {by_sam[0]} |"
            f" {cost['mebibytes']:.1f} | {by_sam[1]} |"
        )


if __name__ == "__main__":
    main()
