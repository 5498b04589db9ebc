"""Networks on NumPy arrays."""

from __future__ import annotations

import html
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from os import PathLike
from typing import Any, Literal, get_args

import numpy as np
from numpy.typing import ArrayLike, DTypeLike, NDArray

from sparsam import _core
from sparsam._configuration import Configuration, check_lengths, checked_bound
from sparsam._core import State

Array = NDArray[np.floating[Any]]

TargetKind = Literal["classes", "bits", "numbers"]
"""What outputs should have been."""

LARGEST_FRAME = 2_000_000
"""Bytes of a page that a notebook keeps in itself, at most."""


class Network:
    """A recurrent network with an external memory, on NumPy arrays: forward, backward, stream.

    Args:
        model: ``"sam"``, ``"sdnc"``, ``"dam"``, ``"ntm"``, ``"dnc"``, or ``"lstm"``, which has no memory: the
            controller alone, whichever it is.
        input_size: numbers in an input, I.
        hidden_size: hidden units of the controller, H.
        output_size: numbers in an output, O. Without it, the output is [h ; r]: the hidden units and what was read.
        vocabulary_size: tokens that there are, V. Inputs are then integers, (T, B), from 0 to V - 1, and each token has
            an embedding of ``input_size`` numbers, a row of the parameter ``embedding.weight``.
        sentence_size: tokens that a step reads at most as one sentence, J. Inputs are then integers, (T, B, J): tokens,
            and -1 in all places after the last. The controller sees the sum of their embeddings, weighted by position
            (Sukhbaatar et al. 2015, section 4.1).
        controller: what drives the memory: ``"lstm"``, ``"gru"`` (as ``torch.nn.GRU``, with one bias for each pair of
            biases whose sum is all that matters), or ``"layer_norm_lstm"``.
        seed: of the initial parameters.
        input_bound: the inputs' first weights are uniform in ± this. Without it in ±2/√I, which suits inputs whose
            numbers are about 1; 4 suits one-hot inputs.
        dtype: ``numpy.float32`` or ``numpy.float64``.
        options: of the model's memory: ``memory_size``, ``word_size``, ``num_heads``; of the sparse ones
            ``num_reads``, ``access_threshold``, ``write_threshold``, ``write_cost``, ``index``, ``index_checks``;
            ``num_links`` of ``sdnc``; ``usage_discount`` of ``dam``; ``masked_content`` of ``sam``, ``sdnc`` and
            ``dnc``, ``sharpened_links`` of the latter two; ``deallocation`` of ``dnc``.
            See the modules of :mod:`sparsam.torch`, whose keywords and defaults they are.

    Attributes:
        values: all parameters in one array, to be changed in place.
        parameters: the same numbers by name, in their shapes (views of ``values``).

    Example:
        >>> import numpy as np
        >>> from sparsam import Network
        >>> network = Network("sam", input_size=3, hidden_size=20, output_size=2, memory_size=1000)
        >>> input, target = np.ones((5, 4, 3), np.float32), np.zeros((5, 4, 2), np.float32)
        >>> for _ in range(3):
        ...     output, state, tape = network.forward(input)
        ...     gradients = tape.backward(output - target)
        ...     network.values -= 0.01 * gradients.values
        >>> output.shape
        (5, 4, 2)
    """

    def __init__(
        self,
        model: str,
        input_size: int,
        hidden_size: int,
        output_size: int | None = None,
        *,
        vocabulary_size: int | None = None,
        sentence_size: int | None = None,
        controller: str = "lstm",
        seed: int = 0,
        input_bound: float | None = None,
        dtype: DTypeLike = np.float32,
        **options: Any,
    ) -> None:
        sizes = (input_size, hidden_size, output_size)
        tokens = (vocabulary_size, sentence_size)
        self._start(Configuration.new(model, *sizes, options, controller, *tokens), dtype)
        self._take(self._core.initial(seed, checked_bound(input_bound)))

    def _start(self, configuration: Configuration, dtype: DTypeLike) -> None:
        self._configuration = configuration
        self.dtype: np.dtype[Any] = np.dtype(dtype)
        if self.dtype not in (np.float32, np.float64):
            raise TypeError(f"dtype is {self.dtype}, where float32 or float64 was expected")
        self._core = _core.Network(configuration.to_json(), self.dtype == np.float64)

    def _take(self, values: Array) -> None:
        self._values = values
        self.parameters: dict[str, Array] = dict(_cut(self._core.tensors(), values))

    @property
    def values(self) -> Array:
        """All parameters in one array."""
        return self._values

    @values.setter
    def values(self, values: ArrayLike) -> None:
        # In place, so that the named views stay views, and so that `network.values -= …` works.
        self._values[...] = values

    @property
    def model(self) -> str:
        """The model's name."""
        return self._configuration.model

    @property
    def controller(self) -> str:
        """The controller's name."""
        return self._configuration.controller

    @property
    def output_size(self) -> int:
        """Numbers in an output: O, or H + R·W without an output layer."""
        return self._core.output_len()

    def forward(
        self,
        input: ArrayLike,
        state: State | None = None,
        lengths: Iterable[int] | None = None,
        *,
        starts: ArrayLike | None = None,
    ) -> tuple[Array, State, Tape]:
        """Runs sequences and keeps what going back needs.

        Args:
            input: of shape (T, B, I): time steps, sequences, numbers; of tokens integers, (T, B).
            state: where to go on from; a fresh one without it. It is used up.
            lengths: of the B sequences, each at most T; all T without them. Past its length a sequence's state stands
                still, and its outputs are zero.
            starts: booleans, (T, B): where one is true, the sequence is as new before that step, as if it had been cut
                there. The cost is that of what was touched, however many there are.

        Returns:
            The output of shape (T, B, O), the state to go on from, and the tape for its backward pass.

        Raises:
            TypeError: an array or a state of another dtype.
            ValueError: a shape or a length that does not fit.
            RuntimeError: the state has moved on.
            MemoryError: this machine has no room for the memories or the tape.
        """
        output, state, tape = self._run(input, state, lengths, starts, record=True)
        assert tape is not None
        return output, state, Tape(tape, self._core.tensors(), self.dtype)

    def infer(
        self,
        input: ArrayLike,
        state: State | None = None,
        lengths: Iterable[int] | None = None,
        *,
        starts: ArrayLike | None = None,
    ) -> tuple[Array, State]:
        """Runs sequences without a tape: for evaluation, and for streams of any length.

        Arguments and errors are those of :meth:`forward`.

        Returns:
            The output of shape (T, B, O), and the state to go on from.

        Example:
            >>> import numpy as np
            >>> from sparsam import Network
            >>> network, state = Network("sam", 3, 20, 2, memory_size=1000), None
            >>> for step in np.ones((100, 1, 1, 3), np.float32):
            ...     output, state = network.infer(step, state)
            >>> output.shape
            (1, 1, 2)
        """
        output, state, _ = self._run(input, state, lengths, starts, record=False)
        return output, state

    def trace(
        self,
        input: ArrayLike,
        state: State | None = None,
        lengths: Iterable[int] | None = None,
        *,
        starts: ArrayLike | None = None,
    ) -> Trace:
        """Runs sequences as :meth:`infer` does, and tells what the memories did. Arguments and errors are those of
        :meth:`forward`.

        Example:
            >>> import numpy as np
            >>> from sparsam import Network
            >>> trace = Network("sam", 3, 20, 2, memory_size=1000).trace(np.ones((7, 1, 3), np.float32))
            >>> trace["read_words"].shape  # steps, sequences, heads, words
            (7, 1, 4, 4)
        """
        array, checked, mask = self._check(input, lengths, starts)
        continued = state is not None
        output, state, arrays = self._core.trace(list(self.parameters.values()), array, checked, mask, state)
        # The caller may write other numbers into its array.
        input = array.copy()
        traced = Traced(self._configuration, input, output, checked, arrays, mask, continued)
        return Trace(output, state, arrays, traced)

    def load_state(self, path: str | PathLike[str]) -> State:
        """The state that ``state.save`` wrote, to go on from.

        Raises:
            ValueError: it is no saved state, a damaged one, or one of a network of another configuration.
            OSError: it cannot be read.
        """
        return self._core.load_state(path)

    def _run(
        self,
        input: ArrayLike,
        state: State | None,
        lengths: Iterable[int] | None,
        starts: ArrayLike | None,
        record: bool,
    ) -> tuple[Array, State, _core.Tape | None]:
        array, checked, mask = self._check(input, lengths, starts)
        return self._core.run(list(self.parameters.values()), array, checked, mask, state, record, None)

    def _check(
        self, input: ArrayLike, lengths: Iterable[int] | None, starts: ArrayLike | None
    ) -> tuple[Array, list[int], NDArray[Any] | None]:
        if self._configuration.vocabulary_size:
            array = self._tokens(input)
        else:
            array = _numbers("input", input, self.dtype)
            if array.ndim != 3 or array.shape[2] != self._configuration.input_size:
                expected = f"(T, B, {self._configuration.input_size})"
                raise ValueError(f"input has shape {array.shape}, where {expected} was expected")
        steps, rows = array.shape[:2]
        mask = None if starts is None else np.ascontiguousarray(starts)
        if mask is not None and mask.dtype != np.bool_:
            raise TypeError(f"starts has dtype {mask.dtype}, where bool was expected")
        if mask is not None and mask.shape != (steps, rows):
            raise ValueError(
                f"starts has shape {mask.shape}, where {(steps, rows)} was expected (T, B, as the input has)"
            )
        return array, [steps] * rows if lengths is None else check_lengths(lengths, rows, steps), mask

    def _tokens(self, input: ArrayLike) -> Array:
        """Tokens as the library takes them: numbers of the dtype, which are exact for any vocabulary; (T, B, 1), or of
        sentences (T, B, J)."""
        tokens = np.asarray(input)
        if not np.issubdtype(tokens.dtype, np.integer):
            raise TypeError(f"input has dtype {tokens.dtype}, where tokens were expected, which are integers")
        words = self._configuration.sentence_size
        if words:
            if tokens.ndim != 3 or tokens.shape[2] != words:
                expected = f"(T, B, {words}) was expected of sentences"
                raise ValueError(f"input has shape {tokens.shape}, where {expected}")
            return np.ascontiguousarray(tokens, self.dtype)
        if tokens.ndim != 2:
            raise ValueError(f"input has shape {tokens.shape}, where (T, B) was expected of tokens")
        return np.ascontiguousarray(tokens[:, :, np.newaxis], self.dtype)

    def save(self, path: str | PathLike[str]) -> None:
        """Writes a checkpoint, a safetensors file that the command ``sparsam`` and :meth:`load` read.

        Raises:
            ValueError: a parameter is not finite.
            OSError: writing failed; an older file is as it was.
        """
        self._core.save_checkpoint(path, list(self.parameters.values()))

    def _checkpoint(self) -> tuple[Configuration, list[Array]]:
        """What a checkpoint holds: the configuration, and the parameters in their order."""
        return self._configuration, list(self.parameters.values())

    @classmethod
    def load(cls, path: str | PathLike[str], *, dtype: DTypeLike = np.float32) -> Network:
        """The network of a checkpoint, the command's among them.

        Raises:
            ValueError: it is no checkpoint, or a damaged one.
            OSError: it cannot be read.
        """
        configuration, values = _core.load_checkpoint(path, np.dtype(dtype) == np.float64)
        network = cls.__new__(cls)
        network._start(Configuration.from_json(configuration), dtype)
        network._take(values)
        return network

    def __getstate__(self) -> dict[str, Any]:
        return {"configuration": self._configuration, "dtype": self.dtype, "values": self._values}

    def __setstate__(self, state: dict[str, Any]) -> None:
        self._start(state["configuration"], state["dtype"])
        self._take(state["values"])

    def __repr__(self) -> str:
        configuration = self._configuration
        sizes = f"{configuration.input_size}, {configuration.hidden_size}, {configuration.output_size}"
        return f"Network({self.model!r}, {sizes}{configuration.keywords()}, dtype={self.dtype})"


