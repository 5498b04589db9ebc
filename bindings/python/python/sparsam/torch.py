"""Memory-augmented networks as PyTorch modules that stand where ``torch.nn.LSTM`` stood.

:class:`SAM` and :class:`SDNC` are sparse: a step costs what it touches, whatever the size of the memory. :class:`DAM`,
:class:`NTM` and :class:`DNC` are dense. All are called alike::

    output, state = model(input, state=None, lengths=None, starts=None)
    trace = model.trace(input)  # what the memory did

:class:`SparseMemory` is the memory of the sparse ones, for a controller of your own; :class:`KeyValueMemory` holds
entries that are found by their keys, for episodic memories and nearest neighbours.

Work is done on the CPU, without the interpreter's lock. Tensors on another device are accepted; they are copied to the
CPU, and results are copied back to the module's device.

Example:
    >>> import torch
    >>> from sparsam.torch import SAM
    >>> model = SAM(input_size=8, hidden_size=100, output_size=4, memory_size=1_000_000)
    >>> output, state = model(torch.randn(50, 2, 8))
    >>> output.square().mean().backward()
    >>> output.shape
    torch.Size([50, 2, 4])
"""

from __future__ import annotations

import json
import math
from collections.abc import Callable, Iterable
from dataclasses import replace
from os import PathLike
from typing import Any, Generic, Literal, TypeVar, overload

import numpy as np
from numpy.typing import NDArray

try:
    import torch
except ModuleNotFoundError as error:
    if error.name != "torch":
        raise
    raise ModuleNotFoundError(
        "sparsam.torch needs PyTorch, which is not installed: pip install torch", name="torch"
    ) from None

from torch import Tensor, nn
from torch.nn.utils.rnn import PackedSequence, pack_padded_sequence, pad_packed_sequence

from sparsam import _core
from sparsam._configuration import KEY_VALUE_OPTIONS, Configuration, check_lengths, checked_bound, given, integer
from sparsam._core import State
from sparsam._network import Trace, Traced

__all__ = [
    "DAM",
    "DNC",
    "NTM",
    "SAM",
    "SDNC",
    "AdaptiveClip",
    "KeyValueMemory",
    "MemoryState",
    "SparseMemory",
    "State",
    "TokenNetwork",
    "Trace",
    "load_checkpoint",
]


def _array(tensor: Tensor) -> NDArray[Any]:
    """The tensor's numbers in C order: its own memory, where that is how they lie there."""
    array: NDArray[Any] = tensor.detach().cpu().resolve_neg().contiguous().numpy()
    return array


_Laid = TypeVar("_Laid", Tensor, NDArray[Any])


def _half(tensor: Tensor, dtype: torch.dtype) -> Tensor:
    """What is computed in ``dtype`` of a tensor that may come in half precision, as autocast makes them."""
    return tensor.to(dtype) if tensor.dtype in (torch.float16, torch.bfloat16) else tensor


def _checked_starts(starts: Tensor | None, shape: tuple[int, ...], meaning: str) -> NDArray[Any] | None:
    if starts is None:
        return None
    if not isinstance(starts, Tensor):
        raise TypeError(f"starts is a {type(starts).__name__}, where a Tensor of torch.bool was expected")
    if starts.dtype != torch.bool:
        raise TypeError(f"starts has dtype {starts.dtype}, where torch.bool was expected; starts.bool() has it")
    if starts.shape != shape:
        raise ValueError(f"starts has shape {tuple(starts.shape)}, where {shape} was expected ({meaning})")
    return _array(starts)


_UNTRACED = (
    "sparsam.torch's modules cannot be {}: what they do is not made of PyTorch's operators, and their memories live "
    "beside the tensors; {}"
)


def _refuse_tracing() -> None:
    """Says so where somebody records or transforms what is made of PyTorch's operators. Under ``torch.compile`` the
    graph breaks here, and this part runs as ever."""
    if torch.compiler.is_compiling():
        if getattr(torch.compiler, "is_exporting", bool)():
            raise RuntimeError(_UNTRACED.format("exported by torch.export", _TO_FILES))
        torch._dynamo.graph_break()
    if torch._C._get_tracing_state() is not None:
        raise RuntimeError(_UNTRACED.format("traced by torch.jit.trace", _TO_FILES))
    if torch._C._functorch.peek_interpreter_stack() is not None:
        raise RuntimeError(
            _UNTRACED.format(
                "transformed by torch.func (vmap, grad, jvp, …)",
                "batch sequences in the input instead, and take gradients by backward() or torch.autograd.grad",
            )
        )


_TO_FILES = "keep a model by state_dict or save_checkpoint, and run it by calling it"


class _Call:
    """One call of a module: what its autograd function needs and what it leaves beside the output."""

    def __init__(
        self, core: _core.Network, lengths: list[int], starts: NDArray[Any] | None, state: State | None, carry: bool
    ) -> None:
        self.core = core
        self.lengths = lengths
        self.starts = starts
        self.state = state
        # Whether gradients pass on from here to the calls after this one.
        self.carry = carry
        self.tape: _core.Tape | None = None

    def run(self, input: Tensor, parameters: Iterable[Tensor], record: bool, carried: bool = False) -> Tensor:
        """Runs it; with ``carried``, gradients pass on to the calls before this one."""
        arrays = [_array(parameter) for parameter in parameters]
        output, self.state, self.tape = self.core.run(
            arrays, _array(input), self.lengths, self.starts, self.state, record, torch.get_num_threads(), carried
        )
        return torch.from_numpy(output).to(input.device)


class _Once(torch.autograd.Function):
    """Hands a gradient on, and says so where the gradient of that is asked for. What PyTorch's ``once_differentiable``
    gives has no graph if nothing behind the module has one: a penalty on gradients is then a constant, in silence."""

    @staticmethod
    def forward(ctx: Any, gradient: Tensor, *sources: Tensor | None) -> Tensor:
        return gradient.clone()

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> tuple[None, ...]:
        raise RuntimeError(
            "sparsam.torch has no gradients of gradients: a loss made of its modules' gradients, such as a penalty on "
            "their norm, cannot be gone back through; detach() such gradients, or leave out create_graph=True"
        )


def _once(gradients: list[Tensor | None], sources: Iterable[Tensor | None]) -> list[Tensor | None]:
    """Gradients that depend on some sources, and say so where that is asked for."""
    if not torch.is_grad_enabled():
        return gradients
    return [None if gradient is None else _Once.apply(gradient, *sources) for gradient in gradients]


class _Taped(torch.autograd.Function):
    """A call that has a backward pass.

    What the controllers held before the call, (B, H + C + R·W), comes in as a tensor where gradients are carried, and
    what they hold after it goes out. So the engine runs the backward passes of calls in their order, and hands those
    gradients on; those of the memories stay in the library.
    """

    @staticmethod
    def forward(
        ctx: Any, call: _Call, input: Tensor, held: Tensor | None, *parameters: Tensor
    ) -> tuple[Tensor, Tensor | None]:
        output = call.run(input, parameters, record=True, carried=held is not None)
        ctx.tape, call.tape = call.tape, None
        # The tape has their values: they may change before the backward pass.
        ctx.parameters = parameters
        # PyTorch then knows whether the input is still the same, and whether the graph was retained.
        ctx.save_for_backward(input)
        # No gradient, and not one of zeros, tells that a later call had no backward pass.
        ctx.set_materialize_grads(False)
        if not call.carry:
            return output, None
        assert call.state is not None
        return output, torch.from_numpy(call.state._controllers()).to(input.device)

    @staticmethod
    def backward(ctx: Any, output_gradient: Tensor | None, held_gradient: Tensor | None) -> tuple[Tensor | None, ...]:
        if output_gradient is None and held_gradient is None:
            return (None,) * len(ctx.needs_input_grad)
        (input,) = (
            ctx.saved_tensors
        )  # raises if the input changed, or if the graph was gone back through and not retained
        _, with_input, with_held, *with_parameters = ctx.needs_input_grad
        with torch.no_grad():
            over_output, over_held = (
                None if gradient is None else _array(gradient) for gradient in (output_gradient, held_gradient)
            )
            flat, *over_others = ctx.tape.backward(over_output, over_held, with_input, with_held)
            lengths = [parameter.numel() for parameter in ctx.parameters]
            # One copy for all parameters, which seldom lie on several devices.
            pieces = torch.split(torch.from_numpy(flat).to(ctx.parameters[0].device), lengths)
            gradients = [None if over is None else torch.from_numpy(over).to(input.device) for over in over_others] + [
                piece.view(parameter.shape).to(parameter.device) if wanted else None
                for piece, parameter, wanted in zip(pieces, ctx.parameters, with_parameters, strict=True)
            ]
        return None, *_once(gradients, (output_gradient, held_gradient, input, *ctx.parameters))


def _draw(core: _core.Network, parameter: Callable[[str], Tensor | None], input_bound: float | None) -> None:
    """Gives those parameters that there are their first values, drawn by PyTorch's generator."""
    with torch.no_grad():
        for name, rows, columns, bound, constant, copied in core.first_values(input_bound):
            values = parameter(name)
            if values is None:
                continue
            block = values[slice(*rows)] if values.dim() == 1 else values[slice(*rows), slice(*columns)]
            if bound is not None:
                block.uniform_(-bound, bound)
            elif constant is not None:
                block.fill_(constant)
            elif copied is not None:
                block.copy_(values[copied : copied + block.shape[0], slice(*columns)])


