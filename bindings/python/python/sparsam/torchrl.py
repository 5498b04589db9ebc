"""SAM and SDNC as recurrent modules of TorchRL, used as its ``LSTMModule`` and ``GRUModule`` are.

:class:`SAMModule` and :class:`SDNCModule` read and write tensordicts, take steps in collectors and whole sequences in
losses (``torchrl.modules.set_recurrent_mode``), and have the primers of TorchRL's recurrent modules.

TorchRL's modules store their state in the tensordict at every step. A memory cannot be stored so: a copy costs all
that was written to it. The tensordict holds a *handle*, a number for each environment that names a state
which the module holds. Copies of states, *snapshots*, are made only where a piece of a sequence begins that is
learnt from later.

Example:
    >>> from tensordict.nn import TensorDictModule, TensorDictSequential
    >>> from torchrl.envs import GymEnv, InitTracker, TransformedEnv
    >>> from torchrl.modules import MLP
    >>> from sparsam.torchrl import SAMModule
    >>> env = TransformedEnv(GymEnv("Pendulum-v1"), InitTracker())
    >>> sam = SAMModule(3, 64, memory_size=10_000, in_key="observation", out_key="features")
    >>> head = TensorDictModule(MLP(192, 1, num_cells=[64]), in_keys=["features"], out_keys=["action"])
    >>> env = env.append_transform(sam.make_tensordict_primer())
    >>> env.rollout(5, TensorDictSequential(sam, head))["features"].shape
    torch.Size([5, 192])
"""

from __future__ import annotations

import itertools
import os
import secrets
from collections import OrderedDict
from collections.abc import Callable, Iterable
from typing import Any, ClassVar

try:
    import tensordict  # noqa: F401
    import torch
    import torchrl  # noqa: F401
except ModuleNotFoundError as error:
    if error.name not in ("tensordict", "torch", "torchrl"):
        raise
    raise ModuleNotFoundError(
        f"sparsam.torchrl needs {error.name}, which is not installed: pip install torchrl", name=error.name
    ) from None

from tensordict import TensorDictBase, unravel_key_list
from tensordict.nn import TensorDictModuleBase, dispatch
from torch import Tensor
from torchrl.modules import recurrent_mode

from sparsam._core import State
from sparsam.torch import SAM, SDNC, _Recurrent, _refuse_tracing

__all__ = ["SAMModule", "SDNCModule"]

NEW = 0
"""The handle of a row that has no state yet: what the primer fills in."""

NONE = -1
"""The handle of a state that was not kept: what recurrent mode writes where nothing stands."""

_POSITIONS = 40
"""Bits of a handle for the step of a stream, the row in it, and, in the lowest one, whether the row was new at the step
before; those above name the stream."""

_NAMES = (1 << (63 - _POSITIONS)) - 1
"""How many names of streams there are."""

_Run = Callable[[Tensor, State | None, Tensor], tuple[Tensor, State]]


class _Names:
    """Names for streams, each once in a process; processes count from origins of their own, forks as well."""

    def __init__(self) -> None:
        self.process, self.latest = 0, 0

    def draw(self) -> int:
        if self.process != os.getpid():
            # Not of PyTorch's generator: what is drawn there by the same seed stays the same.
            self.process, self.latest = os.getpid(), secrets.randbelow(_NAMES)
        self.latest = (self.latest + 1) % _NAMES
        return 1 + self.latest


_names = _Names()


class _Stream:
    """The rows of one batch that go on step by step together."""

    def __init__(self, name: int, state: State | None, rows: int, replays: int) -> None:
        self.name = name
        self.state = state
        self.rows = rows
        self.step = 0
        # When the latest snapshot was due: at which step, and after how many calls in recurrent mode.
        self.copied = 0
        self.replays = replays

    def handles(self, new: Tensor) -> Tensor:
        """Those of all rows after the latest step, before which some were new."""
        first = self.step * self.rows
        if first + self.rows > 1 << (_POSITIONS - 1):
            raise OverflowError(f"a stream of {self.rows} rows ends after {self.step} steps: reset the environment")
        return (self.name << _POSITIONS) + 2 * torch.arange(first, first + self.rows) + new.cpu()


