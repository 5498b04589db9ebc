#!/usr/bin/env python3
"""What each model needs to learn, and what each part of the defaults is worth: trains models with recipes, several
seeds each, and prints the tables of docs/recipes.md.

A recipe is the command's defaults with some flags changed, or several recipes joined by " + ". Every run is a folder
of its own, one thread each; the script goes on where it was stopped. Dense models have 64 words, with babi 128, sparse
ones a million. Of babi the errors are those of the stories held out for validation; no test files are read. Task 3 is
told apart, of which some archives lack most stories. A recipe that is not for a model is left out of what that is
trained with, which the script says; what is then the same is trained once.

    cargo build --release && python3 benchmarks/recipes.py --jobs 2
    python3 benchmarks/recipes.py --tasks sort --recipes default slower --seeds 1 2 3
    python3 benchmarks/recipes.py --tasks babi --seeds 1 2 --data data    # each switch alone
    python3 benchmarks/recipes.py --tasks babi --models sdnc --recipes "sentences + masks + bypass dropout"
    python3 benchmarks/recipes.py --table    # of what is there, without training
"""

import argparse
import concurrent.futures
import json
import pathlib
import statistics
import subprocess
import sys
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
    "embedding": ["--embedding"],
    "sentences": ["--sentences"],
    "exchanged names": ["--exchange-names"],
    "even questions": ["--even-questions"],
    "think steps": ["--think-steps", "3"],
    "pause steps": ["--pause-steps", "1"],
    "bypass dropout": ["--bypass-dropout", "0.1"],
    "masks": ["--masked-content"],
    "refreshing": ["--refreshing-probability", "0.3"],
}

# The models that a recipe is for, where it is not for all.
ONLY = {"masks": ["sam", "sdnc", "dnc"]}

# The tasks that a recipe is for, where it is not for all.
TASKS_OF = {
    "embedding": ["babi"],
    "sentences": ["babi"],
    "exchanged names": ["babi"],
    "even questions": ["babi"],
    "think steps": ["babi"],
    "pause steps": ["babi"],
    "refreshing": ["copy", "recall", "sort", "babi"],
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
TASKS = {"copy": (3000, 50), "recall": (4000, 100), "sort": (60_000, 1000), "babi": (60_000, 2000)}

# What is trained unless told otherwise. Reproducing inputs is tried on embeddings alone, not on one-hot words.
BABI_MODELS = ["sam", "sdnc", "dnc"]
BABI_RECIPES = [
    "default",
    "embedding",
    "embedding + refreshing",
    "bypass dropout",
    "layer normalisation",
    "masks",
    "think steps",
    "sentences",
    "exchanged names",
    "exchanged names + even questions",
    "sentences + exchanged names + even questions",
    "sentences + masks + bypass dropout + layer normalisation",
]
BABI_MEMORY = {model: ["--memory-size", "128"] for model in ("ntm", "dnc", "dam")}

RECIPES_HELP = 'default, of babi each of its switches, refreshing with embedding alone; recipes are joined by " + "'

NEVER = "-"


def recipe(name: str) -> str:
    """A recipe's name, or those of several joined."""
    for part in name.split(" + "):
        if part not in RECIPES:
            raise argparse.ArgumentTypeError(f"there is no recipe {part!r}; choose of {', '.join(RECIPES)}")
    return name


def recipes_of(arguments: argparse.Namespace, task: str) -> list[str]:
    return list(arguments.recipes or (BABI_RECIPES if task == "babi" else ["default"]))


def models_of(arguments: argparse.Namespace, task: str) -> list[str]:
    return list(arguments.models or (BABI_MODELS if task == "babi" else MODELS))


def applied(model: str, recipe: str) -> str:
    """What is left of a recipe for a model: joined with others, one that is not for it is left out."""
    return " + ".join(part for part in recipe.split(" + ") if model in ONLY.get(part, MODELS))


def flags_of(recipe: str) -> list[str]:
    return [flag for part in recipe.split(" + ") for flag in RECIPES[part]]


def pairs_of(arguments: argparse.Namespace, task: str) -> list[tuple[str, str]]:
    """The models of a task and the recipes that each is trained with, each pair once."""
    pairs = [
        (model, applied(model, name)) for name in recipes_of(arguments, task) for model in models_of(arguments, task)
    ]
    return list(dict.fromkeys(pair for pair in pairs if pair[1]))


def check(arguments: argparse.Namespace, task: str) -> None:
    """Ends the script where a recipe is not for the task, or for none of the models; tells what is left out."""
    for name in recipes_of(arguments, task):
        parts = name.split(" + ")
        if {"sentences", "refreshing"} <= set(parts):
            sys.exit(f"recipes.py: {name!r} cannot be joined: an output is one word, which reproduces no sentence")
        for part in parts:
            tasks = TASKS_OF.get(part, list(TASKS))
            if task not in tasks:
                sys.exit(f"recipes.py: the recipe {part!r} is for {', '.join(tasks)}, and not for {task}")
        left = {model: applied(model, name) for model in models_of(arguments, task)}
        if arguments.recipes and not any(left.values()):
            sys.exit(f"recipes.py: the recipe {name!r} is for none of {', '.join(left)}")
        for model, recipe in left.items():
            if recipe != name:
                what = f"with {recipe!r}, and not" if recipe else "not"
                print(f"{task}: {model} is trained {what} with {name!r}", flush=True)


def name_of(task: str, model: str, recipe: str, seed: int) -> str:
    return f"{task}-{model}-{recipe.replace(',', '').replace(' + ', '+').replace(' ', '-')}-{seed}"


def command(arguments: argparse.Namespace, task: str, model: str, recipe: str, seed: int) -> list[str]:
    """The command that trains a run, or goes on with it."""
    folder = arguments.output / name_of(task, model, recipe, seed)
    start = [arguments.sparsam, "train"]
    end = ["--threads", "1", "--quiet"]
    if (folder / "config.toml").exists():
        return [*start, "--resume", str(folder), *end]
    batches, every = TASKS[task]
    batches = arguments.batches or batches
    every = min(every, batches)
    flags = ["--batches", str(batches), "--evaluate-every", str(every), "--until", "0", "--seed", str(seed)]
    if arguments.evaluation_sequences:
        flags += ["--evaluation-sequences", str(arguments.evaluation_sequences)]
    changed = [flag.format(batches=batches) for flag in flags_of(recipe)]
    memory = MODELS[model]
    if task == "babi":
        memory = BABI_MEMORY.get(model, memory)
        flags += ["--data", str(arguments.data)]
    return [*start, task, "--model", model, *changed, *memory, *flags, "--run", str(folder), *end]


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
        "errors": lines[-1].get("errors", []),
        "failed": lines[-1].get("failed"),
        "seconds": lines[-1]["seconds"],
    }


