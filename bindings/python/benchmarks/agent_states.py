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


def microseconds(of: Callable[[], Any], repeats: int) -> float:
    """The median time of a call."""
    times = []
    for _ in range(repeats):
        began = time.perf_counter()
        of()
        times.append(time.perf_counter() - began)
    return statistics.median(times) * 1e6


def main() -> None:
    command = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    command.add_argument("--rows", type=int, default=16, help="environments")
    command.add_argument("--steps", type=int, nargs="+", default=[100, 1000, 10_000], help="of the episode")
    command.add_argument("--repeats", type=int, default=50)
    options = command.parse_args()
    torch.set_num_threads(1)
    torch.manual_seed(0)
    sam = SAM(8, 64, memory_size=1_000_000)
    recurrent = SAMModule(sam=sam, in_key="observation", out_key="features")
    rows, new = options.rows, torch.zeros(options.rows, 1, dtype=torch.bool)
    handles = torch.zeros(rows, 1, dtype=torch.int64)

    def step() -> None:
        nonlocal handles
        given = {"observation": torch.randn(rows, 8), "is_init": new, "recurrent_state": handles}
        handles = recurrent(TensorDict(given, [rows]))["next", "recurrent_state"]

    print(f"{rows} environments, one thread.\n")
    print("| steps taken | µs a step by hand | through a tensordict | ms a snapshot | in steps | KiB of a state |")
    print("|" + "---|" * 6)
    state: State | None = None
    taken = 0
    with torch.no_grad():
        for steps in sorted(options.steps):
            while taken < steps:
                step()
                _, state = sam(torch.randn(1, rows, 8), state)
                taken += 1

            def by_hand() -> None:
                nonlocal state
                _, state = sam(torch.randn(1, rows, 8), state)

            def copied() -> None:
                assert state is not None
                state.select(range(rows))

            hand, through = microseconds(by_hand, options.repeats), microseconds(step, options.repeats)
            taken += options.repeats
            size = len(pickle.dumps(state)) / 1024 / rows
            copy = microseconds(copied, 5)
            print(f"| {steps:,} | {hand:.0f} | {through:.0f} | {copy / 1e3:.1f} | {copy / hand:.0f} | {size:,.0f} |")


if __name__ == "__main__":
    main()
