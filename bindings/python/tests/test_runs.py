"""Runs of the command: what a folder gives is what the command puts out."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import sparsam
import torch
from sparsam import Network
from sparsam.torch import TokenNetwork, load_checkpoint
from test_command import sparsam as command

SIZES = ["--hidden-size", 12, "--memory-size", 32, "--word-size", 6, "--heads", 2, "--batches", 4]


def predicted(run: Path, file: Path, of: str) -> list[Any]:
    """What the command puts out: for each sequence an array (T, O)."""
    return [
        np.array([step[of] for step in line["outputs"]])
        for line in command("predict", run, file, "--logits", json=False)
    ]


def test_numbers_scaled_as_in_training(tmp_path: Path) -> None:
    random = np.random.default_rng(1)
    inputs = (1000 + 300 * random.standard_normal((20, 6, 3))).astype(np.float32)
    file = tmp_path / "a.npz"
    np.savez(file, inputs=inputs, targets=inputs.cumsum(1)[:, :, :2])
    folder = tmp_path / "run"
    command("train", "--data", file, "--scale-inputs", "--run", folder, "--evaluate-every", 2, *SIZES)
    run = sparsam.load_run(folder)
    assert (run.task["targets"], run.configuration["task"]["scale_inputs"], len(run.metrics)) == ("numbers", True, 2)
    assert run.checkpoint.name == "best.safetensors" and "wrong" not in run.metrics[0]
    scaled = np.swapaxes(run.inputs(inputs), 0, 1)
    assert abs(scaled.mean()) < 0.2 and 0.8 < scaled.std() < 1.2
    expected = np.stack(predicted(folder, file, "numbers"), 1)
    np.testing.assert_allclose(run.network.infer(np.ascontiguousarray(scaled))[0], expected, rtol=2e-6, atol=2e-6)
    output = run.module(torch.from_numpy(np.ascontiguousarray(scaled)))[0].detach().numpy()
    np.testing.assert_allclose(output, expected, rtol=2e-6, atol=2e-6)
    assert sparsam.load_run(folder, checkpoint="newest").checkpoint.name == "newest.safetensors"


def test_text(tmp_path: Path) -> None:
    file, folder = tmp_path / "a.txt", tmp_path / "run"
    file.write_text("the cat sat on the mat. " * 30)
    command("train", "--data", file, "--tokens", "chars", "--length", 20, "--run", folder, *SIZES)
    run = sparsam.load_run(folder)
    other = tmp_path / "b.txt"
    other.write_text("the rat sat Z")
    tokens = run.tokens("the rat sat Z")
    assert tokens[-1] == 0 and tokens.min() == 0 and run.task["vocabulary"][tokens[0]] == "t"
    (expected,) = predicted(folder, other, "logits")
    np.testing.assert_allclose(run.network.infer(tokens[:, np.newaxis])[0][:, 0], expected, rtol=2e-6, atol=2e-6)
    assert isinstance(run.module, TokenNetwork)
    output = run.module(torch.from_numpy(tokens))[0].detach().numpy()
    np.testing.assert_allclose(output, expected, rtol=2e-6, atol=2e-6)
    with pytest.raises(ValueError, match=r"TokenNetwork\.load loads it"):
        load_checkpoint(run.checkpoint)


def test_mistakes(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError, match=r"holds no run: config\.toml is missing"):
        sparsam.load_run(tmp_path)
    with pytest.raises(ValueError, match="'best' or 'newest' was expected"):
        sparsam.load_run(tmp_path, checkpoint="last")


def test_networks_of_tokens(tmp_path: Path) -> None:
    network = Network("sam", 4, 6, 5, vocabulary_size=7, memory_size=9, word_size=3, num_heads=2, dtype=np.float64)
    assert network.parameters["embedding.weight"].shape == (7, 4)
    tokens = np.array([[0, 6], [3, 3], [2, 0]])
    output, _, tape = network.forward(tokens)
    weights = np.random.default_rng(0).standard_normal(output.shape)
    gradients = tape.backward(weights)
    assert gradients.input.shape == (3, 2, 1) and not gradients.input.any()
    assert not gradients.parameters["embedding.weight"][[1, 4, 5]].any()
    value = network.parameters["embedding.weight"]
    value[3, 1] += 1e-6
    above = (network.infer(tokens)[0] * weights).sum()
    value[3, 1] -= 2e-6
    below = (network.infer(tokens)[0] * weights).sum()
    assert abs((above - below) / 2e-6 - gradients.parameters["embedding.weight"][3, 1]) < 1e-7
    network.save(tmp_path / "a.safetensors")
    assert "vocabulary_size=7" in repr(Network.load(tmp_path / "a.safetensors"))
    for mistake, error, sentence in (
        (np.zeros((3, 2)), TypeError, "where tokens were expected, which are integers"),
        (tokens[0], ValueError, r"where \(T, B\) was expected"),
        (
            tokens + 1,
            ValueError,
            "the input at time step 0 of sequence 1 is 7, but tokens are whole numbers from 0 to 6",
        ),
    ):
        with pytest.raises(error, match=sentence):
            network.infer(mistake)
