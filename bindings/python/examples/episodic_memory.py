"""Nearest neighbours whose keys a network learns: an episodic memory that classifies a stream, as those built by hand
around FAISS do, and what becomes of it when its keys are kept in step with the network.

    python episodic_memory.py       # some seconds; with FAISS beside it where it is installed (pip install faiss-cpu)

Inputs are of 50 classes, and most of what they hold is noise. An encoder makes a key of each. The memory holds the
latest 4,000 inputs, by their keys, with their labels; a new input gets the labels of its nearest neighbours, weighed by
their similarity; the loss teaches the encoder, and the input enters the memory with its label.

While the encoder learns, the keys in the memory stay what it made of their inputs when they were written. In an index
that cannot change a key that is how it stays until it is built anew. Here ``update`` encodes those neighbours again
that were just read: the cost is theirs alone.
"""

from __future__ import annotations

import argparse
import importlib
import importlib.util
import time
from typing import Any

import torch
from sparsam.torch import KeyValueMemory
from torch import Tensor, nn
from torch.nn import functional as F

CLASSES, SIGNAL, NOISE, KEY = 50, 16, 48, 16
ENTRIES, ROWS, NEIGHBOURS, STRENGTH = 4000, 32, 8, 10.0


class Stream:
    """Inputs without end: what tells the classes apart is turned into all of an input's numbers, beside twice as much
    noise."""

    def __init__(self) -> None:
        self.centres = torch.randn(CLASSES, SIGNAL)
        self.mixture = torch.linalg.qr(torch.randn(SIGNAL + NOISE, SIGNAL + NOISE))[0]

    def draw(self, count: int) -> tuple[Tensor, Tensor]:
        labels = torch.randint(CLASSES, (count,))
        signal = self.centres[labels] + 0.5 * torch.randn(count, SIGNAL)
        return torch.cat([signal, 2 * torch.randn(count, NOISE)], 1) @ self.mixture, labels


class InStep:
    """KeyValueMemory: what is read has gradients, and keys may change."""

    def __init__(self, refresh: bool) -> None:
        self.memory = KeyValueMemory(KEY, CLASSES, ENTRIES)
        self.inputs = torch.zeros(ENTRIES, SIGNAL + NOISE)
        self.refresh = refresh

    def write(self, keys: Tensor, inputs: Tensor, labels: Tensor) -> None:
        self.inputs[self.memory.write(keys, F.one_hot(labels, CLASSES).float())] = inputs

    def read(self, queries: Tensor) -> Tensor:
        shares, words, _ = self.memory.read(queries, NEIGHBOURS, STRENGTH, with_words=True, count_as_use=False)
        self.latest = torch.unique(words)
        return shares

    def learnt(self, encoder: nn.Module) -> None:
        """The encoder has changed."""
        # Keys are the encoder's here: they need no gradients of their own.
        self.memory.zero_gradients()
        if self.refresh:
            self.memory.update(self.latest, encoder(self.inputs[self.latest]))


class Faiss:
    """The same by hand: a search that PyTorch does not see into, rows gathered for the gradient, and an index built
    anew."""

    def __init__(self, every: int) -> None:
        self.faiss: Any = importlib.import_module("faiss")
        self.keys, self.labels = torch.zeros(ENTRIES, KEY), torch.zeros(ENTRIES, CLASSES)
        self.inputs = torch.zeros(ENTRIES, SIGNAL + NOISE)
        self.next, self.steps, self.every = 0, 0, every
        self.build()

    def build(self) -> None:
        self.index = self.faiss.IndexIDMap2(self.faiss.IndexFlatIP(KEY))
        self.index.add_with_ids(F.normalize(self.keys).numpy(), torch.arange(ENTRIES).numpy())

    def write(self, keys: Tensor, inputs: Tensor, labels: Tensor) -> None:
        words = (self.next + torch.arange(len(keys))) % ENTRIES
        self.next = int(words[-1]) + 1
        self.keys[words], self.inputs[words], self.labels[words] = keys, inputs, F.one_hot(labels, CLASSES).float()
        self.index.remove_ids(words.numpy())
        self.index.add_with_ids(F.normalize(keys).numpy(), words.numpy())

    def read(self, queries: Tensor) -> Tensor:
        _, words = self.index.search(F.normalize(queries).detach().numpy(), NEIGHBOURS)
        found = torch.from_numpy(words)
        similarities = F.cosine_similarity(queries[:, None], self.keys[found], dim=-1)
        weights = (STRENGTH * similarities).softmax(1)
        return (weights[..., None] * self.labels[found]).sum(1)

    def learnt(self, encoder: nn.Module) -> None:
        self.steps += 1
        if self.every and self.steps % self.every == 0:
            self.keys = encoder(self.inputs)
            self.build()


def run(name: str, memory: InStep | Faiss, steps: int, seed: int) -> float:
    """Learns from a stream; prints and returns the share of the last 100 steps' inputs whose label was told right."""
    torch.manual_seed(seed)
    stream = Stream()
    encoder = nn.Sequential(nn.Linear(SIGNAL + NOISE, 128), nn.ReLU(), nn.Linear(128, KEY))
    optimiser = torch.optim.Adam(encoder.parameters(), lr=3e-3)
    started, right = time.perf_counter(), []
    inputs, labels = stream.draw(ENTRIES)
    with torch.no_grad():
        memory.write(encoder(inputs), inputs, labels)
    for _ in range(steps):
        inputs, labels = stream.draw(ROWS)
        shares = memory.read(encoder(inputs))
        right.append(float((shares.argmax(1) == labels).float().mean()))
        loss = F.nll_loss((shares + 1e-3).log(), labels)
        optimiser.zero_grad()
        torch.autograd.backward(loss)
        optimiser.step()
        with torch.no_grad():
            memory.learnt(encoder)
            memory.write(encoder(inputs), inputs, labels)
    accuracy = sum(right[-100:]) / len(right[-100:])
    seconds = time.perf_counter() - started
    print(f"{name}: {100 * accuracy:.1f} % right, {seconds:.1f} seconds", flush=True)
    return accuracy


def main() -> None:
    assert __doc__ is not None
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--steps", type=int, default=400)
    parser.add_argument("--seed", type=int, default=1)
    arguments = parser.parse_args()
    given = (arguments.steps, arguments.seed)
    run("sparsam, keys as they were written", InStep(refresh=False), *given)
    run("sparsam, keys kept in step", InStep(refresh=True), *given)
    if importlib.util.find_spec("faiss") is None:
        print("FAISS is not installed")
        return
    run("FAISS, keys as they were written", Faiss(every=0), *given)
    run("FAISS, all encoded again and the index built anew every 100 steps", Faiss(every=100), *given)
    run("FAISS, all encoded again and the index built anew every step", Faiss(every=1), *given)


if __name__ == "__main__":
    main()
