"""A service's log, a line at a step: nearly all lines are noise, a few matter (what runs where, what is set to what,
who holds what), and now and then a question asks for what was said of it latest, up to a million tokens ago.

    python service_log.py               # SAM, torch.nn.LSTM and a window of 4,096 tokens learn from the same logs
    python service_log.py --show 30     # what such a log looks like

They learn from logs of up to some hundred lines, in which more lines matter, and are then asked in logs of 100,000
lines, which are read on and on without gradients. docs/recipes.md has the answers, and what to change for your own log.
"""

import argparse
import math
import pickle
import random
import time
from collections.abc import Iterator
from itertools import accumulate, islice
from typing import Any, NamedTuple

import torch
from sparsam.torch import SAM, AdaptiveClip
from torch import Tensor, nn

WORDS = {
    "HOST": [f"host-{number}" for number in range(16)],
    "KEY": [
        f"{part}.{key}" for part in ("api", "cache", "pool", "queue") for key in ("limit", "retries", "size", "ttl")
    ],
    "LEASE": [
        f"{part}/{role}" for part in ("mail", "orders", "search", "users") for role in ("cron", "lead", "log", "spare")
    ],
    "SERVICE": ["billing", "front", "mail", "search"],
    "NUMBER": [str(number) for number in range(64)],
    "LEVEL": ["debug", "info", "warning"],
}
NOISE = [
    "LEVEL GET orders NUMBER from HOST took NUMBER ms status NUMBER",
    "LEVEL heartbeat of HOST load NUMBER memory NUMBER uptime NUMBER h",
    "LEVEL cache miss of KEY on HOST after NUMBER ms",
    "LEVEL SERVICE on HOST answered NUMBER requests in NUMBER ms",
    "LEVEL lease of LEASE renewed NUMBER times by SERVICE",
    "LEVEL SERVICE read config KEY NUMBER times in NUMBER s",
    "LEVEL version check of SERVICE on HOST took NUMBER ms",
    "LEVEL connection NUMBER from HOST to HOST closed after NUMBER s",
]
# What matters, what it is about, what is to be known of that, and the question.
FACTS = [
    ("LEVEL deploy SERVICE version NUMBER to HOST done in time", "HOST", "NUMBER", "which version does HOST run now ?"),
    ("LEVEL config set KEY to NUMBER by operator on request", "KEY", "NUMBER", "what is KEY set to now ?"),
    ("LEVEL lease of LEASE given to HOST until it fails", "LEASE", "HOST", "which host holds LEASE now ?"),
]
TEMPLATES = {line: line.split() for line in [*NOISE, *(line for fact in FACTS for line in (fact[0], fact[3]))]}
PLACES = max(map(len, TEMPLATES.values()))
# Token 0 fills the places after a line's last word, and stands for "nothing yet".
SAID = dict.fromkeys(said for line in TEMPLATES.values() for word in line for said in WORDS.get(word, [word]))
TOKENS = {word: token for token, word in enumerate(SAID, 1)}


class Line(NamedTuple):
    """A line of a log."""

    words: list[str]
    answer: str | None = None
    """Of a question."""
    since: int = 0
    """Of a question: tokens from the line that answers it."""
    replaces: str | None = None
    """Of a line that matters: what was so before, "" if nothing was."""


def service_log(draw: random.Random, matter: float, asked: float, subjects: int, spread: float) -> Iterator[Line]:
    """A log without end.

    Args:
        draw: where chance comes from.
        matter: the share of lines that matter.
        asked: the share of questions, each about something that is known.
        subjects: hosts, keys and leases that this log is about.
        spread: the rarest subject comes 10 to the power of this less often than the most frequent one, at most.
    """

    def one(words: list[Any]) -> Any:
        return words[int(draw.random() * len(words))]

    about = draw.sample([(fact, subject) for fact in FACTS for subject in WORDS[fact[1]]], subjects)
    weights = list(accumulate(10 ** -draw.uniform(0, spread) for _ in about))
    latest: dict[Any, tuple[str, int]] = {}
    known: list[Any] = []
    tokens = 0
    while True:
        kind, given = draw.random(), {}
        if kind < matter:
            fact, subject = draw.choices(about, cum_weights=weights)[0]
            template, given = fact[0], {fact[1]: subject, fact[2]: one(WORDS[fact[2]])}
        elif kind < matter + asked and known:
            fact, subject = one(known)
            template, given = fact[3], {fact[1]: subject}
        else:
            template = one(NOISE)
        words = [given.get(word) or (one(WORDS[word]) if word in WORDS else word) for word in TEMPLATES[template]]
        tokens += len(words)
        if not given:
            yield Line(words)
        elif len(given) == 1:
            answer, said = latest[fact, subject]
            yield Line(words, answer=answer, since=tokens - said)
        else:
            if (fact, subject) not in latest:
                known.append((fact, subject))
            before = latest.get((fact, subject), ("", 0))[0]
            latest[fact, subject] = given[fact[2]], tokens
            yield Line(words, replaces=before)


