"""What one did around torch.nn.LSTM can be done around these modules."""

from __future__ import annotations

import copy
import importlib
import io
import multiprocessing
import os
import pickle
import subprocess
import sys
import warnings
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import sparsam
import torch
from sparsam.torch import NTM, SAM, MemoryState, SparseMemory, State
from test_module import MODELS, small
from torch import Tensor, nn
from torch.nn.utils import parametrize
from torch.utils.data import DataLoader, Dataset

prune: Any = importlib.import_module("torch.nn.utils.prune")

# Rows of a state.

EMPTY = [
    ([False, False, True, False], [2]),
    (torch.tensor([False, False, True, False]), [2]),
    (np.array([True, False, False, True]), [0, 3]),
    ([np.bool_(True), np.bool_(False), np.bool_(False), np.bool_(False)], [0]),
    ([False] * 4, []),
    ([], []),
    (torch.tensor([2]), [2]),
    (torch.tensor([False, True, True, False]).nonzero().flatten(), [1, 2]),
    (np.array([3]), [3]),
    ({1}, [1]),
    (range(2), [0, 1]),
    ((np.int64(0), torch.tensor(3)), [0, 3]),
]


def memory_state(rows: int = 4) -> tuple[SparseMemory, MemoryState]:
    memory, state = SparseMemory(20, word_size=4, num_heads=2), None
    for interface in torch.randn(5, rows, memory.interface_size):
        _, state = memory(interface, state)
    assert state is not None
    return memory, state


@pytest.mark.parametrize(("rows", "reset"), EMPTY)
def test_rows_are_numbers_or_a_mask(rows: Any, reset: list[int]) -> None:
    model, input = small(), torch.randn(6, 4, 3)
    fresh, (_, state) = model(input)[0], model(input)
    kept = model(input, copy.deepcopy(state))[0]
    expected = kept.clone()
    expected[:, reset] = fresh[:, reset]
    torch.testing.assert_close(model(input, copy.deepcopy(state).reset(rows))[0], expected)
    chosen = state.select(rows)
    assert chosen.rows == len(reset)
    torch.testing.assert_close(model(input[:, reset], chosen)[0], kept[:, reset])

    memory, beside = memory_state()
    vectors = torch.randn(4, memory.interface_size)
    kept, fresh = memory(vectors, beside.select(range(4)))[0], memory(vectors)[0]
    expected = kept.clone()
    expected[reset] = fresh[reset]
    torch.testing.assert_close(memory(vectors[reset], beside.select(rows))[0], kept[reset])
    torch.testing.assert_close(memory(vectors, beside.reset(rows))[0], expected)


@pytest.mark.parametrize(
    ("rows", "error", "sentence"),
    [
        ([-1], ValueError, "rows names row -1 of a state of 4 rows"),
        (torch.tensor([4]), ValueError, "rows names row 4 of a state of 4 rows"),
        ([10**30], ValueError, "of a state of 4 rows"),
        ([True, False], ValueError, "rows is a mask of 2 rows, where the state has 4"),
        (torch.zeros(5).bool(), ValueError, "rows is a mask of 5 rows, where the state has 4"),
        ([0, True, 1, 2], TypeError, "a mixture of numbers and of true or false"),
        (2, TypeError, "rows is a int, where the numbers of rows"),
        (torch.tensor(2), TypeError, "rows is a Tensor, where the numbers of rows"),
        ([1.0], TypeError, "rows has a float, where the number of a row was expected"),
        (torch.eye(4).bool(), TypeError, "rows has a list"),
        ("12", TypeError, "rows has a str"),
    ],
)
def test_rows_that_are_neither(rows: Any, error: type[Exception], sentence: str) -> None:
    _, state = small()(torch.randn(6, 4, 3))
    _, beside = memory_state()
    for use in (state.select, beside.select, state.reset, beside.reset):
        with pytest.raises(error, match=sentence):
            use(rows)
    assert state.is_current
    assert beside.is_current


def test_a_row_is_copied_by_any_number() -> None:
    model, input = small(), torch.randn(6, 4, 3)
    _, state = model(input)
    expected = model(input[:, [0, 0, 2, 3]], state.select([0, 0, 2, 3]))[0]
    for row in (-1, 4):
        with pytest.raises(ValueError, match=f"source names row {row} of a state of 4 rows"):
            state.copy_row(row, 1)
    with pytest.raises(TypeError, match="target has a bool"):
        state.copy_row(0, True)
    output, _ = model(input[:, [0, 0, 2, 3]], state.copy_row(torch.tensor(0), np.int64(1)))
    torch.testing.assert_close(output, expected)


