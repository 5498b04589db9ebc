"""What agents with SAM, an LSTM and a GRU reach on tasks of POPGym that memory decides, at equal steps: every task,
memory and seed is a run of ``examples/ppo.py``, several at a time, one thread each.

    python agents.py --folder runs --jobs 16               # goes on where it was stopped
    python agents.py --folder runs --table                 # of what is there
    python agents.py --folder small --steps 100000 --tasks repeat-previous --seeds 1

Each run has a JSON file in the folder, with its curve, and until it has ended a checkpoint. At the end stands a table,
which is also in ``table.json``: mean returns of the episodes of the last tenth of the steps, over the seeds, and SAM's
before the better of LSTM and GRU's, beside the spread of that difference. Needs PyTorch, this package and popgym.
"""

from __future__ import annotations

import argparse
import itertools
import json
import math
import os
import statistics
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

EXAMPLE = Path(__file__).parent.parent / "examples" / "ppo.py"
# The same for all, beside the example's defaults; the last three are for SAM and SDNC alone.
SETTINGS = ["--learning-rate", "3e-3", "--controller", "gru", "--num-heads", "4", "--num-reads", "1"]
TASKS = ("repeat-previous", "autoencode", "concentration", "count-recall")


def run(options: argparse.Namespace, task: str, memory: str, seed: int) -> str:
    """One run, unless its result is there. Says how it went."""
    name = f"{task}-{memory}-{seed}"
    result, checkpoint, log = (options.folder / f"{name}.{kind}" for kind in ("json", "pt", "log"))
    if result.exists():
        told = json.loads(result.read_text())
        same = (told["steps"], told["difficulty"]) == (options.steps, options.difficulty)
        return f"{name}: there" if same else f"{name}: there with other steps or difficulty; name another folder"
    command = [sys.executable, str(EXAMPLE), "--task", task, "--memory", memory, "--seed", str(seed)]
    command += ["--difficulty", options.difficulty, "--steps", str(options.steps), *SETTINGS, *options.options]
    command += ["--checkpoint", str(checkpoint), "--output", str(result)]
    # Each run has one thread, beside the others.
    environment = {**os.environ, "OMP_NUM_THREADS": "1"}
    with open(log, "a") as file:
        status = subprocess.run(command, stdout=file, stderr=file, env=environment, check=False).returncode
    if status != 0:
        return f"{name}: failed, see {log}"
    checkpoint.unlink(missing_ok=True)
    told = json.loads(result.read_text())
    return f"{name}: {told['mean_return']:.3f} after {told['seconds']:.0f} s"


def table(options: argparse.Namespace) -> dict[str, Any]:
    """Means and spreads of the runs that are there; prints them."""
    found: dict[str, dict[str, list[float]]] = {}
    for task, memory, seed in itertools.product(options.tasks, options.memories, options.seeds):
        path = options.folder / f"{task}-{memory}-{seed}.json"
        if path.exists():
            told = json.loads(path.read_text())
            if (told["steps"], told["difficulty"]) == (options.steps, options.difficulty):
                found.setdefault(task, {}).setdefault(memory, []).append(told["mean_return"])
    print(f"\nMean return after {options.steps:,} steps, {options.difficulty}; ± is the deviation over the seeds.\n")
    print("| task | " + " | ".join(options.memories) + " | SAM - the better of the others | seeds' spread |")
    print("|" + "---|" * (len(options.memories) + 3))
    rows: dict[str, Any] = {}
    for task, by_memory in found.items():
        means = {memory: statistics.mean(values) for memory, values in by_memory.items()}
        spreads = {m: statistics.stdev(values) if len(values) > 1 else 0.0 for m, values in by_memory.items()}
        shown = [
            f"{means[m]:.3f} ± {spreads[m]:.3f} ({len(by_memory[m])})" if m in means else "" for m in options.memories
        ]
        rows[task] = {"means": means, "spreads": spreads, "seeds": {m: len(v) for m, v in by_memory.items()}}
        others = [m for m in ("lstm", "gru") if m in means]
        if "sam" in means and others:
            better = max(others, key=means.__getitem__)
            rows[task]["difference"] = means["sam"] - means[better]
            # Of a difference of two means of independent seeds, as one seed's.
            rows[task]["spread"] = math.hypot(spreads["sam"], spreads[better])
            shown += [f"{rows[task]['difference']:+.3f} ({better})", f"{rows[task]['spread']:.3f}"]
        else:
            shown += ["", ""]
        print(f"| {task} | " + " | ".join(shown) + " |")
    told = {"steps": options.steps, "difficulty": options.difficulty, "tasks": rows}
    (options.folder / "table.json").write_text(json.dumps(told, indent=1) + "\n")
    return told


def main() -> None:
    command = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    command.add_argument("--folder", type=Path, required=True)
    command.add_argument("--jobs", type=int, default=os.cpu_count() or 1, help="runs at a time")
    command.add_argument("--tasks", nargs="+", default=list(TASKS), choices=TASKS)
    command.add_argument("--memories", nargs="+", default=["sam", "lstm", "gru"])
    command.add_argument("--seeds", type=int, nargs="+", default=[1, 2, 3])
    command.add_argument("--difficulty", default="easy", choices=["easy", "medium", "hard"])
    command.add_argument("--steps", type=int, default=4_000_000)
    command.add_argument("--table", action="store_true", help="runs nothing")
    command.add_argument("options", nargs="*", help="for ppo.py, after --")
    options = command.parse_args()
    options.folder.mkdir(parents=True, exist_ok=True)
    runs = list(itertools.product(options.seeds, options.tasks, options.memories))
    if not options.table:
        with ThreadPoolExecutor(options.jobs) as pool:
            for line in pool.map(lambda of: run(options, of[1], of[2], of[0]), runs):
                print(line, flush=True)
    table(options)
    if any(not (options.folder / f"{t}-{m}-{s}.json").exists() for s, t, m in runs) and not options.table:
        raise SystemExit("some runs failed; the same command tries them again")


if __name__ == "__main__":
    main()
