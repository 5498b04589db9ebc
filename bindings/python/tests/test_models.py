"""All five modules: against finite differences, and against their equations in plain PyTorch."""

from __future__ import annotations

from typing import Any

import pytest
import restatement
import torch
from sparsam import Trace
from sparsam.torch import DAM, DNC, NTM, SAM, SDNC
from torch import Tensor

MODELS: list[Any] = [SAM, SDNC, DAM, NTM, DNC]


def module(kind: Any, *sizes: int | None, seed: int = 0, scale: float = 2.5, **options: Any) -> Any:
    """A module whose weights are large enough for gates to open and close and heads to prefer words, and all of one
    size, whatever first values it would learn best from."""
    torch.manual_seed(seed)
    model = kind(*sizes, dtype=torch.float64, **options)
    with torch.no_grad():
        for name, parameter in model.named_parameters():
            if parameter.dim() == 2:
                fan_in = parameter.shape[1] + (model.hidden_size if name.endswith("weight_ih") else 0)
                parameter.uniform_(-(fan_in**-0.5), fan_in**-0.5)
            else:
                parameter.zero_()
            parameter.mul_(scale).add_(0.2 * torch.randn_like(parameter))
    return model


def close_what_carries_no_gradient(model: Any) -> None:
    """Finite differences see the SDNC's links and the DNC's usage, through which no gradient flows by definition. With
    these gates shut they do not matter."""
    with torch.no_grad():
        heads = model._configuration.option("num_heads")
        size = model._configuration.option("word_size")
        bias, weight = model.interface.bias, model.interface.weight
        if isinstance(model, DNC):
            place = heads * size + heads + size + 1 + 2 * size + heads
            bias[place], weight[place] = -60.0, 0.0
        else:
            for head in range(heads):
                place = head * (size + 4) + size + 1
                for mode in (place, place + 2):
                    bias[mode], weight[mode] = -60.0, 0.0


def passes_gradcheck(model: Any, input: Tensor, lengths: list[int] | None = None) -> bool:
    names = [name for name, _ in model.named_parameters()]

    def call(input: Tensor, *parameters: Tensor) -> Tensor:
        named = dict(zip(names, parameters, strict=True))
        output: Tensor = torch.func.functional_call(model, named, (input,), {"lengths": lengths})[0]
        return output

    return torch.autograd.gradcheck(call, (input, *model.parameters()))


@pytest.mark.parametrize("kind", MODELS)
@pytest.mark.parametrize("seed", range(4))
def test_gradients_over_random_shapes(kind: Any, seed: int) -> None:
    random = torch.Generator().manual_seed(seed)

    def pick(least: int, most: int) -> int:
        return int(torch.randint(least, most + 1, (), generator=random))

    heads = pick(1, 3)
    output_size = [None, pick(1, 3)][seed % 2]
    options = {"memory_size": pick(heads, 12), "word_size": pick(1, 5), "num_heads": heads}
    model = module(kind, pick(1, 3), pick(2, 5), output_size, seed=seed, batch_first=seed % 3 == 0, **options)
    if kind in (SDNC, DNC):
        close_what_carries_no_gradient(model)
    rows, steps = pick(1, 6), pick(2, 5)
    lengths = [steps] + [pick(0, steps) for _ in range(rows - 1)]
    shape = (rows, steps) if model.batch_first else (steps, rows)
    input = torch.randn(*shape, model.input_size, dtype=torch.float64, requires_grad=True)
    assert passes_gradcheck(model, input, lengths)


@pytest.mark.parametrize("kind", MODELS)
def test_gradients_of_one_step_with_every_gate_open(kind: Any) -> None:
    model = module(kind, 2, 4, None, memory_size=6, word_size=3, num_heads=2)
    assert passes_gradcheck(model, torch.randn(1, 2, 2, dtype=torch.float64, requires_grad=True))


RESTATEMENTS: dict[Any, Any] = {
    SAM: restatement.Sam,
    SDNC: restatement.Sdnc,
    DAM: restatement.Dam,
    NTM: restatement.Ntm,
    DNC: restatement.Dnc,
}