# Padding, empty batches.


@pytest.mark.parametrize("kind", MODELS)
def test_padding_may_hold_anything(kind: Any) -> None:
    model, lengths = small(kind), [6, 2, 4]
    zeros = torch.randn(6, 3, 3)
    zeros[2:, 1] = 0
    zeros[4:, 2] = 0
    padded = zeros.clone()
    padded[2:, 1], padded[4:, 2] = float("nan"), float("inf")
    found = []
    for input in (zeros.requires_grad_(), padded.requires_grad_()):
        model.zero_grad()
        output, _ = model(input, lengths=lengths)
        output.square().sum().backward()
        found.append([output, input.grad, *(parameter.grad for parameter in model.parameters())])
    torch.testing.assert_close(found[1], found[0], rtol=0, atol=0)
    assert all(tensor.isfinite().all() for tensor in found[1])


@pytest.mark.parametrize("kind", [SAM, NTM])
def test_a_batch_may_have_no_rows(kind: Any) -> None:
    model = small(kind)
    input = torch.zeros(6, 0, 3, requires_grad=True)
    output, state = model(input, starts=torch.zeros(6, 0).bool())
    assert output.shape == (6, 0, 2)
    assert state.rows == 0
    output.sum().backward()
    assert input.grad is not None
    assert all(parameter.grad.count_nonzero() == 0 for parameter in model.parameters())
    output, state = model(input, state)
    state = pickle.loads(pickle.dumps(copy.deepcopy(state).reset()))
    output, state = model.eval()(input, state.select([]))
    assert (output.shape, state.rows) == ((6, 0, 2), 0)
    assert len(model.trace(input)) == 0
    assert small(kind, batch_first=True)(torch.zeros(0, 6, 3))[0].shape == (0, 6, 2)
    _, five = model(torch.randn(2, 5, 3))
    assert model(torch.randn(2, 0, 3), five.select([False] * 5))[0].shape == (2, 0, 2)
    memory = SparseMemory(20)
    vectors = torch.zeros(0, memory.interface_size, requires_grad=True)
    read, beside = memory(vectors, None, starts=torch.zeros(0).bool())
    read, beside = memory(vectors, beside)
    assert read.shape == (0, memory.read_size)
    torch.autograd.backward(read.sum())
    assert pickle.loads(pickle.dumps(beside)).rows == 0


# Gradients of gradients.


def test_gradients_of_gradients_are_refused_whatever_stands_behind() -> None:
    model, sentence = small(), "no gradients of gradients"
    memory = SparseMemory(20)
    calls: list[Any] = [
        (lambda x: model(x)[0], (4, 2, 3)),
        (lambda x: memory(x)[0], (2, memory.interface_size)),
    ]
    for output_of, shape in calls:
        heads: list[Any] = [lambda y: y.sum(), lambda y: y.square().sum(), lambda y: y.flatten()]
        for head in heads:
            input = torch.randn(shape, requires_grad=True)
            score = head(output_of(input))
            (gradient,) = torch.autograd.grad(score, input, torch.ones_like(score), create_graph=True)
            assert gradient.requires_grad
            penalty = (gradient.norm() - 1) ** 2
            for ask in (
                lambda penalty=penalty: penalty.backward(retain_graph=True),
                lambda penalty=penalty, input=input: torch.autograd.grad(penalty, input, retain_graph=True),
                lambda penalty=penalty, score=score, input=input: torch.autograd.grad(
                    penalty + score.sum(), input, retain_graph=True
                ),
            ):
                with pytest.raises(RuntimeError, match=sentence):
                    ask()
    # What does not ask for them is as ever.
    input = torch.randn(4, 2, 3, requires_grad=True)
    output, _ = model(input)
    (gradient,) = torch.autograd.grad(output.sum(), input, create_graph=True)
    again, _ = model(input)
    torch.testing.assert_close(gradient.detach(), torch.autograd.grad(again.sum(), input)[0])


# Parameters by name.