class _Parameters(nn.Module):
    """Parameters under a common name; what they are used for is in Rust."""

    def __init__(self, shapes: dict[str, list[int]], device: Any, dtype: torch.dtype | None) -> None:
        super().__init__()
        self._names = list(shapes)
        for name, shape in shapes.items():
            self.register_parameter(name, nn.Parameter(torch.empty(shape, device=device, dtype=dtype)))

    def forward(self) -> list[Tensor]:
        """What stands under the names now. They may have become something else than parameters, by ``parametrize`` and
        ``prune``; the latter makes it anew whenever its module is called."""
        return [getattr(self, name) for name in self._names]

    def places(self) -> dict[str, Tensor]:
        """What is to be filled in where new parameters are drawn, whatever has become of them; the numbers go to
        :meth:`put_back`."""
        places = {}
        for name in self._names:
            parameter = self._parameters.get(name, self._parameters.get(f"{name}_orig"))
            if parameter is None:
                if not nn.utils.parametrize.is_parametrized(self, name):
                    raise RuntimeError(f"{name} is made of other parameters now: none can be drawn for it")
                parameter = getattr(self, name).clone()
            places[name] = parameter
        return places

    def put_back(self, places: dict[str, Tensor]) -> None:
        """Hands numbers to what became of parametrized parameters."""
        for name, values in places.items():
            if nn.utils.parametrize.is_parametrized(self, name):
                setattr(self, name, values)

    def extra_repr(self) -> str:
        return ", ".join(f"{name}={tuple(parameter.shape)}" for name, parameter in self.named_parameters())


_Core = TypeVar("_Core")


class _Handles(Generic[_Core]):
    """What runs a module, for each dtype that it was called with. Copies and pickles get their own when they first run:
    runners and their memories stay here."""

    def __init__(self, kind: Callable[[str, bool], _Core], configuration: str) -> None:
        self._kind = kind
        self._configuration = configuration
        self._cores: dict[torch.dtype, _Core] = {}

    def get(self, dtype: torch.dtype) -> _Core:
        core = self._cores.get(dtype)
        if core is None:
            # Of two threads that come here at once, both go on with the same one.
            core = self._cores.setdefault(dtype, self._kind(self._configuration, dtype == torch.float64))
        return core

    def __getstate__(self) -> dict[str, Any]:
        return {**self.__dict__, "_cores": {}}


