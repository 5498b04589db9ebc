"""SAMModule and SDNCModule beside TorchRL's own recurrent modules, in its environments, collectors and losses."""

from __future__ import annotations

import copy
import doctest
import pickle
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import sparsam.torchrl
import torch
from counting import Counting
from sparsam.torch import SAM, SDNC
from sparsam.torchrl import SAMModule, SDNCModule
from tensordict import TensorDict
from tensordict.nn import TensorDictModule, TensorDictSequential
from torch import Tensor, nn
from torchrl.collectors import Collector
from torchrl.data import LazyTensorStorage, SliceSampler, TensorDictReplayBuffer
from torchrl.envs import GymWrapper, InitTracker, SerialEnv, TransformedEnv
from torchrl.modules import (
    GRUModule,
    LSTMModule,
    OneHotCategorical,
    ProbabilisticActor,
    ValueOperator,
    set_recurrent_mode,
)
from torchrl.modules.utils import get_primers_from_module
from torchrl.objectives import ClipPPOLoss
from torchrl.objectives.value import GAE

LENGTHS = [(3, 5, 2), (4, 1, 6), (7, 2)]
HANDLE = "recurrent_state"


def network(kind: Any = SAM) -> Any:
    torch.manual_seed(0)
    return kind(2, 6, memory_size=40, word_size=4, num_heads=2)


def module(kind: Any = SAMModule, **options: Any) -> Any:
    given = {"sam": network(SAM)} if kind is SAMModule else {"sdnc": network(SDNC)}
    return kind(in_key="observation", out_key="features", **given, **options)


def environment(*transforms: Any) -> Any:
    makers = [lambda of=of: GymWrapper(Counting(of)) for of in LENGTHS]
    env = TransformedEnv(SerialEnv(3, makers), InitTracker())
    for transform in transforms:
        env = env.append_transform(transform)
    return env


def policy(recurrent: Any) -> Any:
    width = 14 if isinstance(recurrent, (SAMModule, SDNCModule)) else 6
    head = TensorDictModule(nn.Linear(width, 3), in_keys=["features"], out_keys=["logits"])
    return ProbabilisticActor(
        TensorDictSequential(recurrent, head),
        in_keys=["logits"],
        out_keys=["action"],
        distribution_class=OneHotCategorical,
        return_log_prob=True,
    )


def pieces(recurrent: Any, length: int, count: int) -> Any:
    """A collector's pieces, (3, length) each."""
    actor = policy(recurrent)
    env = environment(get_primers_from_module(actor))
    return Collector(env, actor, frames_per_batch=3 * length, total_frames=3 * length * count)


def manually(data: Any, state: Any = None, kind: Any = SAM) -> tuple[Tensor, Any]:
    """What the network gives if it is called by hand."""
    model = network(kind)
    starts = data["is_init"].squeeze(-1).transpose(0, 1)
    with torch.no_grad():
        output, state = model(data["observation"].transpose(0, 1), state, starts=starts)
    return output.transpose(0, 1), state


def test_keys_are_those_of_the_gru() -> None:
    ours, theirs = module(), GRUModule(2, 6, in_key="observation", out_key="features")
    assert (ours.in_keys, ours.out_keys) == (theirs.in_keys, theirs.out_keys)
    assert ours.DEFAULT_IN_KEYS == theirs.DEFAULT_IN_KEYS
    keys: dict[str, Any] = {"in_keys": ["x", ("a", "state")], "out_keys": ["y", ("next", "a", "state")]}
    ours, theirs = SAMModule(2, 6, **keys), GRUModule(2, 6, **keys)
    assert (ours.in_keys, ours.out_keys) == (theirs.in_keys, theirs.out_keys)
    for kind in (SAMModule, GRUModule):
        assert list(kind(2, 6, **keys).make_tensordict_primer().primers.keys(True, True)) == [("a", "state")]
        assert not kind(2, 6, **keys).recurrent_mode
        assert kind(2, 6, default_recurrent_mode=True, **keys).recurrent_mode
        with set_recurrent_mode(True):
            assert kind(2, 6, **keys).recurrent_mode
        with pytest.raises(RuntimeError):
            kind(2, 6, in_keys=["x", "state"], out_keys=["y", "state"]).make_tensordict_primer()
        for wrong in (
            {"in_key": "x", "in_keys": ["x", "s"], "out_key": "y"},
            {"in_key": "x"},
            {"in_keys": ["x"], "out_key": "y"},
            {"in_key": "x", "out_keys": ["y"]},
        ):
            with pytest.raises(ValueError, match="key"):
                kind(2, 6, **wrong)