class Zero(nn.Module):
    def forward(self, weight: Tensor) -> Tensor:
        return 0 * weight


class Tagger(SAM):
    def __init__(self) -> None:
        super().__init__(3, 6, 2, memory_size=20)
        self.head = nn.Linear(2, 5)

    def forward(self, *arguments: Any, **keywords: Any) -> Any:
        output, state = super().forward(*arguments, **keywords)
        return self.head(output), state


PLACES = [("controller", "weight_ih"), ("controller", "weight_hh"), ("controller", "bias")]
PLACES += [(group, name) for group in ("interface", "output") for name in ("weight", "bias")]


@pytest.mark.parametrize(("group", "name"), PLACES)
def test_what_stands_in_a_parameters_place_is_used(group: str, name: str, tmp_path: Path) -> None:
    input = torch.randn(5, 2, 3)
    plain = small()
    with torch.no_grad():
        getattr(getattr(plain, group), name).zero_()
    expected, _ = plain(input)
    model = small()
    parametrize.register_parametrization(getattr(model, group), name, Zero())
    torch.testing.assert_close(model(input)[0], expected, rtol=0, atol=0)
    model(input)[0].sum().backward()
    assert getattr(model, group).parametrizations[name].original.grad.count_nonzero() == 0
    model.save_checkpoint(tmp_path / "model")
    torch.testing.assert_close(sparsam.torch.load_checkpoint(tmp_path / "model")(input)[0], expected)

    # Pruned, in every step of training, and for good.
    model = small()
    prune.l1_unstructured(getattr(model, group), name, amount=1.0)
    optimiser = torch.optim.SGD(model.parameters(), 0.1)
    for _ in range(2):
        output, _ = model(input)
        output.sum().backward()
        optimiser.step()
    assert getattr(getattr(model, group), name).count_nonzero() == 0
    mask = getattr(getattr(model, group), f"{name}_mask")
    assert mask.count_nonzero() == 0
    model(input)[0].sum().backward()
    prune.remove(getattr(model, group), name)
    before, _ = model(input)
    with torch.no_grad():
        getattr(getattr(model, group), name).fill_(0.5)
    assert not torch.equal(model(input)[0], before)


def test_normed_and_added_parameters_and_subclasses() -> None:
    input = torch.randn(5, 2, 3)
    model = small()
    expected, _ = model(input)
    nn.utils.parametrizations.weight_norm(model.controller, "weight_hh")
    torch.testing.assert_close(model(input)[0], expected)
    model(input)[0].sum().backward()
    assert model.controller.parametrizations.weight_hh.original1.grad.count_nonzero() > 0
    model.register_parameter("extra", nn.Parameter(torch.zeros(7)))
    model.controller.register_parameter("extra", nn.Parameter(torch.zeros(7)))
    torch.testing.assert_close(model(input)[0], expected)
    tagger = Tagger()
    output, state = tagger(input)
    assert output.shape == (5, 2, 5)
    output.sum().backward()
    assert tagger.head.weight.grad is not None
    tagger(input, copy.deepcopy(tagger).trace(input, state).state)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        model = small()
        nn.utils.weight_norm(model.output, "weight")
    torch.testing.assert_close(model(input)[0], expected)
    for _ in range(2):
        model(input)[0].sum().backward()
    with pytest.raises(RuntimeError, match="weight is made of other parameters now"):
        model.reset_parameters()


def test_new_parameters_are_drawn_where_they_are_now() -> None:
    model = small()
    prune.random_unstructured(model.controller, "bias", amount=0.5)
    nn.utils.parametrizations.orthogonal(model.output, "weight")

    def weights() -> list[Tensor]:
        return [getattr(getattr(model, group), name).clone() for group, name in PLACES if name != "bias"]

    before = weights()
    model.reset_parameters()
    assert not any(torch.equal(*pair) for pair in zip(before, weights(), strict=True))


# Saving states.


def test_states_load_under_the_safe_default_of_torch_load(tmp_path: Path) -> None:
    model, input = small(), torch.randn(6, 3, 3)
    _, state = model(input)
    memory, beside = memory_state(3)
    file = io.BytesIO()
    torch.save({"model": model.state_dict(), "state": state, "memory": beside}, file)
    file.seek(0)
    loaded = torch.load(file, weights_only=True)
    torch.testing.assert_close(model(input, loaded["state"])[0], model(input, state)[0], rtol=0, atol=0)
    vectors = torch.randn(3, memory.interface_size)
    torch.testing.assert_close(memory(vectors, loaded["memory"])[0], memory(vectors, beside)[0], rtol=0, atol=0)
    # In a process that has not imported sparsam.torch, the two classes are all that is to be allowed.
    assert {State, MemoryState} <= set(torch.serialization.get_safe_globals())


