"""What records or transforms PyTorch's operators cannot see into these modules, and is told so in one sentence."""

from __future__ import annotations

import warnings
from typing import Any

import pytest
import torch
from sparsam.torch import SparseMemory
from test_module import small
from torch import Tensor


def modules() -> list[tuple[torch.nn.Module, Tensor]]:
    memory = SparseMemory(20, word_size=4, num_heads=2)
    return [(small(), torch.randn(4, 2, 3)), (memory, torch.randn(2, memory.interface_size))]


class Around(torch.nn.Module):
    def __init__(self, inner: torch.nn.Module) -> None:
        super().__init__()
        self.inner = inner

    def forward(self, input: Tensor) -> Tensor:
        output: Tensor = self.inner(input)[0]
        return output


@pytest.mark.parametrize("strict", [False, True])
def test_export(strict: bool) -> None:
    for module, input in modules():
        with pytest.raises(Exception, match=r"cannot be exported by torch\.export"):
            torch.export.export(Around(module), (input,), strict=strict)


def test_script_and_trace() -> None:
    for module, input in modules():
        # torch.jit is on its way out, and says so.
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            for outer in (module, Around(module)):
                with pytest.raises(RuntimeError, match=r"cannot be scripted by torch\.jit\.script"):
                    torch.jit.script(outer)
            with pytest.raises(RuntimeError, match=r"cannot be traced by torch\.jit\.trace"):
                torch.jit.trace(Around(module), input)  # type: ignore[no-untyped-call]


# PyTorch scripts a part of its own when it first makes forward derivatives.
@pytest.mark.filterwarnings("ignore:`torch.jit")
def test_function_transforms() -> None:
    for module, input in modules():
        call: Any
        for call in (
            lambda module=module, input=input: torch.func.grad(lambda x: module(x)[0].sum())(input),
            lambda module=module, input=input: torch.func.vmap(lambda x: module(x)[0])(input),
            lambda module=module, input=input: torch.func.jacrev(lambda x: module(x)[0])(input),
            lambda module=module, input=input: torch.func.jvp(lambda x: module(x)[0], (input,), (input,)),
        ):
            with pytest.raises(RuntimeError, match=r"cannot be transformed by torch\.func"):
                call()


# Dynamo itself looks at .grad of what it traces.
@pytest.mark.filterwarnings("ignore:The .grad attribute")
def test_compile_breaks_the_graph_around_states_too() -> None:
    model, pieces = small(carry_gradients=True), torch.randn(3, 4, 2, 3)

    def loss(module: Any) -> Any:
        state, total = None, torch.zeros(())
        for piece in pieces:
            output, state = module(2 * piece, state)
            total = total + output.square().sum()
        return total

    loss(model).backward()
    wanted = [parameter.grad.clone() for parameter in model.parameters()]
    model.zero_grad()
    loss(torch.compile(model, backend="eager")).backward()
    torch.testing.assert_close([parameter.grad for parameter in model.parameters()], wanted)
    whole = torch.compile(lambda x: model(x)[0], backend="eager", fullgraph=True)
    with pytest.raises(Exception, match="graph"):
        whole(pieces[0])