class _Recurrent(nn.Module):
    """What the five modules share."""

    def __init__(
        self,
        configuration: Configuration,
        batch_first: bool,
        device: Any,
        dtype: torch.dtype | None,
        input_bound: float | None = None,
        carry_gradients: bool = False,
    ) -> None:
        super().__init__()
        self.batch_first = batch_first
        self.carry_gradients = carry_gradients
        self._input_bound = checked_bound(input_bound)
        self._configuration = configuration
        self._handles = _Handles(_core.Network, configuration.to_json())
        groups: dict[str, dict[str, list[int]]] = {}
        for full_name, shape in self._core(_checked_dtype(dtype)).tensors():
            group, name = full_name.split(".")
            groups.setdefault(group, {})[name] = shape
        self._group_names = list(groups)
        for group, shapes in groups.items():
            self.add_module(group, _Parameters(shapes, device, dtype))
        self.reset_parameters()

    def _groups(self) -> list[tuple[str, _Parameters]]:
        return [(group, self.get_submodule(group)) for group in self._group_names]  # type: ignore[misc]

    def _values(self) -> list[Tensor]:
        """What stands in the parameters' places, by name: whatever else a subclass, a parametrization or pruning adds
        or moves is no concern of the library's."""
        return [value for _, group in self._groups() for value in group()]

    def _core(self, dtype: torch.dtype) -> _core.Network:
        return self._handles.get(dtype)

    @property
    def input_size(self) -> int:
        """Numbers in an input, I."""
        return self._configuration.input_size

    @property
    def hidden_size(self) -> int:
        """Hidden units of the controller, H."""
        return self._configuration.hidden_size

    @property
    def controller_name(self) -> str:
        """The name of the controller, whose parameters are in ``controller``."""
        return self._configuration.controller

    @property
    def output_size(self) -> int | None:
        """Numbers in an output, O; ``None`` if the output is [h ; r], H + R·W wide."""
        return self._configuration.output_size

    def reset_parameters(self, input_bound: float | None = None) -> None:
        """Draws new parameters, each by what it is for.

        Weights of the inputs are uniform in ±``input_bound``; without one, in what the constructor was told, or else
        in ±2/√I, which suits inputs whose numbers are about 1, as embeddings and bits are. A bound of 4 suits one-hot
        inputs: with smaller weights the controller can hardly tell at first which of them is 1, and learning begins
        much later.

        All others are those of the command and the crate: ±1/√(I + R·W + H) for what the controller read and for its
        hidden units; the interface's biases so that strengths start at 10 (of NTM 5), write gates nearly open, and new
        words are written rather than those read before; the keys of half of the heads as the words that are written;
        output weights of what was read in ±12/√(R·W), at most 1.
        """
        bound = self._input_bound if input_bound is None else checked_bound(input_bound)
        with torch.no_grad():
            places = {group: parameters.places() for group, parameters in self._groups()}
            named = {f"{group}.{name}": values for group, of in places.items() for name, values in of.items()}
            _draw(self._core(_checked_dtype(named["controller.bias"].dtype)), named.get, bound)
            for group, parameters in self._groups():
                parameters.put_back(places[group])

    @overload
    def forward(
        self,
        input: Tensor,
        state: State | None = None,
        lengths: Tensor | Iterable[int] | None = None,
        *,
        starts: Tensor | None = None,
    ) -> tuple[Tensor, State]: ...

    @overload
    def forward(
        self,
        input: PackedSequence,
        state: State | None = None,
        lengths: None = None,
        *,
        starts: Tensor | None = None,
    ) -> tuple[PackedSequence, State]: ...

    def forward(
        self,
        input: Tensor | PackedSequence,
        state: State | None = None,
        lengths: Tensor | Iterable[int] | None = None,
        *,
        starts: Tensor | None = None,
    ) -> tuple[Tensor | PackedSequence, State]:
        """Runs sequences from a state on.

        A tape for going back is kept while gradients are enabled and something requires them, in ``eval()`` as well:
        ``torch.no_grad()`` or ``torch.inference_mode()`` is what a stream runs under.

        Gradients stop where a state enters; going back must come before the returned state is used again, and the
        state may be passed on after it. With ``carry_gradients``, they pass on to the calls before, as with the state
        of ``torch.nn.LSTM``, back to where ``state.detach()`` was called, or a state was reset, copied or loaded.

        Args:
            input: of shape (T, B, I), with ``batch_first`` (B, T, I), unbatched (T, I), or a ``PackedSequence``.
            state: where to go on from: the one that the call before returned, which this call uses up; without it,
                every memory is empty. Its rows are those of the batch, of a ``PackedSequence``
                in the order before it was sorted.
            lengths: of the B sequences, each at most T. Past its length a sequence's state stands still, its output
                is zero, it passes no gradient, and what its input holds does not matter.
            starts: booleans, (T, B), with ``batch_first`` (B, T), unbatched (T,): where one is true, the row is as new
                before that step, with an empty memory. All is as if the sequence had been cut there, outputs and
                gradients, of which none passes over a start; the cost is that of what was touched, however many there
                are. The rows of a ``PackedSequence`` are in the order before it was sorted.

        Returns:
            The output, laid out as the input, O wide; and the state to go on from. The output has the parameters'
            dtype, whatever the input's, and whether or not under ``torch.autocast``.

        Raises:
            TypeError: a dtype other than the parameters' or half precision, or an argument that is something else
                altogether.
            ValueError: a shape or length that does not fit.
            RuntimeError: the state has moved on: another call was given it already.
            MemoryError: this machine has no room for the memories or the tape.
        """
        if isinstance(input, PackedSequence):
            if lengths is not None:
                raise ValueError("lengths was given with a PackedSequence, which has lengths of its own")
            padded, own_lengths = pad_packed_sequence(input)
            mask = self._lay_out_starts(starts, padded.shape[0], padded.shape[1])
            output, state = self._run(padded, state, own_lengths.tolist(), mask)
            in_order = input.sorted_indices
            if in_order is not None:
                output = output.index_select(1, in_order)
                own_lengths = own_lengths[in_order.cpu()]
            data = pack_padded_sequence(output, own_lengths).data
            return PackedSequence(data, input.batch_sizes, in_order, input.unsorted_indices), state
        if not isinstance(input, Tensor):
            raise TypeError(f"input is a {type(input).__name__}, where a Tensor or PackedSequence was expected")
        batch, checked = self._lay_out(input, lengths)
        mask = self._lay_out_starts(starts, batch.shape[0], None if input.dim() == 2 else batch.shape[1])
        output, state = self._run(batch, state, checked, mask)
        return self._as_given(output, input), state

    def trace(
        self,
        input: Tensor,
        state: State | None = None,
        lengths: Tensor | Iterable[int] | None = None,
        *,
        starts: Tensor | None = None,
    ) -> Trace:
        """Runs sequences without a tape, and tells what the memories did at every step.

        Args:
            input, state, lengths, starts: as in a call; no ``PackedSequence``.

        Returns:
            NumPy arrays by name, and ``output`` and ``state``; see :class:`sparsam.Trace` for what is there. Their
            first dimensions are those of ``input``.

        Raises:
            As a call.

        Example:
            >>> import torch
            >>> from sparsam.torch import SAM
            >>> trace = SAM(8, 64, 4, memory_size=10_000).trace(torch.randn(30, 2, 8))
            >>> trace["write_gates"].shape  # steps, sequences, heads
            (30, 2, 4)
        """
        if not isinstance(input, Tensor):
            raise TypeError(f"input is a {type(input).__name__}, where a Tensor was expected")
        batch, checked = self._lay_out(input, lengths)
        mask = self._lay_out_starts(starts, batch.shape[0], None if input.dim() == 2 else batch.shape[1])
        batch, parameters = self._check(batch, state)
        arrays = [_array(parameter) for parameter in parameters]
        continued = state is not None
        output, state, traced = self._core(batch.dtype).trace(arrays, _array(batch), checked, mask, state)
        # The caller may write other numbers into its tensor.
        shown = _array(batch).copy()
        return Trace(
            self._as_given(output, input),
            state,
            {name: self._as_given(array, input) for name, array in traced.items()},
            Traced(self._configuration, shown, output, checked, traced, mask, continued),
        )

    def _lay_out(
        self, input: Tensor, lengths: Tensor | Iterable[int] | None, width: int | None = None
    ) -> tuple[Tensor, list[int]]:
        """The input as (T, B, I), and its lengths; I is ``width``, or what the module takes."""
        width = self.input_size if width is None else width
        if input.dim() == 2 and input.shape[1] == width:
            if lengths is not None:
                raise ValueError("lengths was given with an unbatched input, whose one sequence has T steps")
            return input.unsqueeze(1), [input.shape[0]]
        if input.dim() != 3 or input.shape[2] != width:
            batched = f"(B, T, {width})" if self.batch_first else f"(T, B, {width})"
            found = tuple(input.shape)
            raise ValueError(f"input has shape {found}, where {batched} or, unbatched, (T, {width}) was expected")
        if self.batch_first:
            input = input.transpose(0, 1)
        steps, rows = input.shape[:2]
        if lengths is None:
            return input, [steps] * rows
        return input, check_lengths(lengths.tolist() if isinstance(lengths, Tensor) else lengths, rows, steps)

    def _lay_out_starts(self, starts: Tensor | None, steps: int, rows: int | None) -> NDArray[Any] | None:
        """The starts of so many steps and rows as (T, B); ``None`` are the rows of an unbatched input."""
        if rows is None:
            mask = _checked_starts(starts, (steps,), "T, as the input has")
            return None if mask is None else mask[:, np.newaxis]
        shape, meaning = ((rows, steps), "B, T") if self.batch_first else ((steps, rows), "T, B")
        mask = _checked_starts(starts, shape, f"{meaning}, as the input has")
        return np.ascontiguousarray(mask.T) if mask is not None and self.batch_first else mask

    def _as_given(self, array: _Laid, input: Tensor) -> _Laid:
        """What has shape (T, B, …), laid out as the input."""
        if input.dim() == 2:
            return array.squeeze(1)
        return array.swapaxes(0, 1) if self.batch_first else array

    def _run(
        self, input: Tensor, state: State | None, lengths: list[int], starts: NDArray[Any] | None
    ) -> tuple[Tensor, State]:
        """Runs sequences of shape (T, B, I)."""
        _refuse_tracing()
        input, parameters = self._check(input, state)
        call = _Call(self._core(input.dtype), lengths, starts, state, self.carry_gradients)
        held = state._graph if state is not None and self.carry_gradients else None
        sources = [input, *parameters] if held is None else [held, input, *parameters]
        output: Tensor
        if torch.is_grad_enabled() and any(source.requires_grad for source in sources):
            output, held = _Taped.apply(call, input, held, *parameters)
        else:
            output, held = call.run(input, parameters, record=False), None
        assert call.state is not None
        return output, call.state if held is None else call.state._with_graph(held)

    def _check(self, input: Tensor, state: State | None) -> tuple[Tensor, list[Tensor]]:
        """Checks types; gives the input in the parameters' dtype, and the parameters."""
        parameters = self._values()
        dtype = _checked_dtype(parameters[0].dtype)
        input = _half(input, dtype)
        if input.dtype != dtype:
            raise TypeError(f"input has dtype {input.dtype}, where the parameters' {dtype} was expected")
        if state is not None and not isinstance(state, State):
            raise TypeError(f"state is a {type(state).__name__}, where the state that a call returned was expected")
        return input, parameters

    def load_state(self, path: str | PathLike[str]) -> State:
        """The state that ``state.save`` wrote, to go on from.

        Raises:
            ValueError: it is no saved state, a damaged one, or one of a network of another configuration.
            OSError: it cannot be read.
        """
        return self._core(self._values()[0].dtype).load_state(path)

    def initial_state(self, hidden: Tensor, cell: Tensor | None = None, read: Tensor | None = None) -> State:
        """A state to start from, whose controllers hold what is given and whose memories are empty.

        With ``carry_gradients``, gradients flow to what was given, so that a first state can be learnt. Of the memory
        that is what was read last, which the controller sees at the first step; the words are those of an empty memory.

        Args:
            hidden: hidden units, (B, H), or (H,) for a single sequence. A learnt first state of all rows is
                ``parameter.expand(B, H)``.
            cell: cells, of the same shape; zeros without it. A GRU has none.
            read: what was read last, (B, R·W) or (R·W,), head after head; zeros without it.

        Raises:
            TypeError: a dtype other than the parameters' or half precision.
            ValueError: a shape that does not fit; cells of a GRU; or something that requires a gradient, of a module
                without ``carry_gradients``.
            MemoryError: this machine has no room for the memories.

        Example:
            >>> import torch
            >>> from sparsam.torch import SAM
            >>> model = SAM(8, 64, 4, memory_size=10_000, carry_gradients=True)
            >>> hidden, cell = (torch.nn.Parameter(torch.zeros(64)) for _ in range(2))
            >>> state = model.initial_state(hidden.expand(2, 64), cell.expand(2, 64))
            >>> output, state = model(torch.randn(30, 2, 8), state)
            >>> output.square().mean().backward()
            >>> hidden.grad.shape
            torch.Size([64])
        """
        dtype = _checked_dtype(self._values()[0].dtype)
        core = self._core(dtype)
        named = {"hidden": hidden, "cell": cell, "read": read}
        for name, part in named.items():
            if not isinstance(part, Tensor) and (part is not None or name == "hidden"):
                raise TypeError(f"{name} is a {type(part).__name__}, where a Tensor was expected")
        rows = 1 if hidden.dim() == 1 else hidden.shape[0] if hidden.dim() == 2 else None
        parts = []
        for (name, part), width in zip(named.items(), core.controller_lens(), strict=True):
            if part is None:
                parts.append(hidden.new_zeros((rows or 0, width), dtype=dtype))
                continue
            if width == 0:
                raise ValueError(f"{name} was given, which the controller {self.controller_name!r} does not have")
            part = _half(part, dtype)
            if part.dtype != dtype:
                raise TypeError(f"{name} has dtype {part.dtype}, where the parameters' {dtype} was expected")
            expected = (width,) if hidden.dim() == 1 else (rows, width)
            if rows is None or part.shape != expected:
                meant = f"(B, {width})" if rows is None else expected
                raise ValueError(f"{name} has shape {tuple(part.shape)}, where {meant} was expected")
            parts.append(part.reshape(rows, width))
        held = torch.cat(parts, 1)
        state = core.state(held.shape[0])._with_controllers(_array(held))
        if not held.requires_grad:
            return state
        if not self.carry_gradients:
            raise ValueError(
                "a first state that requires a gradient needs a module with carry_gradients=True, whose states pass "
                "gradients on; else detach() what is given"
            )
        return state._with_graph(held)

    def save_checkpoint(self, path: str | PathLike[str]) -> None:
        """Writes the configuration and the parameters to a safetensors file that the command ``sparsam`` and
        :func:`load_checkpoint` read.

        Raises:
            ValueError: a parameter is not finite.
            OSError: writing failed; an older file is as it was.
        """
        _save(path, *self._checkpoint())

    def _checkpoint(self) -> tuple[Configuration, list[NDArray[Any]]]:
        """What a checkpoint holds: the configuration, and the parameters in their order."""
        return self._configuration, [_array(parameter) for parameter in self._values()]

    def extra_repr(self) -> str:
        sizes = f"{self.input_size}, {self.hidden_size}, {self.output_size}"
        switches = [name for name in ("batch_first", "carry_gradients") if getattr(self, name)]
        return sizes + self._configuration.keywords() + "".join(f", {name}=True" for name in switches)

    def __prepare_scriptable__(self) -> None:
        raise RuntimeError(_UNTRACED.format("scripted by torch.jit.script", _TO_FILES))

    def __setstate__(self, state: dict[str, Any]) -> None:
        super().__setstate__(state)  # type: ignore[no-untyped-call]
        # Pickles from before there was a choice do not say.
        self.__dict__.setdefault("carry_gradients", False)


def _checked_dtype(dtype: torch.dtype | None) -> torch.dtype:
    dtype = dtype or torch.get_default_dtype()
    if dtype not in (torch.float32, torch.float64):
        raise TypeError(f"dtype is {dtype}, where torch.float32 or torch.float64 was expected")
    return dtype


