"""The tasks of the command ``sparsam`` for PyTorch: batches that processes share out, and their loss.

Example:
    >>> from sparsam.tasks import Task
    >>> from sparsam.tasks.torch import TaskDataset, loss
    >>> from sparsam.torch import SAM
    >>> from torch.utils.data import DataLoader
    >>> task = Task("copy", max_length=4)
    >>> model = SAM(task.input_size, 20, task.output_size, input_bound=task.input_bound())
    >>> for batch in DataLoader(TaskDataset(task, 8, batches=2), batch_size=None):
    ...     output, state = model(batch.inputs, lengths=batch.lengths)
    ...     loss(output, batch).backward()
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from itertools import chain
from typing import NamedTuple

from sparsam._configuration import integer

try:
    import torch
except ModuleNotFoundError as error:
    if error.name != "torch":
        raise
    raise ModuleNotFoundError(
        "sparsam.tasks.torch needs PyTorch, which is not installed: pip install torch", name="torch"
    ) from None

from torch import Tensor, distributed, nn
from torch.nn import functional as F
from torch.utils.data import IterableDataset, get_worker_info

from sparsam.tasks import Task

__all__ = ["TaskBatch", "TaskDataset", "check_gradients", "loss", "wrong"]


class TaskBatch(NamedTuple):
    """A process's rows of a batch that all processes share out, T the steps of its longest sequence."""

    inputs: Tensor
    """(T, B, I), in single precision; tokens, (T, B), integers."""
    lengths: Tensor
    """Steps of each sequence, (B,)."""
    targets: Tensor
    """Bits or numbers, (T, B, O), NaN where none is wanted; classes, (T, B), integers, -100 where none is wanted."""
    kind: str
    """What the targets are: ``"bits"``, ``"classes"`` or ``"numbers"``."""
    number: int
    """Of the batch, the first being 0."""
    divisor: int
    """What the loss of the whole batch, all processes' rows together, is divided by to be a mean."""
    guessing: float
    """What these rows add to the loss of guessing all that the whole batch wants, in the task's unit."""


