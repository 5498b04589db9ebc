"""The tasks of the command ``sparsam`` as arrays: the sequences that it trains and evaluates on, to the bit.

:class:`Task` makes batches of them, and :func:`save_run` the folder of a run, which the command evaluates, from a
network that was trained on them. :mod:`sparsam.tasks.torch` has them as a data set for PyTorch, shared out over
processes. What is here does not ask for PyTorch.

Example:
    >>> from sparsam import Network
    >>> from sparsam.tasks import Task
    >>> task = Task("recall", seed=1, max_items=4)
    >>> batch = task.batch(0, 8)  # the first that `sparsam train recall --seed 1 --max-items 4 --batch-size 8` trains
    >>> network = Network("sam", task.input_size, 20, task.output_size, input_bound=task.input_bound())
    >>> output, state, tape = network.forward(batch.inputs, lengths=batch.lengths)
    >>> score = batch.score(output)
    >>> gradients = tape.backward(score.gradient)
"""

from __future__ import annotations

import json
import os
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from itertools import islice
from os import PathLike
from typing import TYPE_CHECKING, Any, NoReturn

import numpy as np
from numpy.typing import ArrayLike, NDArray

from sparsam import _core
from sparsam._configuration import TASK_OPTIONS, TRAINING_OPTIONS, Configuration, Option, integer
from sparsam._network import Network

if TYPE_CHECKING:
    from torch import nn

__all__ = ["STREAMS", "TASKS", "Batch", "Score", "Task", "save_run"]

TASKS = tuple(TASK_OPTIONS)
"""The names of all tasks."""

STREAMS = ("training", "validation", "evaluation")
"""What sequences are for: those that ``sparsam train`` trains on, those that it evaluates on meanwhile, and those of
``sparsam eval``."""

_MOST_SEQUENCES = 1 << 20
"""In a batch. A range is written faster than its numbers can be made."""


@dataclass(frozen=True, eq=False)
class Score:
    """How outputs do, in the unit of the task."""

    loss: float
    """In :attr:`Task.unit`, a mean over what :attr:`Task.per` says."""
    wrong: int | None
    """Wrong bits (a logit above 0 says 1) or classes (the largest logit), in all; ``None`` of numbers."""
    gradient: NDArray[np.float32]
    """Of the mean loss by the outputs, (T, B, O), as the command trains with it: in nats, and not in bits; of numbers
    in their squared unit."""


@dataclass(frozen=True, eq=False)
class Batch:
    """Sequences side by side, T the steps of the longest. A worker of a ``DataLoader`` cannot send one: let it return
    the arrays, or what :meth:`sparsam.tasks.torch.TaskDataset.rows` gives."""

    inputs: NDArray[Any]
    """(T, B, I), in single precision; tokens, (T, B), integers; sentences of them, (T, B, J), -1 in all places after
    the last. 0 past a sequence's end."""
    lengths: NDArray[np.int64]
    """Steps of each sequence, (B,)."""
    targets: NDArray[Any]
    """Bits or numbers, (T, B, O), NaN where none is wanted; classes, (T, B), integers, -100 where none is wanted."""
    kind: str
    """What the targets are: ``"bits"``, ``"classes"`` or ``"numbers"``."""
    wanted: int
    """Bits, classes or numbers wanted."""
    divisor: int
    """What a summed loss is divided by to be the mean that the command tells: sequences, or what is wanted."""
    guessing: float
    """The loss of guessing all that is wanted, as :attr:`Score.loss` has it: the yardstick of losses."""
    _core: _core.Batch = field(repr=False)

    def score(self, outputs: ArrayLike) -> Score:
        """How outputs, (T, B, O) in single precision, do; they are logits where the targets are bits or classes.

        Raises:
            TypeError, ValueError: they are of another dtype or shape, or not finite where something is wanted.
        """
        loss, wrong, gradient = self._core.score(np.ascontiguousarray(outputs))
        return Score(loss, None if self.kind == "numbers" else wrong, gradient)

    def __reduce__(self) -> NoReturn:
        raise TypeError(
            "a Batch cannot be pickled, and so is not sent from one process to another: send its arrays, or what "
            "sparsam.tasks.torch.TaskDataset.rows gives"
        )