@dataclass(frozen=True)
class Gradients:
    """Gradients of a loss, as :meth:`Tape.backward` gives them."""

    values: Array
    """Of all parameters, in the order of :attr:`Network.values`."""
    parameters: dict[str, Array]
    """The same numbers by name, in their shapes."""
    input: Array
    """Of the input, (T, B, I); zeros, (T, B, 1), of tokens, which have none."""


@dataclass(frozen=True)
class Traced:
    """What was traced, with time steps first, as a page shows it."""

    configuration: Configuration
    input: Array
    output: Array
    lengths: list[int]
    arrays: Mapping[str, NDArray[Any]]
    starts: NDArray[np.bool_] | None
    continued: bool
    """Whether a state was given."""


class Trace(Mapping[str, NDArray[Any]]):
    """What the memories of a call did at every step: arrays by name, of shape (T, B, …), where the call's output has
    (T, B, O).

    Words are numbered from 0; -1 stands where there is no word, as past a sequence's length, where all else is 0. For N
    words, R heads, and K words read by a head:

    - ``sam``: ``read_words``, ``read_weights`` (R, K; most similar first), ``read_strengths`` (R); ``write_words``,
      ``write_weights`` (R, K + 1; those read before, then the one erased), ``erased_words``, ``write_gates``,
      ``interpolation_gates`` (R).
    - ``sdnc``: ``read_words``, ``read_weights`` (R, 3K), and where they come from: ``backward_words``,
      ``backward_weights``, ``content_…``, ``forward_…`` (R, K), mixed by ``read_modes`` (R, 3: backward, content,
      forward); ``read_strengths`` (R); ``write_words``, ``write_weights`` (1, 3RK + 1), ``erased_words``,
      ``write_gates``, ``interpolation_gates`` (1).
    - ``dam``: ``read_weights``, ``write_weights`` (R, N), ``usage`` (1, N), ``erased_words``, ``read_strengths``,
      ``write_gates``, ``interpolation_gates`` (R).
    - ``ntm``: ``read_weights`` (R, N), ``read_strengths``, ``read_interpolation_gates``, ``read_sharpenings`` (R),
      ``read_shifts`` (R, 3: -1, 0, +1), and the same with ``write_``.
    - ``dnc``: ``read_weights``, ``backward_weights``, ``content_weights``, ``forward_weights`` (R, N), ``read_modes``
      (R, 3: backward, content, forward), ``read_strengths``, ``free_gates`` (R); ``write_weights``,
      ``allocation_weights``, ``write_content_weights``, ``usage`` (1, N), ``write_strengths``, ``allocation_gates``,
      ``write_gates`` (1).

    Strengths, gates and modes are as they act, not as the controller puts them out.

    Attributes:
        output: of the call.
        state: to go on from.
    """

    def __init__(self, output: Array, state: State, arrays: dict[str, NDArray[Any]], traced: Traced) -> None:
        self.output = output
        self.state = state
        self._arrays = arrays
        self._traced = traced

    def save_html(
        self,
        path: str | PathLike[str],
        *,
        sequence: int = 0,
        targets: ArrayLike | None = None,
        target_kind: TargetKind | None = None,
        title: str | None = None,
    ) -> None:
        """Writes a page that shows a sequence going through the network: inputs and outputs over time, and what every
        head wrote and read. It is one HTML file that needs no network access; ``sparsam inspect`` writes the same.

        Args:
            path: of the file.
            sequence: which of the batch.
            targets: what the outputs should have been, so that the page finds those that are wrong: classes, integers
                (T,), negative where none is wanted, of whose logits the outputs consist; bits, (T, O), NaN where none
                is wanted, whose logits the outputs are then taken for; or numbers, (T, O), NaN where none is wanted,
                which the outputs should be themselves. Without it the outputs are shown as they are.
            target_kind: ``"classes"``, ``"bits"`` or ``"numbers"``. Unless given, targets (T,) of an integer type are
                classes, and others bits if each of them is 0 or 1, and numbers if not.
            title: of the page.

        Raises:
            ValueError: there is no such sequence, it has no step or starts anew after its first, or the targets do
                not fit.
            OSError: writing failed.

        Example:
            >>> import numpy as np
            >>> from sparsam import Network
            >>> trace = Network("sam", 3, 20, 2, memory_size=1000).trace(np.ones((7, 1, 3), np.float32))
            >>> trace.save_html("trace.html", targets=np.ones((7, 2)))  # doctest: +SKIP
        """
        page, _ = self._page(sequence, targets, target_kind, title, _core.largest_page())
        with open(path, "w", encoding="utf-8", newline="") as file:
            file.write(page)

    def _page(
        self,
        sequence: int = 0,
        targets: ArrayLike | None = None,
        target_kind: TargetKind | None = None,
        title: str | None = None,
        limit: int = 10**7,
    ) -> tuple[str, bool]:
        """The page, and whether all numbers are there as they are."""
        traced = self._traced
        rows = len(traced.lengths)
        if not 0 <= sequence < rows:
            raise ValueError(f"sequence is {sequence}, where one of the {rows} of the batch, from 0 on, was expected")
        steps, configuration = traced.lengths[sequence], traced.configuration
        starts = [] if traced.starts is None else np.flatnonzero(traced.starts[:steps, sequence]).tolist()
        if starts and starts[-1] > 0:
            raise ValueError(
                f"sequence {sequence} starts anew at step {starts[-1]}, and a page shows what was remembered from one"
                " start on: trace what comes before and after by itself"
            )

        def of_sequence(array: NDArray[Any]) -> NDArray[Any]:
            part = array[:steps, sequence : sequence + 1]
            # -1, which stands for no word, is the largest number there.
            return np.ascontiguousarray(part, np.uint32 if array.dtype == np.int64 else np.float32)

        output = of_sequence(traced.output)
        kind, wanted, mask = _wanted(targets, target_kind, steps, output.shape[2])
        hidden = output[:, 0, : configuration.hidden_size] if configuration.output_size is None else None
        return _core.page(
            configuration.to_json(),
            title or f"{configuration.model.upper()} {configuration.input_size} to {output.shape[2]}",
            [("sequence", f"{sequence} of {rows}")] if rows > 1 else [],
            kind,
            of_sequence(traced.input),
            output,
            None if hidden is None else np.ascontiguousarray(hidden),
            wanted,
            mask,
            {name: of_sequence(array) for name, array in traced.arrays.items()},
            traced.continued and not starts,
            limit,
        )

    def _repr_html_(self) -> str:
        """The page of the first sequence in a frame, as notebooks show it; if that is large, how to save it."""
        try:
            page, is_whole = self._page(limit=LARGEST_FRAME)
        except ValueError as error:
            return f"<p>{html.escape(repr(self))}</p><p>{html.escape(str(error))}</p>"
        if not is_whole:
            text = "This trace is too large to be shown here: save it with trace.save_html(path), and open the file."
            return f"<pre>{html.escape(repr(self))}</pre><p>{text}</p>"
        frame = 'width="100%" height="800" style="border: 0" sandbox="allow-scripts" title="A traced sequence"'
        return f'<iframe {frame} srcdoc="{html.escape(page)}"></iframe>'

    def __getitem__(self, name: str) -> NDArray[Any]:
        return self._arrays[name]

    def __iter__(self) -> Iterator[str]:
        return iter(self._arrays)

    def __len__(self) -> int:
        return len(self._arrays)

    def __repr__(self) -> str:
        shapes = "".join(f"\n  {name}: {array.dtype} {array.shape}" for name, array in self.items())
        return f"Trace of output {self.output.shape}{shapes}"


