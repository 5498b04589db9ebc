"""Multi-query associative recall far beyond the pairs of training: a run of ``sparsam train mqar`` beside an LSTM and a
layer of the delta rule in PyTorch, which have as many parameters and learn from the same task.

    sparsam train mqar --curriculum … --run pairs
    python mqar.py pairs --folder beside --minutes 15       # goes on where it was stopped
    python mqar.py pairs --folder beside --output mqar.svg  # and draws (pip install matplotlib==3.11.2)

The two learn with a curriculum as the run does: sequences of up to so many pairs, which double once most answers are
right. What is drawn are right answers and bytes of state over the number of pairs. A state is all that a network takes
along from a step to the next: h and c of an LSTM, the matrices and the last inputs of the convolutions of the delta
rule, and h, c and the words written of a sparse memory. Each result stands in a file of the folder, which is used if it
is of the options asked for.

The layer of the delta rule is that of Yang et al. 2024 (arXiv:2406.06484): short convolutions, keys and queries of norm
1, one head. Needs PyTorch and this package; ``--sparsam`` names the command.
"""

from __future__ import annotations

import argparse
import importlib
import json
import math
import shlex
import subprocess
import time
from pathlib import Path
from typing import Any

import torch
from sparsam import load_run
from sparsam.tasks import Task
from torch import Tensor, nn
from torch.nn import functional as F

EMBEDDING = 64
CHUNK = 64
NAMES = {"sam": "SAM", "sdnc": "SDNC", "lstm": "LSTM", "delta": "delta rule"}
COLOURS = {"sam": "#0b6e4f", "sdnc": "#3b7dd8", "lstm": "#c1440e", "delta": "#7a4fb5"}
State = tuple[Tensor, ...]


class DeltaRule(nn.Module):
    """S ← S + β k (v - Sᵀk)ᵀ at each step, then Sᵀq: the recurrence of Yang et al. 2024, computed a chunk at a time by
    their equations 7 to 11. One head, with a convolution over four steps before it."""

    def __init__(self, size: int) -> None:
        super().__init__()
        self.size = size
        self.project = nn.Linear(size, 3 * size, bias=False)
        self.convolution = nn.Conv1d(3 * size, 3 * size, 4, groups=3 * size)
        self.beta = nn.Linear(size, 1)
        self.norm = nn.RMSNorm(size)
        self.output = nn.Linear(size, size, bias=False)

    def forward(self, input: Tensor, state: State | None) -> tuple[Tensor, State]:
        """Inputs (B, T, size); the state is S (B, size, size), and what the convolutions saw last (B, 3 size, 3)."""
        if state is None:
            state = (input.new_zeros(len(input), self.size, self.size), input.new_zeros(len(input), 3 * self.size, 3))
        memory, before = state
        seen = torch.cat([before, self.project(input).transpose(1, 2)], 2)
        query, key, value = F.silu(self.convolution(seen)).transpose(1, 2).chunk(3, 2)
        query, key = F.normalize(query, dim=2), F.normalize(key, dim=2)
        beta = self.beta(input).sigmoid()
        outputs = []
        for start in range(0, input.shape[1], CHUNK):
            q, k, v, b = (tensor[:, start : start + CHUNK] for tensor in (query, key, value, beta))
            steps = torch.eye(k.shape[1])
            among = (b * k) @ k.transpose(1, 2)
            solved = torch.linalg.solve_triangular(among.tril(-1) + steps, b * torch.cat([k, v], 2), upper=False)
            w, u = solved.chunk(2, 2)
            new = u - w @ memory
            outputs.append(q @ memory + (q @ k.transpose(1, 2)).tril() @ new)
            memory = memory + k.transpose(1, 2) @ new
        return self.output(self.norm(torch.cat(outputs, 1))), (memory, seen[:, :, -3:])


