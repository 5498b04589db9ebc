"""Multi-query associative recall far beyond the pairs of training: the SAM of a run of ``sparsam train mqar`` beside an
LSTM and a layer of the delta rule in PyTorch, which have as many parameters and learn from the same task.

    sparsam train mqar --max-pairs 512 --run pairs
    python mqar.py pairs --folder beside --minutes 15
    python mqar.py pairs --folder beside --minutes 15 --output mqar.svg    # draws; pip install matplotlib==3.11.2

The two learn with a curriculum of their own: the longest sequences have 16 pairs at first, and twice as many whenever
more than 95 % of the answers of 50 batches are right. The picture shows right answers and bytes of state over the
number of pairs. The state of an LSTM is h and c, that of the delta rule its matrix and the last inputs of its
convolutions, that of SAM h, c and the words written or cleared; not counted are the order in which they were last
accessed, what each head read last, and the index.

Each result stands in a file of the folder, which is used if it is of the options asked for. Training goes on from the
checkpoint that was saved last. It ends by the clock, so that no two runs are alike to the bit.

The layer of the delta rule is that of Yang et al. 2024 (arXiv:2406.06484): short convolutions, keys and queries of norm
1, one head. Needs Python 3.11, PyTorch and this package.
"""

from __future__ import annotations

import argparse
import hashlib
import importlib
import json
import math
import random
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

CHUNK = 64
NAMES = {"sam": "SAM", "lstm": "LSTM", "delta": "delta rule"}
COLOURS = {"sam": "#0b6e4f", "lstm": "#c1440e", "delta": "#7a4fb5"}
# Pairs in the longest sequences at first.
FIRST_PAIRS = 16
State = tuple[Tensor, ...]


class DeltaRule(nn.Module):
    """S ← S + β k (v - Sᵀk)ᵀ at each step, then Sᵀq: the recurrence of Yang et al. 2024, computed a chunk at a time as
    they do. One head, with a convolution over four steps before it."""

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


class Compared(nn.Module):
    """An embedding, a recurrent layer, and logits of the values."""

    def __init__(self, kind: str, task: Task, embedding_size: int, size: int) -> None:
        super().__init__()
        # Rows of tokens that are not there have no gradient, and cost nothing.
        self.embedding = nn.Embedding(task.vocabulary_size, embedding_size, sparse=True)
        if kind == "lstm":
            self.widen: nn.Module = nn.Identity()
            self.layer: nn.Module = nn.LSTM(embedding_size, size, batch_first=True)
        else:
            self.widen = nn.Linear(embedding_size, size)
            self.layer = DeltaRule(size)
        self.output = nn.Linear(size, task.output_size)

    def forward(self, tokens: Tensor, state: State | None = None) -> tuple[Tensor, State]:
        """Logits (B, T, values) and the state after tokens (B, T)."""
        input = self.widen(self.embedding(tokens))
        output, state = self.layer(input, state)
        return self.output(output + input if isinstance(self.layer, DeltaRule) else output), state


def size_of(kind: str, task: Task, embedding_size: int, number: int) -> tuple[int, int]:
    """The size with which a network has about so many parameters, and how many it has then."""

    def parameters(size: int) -> int:
        with torch.device("meta"):
            network = Compared(kind, task, embedding_size, size)
            return sum(parameter.numel() for parameter in network.parameters())

    size = min(range(8, 1025), key=lambda size: abs(parameters(size) - number))
    return size, parameters(size)


def sequences(task: Task, numbers: range, stream: str, level: int) -> tuple[Tensor, Tensor]:
    """Tokens and classes wanted, (B, T); -100 where none is."""
    batch = task.sequences(numbers, stream=stream, level=level)
    return torch.from_numpy(batch.inputs).T.long(), torch.from_numpy(batch.targets).T.long()