class Batch(NamedTuple):
    """Lines of several logs as tensors, rows x lines."""

    tokens: Tensor
    """Another axis of PLACES: tokens, 0 after a line's last."""
    wanted: Tensor
    """The token that answers, or that is replaced; -1 at noise."""
    questions: Tensor
    """Whether a line is one."""
    since: Tensor
    """Of questions: tokens from the line that answers."""


def batch(logs: list[Iterator[Line]], lines: int) -> Batch:
    """The next so many lines of each log."""
    rows = [list(islice(log, lines)) for log in logs]

    def wanted(line: Line) -> int:
        word = line.replaces if line.answer is None else line.answer
        return -1 if word is None else TOKENS.get(word, 0)

    filled = [
        [[TOKENS[word] for word in line.words] + [0] * (PLACES - len(line.words)) for line in row] for row in rows
    ]
    return Batch(
        torch.tensor(filled),
        torch.tensor([[wanted(line) for line in row] for row in rows]),
        torch.tensor([[line.answer is not None for line in row] for row in rows]),
        torch.tensor([[line.since for line in row] for row in rows]),
    )


class Window(nn.Module):
    """Causal attention to the lines of the last 4,096 tokens, four heads, each with a recency of its own that is learnt
    (a bias that falls with the distance, as in ALiBi, Press et al. 2022)."""

    def __init__(self, input_size: int, hidden_size: int, tokens: int = 4096) -> None:
        super().__init__()
        self.tokens = tokens
        self.before = nn.Sequential(nn.Linear(input_size, hidden_size), nn.ReLU(), nn.Linear(hidden_size, hidden_size))
        self.attention = nn.MultiheadAttention(hidden_size, 4, batch_first=True)
        self.slopes = nn.Parameter(torch.tensor([0.3, 0.1, 0.03, 0.01]))
        self.after = nn.Sequential(nn.Linear(2 * hidden_size, hidden_size), nn.ReLU())

    def forward(self, lines: Tensor, sizes: Tensor, past: Any = None) -> tuple[Tensor, Any]:
        """Lines (rows x lines x inputs), and how many tokens each has; the past goes from call to call, as a state."""
        new, ends = self.before(lines), sizes.cumsum(1)
        keys = new
        if past is not None:
            keys, ends = torch.cat([past[0], new], 1), torch.cat([past[1], ends + past[1][:, -1:]], 1)
        steps = torch.arange(keys.shape[1])
        ago = steps[-new.shape[1] :, None] - steps
        seen = (ago >= 0) & (ends[:, -new.shape[1] :, None] - ends[:, None] < self.tokens)
        bias = (-self.slopes.abs()[:, None, None] * ago).expand(len(lines), -1, -1, -1)
        bias = bias.masked_fill(~seen[:, None], -math.inf).flatten(0, 1)
        read = self.attention(new, keys, keys, attn_mask=bias, need_weights=False)[0]
        last = self.tokens // int(sizes.min())
        return self.after(torch.cat([new, read], 2)), (keys[:, -last:], ends[:, -last:])


HEADS, WORD = 4, 32


