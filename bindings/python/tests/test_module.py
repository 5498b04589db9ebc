"""What a module owes to PyTorch: layouts, lengths, the life of a state, copies, threads, and sentences for mistakes."""

from __future__ import annotations

import copy
import io
import pickle
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import safetensors.torch
import torch
from sparsam import Network
from sparsam.torch import DAM, DNC, NTM, SAM, SDNC, AdaptiveClip, SparseMemory, load_checkpoint
from torch import Tensor
from torch.nn.utils.rnn import PackedSequence, pack_padded_sequence, pack_sequence, pad_packed_sequence

MODELS: list[Any] = [SAM, SDNC, DAM, NTM, DNC]


def small(kind: Any = SAM, output_size: int | None = 2, **options: Any) -> Any:
    torch.manual_seed(0)
    options = {"memory_size": 20, "word_size": 4, "num_heads": 2, **options}
    return kind(3, 6, output_size, **options)


def gradients(model: Any) -> list[Tensor]:
    return [parameter.grad.clone() for parameter in model.parameters()]


# Layouts and lengths.


@pytest.mark.parametrize("kind", MODELS)
def test_layouts_agree(kind: Any) -> None:
    model, input = small(kind), torch.randn(7, 5, 3)
    expected, state = model(input)
    assert expected.shape == (7, 5, 2)
    assert state.rows == 5

    first = copy.deepcopy(model)
    first.batch_first = True
    torch.testing.assert_close(first(input.transpose(0, 1))[0].transpose(0, 1), expected, rtol=0, atol=0)
    torch.testing.assert_close(first(input.transpose(0, 1).contiguous())[0].transpose(0, 1), expected, rtol=0, atol=0)
    alone, state = model(input[:, 2])
    assert alone.shape == (7, 2)
    assert state.rows == 1
    torch.testing.assert_close(alone, expected[:, 2])


def test_strided_and_transposed_numbers_are_read_as_they_look() -> None:
    model, input = small(), torch.randn(7, 5, 3)
    expected, _ = model(input)
    expected.square().sum().backward()
    wanted = gradients(model)
    wide = torch.zeros(14, 5, 6)
    wide[::2, :, ::2] = input
    fortran = input.permute(2, 1, 0).contiguous().permute(2, 1, 0)
    assert not fortran.is_contiguous()
    for same in (wide[::2, :, ::2], fortran):
        model.zero_grad()
        # Gradients of the output that do not lie in order either.
        output, _ = model(same)
        output.permute(2, 0, 1).square().sum().backward()
        torch.testing.assert_close(output, expected, rtol=0, atol=0)
        torch.testing.assert_close(gradients(model), wanted)
    transposed = copy.deepcopy(model)
    weight = transposed.controller.weight_hh
    transposed.controller.weight_hh = torch.nn.Parameter(weight.detach().t().contiguous().t())
    assert not transposed.controller.weight_hh.is_contiguous()
    torch.testing.assert_close(transposed(input)[0], expected, rtol=0, atol=0)


@pytest.mark.parametrize("kind", MODELS)
def test_lengths_are_those_of_sequences_alone(kind: Any) -> None:
    model, input, lengths = small(kind), torch.randn(7, 5, 3, requires_grad=True), [7, 2, 0, 5, 1]
    output, state = model(input, lengths=torch.tensor(lengths))
    (over_input,) = torch.autograd.grad(output.square().sum(), input)
    further, _ = model(input.detach()[:3], state)
    for row, length in enumerate(lengths):
        alone, state = model(input[:length, row])
        torch.testing.assert_close(output[:length, row], alone)
        assert not output[length:, row].any()
        assert not over_input[length:, row].any()
        torch.testing.assert_close(further[:, row], model(input[:3, row], state)[0])


@pytest.mark.parametrize("kind", MODELS)
def test_packed_sequences(kind: Any) -> None:
    model = small(kind)
    sequences = [torch.randn(length, 3) for length in (4, 7, 7, 1)]
    packed = pack_sequence(sequences, enforce_sorted=False)
    output, state = model(packed)
    assert isinstance(output, PackedSequence)
    assert state.rows == 4
    padded, lengths = pad_packed_sequence(output)
    assert lengths.tolist() == [4, 7, 7, 1]
    further, _ = model(torch.ones(2, 4, 3), state)
    for row, sequence in enumerate(sequences):
        alone, state = model(sequence)
        torch.testing.assert_close(padded[: len(sequence), row], alone)
        torch.testing.assert_close(further[:, row], model(torch.ones(2, 3), state)[0])

    sorted_output, _ = model(pack_padded_sequence(torch.randn(3, 2, 3), [3, 2]))
    assert sorted_output.sorted_indices is None
    sorted_output.data.sum().backward()
    assert all(parameter.grad.any() for parameter in model.parameters())


