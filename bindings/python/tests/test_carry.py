"""Gradients that pass from call to call with the state, as those of ``torch.nn.LSTM`` do; and learnt first states."""

from __future__ import annotations

import copy
import pickle
from pathlib import Path
from typing import Any

import pytest
import torch
from sparsam.torch import SAM, load_checkpoint
from test_models import MODELS, close_what_carries_no_gradient, module
from test_module import gradients, small
from torch import Tensor
from torch.nn.utils.rnn import PackedSequence, pack_padded_sequence, pad_packed_sequence


def carrying(kind: Any = SAM, **options: Any) -> Any:
    model = small(kind, dtype=torch.float64, **options)
    model.carry_gradients = True
    return model


def drawn(*shape: int, seed: int = 1) -> Tensor:
    return torch.randn(*shape, dtype=torch.float64, generator=torch.Generator().manual_seed(seed))


def agree(one: Any, other: Any) -> None:
    torch.testing.assert_close(one, other, rtol=1e-12, atol=1e-12)


def weighed(output: Tensor) -> Any:
    """A loss that is different at each output."""
    return (output * torch.linspace(-1, 2, output.numel(), dtype=output.dtype).view(output.shape)).sum()


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@pytest.mark.parametrize("controller", ["lstm", "gru"])
@pytest.mark.parametrize("kind", MODELS)
def test_pieces_have_the_gradients_of_the_whole(kind: Any, controller: str, dtype: torch.dtype) -> None:
    model = carrying(kind, controller=controller).to(dtype)
    input = drawn(13, 5, 3).to(dtype).requires_grad_()
    lengths = torch.tensor([13, 5, 0, 9, 12])
    starts = torch.zeros(13, 5, dtype=torch.bool)
    starts[4, 0] = starts[7, 3] = starts[8, 3] = True
    output, _ = model(input, lengths=lengths, starts=starts)
    weighed(output).backward()
    wanted, over_input = gradients(model), input.grad
    model.zero_grad()
    input.grad, state, pieces, first = None, None, [], 0
    for steps in (4, 1, 0, 5, 3):
        these = slice(first, first + steps)
        left = (lengths - first).clamp(0, steps)
        piece, state = model(input[these], state, lengths=left, starts=starts[these])
        pieces.append(piece)
        first += steps
    tolerance = 1e-12 if dtype == torch.float64 else 1e-4
    torch.testing.assert_close(torch.cat(pieces), output, rtol=tolerance, atol=tolerance)
    weighed(torch.cat(pieces)).backward()
    torch.testing.assert_close(gradients(model), wanted, rtol=tolerance, atol=tolerance)
    torch.testing.assert_close(input.grad, over_input, rtol=tolerance, atol=tolerance)

    # The memory comes forth again, to the bit.
    assert state is not None
    after, _ = model(drawn(2, 5, 3, seed=2).to(dtype), state)
    with torch.no_grad():
        state, first = None, 0
        for steps in (4, 1, 0, 5, 3):
            these = slice(first, first + steps)
            left = (lengths - first).clamp(0, steps)
            _, state = model(input[these], state, lengths=left, starts=starts[these])
            first += steps
        expected, _ = model(drawn(2, 5, 3, seed=2).to(dtype), state)
    torch.testing.assert_close(after, expected, rtol=tolerance, atol=tolerance)


@pytest.mark.parametrize("kind", MODELS)
def test_layouts_agree(kind: Any) -> None:
    model, input = carrying(kind), drawn(8, 3, 3)
    output, state = model(input[:5])
    weighed(torch.cat([output, model(input[5:], state)[0]])).backward()
    wanted = gradients(model)
    first = copy.deepcopy(model)
    first.batch_first = True
    first.zero_grad()
    output, state = first(input[:5].transpose(0, 1))
    rest = first(input[5:].transpose(0, 1), state)[0]
    weighed(torch.cat([output, rest], 1).transpose(0, 1)).backward()
    agree(gradients(first), wanted)
    # Rows of a state are those of the batch, in the order before it was sorted.
    model.zero_grad()
    packed, state = model(pack_padded_sequence(input[:5], [3, 5, 4], enforce_sorted=False))
    assert isinstance(packed, PackedSequence)
    weighed(model(input[5:], state)[0]).backward()
    wanted = gradients(model)
    model.zero_grad()
    output, state = model(input[:5], lengths=[3, 5, 4])
    agree(pad_packed_sequence(packed)[0], output)
    weighed(model(input[5:], state)[0]).backward()
    agree(gradients(model), wanted)
    # One sequence without a batch.
    model.zero_grad()
    _, state = model(input[:5, 1])
    weighed(model(input[5:, 1], state)[0]).backward()
    assert all(gradient.any() for gradient in gradients(model))