class SAM(_Recurrent):
    """Sparse Access Memory (Rae et al. 2016): a controller whose heads read and write a few words of a large memory.

    At each step every head writes to the words that it read last and to the least recently accessed one, and reads the
    ``num_reads`` words most similar to its key. A step costs what it touches; ``memory_size`` is a limit, not a cost.

    Args:
        input_size: numbers in an input, I.
        hidden_size: hidden units of the controller, H.
        output_size: numbers in an output, O. Without it there is no output layer, and the output is [h ; r], the
            hidden units and what was read, H + R·W wide.
        memory_size: words in memory, N.
        word_size: numbers in a word, W.
        num_heads: access heads, R.
        num_reads: words that a head reads, K.
        access_threshold: a word whose weights sum to more than this in a step counts as accessed.
        write_threshold: what a write gate has to exceed; below, nothing is written (0, as in the paper: always some).
        write_cost: added to the gradient of every write gate that is open, as if the loss held it times the gate.
        index: how similar words are found: ``"auto"`` (exact while few words are written), ``"linear"`` (exact),
            ``"ivf"``, ``"kd-forest"``, ``"lsh"``.
        index_checks: words that an approximate index compares with a query, about; 0 leaves it to the index.
        masked_content: a mask comes with every key (Csordás and Schmidhuber 2019, section 3.1).
        controller: what drives the memory: ``"lstm"``; ``"gru"``, as ``torch.nn.GRU``, with one bias for each pair of
            biases whose sum is all that matters; or ``"layer_norm_lstm"``, an LSTM with layer normalisation.
        input_bound: the inputs' first weights are uniform in ± this; 4 suits one-hot inputs. Without it in ±2/√I, which
            suits inputs whose numbers are about 1. See :meth:`reset_parameters`.
        batch_first: input and output are (B, T, ·) instead of (T, B, ·).
        carry_gradients: a returned state passes gradients back to the call before, as that of ``torch.nn.LSTM`` does,
            until ``state.detach()``; without it they stop where a state enters. See :meth:`forward`.
        device: of the parameters. Work is done on the CPU wherever they are.
        dtype: ``torch.float32`` or ``torch.float64``.

    Example:
        >>> import torch
        >>> from sparsam.torch import SAM
        >>> model = SAM(8, 64, memory_size=10_000, batch_first=True)
        >>> output, state = model(torch.randn(2, 30, 8), lengths=[30, 12])
        >>> output.shape
        torch.Size([2, 30, 192])
        >>> output, state = model(torch.randn(2, 5, 8), state)  # it goes on with what it remembers
    """

    def __init__(
        self,
        input_size: int,
        hidden_size: int,
        output_size: int | None = None,
        memory_size: int = 1_000_000,
        *,
        word_size: int = 32,
        num_heads: int = 4,
        num_reads: int = 4,
        access_threshold: float = 0.005,
        write_threshold: float = 0.0,
        write_cost: float = 0.0,
        index: str = "auto",
        index_checks: int = 0,
        masked_content: bool = False,
        controller: str = "lstm",
        input_bound: float | None = None,
        batch_first: bool = False,
        carry_gradients: bool = False,
        device: torch.device | str | None = None,
        dtype: torch.dtype | None = None,
    ) -> None:
        configuration = Configuration.of("sam", locals())
        super().__init__(configuration, batch_first, device, dtype, input_bound, carry_gradients)


class SDNC(_Recurrent):
    """The sparse differentiable neural computer (Rae et al. 2016, supplement D): SAM with temporal links.

    One head writes; ``num_heads`` heads read, by content and along links to the words written before and after those
    that they read last. Links and precedence carry no gradient.

    Args:
        num_links: links kept for a word each way, and words kept in the precedence.
        masked_content: a mask comes with every key (Csordás and Schmidhuber 2019, section 3.1).
        sharpened_links: what is read along the links is sharpened (same, section 3.3).

    All other arguments are those of :class:`SAM`.

    Example:
        >>> import torch
        >>> from sparsam.torch import SDNC
        >>> output, state = SDNC(8, 64, 4, memory_size=10_000)(torch.randn(30, 2, 8))
        >>> output.shape
        torch.Size([30, 2, 4])
    """

    def __init__(
        self,
        input_size: int,
        hidden_size: int,
        output_size: int | None = None,
        memory_size: int = 1_000_000,
        *,
        word_size: int = 32,
        num_heads: int = 4,
        num_reads: int = 4,
        num_links: int = 8,
        access_threshold: float = 0.005,
        write_threshold: float = 0.0,
        write_cost: float = 0.0,
        index: str = "auto",
        index_checks: int = 0,
        masked_content: bool = False,
        sharpened_links: bool = False,
        controller: str = "lstm",
        input_bound: float | None = None,
        batch_first: bool = False,
        carry_gradients: bool = False,
        device: torch.device | str | None = None,
        dtype: torch.dtype | None = None,
    ) -> None:
        configuration = Configuration.of("sdnc", locals())
        super().__init__(configuration, batch_first, device, dtype, input_bound, carry_gradients)


class DAM(_Recurrent):
    """Dense Access Memory (Rae et al. 2016): SAM's dense twin, which reads and writes every word.

    A step costs a pass over the memory, and going back keeps the memory of every step; hence a default of 128 words.

    Args:
        memory_size: words in memory, N.
        usage_discount: what is left of a word's usage after a step.

    All other arguments are those of :class:`SAM`.

    Example:
        >>> import torch
        >>> from sparsam.torch import DAM
        >>> output, state = DAM(8, 64, 4)(torch.randn(30, 2, 8))
        >>> output.shape
        torch.Size([30, 2, 4])
    """

    def __init__(
        self,
        input_size: int,
        hidden_size: int,
        output_size: int | None = None,
        memory_size: int = 128,
        *,
        word_size: int = 32,
        num_heads: int = 4,
        usage_discount: float = 0.99,
        controller: str = "lstm",
        input_bound: float | None = None,
        batch_first: bool = False,
        carry_gradients: bool = False,
        device: torch.device | str | None = None,
        dtype: torch.dtype | None = None,
    ) -> None:
        configuration = Configuration.of("dam", locals())
        super().__init__(configuration, batch_first, device, dtype, input_bound, carry_gradients)


class NTM(_Recurrent):
    """The neural Turing machine (Graves et al. 2014): heads find words by content and by shifting where they were.

    A step costs passes over the memory, and going back keeps the memory of every step; hence a default of 128 words.

    Arguments are those of :class:`SAM`, without those of sparse access.

    Example:
        >>> import torch
        >>> from sparsam.torch import NTM
        >>> output, state = NTM(8, 64, 4, num_heads=1)(torch.randn(30, 2, 8))
        >>> output.shape
        torch.Size([30, 2, 4])
    """

    def __init__(
        self,
        input_size: int,
        hidden_size: int,
        output_size: int | None = None,
        memory_size: int = 128,
        *,
        word_size: int = 32,
        num_heads: int = 4,
        controller: str = "lstm",
        input_bound: float | None = None,
        batch_first: bool = False,
        carry_gradients: bool = False,
        device: torch.device | str | None = None,
        dtype: torch.dtype | None = None,
    ) -> None:
        configuration = Configuration.of("ntm", locals())
        super().__init__(configuration, batch_first, device, dtype, input_bound, carry_gradients)


class DNC(_Recurrent):
    """The differentiable neural computer (Graves et al. 2016): one write head, ``num_heads`` read heads, and a matrix
    of links between all pairs of words.

    A step costs passes over the memory and over N² links, and going back keeps both of every step; hence a default of
    128 words.

    Args:
        masked_content: a mask comes with every key (Csordás and Schmidhuber 2019, section 3.1).
        sharpened_links: what is read along the links is sharpened (same, section 3.3).
        deallocation: freed words lose their content (same, section 3.2).

    All other arguments are those of :class:`SAM`, without those of sparse access.

    Example:
        >>> import torch
        >>> from sparsam.torch import DNC
        >>> output, state = DNC(8, 64, 4, memory_size=32)(torch.randn(30, 2, 8))
        >>> output.shape
        torch.Size([30, 2, 4])
    """

    def __init__(
        self,
        input_size: int,
        hidden_size: int,
        output_size: int | None = None,
        memory_size: int = 128,
        *,
        word_size: int = 32,
        num_heads: int = 4,
        masked_content: bool = False,
        sharpened_links: bool = False,
        deallocation: bool = False,
        controller: str = "lstm",
        input_bound: float | None = None,
        batch_first: bool = False,
        carry_gradients: bool = False,
        device: torch.device | str | None = None,
        dtype: torch.dtype | None = None,
    ) -> None:
        configuration = Configuration.of("dnc", locals())
        super().__init__(configuration, batch_first, device, dtype, input_bound, carry_gradients)


class MemoryState:
    """The memories of a batch that :class:`SparseMemory` steps, at one moment. It can be used once.

    Steps that share a state share a graph, as with the hidden units of ``torch.nn.LSTMCell``: :meth:`detach` ends it.

    It can be pickled, and :func:`copy.deepcopy` makes one with memories of its own, without the graph. Files, pickles
    and copies cost the words that were written, as those of :class:`State`.
    """

    def __init__(self, configuration: Configuration, core: _core.MemoryState, latest: Tensor | None) -> None:
        self._configuration = configuration
        self._core = core
        # What the latest step gave beside its reads: it makes the next step's backward come before that step's.
        self._latest = latest

    @property
    def rows(self) -> int:
        """Sequences in the batch, B."""
        return self._core.rows

    @property
    def is_current(self) -> bool:
        """Whether no later call was given this state."""
        return self._core.is_current

    def detach(self) -> MemoryState:
        """The state as it stands, from which gradients do not flow to the steps before it; these cannot be gone back
        through any more. This state is used up.

        Raises:
            RuntimeError: the state has moved on.
        """
        return MemoryState(self._configuration, self._core.detach(), None)

    def reset(self, rows: Iterable[Any] | None = None) -> MemoryState:
        """The state with these rows empty, the others as they stand; all rows if none are named. As :meth:`detach` for
        gradients. This state is used up.

        Args:
            rows: numbers of rows, or a mask: for each row, whether it is meant. A list, an array or a tensor.

        Raises:
            RuntimeError: the state has moved on.
            TypeError: ``rows`` has neither numbers nor booleans.
            ValueError: ``rows`` names a row that is not there, or is a mask of another length.
        """
        return MemoryState(self._configuration, self._core.reset(rows), None)

    def select(self, rows: Iterable[Any]) -> MemoryState:
        """A state with memories of its own, whose rows are copies of these, in this order; one may be named more than
        once. Gradients do not flow from it to the steps before. This state stays as it is.

        Args:
            rows: as in :meth:`reset`.

        Raises:
            RuntimeError: the state has moved on.
            TypeError: ``rows`` has neither numbers nor booleans.
            ValueError: ``rows`` names a row that is not there, or a number in one is not finite.
            MemoryError: this machine has no room for the memories.
        """
        return MemoryState(self._configuration, self._core.select(rows), None)

    def save(self, path: str | PathLike[str]) -> None:
        """Writes the state to a safetensors file, for :meth:`SparseMemory.load_state`. This state stays as it is.

        Raises:
            RuntimeError: the state has moved on.
            ValueError: a number in it is not finite.
            OSError: writing failed; an older file is as it was.
        """
        self._core.save(path)

    def __copy__(self) -> MemoryState:
        raise TypeError("a state is not copied by reference; copy.deepcopy(state) makes one with memories of its own")

    def __deepcopy__(self, memo: dict[int, Any]) -> MemoryState:
        return MemoryState(self._configuration, self._core.select(None), None)

    def __getstate__(self) -> dict[str, Any]:
        configuration = self._configuration.to_json()
        return {"configuration": configuration, "double": self._core.is_double, "bytes": self._core.bytes()}

    def __setstate__(self, state: dict[str, Any]) -> None:
        self._configuration = Configuration.from_json(state["configuration"])
        memory = _core.Memory(self._configuration.memory_to_json(), state["double"])
        self._core, self._latest = memory.restore(state["bytes"]), None

    def __repr__(self) -> str:
        return f"MemoryState(rows={self.rows}{'' if self.is_current else ', moved on'})"


