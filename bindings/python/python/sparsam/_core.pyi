import builtins
from collections.abc import Iterable, Sequence
from os import PathLike
from typing import Any

from numpy.typing import NDArray

def declarations() -> str: ...
def largest_page() -> int: ...
def page(
    configuration: str,
    title: str,
    facts: Sequence[tuple[str, str]],
    kind: str,
    input: NDArray[Any],
    output: NDArray[Any],
    hidden: NDArray[Any] | None,
    targets: NDArray[Any] | None,
    mask: NDArray[Any] | None,
    arrays: dict[str, NDArray[Any]],
    continued: bool,
    limit: int,
) -> tuple[str, bool]: ...

class Network:
    def __new__(cls, config: str, double: bool) -> Network: ...
    def tensors(self) -> list[tuple[str, list[int]]]: ...
    def output_len(self) -> int: ...
    def controller_lens(self) -> list[int]: ...
    def initial(self, seed: int, input_bound: float | None) -> NDArray[Any]: ...
    def first_values(
        self, input_bound: float | None
    ) -> list[tuple[str, list[int], list[int], float | None, float | None, int | None]]: ...
    def state(self, rows: int) -> State: ...
    def run(
        self,
        parameters: Sequence[NDArray[Any]],
        input: NDArray[Any],
        lengths: Sequence[int],
        starts: NDArray[Any] | None,
        state: State | None,
        record: bool,
        threads: int | None,
        carry: bool = False,
    ) -> tuple[NDArray[Any], State, Tape | None]: ...
    def trace(
        self,
        parameters: Sequence[NDArray[Any]],
        input: NDArray[Any],
        lengths: Sequence[int],
        starts: NDArray[Any] | None,
        state: State | None,
    ) -> tuple[NDArray[Any], State, dict[str, NDArray[Any]]]: ...
    def load_state(self, path: str | PathLike[str]) -> State: ...
    def save_checkpoint(self, path: str | PathLike[str], parameters: Sequence[NDArray[Any]]) -> None: ...

class State:
    """The controllers and memories of a batch, at one moment.

    A network's call returns it, and it goes into the next one. It can be used once: the call that is given it moves
    on, and returns the state to use from then on. Gradients stop where it enters a call, unless a module of
    :mod:`sparsam.torch` carries them (``carry_gradients``).

    It can be pickled, and :func:`copy.deepcopy` makes one with memories of its own. Files, pickles and copies cost the
    words that were written, not those that there are. They go on to the bit as the state itself would while the index
    is exact; an approximate index is built anew from the words.
    """

    @property
    def rows(self) -> int:
        """Sequences in the batch, B."""

    @property
    def is_current(self) -> bool:
        """Whether no later call was given this state."""

    def __new__(cls, config: str, double: bool, bytes: bytes) -> State:
        """What a pickle holds: :func:`pickle.loads`, :func:`torch.load` and :func:`copy.deepcopy` call it."""

    def detach(self) -> State:
        """The state as it stands, from which gradients do not flow to the calls before it. This state is used up. Those
        calls can have their backward pass until the state returned is used.

        Raises:
            RuntimeError: the state has moved on.
        """

    def reset(self, rows: Iterable[Any] | None = None) -> State:
        """The state with these rows as they are at the start, the others as they stand; all rows if none are named.
        This state is used up, and no backward pass goes to the calls before it any more.

        Args:
            rows: numbers of rows, or a mask: for each row, whether it is meant. A list, an array or a tensor.

        Raises:
            RuntimeError: the state has moved on.
            TypeError: ``rows`` has neither numbers nor booleans.
            ValueError: ``rows`` names a row that is not there, or is a mask of another length.
        """

    def copy_row(self, source: int, target: int) -> State:
        """The state with row ``target`` as row ``source`` is, the others as they stand. This
        state is used up, and no backward pass goes to the calls before it any more.

        Raises:
            RuntimeError: the state has moved on.
            ValueError: there is no such row, or a number in it is not finite.
        """

    def select(self, rows: Iterable[Any]) -> State:
        """A state with memories of its own, whose rows are copies of these, in this order; one may be named more than
        once. Gradients do not flow from it to the calls before. This state stays as it is.

        Args:
            rows: as in :meth:`reset`.

        Raises:
            RuntimeError: the state has moved on.
            TypeError: ``rows`` has neither numbers nor booleans.
            ValueError: ``rows`` names a row that is not there, or a number in one is not finite.
            MemoryError: this machine has no room for the memories.
        """

    def save(self, path: str | PathLike[str]) -> None:
        """Writes the state to a safetensors file, for ``load_state`` of a model with the same configuration. This state
        stays as it is.

        Raises:
            RuntimeError: the state has moved on.
            ValueError: a number in it is not finite.
            OSError: writing failed; an older file is as it was.
        """

    def __deepcopy__(self, memo: dict[int, Any]) -> State: ...
    @property
    def _graph(self) -> Any: ...
    def _with_graph(self, graph: Any) -> State: ...
    def _controllers(self) -> NDArray[Any]: ...
    def _with_controllers(self, held: NDArray[Any]) -> State: ...

