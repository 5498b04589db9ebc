"""How many pairs of a key and a value a network tells apart: multi-query associative recall (Arora et al. 2023) with an
LSTM and a DeltaNet in PyTorch, whose states have a fixed size, beside a run of the command, whose memory grows.

    sparsam train mqar --model sam … --run runs/mqar            # docs/results.md has the options
    python mqar.py --minutes 10 --run runs/mqar --sparsam ../../../target/release/sparsam --output mqar

The sequences are those of the run: the same task, from :mod:`sparsam.tasks`. The rivals have the same embedding, which
is nearly all of the parameters, and such a curriculum as the run: of 1 pair to a number that doubles whenever 98 % of
the answers of the last batches are right. Then all are tested on fresh sequences of fixed numbers of pairs.
``--output`` names files: ``.json`` with the numbers, which a later call reads instead of training anew, and, if
matplotlib is there, ``.svg``.

The DeltaNet (Schlag et al. 2021, Yang et al. 2024) has one layer: keys, queries and values of a short convolution over
the embeddings, keys and queries of length 1, and for each head a matrix S that is told at each step to answer k with v:
S ← S + β (v - S k) kᵀ; it answers S q.
"""

from __future__ import annotations

import argparse
import importlib
import json
import subprocess
import time
from collections import deque
from pathlib import Path
from typing import Any

import torch
from sparsam.tasks import Batch, Task
from torch import Tensor, nn
from torch.nn import functional

# The newest batches that decide whether the curriculum goes on.
WINDOW, MASTERED = 40, 0.98
COLOURS = {"SAM": "#0b6e4f", "LSTM": "#c1440e", "DeltaNet": "#3d5a99"}


class DeltaNet(nn.Module):
    """One layer, (T, B, size) to (T, B, heads · width)."""

    def __init__(self, size: int, heads: int = 2, width: int = 64, taps: int = 4) -> None:
        super().__init__()
        self.heads, self.width, self.taps = heads, width, taps
        self.projection = nn.Linear(size, 3 * heads * width, bias=False)
        self.convolution = nn.Conv1d(3 * heads * width, 3 * heads * width, taps, groups=3 * heads * width)
        self.beta = nn.Linear(size, heads)

    def forward(self, embedded: Tensor) -> Tensor:
        steps, rows, _ = embedded.shape
        mixed = self.projection(embedded).permute(1, 2, 0)
        mixed = functional.silu(self.convolution(functional.pad(mixed, (self.taps - 1, 0)))).permute(2, 0, 1)
        query, key, value = mixed.reshape(steps, rows, 3, self.heads, self.width).unbind(2)
        query, key = functional.normalize(query, dim=-1), functional.normalize(key, dim=-1)
        beta = self.beta(embedded).sigmoid().unsqueeze(-1)
        state = embedded.new_zeros(rows, self.heads, self.width, self.width)
        answers = []
        for t in range(steps):
            told = beta[t] * (value[t] - (state @ key[t].unsqueeze(-1)).squeeze(-1))
            state = state + told.unsqueeze(-1) * key[t].unsqueeze(-2)
            answers.append((state @ query[t].unsqueeze(-1)).squeeze(-1))
        return torch.stack(answers).flatten(2)


class Model(nn.Module):
    """Tokens, (T, B), to logits of the values."""

    def __init__(self, kind: str, task: Task, embedding: int) -> None:
        super().__init__()
        # Of its rows a batch has a few, of which alone the optimiser is told.
        self.embedding = nn.Embedding(task.vocabulary_size, embedding, sparse=True)
        self.kind = kind
        if kind == "LSTM":
            self.layer: nn.Module = nn.LSTM(embedding, 256)
            size, self.state_bytes = 256, 2 * 256 * 4
        else:
            delta = DeltaNet(embedding)
            self.layer = delta
            size, self.state_bytes = delta.heads * delta.width, delta.heads * delta.width * delta.width * 4
        self.output = nn.Linear(size, task.output_size)

    def forward(self, tokens: Tensor) -> Tensor:
        hidden = self.layer(self.embedding(tokens))
        logits: Tensor = self.output(hidden[0] if self.kind == "LSTM" else hidden)
        return logits


def answers(model: Model, batch: Batch) -> tuple[Tensor, Tensor]:
    """Logits and classes where an answer is wanted."""
    classes = torch.from_numpy(batch.targets).long()
    wanted = classes >= 0
    return model(torch.from_numpy(batch.inputs).long())[wanted], classes[wanted]


def train(kind: str, task: Task, given: argparse.Namespace) -> tuple[Model, int, int]:
    """The network, the highest number of pairs it was trained on, and its batches."""
    torch.manual_seed(given.seed)
    model = Model(kind, task, given.embedding)
    others = [parameter for name, parameter in model.named_parameters() if not name.startswith("embedding")]
    optimisers: list[torch.optim.Optimizer] = [torch.optim.Adam(others, lr=given.learning_rate)]
    optimisers.append(torch.optim.SparseAdam(model.embedding.parameters(), lr=given.learning_rate))
    level, number, right, started, told = 8, 0, deque[float](maxlen=WINDOW), time.monotonic(), 0.0
    while time.monotonic() - started < 60 * given.minutes:
        logits, classes = answers(model, task.batch(number, given.batch_size, level=(1, level)))
        loss = functional.cross_entropy(logits, classes)
        model.zero_grad()
        torch.autograd.backward(loss)
        nn.utils.clip_grad_norm_(others, 1.0)
        for optimiser in optimisers:
            optimiser.step()
        number += 1
        right.append((logits.argmax(-1) == classes).float().mean().item())
        if len(right) == WINDOW and sum(right) / WINDOW >= MASTERED:
            level *= 2
            right.clear()
        if time.monotonic() - told > 20:
            told = time.monotonic()
            print(
                f"{kind}: batch {number:,}, up to {level} pairs, {sum(right) / max(1, len(right)):.3f} right",
                flush=True,
            )
    return model, level, number