class Task:
    """A task of the command ``sparsam``, with the seed that its sequences follow from.

    A sequence follows from the seed, what it is for and its number alone, so that any can be made without those before
    it. Those that come from files are read when the task is made.

    Args:
        name: one of :data:`TASKS`.
        seed: that of the command's ``--seed``.
        options: those of the task, by the names of the command's flags with ``_`` for ``-``, such as ``max_items=10``;
            its defaults without them.

    Attributes:
        name: of the task.
        seed: of its sequences.
        options: all of them, with their values.
        input_size: numbers in an input, I; 1 where inputs are tokens, or the places of a sentence.
        output_size: numbers in an output, O.
        vocabulary_size: tokens that there are; 0 where inputs are not tokens.
        sentence_size: tokens that a step reads at most as one sentence; 0 where it reads one, or numbers.
        kind: what the targets are: ``"bits"``, ``"classes"`` or ``"numbers"``.
        unit: what a loss is told in, such as ``"bits"``.
        per: what it is the mean over: ``"sequence"``, or the name of a target, such as ``"character"``.
        scale: what a loss in nats (of numbers: in their squared unit) is multiplied by to be told in ``unit``.
        level_unit: what a level counts, such as ``"items"``.
        levels: those that training draws from, the first and the last.
        possible_levels: those that there can be, the first and the last.
        evaluation_sequences: how many sequences a whole evaluation has, where there is not always a fresh one.
        input_names: what the inputs are called, as many as have a name.
        output_names: the same of the outputs, or of the classes.

    Raises:
        TypeError: an option that the task does not have, or one of the wrong type.
        ValueError: no such task, a value that it cannot have, or a file that is missing or malformed.
        OSError: a file cannot be read.

    Example:
        >>> from sparsam.tasks import Task
        >>> task = Task("copy", bits=3, max_length=5)
        >>> batch = task.sequences(range(2), level=4)
        >>> batch.inputs.shape, batch.targets.shape
        ((10, 2, 5), (10, 2, 3))
    """

    input_size: int
    output_size: int
    vocabulary_size: int
    sentence_size: int
    kind: str
    unit: str
    per: str
    scale: float
    level_unit: str
    evaluation_sequences: int | None
    input_names: list[str]
    output_names: list[str]

    def __init__(self, name: str, *, seed: int = 1, **options: Any) -> None:
        if name not in TASK_OPTIONS:
            raise ValueError(f"task is {name!r}, where one of {', '.join(TASKS)} was expected")
        self.name = name
        self.seed = _whole("seed", seed)
        declared = TASK_OPTIONS[name]
        given = _checked(name, declared, options)
        self.options = {option: given.get(option, declared[option].default) for option in declared}
        self._start()

    def _start(self) -> None:
        self._core = _core.Task(self.name, json.dumps(self.options), self.seed)
        about = json.loads(self._core.about())
        self.levels: tuple[int, int] = tuple(about.pop("levels"))
        self.possible_levels: tuple[int, int] = tuple(about.pop("possible_levels"))
        for name, value in about.items():
            setattr(self, name, value)

    def batch(self, number: int, batch_size: int = 8, *, level: int | tuple[int, int] | None = None) -> Batch:
        """The batch that the command trains after ``number`` others, with ``--batch-size batch_size``; with a
        curriculum, that of the level drawn for it.

        Raises:
            TypeError, ValueError: as :meth:`sequences`.
        """
        first = integer("number", number, 0) * integer("batch_size", batch_size, 1)
        return self.sequences(range(first, first + batch_size), level=level)

    def sequences(
        self,
        numbers: Iterable[int],
        *,
        stream: str = "training",
        level: int | tuple[int, int] | None = None,
    ) -> Batch:
        """The sequences of these numbers, in this order.

        The command trains on the sequences of ``"training"`` from 0 on. It evaluates meanwhile on those of
        ``"validation"`` from the number of sequences trained so far on, and ``sparsam eval`` on those of
        ``"evaluation"`` from 0 on, with its own ``--seed``.

        Args:
            numbers: of the sequences, from 0 on, each below 2^64.
            stream: one of :data:`STREAMS`.
            level: the level of all of them, or the first and the last of those to draw from; the task's without it.

        Raises:
            TypeError: a number or a level is no integer.
            ValueError: there is no such stream or level, or the batch would be too large for any machine.
            MemoryError: it would be too large for this one.
        """
        core = self._core.sequences(_numbers(numbers), _stream(stream), _levels(level))
        wanted, count, guessed = core.wanted()
        guessing = guessed / max(count, 1)
        return Batch(core.inputs(), core.lengths(), core.targets(), self.kind, wanted, count, guessing, core)

    def wanted(
        self,
        numbers: Iterable[int],
        *,
        stream: str = "training",
        level: int | tuple[int, int] | None = None,
    ) -> int:
        """:attr:`Batch.wanted` of these sequences, which are made one at a time and thrown away.

        Raises:
            TypeError, ValueError, MemoryError: as :meth:`sequences`.
        """
        return self._core.wanted(_numbers(numbers), _stream(stream), _levels(level))

    def input_bound(self, embedding_size: int = 64) -> float:
        """The ``input_bound`` of networks and modules that suits the task's inputs, as the command chooses it; of
        tokens for embeddings of this size."""
        return self._core.input_bound(integer("embedding_size", embedding_size, 1))

    def __getstate__(self) -> dict[str, Any]:
        return {"name": self.name, "seed": self.seed, "options": self.options}

    def __setstate__(self, state: dict[str, Any]) -> None:
        self.name, self.seed, self.options = state["name"], state["seed"], state["options"]
        self._start()

    def __repr__(self) -> str:
        return f"Task({self.name!r}, seed={self.seed}" + "".join(f", {k}={v!r}" for k, v in self.options.items()) + ")"