@pytest.mark.parametrize("num_links", [None, 3])
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_states_of_a_memory_are_kept(num_links: int | None, dtype: torch.dtype, tmp_path: Path) -> None:
    memory = SparseMemory(20, word_size=4, num_heads=2, num_links=num_links)
    state, path = None, tmp_path / "state.safetensors"
    for interface in torch.randn(9, 3, memory.interface_size, dtype=dtype, requires_grad=True):
        read, state = memory(interface, state)
    assert state is not None
    state.save(path)
    kept = [copy.deepcopy(state), pickle.loads(pickle.dumps(state)), state.select(range(3))]
    kept += [memory.load_state(path, dtype=dtype), copy.deepcopy(memory).load_state(path, dtype=dtype), state]
    read.sum().backward()  # what was kept has no part in the graph, and the state still has
    after = torch.randn(4, 3, memory.interface_size, dtype=dtype)
    expected: Any = None
    for one in kept:
        assert one.rows == 3
        assert one.is_current
        reads, going = [], one
        for interface in after:
            read, going = memory(interface, going)
            reads.append(read)
        expected = torch.stack(reads) if expected is None else expected
        torch.testing.assert_close(torch.stack(reads), expected, rtol=0, atol=0)
        assert not one.is_current
    chosen = memory.load_state(path, dtype=dtype).select([2, 0, 0])
    torch.testing.assert_close(memory(after[0][[2, 0, 0]], chosen)[0], expected[0][[2, 0, 0]])
    with pytest.raises(TypeError, match=r"copy\.deepcopy\(state\)"):
        copy.copy(chosen)
    for use in (pickle.dumps, copy.deepcopy, lambda state: state.save(path), lambda state: state.select([0])):
        with pytest.raises(RuntimeError, match="moved on"):
            use(chosen)
    with pytest.raises(ValueError, match="it is of a network"):
        SparseMemory(21, word_size=4, num_heads=2, num_links=num_links).load_state(path)


# Half precision.


@pytest.mark.parametrize("half", [torch.bfloat16, torch.float16])
def test_half_precision_comes_in_and_single_goes_out(half: torch.dtype) -> None:
    model, memory = small(), SparseMemory(20)
    input = torch.randn(6, 2, 3).to(half).requires_grad_()
    expected, _ = model(input.detach().float())
    output, _ = model(input)
    assert output.dtype == torch.float32
    torch.testing.assert_close(output, expected, rtol=0, atol=0)
    output.sum().backward()
    assert input.grad is not None
    assert input.grad.dtype == half
    assert model.trace(input.detach()).output.dtype == np.float32
    assert small(dtype=torch.float64)(input)[0].dtype == torch.float64
    vectors = torch.randn(2, memory.interface_size).to(half).requires_grad_()
    read, state = memory(vectors)
    read, state = memory(vectors, state)
    assert read.dtype == torch.float32
    read.sum().backward()
    _, double = memory(vectors.detach().double())
    assert memory(vectors.detach(), double)[0].dtype == torch.float64

    embed, head, to_memory = nn.Linear(3, 3), nn.Linear(2, 4), nn.Linear(3, memory.interface_size)
    with torch.autocast("cpu", dtype=half):
        output, _ = model(embed(torch.randn(6, 2, 3)))
        assert output.dtype == torch.float32
        assert head(output).dtype == half
        read, _ = memory(to_memory(torch.randn(2, 3)))
        assert read.dtype == torch.float32
    (head(output).float().sum() + read.sum()).backward()
    assert embed.weight.grad is not None
    assert to_memory.weight.grad is not None


# Threads and processes.


def run(script: str, **environment: str) -> str:
    unset = {name: value for name, value in os.environ.items() if name not in ("RAYON_NUM_THREADS", "OMP_NUM_THREADS")}
    done = subprocess.run(
        [sys.executable, "-c", script], env={**unset, **environment}, capture_output=True, text=True, timeout=120
    )
    assert done.returncode == 0, done.stderr
    return done.stdout.strip()