@torch.no_grad()
def test(model: Model, task: Task, pairs: int, sequences: int) -> float:
    """The share of right answers."""
    logits, classes = answers(model, task.batch(10**9, sequences, level=pairs))
    return (logits.argmax(-1) == classes).float().mean().item()


def of_run(given: argparse.Namespace, pairs: int) -> tuple[float, float]:
    """What the command says of the run: the share of right answers, and bytes of the words that a sequence wrote."""
    command = [given.sparsam, "eval", given.run, "--checkpoint", "newest", "--level", str(pairs), "--json"]
    # The journal of a stream is empty: a word has its numbers in single precision.
    command += ["--sequences", str(given.sequences if pairs <= 4096 else 1), "--threads", "1"]
    command += ["--memory-size", str(given.memory_size), *given.eval_options]
    found = json.loads(subprocess.run(command, check=True, capture_output=True, text=True).stdout.splitlines()[-1])
    return 1 - found["wrong"] / found["targets"] * found["sequences"], found["words_written"] * 4 * given.word_size


def draw(found: dict[str, Any], path: Path) -> None:
    """Right answers over the number of pairs."""
    matplotlib = importlib.import_module("matplotlib")
    matplotlib.use("svg")
    matplotlib.rcParams.update({"svg.hashsalt": "sparsam", "font.size": 9, "svg.fonttype": "none"})
    pyplot = importlib.import_module("matplotlib.pyplot")
    figure, axis = pyplot.subplots(figsize=(6, 3.2), layout="constrained")
    for name, about in found.items():
        pairs = [int(level) for level in about["right"]]
        size = max(about["bytes"].values())
        label = f"{name}, {size / 2**20:.1f} MiB at most" if size >= 2**20 else f"{name}, {size / 2**10:.0f} KiB"
        right = [100 * share for share in about["right"].values()]
        axis.plot(pairs, right, color=COLOURS[name], marker="o", markersize=4, label=label)
    axis.axhline(100 / 64, color="#888888", linewidth=0.8, linestyle=":")
    axis.set_xscale("log", base=2)
    axis.set_ylim(0, 103)
    axis.set_xlabel("pairs in a sequence")
    axis.set_ylabel("right answers, %")
    axis.grid(alpha=0.25)
    axis.spines[["top", "right"]].set_visible(False)
    axis.legend(frameon=False)
    figure.savefig(path, metadata={"Date": None})


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--models", nargs="*", default=["LSTM", "DeltaNet"], choices=["LSTM", "DeltaNet"])
    parser.add_argument("--minutes", type=float, default=10, help="of training, for each of them")
    parser.add_argument("--pairs", type=int, nargs="+", default=[16, 64, 256, 1024, 4096, 16384, 65536])
    parser.add_argument("--sequences", type=int, default=8, help="of each number of pairs; one of more than 4,096")
    parser.add_argument("--keys", type=int, default=131_072)
    parser.add_argument("--values", type=int, default=64)
    parser.add_argument("--batch-size", type=int, default=8)
    parser.add_argument("--embedding", type=int, default=64, help="numbers that stand for a token")
    parser.add_argument("--learning-rate", type=float, default=1e-3)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--run", help="folder of a run of the command")
    parser.add_argument("--sparsam", default="sparsam", help="the command")
    parser.add_argument("--word-size", type=int, default=32, help="numbers in a word of its memory")
    parser.add_argument("--memory-size", type=int, default=1_000_000)
    parser.add_argument("--eval-options", nargs=argparse.REMAINDER, default=[], help="others for sparsam eval; last")
    parser.add_argument("--output", type=Path, default=Path("mqar"))
    given = parser.parse_args()
    torch.set_num_threads(1)
    path = given.output.with_suffix(".json")
    found: dict[str, Any] = json.loads(path.read_text()) if path.exists() else {}
    task = Task("mqar", seed=given.seed, vocabulary=given.keys + given.values, values=given.values, query_places=1)
    for kind in given.models:
        if kind not in found:
            model, level, batches = train(kind, task, given)
            few = {pairs: given.sequences if pairs <= 4096 else 1 for pairs in given.pairs}
            right = {str(pairs): test(model, task, pairs, sequences) for pairs, sequences in few.items()}
            parameters = sum(parameter.numel() for parameter in model.parameters())
            found[kind] = {"right": right, "bytes": {str(pairs): model.state_bytes for pairs in given.pairs}}
            found[kind] |= {"trained_on": level, "batches": batches, "parameters": parameters}
            print(kind, found[kind], flush=True)
            path.write_text(json.dumps(found, indent=1) + "\n")
    if given.run and "SAM" not in found:
        told = {str(pairs): of_run(given, pairs) for pairs in given.pairs}
        found["SAM"] = {"right": {pairs: right for pairs, (right, _) in told.items()}}
        found["SAM"]["bytes"] = {pairs: size for pairs, (_, size) in told.items()}
        print("SAM", found["SAM"], flush=True)
        path.write_text(json.dumps(found, indent=1) + "\n")
    try:
        draw(found, given.output.with_suffix(".svg"))
    except ModuleNotFoundError as error:
        print(f"no picture: {error}")


if __name__ == "__main__":
    main()
