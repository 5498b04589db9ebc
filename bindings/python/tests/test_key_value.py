"""KeyValueMemory beside plain PyTorch and a plain list, and what a FAISS index in its place is asked for."""

from __future__ import annotations

import copy
import inspect
import io
import os
import pickle
import random
import subprocess
import sys
import threading
from typing import Any

import pytest
import torch
from sparsam._configuration import KEY_VALUE_OPTIONS
from sparsam.torch import KeyValueMemory
from torch import Tensor

EPSILON = 1e-6


def small(memory_size: int = 20, **options: Any) -> KeyValueMemory:
    return KeyValueMemory(4, 3, memory_size, **{"dtype": torch.float64, **options})


def filled(entries: int = 15, memory_size: int = 20, **options: Any) -> KeyValueMemory:
    memory = small(memory_size, **options)
    memory.write(torch.randn(entries, 4, dtype=memory.dtype), torch.randn(entries, 3, dtype=memory.dtype))
    return memory


def cosines(queries: Tensor, keys: Tensor) -> Tensor:
    norms = [(vectors.square().sum(-1) + EPSILON).sqrt() for vectors in (queries, keys)]
    return queries @ keys.T / (norms[0][:, None] * norms[1])


def restated(queries: Tensor, keys: Tensor, values: Tensor, k: int, strengths: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """What is read, the words, and the weights."""
    similarities = cosines(queries, keys)
    words = similarities.detach().topk(k, 1).indices
    weights = (strengths[:, None] * similarities.gather(1, words)).softmax(1)
    return (weights[..., None] * values[words]).sum(1), words, weights


@pytest.mark.parametrize("index", ["auto", "ivf"])
def test_outputs_and_gradients_are_those_of_plain_pytorch(index: str) -> None:
    torch.manual_seed(0)
    memory = filled(index=index)
    keys, values = (rows(range(15)).requires_grad_() for rows in (memory.keys, memory.values))
    queries = torch.randn(6, 4, dtype=torch.float64, requires_grad=True)
    strengths = torch.rand(6, dtype=torch.float64).mul(9).requires_grad_()
    read, words, weights = memory.read(queries, 5, strengths, with_words=True)
    expected = restated(queries, keys, values, 5, strengths)
    torch.testing.assert_close((read, words, weights), expected, rtol=0, atol=1e-12)
    similarities = cosines(queries, keys).detach().topk(5, 1)
    found = memory.search(queries, 5)
    torch.testing.assert_close(found, (similarities.indices, similarities.values), rtol=0, atol=1e-12)

    over = [torch.randn_like(read), torch.randn_like(weights)]
    mine = torch.autograd.grad([read, weights], [queries, strengths], over, retain_graph=True)
    assert len(memory.gradients()[0]) == 0
    torch.autograd.backward([read, weights], over)
    theirs = torch.autograd.grad([expected[0], expected[2]], [queries, strengths, keys, values], over)
    torch.testing.assert_close(mine, theirs[:2], rtol=0, atol=1e-12)
    torch.testing.assert_close([queries.grad, strengths.grad], list(theirs[:2]), rtol=0, atol=1e-12)
    touched, over_keys, over_values = memory.gradients()
    assert touched.tolist() == sorted(set(words.flatten().tolist()))
    dense = [
        torch.zeros_like(rows).index_copy(0, touched, over) for rows, over in ((keys, over_keys), (values, over_values))
    ]
    torch.testing.assert_close(dense, list(theirs[2:]), rtol=0, atol=1e-12)
    memory.zero_gradients()
    assert [len(rows) for rows in memory.gradients()] == [0, 0, 0]


@pytest.mark.parametrize("k", [1, 4, 30])
def test_gradients_against_finite_differences(k: int) -> None:
    torch.manual_seed(1)
    memory = filled()
    queries = torch.randn(3, 4, dtype=torch.float64, requires_grad=True)
    strengths = torch.rand(3, dtype=torch.float64).mul(5).requires_grad_()
    strength = torch.tensor(2.5, dtype=torch.float64, requires_grad=True)
    assert torch.autograd.gradcheck(lambda q, s: memory.read(q, k, s, with_words=True)[::2], (queries, strengths))
    assert torch.autograd.gradcheck(lambda q, s: memory.read(q, k, s), (queries, strength))


def test_the_gradient_is_that_of_the_entries_as_they_were_read() -> None:
    torch.manual_seed(2)
    memory, queries = filled(), torch.randn(2, 4, dtype=torch.float64, requires_grad=True)
    expected = torch.autograd.grad(memory.read(queries, 5).sum(), queries)
    read, words, _ = memory.read(queries, 5, with_words=True)
    everywhere = list(range(15))
    memory.update(everywhere, torch.randn(15, 4, dtype=torch.float64), torch.randn(15, 3, dtype=torch.float64))
    lost = memory.write(torch.randn(10, 4, dtype=torch.float64), torch.randn(10, 3, dtype=torch.float64))
    assert lost.tolist() == [15, 16, 17, 18, 19, *everywhere[:5]]
    torch.testing.assert_close(torch.autograd.grad(read.sum(), queries, retain_graph=True), expected, rtol=0, atol=0)
    torch.autograd.backward(read.sum())
    # Those that were overwritten are gone, and so is their gradient; those that were updated have it.
    assert memory.gradients()[0].tolist() == sorted(set(words.flatten().tolist()) - set(lost.tolist()))


def test_entries_have_gradients_where_nothing_else_has() -> None:
    memory, queries = filled(), torch.randn(2, 4, dtype=torch.float64)
    with torch.no_grad():
        assert not memory.read(queries, 3).requires_grad
    read, words, weights = memory.read(queries, 3, with_words=True)
    assert read.requires_grad
    assert weights.requires_grad
    assert not words.requires_grad
    torch.autograd.backward(read.sum(), retain_graph=True)
    once = memory.gradients()
    torch.autograd.backward(read.sum())
    torch.testing.assert_close(memory.gradients(), (once[0], 2 * once[1], 2 * once[2]))
    with pytest.raises(RuntimeError, match="backward through the graph a second time"):
        torch.autograd.backward(read.sum())
    with pytest.raises(RuntimeError, match="no gradients of gradients"):
        query = queries.requires_grad_()
        (gradient,) = torch.autograd.grad(memory.read(query, 3).square().sum(), query, create_graph=True)
        torch.autograd.backward(gradient.sum())


def test_entries_are_learnt_by_their_gradients() -> None:
    torch.manual_seed(3)
    memory, queries = filled(5), torch.randn(4, 4, dtype=torch.float64)
    wanted = torch.randn(4, 3, dtype=torch.float64)
    losses = []
    for _ in range(300):
        loss = (memory.read(queries, 4, 3.0) - wanted).square().mean()
        torch.autograd.backward(loss)
        words, keys, values = memory.gradients()
        memory.update(words, memory.keys(words) - keys, memory.values(words) - values)
        memory.zero_gradients()
        losses.append(float(loss.detach()))
    assert losses[-1] < losses[0] / 100


@pytest.mark.parametrize("seed", range(20))
def test_words_are_taken_free_first_then_least_recently_used(seed: int) -> None:
    chance, size = random.Random(seed), 9
    memory, order, keys = small(size), list(range(size)), dict[int, list[float]]()
    torch.manual_seed(seed)

    def touch(words: list[int]) -> None:
        for word in words:
            order.remove(word)
            order.append(word)

    for _ in range(60):
        call, count = chance.choice(["write", "update", "read", "search", "look", "keep"]), chance.randrange(1, 4)
        rows, values = torch.randn(count, 4, dtype=torch.float64), torch.randn(count, 3, dtype=torch.float64)
        if call == "write":
            expected = order[:count]
            words = memory.write(rows, values).tolist()
            assert words == expected
            touch(words)
            keys.update(zip(words, rows.tolist(), strict=True))
        elif call == "update" and keys:
            words = chance.choices(sorted(keys), k=count)
            memory.update(words, rows)
            touch(words)
            keys.update(zip(words, rows.tolist(), strict=True))
        elif call in ("read", "search", "look"):
            used = call != "look"
            if call == "read":
                _, found, _ = memory.read(rows, 3, with_words=True)
            else:
                found, _ = memory.search(rows, 3, count_as_use=used)
            assert found.shape == (count, min(3, len(keys)))
            if keys:
                stored = torch.tensor([keys[word] for word in range(len(keys))], dtype=torch.float64)
                torch.testing.assert_close(found, cosines(rows, stored).topk(found.shape[1], 1).indices)
            if used:
                for words in found.tolist():
                    touch(words[::-1])
        elif call == "keep":
            memory = chance.choice([copy.deepcopy, lambda m: pickle.loads(pickle.dumps(m)), reloaded])(memory)
        assert len(memory) == len(keys)


def reloaded(memory: KeyValueMemory) -> KeyValueMemory:
    other = filled(memory.memory_size, memory.memory_size)
    other.load_state_dict(memory.state_dict())
    return other


def test_recall_stays_while_all_keys_are_overwritten() -> None:
    torch.manual_seed(4)
    size, centres = 100_000, torch.randn(2000, 32)
    memory = KeyValueMemory(32, 1, size, index="ivf")
    keys = torch.empty(0)
    for _ in range(5):
        keys = centres[torch.randint(2000, (size,))] + 0.3 * torch.randn(size, 32)
        words = memory.write(keys, torch.zeros(size, 1))
        assert words.tolist() == list(range(size))
    queries = keys[torch.randint(size, (100,))] + 0.1 * torch.randn(100, 32)
    found, _ = memory.search(queries, 4)
    best = cosines(queries, keys).topk(4, 1).indices
    recall = sum(len(set(a) & set(b)) for a, b in zip(found.tolist(), best.tolist(), strict=True)) / 400
    assert recall >= 0.95, recall


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_what_is_kept_goes_on_to_the_bit(dtype: torch.dtype) -> None:
    torch.manual_seed(5)
    memory = filled(25, 30, dtype=dtype)
    memory.search(torch.randn(5, 4, dtype=dtype), 3, count_as_use=True)
    network = torch.nn.ModuleDict({"memory": memory, "layer": torch.nn.Linear(2, 2)})
    files = [io.BytesIO(), io.BytesIO()]
    torch.save(network.state_dict(), files[0])
    torch.save(memory, files[1])
    for file in files:
        file.seek(0)
    inside = torch.nn.ModuleDict({"memory": small(30, dtype=dtype), "layer": torch.nn.Linear(2, 2)})
    inside.load_state_dict(torch.load(files[0]))
    kept: list[Any] = [
        inside["memory"],
        torch.load(files[1]),
        copy.deepcopy(memory),
        pickle.loads(pickle.dumps(memory)),
    ]
    queries, rows = torch.randn(3, 4, dtype=dtype), (torch.randn(9, 4, dtype=dtype), torch.randn(9, 3, dtype=dtype))

    def go_on(one: KeyValueMemory) -> list[Tensor]:
        found = [*one.read(queries, 7, with_words=True), one.write(*rows), *one.search(queries, 40)]
        return [*found, one.keys(range(len(one))), one.values(range(len(one))), one.state_dict()["_extra_state"]]

    expected = go_on(copy.deepcopy(memory))
    for one in kept:
        assert (len(one), one.dtype, repr(one)) == (25, dtype, repr(memory))
        torch.testing.assert_close(go_on(one), expected, rtol=0, atol=0)
    assert len(pickle.dumps(KeyValueMemory(32, 32, 1_000_000_000))) < 5000


def test_states_that_cannot_be_used() -> None:
    memory = filled()
    state = memory.state_dict()
    with pytest.raises(ValueError, match=r"it is of a memory .* where one of .* was expected"):
        small(21).load_state_dict(state)
    damaged = state["_extra_state"].clone()
    damaged[-1] ^= 1
    before = memory.keys(range(15))
    for wrong, sentence in ((damaged, "by their checksum"), (damaged[:50], "cut off"), ({}, "is not that of a Key")):
        with pytest.raises(ValueError, match=sentence):
            memory.load_state_dict({"_extra_state": wrong})
    torch.testing.assert_close(memory.keys(range(15)), before, rtol=0, atol=0)


def test_half_precision_is_cast_and_zero_keys_are_like_nothing() -> None:
    memory = KeyValueMemory(4, 3, 20)
    keys, values = torch.randn(6, 4).bfloat16(), torch.randn(6, 3).half()
    memory.write(keys, values)
    torch.testing.assert_close(memory.keys(range(6)), keys.float(), rtol=0, atol=0)
    query = torch.randn(2, 4).half().requires_grad_()
    read = memory.read(query, 3)
    torch.autograd.backward(read.sum())
    assert query.grad is not None
    assert (read.dtype, query.grad.dtype) == (torch.float32, torch.float16)
    memory.update([2], torch.zeros(1, 4))
    words, similarities = memory.search(torch.randn(3, 4), 6)
    torch.testing.assert_close(similarities[words == 2], torch.zeros(3), rtol=0, atol=0)
    memory.clear()
    assert len(memory) == 0
    assert memory
    torch.testing.assert_close(memory.read(torch.randn(2, 4), 3), torch.zeros(2, 3))
    assert memory.search(torch.randn(2, 4), 3)[0].shape == (2, 0)
    assert memory.write(torch.randn(2, 4), torch.randn(2, 3)).tolist() == [0, 1]


@pytest.mark.parametrize(
    ("call", "error", "sentence"),
    [
        (
            lambda m, x: m.write(x(21, 4), x(21, 3)),
            ValueError,
            "21 entries were to be written at once to a memory of 20 w",
        ),
        (lambda m, x: m.write(x(2, 4), x(3, 3)), ValueError, "values has 3 rows, where keys has 2"),
        (lambda m, x: m.write(x(2, 5), x(2, 3)), ValueError, r"keys has shape \(2, 5\), where \(n, 4\) was expected"),
        (lambda m, x: m.write(x(4), x(3)), ValueError, r"keys has shape \(4,\), where \(n, 4\) was expected"),
        (
            lambda m, x: m.write(x(2, 4).float(), x(2, 3)),
            TypeError,
            r"keys has dtype torch.float32, where the memory's",
        ),
        (lambda m, x: m.write([[1.0]], x(2, 3)), TypeError, "keys is a list, where a Tensor was expected"),
        (lambda m, x: m.write(x(2, 4) / 0, x(2, 3)), ValueError, "the square of key 0 is inf, where a finite number"),
        (
            lambda m, x: m.write(x(2, 4), x(2, 3) * float("nan")),
            ValueError,
            "number 0 of value 0 is NaN, where a finite",
        ),
        (
            lambda m, x: m.update([3, 15, 17], x(3, 4)),
            ValueError,
            "words 15 and 17 hold no entry: the memory holds",
        ),
        (lambda m, x: m.update([-1], x(1, 4)), ValueError, "words has -1, where the number of a word was expected"),
        (lambda m, x: m.update([1 << 40]), ValueError, "words has 1099511627776, where the number of a word was"),
        (lambda m, x: m.update([0.5], x(1, 4)), TypeError, "words has dtype torch.float32, where the numbers of words"),
        (lambda m, x: m.update([True], x(1, 4)), TypeError, "words has dtype torch.bool"),
        (lambda m, x: m.update([[1]], x(1, 4)), ValueError, r"words has shape \(1, 1\), where \(n,\) was expected"),
        (lambda m, x: m.update([1], x(2, 4)), ValueError, "keys has 2 rows, where words has 1"),
        (
            lambda m, x: m.values([15]),
            ValueError,
            "word 15 holds no entry: the memory holds entries in words 0 to 14",
        ),
        (lambda m, x: m.search(x(2, 4), 0), ValueError, "k is 0, where at least 1 was expected"),
        (lambda m, x: m.search(x(2, 4), 1.5), TypeError, "k is 1.5, where an integer was expected"),
        (
            lambda m, x: m.read(x(2, 4), 1, x(3)),
            ValueError,
            r"strength has shape \(3,\), where a number, \(\) or \(2,\)",
        ),
        (lambda m, x: m.read(x(2, 4), 1, float("inf")), ValueError, "strength 0 is inf, where a finite number was exp"),
        (lambda m, x: m.read(x(2, 4) * float("nan"), 1), ValueError, "the square of query 0 is NaN, where a finite"),
        (
            lambda m, x: KeyValueMemory(0, 3, 20),
            ValueError,
            "key_size = 0 does not work: it must be a whole number from 1",
        ),
        (lambda m, x: KeyValueMemory(4, 3, 20, index="best"), ValueError, "index is 'best', where one of auto, linear"),
        (lambda m, x: KeyValueMemory(4, 3, 20, dtype=torch.half), TypeError, "dtype is torch.float16, where"),
    ],
)
def test_mistakes_are_explained_and_change_nothing(call: Any, error: type[Exception], sentence: str) -> None:
    memory = filled()
    before = memory.state_dict()["_extra_state"]
    with pytest.raises(error, match=sentence):
        call(memory, lambda *shape: torch.ones(*shape, dtype=torch.float64))
    torch.testing.assert_close(memory.state_dict()["_extra_state"], before)


def test_keywords_and_defaults_are_those_of_the_library() -> None:
    parameters = dict(inspect.signature(KeyValueMemory.__init__).parameters)
    assert set(parameters) == {"self", "dtype", *KEY_VALUE_OPTIONS}
    for name, option in KEY_VALUE_OPTIONS.items():
        assert parameters[name].annotation == option.type
        assert f"\n        {name}: " in f"{KeyValueMemory.__doc__}"
        if name.startswith("index"):
            assert parameters[name].default == option.default


def test_threads_take_turns() -> None:
    memory, failures = filled(20, 500, dtype=torch.float32), list[Exception]()

    def use(seed: int) -> None:
        generator = torch.Generator().manual_seed(seed)
        try:
            for _ in range(100):
                words = memory.write(torch.randn(3, 4, generator=generator), torch.full((3, 3), float(seed)))
                memory.update(words, torch.randn(3, 4, generator=generator))
                torch.autograd.backward(memory.read(torch.randn(2, 4, generator=generator), 5).sum())
                memory.state_dict()
        except Exception as error:  # whatever it is, the test shows it
            failures.append(error)

    threads = [threading.Thread(target=use, args=(seed,)) for seed in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert not failures
    assert len(memory) == 500
    everything, similarities = memory.search(torch.randn(1, 4), 500)
    assert sorted(everything[0].tolist()) == list(range(500))
    torch.testing.assert_close(
        reloaded_as(memory).search(memory.keys([7]), 500)[1], memory.search(memory.keys([7]), 500)[1]
    )
    assert similarities.isfinite().all()


def reloaded_as(memory: KeyValueMemory) -> KeyValueMemory:
    other = KeyValueMemory(memory.key_size, memory.value_size, memory.memory_size, dtype=memory.dtype)
    other.load_state_dict(memory.state_dict())
    return other


FORKED = """
import os, torch
from sparsam.torch import KeyValueMemory
torch.manual_seed(0)
memory = KeyValueMemory(4, 3, 20)
memory.write(torch.randn(20, 4), torch.randn(20, 3))
queries, rows = torch.randn(2, 4), (torch.randn(5, 4), torch.randn(5, 3))
def go_on():
    return [memory.write(*rows).tolist(), memory.search(queries, 5)[0].tolist()]
read, write = os.pipe()
if os.fork() == 0:
    os.write(write, repr(go_on()).encode())
    os._exit(0)
os.wait()
assert os.read(read, 10_000).decode() == repr(go_on())
"""


@pytest.mark.skipif(not hasattr(os, "fork"), reason="the system cannot fork")
def test_a_forked_process_has_a_memory_of_its_own() -> None:
    result = subprocess.run([sys.executable, "-c", FORKED], capture_output=True, text=True, check=False)
    assert result.returncode == 0, result.stderr


# Dynamo itself looks at .grad of what it traces.
@pytest.mark.filterwarnings("ignore:The .grad attribute")
def test_what_cannot_see_into_it_says_so() -> None:
    memory, queries = filled(), torch.randn(2, 4, dtype=torch.float64)
    with pytest.raises(RuntimeError, match=r"transformed by torch\.func"):
        torch.func.vmap(lambda query: memory.read(query[None], 2))(queries)
    compiled = torch.compile(lambda q: memory.read(q * 1.0, 2) + 1, backend="eager")
    torch.testing.assert_close(compiled(queries), memory.read(queries, 2) + 1)


def test_entries_get_no_gradients_where_none_are_asked_for() -> None:
    memory = KeyValueMemory(4, 2, 20)
    memory.write(torch.randn(5, 4), torch.randn(5, 2))
    queries = torch.randn(3, 4, requires_grad=True)
    torch.autograd.backward(memory.read(queries, 2, entry_gradients=False).sum())
    assert queries.grad is not None
    assert len(memory.gradients()[0]) == 0
    torch.autograd.backward(memory.read(queries, 2).sum())
    assert len(memory.gradients()[0]) > 0


def test_many_words_for_many_queries_are_found_or_refused_and_never_end_the_interpreter() -> None:
    torch.manual_seed(0)
    memory = KeyValueMemory(8, 1, 40_000, index="ivf")
    keys = torch.randn(40_000, 8)
    memory.write(keys, torch.zeros(40_000, 1))
    queries = torch.randn(4, 8)
    found, _ = memory.search(queries, 1000)
    best = (torch.nn.functional.normalize(queries) @ torch.nn.functional.normalize(keys).T).topk(1000).indices
    right = [len(set(one.tolist()) & set(other.tolist())) / 1000 for one, other in zip(found, best, strict=True)]
    assert min(right) > 0.8
    assert memory.search(queries, 2**70)[0].shape == (4, 40_000)
    with pytest.raises(MemoryError, match="the words found"):
        memory.search(torch.randn(1, 8).expand(1_000_000, 8), 40_000)
    assert memory.keys({0, 1}).shape == (2, 8)