THREADS = """
import os, torch
from sparsam.torch import SAM
{set}
before = len(os.listdir("/proc/self/task"))
with torch.no_grad():
    SAM(4, 16, 3, memory_size=64)(torch.randn(5, 32, 4))
print(len(os.listdir("/proc/self/task")) - before)
"""

NUMPY_THREADS = """
import os, numpy as np, sparsam
before = len(os.listdir("/proc/self/task"))
sparsam.Network("sam", 4, 16, 3, memory_size=64).infer(np.zeros((5, 32, 4), np.float32))
print(len(os.listdir("/proc/self/task")) - before)
"""


@pytest.mark.skipif(not Path("/proc/self/task").exists(), reason="it counts threads as Linux does")
def test_threads_are_those_of_pytorch_unless_the_environment_says_otherwise() -> None:
    one, three = (THREADS.format(set=f"torch.set_num_threads({count})") for count in (1, 3))
    assert run(one) == "0"
    assert run(three) == "3"
    assert run(one, RAYON_NUM_THREADS="2") == "2"
    assert run(three, RAYON_NUM_THREADS="1") == "0"
    assert run(THREADS.format(set=""), OMP_NUM_THREADS="1") == "0"
    assert run(NUMPY_THREADS, OMP_NUM_THREADS="1") == "0"
    assert run(NUMPY_THREADS, OMP_NUM_THREADS="3") == "3"
    assert run(NUMPY_THREADS, OMP_NUM_THREADS="3,1", RAYON_NUM_THREADS="2") == "2"


FORK = """
import os, sys, torch
from sparsam.torch import SAM, SparseMemory
torch.set_num_threads({threads})
torch.manual_seed(0)
model, memory = SAM(4, 16, 3, memory_size=128), SparseMemory(64)
x, v = torch.randn(5, 12, 4), torch.randn(9, memory.interface_size)

def work(state=None, beside=None):
    output, state = model(x, state)
    output.square().sum().backward()
    read, beside = memory(v, beside)
    with torch.no_grad():
        again, state = model(x, state)
    return [output.detach(), again, read.detach(), *(p.grad.clone() for p in model.parameters())], state, beside

def after(state, beside):
    model.zero_grad()
    return work(state, beside)[0]

_, state, beside = work()
process = os.fork()
numbers = after(state, beside)
if process == 0:
    torch.save(numbers, sys.argv[1])
    os._exit(0)
assert os.waitpid(process, 0)[1] == 0
assert all(torch.equal(*pair) for pair in zip(numbers, torch.load(sys.argv[1]), strict=True))
assert os.path.exists("/proc/self/task")
"""


@pytest.mark.skipif(not hasattr(os, "fork"), reason="the system cannot fork")
@pytest.mark.parametrize("threads", [1, 3])
def test_a_forked_child_computes_the_same_numbers(threads: int, tmp_path: Path) -> None:
    # PyTorch's own threads do not run in a forked child; it is asked for work of one row here, which needs none.
    script = FORK.format(threads=threads)
    environment = {name: value for name, value in os.environ.items() if name != "RAYON_NUM_THREADS"}
    # Where PyTorch sees a GPU it refuses backward passes in a forked child after one in the parent.
    environment["CUDA_VISIBLE_DEVICES"] = ""
    command = [sys.executable, "-c", script, str(tmp_path / "numbers")]
    done = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=120)
    assert done.returncode == 0, done.stderr


class Encoded(Dataset[Tensor]):
    def __init__(self, encoder: Any) -> None:
        self.encoder = encoder

    def __len__(self) -> int:
        return 4

    def __getitem__(self, number: int) -> Tensor:
        with torch.no_grad():
            output: Tensor = self.encoder(torch.full((5, 8, 3), number / 4))[0]
        return output


@pytest.mark.parametrize("method", multiprocessing.get_all_start_methods())
def test_a_loaders_worker_computes_the_same_numbers(method: str) -> None:
    data = Encoded(small().eval())
    expected = torch.stack([data[number] for number in range(4)])
    loader = DataLoader(data, batch_size=4, num_workers=1, timeout=100, multiprocessing_context=method)
    (found,) = loader
    torch.testing.assert_close(found, expected, rtol=0, atol=0)
