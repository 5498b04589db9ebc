"""What a handle and a snapshot of ``sparsam.torchrl.SAMModule`` cost beside a step.

    python agent_states.py          # needs torchrl

Environments are stepped as a collector does, with the defaults of SAM (4 heads that read 4 words of 32 numbers) and 64
hidden units; one step by hand stands beside one through tensordicts. A snapshot is the copy that is made where a piece
begins, after so many steps of an episode.
"""

from __future__ import annotations

import argparse
import pickle
import statistics
import time
from collections.abc import Callable
from typing import Any

import torch
from sparsam.torch import SAM, State
from sparsam.torchrl import SAMModule
from tensordict import TensorDict


def microseconds(repeats: int, *calls: Callable[[], Any]) -> list[float]:
    """The median times of calls, which take turns."""
    times: list[list[float]] = [[] for _ in calls]
    for _ in range(repeats):
        for call, measured in zip(calls, times, strict=True):
            began = time.perf_counter()
            call()
            measured.append(time.perf_counter() - began)
    return [statistics.median(measured) * 1e6 for measured in times]


def main() -> None:
    command = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    command.add_argument("--rows", type=int, default=16, help="environments")
    command.add_argument("--steps", type=int, nargs="+", default=[100, 1000, 4000], help="of the episode")
    command.add_argument("--repeats", type=int, default=20)
    options = command.parse_args()
    torch.set_num_threads(1)
    torch.manual_seed(0)
    sam = SAM(8, 64, memory_size=1_000_000)
    recurrent = SAMModule(sam=sam, in_key="observation", out_key="features")
    rows, new = options.rows, torch.zeros(options.rows, 1, dtype=torch.bool)
    handles = torch.zeros(rows, 1, dtype=torch.int64)

    state: State | None = None

    def step() -> None:
        nonlocal handles
        given = {"observation": torch.randn(rows, 8), "is_init": new, "recurrent_state": handles}
        handles = recurrent(TensorDict(given, [rows]))["next", "recurrent_state"]

    def by_hand() -> None:
        nonlocal state
        _, state = sam(torch.randn(1, rows, 8), state)

    def copied() -> None:
        assert state is not None
        state.select(range(rows))

    print(f"{rows} environments, one thread.\n")
    print("| steps taken | µs a step by hand | through a tensordict | ms a snapshot | in steps | KiB of a state |")
    print("|" + "---|" * 6)
    taken = 0
    with torch.no_grad():
        for steps in sorted(options.steps):
            while taken < steps:
                step()
                by_hand()
                taken += 1
            size = len(pickle.dumps(state)) / 1024 / rows
            hand, through, copy = microseconds(options.repeats, by_hand, step, copied)
            taken += options.repeats
            print(f"| {steps:,} | {hand:.0f} | {through:.0f} | {copy / 1e3:.1f} | {copy / hand:.0f} | {size:,.0f} |")


if __name__ == "__main__":
    main()