SIZES: list[tuple[Any, tuple[int, ...]]] = [
    *((kind, sizes) for kind in RESTATEMENTS if kind is not SDNC for sizes in [(40, 6, 3), (5, 4, 2), (3, 3, 3)]),
    *((SAM, sizes) for sizes in [(40, 6, 3, 1), (90, 8, 2, 7)]),
    # With one word found by content, no two words are read alike. Links of such words would tie where rows are cut, and
    # rounding would decide.
    *(
        (SDNC, sizes)
        for sizes in [(5, 4, 2, 4, 8), (3, 3, 3, 4, 8), (40, 6, 3, 1, 2), (100, 5, 1, 1, 4), (70, 3, 2, 1, 1)]
    ),
]


@pytest.mark.parametrize(("kind", "sizes"), SIZES)
@pytest.mark.parametrize("output_size", [None, 2])
def test_agrees_with_its_equations_in_plain_pytorch(kind: Any, sizes: tuple[int, ...], output_size: int | None) -> None:
    options = dict(zip(["memory_size", "word_size", "num_heads", "num_reads", "num_links"], sizes, strict=False))
    for seed in range(3):
        model = module(kind, 3, 8, output_size, seed=seed, **options)
        input = torch.randn(25, 2, 3, dtype=torch.float64, requires_grad=True)
        output, _ = model(input)
        memories = [RESTATEMENTS[kind](*sizes) for _ in range(2)]
        expected = torch.stack([restatement.run(model, memory, input[:, b]) for b, memory in enumerate(memories)], 1)
        torch.testing.assert_close(output, expected, rtol=0, atol=1e-10)
        check_trace(model.trace(input), memories)

        weights = torch.randn_like(output)
        wanted = [input, *model.parameters()]
        mine = torch.autograd.grad((output * weights).sum(), wanted)
        theirs = torch.autograd.grad((expected * weights).sum(), wanted)
        for name, a, b in zip(["input", *dict(model.named_parameters())], mine, theirs, strict=True):
            torch.testing.assert_close(a, b, rtol=1e-8, atol=1e-8, msg=name)


def check_trace(trace: Trace, memories: list[Any]) -> None:
    """The last step's weights are those of the restatements, which have one for every word."""
    for row, memory in enumerate(memories):
        for kind, expected in (("read", memory.weights), ("write", memory.writes)):
            shown, dense_expected = torch.from_numpy(trace[f"{kind}_weights"][-1, row]), torch.stack(expected).detach()
            if f"{kind}_words" in trace:
                # A word that a head writes both as read and as unused stands there twice.
                words = torch.from_numpy(trace[f"{kind}_words"][-1, row])
                dense = torch.zeros(len(words), len(memory.memory), dtype=torch.float64)
                shown = dense.scatter_add(1, words.clamp(min=0), shown)
            else:
                # Which of the words that nobody has used yet is the least used one may be decided by rounding.
                shown, dense_expected = shown.sort(1).values, dense_expected.sort(1).values
            torch.testing.assert_close(shown, dense_expected, rtol=0, atol=1e-10)


@pytest.mark.parametrize("kind", MODELS)
def test_names_and_shapes_of_parameters(kind: Any) -> None:
    model = kind(7, 10, 2, memory_size=20, word_size=5, num_heads=3)
    read = 15
    interface = {SAM: 3 * 13, DAM: 3 * 13, NTM: 3 * (2 * 11 + 10), DNC: 15 + 15 + 15 + 3, SDNC: 3 * 9 + 7}[kind]
    assert {name: tuple(parameter.shape) for name, parameter in model.state_dict().items()} == {
        "controller.weight_ih": (40, 7 + read),
        "controller.weight_hh": (40, 10),
        "controller.bias": (40,),
        "interface.weight": (interface, 10),
        "interface.bias": (interface,),
        "output.weight": (2, 10 + read),
        "output.bias": (2,),
    }
    assert torch.equal(model.controller.bias[10:20], torch.ones(10))
    assert model.controller.bias.sum() == 10
    bound = (7 + read + 10) ** -0.5
    assert 0.9 * bound < model.controller.weight_hh.abs().max() <= bound


@pytest.mark.parametrize("kind", MODELS)
def test_single_precision_is_near_double(kind: Any) -> None:
    model = module(kind, 3, 6, 2, scale=1.0, memory_size=16, word_size=4, num_heads=2)
    input = torch.randn(6, 2, 3, dtype=torch.float64)
    double, _ = model(input)
    single, _ = model.float()(input.float())
    torch.testing.assert_close(single.double(), double, rtol=1e-3, atol=1e-4)
