"""What the command writes, the package reads, and back."""

from __future__ import annotations

import shutil
import subprocess
from json import loads
from pathlib import Path
from typing import Any

import pytest
import torch
from sparsam import Network
from sparsam.torch import load_checkpoint

WORKSPACE = Path(__file__).parents[3]


def shown(*arguments: object) -> str:
    """What the command says. Cargo builds it, if that was not done before."""
    if shutil.which("cargo") is None:
        pytest.skip("there is no cargo to build the command with")
    cargo = ["cargo", "run", "--quiet", "--locked", "--release", "--manifest-path", str(WORKSPACE / "Cargo.toml"), "--"]
    result = subprocess.run([*cargo, *map(str, arguments)], capture_output=True, text=True, check=False)
    assert result.returncode == 0, result.stderr
    return result.stdout


def sparsam(*arguments: object, json: bool = True) -> list[dict[str, Any]]:
    """What the command says, an object a line."""
    return [loads(line) for line in shown(*arguments, *(["--json"] if json else [])).splitlines()]


@pytest.mark.parametrize(
    ("model", "switches"),
    [
        ("sam", []),
        ("sdnc", []),
        ("dam", []),
        ("ntm", []),
        ("dnc", []),
        ("sam", ["masked_content"]),
        ("sdnc", ["masked_content", "sharpened_links"]),
        ("dnc", ["masked_content", "sharpened_links", "deallocation"]),
    ],
)
def test_a_run_goes_into_a_module_and_back(model: str, switches: list[str], tmp_path: Path) -> None:
    run = tmp_path / "run"
    sizes = ["--hidden-size", 20, "--memory-size", 40, "--word-size", 6, "--heads", 2]
    flags = ["--" + switch.replace("_", "-") for switch in switches]
    training = ["--batches", 3, "--evaluate-every", 3, "--evaluation-sequences", 8]
    sparsam("train", "copy", "--model", model, "--run", run, *sizes, *training, *flags)
    evaluate = ["eval", run, "--checkpoint", "newest", "--sequences", 8]
    (before,) = sparsam(*evaluate)

    trained = run / "checkpoints" / "newest.safetensors"
    module = load_checkpoint(trained)
    assert type(module).__name__.lower() == model
    assert (module.hidden_size, module.output_size) == (20, 8)
    assert all(module._configuration.option(switch) for switch in switches)
    input = torch.randn(9, 3, module.input_size)
    expected, _ = module(input)
    torch.testing.assert_close(torch.from_numpy(Network.load(trained).infer(input.numpy())[0]), expected)

    # Twice as large: a power of two, so that halves of it are what there was, to the bit.
    for factor, same in ((2.0, False), (0.5, True)):
        with torch.no_grad():
            for parameter in module.parameters():
                parameter.mul_(factor)
        module.save_checkpoint(trained)
        (after,) = sparsam(*evaluate)
        assert (after["loss"] == before["loss"]) == same
    torch.testing.assert_close(load_checkpoint(trained)(input)[0], expected, rtol=0, atol=0)
