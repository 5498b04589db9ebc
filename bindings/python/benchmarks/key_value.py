"""What a step of an episodic memory costs: 20 entries overwritten and 4 queries of 4 entries each, in a full memory
whose search must see every change at once.

    python key_value.py                        # 100,000 keys: some minutes
    python key_value.py --sizes 1000000 --without faiss-hnsw usearch

``sparsam.torch.KeyValueMemory`` stands beside what is built by hand around FAISS and USearch, if they are installed
(``pip install faiss-cpu usearch``), with a tensor of values beside each:

- ``faiss-ivf``: ``IndexIVFFlat``; ``remove_ids``, which passes over all lists, then ``add_with_ids``. (In an
  ``IndexIDMap2`` around it ``remove_ids`` shifts what the ids stand for; faiss-cpu 1.15.1.)
- ``faiss-ivf-hashtable``: the same with a ``DirectMap.Hashtable``, which knows where what is to be removed lies;
- ``faiss-ivf-update``: the same with a ``DirectMap.Array``; ``update_vectors``, which changes keys in place;
- ``faiss-hnsw``: ``IndexHNSWFlat``, which cannot remove: new keys are added, old ones stay, and it grows;
- ``usearch``: its graph of neighbours; ``remove``, then ``add``.

Keys lie in clusters. The memory is filled, and trained where there is something to train; then every key is overwritten
by one of other clusters, as when a network that makes the keys has learnt since, and steps are measured. Those of all
libraries are interleaved, ten by ten, on one thread each. A library looks at as many keys as its recall needs to reach
``--recall``, or at as many as it may at most (``--largest``); the recall that it reaches, of the 4 truly most similar
keys to each of 200 queries near stored ones, stands beside its time.
"""

from __future__ import annotations

import argparse
import contextlib
import importlib
import statistics
import time
from abc import ABC, abstractmethod
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from sparsam.torch import KeyValueMemory

WRITES, READS, FOUND, VALUES = 20, 4, 4, 16
STRENGTH = 10.0
BATCH = 10_000
# Steps of one library before it is another's turn.
TURN = 10

Keys = NDArray[np.float32]


class Memory(ABC):
    """Entries that are overwritten in turn, the oldest first."""

    # Whether it is told when it is made how many keys to look at.
    told_when_made = False
    # Keys that it looks at first.
    least = 64

    def __init__(self, size: int, width: int) -> None:
        self.size, self.width, self.next = size, width, 0
        self.values = np.zeros((size, VALUES), np.float32)

    def words(self, count: int) -> NDArray[np.int64]:
        """The words to be overwritten now."""
        words = (self.next + np.arange(count)) % self.size
        self.next = int(words[-1]) + 1
        return words

    def write(self, keys: Keys, values: Keys) -> None:
        words = self.words(len(keys))
        self.replace(words, keys)
        self.values[words] = values

    def read(self, queries: Keys) -> Keys:
        words, similarities = self.search(queries)
        weights = np.exp(STRENGTH * (similarities - similarities.max(1, keepdims=True)))
        weights /= weights.sum(1, keepdims=True)
        read: Keys = np.einsum("qk,qkv->qv", weights, self.values[words])
        return read

    def train(self, keys: Keys) -> None:
        """Sees keys before any is written."""
        return

    @abstractmethod
    def replace(self, words: NDArray[np.int64], keys: Keys) -> None:
        """Lets new keys, of length 1, take the place of those in these words."""

    @abstractmethod
    def search(self, queries: Keys) -> tuple[NDArray[np.int64], Keys]:
        """Words and similarities."""

    @abstractmethod
    def set_effort(self, keys: int) -> str:
        """Looks at about so many keys for a query from now on; says what was set."""


class Sparsam(Memory):
    told_when_made = True
    least = 2048

    def __init__(self, size: int, width: int) -> None:
        super().__init__(size, width)
        self.memory = KeyValueMemory(width, VALUES, size)

    def write(self, keys: Keys, values: Keys) -> None:
        self.memory.write(torch.from_numpy(keys), torch.from_numpy(values))

    def read(self, queries: Keys) -> Keys:
        with torch.no_grad():
            read: Keys = self.memory.read(torch.from_numpy(queries), FOUND, STRENGTH, count_as_use=False).numpy()
        return read

    def replace(self, words: NDArray[np.int64], keys: Keys) -> None:
        raise NotImplementedError("it chooses words itself")

    def search(self, queries: Keys) -> tuple[NDArray[np.int64], Keys]:
        words, similarities = self.memory.search(torch.from_numpy(queries), FOUND)
        return words.numpy(), similarities.numpy()

    def set_effort(self, keys: int) -> str:
        self.memory = KeyValueMemory(self.width, VALUES, self.size, index_checks=keys)
        return f"index_checks={keys}"


