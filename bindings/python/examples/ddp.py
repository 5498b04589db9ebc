"""Train copy in several processes that share out every batch.

    torchrun --nproc-per-node 2 ddp.py

Every process draws the same batches, takes its rows of them, and DistributedDataParallel averages the gradients, so
that the parameters go where one process with whole batches would take them. Alone (``python ddp.py``) it is that
process.
"""

from __future__ import annotations

import argparse
import os

import torch
from sparsam.torch import SAM
from torch import distributed
from torch.nn import functional as F
from torch.nn.parallel import DistributedDataParallel
from train_copy import BITS, batch


def main() -> None:
    arguments = argparse.ArgumentParser(description="Train copy in several processes that share out every batch.")
    arguments.add_argument("--batches", type=int, default=300)
    arguments.add_argument("--rows", type=int, default=8, help="of a whole batch")
    arguments.add_argument("--longest", type=int, default=5)
    given = arguments.parse_args()

    world = int(os.environ.get("WORLD_SIZE", "1"))
    if world > 1:
        distributed.init_process_group("gloo")
    rank = distributed.get_rank() if world > 1 else 0
    mine = slice(rank * given.rows // world, (rank + 1) * given.rows // world)

    torch.manual_seed(1)
    generator = torch.Generator().manual_seed(1)
    model: torch.nn.Module = SAM(BITS + 2, 100, BITS)
    if world > 1:
        model = DistributedDataParallel(model)
    optimiser = torch.optim.Adam(model.parameters(), lr=1e-3)
    for number in range(1, given.batches + 1):
        input, target, lengths = batch(given.rows, given.longest, generator)
        asked = ~target.isnan()
        # A sum over these rows, over the count of all: the mean over processes is taken with the gradients.
        count = asked.sum() / world
        input, target, asked, lengths = input[:, mine], target[:, mine], asked[:, mine], lengths[mine]
        output, _ = model(input, lengths=lengths)
        loss = F.binary_cross_entropy_with_logits(output[asked], target[asked], reduction="sum") / count
        optimiser.zero_grad()
        torch.autograd.backward(loss)
        optimiser.step()
        if number % 10 == 0 or number == given.batches:
            joint = loss.detach() / world
            if world > 1:
                distributed.all_reduce(joint)
            if rank == 0:
                print(f"batch {number}: loss {joint.item():.4f}", flush=True)
    if world > 1:
        # Python must not end while a thread of gloo still lets go of the last sum's tensor: it would abort the process.
        # A barrier has no tensor, and comes after that sum in every process.
        distributed.barrier()
        distributed.destroy_process_group()


if __name__ == "__main__":
    main()