class Tape:
    def backward(
        self,
        output_gradient: NDArray[Any] | None,
        end_gradient: NDArray[Any] | None = None,
        with_input: bool = True,
        with_start: bool = False,
    ) -> tuple[NDArray[Any], NDArray[Any] | None, NDArray[Any] | None]: ...

class Memory:
    def __new__(cls, config: str, double: bool) -> Memory: ...
    def interface_len(self) -> int: ...
    def read_len(self) -> int: ...
    def start(self, rows: int) -> MemoryState: ...
    def load(self, path: str | PathLike[str]) -> MemoryState: ...
    def restore(self, bytes: bytes) -> MemoryState: ...

class MemoryState:
    @property
    def rows(self) -> int: ...
    @property
    def is_current(self) -> bool: ...
    @property
    def is_double(self) -> bool: ...
    def step(
        self, interface: NDArray[Any], starts: NDArray[Any] | None, record: bool, threads: int | None
    ) -> tuple[NDArray[Any], MemoryState, MemoryStep | None]: ...
    def detach(self) -> MemoryState: ...
    def reset(self, rows: Iterable[Any] | None) -> MemoryState: ...
    def select(self, rows: Iterable[Any] | None) -> MemoryState: ...
    def save(self, path: str | PathLike[str]) -> None: ...
    def bytes(self) -> bytes: ...

class MemoryStep:
    def backward(self, read_gradient: NDArray[Any] | None, afresh: bool, threads: int | None) -> NDArray[Any]: ...

class KeyValueMemory:
    def __new__(cls, config: str, double: bool) -> KeyValueMemory: ...
    def __len__(self) -> int: ...
    def write(self, keys: NDArray[Any], values: NDArray[Any]) -> NDArray[Any]: ...
    def update(self, words: NDArray[Any], keys: NDArray[Any] | None, values: NDArray[Any] | None) -> None: ...
    def search(self, queries: NDArray[Any], limit: int, use_found: bool) -> tuple[NDArray[Any], NDArray[Any]]: ...
    def read(
        self, queries: NDArray[Any], strengths: NDArray[Any], limit: int, use_found: bool, record: bool
    ) -> tuple[NDArray[Any], NDArray[Any], NDArray[Any], KeyValueRead | None]: ...
    def accumulate(self, read: KeyValueRead, keys: NDArray[Any], values: NDArray[Any]) -> None: ...
    def gradients(self) -> tuple[NDArray[Any], NDArray[Any], NDArray[Any]]: ...
    def zero_gradients(self) -> None: ...
    def clear(self) -> None: ...
    def rows(self, words: NDArray[Any], values: bool) -> NDArray[Any]: ...
    def bytes(self) -> bytes: ...
    def load(self, bytes: builtins.bytes) -> None: ...

class KeyValueRead:
    def backward(
        self, value_gradient: NDArray[Any] | None, weight_gradient: NDArray[Any] | None
    ) -> tuple[NDArray[Any], NDArray[Any], NDArray[Any], NDArray[Any]]: ...

class Task:
    def __new__(cls, name: str, options: str, seed: int) -> Task: ...
    def about(self) -> str: ...
    def sequences(self, numbers: Sequence[int], stream: str, level: tuple[int, int] | None) -> Batch: ...
    def wanted(self, numbers: Sequence[int], stream: str, level: tuple[int, int] | None) -> int: ...
    def input_bound(self, embedding_size: int) -> float: ...
    def save_run(
        self,
        folder: str | PathLike[str],
        configuration: str,
        values: NDArray[Any],
        batch: int,
        options: str,
    ) -> None: ...

class Batch:
    def inputs(self) -> NDArray[Any]: ...
    def lengths(self) -> NDArray[Any]: ...
    def targets(self) -> NDArray[Any]: ...
    def wanted(self) -> tuple[int, int, float]: ...
    def score(self, outputs: NDArray[Any]) -> tuple[float, int, NDArray[Any]]: ...

def restore_state(config: str, double: bool, bytes: bytes) -> State: ...
def load_checkpoint(path: str | PathLike[str], double: bool) -> tuple[str, NDArray[Any]]: ...
