"""States that outlive their process, their batch and their row; and what a trace shows of them."""

from __future__ import annotations

import copy
import io
import pickle
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import safetensors.numpy
import torch
from sparsam import Network, Trace
from sparsam.torch import DAM, DNC, NTM, SAM, SDNC
from test_module import MODELS, small


@pytest.mark.parametrize("kind", MODELS)
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_what_is_kept_goes_on_to_the_bit(kind: Any, dtype: torch.dtype, tmp_path: Path) -> None:
    model, path = small(kind, dtype=dtype), tmp_path / "state.safetensors"
    before, after = torch.randn(2, 30, 5, 3, dtype=dtype)
    output, state = model(before, lengths=[30, 3, 0, 12, 30])
    output.square().sum().backward()
    state.save(path)
    file = io.BytesIO()
    torch.save(state, file)
    file.seek(0)
    kept = [
        model.load_state(path),
        Network(
            kind.__name__.lower(), 3, 6, 2, memory_size=20, word_size=4, num_heads=2, dtype=str(dtype)[6:]
        ).load_state(path),
        copy.deepcopy(model).load_state(path),
        copy.deepcopy(state),
        pickle.loads(pickle.dumps(state)),
        torch.load(file),
        state.select(range(5)),
        state,
    ]
    expected, _ = copy.deepcopy(model)(after, copy.deepcopy(state))
    for one in kept:
        assert one.rows == 5
        assert one.is_current
        output, end = model(after, one)
        torch.testing.assert_close(output, expected, rtol=0, atol=0)
        output.square().sum().backward()
        assert not one.is_current
        assert end.is_current
    assert list(tmp_path.iterdir()) == [path]


@pytest.mark.parametrize("kind", MODELS)
def test_rows_are_copied(kind: Any) -> None:
    model, input = small(kind), torch.randn(20, 3, 3)
    _, state = model(input)
    expected, _ = model(input, copy.deepcopy(state))
    chosen, _ = model(input[:, [2, 0, 0, 1]], state.select([2, 0, 0, 1]))
    torch.testing.assert_close(chosen, expected[:, [2, 0, 0, 1]])
    copied = state.copy_row(0, 2)
    assert not state.is_current
    output, _ = model(input[:, [0, 1, 0]], copied)
    torch.testing.assert_close(output, expected[:, [0, 1, 0]])


def test_saving_comes_before_or_after_going_back() -> None:
    model, input = small(), torch.randn(9, 2, 3)
    output, _ = model(input)
    output.sum().backward()
    wanted = [parameter.grad.clone() for parameter in model.parameters()]
    model.zero_grad()
    output, state = model(input)
    first = pickle.dumps(state)
    for _ in range(2):
        model.zero_grad()
        output.sum().backward(retain_graph=True)
        assert pickle.dumps(state) == first
        torch.testing.assert_close([parameter.grad for parameter in model.parameters()], wanted)


def test_a_file_has_what_was_written_and_no_more(tmp_path: Path) -> None:
    model, path = SAM(3, 8, memory_size=100_000_000, num_heads=2), tmp_path / "state.safetensors"
    _, state = model(torch.randn(5, 1, 3))
    state.save(path)
    assert path.stat().st_size < 10_000
    arrays = safetensors.numpy.load_file(path)
    words = arrays["0.words"]
    assert arrays["0.contents"].shape == (len(words), 32)
    assert len(words) <= 5 * 2 * 5
    assert arrays["0.controller.hidden"].shape == (8,)


def test_states_that_cannot_be_used(tmp_path: Path) -> None:
    model, path = small(), tmp_path / "state.safetensors"
    input = torch.randn(4, 2, 3)
    with pytest.raises(OSError, match=r"state\.safetensors"):
        model.load_state(path)
    path.write_bytes(b"nothing")
    with pytest.raises(ValueError, match=r"the saved state .*state\.safetensors: it has 7 bytes"):
        model.load_state(path)
    _, state = model(input)
    state.save(path)
    with pytest.raises(ValueError, match=r"state\.safetensors: it is of a network .* where one of .* was expected"):
        small(memory_size=21).load_state(path)
    assert torch.isfinite(
        small(dtype=torch.float64)(input.double(), small(dtype=torch.float64).load_state(path))[0]
    ).all()
    calls: list[Any] = [lambda: state.copy_row(2, 0), lambda: state.copy_row(0, 2), lambda: state.select([0, 2])]
    for call in calls:
        with pytest.raises(ValueError, match="names row 2 of a state of 2 rows"):
            call()
    with pytest.raises(ValueError, match="a state without rows is not kept in a file"):
        state.select([]).save(path)
    with pytest.raises(TypeError, match=r"copy\.deepcopy\(state\)"):
        copy.copy(state)
    _, later = model(input, state)
    for use in (
        lambda: state.save(path),
        lambda: state.select([0]),
        lambda: state.copy_row(0, 1),
        lambda: pickle.dumps(state),
        lambda: copy.deepcopy(state),
    ):
        with pytest.raises(RuntimeError, match="state has moved on"):
            use()
    model(torch.full((1, 2, 3), torch.nan), later)[1].reset([0])
    _, lost = model(torch.full((1, 2, 3), torch.nan))
    for keep in (lambda: lost.save(path), lambda: lost.copy_row(0, 1), lambda: pickle.dumps(lost)):
        with pytest.raises(ValueError, match="only finite ones are kept"):
            keep()
        assert lost.is_current