@pytest.mark.parametrize("kind", [SAMModule, SDNCModule])
def test_a_rollout_is_what_calls_by_hand_give(kind: Any) -> None:
    recurrent = module(kind)
    actor = policy(recurrent)
    env = environment(recurrent.make_tensordict_primer())
    with torch.no_grad():
        data = env.rollout(24, actor, break_when_any_done=False)
    starts = data["is_init"].squeeze(-1)
    assert torch.equal(starts, data["observation"][..., 0] == 0)
    assert starts.sum() > 12
    # The primer's zeros stand where episodes begin, and each handle is that of the step before elsewhere.
    assert torch.equal(data[HANDLE].squeeze(-1) == 0, starts)
    assert torch.equal(data[HANDLE][:, 1:][~starts[:, 1:]], data["next", HANDLE][:, :-1][~starts[:, 1:]])
    expected, state = None, None
    model, outputs = network(SAM if kind is SAMModule else SDNC), []
    with torch.no_grad():
        for t in range(24):
            one = data["observation"][:, t].unsqueeze(0)
            expected, state = model(one, state, starts=starts[:, t].unsqueeze(0))
            outputs.append(expected[0])
    assert torch.equal(torch.stack(outputs, 1), data["features"])
    # As one sequence: the network's call by hand to the bit, and the steps to rounding.
    with torch.no_grad(), set_recurrent_mode(True):
        replayed = recurrent(data.clone())
    assert torch.equal(replayed["features"], manually(data, kind=SAM if kind is SAMModule else SDNC)[0])
    torch.testing.assert_close(replayed["features"], data["features"])
    assert torch.equal(replayed["next", HANDLE], data["next", HANDLE])


def test_pieces_go_on_from_their_snapshots() -> None:
    recurrent, state, started = module(), None, False
    for data in pieces(recurrent, 8, 4):
        before: Any = copy.deepcopy(state)
        expected, state = manually(data, state)
        torch.testing.assert_close(data["features"], expected)
        started = started or not data["is_init"][:, 0].any()
        for _ in range(2):
            for rows in ([0, 1, 2], [2, 0], [1]):
                with set_recurrent_mode(True):
                    part = recurrent(data[rows].clone())
                torch.testing.assert_close(part["features"], expected[rows])
                recurrent.zero_grad()
                part["features"].sum().backward()
        # Gradients are those of the call by hand, whose state before the piece is the same.
        gradients = [parameter.grad.clone() for parameter in recurrent.parameters()]
        model, one = network(), data[[1]]
        starts = one["is_init"].squeeze(-1).transpose(0, 1)
        first: Any = None if before is None else before.select([1])
        model(one["observation"].transpose(0, 1), first, starts=starts)[0].sum().backward()
        torch.testing.assert_close(gradients, [parameter.grad for parameter in model.parameters()])
    assert started
    assert len(recurrent._states.snapshots) <= 4


