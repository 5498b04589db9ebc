"""Tasks of POPGym as the example and the benchmark run them."""

from __future__ import annotations

import argparse
import importlib
import importlib.util
import json
import runpy
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

pytest.importorskip("popgym")

PACKAGE = Path(__file__).parent.parent.parent


@pytest.fixture(scope="module")
def ppo() -> Any:
    spec = importlib.util.spec_from_file_location("ppo", PACKAGE / "examples" / "ppo.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    # What is pickled into a checkpoint is found again by this name.
    sys.modules["ppo"] = module
    spec.loader.exec_module(module)
    return module


@pytest.mark.parametrize("difficulty", ["easy", "medium", "hard"])
def test_observations_are_ones_at_what_is_seen(ppo: Any, difficulty: str) -> None:
    widths = {"repeat-previous": 1, "autoencode": 2, "concentration": 52, "count-recall": 2}
    for task, width in widths.items():
        envs = ppo.environments(task, difficulty, 3, 1)
        random, ends = np.random.default_rng(0), np.zeros(3, int)
        if task == "concentration" and difficulty == "medium":
            width *= 2
        seen = envs.reset()
        assert (seen.sum(1) == width).all()
        for _ in range(2 * 52 * 4 + 5):
            actions = random.integers(envs.num_actions, size=3)
            seen, rewards, ended = envs.step(actions)
            assert seen.shape == (3, envs.num_observations)
            # The action before is seen where the task asks for it, but not at a start.
            with_action = envs.with_action & ~ended
            assert (seen.sum(1) == width + with_action).all()
            assert np.isfinite(rewards).all()
            ends += ended
        assert (ends > 0).all()


def test_what_is_repeated_is_right(ppo: Any) -> None:
    """The card of three steps ago, which is the fourth of those seen, gives the whole reward of an episode."""
    envs = ppo.environments("repeat-previous", "easy", 4, 1)
    cards, total, ended = [envs.reset().argmax(1)], np.zeros(4), np.zeros(4, bool)
    while not ended.any():
        seen, rewards, ended = envs.step(cards[-4] if len(cards) >= 4 else np.zeros(4, int))
        cards.append(seen.argmax(1))
        total += rewards
    assert ended.all()
    np.testing.assert_allclose(total, 1)


@pytest.mark.parametrize("difficulty", ["easy", "medium", "hard"])
def test_who_remembers_all_plays_as_well_as_can_be(difficulty: str) -> None:
    command = [sys.executable, str(PACKAGE / "benchmarks" / "popgym_players.py"), "--episodes", "20"]
    printed = subprocess.run([*command, "--difficulty", difficulty], capture_output=True, text=True, check=True).stdout
    rows = [[cell.strip() for cell in line.strip("|").split("|")] for line in printed.splitlines()[2:]]
    returns = {(task, remembers): float(mean) for task, remembers, mean in rows}
    for task in ("RepeatPrevious", "Autoencode", "CountRecall"):
        assert returns[task, "all"] == 1
        assert returns[task, "nothing"] < -0.4
    assert returns["CountRecall", "nothing"] < returns["CountRecall", "the step alone"] < -0.2
    # Where cards are told apart by their colour alone, a pair is found without any memory.
    guessed = returns["Concentration", "nothing"]
    assert guessed < -0.7 if difficulty == "hard" else 0.3 < guessed < 0.6
    assert difficulty == "hard" or returns["Concentration", "nothing, any card"] < 0 < guessed
    assert 0.6 < returns["Concentration", "all"] < 0.9


def test_torchrl_takes_tuples_once_they_are_flattened() -> None:
    """What the guide says of Autoencode, whose observation is a mode and a suit."""
    envs, gymnasium = pytest.importorskip("torchrl.envs"), pytest.importorskip("gymnasium")
    importlib.import_module("popgym")
    with pytest.raises(NotImplementedError, match="placeholder"):
        envs.GymEnv("popgym-AutoencodeEasy-v0").reset()
    made = gymnasium.wrappers.FlattenObservation(gymnasium.make("popgym-AutoencodeEasy-v0"))
    seen = envs.GymWrapper(made).rollout(5)["observation"]
    assert seen.shape == (5, 2 + 4)
    assert (seen[:, :2].sum(1) == 1).all()
    assert (seen[:, 2:].sum(1) == 1).all()


def test_seeds_are_those_of_the_run(ppo: Any) -> None:
    def sequence(seed: int) -> Any:
        envs = ppo.environments("autoencode", "easy", 2, seed)
        return np.stack([envs.reset(), *(envs.step(np.zeros(2, int))[0] for _ in range(150))])

    assert (sequence(1) == sequence(1)).all()
    assert (sequence(1) != sequence(2)).any()


@pytest.mark.parametrize("task", ["repeat-previous", "autoencode", "concentration", "count-recall"])
def test_a_run_that_was_stopped_goes_on_to_the_same_numbers(ppo: Any, task: str, tmp_path: Path) -> None:
    """Its environments stand in the middle of episodes then, and draw the same cards afterwards."""
    small = ["--num-envs=3", "--rollout-steps=40", "--hidden=8", "--memory-size=32", "--epochs=1", "--steps=480"]
    options = ppo.parser().parse_args([f"--task={task}", "--minibatches=1", *small])
    straight, stopped, again = (ppo.Trainer(options) for _ in range(3))
    torch.manual_seed(1)
    straight.train(lambda: None, lambda line: None)
    torch.manual_seed(1)
    for _ in range(2):
        stopped.update(*stopped.rollout())
    stopped.save(tmp_path / "run.pt")
    torch.manual_seed(5)
    again.load(tmp_path / "run.pt")
    assert again.steps == 240
    again.train(lambda: None, lambda line: None)
    assert again.steps == straight.steps == 480
    assert again.episodes == straight.episodes
    assert torch.equal(again.observations, straight.observations)
    for one, other in zip(straight.agent.parameters(), again.agent.parameters(), strict=True):
        assert torch.equal(one, other)


def test_the_benchmark_goes_on_and_prints_a_table(tmp_path: Path) -> None:
    command = [sys.executable, str(PACKAGE / "benchmarks" / "agents.py"), "--folder", str(tmp_path), "--jobs", "2"]
    command += ["--tasks", "count-recall", "--memories", "sam", "sdnc", "gru", "--seeds", "1", "--steps", "2000"]
    small = ["--", "--num-envs", "8", "--rollout-steps", "64", "--hidden", "16", "--memory-size", "64", "--epochs", "1"]

    def run(*changed: str, status: int = 0) -> str:
        result = subprocess.run([*command, *small, *changed], capture_output=True, text=True, check=False)
        assert result.returncode == status, result.stdout + result.stderr
        return result.stdout

    def rows(printed: str) -> list[str]:
        return [line for line in printed.splitlines() if line.startswith("| count-recall")]

    first = run()
    assert first.count(" s\n") == 3
    table = json.loads((tmp_path / "table.json").read_text())["tasks"]["count-recall"]
    sam = json.loads((tmp_path / "count-recall-sam-1.json").read_text())
    (row,) = rows(first)
    for memory, differs in table["differences"].items():
        assert f"{differs['difference']:+.3f} (gru) | {differs['spread']:.3f}" in row
        assert differs["difference"] == table["means"][memory] - table["means"]["gru"]
    assert set(table["differences"]) == {"sam", "sdnc"}
    assert f"; {sam['parameters']:,} parameters, {sam['seconds']:.0f} s" in row
    assert table["seeds"] == {"sam": 1, "sdnc": 1, "gru": 1}
    assert table["means"]["sam"] == sam["mean_return"]
    (tmp_path / "count-recall-gru-1.json").unlink()
    # As it was written when there was no such option.
    before = {name: value for name, value in sam.items() if name != "masked_content"}
    (tmp_path / "count-recall-sam-1.json").write_text(json.dumps(before))
    second = run()
    assert second.count(": there") == 2
    assert rows(second)[0].split(";")[0] == row.split(";")[0]
    assert not list(tmp_path.glob("*.pt"))
    # Results of runs with other options are neither taken for these nor overwritten.
    other = run("--gae-lambda", "0.9", status=1)
    assert other.count("is of a run with other gae_lambda; name another folder") == 3
    assert not rows(other)
    assert json.loads((tmp_path / "count-recall-sam-1.json").read_text()) == before


def test_equal_parameters() -> None:
    benchmark = runpy.run_path(str(PACKAGE / "benchmarks" / "agents.py"))
    options = argparse.Namespace(difficulty="easy", steps=10, options=[], equal_parameters=True)
    ppo, counts = benchmark["PPO"], {}
    for memory in ("sam", "lstm", "gru"):
        given = ppo["parser"]().parse_args(benchmark["arguments"](options, "count-recall", memory, 1))
        counts[memory] = sum(parameter.numel() for parameter in ppo["Trainer"](given).agent.parameters())
    for memory in ("lstm", "gru"):
        assert abs(counts[memory] / counts["sam"] - 1) < 0.05
