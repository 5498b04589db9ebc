from collections.abc import Sequence
from os import PathLike
from typing import Any

from numpy.typing import NDArray

class Network:
    def __new__(cls, config: str, double: bool) -> Network: ...
    def tensors(self) -> list[tuple[str, list[int]]]: ...
    def output_len(self) -> int: ...
    def initial(self, seed: int) -> NDArray[Any]: ...
    def state(self, rows: int) -> State: ...
    def run(
        self,
        parameters: Sequence[NDArray[Any]],
        input: NDArray[Any],
        lengths: Sequence[int],
        state: State | None,
        record: bool,
    ) -> tuple[NDArray[Any], State, Tape | None]: ...
    def save_checkpoint(self, path: str | PathLike[str], parameters: Sequence[NDArray[Any]]) -> None: ...

class State:
    """The controllers and memories of a batch, at one moment.

    A network's call returns it, and it goes into the next one. It can be used once: the call that is given it moves
    on, and returns the state to use from then on. Gradients stop where it enters a call.
    """

    @property
    def rows(self) -> int:
        """Sequences in the batch, B."""

    @property
    def is_current(self) -> bool:
        """Whether no later call was given this state."""

    def reset(self, rows: Sequence[int] | None = None) -> State:
        """The state with these rows as they are at the start, the others as they stand; all rows if none are named.

        Raises:
            RuntimeError: the state has moved on.
            ValueError: ``rows`` names a row that is not there.
        """

class Tape:
    def backward(self, output_gradient: NDArray[Any], with_input: bool) -> tuple[NDArray[Any], NDArray[Any] | None]: ...

def load_checkpoint(path: str | PathLike[str], double: bool) -> tuple[str, NDArray[Any]]: ...