class Tape:
    """What the backward pass of one :meth:`Network.forward` needs. It holds until that call's state is used again."""

    def __init__(self, core: _core.Tape, tensors: list[tuple[str, list[int]]], dtype: np.dtype[Any]) -> None:
        self._core = core
        self._tensors = tensors
        self._dtype = dtype

    def backward(self, output_gradient: ArrayLike) -> Gradients:
        """The backward pass of the call.

        The state that the call returned can be passed on afterwards, as if nobody had gone back; gradients do not
        reach beyond the call. A second time costs the controller's part of a second run.

        Args:
            output_gradient: the gradient of a loss by the output, (T, B, O). Past a sequence's length it counts as 0.

        Raises:
            TypeError, ValueError: it is of another dtype or shape than the output.
            RuntimeError: the state that the call returned was used since.
        """
        array = _numbers("output_gradient", output_gradient, self._dtype)
        values, input_gradient, _ = self._core.backward(array)
        assert input_gradient is not None
        return Gradients(values, dict(_cut(self._tensors, values)), input_gradient)


def _wanted(
    targets: ArrayLike | None, kind: TargetKind | None, steps: int, width: int
) -> tuple[str, NDArray[Any] | None, NDArray[Any] | None]:
    """What targets are, and the targets themselves with the mask of the bits or numbers that count."""
    if kind not in (None, *get_args(TargetKind)):
        raise ValueError(f"target_kind is {kind!r}, where one of {', '.join(get_args(TargetKind))} was expected")
    if targets is None:
        if kind is not None:
            raise ValueError(f"target_kind is {kind!r}, and there are no targets that it is the kind of")
        return "numbers", None, None
    array = np.asarray(targets)
    shape, integers = array.shape, np.issubdtype(array.dtype, np.integer)
    of_width = {name: f"{name}, {(steps, width)}" for name in ("bits", "numbers")}
    expected = {"classes": f"classes, integers {(steps,)}", **of_width}
    fits = {"classes": shape == (steps,) and integers, **dict.fromkeys(of_width, shape == (steps, width))}
    if not any(fit for name, fit in fits.items() if kind in (None, name)):
        wanted = expected[kind] if kind else " or ".join(expected.values())
        raise ValueError(f"targets has shape {shape} and dtype {array.dtype}, where {wanted} was expected")
    if fits["classes"] and kind in (None, "classes"):
        if (array >= width).any():
            raise ValueError(f"targets has the class {array.max()}, where outputs are of {width} classes, from 0 on")
        return "classes", np.where(array < 0, np.iinfo(np.uint32).max, array).astype(np.uint32), None
    values = array.astype(np.float32)
    mask = np.asarray(~np.isnan(values).any(axis=1))
    # What is not a bit is never taken for one.
    neither = values[mask][(values[mask] != 0) & (values[mask] != 1)]
    if kind == "bits" and len(neither):
        raise ValueError(f"targets has {neither[0]:g}, which is not a bit: 0 or 1")
    values = np.ascontiguousarray(np.where(mask[:, None], values, 0), np.float32)
    return kind or ("numbers" if len(neither) else "bits"), values, mask


def _numbers(name: str, array: ArrayLike, dtype: np.dtype[Any]) -> Array:
    numbers = np.asarray(array)
    if numbers.dtype != dtype:
        raise TypeError(f"{name} has dtype {numbers.dtype}, where the network's {dtype} was expected")
    return np.ascontiguousarray(numbers)


def _cut(tensors: list[tuple[str, list[int]]], values: Array) -> Iterator[tuple[str, Array]]:
    start = 0
    for name, shape in tensors:
        end = start + int(np.prod(shape))
        yield name, values[start:end].reshape(shape)
        start = end
