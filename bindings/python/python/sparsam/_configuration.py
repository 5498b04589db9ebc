"""A network's configuration, from keywords to what the library reads and back."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any, SupportsIndex

# What the library calls the arguments that have another name in Python, where they follow torch.nn.
_FIELDS = {"num_heads": "heads", "num_reads": "reads", "num_links": "links"}

_DENSE: dict[str, Any] = {"memory_size": 128, "word_size": 32, "num_heads": 4}
_SPARSE: dict[str, Any] = {
    "memory_size": 65536,
    "word_size": 32,
    "num_heads": 4,
    "num_reads": 4,
    "access_threshold": 0.005,
    "index": "auto",
}

OPTIONS: dict[str, dict[str, Any]] = {
    "sam": _SPARSE,
    "sdnc": {**_SPARSE, "num_links": 8},
    "dam": {**_DENSE, "usage_discount": 0.99},
    "ntm": _DENSE,
    "dnc": _DENSE,
    "lstm": {},
}
"""The memory's options of every model, with their defaults."""

CONTROLLERS = ("lstm", "gru", "layer_norm_lstm")
INDEXES = ("auto", "linear", "ivf", "kd-forest", "lsh")


def integer(name: str, value: object, least: int) -> int:
    """``value`` as an integer of at least ``least``; ``name`` is the argument's.

    Raises:
        TypeError: it is no integer.
        ValueError: it is too small.
    """
    # Of every type that has __index__, NumPy's integers among them.
    if not isinstance(value, SupportsIndex):
        raise TypeError(f"{name} is {value!r}, where an integer was expected")
    number = value.__index__()
    if number < least:
        raise ValueError(f"{name} is {number}, where at least {least} was expected")
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

    @classmethod
    def new(
        cls,
        model: str,
        input_size: int,
        hidden_size: int,
        output_size: int | None,
        options: Mapping[str, Any],
        controller: str = CONTROLLERS[0],
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
        defaults = OPTIONS[model]
        memory: dict[str, Any] = {"model": model}
        for name in options:
            if name not in defaults:
                raise TypeError(f"{model} has no option {name!r}; its options are {', '.join(defaults) or 'none'}")
        for name, default in defaults.items():
            value = options.get(name, default)
            if isinstance(default, int):
                value = integer(name, value, 1)
            elif isinstance(default, float):
                if not isinstance(value, (int, float)):
                    raise TypeError(f"{name} is {value!r}, where a number was expected")
                value = float(value)
                if value != value or value in (float("inf"), float("-inf")):
                    raise ValueError(f"{name} is {value}, where a finite number was expected")
            elif value not in INDEXES:
                raise ValueError(f"{name} is {value!r}, where one of {', '.join(INDEXES)} was expected")
            memory[_FIELDS.get(name, name)] = value
        return cls(
            integer("input_size", input_size, 1),
            integer("hidden_size", hidden_size, 1),
            None if output_size is None else integer("output_size", output_size, 1),
            memory,
            controller,
        )

    @property
    def model(self) -> str:
        """The model's name."""
        return str(self.memory["model"])

    def option(self, name: str) -> Any:
        """A memory's option by its Python name."""
        return self.memory[_FIELDS.get(name, name)]

    def options(self) -> Iterable[tuple[str, Any]]:
        """The memory's options by their Python names, with their values."""
        return ((name, self.option(name)) for name in OPTIONS[self.model])

    def keywords(self) -> str:
        """The options, and a controller that is not the default one, as the arguments of a constructor go on."""
        controller = [] if self.controller == CONTROLLERS[0] else [("controller", self.controller)]
        return "".join(f", {name}={value!r}" for name, value in [*self.options(), *controller])

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
                "controller": self.controller,
                "memory": dict(self.memory),
            }
        )

    @classmethod
    def from_json(cls, text: str) -> Configuration:
        """What a checkpoint says."""
        fields = json.loads(text)
        sizes = (fields["input_size"], fields["hidden_size"], fields["output_size"] or None)
        return cls(*sizes, fields["memory"], fields.get("controller", CONTROLLERS[0]))


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
