"""Which pairs a network forgets: wrong answers of a run of ``sparsam train mqar``, by when in the sequence the pair
came, and by when it was asked for, in eighths.

    python mqar_places.py RUN --pairs 16384

The newest weights, one sequence of ``sparsam eval``. Needs this package.
"""

from __future__ import annotations

import argparse
from pathlib import Path

import numpy as np
from sparsam import load_run
from sparsam.tasks import Task

PARTS = 8


def main() -> None:
    """Asks and prints."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("run", type=Path, help="folder of a run of mqar")
    parser.add_argument("--pairs", type=int, default=16_384, help="in the sequence")
    parser.add_argument("--seed", type=int, default=1, help="of the sequence")
    options = parser.parse_args()
    run = load_run(options.run, checkpoint="newest")
    given = {name: value for name, value in run.configuration["task"].items() if name != "name"}
    batch = Task("mqar", seed=options.seed, **given).sequences(range(1), stream="evaluation", level=options.pairs)
    tokens, wanted = batch.inputs[:, 0], batch.targets[:, 0]
    output, _ = run.network.infer(batch.inputs)
    # A sequence begins with its pairs, a key and a value each.
    came = {int(key): number for number, key in enumerate(tokens[: 2 * options.pairs : 2])}
    asked = np.flatnonzero(wanted >= 0)
    wrong = output[asked, 0].argmax(1) != wanted[asked]
    print(f"right: {100 * (1 - wrong.mean()):.2f} % of {len(asked):,}")
    places = {
        "by when the pair came": np.array([came[int(tokens[step])] for step in asked]) / options.pairs,
        "by when it was asked for": (asked - 2 * options.pairs) / (len(tokens) - 2 * options.pairs),
    }
    for name, place in places.items():
        parts = (PARTS * place).astype(int)
        shares = [100 * wrong[parts == part].mean() if (parts == part).any() else 0 for part in range(PARTS)]
        print(f"wrong, in %, {name}:", " ".join(f"{share:.1f}" for share in shares))


if __name__ == "__main__":
    main()