class TaskDataset(IterableDataset[TaskBatch]):
    """The batches that the command trains, each shared out over the processes of ``torch.distributed``.

    A process gets its rows of every batch, :class:`TaskBatch` by :class:`TaskBatch`, and all of them together the rows
    that one process would get. ``DataLoader(dataset, batch_size=None, num_workers=N)`` makes them in N processes more;
    what it gives, and in which order, does not depend on N.

    Args:
        task: whose sequences they are.
        batch_size: sequences in a whole batch; at least as many as there are processes.
        batches: number of the batch before which it ends; without it there is no end.
        start: number of the first batch: where training goes on.
        level: of the sequences, as in :meth:`sparsam.tasks.Task.sequences`.
        rank: of this process; that of ``torch.distributed`` without it.
        world_size: how many processes there are; the same.

    Where the task's loss is a mean over targets (:attr:`sparsam.tasks.Task.per` is not ``"sequence"``), every process
    makes the sequences of all others too, one at a time, to count what is wanted.

    Raises:
        TypeError: a number is no integer.
        ValueError: a number that cannot be, such as fewer rows than processes, or a level that the task does not have.
        RuntimeError: ``torchrun`` started several processes, and ``init_process_group`` has not been called.
    """

    def __init__(
        self,
        task: Task,
        batch_size: int,
        *,
        batches: int | None = None,
        start: int = 0,
        level: int | tuple[int, int] | None = None,
        rank: int | None = None,
        world_size: int | None = None,
    ) -> None:
        if (rank is None) != (world_size is None):
            raise ValueError("rank and world_size are given together, or neither is")
        if rank is None or world_size is None:
            rank, world_size = _place()
        self.task = task
        self.batch_size = integer("batch_size", batch_size, 1)
        self.batches = None if batches is None else integer("batches", batches, 0)
        self.start = integer("start", start, 0)
        self.level = level
        # A level that cannot be is found here, and not in a worker.
        task.wanted([], level=level)
        self.world_size = integer("world_size", world_size, 1)
        self.rank = integer("rank", rank, 0)
        if self.rank >= self.world_size:
            raise ValueError(f"rank is {rank}, where one of {world_size} processes, from 0 on, was expected")
        if self.batch_size < self.world_size:
            # A process without rows would have no gradient to bring along.
            expected = f"at least one sequence for each of the {world_size} processes was expected"
            raise ValueError(f"batch_size is {batch_size}, where {expected}")

    def __iter__(self) -> Iterator[TaskBatch]:
        worker = get_worker_info()
        # DataLoader asks its workers in turn, so that the batches come in their order.
        number, step = (self.start, 1) if worker is None else (self.start + worker.id, worker.num_workers)
        while self.batches is None or number < self.batches:
            yield self.rows(number)
            number += step

    def rows(self, number: int) -> TaskBatch:
        """This process's rows of a batch."""
        first = number * self.batch_size
        start, end = (first + place * self.batch_size // self.world_size for place in (self.rank, self.rank + 1))
        mine = self.task.sequences(range(start, end), level=self.level)
        divisor = self.batch_size
        if self.task.per != "sequence":
            # What the others want decides the mean too.
            others = chain(range(first, start), range(end, first + self.batch_size))
            divisor = max(1, mine.wanted + self.task.wanted(others, level=self.level))
        guessing = mine.guessing * mine.divisor / divisor
        inputs, lengths, targets = map(torch.from_numpy, (mine.inputs, mine.lengths, mine.targets))
        return TaskBatch(inputs, lengths, targets, mine.kind, number, divisor, guessing)


def loss(output: Tensor, batch: TaskBatch) -> Tensor:
    """What these rows add to the mean loss of the whole batch: the sum over processes is the loss that the command has.

    It is in nats, or of numbers in their squared unit, as the command takes its gradient; times
    :attr:`sparsam.tasks.Task.scale` it is in the task's unit. DistributedDataParallel takes the mean of the processes'
    gradients: multiply by the number of processes before ``backward``. It always depends on ``output``, also where
    nothing is wanted.

    Args:
        output: of a network for ``batch.inputs``, (T, B, O).
        batch: that the output is for.
    """
    targets = batch.targets.to(output.device)
    if batch.kind == "classes":
        summed = F.cross_entropy(output.flatten(0, 1), targets.flatten(), reduction="sum")
    else:
        asked = ~targets.isnan()
        of = F.binary_cross_entropy_with_logits if batch.kind == "bits" else F.mse_loss
        summed = of(output[asked], targets[asked].to(output.dtype), reduction="sum")
    return summed / batch.divisor


def wrong(output: Tensor, batch: TaskBatch) -> int:
    """How many outputs of these rows are wrong, as :attr:`sparsam.tasks.Score.wrong` counts them; 0 of numbers."""
    output, targets = output.detach(), batch.targets.to(output.device)
    if batch.kind == "classes":
        asked = targets >= 0
        logits, right = output[asked], targets[asked].unsqueeze(1)
        # Neither a tie nor what is not a number is an answer.
        below = (logits < logits.gather(1, right)).sum(1)
        return int((below != logits.shape[1] - 1).sum())
    if batch.kind == "bits":
        asked = ~targets.isnan()
        return int(((output[asked] > 0) != (targets[asked] > 0.5)).sum())
    return 0


def check_gradients(module: nn.Module) -> None:
    """Checks, after ``backward`` and before the optimiser's step, that every parameter that learns has a gradient.

    Where a process brings no gradient of a parameter, DistributedDataParallel leaves those of all parameters in its
    bucket as each process has them: the processes drift apart, or wait for each other, without a word. This tells at
    once, in the process that it happened in, which ``torchrun`` then ends with all others.

    Args:
        module: whose gradients were ``None`` before ``backward``, as ``zero_grad`` leaves them.

    Raises:
        RuntimeError: names the parameters without a gradient.
    """
    missing = [
        name for name, parameter in module.named_parameters() if parameter.requires_grad and parameter.grad is None
    ]
    if missing:
        place = f" in process {distributed.get_rank()}" if _is_joint() else ""
        raise RuntimeError(
            f"no gradient came back to {', '.join(missing)}{place}: let every process's loss depend on them in every "
            "step, as sparsam.tasks.torch.loss does, or take them out with requires_grad_(False) in all processes"
        )


def _is_joint() -> bool:
    return distributed.is_available() and distributed.is_initialized()


def _place() -> tuple[int, int]:
    """The rank of this process, and how many there are."""
    if _is_joint():
        return distributed.get_rank(), distributed.get_world_size()
    if int(os.environ.get("WORLD_SIZE", "1")) > 1:
        raise RuntimeError(
            "torchrun started several processes that do not know of each other yet: call "
            "torch.distributed.init_process_group first, or give rank and world_size"
        )
    return 0, 1