class _Step(torch.autograd.Function):
    """A step of memories that has a backward pass.

    What passes from step to step stays in the memories. A number that each step hands to the next makes the engine run
    the backward passes of steps in their order; its gradient tells a step that the backward pass of the one after it
    came just before.
    """

    @staticmethod
    def forward(
        ctx: Any,
        holder: list[_core.MemoryState],
        starts: NDArray[Any] | None,
        interface: Tensor,
        latest: Tensor | None,
    ) -> tuple[Tensor, Tensor]:
        read, holder[0], ctx.step = holder[0].step(_array(interface), starts, True, torch.get_num_threads())
        this = interface.new_zeros(())
        ctx.set_materialize_grads(False)
        ctx.interface = interface
        # PyTorch then raises at a second backward pass over a graph that was not retained.
        ctx.save_for_backward(this)
        return torch.from_numpy(read).to(interface.device), this

    @staticmethod
    def backward(
        ctx: Any, read_gradient: Tensor | None, later: Tensor | None
    ) -> tuple[None, None, Tensor | None, Tensor | None]:
        (this,) = ctx.saved_tensors
        _, _, with_interface, with_latest = ctx.needs_input_grad
        with torch.no_grad():
            array = None if read_gradient is None else _array(read_gradient)
            gradient = torch.from_numpy(ctx.step.backward(array, later is None, torch.get_num_threads()))
            gradients = [gradient.to(this.device) if with_interface else None]
        over_interface, over_latest = *_once(gradients, (read_gradient, ctx.interface)), None
        if with_latest:
            over_latest = torch.ones_like(this)
        return None, None, over_interface, over_latest


class SparseMemory(nn.Module):
    """The memory of :class:`SAM` or, with ``num_links``, of :class:`SDNC`, for a controller of your own: it takes what
    your network puts out, step by step, and gives back what was read. It has no parameters.

    An interface vector has P = ``interface_size`` numbers, any that a linear layer puts out: gates pass through the
    logistic function, strengths through 1 + softplus, modes through softmax. For R heads and words of W numbers:

    - without links, head after head: key (W), strength (1), word to write (W), write gate (1), interpolation gate (1);
      then, with ``masked_content``, head after head: mask (W, logistic).
      A head reads the ``num_reads`` words most similar to its key, weighed by the softmax of strength times cosine.
      Before that it erases the least recently accessed word, then writes its word, as far as the write gate is open:
      where it read last (interpolation gate open) or to the word erased (closed);
    - with links, head after head: key (W), strength (1), read modes (3: backward along the links, by content, forward);
      then once: word to write (W), write gate (1), interpolation gate (1); then, with ``masked_content``, head after
      head: mask (W, logistic); and, with ``sharpened_links``, head after head: sharpness (2: backward, forward; 1 +
      softplus).

    Args:
        memory_size: words in memory, N.
        word_size: numbers in a word, W.
        num_heads: access heads, R; all read, and without links all write.
        num_reads: words that a head reads, K.
        num_links: links kept for a word each way; ``None`` for a memory without links.
        access_threshold: a word whose weights sum to more than this in a step counts as accessed.
        write_threshold: what a write gate has to exceed; below, nothing is written (0, as in the paper: always some).
        write_cost: added to the gradient of every write gate that is open, as if the loss held it times the gate.
        index: how similar words are found, as in :class:`SAM`.
        index_checks: words that an approximate index compares with a query, about; 0 leaves it to the index.
        masked_content: a mask comes with every key, as in :class:`SAM`.
        sharpened_links: with links, what is read along them is sharpened.

    Example:
        >>> import torch
        >>> from sparsam.torch import SparseMemory
        >>> memory = SparseMemory(10_000, word_size=16, num_heads=2)
        >>> cell = torch.nn.GRUCell(8 + memory.read_size, 64)
        >>> to_memory = torch.nn.Linear(64, memory.interface_size)
        >>> h, read, state = torch.zeros(3, 64), torch.zeros(3, memory.read_size), None
        >>> for x in torch.randn(20, 3, 8):
        ...     h = cell(torch.cat([x, read], 1), h)
        ...     read, state = memory(to_memory(h), state)
        >>> read.square().mean().backward()  # through all steps
        >>> state = state.detach()  # to go on without what came before
    """

    def __init__(
        self,
        memory_size: int = 1_000_000,
        *,
        word_size: int = 32,
        num_heads: int = 4,
        num_reads: int = 4,
        num_links: int | None = None,
        access_threshold: float = 0.005,
        write_threshold: float = 0.0,
        write_cost: float = 0.0,
        index: str = "auto",
        index_checks: int = 0,
        masked_content: bool = False,
        sharpened_links: bool = False,
    ) -> None:
        model = "sam" if num_links is None else "sdnc"
        if sharpened_links and num_links is None:
            raise TypeError("sharpened_links is an option of a memory with links; give num_links")
        options = given(model, locals())
        super().__init__()
        # The sizes are those of a network that is not there.
        self._configuration = Configuration.new(model, 1, 1, None, options)
        self._handles = _Handles(_core.Memory, self._configuration.memory_to_json())
        handle = self._handles.get(torch.float32)
        self._sizes = (handle.interface_len(), handle.read_len())

    @property
    def interface_size(self) -> int:
        """Numbers in an interface vector, P."""
        return self._sizes[0]

    @property
    def read_size(self) -> int:
        """Numbers that a step reads, R·W."""
        return self._sizes[1]

    def reset_interface(self, layer: nn.Linear) -> None:
        """Draws new parameters for the layer that makes the interface vectors, as :class:`SAM` and :class:`SDNC` have
        them. With PyTorch's own, strengths start so low that reading hardly tells one word from another, and gates half
        open.

        Args:
            layer: from H hidden units to ``interface_size``, with a bias.

        Raises:
            TypeError: it is no ``nn.Linear``.
            ValueError: it is of another size, or has no bias.

        Example:
            >>> import torch
            >>> from sparsam.torch import SparseMemory
            >>> memory = SparseMemory(10_000)
            >>> to_memory = torch.nn.Linear(64, memory.interface_size)
            >>> memory.reset_interface(to_memory)
        """
        if not isinstance(layer, nn.Linear):
            raise TypeError(f"layer is a {type(layer).__name__}, where a torch.nn.Linear was expected")
        if layer.out_features != self.interface_size:
            raise ValueError(f"layer puts out {layer.out_features} numbers, where {self.interface_size} were expected")
        bias = layer.bias
        if bias is None:
            raise ValueError("layer has no bias, which the gates and strengths need to start well")
        network = _core.Network(replace(self._configuration, hidden_size=layer.in_features).to_json(), False)
        _draw(network, {"interface.weight": layer.weight, "interface.bias": bias}.get, None)

    def load_state(self, path: str | PathLike[str], *, dtype: torch.dtype | None = None) -> MemoryState:
        """The state that ``state.save`` wrote, to go on from with interfaces of this dtype.

        Raises:
            ValueError: it is no saved state, a damaged one, or one of another memory.
            OSError: it cannot be read.
        """
        return MemoryState(self._configuration, self._handles.get(_checked_dtype(dtype)).load(path), None)

    def forward(
        self, interface: Tensor, state: MemoryState | None = None, *, starts: Tensor | None = None
    ) -> tuple[Tensor, MemoryState]:
        """Writes, then reads, once.

        While gradients are enabled, in ``eval()`` as well, and the interface or a step before requires one, the step
        has a backward pass: the gradient of what was read reaches the interfaces of this step and of all before
        it, back to where a state was detached or none was given.

        Args:
            interface: of shape (B, P), or (P,) for a single sequence.
            state: where to go on from: the one that the step before returned, which this one uses up. Without it,
                every memory is empty.
            starts: booleans, (B,), or () for a single sequence: where one is true, the row's memory is empty before
                this step. No gradient of the memory passes over a start; what else your network carries from step to
                step is its own to clear.

        Returns:
            What was read, (B, R·W) or (R·W,), head after head; and the state to go on from. What was read has the
            interface's dtype, but ``float32`` for half precision, whether or not under ``torch.autocast``.

        Raises:
            TypeError: a dtype other than ``float32``, ``float64`` or half precision, or than the state's.
            ValueError: a shape that does not fit.
            RuntimeError: the state has moved on.
            MemoryError: this machine has no room for the memories.
        """
        _refuse_tracing()
        if not isinstance(interface, Tensor):
            raise TypeError(f"interface is a {type(interface).__name__}, where a Tensor was expected")
        if interface.dim() == 1:
            if starts is not None:
                starts = torch.as_tensor(starts).reshape(-1)
            read, state = self(interface.unsqueeze(0), state, starts=starts)
            return read.squeeze(0), state
        if interface.dim() != 2 or interface.shape[1] != self.interface_size:
            found, size = tuple(interface.shape), self.interface_size
            raise ValueError(f"interface has shape {found}, where (B, {size}) or, unbatched, ({size},) was expected")
        double = isinstance(state, MemoryState) and state._core.is_double
        interface = _half(interface, torch.float64 if double else torch.float32)
        handle = self._handles.get(_checked_dtype(interface.dtype))
        rows = interface.shape[0]
        mask = _checked_starts(starts, (rows,), "B, as the interface has")
        if state is None:
            state = MemoryState(self._configuration, handle.start(rows), None)
        elif not isinstance(state, MemoryState):
            raise TypeError(f"state is a {type(state).__name__}, where the state that a step returned was expected")
        elif state._configuration != self._configuration:
            raise ValueError("state belongs to another memory, of other sizes; start with state=None")
        elif state.rows != rows:
            raise ValueError(f"state has {state.rows} rows, where the interface has {rows}")
        latest = state._latest
        wanted = interface.requires_grad or (latest is not None and latest.requires_grad)
        if torch.is_grad_enabled() and wanted:
            holder = [state._core]
            read, this = _Step.apply(holder, mask, interface, latest)
            return read, MemoryState(self._configuration, holder[0], this)
        numbers, core, _ = state._core.step(_array(interface), mask, False, torch.get_num_threads())
        return torch.from_numpy(numbers).to(interface.device), MemoryState(self._configuration, core, None)

    def extra_repr(self) -> str:
        return ", ".join(f"{name}={value!r}" for name, value in self._configuration.options())

    def __prepare_scriptable__(self) -> None:
        raise RuntimeError(_UNTRACED.format("scripted by torch.jit.script", _TO_FILES))


