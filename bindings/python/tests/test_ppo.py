"""The example of proximal policy optimisation: its environment, what recurrence asks of it, and that it learns."""

from __future__ import annotations

import importlib.util
import json
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

EXAMPLE = Path(__file__).parent.parent / "examples" / "ppo.py"


@pytest.fixture(scope="module")
def ppo() -> Any:
    spec = importlib.util.spec_from_file_location("ppo", EXAMPLE)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    # What is pickled into a checkpoint is found again by this name.
    sys.modules["ppo"] = module
    spec.loader.exec_module(module)
    return module


def options(ppo: Any, **given: Any) -> Any:
    small = {"num_envs": 8, "rollout_steps": 16, "hidden": 16, "memory_size": 32, "word_size": 8, "steps": 512, **given}
    return ppo.parser().parse_args([f"--{name.replace('_', '-')}={value}" for name, value in small.items()])


def test_masks_and_sharpened_links_reach_the_memory(ppo: Any) -> None:
    def interface(memory: str, *flags: str) -> int:
        given = ppo.parser().parse_args(["--num-heads", "2", "--word-size", "8", *flags])
        return int(ppo.Agent(memory, 4, 3, given).memory.interface.bias.numel())

    for memory in ("sam", "sdnc"):
        # A mask of 8 numbers for each of two heads.
        assert interface(memory, "--masked-content") == interface(memory) + 2 * 8
    # Two numbers a head; SAM has no links.
    assert interface("sdnc", "--sharpened-links") == interface("sdnc") + 2 * 2
    assert interface("sam", "--sharpened-links") == interface("sam")


def test_the_maze_gives_what_its_documentation_says(ppo: Any) -> None:
    maze = ppo.TMaze(200, seed=1, longest=20, limit=30)
    seen = maze.reset()
    assert set(maze.length) == set(range(1, 21))
    assert (seen.argmax(1) == maze.cue).all()
    assert 60 < maze.cue.sum() < 140
    cue, length = maze.cue.copy(), maze.length.copy()
    forward, done = np.full(200, maze.FORWARD), np.zeros(200, bool)
    for step in range(1, 22):
        # Every other one turns the right way at the junction.
        at_end = maze.place == maze.length
        actions = np.where(at_end, np.where(np.arange(200) % 2 == 0, maze.cue, 1 - maze.cue), forward)
        expected = np.where(at_end, np.where(np.arange(200) % 2 == 0, 1, -1), 0)
        seen, rewards, ended = maze.step(actions)
        assert (rewards == expected).all()
        assert (ended == at_end).all()
        going_on = ~(done | ended)
        middle = np.where(step == length, maze.JUNCTION, maze.CORRIDOR)
        assert (seen.argmax(1)[going_on] == middle[going_on]).all()
        done |= ended
    assert done.all()
    assert (seen[ended].argmax(1) < 2).all()
    assert not (maze.length == length).all()
    assert not (maze.cue == cue).all()
    maze = ppo.TMaze(3, seed=1, longest=1, limit=30)
    maze.reset()
    assert (maze.step(np.zeros(3, int))[1] == -0.05).all()
    maze.step(forward[:3])
    for step in range(3, 31):
        _, rewards, ended = maze.step(forward[:3])
        assert (rewards == -0.05).all()
        assert (ended == (step == 30)).all()


@pytest.mark.parametrize("memory", ["sam", "sdnc", "lstm", "gru"])
def test_an_epoch_begins_with_what_the_rollout_did(ppo: Any, memory: str) -> None:
    """From the copy of the state and with the mask, whole rows give the probabilities that single steps gave."""
    trainer = ppo.Trainer(options(ppo, memory=memory))
    trainer.environments = ppo.TMaze(8, 1, longest=6, limit=10)
    # Where all of a corridor looks alike, links of equal weight are chosen by what rounding leaves of them.
    close: dict[str, Any] = {"rtol": 0, "atol": 0.02 if memory == "sdnc" else 1e-5}
    for _ in range(4):
        start, steps = trainer.rollout()
        rows = torch.tensor([5, 0, 2])
        with torch.no_grad():
            state = None if start is None else ppo.select(start, rows)
            logits, values, _ = trainer.agent(steps["observations"][:, rows], state, steps["starts"][:, rows])
        found = logits.log_softmax(-1).gather(2, steps["actions"][:, rows])
        torch.testing.assert_close(found, steps["log_probability"][:, rows], **close)
        torch.testing.assert_close(values, steps["value"][:, rows], **close)
    assert steps["starts"].any()
    # Generalised advantages by their definition.
    errors = steps["reward"] - steps["value"]
    errors[:-1] += 0.99 * steps["value"][1:] * ~steps["ended"][:-1]
    last = steps["ended"][:, 0].nonzero().flatten().tolist()
    if last:
        sums = [float(0.99 * 0.95) ** k * float(errors[k, 0]) for k in range(last[0] + 1)]
        assert float(steps["advantage"][0, 0]) == pytest.approx(sum(sums), abs=1e-5)