def test_snapshots_between_and_forks() -> None:
    recurrent = module(snapshot_interval=4, num_snapshots=8)
    env = environment(recurrent.make_tensordict_primer())
    with torch.no_grad():
        data = env.rollout(16, policy(recurrent), break_when_any_done=False)
        expected, _ = manually(data)
        for first in (4, 8, 12):
            with set_recurrent_mode(True):
                part = recurrent(data[:, first:].clone())
            torch.testing.assert_close(part["features"], expected[:, first:])
        # Pieces that begin at different steps, and rows that begin an episode beside others, in one call.
        mixed = torch.cat([data[:, 4:8], data[:, 8:12], data[:, :4]])
        with set_recurrent_mode(True):
            part = recurrent(mixed.clone())
        torch.testing.assert_close(part["features"], torch.cat([expected[:, 4:8], expected[:, 8:12], expected[:, :4]]))
        with set_recurrent_mode(True), pytest.raises(RuntimeError, match=r"no snapshot from step 5 .* shifted=True"):
            recurrent(data[:, 5:].clone())
        # Step by step from a snapshot: another stream, and the first one goes on as well.
        again = recurrent(data[:, 8].clone())
        torch.testing.assert_close(again["features"], data["features"][:, 8])
        assert not torch.equal(again["next", HANDLE], data["next", HANDLE][:, 8])
        with pytest.raises(RuntimeError, match="no snapshot from step 9"):
            recurrent(data[:, 9].clone())
        some = recurrent(data[[2, 0], 8].clone())
        torch.testing.assert_close(some["features"], data["features"][[2, 0], 8])


@pytest.mark.parametrize("kind", [SAMModule, SDNCModule])
def test_slices_go_on_from_their_own_states(kind: Any) -> None:
    """A sampler puts slices behind one another and marks where each begins, most of them within an episode."""
    recurrent = module(kind, snapshot_interval=1, num_snapshots=100)
    env = environment(recurrent.make_tensordict_primer())
    with torch.no_grad():
        data = env.rollout(24, policy(recurrent), break_when_any_done=False)
    buffer = TensorDictReplayBuffer(
        storage=LazyTensorStorage(72, ndim=2),
        sampler=SliceSampler(slice_len=4, end_key=("next", "done"), strict_length=False),
        batch_size=24,
    )
    buffer.extend(data)
    torch.manual_seed(1)
    sample = buffer.sample()
    marked = sample["is_init"].squeeze(-1) & (sample[HANDLE].squeeze(-1) != 0)
    assert marked[1:].sum() > 1
    with torch.no_grad(), set_recurrent_mode(True):
        found = recurrent(sample.clone())
        torch.testing.assert_close(found["features"], sample["features"])
        # What the loss reads of a row is no more than its keys, and handles then say where it goes on.
        keys = sample.select("observation", "is_init", HANDLE)
        torch.testing.assert_close(recurrent(keys)["features"], sample["features"])
    # Of each part the gradient is that of its own steps.
    part = sample.select("observation", "is_init", HANDLE).clone()
    part["observation"].requires_grad_()
    with set_recurrent_mode(True):
        recurrent(part)["features"][: int(marked[1:].nonzero()[0]) + 1].sum().backward()
    assert (part["observation"].grad[int(marked[1:].nonzero()[0]) + 1 :] == 0).all()
    assert (part["observation"].grad[0] != 0).any()
    # Where no snapshot is held that is said.
    few = module(kind)
    with torch.no_grad():
        data = environment(few.make_tensordict_primer()).rollout(6, policy(few), break_when_any_done=False)
    row = data[2].clone()
    row["is_init"][3] = True
    with set_recurrent_mode(True):
        few(row.clone())
        row[HANDLE][3] -= 2
        with pytest.raises(RuntimeError, match="no snapshot from step"):
            few(row.clone())
        with pytest.raises(RuntimeError, match="no snapshot from step"):
            few(row.exclude("next"))