def mean_error(errors: list[float | None], but: int | None = None) -> float:
    """The mean of tasks' errors, one of them left out; in percent."""
    known = [error for task, error in enumerate(errors, 1) if error is not None and task != but]
    return 100 * statistics.fmean(known) if known else float("nan")


def babi_table(arguments: argparse.Namespace) -> None:
    """Errors of each recipe by seed at the end of the runs, or as far as they are, and what they took."""
    print("\nbabi: errors of the stories held out, in percent, at the last evaluation\n")
    columns = ["model", "recipe", "seeds", "mean error, by seed", "mean", "without task 3, by seed", "mean"]
    columns += ["failed", "stories", "minutes"]
    print(f"| {' | '.join(columns)} |\n|{'---|' * len(columns)}")
    for model, recipe in pairs_of(arguments, "babi"):
        folders = {seed: arguments.output / name_of("babi", model, recipe, seed) for seed in arguments.seeds}
        results = {seed: found for seed, folder in folders.items() if (found := result(folder))}
        if not results:
            continue
        errors = [mean_error(found["errors"]) for found in results.values()]
        others = [mean_error(found["errors"], but=3) for found in results.values()]
        cells = [
            " · ".join(map(str, results)),
            " · ".join(f"{error:.1f}" for error in errors),
            f"{statistics.fmean(errors):.1f}",
            " · ".join(f"{error:.1f}" for error in others),
            f"{statistics.fmean(others):.1f}",
            *(" · ".join(str(found[name]) for found in results.values()) for name in ("failed", "trained")),
            " · ".join(f"{found['seconds'] / 60:.1f}" for found in results.values()),
        ]
        print(f"| {model} | {recipe} | {' | '.join(cells)} |")


def table(arguments: argparse.Namespace, task: str) -> None:
    """Sequences to 0.1 wrong outputs by seed, their median, and the most wrong ones that an evaluation showed after."""
    print(f"\n{task}\n\n| model | recipe | sequences to 0.1 wrong, by seed | median | worst after | last |")
    print("|---|---|---|---|---|---|")
    models = models_of(arguments, task)
    for model, recipe in sorted(pairs_of(arguments, task), key=lambda pair: models.index(pair[0])):
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
    parser.add_argument("--models", nargs="+", choices=list(MODELS), help="all, but of babi sam, sdnc and dnc")
    parser.add_argument("--recipes", nargs="+", type=recipe, help=RECIPES_HELP)
    parser.add_argument("--seeds", nargs="+", type=int, default=[1, 2, 3, 4, 5])
    parser.add_argument("--batches", type=int, help="of a run, instead of the task's")
    parser.add_argument("--evaluation-sequences", type=int, help="of an evaluation, instead of the task's")
    parser.add_argument(
        "--data", type=pathlib.Path, default=pathlib.Path("data"), help="the folder with babi's archive"
    )
    parser.add_argument("--jobs", type=int, default=2, help="runs at once")
    parser.add_argument("--output", type=pathlib.Path, default=pathlib.Path("runs/recipes"))
    parser.add_argument("--table", action="store_true", help="train nothing")
    arguments = parser.parse_args()
    for task in arguments.tasks:
        check(arguments, task)
    if not arguments.table:
        runs = [
            command(arguments, task, model, recipe, seed)
            for task in arguments.tasks
            for seed in arguments.seeds
            for model, recipe in pairs_of(arguments, task)
        ]
        with concurrent.futures.ThreadPoolExecutor(arguments.jobs) as pool:
            list(pool.map(lambda run: subprocess.run(run, check=True), runs))
    for task in arguments.tasks:
        if task == "babi":
            babi_table(arguments)
        else:
            table(arguments, task)


if __name__ == "__main__":
    main()