class _Rows(torch.autograd.Function):
    """Where the gradients of the keys and values that a read took end: in the memory, and not in a tensor.

    It hands a number to the read, which the engine therefore goes back through first. Where only the gradients of other
    inputs are asked for (``torch.autograd.grad``) the engine leaves it out, and the memory gets none.
    """

    @staticmethod
    def forward(ctx: Any, memory: _core.KeyValueMemory, left: list[Any], anchor: Tensor) -> Tensor:
        ctx.memory, ctx.left = memory, left
        return anchor.new_zeros(())

    @staticmethod
    def backward(ctx: Any, gradient: Tensor | None) -> tuple[None, None, None]:
        if ctx.left:
            ctx.memory.accumulate(*ctx.left)
            ctx.left.clear()
        return None, None, None


class _Read(torch.autograd.Function):
    """A read of a key-value memory that has a backward pass. It keeps the keys and values as they were."""

    @staticmethod
    def forward(
        ctx: Any,
        memory: _core.KeyValueMemory,
        left: list[Any],
        k: int,
        count_as_use: bool,
        queries: Tensor,
        strengths: Tensor,
        rows: Tensor,
    ) -> tuple[Tensor, Tensor, Tensor]:
        *given, ctx.read = memory.read(_array(queries), _array(strengths), k, count_as_use, True)
        ctx.left = left
        ctx.sources = (queries, strengths)
        # PyTorch then raises at a second backward pass over a graph that was not retained.
        ctx.save_for_backward(rows)
        ctx.set_materialize_grads(False)
        read, words, weights = (torch.from_numpy(array).to(queries.device) for array in given)
        ctx.mark_non_differentiable(words)
        return read, words, weights

    @staticmethod
    def backward(
        ctx: Any, read_gradient: Tensor | None, _: None, weight_gradient: Tensor | None
    ) -> tuple[Tensor | None, ...]:
        (rows,) = ctx.saved_tensors
        # Of a pass before this one that did not come for them nothing stays.
        ctx.left.clear()
        if read_gradient is None and weight_gradient is None:
            return (None,) * len(ctx.needs_input_grad)
        of_entries = ctx.needs_input_grad[6]
        with torch.no_grad():
            over_read, over_weights = (
                None if gradient is None else _array(gradient) for gradient in (read_gradient, weight_gradient)
            )
            over_queries, over_strengths, over_keys, over_values = ctx.read.backward(over_read, over_weights)
            if of_entries:
                ctx.left[:] = [ctx.read, over_keys, over_values]
            gradients = [
                torch.from_numpy(over).view(source.shape).to(source.device) if wanted else None
                for over, source, wanted in zip(
                    (over_queries, over_strengths), ctx.sources, ctx.needs_input_grad[4:6], strict=True
                )
            ]
        over = _once(gradients, (read_gradient, weight_gradient, *ctx.sources))
        return None, None, None, None, *over, torch.ones_like(rows) if of_entries else None