def test_empty_sequences() -> None:
    model = small()
    output, state = model(torch.randn(0, 2, 3))
    assert output.shape == (0, 2, 2)
    output.sum().backward()
    torch.testing.assert_close(model(torch.ones(1, 2, 3), state)[0], model(torch.ones(1, 2, 3))[0])


# The life of a state.


@pytest.mark.parametrize("kind", MODELS)
def test_a_state_goes_on_where_it_stood(kind: Any) -> None:
    model, input = small(kind), torch.randn(9, 3, 3)
    whole, _ = model(input)
    for record in (True, False):
        model.train(record)
        state, pieces = None, []
        for piece in torch.split(input, [4, 1, 4]):
            output, state = model(piece, state)
            if record:
                # Going back in between changes nothing of what is remembered.
                output.square().mean().backward()
            pieces.append(output)
        torch.testing.assert_close(torch.cat(pieces), whole)


def test_gradients_stop_where_a_state_enters() -> None:
    model = small()
    input = torch.randn(4, 2, 3, requires_grad=True)
    _, state = model(input)
    output, _ = model(torch.randn(4, 2, 3), state)
    output.sum().backward()
    assert input.grad is None


def test_a_state_that_has_moved_on_says_so() -> None:
    model, input = small(), torch.randn(4, 2, 3)
    first, state = model(input)
    assert state.is_current
    assert repr(state) == "State(rows=2, dtype=float32)"
    _, later = model(input, state)
    assert not state.is_current
    assert repr(state) == "State(rows=2, dtype=float32, moved on)"
    for use in (lambda: model(input, state), state.reset):
        with pytest.raises(RuntimeError, match="state has moved on"):
            use()
    with pytest.raises(RuntimeError, match="backward comes too late"):
        first.sum().backward()
    model(input, later)


def test_rows_are_reset_on_their_own() -> None:
    model, input = small(), torch.randn(4, 3, 3)
    fresh, state = model(input)
    carried, _ = model(input, state)
    _, state = model(input)
    mixed, state = model(input, state.reset([1]))
    torch.testing.assert_close(mixed[:, 1], fresh[:, 1])
    torch.testing.assert_close(mixed[:, ::2], carried[:, ::2])
    torch.testing.assert_close(model(input, state.reset())[0], fresh)
    with pytest.raises(ValueError, match="rows names row 3 of a state of 3 rows"):
        model(input)[1].reset([0, 3])


@pytest.mark.parametrize("kind", MODELS)
def test_going_back_twice_gives_the_same(kind: Any) -> None:
    model, input = small(kind).double(), torch.randn(5, 2, 3, dtype=torch.float64, requires_grad=True)
    output, state = model(input)
    once = torch.autograd.grad(output.square().sum(), input, retain_graph=True)
    twice = torch.autograd.grad(output.square().sum(), input)
    torch.testing.assert_close(once, twice, rtol=0, atol=0)
    expected, _ = model(torch.ones(2, 2, 3, dtype=torch.float64), model(input)[1])
    torch.testing.assert_close(model(torch.ones(2, 2, 3, dtype=torch.float64), state)[0], expected)


def test_going_back_asks_for_what_pytorch_asks_for() -> None:
    model, input = small(), torch.randn(5, 2, 3)
    loss = model(input)[0].sum()
    loss.backward()
    with pytest.raises(RuntimeError, match="a second time"):
        loss.backward()
    loss = model(input)[0].sum()
    input.add_(1)
    with pytest.raises(RuntimeError, match="modified by an inplace operation"):
        loss.backward()


def test_several_calls_before_going_back() -> None:
    model, inputs = small(), torch.randn(3, 4, 2, 3)
    together = sum(model(input)[0].square().sum() for input in inputs)
    together.backward()
    wanted = gradients(model)
    model.zero_grad()
    for input in inputs:
        model(input)[0].square().sum().backward()
    torch.testing.assert_close(gradients(model), wanted)


def test_parameters_changed_before_going_back_do_not_change_the_gradient() -> None:
    model, input = small(), torch.randn(4, 2, 3)
    model(input)[0].sum().backward()
    wanted = gradients(model)
    model.zero_grad()
    output, _ = model(input)
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.add_(1)
    model(input)
    output.sum().backward()
    torch.testing.assert_close(gradients(model), wanted)


