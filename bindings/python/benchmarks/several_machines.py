"""What training on several hosts costs: the time of an all-reduce of gradients, and sequences a second on two hosts.

    python several_machines.py

Hosts are network namespaces of this machine (Linux, root), each with one process that computes on one thread and, where
there are enough, on a processor of its own. Each host has the same number of sequences in a batch, however many hosts
there are. The last table is computed from the others, as `docs/several-machines.md` says.
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import subprocess
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import hosts
import torch
from sparsam.tasks import Task
from sparsam.tasks.torch import TaskDataset, loss
from sparsam.torch import SAM
from torch import distributed
from torch.nn.parallel import DistributedDataParallel


def median_of(work: Callable[[], object], repeats: int) -> float:
    """Seconds that it takes, the median of so many times."""
    times = []
    for _ in range(repeats):
        start = time.perf_counter()
        work()
        times.append(time.perf_counter() - start)
    return statistics.median(times)


def reduce_times(sizes: list[int], repeats: int) -> dict[int, float]:
    """Seconds of an all-reduce of so many bytes."""
    times = {}
    for size in sizes:
        numbers = torch.ones(size // 4)

        def reduce(numbers: torch.Tensor = numbers) -> None:
            distributed.all_reduce(numbers)
            numbers.fill_(1)

        reduce()
        # Many, since what else the machine does takes longer than a small one.
        times[size] = median_of(reduce, 20 * repeats)
    return times


def train(rows: int, repeats: int) -> dict[str, float]:
    """Seconds of a step with an all-reduce of its gradients, and without, in turn."""
    world = distributed.get_world_size()
    task = Task("recall")
    torch.manual_seed(1)
    module = SAM(task.input_size, 100, task.output_size, 1024, input_bound=task.input_bound())
    model = DistributedDataParallel(module)
    optimiser = torch.optim.Adam(model.parameters(), lr=1e-3)
    batches = iter(TaskDataset(task, rows * world, level=6))

    def step() -> None:
        batch = next(batches)
        output, _ = model(batch.inputs, lengths=batch.lengths)
        optimiser.zero_grad()
        torch.autograd.backward(loss(output, batch) * world)
        optimiser.step()

    def apart() -> None:
        with model.no_sync():
            step()

    step()
    joint, alone = [], []
    for _ in range(repeats):
        distributed.barrier()
        joint.append(median_of(step, 1))
        distributed.barrier()
        alone.append(median_of(apart, 1))
    count = sum(parameter.numel() for parameter in module.parameters())
    return {"joint": statistics.median(joint), "apart": statistics.median(alone), "bytes": 4 * count}


def worker(given: argparse.Namespace) -> None:
    """One process of a measurement: the first prints what it found."""
    torch.set_num_threads(1)
    distributed.init_process_group("gloo")
    rank = distributed.get_rank()
    processors = sorted(os.sched_getaffinity(0))
    os.sched_setaffinity(0, {processors[rank % len(processors)]})
    found: dict[Any, float]
    found = reduce_times(given.sizes, given.repeats) if given.worker == "reduce" else train(given.rows, given.repeats)
    if rank == 0:
        print("found", json.dumps(found), flush=True)
    distributed.barrier()
    distributed.destroy_process_group()


def measure(what: str, count: int, shaping: list[str], given: argparse.Namespace) -> dict[str, float]:
    """Runs the processes of a measurement, one on each of so many hosts, and ends them if it is stopped."""
    numbers = [*map(str, given.sizes)]
    options = ["--worker", what, "--rows", str(given.rows), "--repeats", str(given.repeats), "--sizes", *numbers]
    environment = {**os.environ, "OMP_NUM_THREADS": "1"}
    with hosts.Hosts(count, shaping) as machines:
        pipes: dict[str, Any] = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE}
        started = [
            machines.start(host, hosts.torchrun(count, host, __file__, *options), env=environment, **pipes)
            for host in range(count)
        ]
        printed = [process.communicate() for process in started]
    lines = [line for output, _ in printed for line in output.splitlines() if line.startswith("found ")]
    if len(lines) != 1:
        sys.exit(f"the processes of {what} did not end well:\n" + "\n".join(errors for _, errors in printed))
    found: dict[str, float] = json.loads(lines[0].removeprefix("found "))
    return found


@dataclass
class Link:
    """What a link does to an all-reduce in a ring, fitted to that of two hosts."""

    latency: float
    """Seconds of a message: half of the smallest all-reduce, which has two, one after the other."""
    rate: float
    """Bytes a second: those of the largest all-reduce, over the seconds that it takes longer than the smallest."""

    @classmethod
    def fitted(cls, found: dict[str, float]) -> Link:
        smallest, largest = min(found, key=int), max(found, key=int)
        return cls(found[smallest] / 2, int(largest) / (found[largest] - found[smallest]))

    def all_reduce(self, hosts: int, size: float) -> float:
        """Seconds of so many bytes: 2 (n - 1) messages, one after the other, of 1/n of them."""
        return 2 * (hosts - 1) * (self.latency + size / hosts / self.rate)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rows", type=int, default=64, help="sequences of a batch for each host")
    parser.add_argument("--repeats", type=int, default=15)
    parser.add_argument("--rounds", type=int, default=2, help="of one host and two in turn")
    parser.add_argument("--sizes", type=int, nargs="+", default=[4, 131072, 524288, 4194304], help="bytes")
    parser.add_argument("--worker", choices=["reduce", "train"], help=argparse.SUPPRESS)
    given = parser.parse_args()
    if given.worker:
        worker(given)
        return
    if reason := hosts.missing():
        sys.exit(f"there can be no hosts here: {reason}")

    print("| link | hosts | " + " | ".join(f"{size} bytes" for size in given.sizes) + " |")
    print("|---|---|" + "---|" * len(given.sizes))
    slow = ["tbf", "rate", "1gbit", "burst", "128kb", "latency", "50ms"]
    shapings: dict[str, list[str]] = {"as it is": [], "1 Gbit/s": slow}
    links: dict[str, Link] = {}
    for name, shaping in shapings.items():
        for count in (2, 4):
            found = measure("reduce", count, shaping, given)
            link = links.setdefault(name, Link.fitted(found))
            computed = {size: link.all_reduce(count, int(size)) for size in found}
            for what, times in ((name, found), (f"{name}, computed", computed)):
                print(
                    f"| {what} | {count} | " + " | ".join(f"{1e3 * t:.2f} ms" for t in times.values()) + " |",
                    flush=True,
                )

    print("\n| hosts | a step | without an all-reduce | sequences a second | relative to one host |")
    print("|---|---|---|---|---|")
    rounds = []
    for _ in range(given.rounds):
        one = measure("train", 1, [], given)
        two = measure("train", 2, [], given)
        rounds.append((two["joint"], two["apart"], two["bytes"]))
        for count, found in ((1, one), (2, two)):
            rate = count * given.rows / found["joint"]
            columns = f"{1e3 * found['joint']:.0f} ms | {1e3 * found['apart']:.0f} ms"
            # Steps of both kinds were in turn: those of another measurement may have had another share of the machine.
            ratio = count * found["apart"] / found["joint"]
            print(f"| {count} | {columns} | {rate:.0f} | {ratio:.2f} |", flush=True)

    joint, apart, size = map(statistics.median, zip(*rounds, strict=True))
    wait = max(0.0, joint - apart - links["as it is"].all_reduce(2, size))
    print(f"\n{size:.0f} bytes a step; {1e3 * wait:.1f} ms of waiting\n")
    print("| hosts | " + " | ".join(f"{name}: a step | relative to one host" for name in links) + " |")
    print("|---|" + "---|---|" * len(links))
    for count in (2, 4, 8, 16, 32, 64):
        steps = [apart + wait + link.all_reduce(count, size) for link in links.values()]
        print(f"| {count} | " + " | ".join(f"{1e3 * t:.0f} ms | {count * apart / t:.1f}" for t in steps) + " |")


if __name__ == "__main__":
    main()