# Traces.


@pytest.mark.parametrize("kind", MODELS)
def test_a_trace_is_a_call_that_is_looked_at(kind: Any) -> None:
    model, input, lengths = small(kind), torch.randn(12, 3, 3), [12, 5, 0]
    expected, state = model(input, lengths=lengths)
    trace = model.trace(input, lengths=lengths)
    assert isinstance(trace, Trace)
    torch.testing.assert_close(torch.from_numpy(trace.output), expected.detach())
    torch.testing.assert_close(model(input, trace.state)[0], model(input, state)[0])
    for name, array in trace.items():
        assert array.shape[:2] == (12, 3), name
        nothing = -1 if array.dtype == np.int64 else 0
        assert (array[5:, 1] == nothing).all(), name
        assert (array[:, 2] == nothing).all(), name
    assert "read_weights: float32 (12, 3, 2," in repr(trace)

    model.batch_first = True
    first = model.trace(input.transpose(0, 1), lengths=lengths)
    alone = model.trace(input[:, 0])
    for name, array in trace.items():
        np.testing.assert_array_equal(first[name].swapaxes(0, 1), array)
        if array.dtype == np.int64:
            np.testing.assert_array_equal(alone[name], array[:, 0])
        else:
            np.testing.assert_allclose(alone[name], array[:, 0], atol=1e-5)


def test_a_trace_goes_on_from_a_state() -> None:
    for name in ("sam", "lstm"):
        memory: dict[str, Any] = {"memory_size": 30} if name == "sam" else {}
        network, input = (
            Network(name, 3, 6, 2, **memory),
            np.random.default_rng(0).standard_normal((10, 2, 3), np.float32),
        )
        whole = network.trace(input)
        first = network.trace(input[:4])
        second = network.trace(input[4:], first.state)
        assert not first.state.is_current
        assert bool(whole) == (name == "sam")
        for key, array in whole.items():
            np.testing.assert_allclose(np.concatenate([first[key], second[key]]), array, atol=1e-5)
        np.testing.assert_allclose(second.output, whole.output[4:], atol=1e-5)
    assert dict(network.trace(input[:0])) == {}


@pytest.mark.parametrize("kind", [SAM, SDNC])
def test_a_sparse_trace_shows_words_with_weights(kind: Any) -> None:
    trace = small(kind, num_reads=3).trace(torch.randn(15, 2, 3))
    words, weights = trace["read_words"], trace["read_weights"]
    assert ((words >= 0) == (weights > 0)).all()
    assert (weights.sum(-1) < 1 + 1e-5).all()
    for of_head in words.reshape(-1, words.shape[-1]):
        present = of_head[of_head >= 0]
        assert len(set(present.tolist())) == len(present)
    # What is written is what was read at the step before, and the word erased.
    for t in range(1, 15):
        for row in range(2):
            written = set(trace["write_words"][t, row].ravel().tolist()) - {-1}
            read = set(words[t - 1, row].ravel().tolist()) - {-1}
            assert written == read | set(trace["erased_words"][t, row].tolist())
    gates = trace["write_gates"]
    assert ((gates > 0) & (gates < 1)).all()
    np.testing.assert_allclose(trace["write_weights"].sum(-1), gates * _share(trace), atol=1e-5)


def _share(trace: Trace) -> Any:
    """What of a write's weights sums to one: the part that is not interpolated with reads that sum to less."""
    before = np.zeros_like(trace["read_weights"].sum(-1))
    before[1:] = trace["read_weights"].sum(-1)[:-1]
    gamma = trace["interpolation_gates"]
    if gamma.shape != before.shape:
        before = before.mean(-1, keepdims=True)
    return gamma * before + (1 - gamma)


@pytest.mark.parametrize("kind", [DAM, NTM, DNC])
def test_a_dense_trace_shows_all_weights(kind: Any) -> None:
    trace = small(kind).trace(torch.randn(15, 2, 3))
    assert trace["read_weights"].shape == (15, 2, 2, 20)
    assert trace["write_weights"].shape == (15, 2, 1 if kind is DNC else 2, 20)
    for name in ("read_weights", "write_weights"):
        assert (trace[name] >= 0).all()
        assert (trace[name].sum(-1) < 1 + 1e-5).all()
    if kind is not DNC:
        np.testing.assert_allclose(trace["read_weights"].sum(-1), 1, atol=1e-5)


def test_traces_that_do_not_work() -> None:
    model = small()
    with pytest.raises(TypeError, match="input is a list, where a Tensor"):
        model.trace([1.0])
    with pytest.raises(ValueError, match=r"input has shape \(4, 2, 5\)"):
        model.trace(torch.zeros(4, 2, 5))
    with pytest.raises(TypeError, match=r"input has dtype torch\.float64"):
        model.trace(torch.zeros(4, 2, 3).double())
