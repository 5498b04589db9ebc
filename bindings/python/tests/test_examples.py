"""The examples run."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path

EXAMPLES = Path(__file__).parent.parent / "examples"


def run(*command: str) -> str:
    # PyTorch's threads wait by spinning, which on a busy machine takes longer than the work.
    environment = {**os.environ, "OMP_NUM_THREADS": "1"}
    result = subprocess.run(
        [sys.executable, *command], capture_output=True, text=True, cwd=EXAMPLES, env=environment, check=False
    )
    assert result.returncode == 0, result.stderr
    return result.stdout


def test_replace_lstm() -> None:
    assert "SAM: output (100, 4, 192)" in run("replace_lstm.py")


def test_train_copy() -> None:
    losses = [float(loss) for loss in re.findall(r"loss (\S+),", run("train_copy.py", "--batches", "300"))]
    assert len(losses) == 3
    assert losses[-1] < 0.69


def test_pairs_are_recalled_with_defaults() -> None:
    """With all weights drawn alike this stays at guessing one of the values shown, 12 to 20 %."""
    shown = re.findall(r"step 350: (\S+) %", run("recall_pairs.py", "--steps", "350"))
    assert len(shown) == 1
    assert float(shown[0]) > 95


def test_the_latest_state_of_sensors_is_told() -> None:
    """Guessing gets 1.6 % right, and torch.nn.LSTM less than 5."""
    text = run("sensor_log.py", "--steps", "300")
    shown = re.findall(r"step 300: (\S+) %", text)
    assert len(shown) == 1
    assert float(shown[0]) > 50
    assert "180 reports: " in text


def test_neighbours_are_better_with_keys_in_step() -> None:
    right = [float(share) for share in re.findall(r"sparsam, keys .*: (\S+) % right", run("episodic_memory.py"))]
    assert len(right) == 2
    assert right[1] > right[0] + 3


def test_a_stream_survives_restarts(tmp_path: Path) -> None:
    def stream(name: str, steps: int) -> list[str]:
        options = ["--folder", str(tmp_path / name), "--steps", str(steps), "--save-every", "200"]
        return run("stream.py", *options).splitlines()

    stopped = [stream("stopped", steps) for steps in (250, 150, 100)]
    assert [lines[0] for lines in stopped] == [f"going on from observation {n}" for n in (0, 250, 400)]
    assert len(list((tmp_path / "stopped").iterdir())) == 2
    straight = stream("straight", 500)
    assert straight[-1].startswith("observation 500:")
    assert straight[-1] == stopped[-1][-1]
    # It remembers: without its memory it would go on differently.
    for state in (tmp_path / "stopped").glob("state-*"):
        state.unlink()
    assert stream("stopped", 100)[-1].split("output")[1] != straight[-1].split("output")[1]
