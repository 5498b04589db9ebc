"""What a memory is good for, in one picture: trains the examples recall_pairs.py and sensor_log.py with SAM and with
torch.nn.LSTM, several seeds each, and draws how they learn and how far what they learnt reaches.

    pip install matplotlib==3.11.2
    python memory_picture.py --seeds 1 2 3 --output ../../../docs/results/memory.svg

Lines are means over the seeds, bands reach from the worst to the best.
"""

from __future__ import annotations

import argparse
import importlib
import json
import pathlib
import re
import subprocess
import sys
from typing import Any

EXAMPLES = pathlib.Path(__file__).resolve().parent.parent / "examples"

# What is drawn: the script, its arguments, and how its last lines name a length.
PANELS: dict[str, dict[str, Any]] = {
    "pairs": {"script": "recall_pairs.py", "arguments": ["--steps", "600"], "trained": "8"},
    "reports": {"script": "sensor_log.py", "arguments": ["--steps", "1000"], "trained": "12 to 36"},
}
# Of 64 values, or of 6 bits, in per cent.
GUESSING = 100 / 64
MODELS = {"sam": "SAM", "lstm": "LSTM"}
COLOURS = {"sam": "#0b6e4f", "lstm": "#c1440e"}


def results(panel: str, model: str, seed: int, output: pathlib.Path) -> dict[str, list[tuple[int, float]]]:
    """Right answers in per cent, by step and then by length; from the file of an earlier call if there is one."""
    path = output.with_suffix("") / f"{panel}-{model}-{seed}.json"
    if path.exists():
        found: dict[str, list[tuple[int, float]]] = json.loads(path.read_text())
        return found
    about = PANELS[panel]
    command = [sys.executable, str(EXAMPLES / about["script"]), "--model", model, "--seed", str(seed)]
    text = subprocess.run([*command, *about["arguments"]], check=True, capture_output=True, text=True).stdout
    learning = re.findall(r"step (\d+): (\S+) %", text)
    lengths = re.findall(rf"(\d+) {panel}: (\S+) %", re.sub(r"step .*", "", text))
    found = {
        "learning": [(int(step), float(right)) for step, right in learning],
        "lengths": [(int(length), float(right)) for length, right in lengths],
    }
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(found))
    return found


def draw(found: dict[tuple[str, str], list[dict[str, list[tuple[int, float]]]]], output: pathlib.Path) -> None:
    """The picture: a row for each task, learning at the left and other lengths at the right."""
    # By name, since nothing else here needs it, and it need not be there to be checked.
    matplotlib = importlib.import_module("matplotlib")
    matplotlib.use("svg")
    # The same bytes from the same numbers.
    matplotlib.rcParams.update({"svg.hashsalt": "sparsam", "font.size": 9, "svg.fonttype": "none"})
    pyplot = importlib.import_module("matplotlib.pyplot")
    figure, axes = pyplot.subplots(2, 2, figsize=(8, 5), sharey=True, layout="constrained")
    titles = {"pairs": "value of a key, after 8 pairs", "reports": "latest state of a sensor, after up to 36 reports"}
    for row, panel in enumerate(PANELS):
        for column, kind in enumerate(["learning", "lengths"]):
            axis = axes[row][column]
            for model, label in MODELS.items():
                runs = [run[kind] for run in found[panel, model]]
                places = [place for place, _ in runs[0]]
                columns = list(zip(*[[right for _, right in run] for run in runs], strict=True))
                means = [sum(values) / len(values) for values in columns]
                marker = "o" if kind == "lengths" else None
                axis.plot(places, means, color=COLOURS[model], label=label, marker=marker, markersize=4)
                lowest, highest = [min(values) for values in columns], [max(values) for values in columns]
                axis.fill_between(places, lowest, highest, color=COLOURS[model], alpha=0.2, linewidth=0)
            axis.axhline(GUESSING, color="#888888", linewidth=0.8, linestyle=":")
            axis.set_ylim(0, 103)
            axis.grid(alpha=0.25)
            axis.spines[["top", "right"]].set_visible(False)
            if kind == "learning":
                axis.set_title(titles[panel], loc="left", fontsize=9)
                axis.set_xlabel("training steps")
                axis.set_ylabel("right answers, %")
            else:
                axis.set_title(f"the same networks with more {panel}", loc="left", fontsize=9)
                axis.set_xscale("log", base=2)
                axis.set_xticks(places, [str(place) for place in places])
                axis.set_xlabel(f"{panel} in a sequence (trained on {PANELS[panel]['trained']})")
    axes[0][0].legend(frameon=False, loc="center right")
    output.parent.mkdir(parents=True, exist_ok=True)
    figure.savefig(output, metadata={"Date": None})


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seeds", nargs="+", type=int, default=[1, 2, 3])
    parser.add_argument("--output", type=pathlib.Path, default=pathlib.Path("memory.svg"))
    arguments = parser.parse_args()
    found = {}
    for panel in PANELS:
        for model in MODELS:
            found[panel, model] = [results(panel, model, seed, arguments.output) for seed in arguments.seeds]
            last = [run["lengths"] for run in found[panel, model]]
            print(panel, model, *last, sep="\n  ", flush=True)
    draw(found, arguments.output)


if __name__ == "__main__":
    main()
