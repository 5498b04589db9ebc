"""A network's configuration, from keywords to what the library reads and back."""

from __future__ import annotations

import json
import math
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any, SupportsIndex

from sparsam import _core


@dataclass(frozen=True)
class Option:
    """An option of a memory, a task or training, as the library declares it."""

    name: str
    """As a keyword."""
    field: str
    """As the library calls it; ``num_heads`` and the like follow torch.nn in Python."""
    type: str
    """``int``, ``float``, ``bool`` or ``str``."""
    words: list[str]
    """What a ``str`` can be; empty where any text will do."""
    default: Any
    possible: str
    """Which values it can have, in words."""
    help: str

    def checked(self, value: Any) -> Any:
        """``value`` as the library takes it. The library checks the range.

        Raises:
            TypeError: it is of the wrong type.
            ValueError: it is no value that the library could be told.
        """
        expected = f"{self.name} is {value!r}, where {self.possible} was expected"
        if self.type == "int":
            number = integer(self.name, value, 0, self.possible)
            if number >= 1 << 64:
                raise ValueError(expected)
            return number
        if self.type == "float":
            if not isinstance(value, (int, float)) or isinstance(value, bool):
                raise TypeError(expected)
            if not math.isfinite(value):
                raise ValueError(expected)
            return float(value)
        if self.type == "bool":
            if not isinstance(value, bool):
                raise TypeError(expected)
            return value
        if not self.words and not isinstance(value, str):
            raise TypeError(expected)
        if self.words and value not in self.words:
            raise ValueError(expected)
        return value


def _by_name(options: list[dict[str, Any]]) -> dict[str, Option]:
    return {option["name"]: Option(**option) for option in options}


_DECLARED = json.loads(_core.declarations())

CONTROLLERS: tuple[str, ...] = tuple(_DECLARED["controllers"])
"""The names of controllers, the default first."""
OPTIONS = {model["name"]: _by_name(model["options"]) for model in _DECLARED["models"]}
"""The options of every model's memory by their names."""
KEY_VALUE_OPTIONS = _by_name(_DECLARED["key_value"])
"""Those of a key-value memory."""
TASK_OPTIONS = {task["name"]: _by_name(task["options"]) for task in _DECLARED["tasks"]}
"""Those of every task."""
TRAINING_OPTIONS = _by_name(_DECLARED["training"])
"""Those of training and of its optimiser."""


def given(model: str, arguments: Mapping[str, Any]) -> dict[str, Any]:
    """Those of a constructor's arguments that are options of the model."""
    return {name: arguments[name] for name in OPTIONS[model] if name in arguments}


def integer(name: str, value: object, least: int, possible: str = "") -> int:
    """``value`` as an integer of at least ``least``; ``name`` is the argument's, and ``possible`` says what it can be.

    Raises:
        TypeError: it is no integer.
        ValueError: it is too small.
    """
    # Of every type that has __index__, NumPy's integers among them.
    if not isinstance(value, SupportsIndex):
        raise TypeError(f"{name} is {value!r}, where an integer was expected")
    number = value.__index__()
    if number < least:
        raise ValueError(f"{name} is {number}, where {possible or f'at least {least}'} was expected")
    return number


def checked_bound(input_bound: object) -> float | None:
    """``input_bound`` as a number above 0, or ``None``.

    Raises:
        TypeError: it is no number.
        ValueError: it is not above 0, or not finite.
    """
    if input_bound is None:
        return None
    if not isinstance(input_bound, (int, float)) or isinstance(input_bound, bool):
        raise TypeError(f"input_bound is {input_bound!r}, where a number was expected")
    if not 0 < input_bound < float("inf"):
        raise ValueError(f"input_bound is {input_bound}, where a finite number above 0 was expected")
    return float(input_bound)


