"""Train any task of the command ``sparsam`` in several processes, on one machine or on several.

    torchrun --nproc-per-node 2 train_task.py recall
    export TORCH_DISABLE_SHARE_RDZV_TCP_STORE=1
    torchrun --nproc-per-node 2 --max-restarts 3 train_task.py sequences --option data=mine.npz --folder runs/mine
    sparsam eval runs/mine

The variable gives each attempt a store of its own: without it processes of torch 2.15 that were started again may find
the addresses of those that ended, and give up.

Every process takes its rows of every batch, and DistributedDataParallel averages the gradients, so that the parameters
go where one process with whole batches would take them. Alone (``python train_task.py recall``) it is that process.

The run's folder has the newest network, which the command evaluates, and ``training.pt``, which training goes on from:
started anew, by hand or by ``torchrun`` after a process was lost, it goes on from the last time that it was saved. On
several machines the folder may be on a disk of each; the machine that has the newest sends it to the others.
"""

from __future__ import annotations

import argparse
import json
import os
import sys
from datetime import timedelta
from pathlib import Path
from typing import Any

import torch
from sparsam import torch as models
from sparsam.tasks import TASKS, Task, save_run
from sparsam.tasks.torch import TaskDataset, check_gradients, loss, wrong
from torch import distributed, nn
from torch.nn.parallel import DistributedDataParallel
from torch.utils.data import DataLoader

# Batches in a row without a finite gradient at which training ends: the network went wrong, and not one batch.
OVERFLOWS = 10


def count(text: str) -> int:
    """A number from 1 on, as it is typed."""
    number = int(text)
    if number < 1:
        raise argparse.ArgumentTypeError(f"{text} is not a number from 1 on")
    return number


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
    module: nn.Module = recurrent
    if tokens:
        embedding = nn.Embedding(tokens, embedding_size)
        module = models.TokenNetwork(embedding, recurrent, sentence_size=task.sentence_size)
    return module


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


def check_same(path: Path, state: dict[str, Any], run: dict[str, Any]) -> None:
    """Ends the process if what was saved is of another run."""
    for name, now in run.items():
        before = state.get(name)
        if before != now:
            sys.exit(f"{path} was trained with {name} {before}, not {now}: give the same, or choose another --folder")


def replace(path: Path, state: dict[str, Any], rank: int) -> None:
    """Saves in the place of what is there, all of it or nothing, however the process ends."""
    path.parent.mkdir(parents=True, exist_ok=True)
    # Machines may share the folder.
    part = path.with_suffix(f".part{rank}")
    with open(part, "wb") as file:
        torch.save(state, file)
        file.flush()
        os.fsync(file.fileno())
    os.replace(part, path)


def main(arguments: list[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description="Train a task in several processes that share out every batch.")
    parser.add_argument("task", choices=TASKS)
    parser.add_argument("--option", type=option, action="append", default=[], help="of the task: max_items=10")
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--model", choices=["SAM", "SDNC", "DAM", "NTM", "DNC"], default="SAM")
    parser.add_argument("--hidden-size", type=count, default=100)
    parser.add_argument("--embedding-size", type=count, default=64, help="of tokens")
    parser.add_argument("--memory-size", type=count, default=1024)
    parser.add_argument("--batch-size", type=count, default=8, help="sequences of all processes together")
    parser.add_argument("--batches", type=count, default=300)
    parser.add_argument("--learning-rate", type=float, default=1e-3)
    parser.add_argument("--workers", type=int, default=0, help="processes that make sequences, for each that trains")
    parser.add_argument("--folder", type=Path, help="of the run; without it nothing is kept")
    parser.add_argument("--save-every", type=count, default=100, help="batches")
    parser.add_argument("--report-every", type=count, default=10, help="batches")
    parser.add_argument("--timeout", type=count, default=5, help="minutes without a word from a process that end it")
    given = parser.parse_args(arguments)

    world = int(os.environ.get("WORLD_SIZE", "1"))
    if world > 1:
        # A host that is cut off sends no word that it is gone.
        distributed.init_process_group("gloo", timeout=timedelta(minutes=given.timeout))
    rank, on_this_machine = (int(os.environ.get(name, "0")) for name in ("RANK", "LOCAL_RANK"))

    task = Task(given.task, seed=given.seed, **dict(given.option))
    torch.manual_seed(given.seed)
    module = network(task, given.model, given.hidden_size, given.embedding_size, given.memory_size)
    optimiser = torch.optim.Adam(module.parameters(), lr=given.learning_rate)
    clip = models.AdaptiveClip()

    sizes = {name: getattr(given, name) for name in ("hidden_size", "embedding_size", "memory_size")}
    run = {"task": task.name, "seed": task.seed, "options": task.options, "model": given.model, "sizes": sizes}
    run |= {"batch_size": given.batch_size, "learning_rate": given.learning_rate}
    path = given.folder / "training.pt" if given.folder else None
    start = 0
    if path and (state := newest(path)):
        check_same(path, state, run)
        module.load_state_dict(state["module"])
        optimiser.load_state_dict(state["optimiser"])
        clip.load_state_dict(state["clip"])
        start = state["batch"]

    def save_network(batch: int) -> None:
        if path and rank == 0:
            options = {name: getattr(given, name) for name in ("batch_size", "batches", "learning_rate")}
            save_run(given.folder, module, task, batch=batch, **options)

    def save(batch: int) -> None:
        if path and on_this_machine == 0:
            state = {"module": module.state_dict(), "optimiser": optimiser.state_dict(), "clip": clip.state_dict()}
            replace(path, {**run, **state, "batch": batch}, rank)
        save_network(batch)

    # A folder of another run is refused now. And the last attempt may have ended between the two files, or its first
    # process may have been on another machine.
    save_network(start)
    if rank == 0:
        parameters = sum(parameter.numel() for parameter in module.parameters())
        print(f"{parameters} parameters, {world} processes, from batch {start} on", flush=True)
    trained = DistributedDataParallel(module) if world > 1 else module

    overflows = 0
    dataset = TaskDataset(task, given.batch_size, batches=given.batches, start=start)
    for batch in DataLoader(dataset, batch_size=None, num_workers=given.workers):
        output, _ = trained(batch.inputs, lengths=batch.lengths)
        part = loss(output, batch)
        optimiser.zero_grad()
        # The mean over processes, which is taken with the gradients, is to be the sum.
        torch.autograd.backward(part * world)
        check_gradients(module)
        done = batch.number + 1
        # The gradients are the same in every process, and so is what follows from them.
        norm = clip(module.parameters())
        if norm.isfinite():
            optimiser.step()
            overflows = 0
        else:
            overflows += 1
            if rank == 0:
                print(f"batch {done}: nothing was learnt, since the gradient is not finite", flush=True)
            if overflows == OVERFLOWS:
                sys.exit(f"batch {done} is the {overflows}th in a row without a finite gradient: lower --learning-rate")
        if done % given.report_every == 0 or done == given.batches:
            report = torch.tensor([part.item() * task.scale, wrong(output, batch) / batch.divisor, batch.guessing])
            if world > 1:
                distributed.all_reduce(report)
            if rank == 0:
                now, errors, guessing = report.tolist()
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
