"""Tensors on a GPU: the same numbers as on the CPU, to the bit, and everything around a module as it is there.

Skipped where there is no GPU.
"""

from __future__ import annotations

import copy
import io
from pathlib import Path
from typing import Any

import pytest
import torch
from sparsam.torch import SAM, SDNC, AdaptiveClip, SparseMemory, load_checkpoint
from test_module import MODELS, small
from torch import Tensor, nn
from torch.nn.utils.rnn import PackedSequence, pack_padded_sequence, pad_packed_sequence

pytestmark = pytest.mark.skipif(not torch.cuda.is_available(), reason="there is no GPU")

CUDA = "cuda"


def same(one: Tensor, other: Tensor) -> None:
    """To the bit, wherever they lie."""
    assert one.dtype == other.dtype
    torch.testing.assert_close(one.cpu(), other.cpu(), rtol=0, atol=0)


def pair(kind: Any = SAM, **options: Any) -> tuple[Any, Any]:
    """A module on the CPU, and the same on the GPU."""
    model = small(kind, **options)
    return model, copy.deepcopy(model).to(CUDA)


def learn(model: nn.Module, output: Tensor) -> list[Tensor]:
    weights = torch.linspace(-1, 2, output.numel(), dtype=output.dtype).view(output.shape)
    torch.autograd.backward((output * weights.to(output.device)).sum())
    return [parameter.grad for parameter in model.parameters() if parameter.grad is not None]


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@pytest.mark.parametrize("kind", MODELS)
def test_outputs_and_gradients_are_those_of_the_cpu(kind: Any, dtype: torch.dtype) -> None:
    here, there = pair(kind, dtype=dtype)
    input = torch.randn(7, 5, 3, dtype=dtype, requires_grad=True)
    moved = input.detach().to(CUDA).requires_grad_()
    output, _ = here(input)
    output_there, _ = there(moved)
    assert output_there.is_cuda
    same(output, output_there)
    gradients = learn(there, output_there)
    assert all(gradient.is_cuda for gradient in gradients)
    for one, other in zip(learn(here, output), gradients, strict=True):
        same(one, other)
    assert input.grad is not None
    assert moved.grad is not None
    assert moved.grad.is_cuda
    same(input.grad, moved.grad)


def test_a_state_goes_on_from_either_device() -> None:
    here, there = pair()
    input = torch.randn(9, 2, 3)
    expected, _ = here(input)
    with torch.no_grad():
        first, state = there(input[:4].to(CUDA))
        second, state = here(input[4:6], state)
        kept = io.BytesIO()
        torch.save(state, kept)
        kept.seek(0)
        third, _ = there(input[6:].to(CUDA), torch.load(kept))
    torch.testing.assert_close(torch.cat([first.cpu(), second, third.cpu()]), expected.detach())


def test_lengths_starts_and_packed_sequences_may_lie_there() -> None:
    here, there = pair()
    input, lengths, starts = torch.randn(6, 3, 3), torch.tensor([6, 2, 4]), torch.rand(6, 3) < 0.3
    expected = learn(here, here(input, lengths=lengths, starts=starts)[0])
    found = there(input.to(CUDA), lengths=lengths.to(CUDA), starts=starts.to(CUDA))[0]
    for one, other in zip(expected, learn(there, found), strict=True):
        same(one, other)
    with torch.no_grad():
        packed = pack_padded_sequence(input, lengths, enforce_sorted=False)
        output, _ = here(packed)
        moved, _ = there(packed.cuda())
    assert isinstance(moved, PackedSequence)
    assert moved.data.is_cuda
    for one, other in zip(pad_packed_sequence(output), pad_packed_sequence(moved), strict=True):
        same(one, other)


def test_gradients_are_carried_from_call_to_call() -> None:
    here, there = pair(dtype=torch.float64, carry_gradients=True)
    input = torch.randn(8, 2, 3, dtype=torch.float64)

    def halves(model: Any, input: Tensor) -> list[Tensor]:
        first, state = model(input[:4])
        second, _ = model(input[4:], state)
        return learn(model, torch.cat([first, second]))

    for one, other in zip(halves(here, input), halves(there, input.to(CUDA)), strict=True):
        same(one, other)