@pytest.mark.parametrize("perturbed", [False, True])
def test_values_of_shifted_advantages(perturbed: bool) -> None:
    """GAE inserts next observations where an episode is cut off, and marks them with the step before's ``is_init``."""
    recurrent = module()
    critic = TensorDictSequential(recurrent, ValueOperator(nn.Linear(14, 1), in_keys=["features"]))
    with torch.no_grad():
        data = environment(recurrent.make_tensordict_primer()).rollout(8, policy(recurrent), break_when_any_done=False)
        if perturbed:
            for parameter in recurrent.parameters():
                parameter.add_(0.1)
    done = data["next", "done"].squeeze(-1)
    starts = data["is_init"].squeeze(-1)
    # An episode begins on the last step of a row, one of a single step and a longer one end within a row.
    assert starts[2, 7]
    assert (starts & done)[1, 4]
    assert done[0, 2]
    data["next", "truncated"], data["next", "terminated"] = data["next", "done"], data["next", "done"] & False
    plain = GAE(gamma=0.9, lmbda=0.9, value_network=critic, shifted=True, shifted_budget=4)
    with torch.no_grad(), set_recurrent_mode(True):
        plain(data)
    assert data["shifted_valid"].all()
    sam, head = recurrent.sam, critic[1]
    with torch.no_grad():
        for row in range(3):
            first = 0
            for t in range(8):
                first = t if starts[row, t] else first
                seen = torch.cat([data["observation"][row, first : t + 1], data["next", "observation"][row, t : t + 1]])
                values = head.module(sam(seen.unsqueeze(1))[0].squeeze(1))
                torch.testing.assert_close(data["state_value"][row, t], values[-2])
                torch.testing.assert_close(data["next", "state_value"][row, t], values[-1])


def test_random_frames_leave_a_row_as_new() -> None:
    """A collector does not call the policy for its first frames: handles stay 0 in the middle of episodes."""
    recurrent = module()
    actor = policy(recurrent)
    env = environment(recurrent.make_tensordict_primer())
    collector = Collector(env, actor, frames_per_batch=3 * 2, total_frames=3 * 6, init_random_frames=3 * 2)
    first, second, third = list(collector)
    assert (first[HANDLE] == 0).all()
    assert (second[HANDLE][0, 0] == 0).all()
    assert not second["is_init"][0, 0]
    expected, state = manually(second)
    torch.testing.assert_close(second["features"], expected)
    torch.testing.assert_close(third["features"], manually(third, state)[0])
    with torch.no_grad(), set_recurrent_mode(True):
        torch.testing.assert_close(recurrent(second.clone())["features"], expected)


@pytest.mark.parametrize("inside", [False, True])
def test_rows_that_wait_until_all_are_done(inside: bool) -> None:
    """Rows that have ended keep their last handle while others go on, wherever the primer stands."""
    recurrent = module()
    if inside:
        env: Any = SerialEnv(
            3,
            [
                lambda of=of: TransformedEnv(GymWrapper(Counting(of)), InitTracker()).append_transform(
                    recurrent.make_tensordict_primer()
                )
                for of in LENGTHS
            ],
        )
    else:
        env = environment(recurrent.make_tensordict_primer())
    with torch.no_grad():
        data = env.rollout(24, policy(recurrent), break_when_all_done=True)
    assert data.shape == (3, 7)
    expected, _ = manually(data)
    for row, lengths in enumerate(LENGTHS):
        torch.testing.assert_close(data["features"][row, : lengths[0]], expected[row, : lengths[0]])
    with torch.no_grad():
        data = env.rollout(9, policy(recurrent), break_when_any_done=False)
    torch.testing.assert_close(data["features"], manually(data)[0])


def test_names_of_streams_are_not_given_twice(monkeypatch: pytest.MonkeyPatch) -> None:
    one = TensorDict({"observation": torch.randn(3, 2), "is_init": torch.ones(3, 1).bool()}, [3])
    first, second = module(), module()
    handles = [recurrent(one.clone())["next", HANDLE][0] for recurrent in (first, second, first, second)]
    assert len({int(handle) for handle in handles}) == 4
    # Where the count comes round again, what is held is passed over.
    held = list(first._states.streams)
    monkeypatch.setattr(sparsam.torchrl._names, "latest", held[0] - 2)
    first(one.clone())
    assert list(first._states.streams)[-1] == held[0] + 1
    # Another process, a fork among them, counts from elsewhere.
    monkeypatch.setattr(sparsam.torchrl._names, "process", 0)
    monkeypatch.setattr("secrets.randbelow", lambda count: 77)
    first(one.clone())
    assert list(first._states.streams)[-1] == 79