class Beside(nn.Module):
    """An embedding, a recurrent layer, and logits of the values."""

    def __init__(self, kind: str, task: Task, size: int) -> None:
        super().__init__()
        self.embedding = nn.Embedding(task.vocabulary_size, EMBEDDING)
        if kind == "lstm":
            self.widen: nn.Module = nn.Identity()
            self.layer: nn.Module = nn.LSTM(EMBEDDING, size, batch_first=True)
        else:
            self.widen = nn.Linear(EMBEDDING, size)
            self.layer = DeltaRule(size)
        self.output = nn.Linear(size, task.output_size)

    def forward(self, tokens: Tensor, state: State | None = None) -> tuple[Tensor, State]:
        """Logits (B, T, values) and the state after tokens (B, T)."""
        input = self.widen(self.embedding(tokens))
        output, state = self.layer(input, state)
        return self.output(output + input if isinstance(self.layer, DeltaRule) else output), state


def parameters(kind: str, task: Task, size: int) -> int:
    """Of a network of this size, which is not made."""
    with torch.device("meta"):
        return sum(parameter.numel() for parameter in Beside(kind, task, size).parameters())


def sequences(task: Task, numbers: range, stream: str, level: int | tuple[int, int]) -> tuple[Tensor, Tensor]:
    """Tokens and classes wanted, (B, T); -100 where none is."""
    batch = task.sequences(numbers, stream=stream, level=level)
    inputs, targets = torch.from_numpy(batch.inputs), torch.from_numpy(batch.targets)
    # Past a shorter sequence's end nothing is wanted, and any token may stand.
    return inputs.clamp(min=0).T.long(), targets.T.long()


class Training:
    """A network beside the run, and how far its curriculum has come; a checkpoint goes on to the same numbers."""

    def __init__(self, kind: str, task: Task, options: argparse.Namespace, size: int) -> None:
        torch.manual_seed(options.seed)
        self.task, self.options = task, options
        self.network = Beside(kind, task, size)
        # Rows of tokens that are not there have no gradient, and cost nothing.
        dense = [parameter for name, parameter in self.network.named_parameters() if name != "embedding.weight"]
        self.network.embedding.sparse = True
        self.optimisers: list[torch.optim.Optimizer] = [
            torch.optim.Adam(dense, lr=options.learning_rate),
            torch.optim.SparseAdam([self.network.embedding.weight], lr=options.learning_rate),
        ]
        self.batches, self.pairs, self.seconds = 0, 16, 0.0
        self.recent: list[float] = []

    def step(self) -> None:
        """One batch, at a rate that falls to 0 over the last quarter of the time."""
        began, options = time.monotonic(), self.options
        numbers = range(self.batches * options.batch_size, (self.batches + 1) * options.batch_size)
        tokens, wanted = sequences(self.task, numbers, "training", (1, self.pairs))
        logits, _ = self.network(tokens)
        loss = F.cross_entropy(logits.flatten(0, 1), wanted.flatten())
        asked = wanted >= 0
        self.recent = [*self.recent[-49:], float((logits.argmax(2) == wanted)[asked].float().mean())]
        left = 1 - self.seconds / (60 * options.minutes)
        for optimiser in self.optimisers:
            optimiser.param_groups[0]["lr"] = options.learning_rate * max(0.0, min(1.0, 4 * left))
            optimiser.zero_grad()
        torch.autograd.backward(loss)
        nn.utils.clip_grad_norm_([p for g in self.optimisers[0].param_groups for p in g["params"]], 1.0)
        for optimiser in self.optimisers:
            optimiser.step()
        self.batches += 1
        if len(self.recent) == 50 and sum(self.recent) > 0.95 * 50 and self.pairs < options.train_pairs:
            self.pairs, self.recent = 2 * self.pairs, []
        self.seconds += time.monotonic() - began

    def train(self, checkpoint: Path) -> None:
        """Until the time is over."""
        if checkpoint.exists():
            held = torch.load(checkpoint, weights_only=True)
            self.network.load_state_dict(held["network"])
            for optimiser, state in zip(self.optimisers, held["optimisers"], strict=True):
                optimiser.load_state_dict(state)
            self.batches, self.pairs, self.seconds, self.recent = held["progress"]
        saved = time.monotonic()
        while self.seconds < 60 * self.options.minutes:
            self.step()
            if self.batches % 100 == 0:
                right = 100 * sum(self.recent) / max(1, len(self.recent))
                print(
                    f"  {self.seconds:.0f} s, batch {self.batches}: up to {self.pairs} pairs, {right:.1f} %", flush=True
                )
            if time.monotonic() - saved > 60:
                self.save(checkpoint)
                saved = time.monotonic()
        self.save(checkpoint)

    def save(self, checkpoint: Path) -> None:
        beside = checkpoint.with_name(checkpoint.name + ".new")
        optimisers = [optimiser.state_dict() for optimiser in self.optimisers]
        progress = (self.batches, self.pairs, self.seconds, self.recent)
        torch.save({"network": self.network.state_dict(), "optimisers": optimisers, "progress": progress}, beside)
        beside.replace(checkpoint)

    def right(self, pairs: int) -> float:
        """The share of right answers, read as a stream, of the sequences that ``sparsam eval`` takes."""
        answers = right = 0
        with torch.no_grad():
            for number in range(sequences_of(pairs, self.options)):
                tokens, wanted = sequences(self.task, range(number, number + 1), "evaluation", pairs)
                state = None
                for t in range(0, tokens.shape[1], 4096):
                    logits, state = self.network(tokens[:, t : t + 4096], state)
                    asked = wanted[:, t : t + 4096] >= 0
                    answers += int(asked.sum())
                    right += int((logits.argmax(2) == wanted[:, t : t + 4096])[asked].sum())
        return right / answers


