"""What agents with SAM, SDNC, an LSTM and a GRU reach on tasks of POPGym that memory decides, at equal steps: every
task, memory and seed is a run of ``examples/ppo.py``, several at a time, one thread each.

    python agents.py --folder runs --jobs 16               # goes on where it was stopped
    python agents.py --folder runs --table                 # of what is there
    python agents.py --folder small --steps 100000 --tasks repeat-previous --seeds 1

Each run has a JSON file in the folder, with its curve, and until it has ended a checkpoint. A result that is there is
used if all options of its run are those asked for; another one is refused. At the end a table is printed, and stands in
``table.json``: mean returns of the episodes of the last tenth of the steps, over the seeds, with the parameters and the
seconds of a run, and SAM's and SDNC's less the better of LSTM's and GRU's, beside the spread of that difference. All
have the same hidden units, of which an LSTM's or a GRU's output is h and SAM's and SDNC's [h ; r], what they read as
well; with ``--equal-parameters`` LSTM and GRU have as many hidden units as give them SAM's number of parameters, and
SDNC keeps its own. Needs PyTorch, this package and popgym.
"""

from __future__ import annotations

import argparse
import itertools
import json
import math
import os
import runpy
import statistics
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

EXAMPLE = Path(__file__).parent.parent / "examples" / "ppo.py"
# The same for all, beside the example's defaults; the last three are for SAM and SDNC alone.
SETTINGS = ["--learning-rate", "3e-3", "--controller", "gru", "--num-heads", "4", "--num-reads", "1"]
PPO: dict[str, Any] = runpy.run_path(str(EXAMPLE))
TASKS = ("repeat-previous", "autoencode", "concentration", "count-recall")


def hidden_units(options: argparse.Namespace, task: str, memory: str) -> int:
    """Of LSTM or GRU, with which an agent has about as many parameters as SAM's."""
    given = PPO["parser"]().parse_args([*SETTINGS, *options.options])
    envs = PPO["environments"](task, options.difficulty, 1, 1)

    def parameters(kind: str, hidden: int) -> int:
        given.hidden = hidden
        agent = PPO["Agent"](kind, envs.num_observations, envs.num_actions, given)
        return sum(parameter.numel() for parameter in agent.parameters())

    number = parameters("sam", given.hidden)
    return min(range(8, 513, 4), key=lambda hidden: abs(parameters(memory, hidden) - number))


def arguments(options: argparse.Namespace, task: str, memory: str, seed: int) -> list[str]:
    """Those of ``ppo.py`` that make a run what it is."""
    given = ["--task", task, "--memory", memory, "--seed", str(seed), "--difficulty", options.difficulty]
    given += ["--steps", str(options.steps), *SETTINGS, *options.options]
    if options.equal_parameters and memory in ("lstm", "gru"):
        given += ["--hidden", str(hidden_units(options, task, memory))]
    return given


def changed(options: argparse.Namespace, task: str, memory: str, seed: int, result: dict[str, Any]) -> list[str]:
    """The options in which a result is of another run than the one asked for."""
    asked = vars(PPO["parser"]().parse_args(arguments(options, task, memory, seed)))
    # A result from before there was an option is of the option's default.
    declared = PPO["RUN_OPTIONS"].items()
    return [name for name, (default, _) in declared if result.get(name, default) != asked[name]]


def run(options: argparse.Namespace, task: str, memory: str, seed: int) -> tuple[bool, str]:
    """One run, unless its result is there. Whether its result is there now, and how it went."""
    name = f"{task}-{memory}-{seed}"
    output, checkpoint, log = (options.folder / f"{name}.{kind}" for kind in ("json", "pt", "log"))
    if output.exists():
        others = changed(options, task, memory, seed, json.loads(output.read_text()))
        if others:
            return False, f"{name}: {output} is of a run with other {', '.join(others)}; name another folder"
        return True, f"{name}: there"
    command = [sys.executable, str(EXAMPLE), *arguments(options, task, memory, seed)]
    command += ["--checkpoint", str(checkpoint), "--output", str(output)]
    # Each run has one thread, beside the others.
    environment = {**os.environ, "OMP_NUM_THREADS": "1"}
    with open(log, "a") as file:
        status = subprocess.run(command, stdout=file, stderr=file, env=environment, check=False).returncode
    if status != 0:
        return False, f"{name}: failed, see {log}"
    checkpoint.unlink(missing_ok=True)
    result = json.loads(output.read_text())
    return True, f"{name}: {result['mean_return']:.3f} after {result['seconds']:.0f} s"


