#!/usr/bin/env python3
"""What each model needs to learn, and what each part of the defaults is worth: trains models with recipes, several
seeds each, and prints the tables of docs/recipes.md.

A recipe is the command's defaults with some flags changed. Every run is a folder of its own, one thread each; the
script goes on where it was stopped. Dense models have 64 words, sparse ones a million.

    cargo build --release && python3 benchmarks/recipes.py --jobs 2
    python3 benchmarks/recipes.py --tasks sort --recipes default slower --seeds 1 2 3
    python3 benchmarks/recipes.py --table    # of what is there, without training
"""

import argparse
import concurrent.futures
import json
import pathlib
import statistics
import subprocess
from typing import Any

# In a flag {batches} is how many the run has.
RECIPES: dict[str, list[str]] = {
    "default": [],
    "uniform values": ["--initial-values", "uniform"],
    "no adaptive limit": ["--clip-factor", "0"],
    "slower": ["--learning-rate", "3e-4"],
    "faster": ["--learning-rate", "3e-3"],
    "paper": ["--paper"],
    "uniform, rmsprop": ["--initial-values", "uniform", "--optimiser", "rmsprop"],
    "average": ["--average-decay", "0.999"],
    "half, falling": ["--learning-rate", "5e-4", "--cooldown", "{batches}"],
    "half, falling, average": ["--learning-rate", "5e-4", "--cooldown", "{batches}", "--average-decay", "0.999"],
    "layer normalisation": ["--controller", "layer_norm_lstm"],
    "gru": ["--controller", "gru"],
}

MODELS: dict[str, list[str]] = {
    "sam": [],
    "sdnc": [],
    "ntm": ["--memory-size", "64"],
    "dnc": ["--memory-size", "64"],
    "dam": ["--memory-size", "64"],
    "lstm": [],
}

# Batches, and those from one evaluation to the next.
TASKS = {"copy": (3000, 50), "recall": (4000, 100), "sort": (60_000, 1000)}

NEVER = "-"


def name_of(task: str, model: str, recipe: str, seed: int) -> str:
    return f"{task}-{model}-{recipe.replace(',', '').replace(' ', '-')}-{seed}"


def command(arguments: argparse.Namespace, task: str, model: str, recipe: str, seed: int) -> list[str]:
    """The command that trains a run, or goes on with it."""
    folder = arguments.output / name_of(task, model, recipe, seed)
    start = [arguments.sparsam, "train"]
    end = ["--threads", "1", "--quiet"]
    if (folder / "config.toml").exists():
        return [*start, "--resume", str(folder), *end]
    batches, every = TASKS[task]
    batches = arguments.batches or batches
    flags = ["--batches", str(batches), "--evaluate-every", str(every), "--until", "0", "--seed", str(seed)]
    changed = [flag.format(batches=batches) for flag in RECIPES[recipe]]
    return [*start, task, "--model", model, *changed, *MODELS[model], *flags, "--run", str(folder), *end]


def result(folder: pathlib.Path) -> dict[str, Any] | None:
    """What a run's metrics show; none if there are not any."""
    path = folder / "metrics.jsonl"
    lines = [json.loads(line) for line in path.read_text().splitlines()] if path.exists() else []
    if not lines:
        return None
    first = next((line for line in lines if line["wrong"] <= 0.1), None)
    after = [line["wrong"] for line in lines if first and line["sequences"] > first["sequences"]]
    return {
        "sequences": first["sequences"] if first else None,
        "worst": max(after, default=None),
        "wrong": lines[-1]["wrong"],
        "right": lines[-1]["right"],
        "trained": lines[-1]["sequences"],
        "loss": lines[-1]["loss"],
    }


def table(arguments: argparse.Namespace, task: str) -> None:
    """Sequences to 0.1 wrong outputs by seed, their median, and the most wrong ones that an evaluation showed after."""
    print(f"\n{task}\n\n| model | recipe | sequences to 0.1 wrong, by seed | median | worst after | last |")
    print("|---|---|---|---|---|---|")
    for model in arguments.models:
        for recipe in arguments.recipes:
            folders = [arguments.output / name_of(task, model, recipe, seed) for seed in arguments.seeds]
            results = [found for found in map(result, folders) if found]
            if not results:
                continue
            reached = [found["sequences"] for found in results]
            cells = [f"{sequences:,}" if sequences else NEVER for sequences in reached]
            median = statistics.median(sequences or float("inf") for sequences in reached)
            worst = max((found["worst"] for found in results if found["worst"] is not None), default=None)
            last = " · ".join(f"{found['wrong']:.2f}" for found in results)
            print(
                f"| {model} | {recipe} | {' · '.join(cells)} | {f'{median:,.0f}' if median < float('inf') else NEVER} "
                f"| {NEVER if worst is None else f'{worst:.2f}'} | {last} |"
            )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--sparsam", default="target/release/sparsam", help="the command")
    parser.add_argument("--tasks", nargs="+", default=["copy", "recall"], choices=list(TASKS))
    parser.add_argument("--models", nargs="+", default=list(MODELS), choices=list(MODELS))
    parser.add_argument("--recipes", nargs="+", default=["default"], choices=list(RECIPES))
    parser.add_argument("--seeds", nargs="+", type=int, default=[1, 2, 3, 4, 5])
    parser.add_argument("--batches", type=int, help="of a run, instead of the task's")
    parser.add_argument("--jobs", type=int, default=2, help="runs at once")
    parser.add_argument("--output", type=pathlib.Path, default=pathlib.Path("runs/recipes"))
    parser.add_argument("--table", action="store_true", help="train nothing")
    arguments = parser.parse_args()
    if not arguments.table:
        runs = [
            command(arguments, task, model, recipe, seed)
            for task in arguments.tasks
            for recipe in arguments.recipes
            for seed in arguments.seeds
            for model in arguments.models
        ]
        with concurrent.futures.ThreadPoolExecutor(arguments.jobs) as pool:
            list(pool.map(lambda run: subprocess.run(run, check=True), runs))
    for task in arguments.tasks:
        table(arguments, task)


if __name__ == "__main__":
    main()
