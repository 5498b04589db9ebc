"""Train any task of the command ``sparsam`` in several processes, on one machine or on several.

    torchrun --nproc-per-node 2 train_task.py recall
    torchrun --nproc-per-node 2 --max-restarts 3 train_task.py sequences --option data=mine.npz --folder runs/mine
    sparsam eval runs/mine

Every process takes its rows of every batch, and DistributedDataParallel averages the gradients, so that the parameters
go where one process with whole batches would take them. Alone (``python train_task.py recall``) it is that process.

The run's folder has the newest network, which the command evaluates, and all that training goes on from: started anew,
by hand or by ``torchrun`` after a process was lost, it goes on from the last time that it was saved. On several
machines the folder may be on a disk of each; the machine that has the newest tells the others.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
from pathlib import Path
from typing import Any

import torch
from sparsam import torch as models
from sparsam.tasks import TASKS, Task, save_run
from sparsam.tasks.torch import TaskDataset, check_gradients, loss, wrong
from torch import distributed, nn
from torch.nn.parallel import DistributedDataParallel
from torch.utils.data import DataLoader


def option(text: str) -> tuple[str, Any]:
    """An option of a task as it is typed: a number, true or false, or else text."""
    name, value = text.split("=", 1)
    try:
        return name.replace("-", "_"), json.loads(value)
    except json.JSONDecodeError:
        return name.replace("-", "_"), value


def network(task: Task, model: str, hidden_size: int, embedding_size: int, memory_size: int) -> nn.Module:
    """A module for the task, behind embeddings if its inputs are tokens."""
    tokens = task.vocabulary_size
    bound = task.input_bound(embedding_size)
    recurrent = getattr(models, model)(
        embedding_size if tokens else task.input_size,
        hidden_size,
        task.output_size,
        memory_size,
        input_bound=bound,
    )
    return models.TokenNetwork(nn.Embedding(tokens, embedding_size), recurrent) if tokens else recurrent


def newest(path: Path) -> dict[str, Any] | None:
    """What training goes on from, which the process that has the newest gives to all others."""
    mine: dict[str, Any] | None = torch.load(path) if path.exists() else None
    if not distributed.is_initialized():
        return mine
    batches: list[int] = [0] * distributed.get_world_size()
    distributed.all_gather_object(batches, mine["batch"] if mine else 0)
    given = [mine]
    distributed.broadcast_object_list(given, src=batches.index(max(batches)))
    return given[0]


def replace(path: Path, state: dict[str, Any]) -> None:
    """Saves in the place of what is there, all of it or nothing, however the process ends."""
    path.parent.mkdir(parents=True, exist_ok=True)
    # Machines may share the folder.
    part = path.with_suffix(f".{platform.node()}.{os.getpid()}")
    with open(part, "wb") as file:
        torch.save(state, file)
        file.flush()
        os.fsync(file.fileno())
    os.replace(part, path)


def main() -> None:
    arguments = argparse.ArgumentParser(description="Train a task in several processes that share out every batch.")
    arguments.add_argument("task", choices=TASKS)
    arguments.add_argument("--option", type=option, action="append", default=[], help="of the task: max_items=10")
    arguments.add_argument("--seed", type=int, default=1)
    arguments.add_argument("--model", choices=["SAM", "SDNC", "DAM", "NTM", "DNC"], default="SAM")
    arguments.add_argument("--hidden-size", type=int, default=100)
    arguments.add_argument("--embedding-size", type=int, default=64, help="of tokens")
    arguments.add_argument("--memory-size", type=int, default=1024)
    arguments.add_argument("--batch-size", type=int, default=8, help="sequences of all processes together")
    arguments.add_argument("--batches", type=int, default=300)
    arguments.add_argument("--learning-rate", type=float, default=1e-3)
    arguments.add_argument("--workers", type=int, default=0, help="processes that make sequences, for each that trains")
    arguments.add_argument("--folder", type=Path, help="of the run; without it nothing is kept")
    arguments.add_argument("--save-every", type=int, default=100, help="batches")
    arguments.add_argument("--tell-every", type=int, default=10, help="batches")
    given = arguments.parse_args()

    world = int(os.environ.get("WORLD_SIZE", "1"))
    if world > 1:
        distributed.init_process_group("gloo")
    rank, on_this_machine = (int(os.environ.get(name, "0")) for name in ("RANK", "LOCAL_RANK"))

    task = Task(given.task, seed=given.seed, **dict(given.option))
    torch.manual_seed(given.seed)
    module = network(task, given.model, given.hidden_size, given.embedding_size, given.memory_size)
    optimiser = torch.optim.Adam(module.parameters(), lr=given.learning_rate)
    clip = models.AdaptiveClip()

    path = given.folder / "training.pt" if given.folder else None
    start = 0
    if path and (state := newest(path)):
        module.load_state_dict(state["module"])
        optimiser.load_state_dict(state["optimiser"])
        clip.load_state_dict(state["clip"])
        start = state["batch"]
    if rank == 0:
        count = sum(parameter.numel() for parameter in module.parameters())
        print(f"{count} parameters, {world} processes, from batch {start} on", flush=True)
    trained = DistributedDataParallel(module) if world > 1 else module

    def save(batch: int) -> None:
        if path and on_this_machine == 0:
            state = {"module": module.state_dict(), "optimiser": optimiser.state_dict(), "clip": clip.state_dict()}
            replace(path, {**state, "batch": batch})
        if path and rank == 0:
            options = {name: getattr(given, name) for name in ("batch_size", "batches", "learning_rate")}
            save_run(given.folder, module, task, batch=batch, **options)

    dataset = TaskDataset(task, given.batch_size, batches=given.batches, start=start)
    for batch in DataLoader(dataset, batch_size=None, num_workers=given.workers):
        output, _ = trained(batch.inputs, lengths=batch.lengths)
        part = loss(output, batch)
        optimiser.zero_grad()
        # The mean over processes, which is taken with the gradients, is to be the sum.
        torch.autograd.backward(part * world)
        check_gradients(module)
        norm = clip(module.parameters())
        if norm.isfinite():
            optimiser.step()
        done = batch.number + 1
        if done % given.tell_every == 0 or done == given.batches:
            told = torch.tensor([part.item() * task.scale, wrong(output, batch) / batch.divisor, batch.guessing])
            if world > 1:
                distributed.all_reduce(told)
            if rank == 0:
                now, errors, guessing = told.tolist()
                losses = f"loss {now:.4f} {task.unit}, guessing {guessing:.4f}"
                print(f"batch {done}: {losses}, wrong {errors:.3f}", flush=True)
        if done % given.save_every == 0 or done == given.batches:
            save(done)
    if world > 1:
        # Python must not end while a thread of gloo still lets go of the last sum's tensor: it would abort the process.
        # A barrier has no tensor, and comes after that sum in every process.
        distributed.barrier()
        distributed.destroy_process_group()


if __name__ == "__main__":
    main()