class KeyValueMemory(nn.Module):
    """Entries of a key and a value, found by their keys, as an index of FAISS beside a tensor of values would hold
    them; but the index is never trained or built anew, however the keys change, and what is read has gradients. It can
    stand where neural episodic control has a differentiable neural dictionary (Pritzel et al. 2017), a kNN language
    model its datastore (Khandelwal et al. 2020), and a memorising transformer its memory (Wu et al. 2022). They measure
    by distance or by product, and this by the cosine: of vectors of norm 1 the order is the same, and with
    d² = 2 - 2 cos a weight of exp(-d² / t) is that of ``strength`` 2 / t.

    Every entry stands in a word, a number from 0 on. A full memory overwrites the entries least recently used: written,
    updated, or found by a read. The similarity of a query and a key is their cosine, u·v / (√(u·u + ε) √(v·v + ε)) with
    ε = 10⁻⁶, so that a key of zeros has similarity 0 to every query.

    A module without parameters: its entries are in ``state_dict``, and in that of a module that it is a part of.
    Pickles, files and :func:`copy.deepcopy` cost the entries that there are, and hold no gradients. Numbers are kept on
    the CPU as ``dtype``; tensors in half precision are cast to it, and tensors on another device copied. One call at a
    time uses a memory; it runs on the calling thread, without the interpreter's lock.

    Args:
        key_size: numbers in a key, K.
        value_size: numbers in a value, V.
        memory_size: entries that there is room for, N. Room that is not used costs nothing.
        index: how similar keys are found, as in :class:`SAM`.
        index_checks: keys that an approximate index compares with a query, about; 0 leaves it to the index.
        dtype: ``torch.float32`` or ``torch.float64``; PyTorch's default if none is given.

    Example:
        >>> import torch
        >>> from sparsam.torch import KeyValueMemory
        >>> memory = KeyValueMemory(key_size=16, value_size=4, memory_size=100_000)
        >>> words = memory.write(torch.randn(50, 16), torch.randn(50, 4))
        >>> queries = torch.randn(8, 16, requires_grad=True)
        >>> memory.read(queries, k=5).square().mean().backward()
        >>> words, keys, values = memory.gradients()  # of the entries that were read
        >>> memory.update(words, memory.keys(words) - 0.1 * keys, memory.values(words) - 0.1 * values)
        >>> memory.zero_gradients()
    """

    def __init__(
        self,
        key_size: int,
        value_size: int,
        memory_size: int,
        *,
        index: str = "auto",
        index_checks: int = 0,
        dtype: torch.dtype | None = None,
    ) -> None:
        given = locals()
        super().__init__()
        self._options = {name: option.checked(given[name]) for name, option in KEY_VALUE_OPTIONS.items()}
        self._dtype = _checked_dtype(dtype)
        self._memory = self._empty()
        # Reads hang on it, so that they have a backward pass where nothing but the entries has gradients.
        self._anchor = torch.zeros((), requires_grad=True)

    def _empty(self) -> _core.KeyValueMemory:
        return _core.KeyValueMemory(json.dumps(self._options), self._dtype == torch.float64)

    @property
    def key_size(self) -> int:
        """Numbers in a key, K."""
        size: int = self._options["key_size"]
        return size

    @property
    def value_size(self) -> int:
        """Numbers in a value, V."""
        size: int = self._options["value_size"]
        return size

    @property
    def memory_size(self) -> int:
        """Entries that there is room for, N."""
        size: int = self._options["memory_size"]
        return size

    @property
    def dtype(self) -> torch.dtype:
        """What keys and values are kept in."""
        return self._dtype

    def __len__(self) -> int:
        """Entries that there are. They stand in words 0 to one less than that."""
        return len(self._memory)

    def __bool__(self) -> bool:
        """True, as of any module: an empty memory is one too."""
        return True

    def _numbers(self, name: str, tensor: Tensor, size: int) -> Tensor:
        """The tensor in the memory's dtype, of two dimensions."""
        if not isinstance(tensor, Tensor):
            raise TypeError(f"{name} is a {type(tensor).__name__}, where a Tensor was expected")
        tensor = _half(tensor, self._dtype)
        if tensor.dtype != self._dtype:
            raise TypeError(
                f"{name} has dtype {tensor.dtype}, where the memory's {self._dtype} was expected; "
                f"{name}.to(memory.dtype) has it"
            )
        if tensor.dim() != 2 or tensor.shape[1] != size:
            raise ValueError(f"{name} has shape {tuple(tensor.shape)}, where (n, {size}) was expected")
        return tensor

    def _words(self, words: Tensor | Iterable[int]) -> tuple[NDArray[Any], torch.device]:
        tensor = torch.as_tensor(words if isinstance(words, (Tensor, np.ndarray)) else list(words))
        if tensor.numel() == 0:
            tensor = tensor.long()
        if tensor.is_floating_point() or tensor.is_complex() or tensor.dtype == torch.bool:
            raise TypeError(f"words has dtype {tensor.dtype}, where the numbers of words, torch.int64, were expected")
        if tensor.dim() != 1:
            raise ValueError(f"words has shape {tuple(tensor.shape)}, where (n,) was expected")
        return _array(tensor.long()), tensor.device

    def write(self, keys: Tensor, values: Tensor) -> Tensor:
        """Writes entries: to words that hold none, from 0 on, then to those least recently used, whose entries are
        lost. No gradient flows from a read to what was written.

        Args:
            keys: of shape (n, K).
            values: of shape (n, V).

        Returns:
            The word of each, (n,), ``torch.int64``.

        Raises:
            TypeError: another dtype than the memory's, or half precision.
            ValueError: shapes that do not fit; more entries than words; a number that is not finite, or a key whose
                square is not. Nothing is then written.
        """
        _refuse_tracing()
        keys = self._numbers("keys", keys, self.key_size)
        values = self._numbers("values", values, self.value_size)
        if len(values) != len(keys):
            raise ValueError(f"values has {len(values)} rows, where keys has {len(keys)}")
        return torch.from_numpy(self._memory.write(_array(keys), _array(values))).to(keys.device)

    def update(self, words: Tensor | Iterable[int], keys: Tensor | None = None, values: Tensor | None = None) -> None:
        """Changes the keys, the values, or both, of entries, which count as used; with neither they merely count so.
        The index follows. A word that was overwritten since it was given holds another entry, which is changed then. Of
        a word that is named twice the last content stays. Gradients that the entries have stay until
        :meth:`zero_gradients`.

        Args:
            words: (n,), as :meth:`write` and :meth:`read` give them.
            keys: of shape (n, K).
            values: of shape (n, V).

        Raises:
            TypeError: as :meth:`write`.
            ValueError: a word that holds no entry; otherwise as :meth:`write`. Nothing is then changed.
        """
        _refuse_tracing()
        numbers, _ = self._words(words)
        arrays = []
        for name, rows, size in (("keys", keys, self.key_size), ("values", values, self.value_size)):
            rows = None if rows is None else self._numbers(name, rows, size)
            if rows is not None and len(rows) != len(numbers):
                raise ValueError(f"{name} has {len(rows)} rows, where words has {len(numbers)}")
            arrays.append(None if rows is None else _array(rows))
        self._memory.update(numbers, *arrays)

    def search(self, queries: Tensor, k: int, *, count_as_use: bool = False) -> tuple[Tensor, Tensor]:
        """The ``k`` entries most similar to each query, most similar first, with an exact index ties to the lower word;
        fewer if there are not so many entries. No gradients.

        Args:
            queries: of shape (q, K).
            k: entries for each.
            count_as_use: whether they count as used: query after query, the least similar of each first.

        Returns:
            Words, ``torch.int64``, and similarities, each of shape (q, min(k, len(memory))).

        Raises:
            TypeError: as :meth:`write`.
            ValueError: shapes that do not fit, or a number that is not finite.
        """
        _refuse_tracing()
        queries = self._numbers("queries", queries, self.key_size)
        found = self._memory.search(_array(queries), min(integer("k", k, 1), self.memory_size), count_as_use)
        words, similarities = (torch.from_numpy(array).to(queries.device) for array in found)
        return words, similarities

    @overload
    def read(
        self,
        queries: Tensor,
        k: int,
        strength: float | Tensor = ...,
        *,
        count_as_use: bool = ...,
        with_words: Literal[False] = ...,
        entry_gradients: bool = ...,
    ) -> Tensor: ...

    @overload
    def read(
        self,
        queries: Tensor,
        k: int,
        strength: float | Tensor = ...,
        *,
        count_as_use: bool = ...,
        with_words: Literal[True],
        entry_gradients: bool = ...,
    ) -> tuple[Tensor, Tensor, Tensor]: ...

    def read(
        self,
        queries: Tensor,
        k: int,
        strength: float | Tensor = 10.0,
        *,
        count_as_use: bool = True,
        with_words: bool = False,
        entry_gradients: bool = True,
    ) -> Tensor | tuple[Tensor, Tensor, Tensor]:
        """Reads: for each query Σ w(i) value(i) over the ``k`` entries i most similar to it, with the weights
        w = softmax(strength · similarity(i)), as SAM reads its words. What an empty memory gives is zero.

        While gradients are enabled a read has a backward pass, which reaches the queries, the strengths, and the
        entries that were read (:meth:`gradients`). It is that of the keys and values at the time of the read, whatever
        was written or updated since. No gradient flows through the choice of entries.

        Args:
            queries: of shape (q, K).
            k: entries for each; all if there are fewer.
            strength: how much more weight a more similar entry has: a number, or a tensor of shape (q,) or ().
            count_as_use: as in :meth:`search`.
            with_words: whether to return the words and weights too.
            entry_gradients: whether the backward pass brings gradients to the entries, which add up in the memory until
                :meth:`zero_gradients`; an optimiser's ``zero_grad`` does not reach them.

        Returns:
            What was read, (q, V), in the memory's dtype. With ``with_words`` also the words, ``torch.int64``, and their
            weights, which have gradients as well, each of shape (q, min(k, len(memory))).

        Raises:
            TypeError: as :meth:`write`.
            ValueError: shapes that do not fit, or a number that is not finite.
        """
        _refuse_tracing()
        queries = self._numbers("queries", queries, self.key_size)
        k = min(integer("k", k, 1), self.memory_size)
        strengths = torch.as_tensor(strength, dtype=self._dtype, device=queries.device)
        if strengths.shape not in ((), (len(queries),)):
            raise ValueError(
                f"strength has shape {tuple(strengths.shape)}, where a number, () or ({len(queries)},) was expected"
            )
        strengths = strengths.expand(len(queries))
        if torch.is_grad_enabled():
            left: list[Any] = []
            rows = _Rows.apply(self._memory, left, self._anchor) if entry_gradients else torch.zeros(())
            read, words, weights = _Read.apply(self._memory, left, k, count_as_use, queries, strengths, rows)
        else:
            *given, _ = self._memory.read(_array(queries), _array(strengths), k, count_as_use, False)
            read, words, weights = (torch.from_numpy(array).to(queries.device) for array in given)
        return (read, words, weights) if with_words else read

    def gradients(self) -> tuple[Tensor, Tensor, Tensor]:
        """The gradients that backward passes brought to entries since :meth:`zero_gradients`, summed. With
        ``torch.amp.GradScaler`` they are those of the scaled loss: divide them by ``scaler.get_scale()``.

        Returns:
            The words of these entries, (m,), rising; the gradients of their keys, (m, K), and of their values, (m, V).
            An entry that was overwritten is not among them, even if the backward pass came afterwards.
        """
        words, keys, values = (torch.from_numpy(array) for array in self._memory.gradients())
        return words, keys, values

    def zero_gradients(self) -> None:
        """Forgets the gradients of entries."""
        self._memory.zero_gradients()

    def keys(self, words: Tensor | Iterable[int]) -> Tensor:
        """The keys in these words, (n, K).

        Raises:
            TypeError: what is no whole number.
            ValueError: a word that holds no entry.
        """
        numbers, device = self._words(words)
        return torch.from_numpy(self._memory.rows(numbers, False)).to(device)

    def values(self, words: Tensor | Iterable[int]) -> Tensor:
        """The values in these words, (n, V).

        Raises:
            TypeError: what is no whole number.
            ValueError: a word that holds no entry.
        """
        numbers, device = self._words(words)
        return torch.from_numpy(self._memory.rows(numbers, True)).to(device)

    def clear(self) -> None:
        """Removes all entries and gradients."""
        self._memory.clear()

    def get_extra_state(self) -> Tensor:
        """What ``state_dict`` has of it: the bytes of a safetensors file with the entries and their order of use."""
        return torch.frombuffer(bytearray(self._memory.bytes()), dtype=torch.uint8)

    def set_extra_state(self, state: Tensor) -> None:
        """Takes over the entries of a memory of the same sizes, in the place of what there is; ``load_state_dict``
        calls it. The index may be another; an approximate one is built anew from the keys.

        Raises:
            ValueError: it is of a memory of other sizes, or damaged. The memory then stays as it is.
        """
        if not isinstance(state, Tensor) or state.dtype != torch.uint8:
            raise ValueError("the state is not that of a KeyValueMemory, which is a tensor of torch.uint8")
        self._memory.load(_array(state).tobytes())

    def __getstate__(self) -> dict[str, Any]:
        return {**self.__dict__, "_memory": self._memory.bytes()}

    def __setstate__(self, state: dict[str, Any]) -> None:
        super().__setstate__(state)  # type: ignore[no-untyped-call]
        kept, self._memory = state["_memory"], self._empty()
        self._memory.load(kept)

    def extra_repr(self) -> str:
        return ", ".join(f"{name}={value!r}" for name, value in self._options.items())

    def __prepare_scriptable__(self) -> None:
        raise RuntimeError(_UNTRACED.format("scripted by torch.jit.script", _TO_FILES))