class Training:
    """A network beside the run, and how far its curriculum has come."""

    def __init__(self, kind: str, task: Task, options: argparse.Namespace, embedding_size: int, size: int) -> None:
        torch.manual_seed(options.seed)
        self.task, self.options = task, options
        self.network = Compared(kind, task, embedding_size, size)
        self.dense = [parameter for name, parameter in self.network.named_parameters() if name != "embedding.weight"]
        self.optimisers: list[torch.optim.Optimizer] = [
            torch.optim.Adam(self.dense, lr=options.learning_rate),
            torch.optim.SparseAdam([self.network.embedding.weight], lr=options.learning_rate),
        ]
        self.most = min(options.train_pairs, task.possible_levels[1])
        self.batches, self.pairs, self.seconds = 0, min(FIRST_PAIRS, self.most), 0.0
        self.recent: list[float] = []

    def step(self) -> None:
        """One batch, at a rate that falls to 0 over the last quarter of the time."""
        began, options = time.monotonic(), self.options
        numbers = range(self.batches * options.batch_size, (self.batches + 1) * options.batch_size)
        # One number of pairs for the whole batch: no step is spent on what lies past a sequence's end.
        pairs = random.Random(f"{options.seed} {self.batches}").randint(1, self.pairs)
        tokens, wanted = sequences(self.task, numbers, "training", pairs)
        logits, _ = self.network(tokens)
        loss = F.cross_entropy(logits.flatten(0, 1), wanted.flatten())
        asked = wanted >= 0
        self.recent = [*self.recent[-49:], float((logits.argmax(2) == wanted)[asked].float().mean())]
        left = 1 - self.seconds / (60 * options.minutes)
        for optimiser in self.optimisers:
            optimiser.param_groups[0]["lr"] = options.learning_rate * max(0.0, min(1.0, 4 * left))
            optimiser.zero_grad()
        torch.autograd.backward(loss)
        nn.utils.clip_grad_norm_(self.dense, 1.0)
        for optimiser in self.optimisers:
            optimiser.step()
        self.batches += 1
        if len(self.recent) == 50 and sum(self.recent) > 0.95 * 50 and self.pairs < self.most:
            self.pairs, self.recent = min(2 * self.pairs, self.most), []
        self.seconds += time.monotonic() - began

    def train(self, checkpoint: Path, asked: dict[str, Any]) -> None:
        """Until the time is over, from a checkpoint of these options if there is one."""
        if checkpoint.exists():
            held = torch.load(checkpoint, weights_only=True)
            refuse_other(checkpoint, held["asked"], asked)
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
                self.save(checkpoint, asked)
                saved = time.monotonic()
        self.save(checkpoint, asked)

    def save(self, checkpoint: Path, asked: dict[str, Any]) -> None:
        new = checkpoint.with_name(checkpoint.name + ".new")
        optimisers = [optimiser.state_dict() for optimiser in self.optimisers]
        progress = (self.batches, self.pairs, self.seconds, self.recent)
        network = self.network.state_dict()
        torch.save({"asked": asked, "network": network, "optimisers": optimisers, "progress": progress}, new)
        new.replace(checkpoint)

    def row(self, pairs: int) -> dict[str, Any]:
        """The share of right answers, read as a stream, of the sequences that ``sparsam eval`` takes, and the bytes of
        the state."""
        answers = right = 0
        with torch.no_grad():
            for number in range(sequences_of(pairs, self.options)):
                tokens, wanted = sequences(self.task, range(number, number + 1), "evaluation", pairs)
                state: State | None = None
                for t in range(0, tokens.shape[1], 4096):
                    logits, state = self.network(tokens[:, t : t + 4096], state)
                    asked = wanted[:, t : t + 4096] >= 0
                    answers += int(asked.sum())
                    right += int((logits.argmax(2) == wanted[:, t : t + 4096])[asked].sum())
        assert state is not None
        return {"pairs": pairs, "right": right / answers, "bytes": sum(part.nbytes for part in state)}


def refuse_other(path: Path, held: dict[str, Any], asked: dict[str, Any]) -> None:
    """Ends with a sentence if what a file holds is of other options."""
    others = [name for name in {**held, **asked} if held.get(name) != asked.get(name)]
    if others:
        raise SystemExit(f"{path} is of other {', '.join(others)}; name another folder")


