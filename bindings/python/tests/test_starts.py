"""Rows that start anew within a sequence: as if it had been cut there."""

from __future__ import annotations

import itertools
from typing import Any

import numpy as np
import pytest
import torch
from sparsam import Network
from sparsam.torch import SAM, SparseMemory
from test_module import MODELS, small
from torch import Tensor
from torch.nn.utils.rnn import pack_padded_sequence, pad_packed_sequence

LENGTHS = [12, 7, 12, 0, 9]


def starts_of(steps: int = 12, rows: int = 5) -> Tensor:
    """First steps, steps one after another, steps past a row's end, and a row without any."""
    starts = torch.rand(steps, rows, generator=torch.Generator().manual_seed(0)) > 0.7
    starts[0, 1] = starts[1, 1] = starts[2, 1] = starts[-1, 1] = True
    starts[:, 2] = False
    return starts


def cut(model: Any, input: Tensor, lengths: list[int], starts: Tensor, state: Any) -> Any:
    """Each row alone, cut where it starts anew."""
    outputs = []
    for row, length in enumerate(lengths):
        borders = [0, *(step for step in range(length) if starts[step, row]), length]
        parts = []
        for number, (first, end) in enumerate(itertools.pairwise(borders)):
            own = state.select([row]) if number == 0 and state is not None else None
            parts.append(model(input[first:end, row : row + 1], own)[0])
        output = torch.cat(parts)
        outputs.append(torch.cat([output, output.new_zeros(len(input) - length, 1, output.shape[2])]))
    return torch.cat(outputs, 1)


@pytest.mark.parametrize("kind", MODELS)
@pytest.mark.parametrize("layout", ["time first", "batch first", "packed"])
def test_a_start_is_a_cut(kind: Any, layout: str) -> None:
    model = small(kind, dtype=torch.float64, batch_first=layout == "batch first")
    plain = small(kind, dtype=torch.float64)
    plain.load_state_dict(model.state_dict())
    lengths = [length or 1 for length in LENGTHS] if layout == "packed" else LENGTHS
    starts = starts_of()
    input = torch.randn(12, 5, 3, dtype=torch.float64, requires_grad=True)
    weights = torch.randn(12, 5, 2, dtype=torch.float64)
    _, state = plain(torch.randn(6, 5, 3, dtype=torch.float64))
    expected = cut(plain, input, lengths, starts, state)
    (expected * weights).sum().backward()
    wanted = [input.grad, *(parameter.grad for parameter in plain.parameters())]
    input.grad = None

    first: Any = state
    if layout == "time first":
        output, end = model(input, first, lengths=lengths, starts=starts)
    elif layout == "batch first":
        output, end = model(input.transpose(0, 1), first, lengths=lengths, starts=starts.T)
        output = output.transpose(0, 1)
    else:
        packed, end = model(
            pack_padded_sequence(input, torch.tensor(lengths), enforce_sorted=False), first, starts=starts
        )
        output, _ = pad_packed_sequence(packed)
    torch.testing.assert_close(output, expected, rtol=0, atol=1e-12)
    (output * weights).sum().backward()
    found = [input.grad, *(parameter.grad for parameter in model.parameters())]
    torch.testing.assert_close(found, wanted, rtol=1e-10, atol=1e-10)

    # The state at the end is that of the last parts.
    after = torch.randn(3, 5, 3, dtype=torch.float64)
    going_on = model(after.transpose(0, 1) if layout == "batch first" else after, end)[0]
    assert going_on.isfinite().all()


@pytest.mark.parametrize("kind", MODELS)
def test_calls_without_a_tape_start_as_those_with_one(kind: Any) -> None:
    model, input, starts = small(kind), torch.randn(12, 5, 3), starts_of()
    output, state = model(input, lengths=LENGTHS, starts=starts)
    (output**2).sum().backward(retain_graph=True)
    gradients = [parameter.grad.clone() for parameter in model.parameters()]
    model.zero_grad()
    (output**2).sum().backward()
    torch.testing.assert_close([parameter.grad for parameter in model.parameters()], gradients)
    after = torch.randn(4, 5, 3)
    expected, _ = model(after, state)
    with torch.no_grad():
        inferred, state = model(input, lengths=LENGTHS, starts=starts)
        torch.testing.assert_close(inferred, output)
        torch.testing.assert_close(model(after, state)[0], expected)
    trace = model.trace(input, lengths=LENGTHS, starts=starts)
    torch.testing.assert_close(torch.from_numpy(trace.output), output.detach())
    torch.testing.assert_close(model(after, trace.state)[0], expected)

    # Step by step, with resets of rows in between.
    state, stream = None, []
    with torch.no_grad():
        for step, mask in zip(input, starts, strict=True):
            state = None if state is None else state.reset(mask)
            part, state = model(step.unsqueeze(0), state)
            stream.append(part)
    whole, _ = model(input, starts=starts)
    torch.testing.assert_close(torch.cat(stream), whole)


