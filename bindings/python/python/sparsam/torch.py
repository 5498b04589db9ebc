"""Memory-augmented networks as PyTorch modules that stand where ``torch.nn.LSTM`` stood.

:class:`SAM` and :class:`SDNC` are sparse: a step costs what it touches, whatever the size of the memory. :class:`DAM`,
:class:`NTM` and :class:`DNC` are dense. All are called alike::

    output, state = model(input, state=None, lengths=None)

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

from collections.abc import Iterable
from os import PathLike
from typing import Any, overload

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
from torch.autograd.function import once_differentiable
from torch.nn.utils.rnn import PackedSequence, pack_padded_sequence, pad_packed_sequence

from sparsam import _core
from sparsam._configuration import Configuration, check_lengths
from sparsam._core import State

__all__ = ["DAM", "DNC", "NTM", "SAM", "SDNC", "State", "load_checkpoint"]


def _array(tensor: Tensor) -> NDArray[Any]:
    """The tensor's numbers in C order: its own memory, where that is how they lie there."""
    array: NDArray[Any] = tensor.detach().cpu().resolve_neg().contiguous().numpy()
    return array


class _Call:
    """One call of a module: what its autograd function needs and what it leaves beside the output."""

    def __init__(self, core: _core.Network, lengths: list[int], state: State | None) -> None:
        self.core = core
        self.lengths = lengths
        self.state = state
        self.tape: _core.Tape | None = None

    def run(self, input: Tensor, parameters: Iterable[Tensor], record: bool) -> Tensor:
        arrays = [_array(parameter) for parameter in parameters]
        output, self.state, self.tape = self.core.run(arrays, _array(input), self.lengths, self.state, record)
        return torch.from_numpy(output).to(input.device)


class _Taped(torch.autograd.Function):
    """A call that can be gone back through."""

    @staticmethod
    def forward(ctx: Any, call: _Call, input: Tensor, *parameters: Tensor) -> Tensor:
        output = call.run(input, parameters, record=True)
        ctx.tape, call.tape = call.tape, None
        ctx.shapes = [parameter.shape for parameter in parameters]
        # A second time back runs the call again, from this input; PyTorch then knows whether it is still the same.
        ctx.save_for_backward(input)
        return output

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, output_gradient: Tensor) -> tuple[Tensor | None, ...]:
        _ = ctx.saved_tensors  # raises if the input changed, or if the graph was gone back through and not retained
        _, with_input, *with_parameters = ctx.needs_input_grad
        flat, over_input = ctx.tape.backward(_array(output_gradient), with_input)
        device = output_gradient.device
        pieces = torch.split(torch.from_numpy(flat).to(device), [shape.numel() for shape in ctx.shapes])
        gradients = [
            piece.view(shape) if wanted else None
            for piece, shape, wanted in zip(pieces, ctx.shapes, with_parameters, strict=True)
        ]
        return None, None if over_input is None else torch.from_numpy(over_input).to(device), *gradients


class _Parameters(nn.Module):
    """Parameters under a common name; what they are used for is in Rust."""

    def __init__(self, shapes: dict[str, list[int]], device: Any, dtype: torch.dtype | None) -> None:
        super().__init__()
        for name, shape in shapes.items():
            self.register_parameter(name, nn.Parameter(torch.empty(shape, device=device, dtype=dtype)))

    def extra_repr(self) -> str:
        return ", ".join(f"{name}={tuple(parameter.shape)}" for name, parameter in self.named_parameters())