@pytest.mark.parametrize("controller", ["lstm", "gru"])
@pytest.mark.parametrize("kind", MODELS)
def test_differences_through_borders_and_to_a_first_state(kind: Any, controller: str) -> None:
    options: dict[str, Any] = {"memory_size": 7, "word_size": 3, "num_heads": 2, "controller": controller}
    model = module(kind, 2, 4, 2, seed=3, **options)
    model.carry_gradients = True
    if kind.__name__ not in ("SAM", "DAM", "NTM"):
        close_what_carries_no_gradient(model)
    names = [name for name, _ in model.named_parameters()]

    def call(first: Tensor, second: Tensor, hidden: Tensor, read: Tensor, *rest: Tensor) -> Tensor:
        cell, parameters = (rest[0], rest[1:]) if controller == "lstm" else (None, rest)
        named = dict(zip(names, parameters, strict=True))
        state = model.initial_state(hidden, cell, read)
        _, state = torch.func.functional_call(model, named, (first, state))
        # The loss is that of the second call: all that it knows of the first one comes over the border.
        output: Tensor = torch.func.functional_call(model, named, (second, state))[0]
        return output

    held = [drawn(2, 4, seed=4), drawn(2, 6, seed=5)] + ([drawn(2, 4, seed=6)] if controller == "lstm" else [])
    sources = [tensor.requires_grad_() for tensor in [drawn(3, 2, 2, seed=7), drawn(2, 2, 2, seed=8), *held]]
    assert torch.autograd.gradcheck(call, (*sources, *model.parameters()))


def test_a_first_state_is_learnt() -> None:
    torch.manual_seed(0)
    model = SAM(2, 8, 1, memory_size=20, word_size=4, num_heads=1, carry_gradients=True).requires_grad_(False)
    first = [torch.nn.Parameter(torch.zeros(width)) for width in (8, 8, 4)]
    optimiser = torch.optim.Adam(first, lr=0.1)
    losses = []
    for _ in range(60):
        state = model.initial_state(*(part.expand(3, -1) for part in first))
        output, _ = model(torch.zeros(2, 3, 2), state)
        loss = (output - 1).square().mean()
        optimiser.zero_grad()
        loss.backward()
        optimiser.step()
        losses.append(loss.item())
    assert losses[-1] < 0.1 * losses[0]
    assert all(part.grad is not None and part.grad.any() for part in first)
    # What is left out is zero, as in a new state.
    agree(model(torch.ones(1, 3, 2), model.initial_state(torch.zeros(3, 8)))[0], model(torch.ones(1, 3, 2))[0])


def test_first_states_that_do_not_fit() -> None:
    model, gru = carrying(), carrying(controller="gru")
    calls: list[tuple[Any, type[Exception], str]] = [
        (lambda: model.initial_state([1.0]), TypeError, "hidden is a list"),
        (lambda: model.initial_state(drawn(6), [1.0]), TypeError, "cell is a list"),
        (
            lambda: model.initial_state(drawn(2, 5)),
            ValueError,
            r"hidden has shape \(2, 5\), where \(2, 6\)",
        ),
        (lambda: model.initial_state(drawn(2, 2, 6)), ValueError, r"where \(B, 6\) was expected"),
        (lambda: model.initial_state(drawn(2, 6), drawn(6)), ValueError, r"cell has shape \(6,\), where \(2, 6\)"),
        (lambda: model.initial_state(drawn(2, 6), read=drawn(2, 6)), ValueError, r"read has shape"),
        (lambda: model.initial_state(drawn(2, 6).float()), TypeError, "hidden has dtype torch.float32"),
        (lambda: gru.initial_state(drawn(2, 6), drawn(2, 6)), ValueError, "cell was given, which the controller 'gru'"),
        (
            lambda: small(dtype=torch.float64).initial_state(drawn(2, 6).requires_grad_()),
            ValueError,
            "needs a module with carry_gradients=True",
        ),
    ]
    for call, error, sentence in calls:
        with pytest.raises(error, match=sentence):
            call()
    assert small(dtype=torch.float64).initial_state(drawn(6)).rows == 1
    with torch.no_grad():
        assert small(dtype=torch.float64).initial_state(drawn(2, 6).requires_grad_()).rows == 2
    # None of half a batch is one of no row.
    assert model(drawn(3, 0, 3), model.initial_state(drawn(0, 6)))[0].shape == (3, 0, 2)


