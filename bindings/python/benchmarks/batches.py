"""What a large batch is worth: SAM's sequence-steps a second and memory with 8 rows and with 1,024.

    python batches.py                              # two minutes
    python batches.py --batches 8 64 1024 --steps 64
    python batches.py --batches 1024 --steps 1024 --repeats 1 --memory-size 65536

100 hidden units, 4 heads, 4 words read by a head, words of 32 numbers; forward and backward. Every row has a memory of
``--memory-size`` words, of which what was written takes memory. The time is the median over ``--repeats`` batches;
memory is by how much the process's peak grew since PyTorch first went back through something. Every batch size is a
process of its own, so that none inherits another's peak.
"""

from __future__ import annotations

import argparse
import json
import statistics
import subprocess
import sys
import time

import torch
from sparsam.torch import SAM
from step import HEADS, HIDDEN, INPUT, READS, WORD, peak
from torch import nn


def measure(rows: int, steps: int, repeats: int, memory_size: int) -> dict[str, float]:
    torch.manual_seed(1)
    input = torch.randn(steps, rows, INPUT, requires_grad=True)
    torch.autograd.backward(nn.LSTM(INPUT, 2)(input)[0].square().mean())
    before, times = peak(), []
    model = SAM(INPUT, HIDDEN, memory_size=memory_size, word_size=WORD, num_heads=HEADS, num_reads=READS)
    torch.autograd.backward(model(input[:2])[0].square().mean())
    for _ in range(repeats):
        started = time.perf_counter()
        torch.autograd.backward(model(input)[0].square().mean())
        times.append(time.perf_counter() - started)
    return {
        "sequence-steps a second": rows * steps / statistics.median(times),
        "gibibytes": (peak() - before) / 1024**2,
    }


def main() -> None:
    arguments = argparse.ArgumentParser(description="What a large batch is worth.")
    arguments.add_argument("--batches", type=int, nargs="+", default=[8, 64, 1024], help="rows of a batch")
    arguments.add_argument("--steps", type=int, default=64)
    arguments.add_argument("--repeats", type=int, default=5)
    arguments.add_argument("--memory-size", type=int, default=65536, help="words of a row")
    arguments.add_argument("--one", type=int, help=argparse.SUPPRESS)
    given = arguments.parse_args()
    if given.one:
        print(json.dumps(measure(given.one, given.steps, given.repeats, given.memory_size)))
        return
    print(f"PyTorch {torch.__version__}, {torch.get_num_threads()} threads, {given.steps} steps\n")
    print("| rows | sequence-steps a second | ÷ the first | GiB |\n|---|---|---|---|")
    first = None
    for rows in given.batches:
        result = subprocess.run(
            [sys.executable, __file__, *sys.argv[1:], "--one", str(rows)], capture_output=True, text=True, check=True
        )
        speed, memory = json.loads(result.stdout.splitlines()[-1]).values()
        first = first or speed
        print(f"| {rows:,} | {speed:,.0f} | {speed / first:.2f} | {memory:.2f} |", flush=True)


if __name__ == "__main__":
    main()
