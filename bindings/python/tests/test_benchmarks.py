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
from test_command import WORKSPACE, shown, sparsam
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
    torch.manual_seed(0)
    layer = runpy.run_path(str(FOLDER / "mqar.py"))["DeltaRule"](6).double()
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


def test_wrong_answers_are_told_by_where_pairs_stood(tmp_path: Path) -> None:
    run = tmp_path / "pairs"
    trained = ["--batches", 3, "--vocabulary", 40, "--values", 8, "--memory-size", 200, "--hidden-size", 16]
    shown("train", "mqar", "--run", run, *trained)
    command = [sys.executable, str(FOLDER / "mqar_places.py"), str(run), "--pairs", "16"]
    first, *rows = subprocess.run(command, capture_output=True, text=True, check=True).stdout.splitlines()
    (told,) = sparsam("eval", run, "--checkpoint", "newest", "--level", 16, "--sequences", 1, "--seed", 1)
    wrong = 100 * told["wrong"] / 16
    assert first == f"right: {100 - wrong:.2f} % of 16"
    # Two pairs came in each eighth, so that the mean of the eighths is that of all.
    assert [row.split(":")[0] for row in rows] == [
        "wrong, in %, by when the pair came",
        "wrong, in %, by when it was asked for",
    ]
    assert sum(map(float, rows[0].split(":")[1].split())) / 8 == wrong


def test_pairs_beside_fixed_states_print_a_table(tmp_path: Path) -> None:
    run, folder = tmp_path / "pairs", tmp_path / "beside"
    trained = ["mqar", "--run", run, "--batches", 3, "--vocabulary", 40, "--values", 8, "--memory-size", 200]
    trained += ["--curriculum", "--curriculum-end", 32, "--hidden-size", 16, "--word-size", 8, "--embedding-size", 12]
    shown("train", *trained)
    command = [sys.executable, str(FOLDER / "mqar.py"), str(run), "--folder", str(folder), "--train-pairs", "100"]
    command += ["--pairs", "4", "8", "--sparsam", shlex.join(SPARSAM)]

    def beside(answers: str = "16", minutes: str = "0.01") -> subprocess.CompletedProcess[str]:
        changed = ["--answers", answers, "--minutes", minutes]
        return subprocess.run([*command, *changed], capture_output=True, text=True, check=False)

    first = beside()
    assert first.returncode == 0, first.stderr
    rows = [line.split("|")[1:-1] for line in first.stdout.splitlines() if line.startswith("|")][2:]
    assert [row[0].strip() for row in rows] == ["4", "8"]
    results = {kind: json.loads((folder / f"{kind}.json").read_text()) for kind in ("sam", "lstm", "delta")}
    (told,) = sparsam("eval", run, "--level", 8, "--sequences", 2, "--seed", 1)
    of_eight = results["sam"]["rows"][1]
    assert of_eight["right"] == 1 - told["wrong"] * told["sequences"] / told["targets"]
    # Words of 8 numbers, and h and c of 16 hidden units.
    assert of_eight["bytes"] == round(4 * (8 * told["words_written"] + 2 * 16))
    for kind in ("lstm", "delta"):
        assert abs(results[kind]["parameters"] / results["sam"]["parameters"] - 1) < 0.05
    size = results["lstm"]["size"]
    assert results["lstm"]["rows"][0]["bytes"] == 4 * 2 * size
    size = results["delta"]["size"]
    assert results["delta"]["rows"][1]["bytes"] == 4 * (size * size + 3 * 3 * size)
    # What is there is not done again, and of other options neither taken nor overwritten.
    again = beside()
    assert again.stdout == "\n| pairs" + first.stdout.split("\n| pairs")[1]
    other = beside(answers="8")
    assert other.returncode != 0
    assert "sam.json is of other answers; name another folder" in other.stderr
    # Nor are checkpoints.
    (folder / "lstm.json").unlink()
    assert "lstm.pt is of other minutes; name another folder" in beside(minutes="0.02").stderr
    held = torch.load(folder / "lstm.pt", weights_only=True)["progress"]
    assert beside().returncode == 0
    assert json.loads((folder / "lstm.json").read_text())["batches"] == held[0]