def save_run(
    folder: str | PathLike[str], network: Network | nn.Module, task: Task, *, batch: int, **options: Any
) -> None:
    """Writes a network that was trained on a task, by a loop of your own, as a run of the command: ``sparsam eval``,
    ``predict`` and ``inspect`` take the folder, and so does :func:`sparsam.load_run`. What an earlier call put there is
    replaced, each file at once. ``sparsam train`` cannot go on with it.

    Args:
        folder: of the run; it is made if need be.
        network: a :class:`sparsam.Network`, or a module of :mod:`sparsam.torch`. It is kept in single precision.
        task: that it was trained on.
        batch: batches that it was trained for.
        options: how it was trained, by the names of the command's flags: ``batch_size``, ``batches``,
            ``learning_rate`` and others. ``config.toml`` has the command's defaults for those that are left out (but no
            ``cooldown`` and no ``until``), whatever your loop did.

    Raises:
        TypeError: the network is none, or an option does not exist or is of the wrong type.
        ValueError: the network is of other sizes than the task, a parameter is not finite, an option cannot have its
            value, or the folder holds another run.
        OSError: writing failed, or another process writes there; each file is the old one or the new one.
    """
    # DistributedDataParallel and DataParallel keep what they wrap so.
    if hasattr(getattr(network, "module", None), "_checkpoint"):
        kind = type(network).__name__
        raise TypeError(f"network is a {kind} of one: give what it wraps, network.module")
    checkpoint: Callable[[], tuple[Configuration, list[NDArray[Any]]]] | None = getattr(network, "_checkpoint", None)
    if checkpoint is None:
        expected = "a sparsam.Network or a module of sparsam.torch was expected"
        raise TypeError(f"network is a {type(network).__name__}, where {expected}")
    configuration, arrays = checkpoint()
    given = _checked("training", TRAINING_OPTIONS, options)
    if configuration.output_size is None:
        raise ValueError("the network has no output layer: make it with the task's output_size")
    # In the order in which the library keeps them.
    values = np.concatenate([np.asarray(array, np.float32).ravel() for array in arrays])
    task._core.save_run(folder, configuration.to_json(), values, _whole("batch", batch), json.dumps(given))


def _checked(of: str, declared: Mapping[str, Option], options: Mapping[str, Any]) -> dict[str, Any]:
    """Options of a task or of training, each of its type. Ranges are checked by the library."""
    for name in options:
        if name not in declared:
            raise TypeError(f"{of} has no option {name!r}; its options are {', '.join(declared)}")
    return {
        name: declared[name].checked(os.fspath(value) if isinstance(value, PathLike) else value)
        for name, value in options.items()
    }


def _levels(level: int | tuple[int, int] | None) -> tuple[int, int] | None:
    if level is None:
        return None
    if isinstance(level, tuple) and len(level) != 2:
        raise ValueError(f"level is {level}, where one level, or the first and the last of some, was expected")
    first, last = level if isinstance(level, tuple) else (level, level)
    return _whole("level", first), _whole("level", last)


def _stream(name: str) -> str:
    if name not in STREAMS:
        raise ValueError(f"stream is {name!r}, where one of {', '.join(STREAMS)} was expected")
    return name


def _numbers(numbers: Iterable[int]) -> list[int]:
    """Those of sequences, as the library takes them."""
    if not isinstance(numbers, Iterable):
        raise TypeError(f"numbers is {numbers!r}, where several were expected, such as [{numbers!r}] or range(8)")
    given = list(islice(numbers, _MOST_SEQUENCES + 1))
    if len(given) > _MOST_SEQUENCES:
        raise ValueError(f"numbers names more than {_MOST_SEQUENCES} sequences: choose fewer")
    return [_whole("a sequence's number", number) for number in given]


def _whole(name: str, value: object) -> int:
    """``value`` as an integer that the library has room for."""
    number = integer(name, value, 0)
    if number >= 1 << 64:
        raise ValueError(f"{name} is {number}, where a number below 2^64 was expected")
    return number