@pytest.mark.parametrize("kind", MODELS)
def test_detach_cuts(kind: Any) -> None:
    model, input = carrying(kind), drawn(9, 2, 3)
    wanted = []
    for model.carry_gradients in (False, True):
        model.zero_grad()
        first, state = model(input[:4])
        if model.carry_gradients:
            state = state.detach()
        # Until the state is used, what came before can be gone back through.
        weighed(first).backward()
        second, state = model(input[4:6], state)
        weighed(second).backward()
        wanted.append([second, *gradients(model)])
    torch.testing.assert_close(wanted[1], wanted[0], rtol=0, atol=0)
    with pytest.raises(RuntimeError, match="state has moved on"):
        state, used = state.detach(), state
        used.detach()


@pytest.mark.parametrize("kind", MODELS)
def test_losses_of_some_calls(kind: Any) -> None:
    """Each loss has the gradients that it has in one call over the whole, whichever is gone back through first."""
    model, input = carrying(kind), drawn(9, 2, 3)
    borders = [slice(0, 4), slice(4, 6), slice(6, 9)]

    def of_whole(*numbers: int) -> list[Tensor]:
        model.zero_grad()
        whole, _ = model(input)
        sum(weighed(whole[borders[number]]) for number in numbers).backward()
        return gradients(model)

    def losses() -> list[Any]:
        outputs, state = [], None
        for border in borders:
            output, state = model(input[border], state)
            outputs.append(weighed(output))
        return outputs

    for numbers in ([0], [1], [2], [0, 2], [0, 1], [0, 1, 2]):
        expected = of_whole(*numbers)
        of_calls = losses()
        model.zero_grad()
        sum(of_calls[number] for number in numbers).backward()
        agree(gradients(model), expected)
        for order in (numbers, numbers[::-1]):
            of_calls = losses()
            model.zero_grad()
            for number in order:
                of_calls[number].backward(retain_graph=True)
            agree(gradients(model), expected)
            with pytest.raises(RuntimeError, match="a second time"):
                for _ in range(2):
                    of_calls[order[0]].backward()


def test_parts_of_the_graph() -> None:
    model = carrying()
    first, second = drawn(4, 2, 3).requires_grad_(), drawn(3, 2, 3, seed=2).requires_grad_()
    output, state = model(first)
    after, _ = model(second, state)
    # Only the second call is gone back through; then both are.
    (alone,) = torch.autograd.grad(weighed(after), second, retain_graph=True)
    both = torch.autograd.grad(weighed(after), (first, second), retain_graph=True)
    agree(both[1], alone)
    (over_first,) = torch.autograd.grad(weighed(output), first)
    (expected,) = torch.autograd.grad(weighed(model(first)[0]), first)
    agree(over_first, expected)