@pytest.mark.parametrize("memory", ["sam", "gru"])
def test_a_checkpoint_goes_on_to_the_same_bits(ppo: Any, memory: str, tmp_path: Path) -> None:
    straight = ppo.Trainer(options(ppo, memory=memory))
    straight.train(lambda: None, lambda line: None)
    stopped = ppo.Trainer(options(ppo, memory=memory))
    for _ in range(2):
        stopped.update(*stopped.rollout())
    stopped.save(tmp_path / "run.pt")
    again = ppo.Trainer(options(ppo, memory=memory))
    torch.manual_seed(5)
    again.load(tmp_path / "run.pt")
    assert again.steps == 256
    again.train(lambda: None, lambda line: None)
    assert again.steps == straight.steps == 512
    for one, other in zip(straight.agent.parameters(), again.agent.parameters(), strict=True):
        assert torch.equal(one, other)
    assert again.episodes == straight.episodes
    with pytest.raises(SystemExit, match="other options: seed"):
        ppo.Trainer(options(ppo, memory=memory, seed=2)).load(tmp_path / "run.pt")


@pytest.fixture
def one_thread() -> Iterator[None]:
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(threads)


@pytest.mark.usefixtures("one_thread")
def test_a_short_maze_is_learnt_and_a_long_one_walked(ppo: Any) -> None:
    trainer = ppo.Trainer(options(ppo, num_envs=32, steps=12_000, learning_rate=3e-3))
    trainer.environments = ppo.TMaze(32, 1, longest=6, limit=10)
    trainer.observations = torch.from_numpy(trainer.environments.reset())
    trainer.train(lambda: None, lambda line: None)
    # Without the cue it is 0 at most; numbers differ a little from machine to machine.
    assert trainer.mean_return(0.1) > 0.5
    walked = ppo.walk(trainer.agent, 6, 50, seed=3)
    assert walked["right"] >= 40
    # Walks in pieces of any length are the same walk.
    walks = [ppo.walk(trainer.agent, 200, 20, seed=3, chunk=chunk) for chunk in (1, 7, 1000)]
    right = [walk["right"] for walk in walks]
    assert max(right) - min(right) <= 2


@pytest.mark.usefixtures("one_thread")
def test_the_result_is_written_before_the_walks(ppo: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """It is there where a walk fails. Where the system does not tell how much memory is resident, walks do without."""
    output = tmp_path / "run.json"
    small = [
        f"--{name}={value}" for name, value in (("num-envs", 4), ("rollout-steps", 8), ("steps", 64), ("hidden", 8))
    ]
    command = ["ppo.py", "--memory=gru", *small, f"--output={output}", "--quiet", "--episodes=2"]
    monkeypatch.setattr(sys, "argv", [*command, "--evaluate", "5"])
    monkeypatch.setattr(ppo, "resident", lambda: None)
    ppo.main()
    result = json.loads(output.read_text())
    assert [walk["cue"] for walk in result["walks"]] == [5]
    assert result["walks"][0]["resident_to"] is None
    output.unlink()

    def fail(*arguments: Any) -> Any:
        raise KeyboardInterrupt

    monkeypatch.setattr(ppo, "walk", fail)
    with pytest.raises(KeyboardInterrupt):
        ppo.main()
    assert json.loads(output.read_text())["mean_return"] == result["mean_return"]


def test_an_agent_that_errs_is_seen(ppo: Any) -> None:
    """One that never goes on is never right, and one that stays behind once is waited for."""
    trainer = ppo.Trainer(options(ppo, memory="lstm"))
    with torch.no_grad():
        trainer.agent.policy.weight.zero_()
        trainer.agent.policy.bias.copy_(torch.tensor([1.0, 0.0, 0.0]))
    walked = ppo.walk(trainer.agent, 20, 4, seed=1)
    assert (walked["right"], walked["undecided"]) == (0, 4)
    assert walked["wrong_actions"] >= 4 * 100

    class Late(torch.nn.Module):
        """Goes on but in its tenth step, in which the first row stays, and turns left at the junction."""

        def forward(self, observations: Any, state: Any, starts: Any) -> Any:
            before = 0 if state is None else state
            logits = torch.zeros(*observations.shape[:2], 3)
            logits[..., 2] = 1
            logits[..., 0] = 2 * observations[..., 3]
            if before <= 9 < before + len(observations):
                logits[9 - before, 0, 1] = 2
            return logits, None, before + len(observations)

    walked = ppo.walk(Late(), 30, 6, seed=1, chunk=4)
    assert walked["wrong_actions"] == 1
    assert walked["undecided"] == 0
    assert walked["right"] == int((ppo_cues(ppo, 6) == 0).sum())


def ppo_cues(ppo: Any, episodes: int) -> Any:
    maze = ppo.TMaze(episodes, 1)
    maze.reset()
    return maze.cue