def test_unbatched_and_numpy() -> None:
    model, input, starts = small(SAM), torch.randn(9, 3), torch.tensor([0, 0, 0, 1, 0, 0, 1, 1, 0]).bool()
    output, _ = model(input, starts=starts)
    expected = torch.cat([model(part)[0] for part in torch.tensor_split(input, [3, 6, 7])])
    torch.testing.assert_close(output, expected)
    network = Network("sam", 3, 6, 2, memory_size=20, word_size=4, num_heads=2)
    array, mask = input.unsqueeze(1).numpy(), starts.unsqueeze(1).numpy()
    whole, _, tape = network.forward(array, starts=mask)
    parts = [network.forward(part) for part in np.split(array, [3, 6, 7])]
    np.testing.assert_allclose(whole, np.concatenate([part[0] for part in parts]), atol=1e-6)
    gradients = tape.backward(np.ones_like(whole))
    alone = [part[2].backward(np.ones_like(part[0])) for part in parts]
    np.testing.assert_allclose(gradients.values, sum(part.values for part in alone), rtol=1e-4, atol=1e-5)
    np.testing.assert_allclose(gradients.input, np.concatenate([part.input for part in alone]), atol=1e-5)
    np.testing.assert_allclose(network.infer(array, starts=mask)[0], whole, atol=1e-6)
    np.testing.assert_allclose(network.trace(array, starts=mask.tolist()).output, whole, atol=1e-6)
    with pytest.raises(TypeError, match="starts has dtype int64"):
        network.infer(array, starts=mask.astype(np.int64))
    with pytest.raises(ValueError, match=r"starts has shape \(8, 1\), where \(9, 1\) was expected"):
        network.infer(array, starts=mask[1:])


@pytest.mark.parametrize("num_links", [None, 4])
def test_a_memory_beside_a_controller_starts_anew(num_links: int | None) -> None:
    memory = SparseMemory(30, word_size=4, num_heads=2, num_links=num_links)
    starts = starts_of(12, 6)
    interfaces = torch.randn(12, 6, memory.interface_size, dtype=torch.float64, requires_grad=True)
    weights = torch.randn(12, 6, memory.read_size, dtype=torch.float64)

    def run(starts: Tensor | None, chosen: slice, steps: slice) -> Any:
        state, reads = None, []
        for step in range(*steps.indices(12)):
            mask = None if starts is None else starts[step, chosen]
            read, state = memory(interfaces[step, chosen], state, starts=mask)
            reads.append(read)
        return torch.stack(reads)

    output = run(starts, slice(None), slice(None))
    (output * weights).sum().backward()
    found, interfaces.grad = interfaces.grad, None
    for row in range(6):
        borders = sorted({0, *starts[:, row].nonzero().flatten().tolist(), 12})
        for first, end in itertools.pairwise(borders):
            part = run(None, slice(row, row + 1), slice(first, end))
            torch.testing.assert_close(output[first:end, row : row + 1], part, rtol=0, atol=1e-12)
            (part * weights[first:end, row : row + 1]).sum().backward()
    torch.testing.assert_close(found, interfaces.grad, rtol=1e-10, atol=1e-12)
    with torch.no_grad():
        torch.testing.assert_close(run(starts, slice(None), slice(None)), output, rtol=0, atol=1e-12)
    vector = interfaces[0, 0].detach()
    _, state = memory(vector)
    fresh, _ = memory(vector)
    torch.testing.assert_close(memory(vector, state, starts=torch.tensor(True))[0], fresh)


@pytest.mark.parametrize(
    ("starts", "kind", "sentence"),
    [
        (torch.zeros(4, 2), TypeError, r"starts has dtype torch.float32, where torch.bool was expected; starts.bool"),
        ([[False] * 2] * 4, TypeError, "starts is a list"),
        (torch.zeros(2, 4).bool(), ValueError, r"starts has shape \(2, 4\), where \(4, 2\) was expected \(T, B"),
        (torch.zeros(4).bool(), ValueError, r"starts has shape \(4,\), where \(4, 2\) was expected"),
    ],
)
def test_starts_that_do_not_fit(starts: Any, kind: type[Exception], sentence: str) -> None:
    model, input = small(), torch.zeros(4, 2, 3)
    with pytest.raises(kind, match=sentence):
        model(input, starts=starts)
    with pytest.raises(kind, match=sentence):
        model.trace(input, starts=starts)
    with pytest.raises(ValueError, match=r"\(2, 4\) was expected \(B, T"):
        small(batch_first=True)(input.transpose(0, 1), starts=torch.zeros(4, 2).bool())
    memory = SparseMemory(20)
    with pytest.raises(ValueError, match=r"starts has shape \(3,\), where \(2,\) was expected \(B"):
        memory(torch.zeros(2, memory.interface_size), starts=torch.zeros(3).bool())
