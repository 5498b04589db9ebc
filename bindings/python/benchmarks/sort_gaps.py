"""Where a network that sorts is wrong: its errors by the smallest distance between two neighbouring priorities.

    sparsam train sort --learning-rate 5e-4 --batches 60000 --cooldown 60000 --run runs/sort
    python sort_gaps.py runs/sort

The sequences are like those of the task `sort`: 20 vectors of 8 bits, each with a priority uniform in [-1, 1]; the 16
of highest priority are wanted, highest first.
"""

import argparse
from itertools import pairwise

import numpy as np
import sparsam

VECTORS, WANTED, BITS = 20, 16, 8
LIMITS = [0, 0.0005, 0.001, 0.002, 0.004, 0.008, 0.016, 2]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("run", help="the run's folder")
    parser.add_argument("--sequences", type=int, default=2048)
    parser.add_argument("--seed", type=int, default=1)
    arguments = parser.parse_args()
    network = sparsam.load_run(arguments.run).network
    random = np.random.default_rng(arguments.seed)

    rows = arguments.sequences
    vectors = random.integers(0, 2, (VECTORS, rows, BITS))
    priorities = random.uniform(-1, 1, (VECTORS, rows)).astype(np.float32)
    inputs = np.zeros((VECTORS + 1 + WANTED, rows, BITS + 2), np.float32)
    inputs[:VECTORS, :, :BITS] = vectors
    inputs[:VECTORS, :, BITS] = priorities
    inputs[VECTORS, :, BITS + 1] = 1
    outputs = np.concatenate([network.infer(inputs[:, row : row + 64])[0] for row in range(0, rows, 64)], axis=1)

    order = np.argsort(-priorities, axis=0)[:WANTED]
    wanted = np.take_along_axis(vectors, order[:, :, None], axis=0)
    wrong = ((outputs[VECTORS + 1 :] > 0) != wanted).sum(axis=(0, 2))
    falling = -np.sort(-priorities, axis=0)[: WANTED + 1]
    distances = (falling[:-1] - falling[1:]).min(axis=0)
    print(f"all: {wrong.mean():.2f} wrong bits, {100 * (wrong > 0).mean():.1f} % of sequences with some")
    for low, high in pairwise(LIMITS):
        here = wrong[(distances >= low) & (distances < high)]
        if here.size:
            share = 100 * (here > 0).mean()
            print(f"{low} to {high}: {here.size} sequences, {here.mean():.2f} wrong bits, {share:.1f} % with some")


if __name__ == "__main__":
    main()
