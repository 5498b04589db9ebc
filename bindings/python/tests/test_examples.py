"""The examples run, and two processes learn as one does."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

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


def test_stream() -> None:
    assert "hour 2" in run("stream.py")


def test_two_processes_learn_as_one_does() -> None:
    distributed = pytest.importorskip("torch.distributed")
    if not (distributed.is_available() and distributed.is_gloo_available()):
        pytest.skip("this PyTorch has no gloo")
    options = ["ddp.py", "--batches", "40"]
    alone = run(*options)
    launcher = ["-m", "torch.distributed.run", "--standalone", "--nproc-per-node", "2"]
    together = run(*launcher, *options)
    curves = [[float(loss) for loss in re.findall(r"loss (\S+)", text)] for text in (alone, together)]
    assert len(curves[0]) == 4
    assert curves[1] == pytest.approx(curves[0], abs=2e-4)
