"""SparseMemory beside a controller of one's own: as in SAM and SDNC, and differentiable, whatever a pass goes back
through."""

from __future__ import annotations

import copy
import pickle
from typing import Any

import pytest
import torch
from sparsam.torch import SAM, SDNC, SparseMemory
from torch import Tensor, nn

LINKS = [None, 3]


def small(num_links: int | None = None, **options: Any) -> SparseMemory:
    return SparseMemory(
        **{"memory_size": 20, "word_size": 4, "num_heads": 2, "num_reads": 3, **options}, num_links=num_links
    )


def run(memory: SparseMemory, interfaces: Tensor, state: Any = None) -> tuple[Tensor, Any]:
    reads = []
    for interface in interfaces:
        read, state = memory(interface, state)
        reads.append(read)
    return torch.stack(reads), state


class Controller(nn.Module):
    """The network of a SAM or SDNC module, with its parameters, in plain PyTorch around the memory."""

    def __init__(self, model: SAM | SDNC, memory: SparseMemory) -> None:
        super().__init__()
        self.model, self.memory = model, memory

    def forward(self, input: Tensor) -> Tensor:
        own = dict(self.model.named_parameters())
        h = c = input.new_zeros(input.shape[1], self.model.hidden_size)
        read, state, outputs = input.new_zeros(input.shape[1], self.memory.read_size), None, []
        for x in input:
            gates = torch.cat([x, read], 1) @ own["controller.weight_ih"].T + own["controller.bias"]
            i, f, g, o = torch.chunk(gates + h @ own["controller.weight_hh"].T, 4, 1)
            c = f.sigmoid() * c + i.sigmoid() * g.tanh()
            h = o.sigmoid() * c.tanh()
            read, state = self.memory(h @ own["interface.weight"].T + own["interface.bias"], state)
            outputs.append(torch.cat([h, read], 1) @ own["output.weight"].T + own["output.bias"])
        return torch.stack(outputs)


@pytest.mark.parametrize("num_links", LINKS)
@pytest.mark.parametrize("rows", [2, 11])
def test_with_the_same_controller_it_is_the_module(num_links: int | None, rows: int) -> None:
    torch.manual_seed(0)
    options: dict[str, Any] = {"memory_size": 20, "word_size": 4, "num_heads": 2, "num_reads": 3}
    model: Any
    if num_links is None:
        model = SAM(3, 6, 2, **options, dtype=torch.float64)
    else:
        model = SDNC(3, 6, 2, **options, num_links=num_links, dtype=torch.float64)
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.mul_(3)
    controller = Controller(model, small(num_links))
    input = torch.randn(25, rows, 3, dtype=torch.float64, requires_grad=True)
    expected, _ = model(input)
    output = controller(input)
    torch.testing.assert_close(output, expected, rtol=0, atol=1e-10)
    weights = torch.randn_like(output)
    wanted = [input, *model.parameters()]
    torch.testing.assert_close(
        torch.autograd.grad((output * weights).sum(), wanted),
        torch.autograd.grad((expected * weights).sum(), wanted),
        rtol=1e-9,
        atol=1e-9,
    )


@pytest.mark.parametrize("num_links", LINKS)
@pytest.mark.parametrize("seed", range(3))
def test_gradients_against_finite_differences(num_links: int | None, seed: int) -> None:
    torch.manual_seed(seed)
    memory = small(num_links, memory_size=9, word_size=3)
    interfaces = torch.randn(5, 2, memory.interface_size, dtype=torch.float64)
    if num_links is not None:
        # No gradient flows through the links by definition, but differences see them: with these modes shut they do
        # not matter.
        for head in range(2):
            interfaces[:, :, head * 7 + 4], interfaces[:, :, head * 7 + 6] = -60, -60
    assert torch.autograd.gradcheck(lambda x: run(memory, x)[0], interfaces.requires_grad_())


@pytest.mark.parametrize("num_links", LINKS)
def test_losses_of_single_steps_add_up(num_links: int | None) -> None:
    """Whatever part of the steps a pass goes through, and however many passes there are, it starts anew."""
    torch.manual_seed(0)
    memory = small(num_links)
    interfaces = torch.randn(8, 2, memory.interface_size, dtype=torch.float64, requires_grad=True)
    weights = torch.randn(8, 2, memory.read_size, dtype=torch.float64)
    reads, _ = run(memory, interfaces)
    (whole,) = torch.autograd.grad((reads * weights).sum(), interfaces)

    steps = [x.detach().requires_grad_() for x in interfaces]
    state, losses = None, []
    for step, weight in zip(steps, weights, strict=True):
        read, state = memory(step, state)
        losses.append((read * weight).sum())
    parts = [torch.autograd.grad(loss, steps, retain_graph=True, allow_unused=True) for loss in losses]
    for number, of_step in enumerate(zip(*parts, strict=True)):
        assert all(part is None for part in of_step[:number])
        torch.testing.assert_close(sum(part for part in of_step if part is not None), whole[number])
    # Passes that stop half way, next to others that begin where they stopped.
    for loss, least in ((6, 4), (3, 3), (3, 0), (7, 7), (6, 6)):
        again = torch.autograd.grad(losses[loss], steps[least:], retain_graph=True, allow_unused=True)
        expected = parts[loss][least:]
        for one, other in zip(again, expected, strict=True):
            assert (one is None) == (other is None)
            if one is not None:
                torch.testing.assert_close(one, other, rtol=0, atol=0)
    # And on from there: as if nobody had gone back.
    read, _ = memory(interfaces[0].detach(), state)
    straight, _ = run(memory, torch.cat([interfaces, interfaces[:1]]).detach())
    torch.testing.assert_close(read, straight[-1], rtol=0, atol=0)