def test_nothing_is_zero_in_silence() -> None:
    recurrent = module()
    # Without the primer TorchRL's module starts from zero at every step; ours says so at the second.
    theirs = LSTMModule(2, 6, in_key="observation", out_key="features")
    data = environment().rollout(6, policy(theirs), break_when_any_done=False)
    assert "recurrent_state_h" not in data
    alone = theirs.lstm(data["observation"].reshape(-1, 1, 2))[0].reshape(3, 6, 6)
    torch.testing.assert_close(data["features"], alone)
    with pytest.raises(RuntimeError, match="make_tensordict_primer"):
        environment().rollout(6, policy(recurrent), break_when_any_done=False)
    one = TensorDict({"observation": torch.zeros(3, 2), "is_init": torch.ones(3, 1).bool()}, [3])
    with pytest.raises(KeyError, match=r"InitTracker"):
        recurrent(one.exclude("is_init"))
    with pytest.raises(KeyError, match=r"needs the entry 'observation'"):
        recurrent(one.exclude("observation"))
    first = recurrent(one.clone())
    later = one.clone().set(HANDLE, first["next", HANDLE]).set("is_init", torch.zeros(3, 1).bool())
    second = recurrent(later.clone())
    with pytest.raises(RuntimeError, match="no snapshot from step 1"):
        recurrent(later.clone())
    with set_recurrent_mode(True):
        kept = recurrent(one.unsqueeze(1))
    with pytest.raises(RuntimeError, match="recurrent mode wrote"):
        recurrent(later.clone().set(HANDLE, kept["next", HANDLE][:, 0]))
    old = one.clone().set(HANDLE, recurrent(one.clone())["next", HANDLE]).set("is_init", torch.zeros(3, 1).bool())
    for _ in range(9):
        recurrent(one.clone())
    # What waits stays; of what comes and goes the latest do.
    recurrent(later.clone().set(HANDLE, second["next", HANDLE]))
    with pytest.raises(RuntimeError, match=r"does not hold the state .*num_streams=4"):
        recurrent(old)
    both = torch.cat([recurrent(one.clone())["next", HANDLE][:1], recurrent(one.clone())["next", HANDLE][1:]])
    with pytest.raises(RuntimeError, match="not gone on together"):
        recurrent(later.clone().set(HANDLE, both))
    with set_recurrent_mode(True), pytest.raises(ValueError, match="last dimension is time"):
        recurrent(one[0].clone())


def test_copies_share_states_and_pickles_have_none() -> None:
    recurrent = module()
    one = TensorDict({"observation": torch.randn(3, 2), "is_init": torch.ones(3, 1).bool()}, [3])
    handles = recurrent(one.clone())["next", HANDLE]
    later = one.clone().set(HANDLE, handles).set("is_init", torch.zeros(3, 1).bool())
    with pytest.raises(RuntimeError, match="in the process that took the steps"):
        pickle.loads(pickle.dumps(recurrent))(later.clone())
    second = copy.deepcopy(recurrent)
    assert second(later.clone())["next", HANDLE].shape == (3, 1)
    # The copy took the step that the module itself takes now.
    with pytest.raises(RuntimeError, match=r"a second actor does, .* a module of its own"):
        recurrent(later.clone())
    # Such a second actor has states of its own.
    own = module()
    own.load_state_dict(recurrent.state_dict())
    own(own(one.clone()).set(HANDLE, own(one.clone())["next", HANDLE]).set("is_init", torch.zeros(3, 1).bool()))
    assert "memory_size=1000000" in repr(SAMModule(2, 6, in_key="x", out_key="y").sam)


def test_without_batch_first_or_with_it() -> None:
    data = environment(module().make_tensordict_primer()).rollout(6, policy(module()), break_when_any_done=False)
    first = network()
    first.batch_first = True
    with torch.no_grad(), set_recurrent_mode(True):
        features = [
            SAMModule(sam=sam, in_key="observation", out_key="f")(data.clone())["f"] for sam in (network(), first)
        ]
    assert torch.equal(*features)