def sequences_of(pairs: int, options: argparse.Namespace) -> int:
    """As many as have about so many answers, one at least."""
    answers: int = options.answers
    return max(1, answers // pairs)


def beside(kind: str, task: Task, number: int, options: argparse.Namespace) -> dict[str, Any]:
    """The result of a network beside the run with about so many parameters."""
    sizes = range(8, 1025, 4)
    size = min(sizes, key=lambda size: abs(parameters(kind, task, size) - number))
    training = Training(kind, task, options, size)
    training.train(options.folder / f"{kind}.pt")
    state = 2 * size if kind == "lstm" else size * size + 3 * 3 * size
    rows = [{"pairs": p, "right": training.right(p), "bytes": 4 * state} for p in options.pairs]
    return {
        "parameters": parameters(kind, task, size),
        "size": size,
        "trained_pairs": training.pairs,
        "batches": training.batches,
        "seconds": round(training.seconds),
        "rows": rows,
    }


def sparse(options: argparse.Namespace, hidden: int, parameters: int) -> dict[str, Any]:
    """The result of the run itself, by ``sparsam eval``."""
    rows = []
    for pairs in options.pairs:
        command = [*shlex.split(options.sparsam), "eval", str(options.run), "--level", str(pairs), "--json"]
        command += ["--sequences", str(sequences_of(pairs, options)), "--seed", str(options.seed), "--threads", "1"]
        command += options.eval
        output = subprocess.run(command, check=True, capture_output=True, text=True).stdout
        (told,) = [line for line in map(json.loads, output.splitlines()) if line["event"] == "evaluated"]
        right = 1 - told["wrong"] * told["sequences"] / told["targets"]
        # Of an LSTM as controller h and c.
        state = 4 * (told["words_written"] * told["memory"]["word_size"] + 2 * hidden)
        rows.append({"pairs": pairs, "right": right, "bytes": round(state), "words": told["words_written"]})
        print(f"  {pairs} pairs: {100 * right:.2f} %, {told['words_written']:.0f} words written", flush=True)
    return {"parameters": parameters, "rows": rows}


def draw(results: dict[str, dict[str, Any]], trained: int, values: int, output: Path) -> None:
    """Right answers at the left, bytes of state at the right."""
    matplotlib = importlib.import_module("matplotlib")
    matplotlib.use("svg")
    # The same bytes from the same numbers.
    matplotlib.rcParams.update({"svg.hashsalt": "sparsam", "font.size": 9, "svg.fonttype": "none"})
    pyplot = importlib.import_module("matplotlib.pyplot")
    figure, (left, right) = pyplot.subplots(1, 2, figsize=(8, 3), layout="constrained")
    for kind, result in results.items():
        pairs = [row["pairs"] for row in result["rows"]]
        style = {"color": COLOURS[kind], "label": NAMES[kind], "marker": "o", "markersize": 4}
        left.plot(pairs, [100 * row["right"] for row in result["rows"]], **style)
        right.plot(pairs, [row["bytes"] for row in result["rows"]], **style)
    left.axhline(100 / values, color="#888888", linewidth=0.8, linestyle=":")
    left.axvline(trained, color=COLOURS["sam"], linewidth=0.8, linestyle="--")
    left.set(xscale="log", xlabel="pairs", ylabel="right answers, %", ylim=(0, 103))
    right.set(xscale="log", yscale="log", xlabel="pairs", ylabel="bytes of state")
    for axis in (left, right):
        axis.grid(alpha=0.25)
        axis.spines[["top", "right"]].set_visible(False)
    left.legend(frameon=False)
    figure.savefig(output, metadata={"Date": None})


def main() -> None:
    command = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    command.add_argument("run", type=Path, help="folder of a run of mqar, with an LSTM as controller")
    command.add_argument("--folder", type=Path, required=True, help="of the results")
    command.add_argument("--models", nargs="+", default=["sam", "lstm", "delta"], choices=["sam", "lstm", "delta"])
    command.add_argument("--pairs", type=int, nargs="+", default=[2**power for power in range(4, 17, 2)])
    command.add_argument("--answers", type=int, default=65_536, help="asked for at each number of pairs, about")
    command.add_argument("--train-pairs", type=int, default=4096, help="in the longest sequences of the other two")
    command.add_argument("--minutes", type=float, default=15.0, help="of training of each of the other two")
    command.add_argument("--batch-size", type=int, default=8)
    command.add_argument("--learning-rate", type=float, default=1e-3)
    command.add_argument("--seed", type=int, default=1)
    command.add_argument("--threads", type=int, default=1)
    command.add_argument("--sparsam", default="sparsam", help="the command")
    command.add_argument("--output", type=Path, help="SVG file of the picture")
    command.add_argument(
        "--eval", nargs="*", default=[], help="more options for sparsam eval, without their dashes: index=linear"
    )
    options = command.parse_args()
    options.eval = [f"--{option}" for option in options.eval]
    torch.set_num_threads(options.threads)
    options.folder.mkdir(parents=True, exist_ok=True)
    run = load_run(options.run)
    configuration = run.configuration
    given = {name: value for name, value in configuration["task"].items() if name != "name"}
    task = Task("mqar", seed=options.seed, **given)
    number = sum(math.prod(array.shape) for array in run.network.parameters.values())
    trained = max([line.get("last_level", 0) or 0 for line in run.metrics], default=0) or given["max_pairs"]
    results = {}
    for kind in options.models:
        path = options.folder / f"{kind}.json"
        asked = {"seed": options.seed, "pairs": options.pairs, "answers": options.answers, "task": given}
        if kind == "sam":
            asked |= {"run": str(options.run), "eval": options.eval}
        else:
            asked |= {
                name: getattr(options, name) for name in ("train_pairs", "minutes", "batch_size", "learning_rate")
            }
        if path.exists() and (held := json.loads(path.read_text()))["asked"] != asked:
            others = ", ".join(name for name in asked if held["asked"].get(name) != asked[name])
            raise SystemExit(f"{path} is of other {others}; name another folder")
        if not path.exists():
            print(NAMES[kind], flush=True)
            hidden = configuration["network"]["hidden_size"]
            result = sparse(options, hidden, number) if kind == "sam" else beside(kind, task, number, options)
            path.write_text(json.dumps({"asked": asked, **result}, indent=1) + "\n")
        results[kind] = json.loads(path.read_text())
    print("\n| pairs | " + " | ".join(NAMES[kind] for kind in results) + " |\n|" + "---|" * (len(results) + 1))
    for row, pairs in enumerate(options.pairs):
        cells = [result["rows"][row] for result in results.values()]
        print(f"| {pairs:,} | " + " | ".join(f"{100 * c['right']:.2f} %, {c['bytes']:,} bytes" for c in cells) + " |")
    if options.output is not None:
        draw(results, trained, task.output_size, options.output)


if __name__ == "__main__":
    main()