class Reader(nn.Module):
    """Embeddings of a line's words, weighted by their places and summed; a layer that goes from line to line; logits of
    words. To put SAM into a model of your own is no more than to put a torch.nn.LSTM there."""

    def __init__(self, model: str, size: int = 64, hidden_size: int = 100) -> None:
        super().__init__()
        self.embedding = nn.Embedding(len(TOKENS) + 1, size)
        self.places = nn.Parameter(torch.randn(PLACES, size) / math.sqrt(PLACES / 2))
        if model == "SAM":
            self.layer: nn.Module = SAM(size, hidden_size, num_heads=HEADS, word_size=WORD, batch_first=True)
            # Its output is the hidden units and what was read, which has a say in the answer from the start.
            self.output = nn.Linear(hidden_size + HEADS * WORD, size)
            nn.init.uniform_(self.output.weight[:, hidden_size:], -0.5, 0.5)
        elif model == "LSTM":
            self.layer = nn.LSTM(size, 160, batch_first=True)
            self.output = nn.Linear(160, size)
        else:
            self.layer = Window(size, 128)
            self.output = nn.Linear(128, size)

    def forward(self, tokens: Tensor, state: Any = None) -> tuple[Tensor, Any]:
        """What the layer puts out at each line (rows x lines x ·), and the state to go on from."""
        there = tokens > 0
        lines = (self.embedding(tokens) * self.places * there.unsqueeze(-1)).sum(-2)
        sizes = (there.sum(-1),) if isinstance(self.layer, Window) else ()
        output: tuple[Tensor, Any] = self.layer(lines, *sizes, state)
        return output

    def logits(self, outputs: Tensor) -> Tensor:
        """Of every word, compared with the words' embeddings."""
        return torch.as_tensor(self.output(outputs) @ self.embedding.weight.T)

    def writing(self, outputs: Tensor) -> Tensor:
        """What writing costs: how far the write gates of SAM are open; 0 for others.

        The gates follow from the hidden units, which are the first of SAM's outputs where it has no output layer. What
        costs is not the gates but their logits above -12, so that gates that are nearly shut are shut further: 100,000
        lines of noise must not wear away what is remembered.
        """
        if not isinstance(self.layer, SAM):
            return outputs.new_zeros(())
        # Of each head's interface: key, strength, word to write, write gate, interpolation gate.
        gates = slice(2 * WORD + 1, None, 2 * WORD + 3)
        weight, bias = (self.layer.get_parameter(f"interface.{name}")[gates] for name in ("weight", "bias"))
        logits = nn.functional.linear(outputs[..., : weight.shape[1]], weight, bias)
        return nn.functional.softplus(logits + 12).mean()


def train(readers: dict[str, Reader], steps: int, rows: int, rate: float, draw: random.Random) -> dict[str, float]:
    """Trains all on the same logs; returns each one's seconds of processor time.

    At first nearly every line matters or asks; noise, more subjects and longer logs come little by little. What a line
    replaces is wanted as well as answers: who has found the old entry can write over it, and only the latest is left.
    """
    optimisers = {name: torch.optim.Adam(reader.parameters(), lr=rate) for name, reader in readers.items()}
    clips = {name: AdaptiveClip() for name in readers}
    seconds = dict.fromkeys(readers, 0.0)
    for step in range(1, steps + 1):
        grown = min(1.0, step / (0.8 * steps))
        noise = draw.uniform(max(0.0, 0.75 * grown - 0.4), 0.75 * grown)
        lines = int(draw.uniform(12, 24 + 80 * grown) / (1 - noise))
        matter, asked, most = 0.4 * (1 - noise), 0.6 * (1 - noise), 16 + int(32 * grown)
        logs = [service_log(draw, matter, asked, subjects=draw.randint(2, most), spread=1) for _ in range(rows)]
        given = batch(logs, lines)
        matters = given.wanted >= 0
        wanted, questions = given.wanted[matters], given.questions[matters]
        report = []
        for name, reader in readers.items():
            start = time.process_time()
            for group in optimisers[name].param_groups:
                group["lr"] = rate * min(1.0, 4 * (1 - (step - 1) / steps))
            outputs, _ = reader(given.tokens)
            logits = reader.logits(outputs[matters])
            answering, replacing = (
                nn.functional.cross_entropy(logits[of], wanted[of]) for of in (questions, ~questions)
            )
            # A write costs something, more and more, so that noise is not written and does not change what is.
            loss = answering + replacing + 0.1 * max(0.0, grown - 0.2) * reader.writing(outputs)
            optimisers[name].zero_grad()
            torch.autograd.backward(loss)
            clips[name](reader.parameters())
            optimisers[name].step()
            seconds[name] += time.process_time() - start
            right = float((logits.argmax(-1) == wanted)[questions].float().mean())
            report.append(f"{name} loss {float(answering.detach()):.3f}, {100 * right:.1f} % right")
        if step % 50 == 0 or step == steps:
            print(f"step {step}: {'; '.join(report)}; in logs of {lines} lines", flush=True)
    return seconds