class _Recurrent(nn.Module):
    """What the five modules share."""

    def __init__(self, configuration: Configuration, batch_first: bool, device: Any, dtype: torch.dtype | None) -> None:
        super().__init__()
        self.batch_first = batch_first
        self._configuration = configuration
        self._handles: dict[torch.dtype, _core.Network] = {}
        groups: dict[str, dict[str, list[int]]] = {}
        for full_name, shape in self._core(_checked_dtype(dtype)).tensors():
            group, name = full_name.split(".")
            groups.setdefault(group, {})[name] = shape
        for group, shapes in groups.items():
            self.add_module(group, _Parameters(shapes, device, dtype))
        self.reset_parameters()

    def _core(self, dtype: torch.dtype) -> _core.Network:
        core = self._handles.get(dtype)
        if core is None:
            core = _core.Network(self._configuration.to_json(), dtype == torch.float64)
            # Of two threads that come here at once, both go on with the same one.
            core = self._handles.setdefault(dtype, core)
        return core

    @property
    def input_size(self) -> int:
        """Numbers in an input, I."""
        return self._configuration.input_size

    @property
    def hidden_size(self) -> int:
        """Hidden units of the controller, H."""
        return self._configuration.hidden_size

    @property
    def output_size(self) -> int | None:
        """Numbers in an output, O; ``None`` if the output is [h ; r], H + R·W wide."""
        return self._configuration.output_size

    def reset_parameters(self) -> None:
        """Draws new parameters: weights uniform in ±1/√fan_in (for both of the controller's matrices fan_in is
        I + R·W + H), biases 0 except the forget gate's, which is 1."""
        hidden = self.hidden_size
        of_controller = self.get_parameter("controller.weight_ih").shape[1] + hidden
        with torch.no_grad():
            for name, parameter in self.named_parameters():
                if name.endswith("bias"):
                    parameter.zero_()
                else:
                    fan_in = of_controller if name.startswith("controller.") else parameter.shape[1]
                    parameter.uniform_(-(fan_in**-0.5), fan_in**-0.5)
            self.get_parameter("controller.bias")[hidden : 2 * hidden] = 1.0

    @overload
    def forward(
        self, input: Tensor, state: State | None = None, lengths: Tensor | Iterable[int] | None = None
    ) -> tuple[Tensor, State]: ...

    @overload
    def forward(
        self, input: PackedSequence, state: State | None = None, lengths: None = None
    ) -> tuple[PackedSequence, State]: ...

    def forward(
        self,
        input: Tensor | PackedSequence,
        state: State | None = None,
        lengths: Tensor | Iterable[int] | None = None,
    ) -> tuple[Tensor | PackedSequence, State]:
        """Runs sequences from a state on.

        A tape for going back is kept only while the module trains, gradients are enabled and something requires
        them. Going back must come before the returned state is used again; the state may be passed on after it.

        Args:
            input: of shape (T, B, I), with ``batch_first`` (B, T, I), unbatched (T, I), or a ``PackedSequence``.
            state: where to go on from: the one that the call before returned, which this call uses up. Without it,
                every memory is empty. Gradients stop here. Its rows are those of the batch, of a ``PackedSequence``
                in the order before it was sorted.
            lengths: of the B sequences, each at most T. Past its length a sequence's state stands still, its output
                is zero, and it passes no gradient.

        Returns:
            The output, laid out as the input, O wide; and the state to go on from.

        Raises:
            TypeError: a dtype other than the parameters', or an argument that is something else altogether.
            ValueError: a shape or length that does not fit.
            RuntimeError: the state has moved on: another call was given it already.
            MemoryError: this machine has no room for the memories or the tape.
        """
        if isinstance(input, PackedSequence):
            if lengths is not None:
                raise ValueError("lengths was given with a PackedSequence, which has lengths of its own")
            padded, own_lengths = pad_packed_sequence(input)
            output, state = self._run(padded, state, own_lengths.tolist())
            in_order = input.sorted_indices
            if in_order is not None:
                output = output.index_select(1, in_order)
                own_lengths = own_lengths[in_order.cpu()]
            data = pack_padded_sequence(output, own_lengths).data
            return PackedSequence(data, input.batch_sizes, in_order, input.unsorted_indices), state
        if not isinstance(input, Tensor):
            raise TypeError(f"input is a {type(input).__name__}, where a Tensor or PackedSequence was expected")
        width = self.input_size
        if input.dim() == 2 and input.shape[1] == width:
            if lengths is not None:
                raise ValueError("lengths was given with an unbatched input, whose one sequence has T steps")
            output, state = self._run(input.unsqueeze(1), state, [input.shape[0]])
            return output.squeeze(1), state
        if input.dim() != 3 or input.shape[2] != width:
            batched = f"(B, T, {width})" if self.batch_first else f"(T, B, {width})"
            found = tuple(input.shape)
            raise ValueError(f"input has shape {found}, where {batched} or, unbatched, (T, {width}) was expected")
        if self.batch_first:
            input = input.transpose(0, 1)
        steps, rows = input.shape[:2]
        if lengths is None:
            checked = [steps] * rows
        else:
            checked = check_lengths(lengths.tolist() if isinstance(lengths, Tensor) else lengths, rows, steps)
        output, state = self._run(input, state, checked)
        return output.transpose(0, 1) if self.batch_first else output, state

    def _run(self, input: Tensor, state: State | None, lengths: list[int]) -> tuple[Tensor, State]:
        """Runs sequences of shape (T, B, I)."""
        if torch.compiler.is_compiling():
            # Nothing here can be traced: the graph breaks, and this part runs as ever.
            torch._dynamo.graph_break()
        parameters = list(self.parameters())
        dtype = _checked_dtype(parameters[0].dtype)
        if input.dtype != dtype:
            raise TypeError(f"input has dtype {input.dtype}, where the parameters' {dtype} was expected")
        if state is not None and not isinstance(state, State):
            raise TypeError(f"state is a {type(state).__name__}, where the state that a call returned was expected")
        call = _Call(self._core(dtype), lengths, state)
        wanted = input.requires_grad or any(parameter.requires_grad for parameter in parameters)
        if self.training and torch.is_grad_enabled() and wanted:
            output: Tensor = _Taped.apply(call, input, *parameters)
        else:
            output = call.run(input, parameters, record=False)
        assert call.state is not None
        return output, call.state

    def save_checkpoint(self, path: str | PathLike[str]) -> None:
        """Writes the configuration and the parameters to a safetensors file that the command ``sparsam`` and
        :func:`load_checkpoint` read.

        Raises:
            ValueError: a parameter is not finite.
            OSError: writing failed; an older file is as it was.
        """
        parameters = list(self.parameters())
        self._core(parameters[0].dtype).save_checkpoint(path, [_array(parameter) for parameter in parameters])

    def extra_repr(self) -> str:
        sizes = f"{self.input_size}, {self.hidden_size}, {self.output_size}"
        options = "".join(f", {name}={value!r}" for name, value in self._configuration.options())
        return sizes + options + (", batch_first=True" if self.batch_first else "")

    def __getstate__(self) -> dict[str, Any]:
        # Runners and their memories stay here; copies get their own when they first run.
        return {**self.__dict__, "_handles": {}}