class _Snapshot:
    """A copy of a stream's state before one of its steps."""

    def __init__(self, state: State, rows: int, empty: int | None) -> None:
        self.state = state
        self.rows = rows
        # A row that is as new, if there is one.
        self.empty = empty


class _States:
    """The states that handles name. Copies of a module share them, as a loss's and a collector's module must; a pickle
    has none."""

    def __init__(self, kind: str, num_streams: int, num_snapshots: int, snapshot_interval: int | None) -> None:
        self.limits = (kind, num_streams, num_snapshots, snapshot_interval)
        self.kind, self.num_streams, self.num_snapshots, self.snapshot_interval = self.limits
        # Least recently used first.
        self.streams: OrderedDict[int, _Stream] = OrderedDict()
        self.snapshots: OrderedDict[tuple[int, int], _Snapshot] = OrderedDict()
        self.replays = 0

    def __deepcopy__(self, memo: dict[int, Any]) -> _States:
        return self

    def __reduce__(self) -> tuple[Any, ...]:
        return _States, self.limits

    def step(self, run: _Run, value: Tensor, handles: Tensor, new: Tensor, idle: Tensor) -> tuple[Tensor, Tensor]:
        """One step of N rows, value (N, I); their output and the handles after it. Of idle rows, whose episodes have
        ended while others' go on, nobody reads either."""
        stream = self._stream(handles, new | idle)
        self._copy_where_due(stream, new)
        output, state = run(value.unsqueeze(0), stream.state, new.unsqueeze(0))
        stream.state = state.detach()
        stream.step += 1
        return output.squeeze(0), stream.handles(new)

    def replay(self, run: _Run, value: Tensor, handles: Tensor, starts: Tensor, after: Tensor | None) -> Tensor:
        """The output of a sequence of B rows, value (T, B, I), each from the state that its first handle names.

        An episode begins where ``starts`` is true and the handle is 0. TorchRL marks other steps as well: the first
        one of each slice that a sampler puts behind another, which goes on from the state that its handle names, and
        next observations that GAE puts behind a row's step, which go on with the row. ``after`` are the handles after
        each step, if they are known.
        """
        self.replays += 1
        handles, starts = handles.cpu(), starts.cpu()
        cuts: dict[int, list[int]] = {}
        for step, row in (starts[1:] & (handles[1:] != NEW)).nonzero().tolist():
            following = None if after is None else int(after[step, row])
            if not self._follows(int(handles[step, row]), int(handles[step + 1, row]), following):
                cuts.setdefault(row, [0]).append(step + 1)
        starts = starts & (handles == NEW)
        if not cuts:
            return self._replay(run, value, handles[0], starts.to(value.device))
        # Each part is a row of its own, filled up to the longest with steps whose outputs nobody reads.
        steps, rows = handles.shape
        parts = [
            (row, first, end) for row in range(rows) for first, end in itertools.pairwise([*cuts.get(row, [0]), steps])
        ]
        longest = max(end - first for _, first, end in parts)
        clock = torch.arange(longest).unsqueeze(1) + torch.tensor([first for _, first, _ in parts])
        clock, place = clock.clamp(max=steps - 1), torch.tensor([row for row, _, _ in parts])
        cut = value[clock.to(value.device), place.to(value.device)]
        found = self._replay(run, cut, handles[clock[0], place], starts[clock, place].to(value.device))
        outputs: list[list[Tensor]] = [[] for _ in range(rows)]
        for index, (row, first, end) in enumerate(parts):
            outputs[row].append(found[: end - first, index])
        return torch.stack([torch.cat(pieces) for pieces in outputs], 1)

    def _follows(self, before: int, handle: int, after: int | None) -> bool:
        """Whether a handle is that of the step after one, whose handle after it may be known."""
        if after is not None and after > 0:
            return handle == after
        if before == NEW:
            # The step before began an episode, and nothing says of which row. TorchRL's value estimators, which leave
            # out the handles after steps, insert that row's next observation there. A slice that begins with an
            # episode's second step looks the same behind such a one: docs/agents.md says to give GAE slices as rows.
            return handle > 0 and handle % 2 == 1
        name, position = handle >> _POSITIONS, handle >> 1
        return before >> _POSITIONS == name and position - (before >> 1) == self._rows(handle)

    def _replay(self, run: _Run, value: Tensor, handles: Tensor, starts: Tensor) -> Tensor:
        """The same where rows go on from nothing but their first handles, (B,)."""
        new = handles == NEW
        origins: dict[tuple[int, int], list[tuple[int, int]]] = {}
        for index, row, origin in self._named(handles, new):
            origins.setdefault(origin, []).append((index, row))
        fresh = new.nonzero().flatten().tolist()
        groups: list[tuple[list[int], State | None]] = []
        for origin, members in origins.items():
            source, empty = self._source(origin)
            if empty is not None:
                members = sorted(members + [(index, empty) for index in fresh])
                fresh = []
            groups.append(([index for index, _ in members], source.select([row for _, row in members])))
        if fresh or not groups:
            groups.append((fresh, None))
        if len(groups) == 1:
            return run(value, groups[0][1], starts)[0]
        outputs = [run(value[:, rows], state, starts[:, rows])[0] for rows, state in groups]
        order = torch.tensor([index for rows, _ in groups for index in rows]).argsort()
        return torch.cat(outputs, 1).index_select(1, order.to(value.device))

    def _stream(self, handles: Tensor, new: Tensor) -> _Stream:
        """The stream whose rows are those of a call, one for one."""
        named = self._named(handles, new)
        rows = len(handles)
        if not named:
            return self._keep(_Stream(self._name(), None, rows, self.replays))
        origins = {origin for _, _, origin in named}
        if len(origins) > 1:
            if len({name for name, _ in origins}) < len(origins):
                raise RuntimeError(
                    f"{self.kind} was given several steps of one environment to take as one: run sequences, as GAE "
                    "does, under torchrl.modules.set_recurrent_mode(True)"
                )
            raise RuntimeError(
                f"{self.kind} was given environments that have not gone on together until now: step those of one "
                "collector or one batched environment in one call, and others in another"
            )
        (origin,) = origins
        stream = self.streams.get(origin[0])
        if stream is not None and stream.step == origin[1]:
            if stream.rows == rows and all(index == row for index, row, _ in named):
                self.streams.move_to_end(stream.name)
                return stream
            # Learning from the new stream begins with the handles of this one.
            self._copy(stream, None)
        source, empty = self._source(origin)
        picked = [named[0][1] if empty is None else empty] * rows
        for index, row, _ in named:
            picked[index] = row
        return self._keep(_Stream(self._name(), source.select(picked), rows, self.replays))

    def _named(self, handles: Tensor, new: Tensor) -> list[tuple[int, int, tuple[int, int]]]:
        """For each row that is not new: where it stands in the call and in its stream, and the stream and step."""
        found = []
        for index, (handle, is_new) in enumerate(zip(handles.tolist(), new.tolist(), strict=True)):
            if is_new:
                continue
            rows, position = self._rows(handle), (handle & ((1 << _POSITIONS) - 1)) >> 1
            step, row = divmod(position, rows)
            found.append((index, row, (handle >> _POSITIONS, step)))
        return found

    def _rows(self, handle: int) -> int:
        """How many rows the stream of a handle has."""
        name = handle >> _POSITIONS
        if name in self.streams:
            return self.streams[name].rows
        for (stream, _), snapshot in self.snapshots.items():
            if stream == name:
                return snapshot.rows
        raise self._missing(handle)

    def _source(self, origin: tuple[int, int]) -> tuple[State, int | None]:
        """The state that stood before a step of a stream, which is not to be changed, and a row in it that is new."""
        snapshot = self.snapshots.get(origin)
        if snapshot is not None:
            self.snapshots.move_to_end(origin)
            return snapshot.state, snapshot.empty
        stream = self.streams.get(origin[0])
        if stream is not None and stream.step == origin[1] and stream.state is not None:
            return stream.state, None
        if stream is None:
            raise self._missing(origin[0])
        raise RuntimeError(
            f"{self.kind} has no snapshot from step {origin[1]} of this stream: begin pieces where an episode begins "
            "or where one was made (at the first step after recurrent mode, or by snapshot_interval=, of which "
            f"num_snapshots={self.num_snapshots} are kept), and for GAE say shifted=True; if a copy of this module "
            "took the step, as a second actor does, give that actor a module of its own"
        )

    def _missing(self, handle: int) -> RuntimeError:
        if handle < 0:
            return RuntimeError(
                f"{self.kind} was given a handle that recurrent mode wrote, which keeps no states: go on from the "
                "tensordict that was stepped, or reset the environment"
            )
        return RuntimeError(
            f"{self.kind} does not hold the state that this handle names: num_streams={self.num_streams} streams and "
            f"num_snapshots={self.num_snapshots} snapshots are held, in the process that took the steps; "
            "raise these, collect in the same process, or begin pieces where an episode begins"
        )

    def _name(self) -> int:
        """A name that no stream or snapshot held here has."""
        held = {*self.streams, *(stream for stream, _ in self.snapshots)}
        return next(name for name in iter(_names.draw, None) if name not in held)

    def _keep(self, stream: _Stream) -> _Stream:
        """Keeps a stream that begins. If there are enough, the one used before the latest makes room: where one
        environment is evaluated for many episodes and another one waits, it is the episode before, and where two take
        turns, the former episode of the one whose turn it is."""
        while len(self.streams) >= self.num_streams:
            del self.streams[list(self.streams)[max(len(self.streams) - 2, 0)]]
        self.streams[stream.name] = stream
        return stream

    def _copy_where_due(self, stream: _Stream, new: Tensor) -> None:
        interval = self.snapshot_interval
        after_replay = stream.replays != self.replays
        if after_replay or (interval is not None and stream.step - stream.copied >= interval):
            stream.replays, stream.copied = self.replays, stream.step
            self._copy(stream, new)

    def _copy(self, stream: _Stream, new: Tensor | None) -> None:
        """Makes a snapshot; rows that are new need none."""
        if stream.state is None or self.num_snapshots == 0 or (new is not None and bool(new.all())):
            return
        empty = None
        if new is not None and bool(new.any()):
            stream.state = stream.state.reset(new)
            empty = int(new.nonzero()[0])
        copied = _Snapshot(stream.state.select(range(stream.rows)), stream.rows, empty)
        self.snapshots[stream.name, stream.step] = copied
        while len(self.snapshots) > self.num_snapshots:
            self.snapshots.popitem(last=False)


