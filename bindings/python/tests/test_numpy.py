"""Networks on NumPy arrays."""

from __future__ import annotations

import doctest
import importlib
import pickle
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from sparsam import Network, State, _core

MODELS = ["sam", "sdnc", "dam", "ntm", "dnc"]


def small(model: str = "sam", **options: Any) -> Network:
    memory = {} if model == "lstm" else {"memory_size": 20, "word_size": 4, "num_heads": 2}
    return Network(model, 3, 6, 2, **{**memory, **options})


def numbers(*shape: int, dtype: Any = np.float32) -> Any:
    return np.random.default_rng(0).standard_normal(shape).astype(dtype)


@pytest.mark.parametrize("model", [*MODELS, "lstm"])
def test_it_learns(model: str) -> None:
    network, input = small(model), numbers(6, 4, 3)
    losses = []
    for _ in range(60):
        output, _, tape = network.forward(input)
        difference = output - input[:, :, :2]
        network.values -= 0.02 * tape.backward(difference).values
        losses.append(float((difference**2).mean()))
    assert losses[-1] < 0.6 * losses[0]


@pytest.mark.parametrize("model", MODELS)
def test_gradients_are_those_of_pytorch(model: str, tmp_path: Path) -> None:
    torch = pytest.importorskip("torch")
    modules = importlib.import_module("sparsam.torch")
    network, input = small(model, dtype=np.float64), numbers(5, 3, 3, dtype=np.float64)
    network.save(tmp_path / "network")
    module = modules.load_checkpoint(tmp_path / "network", dtype=torch.float64)
    output, _, tape = network.forward(input, lengths=[5, 2, 0])
    gradients = tape.backward(output)
    same = torch.from_numpy(input).requires_grad_()
    theirs, _ = module(same, lengths=[5, 2, 0])
    (theirs.square().sum() / 2).backward()
    np.testing.assert_array_equal(output, theirs.detach())
    np.testing.assert_array_equal(gradients.input, same.grad)
    for name, parameter in module.named_parameters():
        np.testing.assert_array_equal(gradients.parameters[name], parameter.grad)


@pytest.mark.parametrize("model", MODELS)
def test_a_stream_is_the_whole_sequence(model: str) -> None:
    network, input = small(model), numbers(9, 2, 3)
    whole, _ = network.infer(input)
    state: State | None = None
    for step, expected in zip(input, whole, strict=True):
        output, state = network.infer(step[None], state)
        np.testing.assert_allclose(output[0], expected, rtol=1e-5, atol=1e-6)
    assert network.forward(input)[0].shape == (9, 2, network.output_size)


def test_named_parameters_are_views_of_all() -> None:
    network = small()
    network.parameters["output.bias"][:] = [1, 2]
    assert network.values[-2:].tolist() == [1, 2]
    before = network.values
    network.values -= 1
    assert network.values is before
    assert network.parameters["output.bias"].tolist() == [0, 1]
    assert list(network.parameters) == [name for name, _ in network._core.tensors()]


def test_strided_and_transposed_arrays_are_read_as_they_look() -> None:
    network, input = small(), numbers(4, 5, 3)
    expected, _ = network.infer(input)
    wide = np.zeros((8, 5, 6), np.float32)
    wide[::2, :, ::2] = input
    for same in (wide[::2, :, ::2], np.asfortranarray(input), input[::-1].copy()[::-1]):
        np.testing.assert_array_equal(network.infer(same)[0], expected)
    output, _, tape = network.forward(input)
    wanted = tape.backward(output).values
    np.testing.assert_array_equal(tape.backward(np.asfortranarray(output)).values, wanted)


def test_arrays_out_of_order_stop_at_the_border() -> None:
    """Behind the package's own copies, the extension itself must not read Fortran order as C order."""
    network, input = small(), np.asfortranarray(numbers(4, 5, 3))
    parameters = list(network.parameters.values())
    with pytest.raises(ValueError, match="input does not lie in C order"):
        network._core.run(parameters, input, [4] * 5, None, None, True, None)
    parameters[1] = np.asfortranarray(parameters[1])
    with pytest.raises(ValueError, match=r"controller\.weight_hh does not lie in C order"):
        network._core.run(parameters, np.ascontiguousarray(input), [4] * 5, None, None, True, None)
    with pytest.raises(TypeError, match="input is an array of float64, where an array of float32"):
        network._core.run(
            list(network.parameters.values()), numbers(4, 5, 3, dtype=np.float64), [4] * 5, None, None, True, None
        )


def test_copies_and_files(tmp_path: Path) -> None:
    network, input = small(), numbers(4, 2, 3)
    expected, _ = network.infer(input)
    network.save(tmp_path / "network")
    for other in (Network.load(tmp_path / "network"), pickle.loads(pickle.dumps(network))):
        np.testing.assert_array_equal(other.infer(input)[0], expected)
        assert repr(other) == repr(network)
        other.values += 1
    np.testing.assert_array_equal(network.infer(input)[0], expected)


@pytest.mark.parametrize(
    ("call", "error", "sentence"),
    [
        (lambda: Network("gru", 1, 1), ValueError, "model is 'gru', where one of lstm, sam"),
        (lambda: Network("ntm", 1, 1, num_reads=3), TypeError, "ntm has no option 'num_reads'"),
        (lambda: Network("sam", 1, 1, dtype=np.int32), TypeError, "dtype is int32"),
        (lambda: small().infer(numbers(4, 2)), ValueError, r"input has shape \(4, 2\), where \(T, B, 3\)"),
        (lambda: small().infer(numbers(4, 2, 3, dtype=np.float64)), TypeError, "input has dtype float64"),
        (lambda: small().infer(numbers(4, 2, 3), lengths=[4]), ValueError, "lengths has 1 numbers"),
        (
            lambda: small().forward(numbers(4, 2, 3))[2].backward(numbers(4, 2, 3)),
            ValueError,
            r"output_gradient has shape \(4, 2, 3\), where \(4, 2, 2\)",
        ),
    ],
)
def test_mistakes(call: Any, error: type[Exception], sentence: str) -> None:
    with pytest.raises(error, match=sentence):
        call()


@pytest.mark.parametrize("name", ["sparsam", "sparsam._network", "sparsam.torch"])
def test_examples_in_documentation(name: str) -> None:
    if name == "sparsam.torch":
        pytest.importorskip("torch")
    results = doctest.testmod(importlib.import_module(name))
    assert results.attempted > 0
    assert results.failed == 0


def test_stubs_name_what_is_there() -> None:
    stub = (Path(_core.__file__).parent / "_core.pyi").read_text()
    for owner in (_core, *(kind for kind in vars(_core).values() if isinstance(kind, type))):
        for name in vars(owner):
            if not name.startswith("_"):
                assert f" {name}(" in f" {stub}" or f"class {name}" in stub, name


def test_pytorch_is_asked_for_in_one_sentence(tmp_path: Path) -> None:
    (tmp_path / "torch.py").write_text("raise ModuleNotFoundError('no torch', name='torch')")
    code = f"import sys; sys.path.insert(0, {str(tmp_path)!r}); import sparsam; print('whole'); import sparsam.torch"
    result = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert result.stdout == "whole\n"
    last = result.stderr.strip().splitlines()[-1]
    assert last == "ModuleNotFoundError: sparsam.torch needs PyTorch, which is not installed: pip install torch"