def _checked_dtype(dtype: torch.dtype | None) -> torch.dtype:
    dtype = dtype or torch.get_default_dtype()
    if dtype not in (torch.float32, torch.float64):
        raise TypeError(f"dtype is {dtype}, where torch.float32 or torch.float64 was expected")
    return dtype


class SAM(_Recurrent):
    """Sparse Access Memory (Rae et al. 2016): an LSTM whose heads read and write a few words of a large memory.

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
        index: how similar words are found: ``"auto"`` (exact while few words are written), ``"linear"`` (exact),
            ``"ivf"``, ``"kd-forest"``, ``"lsh"``.
        batch_first: input and output are (B, T, ·) instead of (T, B, ·).
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
        memory_size: int = 65536,
        *,
        word_size: int = 32,
        num_heads: int = 4,
        num_reads: int = 4,
        access_threshold: float = 0.005,
        index: str = "auto",
        batch_first: bool = False,
        device: torch.device | str | None = None,
        dtype: torch.dtype | None = None,
    ) -> None:
        options = {
            "memory_size": memory_size,
            "word_size": word_size,
            "num_heads": num_heads,
            "num_reads": num_reads,
            "access_threshold": access_threshold,
            "index": index,
        }
        configuration = Configuration.new("sam", input_size, hidden_size, output_size, options)
        super().__init__(configuration, batch_first, device, dtype)


class SDNC(_Recurrent):
    """The sparse differentiable neural computer (Rae et al. 2016, supplement D): SAM with temporal links.

    One head writes; ``num_heads`` heads read, by content and along links to the words written before and after those
    that they read last. Links and precedence carry no gradient.

    Args:
        num_links: links kept for a word each way, and words kept in the precedence.

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
        memory_size: int = 65536,
        *,
        word_size: int = 32,
        num_heads: int = 4,
        num_reads: int = 4,
        num_links: int = 8,
        access_threshold: float = 0.005,
        index: str = "auto",
        batch_first: bool = False,
        device: torch.device | str | None = None,
        dtype: torch.dtype | None = None,
    ) -> None:
        options = {
            "memory_size": memory_size,
            "word_size": word_size,
            "num_heads": num_heads,
            "num_reads": num_reads,
            "num_links": num_links,
            "access_threshold": access_threshold,
            "index": index,
        }
        configuration = Configuration.new("sdnc", input_size, hidden_size, output_size, options)
        super().__init__(configuration, batch_first, device, dtype)