class _Module(TensorDictModuleBase):  # type: ignore[misc]
    """What the two modules share."""

    DEFAULT_IN_KEYS: ClassVar[list[Any]] = ["recurrent_state"]
    DEFAULT_OUT_KEYS: ClassVar[list[Any]] = [("next", "recurrent_state")]

    def __init__(
        self,
        network: _Recurrent,
        in_key: Any,
        in_keys: Iterable[Any] | None,
        out_key: Any,
        out_keys: Iterable[Any] | None,
        default_recurrent_mode: bool | None,
        snapshot_interval: int | None,
        num_snapshots: int,
        num_streams: int,
    ) -> None:
        super().__init__()
        kind = type(self).__name__
        for name, one, several in (("in", in_key, in_keys), ("out", out_key, out_keys)):
            if (one is None) == (several is None):
                raise ValueError(f"{kind} needs either {name}_key or {name}_keys")
        read = unravel_key_list([in_key, *self.DEFAULT_IN_KEYS] if in_keys is None else list(in_keys))
        written = unravel_key_list([out_key, *self.DEFAULT_OUT_KEYS] if out_keys is None else list(out_keys))
        if len(read) == 2:
            read.append("is_init")
        if len(read) != 3 or read[2] != "is_init":
            raise ValueError(f"in_keys is {read}, where the keys of the value and of the handle were expected")
        if len(written) != 2:
            raise ValueError(
                f"out_keys is {written}, where the keys of the output and of the next handle were expected"
            )
        for name, number, least in (
            ("snapshot_interval", 1 if snapshot_interval is None else snapshot_interval, 1),
            ("num_snapshots", num_snapshots, 0),
            ("num_streams", num_streams, 1),
        ):
            if number < least:
                raise ValueError(f"{name} is {number}, where at least {least} was expected")
        self.in_keys, self.out_keys = read, written
        self._recurrent_mode = default_recurrent_mode
        self._states = _States(kind, num_streams, num_snapshots, snapshot_interval)
        self._network_name = kind.removesuffix("Module").lower()
        self.add_module(self._network_name, network)

    @property
    def recurrent_mode(self) -> bool:
        """Whether a call runs whole sequences: what ``torchrl.modules.set_recurrent_mode`` says, else
        ``default_recurrent_mode``."""
        mode = recurrent_mode()
        return bool(self._recurrent_mode) if mode is None else bool(mode)

    def make_tensordict_primer(self) -> Any:
        """The transform that gives an environment the entry of the handle, 0 after each reset.

        Raises:
            RuntimeError: the key of the next handle is not ``("next", key)`` of the key of the handle.
        """
        from torchrl.data import Unbounded
        from torchrl.envs.transforms import TensorDictPrimer

        key, next_key = (key if isinstance(key, tuple) else (key,) for key in (self.in_keys[1], self.out_keys[1]))
        if next_key != ("next", *key):
            raise RuntimeError(
                f"a primer needs out_keys[1] to be ('next', in_keys[1]), where in_keys is {self.in_keys} and out_keys "
                f"is {self.out_keys}"
            )
        return TensorDictPrimer({key: Unbounded(shape=(1,), dtype=torch.int64)}, default_value=NEW, expand_specs=True)

    @dispatch  # type: ignore[untyped-decorator]
    def forward(self, tensordict: TensorDictBase) -> TensorDictBase:
        """Writes the output and the next handles into a tensordict, and returns it.

        Step by step the tensordict's dimensions are all of environments; in recurrent mode the last one is time, and
        every row begins with the state that the handle of its first step names. A row is as new before a step where
        ``is_init`` is true; in recurrent mode, where TorchRL marks other steps as well, only if the handle there is 0.
        Where such a mark has another handle, the row goes on from the state that the handle names.

        Raises:
            KeyError: there is no value, or no ``is_init``.
            RuntimeError: a handle names a state that is not held, or is missing in the middle of an episode.
        """
        _refuse_tracing()
        value_key = self.in_keys[0]
        value, handles, starts = (tensordict.get(key, None) for key in self.in_keys)
        if value is None:
            raise KeyError(f"{self._states.kind} needs the entry {value_key!r}, its input")
        if starts is None:
            raise KeyError(
                f"{self._states.kind} needs the entry 'is_init': append torchrl.envs.InitTracker() to the environment"
            )
        shape = tensordict.shape
        if self.recurrent_mode:
            if not shape:
                raise ValueError(
                    f"{self._states.kind} in recurrent mode needs a tensordict whose last dimension is time, and this "
                    "one has none"
                )
            steps = shape[-1]
            value = value.reshape(-1, steps, value.shape[-1]).transpose(0, 1)
            starts = starts.reshape(-1, steps).transpose(0, 1)
            after = tensordict.get(self.out_keys[1], None)
            if handles is None:
                self._given(None, starts[0])
                known = torch.full(starts.shape, NEW, device=starts.device)
            else:
                known = handles.reshape(-1, steps).transpose(0, 1)
            following = None if after is None else after.reshape(-1, steps).transpose(0, 1)
            output = self._states.replay(self._run, value, known, starts, following)
            output = output.transpose(0, 1)
            # The states after these steps are those of the rollout, whose handles stay; others are not kept.
            if after is None:
                after = torch.full((*shape, 1), NONE, device=value.device)
        else:
            value, new = value.reshape(-1, value.shape[-1]), starts.flatten()
            known = self._given(None if handles is None else handles.flatten(), new)
            new = new | (known == NEW)
            done = tensordict.get("done", None)
            idle = torch.zeros_like(new) if done is None else done.flatten() & ~new
            output, after = self._states.step(self._run, value, known, new, idle)
            after = after.to(value.device).reshape(*shape, 1)
        tensordict.set(self.out_keys[0], output.reshape(*shape, output.shape[-1]))
        tensordict.set(self.out_keys[1], after)
        return tensordict

    def _given(self, handles: Tensor | None, new: Tensor) -> Tensor:
        """The handles of rows, of which new ones need none."""
        if handles is not None:
            return handles
        if not new.all():
            raise RuntimeError(
                f"{self._states.kind} was given no {self.in_keys[1]!r} for an environment in the middle of an episode: "
                "append make_tensordict_primer() to the environment, which carries it from step to step"
            )
        return torch.full(new.shape, NEW, device=new.device)

    def _run(self, value: Tensor, state: State | None, starts: Tensor) -> tuple[Tensor, State]:
        """Runs a sequence (T, B, I)."""
        network: _Recurrent = self.get_submodule(self._network_name)
        if network.batch_first:
            output, after = network(value.transpose(0, 1), state, starts=starts.transpose(0, 1))
            return output.transpose(0, 1), after
        output, after = network(value, state, starts=starts)
        return output, after


