#!/usr/bin/env python3
"""Whether an approximate index changes what is learnt: SAM with `linear` and with `ivf` on copy and recall.

Trains every pair of task and index with the same seeds, and draws the wrong bits per sequence over the sequences
trained on: a thin line for each seed, exact and approximate search in two colours. Prints a Markdown table of the wrong
bits on the way.

    cargo build --release && python3 benchmarks/indexes.py

Runs that are finished are kept in the output folder, so that the script goes on where it was stopped.
"""

import argparse
import concurrent.futures
import json
import math
import pathlib
import statistics
import subprocess

TASKS = {"copy": 30_000, "recall": 28_000}
COLOURS = {"linear": "#1d4ed8", "ivf": "#ea580c"}
WIDTH, HEIGHT, LEFT, TOP = 420, 300, 60, 50
FLOOR, CEILING = 1e-3, 1e2

Curve = list[tuple[int, float]]


def train(arguments: argparse.Namespace, task: str, index: str, seed: int) -> Curve:
    """Trains, unless that was done before, and returns the wrong bits at each evaluation."""
    folder: pathlib.Path = arguments.output / f"{task}-{index}-{seed}"
    metrics = folder / "metrics.jsonl"
    if not (folder / "finished").exists():
        command = [arguments.sparsam, "train", task, "--index", index, "--seed", str(seed), "--threads", "1", "--quiet"]
        command += ["--until", "0", "--batches", str(TASKS[task]), "--evaluate-every", "1000", "--run", str(folder)]
        subprocess.run(command, check=True)
        (folder / "finished").touch()
    lines = [json.loads(line) for line in metrics.read_text().splitlines()]
    return [(line["sequences"], line["wrong"]) for line in lines]


def draw(curves: dict[tuple[str, str, int], Curve]) -> str:
    """The curves as SVG, one panel for each task."""
    size = f'width="{len(TASKS) * (WIDTH + LEFT) + 90}" height="{HEIGHT + TOP + 60}"'
    parts = [
        f'<svg xmlns="http://www.w3.org/2000/svg" {size} font-family="sans-serif" font-size="13" fill="#3c3c43">',
        '<rect width="100%" height="100%" fill="white"/>',
    ]
    decades = math.log10(CEILING / FLOOR)
    for panel, task in enumerate(TASKS):
        x0, y0 = panel * (WIDTH + LEFT) + LEFT, TOP
        last = max(curve[-1][0] for (of, _, _), curve in curves.items() if of == task)
        parts.append(f'<text x="{x0}" y="{y0 - 18}" font-size="16">{task}</text>')
        for decade in range(round(decades) + 1):
            y = y0 + HEIGHT * decade / decades
            label = f"{CEILING / 10**decade:g}"
            parts.append(f'<path d="M{x0} {y:.1f}h{WIDTH}" stroke="#e8e8ec"/>')
            parts.append(f'<text x="{x0 - 8}" y="{y + 4:.1f}" text-anchor="end">{label}</text>')
        for share in (0, 0.5, 1):
            text = f"{last * share / 1000:.0f}k"
            parts.append(f'<text x="{x0 + share * WIDTH}" y="{y0 + HEIGHT + 20}" text-anchor="middle">{text}</text>')
        parts.append(f'<text x="{x0}" y="{y0 + HEIGHT + 42}">sequences trained on</text>')
        for (of, index, _), curve in curves.items():
            if of != task:
                continue
            points = []
            for sequences, wrong in curve:
                level = math.log10(CEILING / min(max(wrong, FLOOR), CEILING)) / decades
                points.append(f"{x0 + WIDTH * sequences / last:.1f},{y0 + HEIGHT * level:.1f}")
            line = " ".join(points)
            parts.append(f'<polyline points="{line}" fill="none" stroke="{COLOURS[index]}" stroke-width="1.3"/>')
    x = len(TASKS) * (WIDTH + LEFT) + 10
    for row, (index, colour) in enumerate(COLOURS.items()):
        parts.append(f'<text x="{x}" y="{TOP + 20 + 20 * row}" fill="{colour}">{index}</text>')
    parts.append(f'<text x="{LEFT}" y="14" fill="#6b7280">wrong bits a sequence, SAM, a line for each seed</text>')
    return "\n".join([*parts, "</svg>\n"])


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--sparsam", default="target/release/sparsam", help="the command")
    parser.add_argument("--seeds", nargs="+", type=int, default=[1, 2, 3])
    parser.add_argument("--jobs", type=int, default=2, help="runs at once, on one thread each")
    parser.add_argument("--output", type=pathlib.Path, default=pathlib.Path("runs/indexes"))
    parser.add_argument("--picture", type=pathlib.Path, default=pathlib.Path("runs/indexes/learning-by-index.svg"))
    arguments = parser.parse_args()
    arguments.output.mkdir(parents=True, exist_ok=True)

    keys = [(task, index, seed) for seed in arguments.seeds for task in TASKS for index in COLOURS]
    with concurrent.futures.ThreadPoolExecutor(arguments.jobs) as pool:
        curves = dict(zip(keys, pool.map(lambda key: train(arguments, *key), keys), strict=True))
    arguments.picture.write_text(draw(curves))

    print("| task | index | wrong bits at a quarter, a half, three quarters (median) | at the end, each seed |")
    print("|---|---|---|---|")
    for task in TASKS:
        for index in COLOURS:
            of = [curve for (t, i, _), curve in curves.items() if (t, i) == (task, index)]
            cells = []
            for quarter in (1, 2, 3):
                place = len(of[0]) * quarter // 4 - 1
                cells.append(f"{statistics.median(curve[place][1] for curve in of):.3f}")
            ends = [f"{curve[-1][1]:.3f}" for curve in of]
            print(f"| {task} | `{index}` | {' · '.join(cells)} | {' · '.join(ends)} |")


if __name__ == "__main__":
    main()