def table(options: argparse.Namespace) -> dict[str, Any]:
    """Means and spreads of the runs that are there; prints them."""
    found: dict[str, dict[str, list[dict[str, Any]]]] = {}
    for task, memory, seed in itertools.product(options.tasks, options.memories, options.seeds):
        path = options.folder / f"{task}-{memory}-{seed}.json"
        if path.exists():
            result = json.loads(path.read_text())
            if not changed(options, task, memory, seed, result):
                found.setdefault(task, {}).setdefault(memory, []).append(result)
    print(
        f"\nMean return after {options.steps:,} steps, {options.difficulty}; ± is the deviation over (so many) seeds.\n"
    )
    sparse = [memory for memory in options.memories if memory in ("sam", "sdnc")]
    headings = [f"{memory.upper()} - the better of LSTM and GRU | its spread" for memory in sparse]
    print("| " + " | ".join(["task", *options.memories, *headings]) + " |")
    print("|" + "---|" * (1 + len(options.memories) + 2 * len(sparse)))
    rows: dict[str, Any] = {}
    for task, by_memory in found.items():
        returns = {memory: [result["mean_return"] for result in results] for memory, results in by_memory.items()}
        means = {memory: statistics.mean(values) for memory, values in returns.items()}
        spreads = {m: statistics.stdev(values) if len(values) > 1 else 0.0 for m, values in returns.items()}
        parameters = {memory: results[0]["parameters"] for memory, results in by_memory.items()}
        seconds = {m: statistics.mean(result["seconds"] for result in results) for m, results in by_memory.items()}
        shown = [
            f"{means[m]:.3f} ± {spreads[m]:.3f} ({len(returns[m])}); {parameters[m]:,} parameters, {seconds[m]:.0f} s"
            if m in means
            else ""
            for m in options.memories
        ]
        rows[task] = {"means": means, "spreads": spreads, "seeds": {m: len(v) for m, v in returns.items()}}
        rows[task].update(parameters=parameters, seconds=seconds)
        others = [m for m in ("lstm", "gru") if m in means]
        for memory in sparse:
            if memory not in means or not others:
                shown += ["", ""]
                continue
            better = max(others, key=means.__getitem__)
            # Of a difference of two means of independent seeds, as one seed's.
            difference, spread = means[memory] - means[better], math.hypot(spreads[memory], spreads[better])
            compared = {"against": better, "difference": difference, "spread": spread}
            rows[task].setdefault("differences", {})[memory] = compared
            shown += [f"{difference:+.3f} ({better})", f"{spread:.3f}"]
        print(f"| {task} | " + " | ".join(shown) + " |")
    written = {"steps": options.steps, "difficulty": options.difficulty, "tasks": rows}
    (options.folder / "table.json").write_text(json.dumps(written, indent=1) + "\n")
    return written


def main() -> None:
    command = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    command.add_argument("--folder", type=Path, required=True)
    command.add_argument("--jobs", type=int, default=os.cpu_count() or 1, help="runs at a time")
    command.add_argument("--tasks", nargs="+", default=list(TASKS), choices=TASKS)
    command.add_argument("--memories", nargs="+", default=["sam", "sdnc", "lstm", "gru"])
    command.add_argument("--seeds", type=int, nargs="+", default=[1, 2, 3])
    command.add_argument("--difficulty", default="easy", choices=["easy", "medium", "hard"])
    command.add_argument("--steps", type=int, default=2_000_000)
    command.add_argument("--equal-parameters", action="store_true", help="widens LSTM and GRU to SAM's parameters")
    command.add_argument("--table", action="store_true", help="runs nothing")
    command.add_argument("options", nargs="*", help="for ppo.py, after --")
    options = command.parse_args()
    options.folder.mkdir(parents=True, exist_ok=True)
    runs = list(itertools.product(options.seeds, options.tasks, options.memories))
    complete = True
    if not options.table:
        with ThreadPoolExecutor(options.jobs) as pool:
            for there, line in pool.map(lambda of: run(options, of[1], of[2], of[0]), runs):
                print(line, flush=True)
                complete = complete and there
    table(options)
    if not complete:
        raise SystemExit("some results are missing, as said above; the same command tries failed runs again")


if __name__ == "__main__":
    main()
