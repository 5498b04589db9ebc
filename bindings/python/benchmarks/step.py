"""What a step of SAM costs, forward and backward, beside PyTorch's LSTM and an honest SAM in plain PyTorch.

    python step.py                      # everything; the plain SAM needs minutes and gigabytes at 65,536 words
    python step.py --sizes 1024 4096

Batch 8, 100 hidden units, 4 heads of 32 numbers, 4 words read by a head, sequences of ``--steps`` steps. A step's time
is the median over ``--repeats`` sequences, by their steps; memory is what the process's peak grew by. Every row is a
process of its own, so that none inherits another's peak.
"""

from __future__ import annotations

import argparse
import json
import resource
import statistics
import subprocess
import sys
import time
from collections.abc import Callable

import torch
from sparsam.torch import SAM
from torch import Tensor, nn
from torch.nn import functional as F

ROWS, INPUT, HIDDEN, HEADS, READS, WORD = 8, 10, 100, 4, 4, 32


class PlainSam(nn.Module):
    """SAM with exact search, in batched PyTorch. Every word written or read counts as accessed, which spares it a pass
    over the weights; the memory is copied at each write, because autograd needs the one before."""

    def __init__(self, memory_size: int) -> None:
        super().__init__()
        self.memory_size = memory_size
        self.cell = nn.LSTMCell(INPUT + HEADS * WORD, HIDDEN)
        self.interface = nn.Linear(HIDDEN, HEADS * (2 * WORD + 3))

    def forward(self, input: Tensor) -> Tensor:
        rows, heads = input.shape[1], HEADS
        h = c = input.new_zeros(rows, HIDDEN)
        read = input.new_zeros(rows, heads * WORD)
        memory = input.new_zeros(rows, self.memory_size, WORD)
        last_access = torch.arange(self.memory_size).repeat(rows, 1) - self.memory_size
        words = torch.zeros(rows, heads, 0, dtype=torch.long)
        weights = input.new_zeros(rows, heads, 0)
        outputs = []
        for t, x in enumerate(input):
            h, c = self.cell(torch.cat([x, read], 1), (h, c))
            fields = self.interface(h).view(rows, heads, 2 * WORD + 3)
            key, strength, word, alpha, gamma = torch.split(fields, [WORD, 1, WORD, 1, 1], 2)
            alpha, gamma = alpha.sigmoid(), gamma.sigmoid()
            unused = last_access.topk(heads, largest=False).indices
            where = torch.cat([words, unused[..., None]], 2)
            weight = torch.cat([alpha * gamma * weights, alpha * (1 - gamma)], 2)
            added = (weight[..., None] * word[:, :, None]).flatten(1, 2)
            memory = memory.scatter(1, unused[..., None].expand(-1, -1, WORD), 0.0)
            memory = memory.scatter_add(1, where.flatten(1)[..., None].expand(-1, -1, WORD), added)
            with torch.no_grad():
                similarity = key @ memory.mT / (memory.square().sum(2) + 1e-6).sqrt()[:, None]
                words = similarity.topk(READS, 2).indices
            chosen = memory.gather(1, words.flatten(1)[..., None].expand(-1, -1, WORD)).view(rows, heads, READS, WORD)
            norms = (key.square().sum(2, keepdim=True) + 1e-6).sqrt() * (chosen.square().sum(3) + 1e-6).sqrt()
            cosine = torch.einsum("bhkw,bhw->bhk", chosen, key) / norms
            weights = torch.softmax((1 + F.softplus(strength)) * cosine, 2)
            read = torch.einsum("bhk,bhkw->bhw", weights, chosen).flatten(1)
            last_access.scatter_(1, torch.cat([where.flatten(1), words.flatten(1)], 1), t)
            outputs.append(torch.cat([h, read], 1))
        return torch.stack(outputs)


def build(name: str, size: int) -> Callable[[Tensor], Tensor]:
    if name == "lstm":
        lstm = nn.LSTM(INPUT, HIDDEN)
        return lambda input: lstm(input)[0]
    if name == "plain":
        return PlainSam(size)
    sam = SAM(INPUT, HIDDEN, memory_size=size)
    return lambda input: sam(input)[0]


def measure(name: str, size: int, steps: int, repeats: int) -> dict[str, float]:
    torch.manual_seed(1)
    model, input = build(name, size), torch.randn(steps, ROWS, INPUT, requires_grad=True)
    model(input[:2]).square().mean().backward()  # type: ignore[no-untyped-call]
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    times = []
    for _ in range(repeats):
        started = time.perf_counter()
        torch.autograd.backward(model(input).square().mean())
        times.append(time.perf_counter() - started)
    grown = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before
    return {"microseconds": 1e6 * statistics.median(times) / steps, "mebibytes": grown / 1024}


def main() -> None:
    arguments = argparse.ArgumentParser(description="What a step of SAM costs beside an LSTM and a plain SAM.")
    arguments.add_argument("--sizes", type=int, nargs="+", default=[1024, 4096, 16384, 65536])
    arguments.add_argument("--steps", type=int, default=50)
    arguments.add_argument("--repeats", type=int, default=5)
    arguments.add_argument("--one", nargs=2, help=argparse.SUPPRESS)
    given = arguments.parse_args()
    if given.one:
        print(json.dumps(measure(given.one[0], int(given.one[1]), given.steps, given.repeats)))
        return

    def row(name: str, size: int) -> dict[str, float]:
        options = ["--steps", str(given.steps), "--repeats", str(given.repeats), "--one", name, str(size)]
        result = subprocess.run([sys.executable, __file__, *options], capture_output=True, text=True, check=False)
        if result.returncode != 0:
            return {"microseconds": float("nan"), "mebibytes": float("nan")}
        numbers: dict[str, float] = json.loads(result.stdout)
        return numbers

    lstm = row("lstm", 0)
    print("| | words | µs a step | ÷ LSTM | ÷ SAM | MiB |\n|---|---|---|---|---|---|")
    print(f"| torch.nn.LSTM | | {lstm['microseconds']:.0f} | 1 | | {lstm['mebibytes']:.0f} |")
    for size in given.sizes:
        sam, plain = row("sam", size), row("plain", size)
        for label, cost in (("sparsam.torch.SAM", sam), ("SAM in plain PyTorch", plain)):
            by_lstm = cost["microseconds"] / lstm["microseconds"]
            by_sam = cost["microseconds"] / sam["microseconds"]
            numbers = f"{cost['microseconds']:.0f} | {by_lstm:.1f} | {by_sam:.1f} | {cost['mebibytes']:.0f}"
            print(f"| {label} | {size:,} | {numbers} |", flush=True)


if __name__ == "__main__":
    main()