DISTANCES = [1_000, 4_096, 10_000, 100_000, 1_000_000]


def share(right: Tensor, facts: Tensor) -> str:
    """The share of right answers in percent with its standard error; answers from the same fact count as one draw."""
    if not len(right):
        return "no question"
    mean = right.mean()
    _, group = torch.unique(facts, return_inverse=True)
    error = torch.zeros(int(group.max()) + 1).index_add(0, group, right - mean).square().sum().sqrt() / len(right)
    return f"{100 * mean:.1f} ± {100 * error:.1f} %"


def stream(reader: Reader, lines: int, rows: int, seed: int) -> tuple[dict[int, str], float, int]:
    """Reads long logs, piece by piece; returns the share of right answers by distance, seconds of
    processor time for a line, and bytes of the state: what it carries from line to line for all logs."""
    draw = random.Random(seed)
    logs = [service_log(draw, matter=0.02, asked=0.02, subjects=48, spread=3) for _ in range(rows)]
    state, seconds, found = None, 0.0, []
    read = torch.zeros(rows, 1, dtype=torch.int64)
    for first in range(0, lines, 500):
        given = batch(logs, min(500, lines - first))
        start = time.process_time()
        with torch.inference_mode():
            outputs, state = reader(given.tokens, state)
            right = reader.logits(outputs[given.questions]).argmax(-1) == given.wanted[given.questions]
        seconds += time.process_time() - start
        ends = read + (given.tokens > 0).sum(-1).cumsum(1)
        # A fact's number: where it ends in its log, and which log that is.
        facts = (ends - given.since) * rows + torch.arange(rows)[:, None]
        found.append((right.float(), given.since[given.questions], facts[given.questions]))
        read = ends[:, -1:]
    right, since, facts = (torch.cat(parts) for parts in zip(*found, strict=True))
    shares = {}
    for least, most in zip([0, *DISTANCES], DISTANCES, strict=False):
        within = (since > least) & (since <= most)
        shares[most] = share(right[within], facts[within])
    return shares, seconds / (lines * rows), len(pickle.dumps(state))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--models", nargs="+", choices=["SAM", "LSTM", "window"], default=["SAM", "LSTM", "window"])
    parser.add_argument("--steps", type=int, default=1500)
    parser.add_argument("--rows", type=int, default=32, help="logs in a batch")
    parser.add_argument("--learning-rate", type=float, default=3e-3)
    parser.add_argument("--lines", type=int, default=100_000, help="of each log to be tested on")
    parser.add_argument("--logs", type=int, default=4, help="to be tested on, side by side")
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--show", type=int, metavar="N", help="print N lines of a log with its answers, and no more")
    arguments = parser.parse_args()
    draw = random.Random(arguments.seed)
    if arguments.show:
        for line in islice(service_log(draw, 0.2, 0.2, subjects=8, spread=1), arguments.show):
            print(" ".join(line.words), *([] if line.answer is None else ["→", line.answer]))
        return
    readers = {}
    for name in arguments.models:
        torch.manual_seed(arguments.seed)  # each learns the same, with the others or without
        readers[name] = Reader(name)
    seconds = train(readers, arguments.steps, arguments.rows, arguments.learning_rate, draw)
    for name, reader in readers.items():
        shares, line_seconds, carried = stream(reader, arguments.lines, arguments.logs, arguments.seed + 1000)
        count = sum(parameter.numel() for parameter in reader.parameters())
        print(
            f"{name}, {count} parameters, trained in {seconds[name]:.0f} s: {1e6 * line_seconds:.0f} µs a line, ",
            end="",
        )
        print(f"carries {carried / 1024 / arguments.logs:.0f} KiB a log", flush=True)
        for most, text in shares.items():
            print(f"    answer at most {most} tokens back: {text}", flush=True)


if __name__ == "__main__":
    main()
