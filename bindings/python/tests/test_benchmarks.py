"""The benchmark runs, and what it compares with is what it says."""

from __future__ import annotations

import importlib.util
import subprocess
import sys
from pathlib import Path

import torch

FOLDER = Path(__file__).parent.parent / "benchmarks"


def test_the_plain_sam_has_the_gradients_of_its_equations() -> None:
    spec = importlib.util.spec_from_file_location("plain", FOLDER / "plain.py")
    assert spec is not None
    assert spec.loader is not None
    plain = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(plain)
    torch.manual_seed(0)
    model = plain.PlainSam(2, 3, 128, 4, 2, 3).double()
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.mul_(2)
    input = torch.randn(5, 2, 2, dtype=torch.float64, requires_grad=True)
    assert torch.autograd.gradcheck(model, input)


def test_it_prints_a_table() -> None:
    options = ["--sizes", "64", "--dnc-sizes", "64", "--steps", "3", "--repeats", "1"]
    command = [sys.executable, str(FOLDER / "step.py"), *options]
    result = subprocess.run(command, capture_output=True, text=True, check=False)
    assert result.returncode == 0, result.stderr
    table = [line.split("|")[1:-1] for line in result.stdout.splitlines() if line.startswith("|")]
    assert len(table) == 2 + 1 + 2 + 3
    assert all(len(row) == 7 for row in table)
    assert [row[0].strip() for row in table[2:5]] == ["torch.nn.LSTM", "sparsam.torch.SAM", "SAM in plain PyTorch"]
    assert all(float(row[2]) > 0 for row in table[2:6])
    # A row that cannot be measured says why.
    for row in table[6:]:
        reason = row[2].strip()
        assert reason.isdigit() or "Error" in reason, reason


def test_the_cost_of_a_device_prints_a_table() -> None:
    options = ["--batches", "2", "3", "--steps", "3", "--repeats", "1", "--device", "cpu"]
    command = [sys.executable, str(FOLDER / "device.py"), *options]
    result = subprocess.run(command, capture_output=True, text=True, check=False)
    assert result.returncode == 0, result.stderr
    rows = [line.split("|")[1:-1] for line in result.stdout.splitlines() if line.startswith("|")][2:]
    assert [row[0].strip() for row in rows] == ["2", "3"]
    assert all(float(number) > 0 for row in rows for number in row[1:])


def test_the_cost_of_an_episodic_memory_prints_a_table() -> None:
    options = ["--sizes", "500", "--steps", "10"]
    command = [sys.executable, str(FOLDER / "key_value.py"), *options]
    result = subprocess.run(command, capture_output=True, text=True, check=False)
    assert result.returncode == 0, result.stderr
    rows = [line.split("|")[1:-1] for line in result.stdout.splitlines() if line.startswith("|")][2:]
    assert rows[0][0].strip() == "sparsam"
    assert all(float(row[3]) > 0.9 and float(row[4]) > 0 for row in rows)