def test_truncated_backpropagation() -> None:
    """The weights change after every piece; gradients reach back over up to three."""
    model, pieces = carrying(), drawn(9, 3, 2, 3).unbind()
    optimiser = torch.optim.SGD(model.parameters(), lr=0.05)
    state, reach = None, []
    for number, piece in enumerate(pieces):
        window = [each.requires_grad_() for each in pieces[number // 3 * 3 : number + 1]]
        for each in window:
            each.grad = None
        output, state = model(piece, state)
        optimiser.zero_grad()
        weighed(output).backward(retain_graph=number % 3 < 2)
        optimiser.step()
        reach.append(sum(each.grad is not None and bool(each.grad.any()) for each in pieces))
        if number % 3 == 2:
            state = state.detach()
            for each in pieces:
                each.grad = None
    assert reach == [1, 2, 3] * 3


def test_a_graph_that_was_not_retained_is_not_gone_back_through_again() -> None:
    model, input = carrying(), drawn(4, 2, 3)
    output, state = model(input)
    weighed(output).backward()
    output, _ = model(input, state)
    with pytest.raises(RuntimeError, match="a second time"):
        weighed(output).backward()


CUTS: list[Any] = [
    lambda model, state: model(drawn(1, 2, 3), state.detach()),
    lambda model, state: state.reset([0]),
    lambda model, state: state.copy_row(0, 1),
    lambda model, state: torch.no_grad()(model)(drawn(1, 2, 3), state),
    lambda model, state: model.trace(drawn(1, 2, 3), state),
]


@pytest.mark.parametrize("cut", CUTS)
def test_what_cuts_the_tape_says_so_afterwards(cut: Any) -> None:
    model = carrying()
    output, state = model(drawn(4, 2, 3))
    another, state = model(drawn(4, 2, 3), state)
    cut(model, state)
    for late in (output, another):
        with pytest.raises(RuntimeError, match="backward comes too late"):
            weighed(late).backward()


def test_copies_are_cut_and_leave_the_state_as_it_is(tmp_path: Path) -> None:
    model, input = carrying(), drawn(6, 2, 3)
    model.zero_grad()
    _, state = model(input[:4])
    weighed(model(input[4:], state)[0]).backward()
    wanted = gradients(model)
    model.zero_grad()
    _, state = model(input[:4])
    state.save(tmp_path / "state.safetensors")
    copies = [
        copy.deepcopy(state),
        state.select([0, 1]),
        pickle.loads(pickle.dumps(state)),
        model.load_state(tmp_path / "state.safetensors"),
    ]
    after, _ = model(input[4:], state)
    weighed(after).backward()
    agree(gradients(model), wanted)
    for one in copies:
        model.zero_grad()
        again, _ = model(input[4:], one)
        torch.testing.assert_close(again, after, rtol=0, atol=0)
        weighed(again).backward()
        assert model.controller.weight_ih.grad.any()
        assert (model.controller.weight_ih.grad - wanted[0]).abs().max() > 1e-6


def test_what_happens_on_the_way_back_is_out_of_order() -> None:
    model = carrying()
    _, state = model(drawn(4, 2, 3))
    held = state._graph
    output, state = model(drawn(4, 2, 3), state)
    held.register_hook(lambda gradient: state.select([0]) and None)
    with pytest.raises(RuntimeError, match="from the last to the first"):
        weighed(output).backward(retain_graph=True)
    held._backward_hooks.clear()
    weighed(output).backward()


def test_gradients_of_gradients_are_refused() -> None:
    model, input = carrying(), drawn(4, 2, 3).requires_grad_()
    _, state = model(input)
    output, _ = model(input, state)
    gradient: Any
    (gradient,) = torch.autograd.grad(weighed(output), input, create_graph=True)
    with pytest.raises(RuntimeError, match="no gradients of gradients"):
        gradient.square().sum().backward()


def test_any_number_of_threads_gives_the_same_bits() -> None:
    model, input = carrying(), drawn(9, 11, 3)
    found, threads = [], torch.get_num_threads()
    for count in (1, 2, 3):
        torch.set_num_threads(count)
        model.zero_grad()
        first, state = model(input[:4])
        second, _ = model(input[4:], state)
        weighed(torch.cat([first, second])).backward()
        found.append([first, second, *gradients(model)])
    torch.set_num_threads(threads)
    for other in found[1:]:
        torch.testing.assert_close(other, found[0], rtol=0, atol=0)


def test_batches_without_rows_and_sequences_without_steps() -> None:
    model, input = carrying(), drawn(4, 0, 3).requires_grad_()
    _, state = model(input)
    output, _ = model(input, state)
    output.sum().backward()
    assert input.grad is not None
    assert not any(gradient.any() for gradient in gradients(model))
    _, state = model(drawn(0, 2, 3))
    output, _ = model(drawn(3, 2, 3), state)
    weighed(output).backward()
    wanted = gradients(model)
    model.zero_grad()
    weighed(model(drawn(3, 2, 3))[0]).backward()
    agree(gradients(model), wanted)


def test_the_switch_is_kept(tmp_path: Path) -> None:
    model = SAM(3, 6, memory_size=20, carry_gradients=True)
    assert "carry_gradients=True" in repr(model)
    assert copy.deepcopy(model).carry_gradients
    assert pickle.loads(pickle.dumps(model)).carry_gradients
    model.save_checkpoint(tmp_path / "model.safetensors")
    assert not load_checkpoint(tmp_path / "model.safetensors").carry_gradients
    assert load_checkpoint(tmp_path / "model.safetensors", carry_gradients=True).carry_gradients
    old = model.__dict__.copy()
    del old["carry_gradients"]
    restored = SAM.__new__(SAM)
    restored.__setstate__(old)
    assert not restored.carry_gradients


# Without training mode, and where there is nothing to be gone back through.


@pytest.mark.parametrize("kind", MODELS)
def test_evaluation_has_gradients_as_in_any_module(kind: Any) -> None:
    for carry in (False, True):
        model, input = carrying(kind), drawn(4, 2, 3).requires_grad_()
        model.carry_gradients = carry
        weighed(model(input)[0]).backward()
        wanted = [input.grad, *gradients(model)]
        model.zero_grad()
        input.grad = None
        weighed(model.eval()(input)[0]).backward()
        torch.testing.assert_close([input.grad, *gradients(model)], wanted, rtol=0, atol=0)
        for without in (torch.no_grad, torch.inference_mode):
            with without():
                output, state = model(input)
                output, state = model(input, state)
                assert not output.requires_grad
                assert state._graph is None