class AdaptiveClip:
    """Limits the norm of a gradient to a few times what it has been of late, as ``torch.nn.utils.clip_grad_norm_``
    limits it to a fixed number.

    The gradient of a batch in which a chain of reads goes wrong is a thousand times as large as usual. A fixed limit
    lets it through once the usual one is small, and one such batch can undo thousands. The limit is ``factor`` times
    the running geometric mean of the norms so far, which a norm enters as at most ten times the mean; the command
    ``sparsam`` does the same. (A relative of AutoClip, Seetharaman et al. 2020.)

    Args:
        factor: the limit as a multiple of the running mean.
        max_norm: a fixed limit on top.
        decay: of the running mean, a call; until 1/(1 - decay) calls all weigh the same.
        start: calls before which the fixed limit alone holds.

    Example:
        >>> import torch
        >>> from sparsam.torch import SAM, AdaptiveClip
        >>> model = SAM(8, 64, 4)
        >>> optimiser, clip = torch.optim.Adam(model.parameters(), lr=1e-3), AdaptiveClip()
        >>> for _ in range(3):
        ...     optimiser.zero_grad()
        ...     model(torch.randn(20, 2, 8))[0].square().mean().backward()
        ...     norm = clip(model.parameters())
        ...     optimiser.step()
    """

    def __init__(self, factor: float = 3.0, max_norm: float = 10.0, decay: float = 0.99, start: int = 50) -> None:
        for name, value in (("factor", factor), ("max_norm", max_norm)):
            if not value > 0:
                raise ValueError(f"{name} is {value}, where a number above 0 was expected")
        if not 0 <= decay < 1:
            raise ValueError(f"decay is {decay}, where a number from 0 up to 1 was expected")
        self.factor = factor
        self.max_norm = max_norm
        self.decay = decay
        self.start = start
        self._count = 0
        self._log_mean = 0.0

    @property
    def limit(self) -> float:
        """The largest norm that the next call leaves as it is."""
        if self._count < max(self.start, 1):
            return self.max_norm
        return min(self.max_norm, self.factor * math.exp(self._log_mean))

    def __call__(self, parameters: Tensor | Iterable[Tensor]) -> Tensor:
        """Scales the parameters' gradients, in place, so that the norm of all together is at most :attr:`limit`.

        Returns:
            The norm that they had. One that is infinite or not a number changes nothing, here as there: skip the step.
        """
        if isinstance(parameters, Tensor):
            parameters = [parameters]
        gradients = [parameter.grad for parameter in parameters if parameter.grad is not None]
        if not gradients:
            return torch.tensor(0.0)
        norms = [torch.linalg.vector_norm(gradient.detach(), dtype=torch.float64) for gradient in gradients]
        total: Tensor = torch.linalg.vector_norm(torch.stack([norm.to(norms[0].device) for norm in norms]))
        norm = total.item()
        if not 0.0 < norm < math.inf:
            return total
        if norm > self.limit:
            scale = self.limit / norm
            for gradient in gradients:
                gradient.detach().mul_(scale)
        log = math.log(norm)
        if self._count:
            log = min(log, self._log_mean + math.log(10.0))
        self._count += 1
        self._log_mean += (log - self._log_mean) * max(1.0 - self.decay, 1.0 / self._count)
        return total

    def state_dict(self) -> dict[str, Any]:
        """What it remembers of the norms so far, to be saved beside the optimiser's."""
        return {"count": self._count, "log_mean": self._log_mean}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Goes on from what :meth:`state_dict` gave."""
        self._count, self._log_mean = int(state_dict["count"]), float(state_dict["log_mean"])


# What torch.load may make of a file that nobody vouches for: their bytes are checked as those of any file are.
torch.serialization.add_safe_globals([State, MemoryState, KeyValueMemory])

_MODULES: dict[str, type[SAM | SDNC | DAM | NTM | DNC]] = {"sam": SAM, "sdnc": SDNC, "dam": DAM, "ntm": NTM, "dnc": DNC}


class TokenNetwork(nn.Module):
    """A module behind the embeddings of tokens: a network of the command ``sparsam`` whose inputs are tokens.

    Called as ``recurrent`` is, with integers, (T, B), with its ``batch_first`` (B, T), unbatched (T,); with
    ``sentence_size`` a step reads a sentence, and the input has another axis of as many places: tokens, and -1 in all
    places after the last.

    Attributes:
        embedding: of each token.
        recurrent: what is given the embeddings, or the sums of those of sentences, weighted by position (Sukhbaatar et
            al. 2015, section 4.1).
        sentence_size: tokens that a step reads at most as one sentence; 0 where it reads one.

    Example:
        >>> import torch
        >>> from sparsam.torch import SAM, TokenNetwork
        >>> model = TokenNetwork(torch.nn.Embedding(50, 16), SAM(16, 64, 50, memory_size=10_000))
        >>> output, state = model(torch.tensor([[7], [0], [49]]))
        >>> output.shape
        torch.Size([3, 1, 50])
    """

    def __init__(
        self, embedding: nn.Embedding, recurrent: SAM | SDNC | DAM | NTM | DNC, *, sentence_size: int = 0
    ) -> None:
        super().__init__()
        self.embedding = embedding
        self.recurrent = recurrent
        self.sentence_size = integer("sentence_size", sentence_size, 0)

    def forward(
        self,
        input: Tensor,
        state: State | None = None,
        lengths: Tensor | Iterable[int] | None = None,
        *,
        starts: Tensor | None = None,
    ) -> tuple[Tensor, State]:
        """Runs sequences of tokens; arguments, results and errors are those of ``recurrent``.

        Raises:
            ValueError: sentences have another number of places than ``sentence_size``; or one, within its sequence's
                length, has what is no token, or anything but -1 after its last.
        """
        if not self.sentence_size:
            output: tuple[Tensor, State] = self.recurrent(self.embedding(input), state, lengths, starts=starts)
            return output
        if not isinstance(input, Tensor):
            raise TypeError(f"input is a {type(input).__name__}, where a Tensor was expected")
        sentences, checked = self.recurrent._lay_out(input, lengths, self.sentence_size)
        embedded = self.recurrent._as_given(self._sentences(sentences, checked), input)
        output = self.recurrent(embedded, state, None if lengths is None else checked, starts=starts)
        return output

    def _sentences(self, input: Tensor, lengths: list[int]) -> Tensor:
        """The sums of the words' embeddings, weighted by (1 - j/J) - (k/d) (1 - 2j/J); 0 past a sequence's length."""
        step = torch.arange(input.shape[0], device=input.device).unsqueeze(1)
        past = (step >= torch.tensor(lengths, device=input.device)).unsqueeze(-1)
        padding, count = input == -1, self.embedding.num_embeddings
        ended = padding.cumsum(-1) > 0
        wrong = torch.where(ended, ~padding, (input < 0) | (input >= count)) & ~past
        if wrong.any():
            t, row, place = wrong.nonzero()[0].tolist()
            found = input[t, row, place].item()
            raise ValueError(
                f"the input at time step {t} of sequence {row} has {found} at place {place}, but a sentence is of "
                f"tokens, whole numbers from 0 to {count - 1}, with -1 in every place after the last"
            )
        input = input.masked_fill(past, -1)
        words = self.embedding(input.clamp(min=0))
        there = (input >= 0).to(words.dtype)
        place = (there.cumsum(-1) / there.sum(-1, keepdim=True).clamp(min=1)).unsqueeze(-1)
        elements = words.shape[-1]
        share = torch.arange(1, elements + 1, dtype=words.dtype, device=words.device) / elements
        weight = (1 - place) - share * (1 - 2 * place)
        return torch.as_tensor((weight * words * there.unsqueeze(-1)).sum(-2))

    def save_checkpoint(self, path: str | PathLike[str]) -> None:
        """Writes a checkpoint of a network of tokens, which the command ``sparsam`` and :meth:`load` read.

        Raises:
            ValueError: a parameter is not finite.
            OSError: writing failed; an older file is as it was.
        """
        _save(path, *self._checkpoint())

    def _checkpoint(self) -> tuple[Configuration, list[NDArray[Any]]]:
        configuration, arrays = self.recurrent._checkpoint()
        count = self.embedding.num_embeddings
        tokens = replace(configuration, vocabulary_size=count, sentence_size=self.sentence_size)
        return tokens, [_array(self.embedding.weight), *arrays]

    @classmethod
    def load(
        cls,
        path: str | PathLike[str],
        *,
        batch_first: bool = False,
        carry_gradients: bool = False,
        device: torch.device | str | None = None,
        dtype: torch.dtype | None = None,
    ) -> TokenNetwork:
        """The network of a checkpoint whose inputs are tokens.

        Raises:
            ValueError: its inputs are not tokens; otherwise as :func:`load_checkpoint`.
            OSError: it cannot be read.
        """
        weight, sentence_size, module = _load(path, batch_first, device, dtype, carry_gradients)
        if weight is None:
            raise ValueError(f"the inputs of the checkpoint {path} are not tokens; load_checkpoint loads it")
        embedding = nn.Embedding(weight.shape[0], weight.shape[1], device=device, dtype=weight.dtype)
        with torch.no_grad():
            embedding.weight.copy_(weight)
        return cls(embedding, module, sentence_size=sentence_size)


def load_checkpoint(
    path: str | PathLike[str],
    *,
    batch_first: bool = False,
    carry_gradients: bool = False,
    device: torch.device | str | None = None,
    dtype: torch.dtype | None = None,
) -> SAM | SDNC | DAM | NTM | DNC:
    """The module of a checkpoint: of ``save_checkpoint``, or of a run of the command ``sparsam``.

    Raises:
        ValueError: it is no checkpoint, a damaged one, one of a plain LSTM, or one whose inputs are tokens.
        OSError: it cannot be read.
    """
    weight, _, module = _load(path, batch_first, device, dtype, carry_gradients)
    if weight is not None:
        raise ValueError(f"the inputs of the checkpoint {path} are tokens; TokenNetwork.load loads it")
    return module


def _save(path: str | PathLike[str], configuration: Configuration, arrays: list[NDArray[Any]]) -> None:
    core = _core.Network(configuration.to_json(), arrays[0].dtype == np.float64)
    core.save_checkpoint(path, arrays)


def _load(
    path: str | PathLike[str],
    batch_first: bool,
    device: torch.device | str | None,
    dtype: torch.dtype | None,
    carry_gradients: bool = False,
) -> tuple[Tensor | None, int, SAM | SDNC | DAM | NTM | DNC]:
    """The embeddings of a checkpoint whose inputs are tokens, how many of them a step reads as a sentence, and the
    module behind."""
    dtype = _checked_dtype(dtype)
    text, values = _core.load_checkpoint(path, dtype == torch.float64)
    configuration = Configuration.from_json(text)
    if configuration.model not in _MODULES:
        raise ValueError(f"the checkpoint {path} is of model {configuration.model!r}, which has no module here")
    kind = _MODULES[configuration.model]
    module = kind.__new__(kind)
    tokens, width = configuration.vocabulary_size, configuration.input_size
    own = replace(configuration, vocabulary_size=0, sentence_size=0)
    _Recurrent.__init__(module, own, batch_first, device, dtype, carry_gradients=carry_gradients)
    # The embeddings come first.
    start = tokens * width
    weight = torch.from_numpy(np.array(values[:start])).view(tokens, width) if tokens else None
    with torch.no_grad():
        for parameter in module._values():
            end = start + parameter.numel()
            parameter.copy_(torch.from_numpy(np.asarray(values[start:end])).view(parameter.shape))
            start = end
    return weight, configuration.sentence_size, module