@dataclass(frozen=True)
class Configuration:
    """Sizes of a network, and its memory as the library writes it in a checkpoint."""

    input_size: int
    hidden_size: int
    output_size: int | None
    memory: Mapping[str, Any]
    # With a default: configurations pickled before there was a choice do not have it.
    controller: str = CONTROLLERS[0]
    vocabulary_size: int = 0
    """Tokens that there are; 0 where inputs are not tokens."""
    sentence_size: int = 0
    """Tokens that a step reads at most, as one sentence; 0 where it reads one, or numbers."""

    @classmethod
    def new(
        cls,
        model: str,
        input_size: int,
        hidden_size: int,
        output_size: int | None,
        options: Mapping[str, Any],
        controller: str = CONTROLLERS[0],
        vocabulary_size: int | None = None,
        sentence_size: int | None = None,
    ) -> Configuration:
        """The configuration of a model by its name, with ``options`` in the place of defaults.

        Raises:
            TypeError: an option that the model does not have, or one of the wrong type.
            ValueError: a value that no network can have.
        """
        if model not in OPTIONS:
            raise ValueError(f"model is {model!r}, where one of {', '.join(OPTIONS)} was expected")
        if controller not in CONTROLLERS:
            raise ValueError(f"controller is {controller!r}, where one of {', '.join(CONTROLLERS)} was expected")
        declared = OPTIONS[model]
        for name in options:
            if name not in declared:
                raise TypeError(f"{model} has no option {name!r}; its options are {', '.join(declared) or 'none'}")
        memory: dict[str, Any] = {"model": model}
        for name, option in declared.items():
            memory[option.field] = option.checked(options[name]) if name in options else option.default
        return cls(
            integer("input_size", input_size, 1),
            integer("hidden_size", hidden_size, 1),
            None if output_size is None else integer("output_size", output_size, 1),
            memory,
            controller,
            0 if vocabulary_size is None else integer("vocabulary_size", vocabulary_size, 1),
            0 if sentence_size is None else integer("sentence_size", sentence_size, 1),
        )

    @classmethod
    def of(cls, model: str, arguments: Mapping[str, Any]) -> Configuration:
        """The configuration that the arguments of a module's constructor are about.

        Raises:
            TypeError, ValueError: as :meth:`new`.
        """
        sizes = (arguments["input_size"], arguments["hidden_size"], arguments["output_size"])
        return cls.new(model, *sizes, given(model, arguments), arguments["controller"])

    @property
    def model(self) -> str:
        """The model's name."""
        return str(self.memory["model"])

    def option(self, name: str) -> Any:
        """A memory's option by its Python name."""
        option = OPTIONS[self.model][name]
        # Configurations pickled before there was the option do not have it.
        return self.memory.get(option.field, option.default)

    def options(self) -> Iterable[tuple[str, Any]]:
        """The memory's options by their Python names, with their values."""
        return ((name, self.option(name)) for name in OPTIONS[self.model])

    def keywords(self) -> str:
        """The options, and a controller that is not the default one, as the arguments of a constructor go on."""
        controller = [] if self.controller == CONTROLLERS[0] else [("controller", self.controller)]
        sizes = [("vocabulary_size", self.vocabulary_size), ("sentence_size", self.sentence_size)]
        tokens = [(name, size) for name, size in sizes if size]
        return "".join(f", {name}={value!r}" for name, value in [*self.options(), *controller, *tokens])

    def memory_to_json(self) -> str:
        """The memory alone, as the library reads it."""
        return json.dumps(dict(self.memory))

    def to_json(self) -> str:
        """As the library reads it. An output size of 0 stands for no output layer there."""
        return json.dumps(
            {
                "input_size": self.input_size,
                "hidden_size": self.hidden_size,
                "output_size": self.output_size or 0,
                "vocabulary_size": self.vocabulary_size,
                "sentence_size": self.sentence_size,
                "controller": self.controller,
                "memory": dict(self.memory),
            }
        )

    @classmethod
    def from_json(cls, text: str) -> Configuration:
        """What a checkpoint says."""
        fields = json.loads(text)
        sizes = (fields["input_size"], fields["hidden_size"], fields["output_size"] or None)
        controller, vocabulary_size = fields.get("controller", CONTROLLERS[0]), fields.get("vocabulary_size", 0)
        return cls(*sizes, fields["memory"], controller, vocabulary_size, fields.get("sentence_size", 0))


def check_lengths(lengths: Iterable[Any], rows: int, steps: int) -> list[int]:
    """Lengths of sequences as integers, each checked against the batch's number of steps.

    Raises:
        TypeError: a length is no integer.
        ValueError: there are too few or too many, or one does not lie from 0 to ``steps``.
    """
    checked = [integer(f"lengths[{row}]", length, 0) for row, length in enumerate(lengths)]
    if len(checked) != rows:
        raise ValueError(f"lengths has {len(checked)} numbers, where {rows} were expected, one for each sequence")
    for row, length in enumerate(checked):
        if length > steps:
            raise ValueError(f"lengths[{row}] is {length}, but input has only {steps} time steps")
    return checked
