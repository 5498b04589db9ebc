#!/usr/bin/env python3
"""How many sequences each model needs to learn copy, and how long one takes.

Trains every model on `sparsam train copy` with the paper's settings, several seeds each, until an evaluation on
fresh sequences shows at most 0.1 wrong bits per sequence, and prints a Markdown table. Runs share the cores, one thread
each; times are taken apart from that, one model after another on an otherwise idle machine.

    cargo build --release && python3 benchmarks/learning.py --seeds 1 2 3

Results are kept as JSON lines in the output folder, so that the script goes on where it was stopped.
"""

import argparse
import concurrent.futures
import json
import pathlib
import statistics
import subprocess
from typing import Any

MODELS = {
    "lstm": ["--model", "lstm"],
    "sam": ["--model", "sam"],
    "sdnc": ["--model", "sdnc"],
    **{
        f"{model}, {words} words": ["--model", model, "--memory-size", str(words)]
        for model in ("dam", "ntm", "dnc")
        for words in (64, 128)
    },
}


def train(arguments: argparse.Namespace, name: str, flags: list[str], seed: int) -> dict[str, Any]:
    """Trains until the aim is reached or the batches are used up; returns what the last evaluation showed."""
    folder = arguments.output / f"{name.replace(', ', '-').replace(' ', '-')}-{seed}"
    command = [arguments.sparsam, "train", "copy", *flags, "--seed", str(seed), "--threads", "1", "--json"]
    command += ["--batches", str(arguments.batches), "--run", str(folder)]
    result: dict[str, Any] = {"name": name, "seed": seed, "sequences": None, "wrong": None, "best": None}
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
        for line in process.stdout or ():
            event = json.loads(line)
            if event["event"] != "evaluated":
                continue
            result["wrong"] = event["wrong"]
            result["trained"] = event["sequences"]
            result["best"] = min(event["wrong"], result["best"] or event["wrong"])
            if event["wrong"] <= arguments.aim:
                result["sequences"] = event["sequences"]
                process.terminate()
                break
    return result


def time_per_sequence(arguments: argparse.Namespace, flags: list[str], folder: pathlib.Path) -> float:
    """Milliseconds of training one sequence, on one thread, with nothing else running."""
    command = [arguments.sparsam, "train", "copy", *flags, "--threads", "1", "--json", "--run", str(folder)]
    command += ["--batches", "150", "--evaluate-every", "50", "--evaluation-sequences", "8"]
    output = subprocess.run(command, capture_output=True, text=True, check=True).stdout
    events = [json.loads(line) for line in output.splitlines()]
    rates: list[float] = [event["sequences_per_second"] for event in events if event["event"] == "evaluated"]
    return 1e3 / statistics.median(rates)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--sparsam", default="target/release/sparsam", help="the command")
    parser.add_argument("--models", nargs="+", default=list(MODELS), choices=list(MODELS))
    parser.add_argument("--seeds", nargs="+", type=int, default=[1, 2, 3])
    parser.add_argument("--batches", type=int, default=40_000, help="batches after which a run has not learnt it")
    parser.add_argument("--aim", type=float, default=0.1, help="wrong bits per sequence")
    parser.add_argument("--jobs", type=int, default=2, help="runs at once")
    parser.add_argument("--output", type=pathlib.Path, default=pathlib.Path("runs/learning"))
    arguments = parser.parse_args()
    arguments.output.mkdir(parents=True, exist_ok=True)
    kept = arguments.output / "results.jsonl"
    results = [json.loads(line) for line in kept.read_text().splitlines()] if kept.exists() else []
    done = {(result["name"], result["seed"]) for result in results}

    todo = [(name, seed) for seed in arguments.seeds for name in arguments.models if (name, seed) not in done]
    with concurrent.futures.ThreadPoolExecutor(arguments.jobs) as pool:
        runs = [pool.submit(train, arguments, name, MODELS[name], seed) for name, seed in todo]
        for run in concurrent.futures.as_completed(runs):
            results.append(run.result())
            with kept.open("a") as file:
                file.write(json.dumps(run.result()) + "\n")
            print(json.dumps(run.result()), flush=True)

    print("\n| model | sequences to reach it, by seed | ms a sequence |\n|---|---|---|")
    for name in arguments.models:
        timing = arguments.output / f"timing-{len(list(arguments.output.glob('timing-*')))}"
        time = time_per_sequence(arguments, MODELS[name], timing)
        cells = []
        for seed in arguments.seeds:
            result = next(r for r in results if (r["name"], r["seed"]) == (name, seed))
            trained = f"not in {result.get('trained', 0):,} (best {result['best']:.2f} wrong bits)"
            cells.append(f"{result['sequences']:,}" if result["sequences"] else trained)
        print(f"| {name} | {' · '.join(cells)} | {time:.2f} |", flush=True)


if __name__ == "__main__":
    main()
