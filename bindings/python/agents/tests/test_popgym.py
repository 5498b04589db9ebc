"""Tasks of POPGym as the example and the benchmark run them."""

from __future__ import annotations

import importlib.util
import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest

pytest.importorskip("popgym")

PACKAGE = Path(__file__).parent.parent.parent


@pytest.fixture(scope="module")
def ppo() -> Any:
    spec = importlib.util.spec_from_file_location("ppo", PACKAGE / "examples" / "ppo.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
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


def test_seeds_are_those_of_the_run(ppo: Any) -> None:
    def sequence(seed: int) -> Any:
        envs = ppo.environments("autoencode", "easy", 2, seed)
        return np.stack([envs.reset(), *(envs.step(np.zeros(2, int))[0] for _ in range(150))])

    assert (sequence(1) == sequence(1)).all()
    assert (sequence(1) != sequence(2)).any()


def test_the_benchmark_goes_on_and_prints_a_table(tmp_path: Path) -> None:
    command = [sys.executable, str(PACKAGE / "benchmarks" / "agents.py"), "--folder", str(tmp_path), "--jobs", "2"]
    command += ["--tasks", "count-recall", "--memories", "sam", "gru", "--seeds", "1", "--steps", "2000"]
    small = ["--", "--rows", "8", "--length", "64", "--hidden", "16", "--memory-size", "64", "--epochs", "1"]

    def run() -> str:
        result = subprocess.run([*command, *small], capture_output=True, text=True, check=False)
        assert result.returncode == 0, result.stdout + result.stderr
        return result.stdout

    first = run()
    assert first.count(" s\n") == 2
    rows = [line for line in first.splitlines() if line.startswith("| count-recall")]
    told = json.loads((tmp_path / "table.json").read_text())["tasks"]["count-recall"]
    assert len(rows) == 1
    assert f"{told['difference']:+.3f} (gru)" in rows[0]
    assert told["seeds"] == {"sam": 1, "gru": 1}
    assert told["means"]["sam"] == json.loads((tmp_path / "count-recall-sam-1.json").read_text())["mean_return"]
    (tmp_path / "count-recall-gru-1.json").unlink()
    second = run()
    assert second.count(": there") == 1
    assert [line for line in second.splitlines() if line.startswith("| count-recall")] == rows
    assert not list(tmp_path.glob("*.pt"))