_SHARED = """
    Arguments, keys and modes are those of ``torchrl.modules.GRUModule``, whose tensordicts have one entry of state.

    Args:
        input_size: numbers in a value, I.
        hidden_size: hidden units of the controller, H.
        output_size: numbers in an output, O. Without it the output is [h ; r], H + R·W wide.
        memory_size: words in each environment's memory, N; 1,000,000 if none is given.
        in_key: key of the value, (…, I). The handle's is then "recurrent_state".
        in_keys: keys of the value and of the handle, instead of ``in_key``; "is_init" may follow.
        out_key: key of the output, (…, O). The next handle's is then ("next", "recurrent_state").
        out_keys: keys of the output and of the next handle, instead of ``out_key``.
        device: of the parameters. Work is done on the CPU wherever they are.
        default_recurrent_mode: whether a call runs whole sequences where ``torchrl.modules.set_recurrent_mode`` says
            nothing.
        snapshot_interval: a snapshot is made every so many steps, beside those that begin pieces.
        num_snapshots: snapshots that are kept; the least recently used are dropped.
        num_streams: batches of environments whose states are kept, as those of a collector and of an evaluation. One
            begins where all environments of a call begin an episode; of too many, the one used before the latest is
            dropped, so that what waits during an evaluation stays.
        {lower}: a :class:`sparsam.torch.{name}` that the module wraps, instead of sizes, a device and options.
        options: all others of :class:`sparsam.torch.{name}`.

    The tensordict holds a handle, an int64 for each environment. The handle 0, which the primer fills in,
    is that of a row without a state: it begins as new. A handle whose state is not held raises a ``RuntimeError`` that
    says what to do.

    A snapshot of a batch is made before its first step after a call in recurrent mode, and costs what was written to
    the memories of its rows since their episodes began. Each call in recurrent mode that goes on from the snapshot
    copies its rows once more. A loss whose actor and critic share the module calls it twice for each minibatch: k
    epochs then cost 1 + 2k copies of each row and 2k passes over the rollout. Each run of GAE adds one of both.

    Copies of the module (``copy.deepcopy``) share the states it holds, as a loss and a collector must. A second actor,
    such as a target network, needs a module of its own and a key of its own for the handle: make one with the same
    arguments, and give it the parameters by ``load_state_dict``. Where two copies step the same environments in turn,
    each moves on the state that the other one needs. Pickles, as in other processes, have no states.

    Raises:
        ValueError: keys, sizes or numbers that do not fit.
"""