def test_a_graph_that_was_not_retained_is_not_gone_back_through_again() -> None:
    memory = small()
    interface = torch.randn(2, memory.interface_size, requires_grad=True)
    read, state = memory(interface)
    read.sum().backward()
    further, _ = memory(interface, state)
    with pytest.raises(RuntimeError, match="a second time"):
        further.sum().backward()


@pytest.mark.parametrize("num_links", LINKS)
def test_a_detached_state_goes_on_without_gradients(num_links: int | None) -> None:
    memory = small(num_links)
    interfaces = torch.randn(2, 6, 3, memory.interface_size, requires_grad=True)
    whole, _ = run(memory, interfaces.detach().flatten(0, 1))
    first, state = run(memory, interfaces[0])
    (over_first,) = torch.autograd.grad(first.square().sum(), interfaces)
    assert over_first[0].any()
    assert not over_first[1].any()
    later = state.detach()
    second, _ = run(memory, interfaces[1], later)
    torch.testing.assert_close(torch.cat([first, second]), whole, rtol=0, atol=0)
    (over_second,) = torch.autograd.grad(second.square().sum(), interfaces)
    assert not over_second[0].any()
    assert over_second[1].any()


def test_rows_are_reset_on_their_own() -> None:
    memory = small()
    interfaces = torch.randn(6, 3, memory.interface_size)
    fresh, _ = run(memory, interfaces)
    _, state = run(memory, interfaces)
    carried, _ = run(memory, interfaces, state)
    _, state = run(memory, interfaces)
    mixed, state = run(memory, interfaces, state.reset([1]))
    torch.testing.assert_close(mixed[:, 1], fresh[:, 1], rtol=0, atol=0)
    torch.testing.assert_close(mixed[:, ::2], carried[:, ::2], rtol=0, atol=0)
    torch.testing.assert_close(run(memory, interfaces, state.reset())[0], fresh, rtol=0, atol=0)


def test_no_tape_without_gradients() -> None:
    memory = small()
    interface = torch.randn(2, memory.interface_size, requires_grad=True)
    expected, _ = memory(interface)
    assert expected.requires_grad
    with torch.no_grad():
        read, state = memory(interface)
        assert not read.requires_grad
    torch.testing.assert_close(read, expected, rtol=0, atol=0)
    assert memory(interface, state)[0].requires_grad
    assert memory.eval()(interface)[0].requires_grad
    alone, _ = memory(interface[0])
    torch.testing.assert_close(alone, expected[0], rtol=0, atol=0)


# Dynamo itself looks at .grad of what it traces.
@pytest.mark.filterwarnings("ignore:The .grad attribute")
def test_copies_and_compiling() -> None:
    memory = small(3)
    interface = torch.randn(2, memory.interface_size, requires_grad=True)
    expected, _ = memory(interface)
    for other in (copy.deepcopy(memory), pickle.loads(pickle.dumps(memory))):
        assert repr(other) == repr(memory)
        torch.testing.assert_close(other(interface)[0], expected, rtol=0, atol=0)
    compiled = torch.compile(lambda x: 2 * memory(3 * x / 3)[0], backend="eager")
    torch.testing.assert_close(compiled(interface), 2 * expected)
    assert not list(memory.parameters())
    assert not memory.state_dict()


def used(memory: SparseMemory) -> Any:
    _, state = memory(torch.zeros(2, memory.interface_size))
    memory(torch.zeros(2, memory.interface_size), state)
    return state


@pytest.mark.parametrize(
    ("call", "error", "sentence"),
    [
        (lambda m: m([1.0]), TypeError, "interface is a list"),
        (lambda m: m(torch.zeros(2, 5)), ValueError, r"interface has shape \(2, 5\), where \(B, 22\)"),
        (lambda m: m(torch.zeros(2, 22).int()), TypeError, "dtype is torch.int32"),
        (lambda m: m(torch.zeros(2, 22), 7), TypeError, "state is a int"),
        (
            lambda m: m(torch.zeros(3, 22), m(torch.zeros(2, 22))[1]),
            ValueError,
            "state has 2 rows, where the interface",
        ),
        (
            lambda m: m(torch.zeros(2, 22).double(), m(torch.zeros(2, 22))[1]),
            TypeError,
            "interface is an array of float64",
        ),
        (lambda m: m(torch.zeros(2, 22), small(memory_size=30)(torch.zeros(2, 22))[1]), ValueError, "another memory"),
        (lambda m: m(torch.zeros(2, 22), used(m)), RuntimeError, "state has moved on"),
        (lambda m: used(m).detach(), RuntimeError, "state has moved on"),
        (lambda m: used(m).reset(), RuntimeError, "state has moved on"),
        (lambda m: m(torch.zeros(2, 22))[1].reset([2]), ValueError, "rows names row 2 of a state of 2 rows"),
        (lambda m: small(num_links=0), ValueError, "num_links = 0 does not work: it must be a"),
        (lambda m: small(memory_size=1), ValueError, "memory_size = 1 does not work"),
    ],
)
def test_mistakes(call: Any, error: type[Exception], sentence: str) -> None:
    with pytest.raises(error, match=sentence):
        call(small())


@pytest.mark.parametrize("end", [lambda state: state.detach(), lambda state: state.reset([0])])
def test_going_back_too_late(end: Any) -> None:
    memory = small()
    read, state = memory(torch.randn(2, 22, requires_grad=True))
    end(state)
    with pytest.raises(RuntimeError, match="backward comes too late: the memory's state was detached"):
        read.sum().backward()
    read, state = memory(torch.randn(2, 22, requires_grad=True))
    with torch.no_grad():
        memory(torch.randn(2, 22), state)
    with pytest.raises(RuntimeError, match="went through a step without gradients"):
        read.sum().backward()
