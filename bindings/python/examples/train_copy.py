"""Train SAM to repeat sequences of random bits.

python train_copy.py --batches 3000
"""

from __future__ import annotations

import argparse

import torch
from sparsam.torch import SAM, AdaptiveClip
from torch import Tensor
from torch.nn import functional as F

BITS = 8


def batch(rows: int, longest: int, generator: torch.Generator) -> tuple[Tensor, Tensor, list[int]]:
    """Inputs (T, B, BITS + 2), targets (T, B, BITS) and lengths: a start mark, the bits, an end mark, silence while the
    bits are to be repeated."""
    counts = torch.randint(1, longest + 1, (rows,), generator=generator).tolist()
    lengths = [2 * count + 2 for count in counts]
    input = torch.zeros(max(lengths), rows, BITS + 2)
    target = torch.full((max(lengths), rows, BITS), torch.nan)
    for row, count in enumerate(counts):
        bits = torch.randint(0, 2, (count, BITS), generator=generator).float()
        input[0, row, BITS] = 1
        input[1 : count + 1, row, :BITS] = bits
        input[count + 1, row, BITS + 1] = 1
        target[count + 2 : 2 * count + 2, row] = bits
    return input, target, lengths


def main() -> None:
    arguments = argparse.ArgumentParser(description="Train SAM to repeat sequences of random bits.")
    arguments.add_argument("--batches", type=int, default=3000)
    arguments.add_argument("--rows", type=int, default=8)
    arguments.add_argument("--longest", type=int, default=5)
    arguments.add_argument("--seed", type=int, default=1)
    given = arguments.parse_args()

    torch.manual_seed(given.seed)
    generator = torch.Generator().manual_seed(given.seed)
    model = SAM(BITS + 2, 100, BITS)
    optimiser, clip = torch.optim.Adam(model.parameters(), lr=1e-3), AdaptiveClip()
    for number in range(1, given.batches + 1):
        input, target, lengths = batch(given.rows, given.longest, generator)
        output, _ = model(input, lengths=lengths)
        asked = ~target.isnan()
        loss = F.binary_cross_entropy_with_logits(output[asked], target[asked])
        optimiser.zero_grad()
        torch.autograd.backward(loss)
        clip(model.parameters())
        optimiser.step()
        if number % 100 == 0 or number == given.batches:
            wrong = ((output[asked] > 0) != (target[asked] > 0.5)).float().mean()
            print(f"batch {number}: loss {loss.item():.3f}, {100 * wrong.item():.1f} % of bits wrong", flush=True)


if __name__ == "__main__":
    main()