def test_no_tape_without_gradients() -> None:
    model, input = small(), torch.randn(4, 2, 3)
    expected, _ = model(input)
    assert expected.requires_grad
    with torch.no_grad():
        output, _ = model(input)
        assert not output.requires_grad
        torch.testing.assert_close(output, expected)
    output, _ = model.eval()(input)
    assert output.requires_grad
    torch.testing.assert_close(output, expected, rtol=0, atol=0)
    with torch.inference_mode():
        torch.testing.assert_close(model(input)[0], expected)
    model.train().requires_grad_(False)
    assert not model(input)[0].requires_grad
    input.requires_grad_()
    model(input)[0].sum().backward()
    assert input.grad is not None
    assert all(parameter.grad is None for parameter in model.parameters())


# Copies, files, training.


@pytest.mark.parametrize("kind", MODELS)
def test_copies_are_equal_and_independent(kind: Any) -> None:
    model, input = small(kind), torch.randn(4, 2, 3)
    expected, _ = model(input)
    file = io.BytesIO()
    torch.save(model, file)
    file.seek(0)
    for other in (copy.deepcopy(model), pickle.loads(pickle.dumps(model)), torch.load(file, weights_only=False)):
        torch.testing.assert_close(other(input)[0], expected, rtol=0, atol=0)
        assert repr(other) == repr(model)
        with torch.no_grad():
            other.output.bias.add_(1)
        torch.testing.assert_close(other(input)[0], expected + 1)
    torch.testing.assert_close(model(input)[0], expected, rtol=0, atol=0)


@pytest.mark.parametrize("kind", MODELS)
def test_weights_of_one_hot_inputs_may_be_larger(kind: Any) -> None:
    model = small(kind)
    torch.manual_seed(1)
    model.reset_parameters()
    before = {name: parameter.clone() for name, parameter in model.named_parameters()}
    for model in (small(kind, input_bound=4.0), small(kind)):
        torch.manual_seed(1)
        model.reset_parameters(input_bound=4.0)
        for name, parameter in model.named_parameters():
            if name != "controller.weight_ih":
                assert torch.equal(parameter, before[name])
                continue
            inputs, words = parameter[:, : model.input_size], parameter[:, model.input_size :]
            assert torch.equal(words, before[name][:, model.input_size :])
            assert inputs.abs().max() <= 4.0 and inputs.std() > 1.5
    torch.manual_seed(2)
    model = small(kind, input_bound=4.0)
    model.reset_parameters()
    assert model.get_parameter("controller.weight_ih")[:, : model.input_size].abs().max() > 2.0
    for wrong in (0.0, -1.0, float("nan")):
        with pytest.raises(ValueError, match="input_bound"):
            small(kind, input_bound=wrong)


def test_modules_start_as_the_networks_of_the_library_do() -> None:
    """The same bounds, constants and copies, though from another generator."""
    for kind in MODELS:
        model = kind(6, 40, 3, memory_size=16)
        network = Network(kind.__name__.lower(), 6, 40, 3, memory_size=16)
        for name, parameter in model.named_parameters():
            ours, theirs = parameter.detach().numpy(), network.parameters[name]
            for row in range(len(ours)):
                assert abs(np.abs(ours[row]).max() - np.abs(theirs[row]).max()) < 0.6 * np.abs(theirs).max() + 1e-9
            if name.endswith("bias"):
                assert np.array_equal(ours, theirs)
        weight = dict(model.named_parameters()).get("interface.weight")
        copies = 0 if weight is None else len(weight) - len(torch.unique(weight, dim=0))
        values = network.parameters.get("interface.weight")
        assert values is None or copies == len(values) - len(np.unique(values, axis=0))


def test_a_layer_for_a_sparse_memory_starts_as_a_modules_does() -> None:
    for links, kind in ((None, SAM), (8, SDNC)):
        memory = SparseMemory(100, word_size=5, num_heads=2, num_links=links)
        layer = torch.nn.Linear(7, memory.interface_size)
        memory.reset_interface(layer)
        model = kind(3, 7, memory_size=100, word_size=5, num_heads=2)
        assert torch.equal(layer.bias, model.get_parameter("interface.bias"))
        assert layer.weight.abs().max() <= 7**-0.5
        with pytest.raises(ValueError, match="puts out 3 numbers"):
            memory.reset_interface(torch.nn.Linear(7, 3))
        with pytest.raises(ValueError, match="bias"):
            memory.reset_interface(torch.nn.Linear(7, memory.interface_size, bias=False))