def sequences_of(pairs: int, options: argparse.Namespace) -> int:
    """As many as have so many answers at most, one at least."""
    answers: int = options.answers
    return max(1, answers // pairs)


def compared(
    kind: str, task: Task, embedding_size: int, options: argparse.Namespace, asked: dict[str, Any]
) -> dict[str, Any]:
    """The result of a network beside the run with about as many parameters."""
    size, parameters = size_of(kind, task, embedding_size, asked["parameters"])
    if abs(parameters / asked["parameters"] - 1) > 0.05:
        raise SystemExit(f"no {NAMES[kind]} of at most 1,024 units has about {asked['parameters']:,} parameters")
    training = Training(kind, task, options, embedding_size, size)
    training.train(options.folder / f"{kind}.pt", asked)
    return {
        "parameters": parameters,
        "size": size,
        "trained_pairs": training.pairs,
        "batches": training.batches,
        "seconds": round(training.seconds),
        "rows": [training.row(pairs) for pairs in options.pairs],
    }


def of_run(options: argparse.Namespace, hidden: int, parameters: int) -> dict[str, Any]:
    """The result of the run itself, by ``sparsam eval``."""
    rows = []
    for pairs in options.pairs:
        command = [*shlex.split(options.sparsam), "eval", str(options.run), "--level", str(pairs), "--json"]
        command += ["--sequences", str(sequences_of(pairs, options)), "--seed", str(options.seed), "--threads", "1"]
        command += options.eval
        output = subprocess.run(command, check=True, capture_output=True, text=True).stdout
        (told,) = [line for line in map(json.loads, output.splitlines()) if line["event"] == "evaluated"]
        right = 1 - told["wrong"] * told["sequences"] / told["targets"]
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
    command.add_argument("run", type=Path, help="folder of a run of mqar, of SAM with an LSTM as controller")
    command.add_argument("--folder", type=Path, required=True, help="of the results")
    choices = list(NAMES)
    command.add_argument("--models", nargs="+", default=choices, choices=choices, help="that are trained and drawn")
    numbers = [2**power for power in range(4, 17, 2)]
    command.add_argument("--pairs", type=int, nargs="+", default=numbers, help="numbers of pairs to ask for")
    command.add_argument("--answers", type=int, default=65_536, help="at each of them, at most; one sequence at least")
    command.add_argument("--train-pairs", type=int, default=4096, help="in the longest sequences of the other two")
    command.add_argument("--minutes", type=float, default=15.0, help="of training of each of the other two")
    command.add_argument("--batch-size", type=int, default=8, help="sequences in a batch of the other two")
    command.add_argument("--learning-rate", type=float, default=1e-3, help="of the other two")
    command.add_argument("--seed", type=int, default=1, help="of weights and sequences; sparsam eval takes it as well")
    command.add_argument("--threads", type=int, default=1, help="of PyTorch; sparsam eval has one")
    command.add_argument("--sparsam", default="sparsam", help="the command")
    command.add_argument("--output", type=Path, help="SVG file of the picture")
    command.add_argument(
        "--eval", nargs="*", default=[], help="options of sparsam eval, such as index=linear; after RUN"
    )
    options = command.parse_args()
    if min(options.pairs) < 1:
        command.error("--pairs takes numbers of at least 1")
    options.eval = [f"--{option}" for option in options.eval]
    torch.set_num_threads(options.threads)
    options.folder.mkdir(parents=True, exist_ok=True)
    run = load_run(options.run)
    configuration, network = run.configuration, run.configuration["network"]
    if (network["memory"]["model"], network["controller"]) != ("sam", "lstm"):
        raise SystemExit(f"{options.run} is not of SAM with an LSTM as controller")
    given = {name: value for name, value in configuration["task"].items() if name != "name"}
    task = Task("mqar", seed=options.seed, **given)
    number = sum(math.prod(array.shape) for array in run.network.parameters.values())
    trained = max((line["level"] for line in run.metrics if line.get("level")), default=given["max_pairs"])
    common = {"seed": options.seed, "pairs": options.pairs, "answers": options.answers, "task": given}
    results = {}
    for kind in options.models:
        path = options.folder / f"{kind}.json"
        if kind == "sam":
            newest = (options.run / "checkpoints" / "newest.safetensors").read_bytes()
            asked = {**common, "eval": options.eval, "newest": hashlib.sha256(newest).hexdigest()}
        else:
            names = ("train_pairs", "minutes", "batch_size", "learning_rate", "threads")
            asked = {**common, "parameters": number, **{name: getattr(options, name) for name in names}}
        if path.exists():
            results[kind] = json.loads(path.read_text())
            refuse_other(path, results[kind]["asked"], asked)
            continue
        print(NAMES[kind], flush=True)
        if kind == "sam":
            result = of_run(options, network["hidden_size"], number)
        else:
            result = compared(kind, task, network["embedding_size"], options, asked)
        results[kind] = {"asked": asked, **result}
        new = path.with_name(path.name + ".new")
        new.write_text(json.dumps(results[kind], indent=1) + "\n")
        new.replace(path)
    print("\n| pairs | " + " | ".join(NAMES[kind] for kind in results) + " |\n|" + "---|" * (len(results) + 1))
    for row, pairs in enumerate(options.pairs):
        cells = [result["rows"][row] for result in results.values()]
        print(f"| {pairs:,} | " + " | ".join(f"{100 * c['right']:.2f} %, {c['bytes']:,} bytes" for c in cells) + " |")
    if options.output is not None:
        draw(results, trained, task.output_size, options.output)


if __name__ == "__main__":
    main()