@pytest.mark.parametrize("kind", [SAMModule, SDNCModule])
def test_ppo_learns(kind: Any) -> None:
    """The number of steps in the episode is wanted, modulo 3; 1 in 3 is right by chance."""
    recurrent = module(kind)
    actor = policy(recurrent)
    critic = TensorDictSequential(recurrent, ValueOperator(nn.Linear(14, 1), in_keys=["features"]))
    loss = ClipPPOLoss(actor, critic, entropy_coeff=0.001)
    advantages = GAE(gamma=0.0, lmbda=0.0, value_network=critic, shifted=True)
    optimiser = torch.optim.Adam(loss.parameters(), lr=2e-2)
    rewards = []
    env = environment(get_primers_from_module(actor))
    for data in Collector(env, actor, frames_per_batch=96, total_frames=96 * 20):
        right = data["action"].argmax(-1) == (data["observation"][..., 0].long() % 3)
        data["next", "reward"] = right.float().unsqueeze(-1)
        rewards.append(float(right.float().mean()))
        for _ in range(3):
            # GAE is called in no mode of its own.
            with torch.no_grad(), set_recurrent_mode(True):
                advantages(data)
            for rows in torch.randperm(3).chunk(2):
                losses = loss(data[rows])
                total = losses["loss_objective"] + losses["loss_critic"] + losses["loss_entropy"]
                optimiser.zero_grad()
                total.backward()
                optimiser.step()
    # By chance it is a third; how much more is learnt differs a little from machine to machine.
    assert sum(rewards[-3:]) / 3 > 0.6
    with torch.no_grad(), pytest.raises(RuntimeError, match="set_recurrent_mode"):
        advantages(data)
    # Values of pieces that are not shifted begin with states after a first step, and are run under vmap.
    plain = GAE(gamma=0.9, lmbda=0.9, value_network=critic)
    with torch.no_grad(), set_recurrent_mode(True), pytest.raises(RuntimeError, match="vmap"):
        plain(data)


@pytest.mark.parametrize("runs_of_gae", [1, 2])
def test_copies_and_passes_of_an_update(runs_of_gae: int) -> None:
    """As the documentation counts them: a snapshot, one of each by a run of GAE, and two by the loss in each epoch."""
    recurrent = module()
    actor = policy(recurrent)
    critic = TensorDictSequential(recurrent, ValueOperator(nn.Linear(14, 1), in_keys=["features"]))
    loss = ClipPPOLoss(actor, critic)
    advantages = GAE(gamma=0.9, lmbda=0.9, value_network=critic, shifted=True, shifted_budget=2)
    counted = {"copied": 0, "steps": 0}
    run = type(recurrent)._run

    class Counted:
        """A state whose copies are counted."""

        def __init__(self, state: Any) -> None:
            self.state = state

        def select(self, rows: Any) -> Any:
            counted["copied"] += len(list(rows))
            return self.state.select(rows)

    def count(self: Any, value: Tensor, state: Any, starts: Tensor) -> Any:
        if recurrent.recurrent_mode:
            counted["steps"] += value.shape[0] * value.shape[1]
        return run(self, value, state, starts)

    states = recurrent._states
    source = type(states)._source
    copied = type(states)._copy

    def copying(stream: Any, new: Any) -> None:
        before = len(states.snapshots), next(reversed(states.snapshots), None)
        copied(states, stream, new)
        if (len(states.snapshots), next(reversed(states.snapshots), None)) != before:
            counted["copied"] += stream.rows

    states._copy = copying
    states._source = lambda origin: (Counted(source(states, origin)[0]), source(states, origin)[1])
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(type(recurrent), "_run", count)
        env = environment(get_primers_from_module(actor))
        lengths = []
        for data in Collector(env, actor, frames_per_batch=3 * 8, total_frames=3 * 8 * 4):
            begun = int((data[HANDLE][:, 0] != 0).sum())
            lengths.append(begun)
            for epoch in range(2):
                if epoch < runs_of_gae:
                    with torch.no_grad(), set_recurrent_mode(True):
                        advantages(data)
                for rows in ([0, 2], [1]):
                    loss(data[rows])
            if begun == 3:
                # Rows that go on; the snapshot's own are those of all.
                assert counted["copied"] == 3 * (1 + runs_of_gae + 2 * 2)
                # GAE takes two steps more than there are.
                assert counted["steps"] == 3 * (runs_of_gae * (8 + 2) + 2 * 2 * 8)
            counted["copied"] = counted["steps"] = 0
    assert 3 in lengths


