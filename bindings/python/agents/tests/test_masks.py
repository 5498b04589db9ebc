"""The masks of docs/agents.md against the libraries: where each of them begins an episode, and what it does there."""

from __future__ import annotations

import itertools
from typing import Any

import numpy as np
import pytest
import torch
from counting import Counting
from gymnasium.vector import AutoresetMode, SyncVectorEnv
from sparsam.torch import SAM
from torch import Tensor

LENGTHS = [(3, 5, 2), (4, 1, 6)]


def check(observations: list[Any], starts: list[Any]) -> None:
    """The mask is true just where an episode begins, and a memory then gives what one of each episode alone gives."""
    seen, mask = torch.from_numpy(np.stack(observations)).float(), torch.from_numpy(np.stack(starts)).bool()
    assert torch.equal(mask, seen[..., 0] == 0)
    assert mask.sum() > 4
    model = SAM(2, 6, 2, memory_size=20, word_size=4, num_heads=2)
    output, _ = model(seen, starts=mask)
    state: Any = None
    for t in range(len(seen)):
        stepped, state = model(seen[t : t + 1], state, starts=mask[t : t + 1])
        torch.testing.assert_close(stepped[0], output[t])
    row: Tensor = seen[:, 0]
    borders = [*mask[:, 0].nonzero().flatten().tolist(), len(row)]
    alone = [model(row[first:end])[0] for first, end in itertools.pairwise(borders)]
    torch.testing.assert_close(torch.cat(alone), output[:, 0])


def vector(mode: AutoresetMode) -> SyncVectorEnv:
    return SyncVectorEnv([lambda of=of: Counting(of) for of in LENGTHS], autoreset_mode=mode)


def test_gymnasium_resets_in_the_call_after_the_last_one() -> None:
    """The default. The mask of an observation is what the call before returned as ended."""
    envs = vector(AutoresetMode.NEXT_STEP)
    assert SyncVectorEnv([Counting]).metadata["autoreset_mode"] is AutoresetMode.NEXT_STEP
    observation, _ = envs.reset()
    observations, starts, ended = [observation], [np.ones(2, bool)], np.zeros(2, bool)
    for step in range(20):
        before = ended
        observation, reward, terminated, truncated, _ = envs.step(np.full(2, step % 3))
        ended = terminated | truncated
        # That call takes no action and gives no reward: nothing is to be learnt of it.
        assert (reward == np.where(before, 0, 1)).all()
        assert (observation[:, 1] == np.where(before, 0, step % 3)).all()
        observations.append(observation)
        starts.append(before)
    check(observations, starts)


def test_gymnasium_resets_in_the_same_call() -> None:
    """The mask of an observation is what the same call returned as ended."""
    envs = vector(AutoresetMode.SAME_STEP)
    observation, _ = envs.reset()
    observations, starts = [observation], [np.ones(2, bool)]
    for _ in range(20):
        observation, reward, terminated, truncated, info = envs.step(np.ones(2, int))
        assert (reward == 1).all()
        ended = terminated | truncated
        if ended.any():
            assert all(info["final_obs"][row][0] > 0 for row in ended.nonzero()[0])
        observations.append(observation)
        starts.append(ended)
    check(observations, starts)


def test_gymnasium_resets_when_told() -> None:
    """The mask of what ``reset`` returns is the one it was given."""
    envs = vector(AutoresetMode.DISABLED)
    observation, _ = envs.reset()
    observations, starts = [observation], [np.ones(2, bool)]
    for _ in range(20):
        observation, _, terminated, truncated, _ = envs.step(np.ones(2, int))
        ended = terminated | truncated
        if ended.any():
            # Last observations of episodes are given to nobody here.
            observation, _ = envs.reset(options={"reset_mask": ended})
        observations.append(observation.copy())
        starts.append(ended)
    check(observations, starts)


def test_stable_baselines_resets_in_the_same_call() -> None:
    vec_env = pytest.importorskip("stable_baselines3.common.vec_env")
    envs = vec_env.DummyVecEnv([lambda of=of: Counting(of) for of in LENGTHS])
    observations, starts = [envs.reset()], [np.ones(2, bool)]
    for _ in range(20):
        observation, _, dones, infos = envs.step(np.ones(2, int))
        assert all("terminal_observation" in infos[row] for row in dones.nonzero()[0])
        observations.append(observation.copy())
        starts.append(dones)
    check(observations, starts)


def test_stable_baselines_stores_the_same_mask() -> None:
    """``episode_starts`` of the buffer of RecurrentPPO is ``starts`` as it stands."""
    sb3_contrib = pytest.importorskip("sb3_contrib")
    vec_env = pytest.importorskip("stable_baselines3.common.vec_env")
    envs = vec_env.DummyVecEnv([lambda of=of: Counting(of) for of in LENGTHS])
    options: dict[str, Any] = {"policy_kwargs": {"lstm_hidden_size": 4, "net_arch": []}, "device": "cpu"}
    learner = sb3_contrib.RecurrentPPO("MlpLstmPolicy", envs, n_steps=16, n_epochs=1, batch_size=8, seed=0, **options)
    # `learn` flattens the buffer once it is full; what stood in it is looked at before.
    stored: list[Any] = []
    compute = learner.rollout_buffer.compute_returns_and_advantage

    def look(*arguments: Any, **named: Any) -> Any:
        buffer = learner.rollout_buffer
        stored.append((buffer.observations.copy(), buffer.episode_starts.copy()))
        return compute(*arguments, **named)

    learner.rollout_buffer.compute_returns_and_advantage = look
    learner.learn(32)
    check(list(stored[0][0]), list(stored[0][1]))

    # Told nothing, `predict` carries the state over an end.
    observation = np.zeros((2, 2), np.float32)
    _, state = learner.predict(observation + 3, deterministic=True)
    states = {
        name: learner.predict(observation, state, mask, deterministic=True)[1][0]
        for name, mask in (("none", None), ("going on", np.zeros(2, bool)), ("starting", np.ones(2, bool)))
    }
    np.testing.assert_array_equal(states["none"], states["going on"])
    fresh = learner.predict(observation, None, np.ones(2, bool), deterministic=True)[1][0]
    np.testing.assert_array_equal(states["starting"], fresh)
    assert np.abs(states["none"] - fresh).max() > 1e-4


def test_popgym_resets_when_told() -> None:
    """Its version is written for an older Gymnasium, and runs with this one. The mask is true after each ``reset``."""
    envs = pytest.importorskip("popgym.envs")
    environment = envs.repeat_previous.RepeatPreviousEasy()
    observation, _ = environment.reset(seed=1)
    observations, starts, lengths = [observation], [True], [1]
    while len(lengths) < 6:
        observation, _, terminated, truncated, _ = environment.step(0)
        # The last observation of an episode is one of its own: nothing resets by itself.
        observations.append(observation)
        starts.append(False)
        lengths[-1] += 1
        if terminated or truncated:
            observations.append(environment.reset()[0])
            starts.append(True)
            lengths.append(1)
    # All cards of a deck but the first are seen by steps.
    assert set(lengths[:-1]) == {52}
    model = SAM(4, 6, 2, memory_size=20, word_size=4, num_heads=2)
    seen = torch.from_numpy(np.eye(4, dtype=np.float32)[np.array(observations)]).unsqueeze(1)
    output, _ = model(seen, starts=torch.tensor(starts).unsqueeze(1))
    for first in np.flatnonzero(starts)[:-1]:
        torch.testing.assert_close(output[first : first + 52], model(seen[first : first + 52])[0])
