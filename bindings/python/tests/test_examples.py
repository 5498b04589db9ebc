"""The examples run."""

from __future__ import annotations

import os
import random
import re
import subprocess
import sys
from itertools import islice
from pathlib import Path
from typing import Any

import pytest
import service_log
import torch
import train_task
from sparsam.tasks.torch import loss

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


def test_a_log_of_a_service_is_answered_by_the_latest_line_that_matters() -> None:
    """A dictionary, and the lines' text alone, give the same answers, distances and entries replaced."""
    says = [
        (r"\w+ deploy \w+ version (\S+) to (\S+) done in time", (2, 1), "which version does {} run now ?"),
        (r"\w+ config set (\S+) to (\S+) by operator on request", (1, 2), "what is {} set to now ?"),
        (r"\w+ lease of (\S+) given to (\S+) until it fails", (1, 2), "which host holds {} now ?"),
    ]
    answers: dict[str, tuple[str, int]] = {}
    tokens = asked = changed = 0
    for line in islice(service_log.service_log(random.Random(1), 0.1, 0.1, subjects=48, spread=3), 5000):
        text, tokens = " ".join(line.words), tokens + len(line.words)
        replaces = None
        for pattern, (subject, value), question in says:
            if found := re.fullmatch(pattern, text):
                asking = question.format(found[subject])
                replaces = answers.get(asking, ("", 0))[0]
                answers[asking] = found[value], tokens
        assert line.replaces == replaces
        changed += bool(replaces)
        if text.endswith("?"):
            answer, said = answers[text]
            assert (line.answer, line.since) == (answer, tokens - said)
            asked += 1
        else:
            assert (line.answer, line.since) == (None, 0)
    assert asked > 400
    assert changed > 300


def test_a_window_sees_4096_tokens_and_no_more() -> None:
    torch.manual_seed(1)
    window = service_log.Window(6, 8)
    lines, sizes = torch.randn(2, 900, 6), torch.randint(5, 13, (2, 900))
    with torch.no_grad():
        whole, _ = window(lines, sizes)
        one, past = window(lines[:, :700], sizes[:, :700])
        other, _ = window(lines[:, 700:], sizes[:, 700:], past)
        torch.testing.assert_close(torch.cat([one, other], 1), whole)
        ends = sizes.cumsum(1)
        # Only what is less than 4,096 tokens before the last line's end can change what it sees.
        for seen in (False, True):
            changed = torch.where(((ends[:, -1:] - ends < 4096) == seen)[..., None], lines + 1, lines)
            changed[:, -1] = lines[:, -1]
            same = torch.equal(window(changed, sizes)[0][:, -1], whole[:, -1])
            assert same != seen


def test_a_log_of_a_service_is_learnt() -> None:
    """Guessing gets 3 % right."""
    text = run("service_log.py", "--steps", "100", "--rows", "16", "--lines", "1000", "--logs", "1")
    learnt = re.findall(r"SAM loss (\S+), (\S+) % right", text)
    assert len(learnt) == 2
    assert float(learnt[-1][0]) < float(learnt[0][0]) - 0.3
    assert float(learnt[-1][1]) > 8
    for model in ("SAM", "LSTM", "window"):
        assert re.search(
            rf"^{model}, \d+ parameters, trained in \d+ s: \d+ µs a line, carries \d+ KiB a log$", text, re.M
        )
    assert len(re.findall(r"at most \d+ tokens back: (?:\S+ ± \S+ %|no question)$", text, re.M)) == 15


SMALL = ["copy", "--option", "max_length=3", "--hidden-size", "8", "--memory-size", "16", "--batch-size", "2"]


def assert_same(one: Any, other: Any) -> None:
    """That what was saved is the same to the bit."""
    assert type(one) is type(other)
    if isinstance(one, torch.Tensor):
        assert torch.equal(one, other)
    elif isinstance(one, dict):
        assert one.keys() == other.keys()
        for name in one:
            assert_same(one[name], other[name])
    else:
        assert one == other


def test_training_of_a_task_goes_on_to_the_bit(tmp_path: Path) -> None:
    whole, parts = tmp_path / "whole", tmp_path / "parts"
    train_task.main([*SMALL, "--batches", "9", "--folder", str(whole)])
    for batches in ("4", "9"):
        train_task.main([*SMALL, "--batches", batches, "--folder", str(parts)])
    one, other = (torch.load(folder / "training.pt") for folder in (whole, parts))
    assert (one["batch"], one["clip"]["count"]) == (9, 9)
    assert_same(one, other)


def test_the_network_of_a_run_is_never_older_than_what_it_goes_on_from(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    run = tmp_path / "run"
    train_task.main([*SMALL, "--batches", "2", "--folder", str(run)])
    network = run / "checkpoints" / "newest.safetensors"
    # Killed between the two.
    with monkeypatch.context() as patch:
        patch.setattr(train_task, "save_run", lambda *_, batch, **__: None if batch == 2 else 1 / 0)
        with pytest.raises(ZeroDivisionError):
            train_task.main([*SMALL, "--batches", "3", "--folder", str(run)])
    old = network.read_bytes()
    assert torch.load(run / "training.pt")["batch"] == 3
    train_task.main([*SMALL, "--batches", "3", "--folder", str(run)])
    assert network.read_bytes() != old


def test_a_folder_of_another_run_is_refused_before_training(tmp_path: Path) -> None:
    run = tmp_path / "run"
    train_task.main([*SMALL, "--batches", "1", "--folder", str(run)])
    files = {path: path.read_bytes() for path in run.rglob("*") if path.is_file()}
    for words, sentence in (
        (["--seed", "2"], "was trained with seed 1, not 2: give the same, or choose another --folder"),
        (["--learning-rate", "0.1"], "was trained with learning_rate 0.001, not 0.1"),
        (["--batch-size", "4"], "was trained with batch_size 2, not 4"),
        (["--model", "DAM"], "was trained with model SAM, not DAM"),
        (["--hidden-size", "9"], "was trained with sizes"),
        (["--option", "bits=3"], "was trained with options"),
    ):
        with pytest.raises(SystemExit, match=sentence):
            train_task.main([*SMALL, *words, "--folder", str(run)])
    (run / "training.pt").unlink()
    with pytest.raises(ValueError, match="already holds a run"):
        train_task.main([*SMALL, "--seed", "2", "--folder", str(run)])
    (run / "training.pt").write_bytes(files[run / "training.pt"])
    assert {path: path.read_bytes() for path in run.rglob("*") if path.is_file()} == files


def test_gradients_that_are_not_finite_end_training(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(train_task, "loss", lambda output, batch: loss(output, batch) * float("nan"))
    with pytest.raises(SystemExit, match="batch 10 is the 10th in a row without a finite gradient: lower --learning"):
        train_task.main([*SMALL, "--batches", "20"])
    assert "batch 9: nothing was learnt" in capsys.readouterr().out


@pytest.mark.parametrize("option", ["--save-every", "--report-every", "--batches"])
def test_counts_start_at_one(option: str, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit):
        train_task.main(["copy", option, "0"])
    assert f"argument {option}: 0 is not a number from 1 on" in capsys.readouterr().err