def test_the_limit_of_a_gradient_follows_its_norm() -> None:
    weight, other = torch.nn.Parameter(torch.zeros(3)), torch.nn.Parameter(torch.zeros(2))
    clip = AdaptiveClip(start=5)

    def call(scale: float) -> tuple[float, float]:
        weight.grad, other.grad = torch.full((3,), scale), None
        norm = clip([weight, other]).item()
        return norm, weight.grad.norm().item()

    usual = 3**0.5
    for _ in range(5):
        assert call(1.0) == pytest.approx((usual, usual))
    assert clip.limit == pytest.approx(3 * usual)
    # Cut to three times the mean, which it enters as ten times the mean.
    assert call(1000.0) == pytest.approx((1000 * usual, 3 * usual))
    assert clip.limit == pytest.approx(3 * usual * 10 ** (1 / 6))
    again = AdaptiveClip(start=5)
    again.load_state_dict(clip.state_dict())
    assert again.limit == clip.limit
    before = clip.limit
    weight.grad = torch.tensor([float("inf"), 0.0, 0.0])
    assert clip(weight).item() == float("inf") and torch.isinf(weight.grad[0])
    assert clip.limit == before
    assert AdaptiveClip(max_norm=0.5).limit == 0.5
    with pytest.raises(ValueError, match="factor"):
        AdaptiveClip(0.0)


@pytest.mark.parametrize("kind", MODELS)
def test_checkpoints_go_into_modules_networks_and_safetensors(kind: Any, tmp_path: Path) -> None:
    model, input, path = small(kind), torch.randn(4, 2, 3), tmp_path / "network.safetensors"
    expected, _ = model(input)
    model.save_checkpoint(path)
    loaded = load_checkpoint(path, batch_first=True)
    assert type(loaded) is kind
    torch.testing.assert_close(loaded(input.transpose(0, 1))[0].transpose(0, 1), expected, rtol=0, atol=0)
    assert all(map(torch.equal, loaded.state_dict().values(), model.state_dict().values()))

    other = small(kind)
    other.reset_parameters()
    other.load_state_dict(safetensors.torch.load_file(path))
    torch.testing.assert_close(other(input)[0], expected, rtol=0, atol=0)

    network = Network.load(path)
    torch.testing.assert_close(torch.from_numpy(network.infer(input.numpy())[0]), expected, rtol=0, atol=0)
    without = small(kind, output_size=None)
    without.save_checkpoint(path)
    assert load_checkpoint(path).output_size is None
    double = load_checkpoint(path, dtype=torch.float64)
    torch.testing.assert_close(double(input.double())[0].float(), without(input)[0])


def test_unusable_checkpoints(tmp_path: Path) -> None:
    path = tmp_path / "network.safetensors"
    with pytest.raises(OSError, match=r"network\.safetensors"):
        load_checkpoint(path)
    path.write_bytes(b"nothing")
    with pytest.raises(ValueError, match=r"network\.safetensors"):
        load_checkpoint(path)
    Network("lstm", 2, 3, 1).save(path)
    with pytest.raises(ValueError, match="'lstm', which has no module"):
        load_checkpoint(path)
    model = small()
    model.output.bias.data[0] = torch.nan
    with pytest.raises(ValueError, match=r"output\.bias"):
        model.save_checkpoint(path)


def test_it_learns() -> None:
    model = small()
    optimiser = torch.optim.Adam(model.parameters(), 0.01)
    input = torch.randn(6, 4, 3)
    target = input.roll(2, 0)[:, :, :2]
    losses = []
    for _ in range(150):
        optimiser.zero_grad()
        loss = (model(input)[0][2:] - target[2:]).square().mean()
        loss.backward()
        torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optimiser.step()
        losses.append(loss.item())
    assert losses[-1] < 0.2 * losses[0]


# Dynamo itself looks at .grad of what it traces.
@pytest.mark.filterwarnings("ignore:The .grad attribute")
def test_a_compiled_module_breaks_the_graph_and_is_right() -> None:
    model = small()
    input = torch.randn(4, 2, 3)
    outer = torch.nn.Sequential(torch.nn.Linear(3, 3), torch.nn.Tanh())
    compiled = torch.compile(lambda input: 2 * model(outer(input))[0], backend="eager")
    torch.testing.assert_close(compiled(input), 2 * model(outer(input))[0])
    compiled(input).sum().backward()
    assert all(parameter.grad.any() for parameter in [*outer.parameters(), *model.parameters()])


def test_threads() -> None:
    model, inputs = small(memory_size=2000), torch.randn(8, 30, 6, 3)
    expected = [model(input)[0] for input in inputs]

    def again(input: Tensor) -> Tensor:
        for _ in range(5):
            output, _ = model(input)
            output.sum().backward()
        final: Tensor = model(input)[0]
        return final

    with ThreadPoolExecutor(4) as pool:
        for output, alone in zip(pool.map(again, inputs), expected, strict=True):
            torch.testing.assert_close(output, alone, rtol=0, atol=0)