class FaissIvf(Memory):
    def __init__(self, size: int, width: int) -> None:
        super().__init__(size, width)
        self.faiss: Any = importlib.import_module("faiss")
        self.lists = max(1, round(4 * size**0.5))
        quantizer = self.faiss.IndexFlatIP(width)
        self.ivf = self.faiss.IndexIVFFlat(quantizer, width, self.lists, self.faiss.METRIC_INNER_PRODUCT)

    def train(self, keys: Keys) -> None:
        self.ivf.train(keys[: 40 * self.lists])

    def replace(self, words: NDArray[np.int64], keys: Keys) -> None:
        if self.ivf.ntotal >= self.size:
            self.ivf.remove_ids(words)
        self.ivf.add_with_ids(keys, words)

    def search(self, queries: Keys) -> tuple[NDArray[np.int64], Keys]:
        similarities, words = self.ivf.search(queries, FOUND)
        return words, similarities

    def set_effort(self, keys: int) -> str:
        self.ivf.nprobe = max(1, round(keys * self.lists / self.size))
        return f"nprobe={self.ivf.nprobe}"


class FaissIvfHashtable(FaissIvf):
    def __init__(self, size: int, width: int) -> None:
        super().__init__(size, width)
        self.ivf.set_direct_map_type(self.faiss.DirectMap.Hashtable)


class FaissIvfUpdate(FaissIvf):
    def __init__(self, size: int, width: int) -> None:
        super().__init__(size, width)
        self.ivf.set_direct_map_type(self.faiss.DirectMap.Array)

    def replace(self, words: NDArray[np.int64], keys: Keys) -> None:
        if self.ivf.ntotal < self.size:
            self.ivf.add(keys)
        else:
            self.ivf.update_vectors(words, keys)