class DAM(_Recurrent):
    """Dense Access Memory (Rae et al. 2016): SAM's dense twin, which reads and writes every word.

    A step costs a pass over the memory, and going back keeps the memory of every step; hence the small default.

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
        batch_first: bool = False,
        device: torch.device | str | None = None,
        dtype: torch.dtype | None = None,
    ) -> None:
        options = {
            "memory_size": memory_size,
            "word_size": word_size,
            "num_heads": num_heads,
            "usage_discount": usage_discount,
        }
        configuration = Configuration.new("dam", input_size, hidden_size, output_size, options)
        super().__init__(configuration, batch_first, device, dtype)


class NTM(_Recurrent):
    """The neural Turing machine (Graves et al. 2014): heads find words by content and by shifting where they were.

    A step costs passes over the memory, and going back keeps the memory of every step; hence the small default.

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
        batch_first: bool = False,
        device: torch.device | str | None = None,
        dtype: torch.dtype | None = None,
    ) -> None:
        options = {"memory_size": memory_size, "word_size": word_size, "num_heads": num_heads}
        configuration = Configuration.new("ntm", input_size, hidden_size, output_size, options)
        super().__init__(configuration, batch_first, device, dtype)


class DNC(_Recurrent):
    """The differentiable neural computer (Graves et al. 2016): one write head, ``num_heads`` read heads, and a matrix
    of links between all pairs of words.

    A step costs passes over the memory and over N² links, and going back keeps both of every step; hence the small
    default.

    Arguments are those of :class:`SAM`, without those of sparse access.

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
        batch_first: bool = False,
        device: torch.device | str | None = None,
        dtype: torch.dtype | None = None,
    ) -> None:
        options = {"memory_size": memory_size, "word_size": word_size, "num_heads": num_heads}
        configuration = Configuration.new("dnc", input_size, hidden_size, output_size, options)
        super().__init__(configuration, batch_first, device, dtype)


_MODULES: dict[str, type[_Recurrent]] = {"sam": SAM, "sdnc": SDNC, "dam": DAM, "ntm": NTM, "dnc": DNC}


def load_checkpoint(
    path: str | PathLike[str],
    *,
    batch_first: bool = False,
    device: torch.device | str | None = None,
    dtype: torch.dtype | None = None,
) -> SAM | SDNC | DAM | NTM | DNC:
    """The module of a checkpoint: of ``save_checkpoint``, or of a run of the command ``sparsam``.

    Raises:
        ValueError: it is no checkpoint, a damaged one, or one of a plain LSTM.
        OSError: it cannot be read.
    """
    dtype = _checked_dtype(dtype)
    text, values = _core.load_checkpoint(path, dtype == torch.float64)
    configuration = Configuration.from_json(text)
    if configuration.model not in _MODULES:
        raise ValueError(f"the checkpoint {path} is of model {configuration.model!r}, which has no module here")
    kind = _MODULES[configuration.model]
    module = kind.__new__(kind)
    _Recurrent.__init__(module, configuration, batch_first, device, dtype)
    start = 0
    with torch.no_grad():
        for parameter in module.parameters():
            end = start + parameter.numel()
            parameter.copy_(torch.from_numpy(np.asarray(values[start:end])).view(parameter.shape))
            start = end
    return module  # type: ignore[return-value]