class SAMModule(_Module):
    __doc__ = ":class:`sparsam.torch.SAM` as a recurrent module of TorchRL.\n" + _SHARED.format(name="SAM", lower="sam")

    def __init__(
        self,
        input_size: int | None = None,
        hidden_size: int | None = None,
        output_size: int | None = None,
        memory_size: int | None = None,
        *,
        in_key: Any = None,
        in_keys: Iterable[Any] | None = None,
        out_key: Any = None,
        out_keys: Iterable[Any] | None = None,
        device: torch.device | str | None = None,
        sam: SAM | None = None,
        default_recurrent_mode: bool | None = None,
        snapshot_interval: int | None = None,
        num_snapshots: int = 4,
        num_streams: int = 4,
        **options: Any,
    ) -> None:
        sizes = (input_size, hidden_size, output_size)
        network = _network(SAM, sam, sizes, memory_size, device, options)
        super().__init__(
            network,
            in_key,
            in_keys,
            out_key,
            out_keys,
            default_recurrent_mode,
            snapshot_interval,
            num_snapshots,
            num_streams,
        )


class SDNCModule(_Module):
    __doc__ = ":class:`sparsam.torch.SDNC` as a recurrent module of TorchRL.\n" + _SHARED.format(
        name="SDNC", lower="sdnc"
    )

    def __init__(
        self,
        input_size: int | None = None,
        hidden_size: int | None = None,
        output_size: int | None = None,
        memory_size: int | None = None,
        *,
        in_key: Any = None,
        in_keys: Iterable[Any] | None = None,
        out_key: Any = None,
        out_keys: Iterable[Any] | None = None,
        device: torch.device | str | None = None,
        sdnc: SDNC | None = None,
        default_recurrent_mode: bool | None = None,
        snapshot_interval: int | None = None,
        num_snapshots: int = 4,
        num_streams: int = 4,
        **options: Any,
    ) -> None:
        sizes = (input_size, hidden_size, output_size)
        network = _network(SDNC, sdnc, sizes, memory_size, device, options)
        super().__init__(
            network,
            in_key,
            in_keys,
            out_key,
            out_keys,
            default_recurrent_mode,
            snapshot_interval,
            num_snapshots,
            num_streams,
        )


def _network(
    kind: type[SAM] | type[SDNC],
    given: _Recurrent | None,
    sizes: tuple[int | None, int | None, int | None],
    memory_size: int | None,
    device: torch.device | str | None,
    options: dict[str, Any],
) -> _Recurrent:
    """The network that was given, or one of the sizes that were."""
    name = kind.__name__
    input_size, hidden_size, output_size = sizes
    if given is None:
        if input_size is None or hidden_size is None:
            raise ValueError(f"{name}Module needs input_size and hidden_size, or a network as {name.lower()}=")
        if memory_size is not None:
            options = {"memory_size": memory_size, **options}
        return kind(input_size, hidden_size, output_size, device=device, **options)
    if not isinstance(given, kind):
        raise TypeError(f"{name.lower()} is a {type(given).__name__}, where sparsam.torch.{name} was expected")
    if any(argument is not None for argument in (*sizes, memory_size, device)) or options:
        raise ValueError(f"{name.lower()} was given with sizes, a device or options, which it has of its own")
    return given