class FaissHnsw(Memory):
    def __init__(self, size: int, width: int) -> None:
        super().__init__(size, width)
        self.faiss: Any = importlib.import_module("faiss")
        self.index: Any = self.faiss.IndexHNSWFlat(width, 16, self.faiss.METRIC_INNER_PRODUCT)
        self.added = 0

    def replace(self, words: NDArray[np.int64], keys: Keys) -> None:
        self.index.add(keys)
        self.added += len(keys)

    def search(self, queries: Keys) -> tuple[NDArray[np.int64], Keys]:
        similarities, found = self.index.search(queries, FOUND)
        # Entries are added in the order of the words, round after round. Those that were overwritten are still found.
        return found % self.size, np.where(found < self.added - self.size, -1, similarities)

    def set_effort(self, keys: int) -> str:
        self.index.hnsw.efSearch = max(FOUND, keys // 16)
        return f"efSearch={self.index.hnsw.efSearch}"


class Usearch(Memory):
    def __init__(self, size: int, width: int) -> None:
        super().__init__(size, width)
        self.index: Any = importlib.import_module("usearch.index").Index(ndim=width, metric="ip", dtype="f32")

    def replace(self, words: NDArray[np.int64], keys: Keys) -> None:
        if len(self.index) >= self.size:
            self.index.remove(words.astype(np.uint64), threads=1)
        self.index.add(words.astype(np.uint64), keys, threads=1)

    def search(self, queries: Keys) -> tuple[NDArray[np.int64], Keys]:
        matches = self.index.search(queries, FOUND, threads=1)
        return matches.keys.astype(np.int64), 1 - matches.distances

    def set_effort(self, keys: int) -> str:
        self.index.expansion_search = max(FOUND, keys // 16)
        return f"expansion_search={self.index.expansion_search}"


LIBRARIES: dict[str, type[Memory]] = {
    "sparsam": Sparsam,
    "faiss-ivf": FaissIvf,
    "faiss-ivf-hashtable": FaissIvfHashtable,
    "faiss-ivf-update": FaissIvfUpdate,
    "faiss-hnsw": FaissHnsw,
    "usearch": Usearch,
}


class Clusters:
    """Keys of length 1 around centres, about 50 to each."""

    def __init__(self, size: int, width: int, seed: int) -> None:
        self.random = np.random.default_rng(seed)
        self.centres = self.random.standard_normal((max(1, size // 50), width), np.float32)

    def draw(self, count: int) -> Keys:
        chosen = self.random.integers(len(self.centres), size=count)
        noise = self.random.standard_normal((count, self.centres.shape[1]), np.float32)
        return normalised(self.centres[chosen] + 0.3 * noise)


def normalised(keys: Keys) -> Keys:
    numbers: Keys = keys / np.linalg.norm(keys, axis=1, keepdims=True)
    return numbers


def recall(memory: Memory, queries: Keys, best: NDArray[np.int64]) -> float:
    found, _ = memory.search(queries)
    return sum(len(set(a) & set(b)) for a, b in zip(found.tolist(), best.tolist(), strict=True)) / best.size


def fill(memory: Memory, *rounds: Keys) -> None:
    memory.train(rounds[0])
    for keys in rounds:
        for start in range(0, len(keys), BATCH):
            some = keys[start : start + BATCH]
            memory.write(some, np.zeros((len(some), VALUES), np.float32))


def measure(size: int, given: argparse.Namespace) -> None:
    before, after = Clusters(size, given.width, 1), Clusters(size, given.width, 2)
    first, keys = before.draw(size), after.draw(size)
    random = np.random.default_rng(3)
    queries = normalised(
        keys[random.integers(size, size=200)] + 0.05 * random.standard_normal((200, given.width), np.float32)
    )
    best = np.stack([np.argpartition(-(keys @ query), FOUND)[:FOUND] for query in queries])
    memories: dict[str, Memory] = {}
    rows: dict[str, list[str]] = {}
    for name, kind in LIBRARIES.items():
        if name in given.without:
            continue
        try:
            memory = kind(size, given.width)  # which asks for the library
        except ModuleNotFoundError as error:
            print(f"{name} is left out: {error}")
            continue
        started, looked, reached, effort = time.perf_counter(), kind.least, 0.0, ""
        while reached < given.recall and looked <= given.largest:
            fresh = not effort or kind.told_when_made
            if fresh:
                memory = kind(size, given.width)
            effort = memory.set_effort(looked)
            if fresh:
                fill(memory, first, keys)
            reached = recall(memory, queries, best)
            looked *= 2
        memories[name] = memory
        rows[name] = [effort, f"{reached:.3f}", f"{time.perf_counter() - started:.0f}"]
    times: dict[str, list[float]] = {name: [] for name in memories}
    for _ in range(given.steps // TURN):
        steps = [
            (after.draw(WRITES), random.standard_normal((WRITES, VALUES), np.float32), after.draw(READS))
            for _ in range(TURN)
        ]
        for name, memory in memories.items():
            for written, values, asked in steps:
                started = time.perf_counter()
                memory.write(written, values)
                memory.read(asked)
                times[name].append(time.perf_counter() - started)
    own = statistics.median(times["sparsam"])
    for name, row in rows.items():
        median = statistics.median(times[name])
        print(
            f"| {name} | {size:,} | {row[0]} | {row[1]} | {1e6 * median:.0f} | {median / own:.1f} | {row[2]} |",
            flush=True,
        )


def main() -> None:
    assert __doc__ is not None
    arguments = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    arguments.add_argument("--sizes", type=int, nargs="+", default=[100_000], help="keys in the memory")
    arguments.add_argument("--width", type=int, default=32, help="numbers in a key")
    arguments.add_argument("--steps", type=int, default=200)
    arguments.add_argument("--recall", type=float, default=0.95)
    arguments.add_argument("--largest", type=int, default=16_384, help="keys that a query is compared with at most")
    arguments.add_argument(
        "--without", nargs="*", default=[], choices=list(LIBRARIES)[1:], help="libraries to leave out"
    )
    given = arguments.parse_args()
    torch.set_num_threads(1)
    with contextlib.suppress(ModuleNotFoundError):
        importlib.import_module("faiss").omp_set_num_threads(1)
    print("| | keys | looks at | recall | µs a step | ÷ sparsam | seconds before |\n|---|---|---|---|---|---|---|")
    for size in given.sizes:
        measure(size, given)


if __name__ == "__main__":
    main()
