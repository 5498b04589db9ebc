"""The benchmark runs, and what it compares with is what it says."""

from __future__ import annotations

import importlib.util
import json
import runpy
import shlex
import subprocess
import sys
from pathlib import Path

import torch
from test_command import WORKSPACE, shown
from torch.nn import functional

FOLDER = Path(__file__).parent.parent / "benchmarks"
# Cargo builds the command, if that was not done before.
SPARSAM = ["cargo", "run", "--quiet", "--locked", "--release", "--manifest-path", str(WORKSPACE / "Cargo.toml"), "--"]


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


def test_the_delta_rule_of_chunks_is_that_of_steps() -> None:
    layer = runpy.run_path(str(FOLDER / "mqar.py"))["DeltaRule"](6).double()
    torch.manual_seed(0)
    # More than two chunks, the last one not whole.
    input = torch.randn(2, 150, 6, dtype=torch.float64)
    outputs, (memory, _) = layer(input, None)
    pieces, state = [], None
    for piece in torch.split(input, [1, 2, 70, 77], 1):
        output, state = layer(piece, state)
        pieces.append(output)
    assert torch.allclose(torch.cat(pieces, 1), outputs, atol=1e-12)
    assert state is not None
    assert torch.allclose(state[0], memory, atol=1e-12)
    seen = functional.pad(layer.project(input).transpose(1, 2), (3, 0))
    query, key, value = functional.silu(layer.convolution(seen)).transpose(1, 2).chunk(3, 2)
    query, key = functional.normalize(query, dim=2), functional.normalize(key, dim=2)
    beta, memory, read = layer.beta(input).sigmoid(), torch.zeros(2, 6, 6, dtype=torch.float64), []
    for t in range(150):
        k, v, q = (tensor[:, t].unsqueeze(2) for tensor in (key, value, query))
        memory = memory + beta[:, t].unsqueeze(2) * k @ (v - memory.transpose(1, 2) @ k).transpose(1, 2)
        read.append((memory.transpose(1, 2) @ q).squeeze(2))
    assert torch.allclose(layer.output(layer.norm(torch.stack(read, 1))), outputs, atol=1e-12)


def test_pairs_beside_fixed_states_print_a_table(tmp_path: Path) -> None:
    trained = [
        "mqar",
        "--run",
        tmp_path / "pairs",
        "--batches",
        3,
        "--vocabulary",
        40,
        "--values",
        8,
        "--memory-size",
        200,
    ]
    shown("train", *trained, "--hidden-size", 16, "--word-size", 8)
    command = [sys.executable, str(FOLDER / "mqar.py"), str(tmp_path / "pairs"), "--folder", str(tmp_path / "beside")]
    command += ["--pairs", "4", "8", "--minutes", "0.01", "--sparsam", shlex.join(SPARSAM)]

    def run(*changed: str, answers: str = "16") -> subprocess.CompletedProcess[str]:
        return subprocess.run([*command, "--answers", answers, *changed], capture_output=True, text=True, check=False)

    first = run()
    assert first.returncode == 0, first.stderr
    rows = [line.split("|")[1:-1] for line in first.stdout.splitlines() if line.startswith("|")][2:]
    assert [row[0].strip() for row in rows] == ["4", "8"]
    results = {
        kind: json.loads((tmp_path / "beside" / f"{kind}.json").read_text()) for kind in ("sam", "lstm", "delta")
    }
    for result in results.values():
        assert all(0 <= row["right"] <= 1 for row in result["rows"])
    for kind in ("lstm", "delta"):
        assert abs(results[kind]["parameters"] / results["sam"]["parameters"] - 1) < 0.1
        assert len({row["bytes"] for row in results[kind]["rows"]}) == 1
    assert results["lstm"]["rows"][0]["bytes"] == 4 * 2 * results["lstm"]["size"]
    for row in results["sam"]["rows"]:
        assert row["bytes"] == round(4 * (8 * row["words"] + 2 * 16))
    # What is there is not done again, and of other options neither taken nor overwritten.
    again = run()
    assert again.stdout.split("| pairs")[1] == first.stdout.split("| pairs")[1]
    other = run(answers="8")
    assert other.returncode != 0
    assert "is of other answers; name another folder" in other.stderr