def test_a_state_shared_by_threads_is_used_once() -> None:
    model, input = small(), torch.randn(200, 4, 3)
    _, state = model(input)

    def use(_: int) -> bool:
        try:
            model(input, state)
        except RuntimeError:
            return False
        return True

    with ThreadPoolExecutor(4) as pool:
        assert sum(pool.map(use, range(8))) == 1


# Mistakes.


@pytest.mark.parametrize(
    ("arguments", "options", "error", "sentence"),
    [
        ((0, 6), {}, ValueError, "input_size is 0, where at least 1"),
        ((3, -1), {}, ValueError, "hidden_size is -1, where at least 1"),
        ((3, 6, 0), {}, ValueError, "output_size is 0, where at least 1"),
        ((3, 2.5), {}, TypeError, "hidden_size is 2.5, where an integer"),
        ((3, 6, 2, 1), {}, ValueError, "memory_size = 1 does not work"),
        ((3, 6), {"num_heads": 1 << 20}, ValueError, "num_heads = 1048576 does not work"),
        ((3, 6), {"num_reads": 0}, ValueError, "num_reads = 0 does not work: it must be a whole number from 1"),
        ((3, 6), {"access_threshold": 1.5}, ValueError, "access_threshold = 1.5 does not work"),
        ((3, 6), {"access_threshold": "low"}, TypeError, "access_threshold is 'low'"),
        ((3, 6), {"index": "best"}, ValueError, "index is 'best', where one of auto, linear"),
        ((3, 6), {"dtype": torch.float16}, TypeError, "dtype is torch.float16"),
        ((1 << 30, 6), {}, ValueError, "input_size = 1073741824 does not work"),
    ],
)
def test_sizes_that_do_not_work(
    arguments: tuple[Any, ...], options: dict[str, Any], error: type[Exception], sentence: str
) -> None:
    with pytest.raises(error, match=sentence):
        SAM(*arguments, **options)


def test_a_memory_that_does_not_fit() -> None:
    model = DNC(2, 3, memory_size=1 << 20)
    with pytest.raises(MemoryError, match=r"memory_size = .* would fit"):
        model(torch.zeros(1, 1, 2))


@pytest.mark.parametrize(
    ("call", "error", "sentence"),
    [
        (lambda m: m(torch.zeros(4, 2, 5)), ValueError, r"input has shape \(4, 2, 5\), where \(T, B, 3\)"),
        (lambda m: m(torch.zeros(3)), ValueError, r"input has shape \(3,\)"),
        (lambda m: m(torch.zeros(4, 2, 3).double()), TypeError, "input has dtype torch.float64"),
        (lambda m: m(torch.zeros(4, 2, 3).int()), TypeError, "input has dtype torch.int32"),
        (lambda m: m([1.0]), TypeError, "input is a list"),
        (lambda m: m(torch.zeros(4, 2, 3), lengths=[4]), ValueError, "lengths has 1 numbers, where 2"),
        (lambda m: m(torch.zeros(4, 2, 3), lengths=[4, 5]), ValueError, r"lengths\[1\] is 5, but input has only 4"),
        (lambda m: m(torch.zeros(4, 2, 3), lengths=[4, -1]), ValueError, r"lengths\[1\] is -1"),
        (lambda m: m(torch.zeros(4, 2, 3), lengths=[4, 1.5]), TypeError, r"lengths\[1\] is 1.5"),
        (lambda m: m(torch.zeros(4, 3), lengths=[4]), ValueError, "lengths was given with an unbatched"),
        (lambda m: m(pack_sequence([torch.zeros(2, 3)]), lengths=[2]), ValueError, "lengths was given with a Packed"),
        (lambda m: m(torch.zeros(4, 2, 3), (1, 2)), TypeError, "state is a tuple"),
        (lambda m: m(torch.zeros(4, 2, 3), m(torch.zeros(4, 3))[1]), ValueError, "state has 1 rows, where the input"),
        (lambda m: m.double()(torch.zeros(1, 3).double(), small()(torch.zeros(1, 3))[1]), TypeError, "another dtype"),
        (lambda m: m(torch.zeros(1, 3), small(memory_size=9)(torch.zeros(1, 3))[1]), ValueError, "state belongs to"),
        (lambda m: m.half()(torch.zeros(1, 3).half()), TypeError, "dtype is torch.float16"),
    ],
)
def test_calls_that_do_not_work(call: Any, error: type[Exception], sentence: str) -> None:
    with pytest.raises(error, match=sentence):
        call(small())
