"""A stream that survives a restart: one step at a time, in no more memory than the words it stores.

python stream.py --folder stream

Run it again, and it goes on where it was stopped, with all that it remembered: the folder has the model and the newest
state.
"""

from __future__ import annotations

import argparse
import math
from pathlib import Path

import torch
from sparsam.torch import SAM, load_checkpoint
from torch import Tensor


def observe(number: int) -> Tensor:
    """The numberth observation, from wherever yours come: one time step of one sequence, (1, 1, 4)."""
    return torch.tensor([math.sin(number * frequency) for frequency in (0.1, 0.23, 0.71, 1.9)]).view(1, 1, 4)


def main() -> None:
    arguments = argparse.ArgumentParser(description="A stream that survives a restart.")
    arguments.add_argument("--folder", type=Path, default=Path("stream"), help="where model and state are kept")
    arguments.add_argument("--steps", type=int, default=3000, help="to go on for; a real one has no end")
    arguments.add_argument("--save-every", type=int, default=1000, help="steps: what a power cut can cost")
    given = arguments.parse_args()

    model_path = given.folder / "model.safetensors"
    if not model_path.exists():
        given.folder.mkdir(parents=True, exist_ok=True)
        torch.manual_seed(1)
        SAM(input_size=4, hidden_size=32, output_size=4, memory_size=1_000_000).save_checkpoint(model_path)
    model = load_checkpoint(model_path).eval()

    # A state's name says how many observations it has seen, so that the two cannot come from different moments.
    saved = sorted(given.folder.glob("state-*.safetensors"))
    first = int(saved[-1].stem.removeprefix("state-")) if saved else 0
    state = model.load_state(saved[-1]) if saved else None
    print(f"going on from observation {first}")

    for number in range(first, first + given.steps):
        with torch.inference_mode():  # nothing is kept to go back through
            output, state = model(observe(number), state)  # the state before is used up; this one goes on
        seen = number + 1
        if seen % given.save_every == 0 or seen == first + given.steps:
            path = given.folder / f"state-{seen:012}.safetensors"
            state.save(path)  # whole or not at all, at the cost of the words written
            for older in saved:
                older.unlink(missing_ok=True)
            saved = [path]
            print(f"observation {seen}: {path.stat().st_size / 1024:.0f} KiB, output {output.flatten().tolist()}")


if __name__ == "__main__":
    main()