def test_an_input_on_the_cpu_meets_parameters_on_the_gpu() -> None:
    here, there = pair()
    input = torch.randn(4, 2, 3, requires_grad=True)
    output, _ = there(input)
    assert not output.is_cuda
    gradients = learn(there, output)
    for one, other in zip(learn(here, here(input.detach())[0]), gradients, strict=True):
        assert other.is_cuda
        same(one, other)


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
def test_autocast_of_the_gpu(dtype: torch.dtype) -> None:
    torch.manual_seed(0)
    model = nn.ModuleList([nn.Linear(3, 3), small(), nn.Linear(2, 1)]).to(CUDA)
    embed, recurrent, head = model
    scaler = torch.amp.GradScaler(CUDA)
    optimiser = torch.optim.SGD(model.parameters(), 0.1)
    with torch.autocast(CUDA, dtype=dtype):
        embedded = embed(torch.randn(5, 2, 3, device=CUDA))
        output, _ = recurrent(embedded)
        loss = head(output).square().mean()
    assert (embedded.dtype, output.dtype) == (dtype, torch.float32)
    before = [parameter.detach().clone() for parameter in model.parameters()]
    scaler.scale(loss).backward()
    scaler.step(optimiser)
    scaler.update()
    changed = [bool((one != other).any()) for one, other in zip(before, model.parameters(), strict=True)]
    assert all(changed)


@pytest.mark.parametrize("options", [{"fused": True}, {"foreach": True}, {"capturable": True}])
def test_optimisers_of_the_gpu(options: dict[str, Any]) -> None:
    here, there = pair()
    input = torch.randn(6, 4, 3)
    for model, given in ((here, {}), (there, options)):
        optimiser, clip = torch.optim.Adam(model.parameters(), 1e-2, **given), AdaptiveClip(start=1)
        for _ in range(3):
            optimiser.zero_grad()
            learn(model, model(input.to(next(model.parameters()).device))[0])
            clip(model.parameters())
            optimiser.step()
    for one, other in zip(here.parameters(), there.parameters(), strict=True):
        torch.testing.assert_close(one, other.cpu(), rtol=1e-3, atol=1e-4)


def test_checkpoints_pass_between_devices(tmp_path: Path) -> None:
    here, there = pair(SDNC)
    path = tmp_path / "model.safetensors"
    there.save_checkpoint(path)
    input = torch.randn(4, 2, 3)
    expected, _ = here(input)
    for device in ("cpu", CUDA):
        loaded = load_checkpoint(path, device=device)
        assert next(loaded.parameters()).device.type == device
        same(loaded(input.to(device))[0].detach(), expected.detach())
    made = small(SDNC, device=CUDA)
    made.load_state_dict(here.state_dict())
    same(made(input.to(CUDA))[0].detach(), expected.detach())


@pytest.mark.filterwarnings("ignore")  # PyTorch's own, of its compiler's modules and of graph breaks
def test_a_compiled_model_around_it() -> None:
    torch.manual_seed(0)
    recurrent = small().to(CUDA)
    head = nn.Linear(2, 1).to(CUDA)

    def model(input: Tensor) -> Tensor:
        result: Tensor = head(recurrent(input * 2)[0]).square().mean()
        return result

    input = torch.randn(5, 2, 3, device=CUDA)
    torch.testing.assert_close(torch.compile(model)(input), model(input))


def test_a_stream_of_its_own() -> None:
    here, there = pair()
    input = torch.randn(20, 64, 3)
    expected, _ = here(input)
    moved = input.to(CUDA)
    stream = torch.Stream(CUDA)
    torch.cuda.synchronize()
    with stream:
        # What is queued before it has to be done before its numbers are read.
        slow = torch.randn(2000, 2000, device=CUDA)
        for _ in range(20):
            slow = slow @ slow / 50
        output, _ = there(moved + 0 * slow.flatten()[0].clamp(0, 0))
    stream.synchronize()
    same(output.detach(), expected.detach())


def test_a_memory_without_a_network() -> None:
    memory = SparseMemory(word_size=4, memory_size=20, num_heads=2)
    torch.manual_seed(0)
    interface = torch.randn(6, 2, memory.interface_size, requires_grad=True)
    moved = interface.detach().to(CUDA).requires_grad_()
    for given in (interface, moved):
        reads, state = [], None
        for step in given:
            read, state = memory(step, state)
            assert read.device == given.device
            reads.append(read)
        torch.autograd.backward(torch.stack(reads).square().sum())
    assert interface.grad is not None
    assert moved.grad is not None
    assert bool((interface.grad[0] != 0).any())
    same(interface.grad, moved.grad)