def test_what_torchrl_does_at_a_start_within_a_piece() -> None:
    """In recurrent mode its modules go on from the state stored at that step, where ours and its own steps start anew;
    next states are zero but for a piece's last step."""
    theirs = LSTMModule(2, 6, in_key="observation", out_key="features")
    starts = torch.zeros(1, 6, 1).bool()
    starts[0, 3] = True
    stored = torch.randn(1, 6, 1, 6)
    data = TensorDict(
        {
            "observation": torch.randn(1, 6, 2),
            "is_init": starts,
            "recurrent_state_h": stored,
            "recurrent_state_c": stored,
        },
        [1, 6],
    )
    with set_recurrent_mode(True), torch.no_grad():
        found = theirs(data.clone())
        held = stored[0, 3].unsqueeze(0)
        expected, _ = theirs.lstm(data["observation"][:, 3:], (held, held))
    torch.testing.assert_close(found["features"][:, 3:], expected)
    after = found["next", "recurrent_state_h"][0, :, 0]
    assert (after[[0, 1, 3, 4]] == 0).all()
    assert (after[[2, 5]] != 0).all()
    with torch.no_grad():
        stepped = theirs(data[:, 3].clone())
        torch.testing.assert_close(stepped["features"], theirs.lstm(data["observation"][:, 3:4])[0][:, 0])


def test_without_torchrl_the_import_says_what_is_missing() -> None:
    for missing in ("torchrl", "tensordict"):
        text = f"import sys; sys.modules['{missing}'] = None; import sparsam.torchrl"
        result = subprocess.run([sys.executable, "-c", text], capture_output=True, text=True, check=False)
        last = result.stderr.strip().splitlines()[-1]
        assert (
            last == f"ModuleNotFoundError: sparsam.torchrl needs {missing}, which is not installed: pip install torchrl"
        )


def test_the_example_of_the_documentation_runs() -> None:
    assert doctest.testmod(sparsam.torchrl) == doctest.TestResults(failed=0, attempted=9)


def test_the_cost_of_a_handle_prints_a_table() -> None:
    script = Path(__file__).parent.parent.parent / "benchmarks" / "agent_states.py"
    command = [sys.executable, str(script), "--rows", "2", "--steps", "3", "6", "--repeats", "2"]
    result = subprocess.run(command, capture_output=True, text=True, check=False)
    assert result.returncode == 0, result.stderr
    rows = [line.split("|")[1:-1] for line in result.stdout.splitlines() if line.startswith("|")][2:]
    assert [row[0].strip() for row in rows] == ["3", "6"]
    assert all(float(number) >= 0 for row in rows for number in row[1:])


def test_arguments_that_do_not_fit() -> None:
    keys: dict[str, Any] = {"in_key": "x", "out_key": "y"}
    cases: list[tuple[type[Exception], str, dict[str, Any]]] = [
        (ValueError, "SAMModule needs input_size and hidden_size", {}),
        (ValueError, "sam was given with sizes", {"sam": network(), "input_size": 2}),
        (ValueError, "sam was given with sizes", {"sam": network(), "memory_size": 5}),
        (ValueError, "sam was given with sizes", {"sam": network(), "device": "cpu"}),
        (TypeError, r"sam is a SDNC, where sparsam\.torch\.SAM was expected", {"sam": network(SDNC)}),
        (ValueError, "num_streams is 0", {"sam": network(), "num_streams": 0}),
        (ValueError, "snapshot_interval is 0", {"sam": network(), "snapshot_interval": 0}),
    ]
    for kind, sentence, options in cases:
        with pytest.raises(kind, match=sentence):
            SAMModule(**keys, **options)
