"""Tasks: the sequences of the command to the bit, as arrays, as a data set, and their networks as runs."""

from __future__ import annotations

import json
import multiprocessing
import pickle
import struct
import zipfile
import zlib
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import sparsam
import torch
from sparsam import Network
from sparsam._configuration import TASK_OPTIONS
from sparsam.tasks import TASKS, Batch, Task, save_run
from sparsam.tasks.torch import TaskBatch, TaskDataset, check_gradients, loss, wrong
from sparsam.torch import SAM, TokenNetwork
from test_command import shown
from test_command import sparsam as command
from torch import nn
from torch.utils.data import DataLoader

MEMORY: dict[str, Any] = {"memory_size": 64, "word_size": 8, "num_heads": 2}
SIZES = ["--hidden-size", 12, "--embedding-size", 7, "--memory-size", 64, "--word-size", 8, "--heads", 2]

# What a type checker would refuse.
FIVE: Any = 5
THREE_LEVELS: Any = (1, 2, 3)


def write_stories(folder: Path) -> None:
    """As those of bAbI."""
    (folder / "en-10k").mkdir()
    places = ("hall", "garden", "office")
    stories = [
        f"1 Mary went to the {places[n % 3]}.\n2 John went to the {places[n // 3 % 3]}.\n"
        f"3 Where is Mary?\t{places[n % 3]}\t1\n"
        for n in range(40)
    ]
    for part in ("train", "test"):
        (folder / "en-10k" / f"qa1_single-supporting-fact_{part}.txt").write_text("".join(stories))


def write_drawings(folder: Path) -> None:
    """As those of Omniglot: white pictures with a black bar, of which each character has its own."""

    def png(bar: int) -> bytes:
        picture = np.full((105, 106), 255, np.uint8)
        picture[:, 1 + bar : 9 + bar] = 0
        # Each line says first that it is not filtered.
        picture[:, 0] = 0
        rows = picture.tobytes()

        def chunk(kind: bytes, data: bytes) -> bytes:
            return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))

        header = struct.pack(">IIBBBBB", 105, 105, 8, 0, 0, 0, 0)
        return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + chunk(b"IDAT", zlib.compress(rows)) + chunk(b"IEND", b"")

    for part, first in (("background", 0), ("evaluation", 40)):
        with zipfile.ZipFile(folder / f"images_{part}.zip", "w") as archive:
            for character in range(20):
                for drawing in range(2):
                    name = f"Alphabet{character // 4}/character{character:02}/{first:04}_{drawing + 1:02}.png"
                    archive.writestr(f"images_{part}/{name}", png(first + 2 * character))


def options(name: str, folder: Path) -> dict[str, Any]:
    """Of a task whose files, if it reads some, are written to the folder."""
    random = np.random.default_rng(1)
    if name == "babi":
        write_stories(folder)
        return {"data": folder, "only": 1}
    elif name == "haystack":
        write_stories(folder)
        (folder / "book.txt").write_text("It was a truth. Was it universally acknowledged? " * 40)
        return {"data": folder, "tasks": "1", "background": folder / "book.txt"}
    elif name == "omniglot":
        write_drawings(folder)
        return {"data": folder, "labels": 8}
    elif name == "sequences":
        inputs = random.standard_normal((30, 6, 3)).astype(np.float32)
        np.savez(folder / "a.npz", inputs=inputs, targets=inputs.cumsum(1)[:, :, :2], lengths=random.integers(2, 7, 30))
        return {"data": folder / "a.npz"}
    elif name == "text":
        (folder / "a.txt").write_text("the cat sat on the mat. " * 60)
        return {"data": folder / "a.txt", "tokens": "chars", "length": 20}
    return {}


def network(task: Task, seed: int) -> Network:
    """The network that the command starts with."""
    sizes = (7 if task.vocabulary_size else task.input_size, 12, task.output_size)
    tokens = task.vocabulary_size or None
    bound = task.input_bound(7)
    words = task.sentence_size or None
    return Network("sam", *sizes, vocabulary_size=tokens, sentence_size=words, seed=seed, input_bound=bound, **MEMORY)


@pytest.mark.parametrize("name", TASKS)
def test_sequences_are_those_of_the_command(name: str, tmp_path: Path) -> None:
    given = options(name, tmp_path)
    task, run = Task(name, seed=3, **given), tmp_path / "run"
    flags = [text for option, value in given.items() for text in (f"--{option}", value)]
    training = ["--seed", 3, "--batches", 2, "--cooldown", 0, "--evaluate-every", 1, "--evaluation-sequences", 6]
    command("train", name, "--run", run, *training, "--batch-size", 5, "--learning-rate", 1e-30, *SIZES, *flags)
    first = network(task, 3)
    trained = Network.load(run / "checkpoints" / "newest.safetensors")
    np.testing.assert_allclose(first.values, trained.values, rtol=0, atol=1e-28)

    def score(batch: Batch) -> tuple[float, float, float]:
        found = batch.score(first.forward(batch.inputs, lengths=batch.lengths)[0])
        return found.loss, batch.guessing, (found.wrong or 0) / batch.divisor

    lines = [json.loads(line) for line in (run / "metrics.jsonl").read_text().splitlines()]
    assert len(lines) == 2
    for number, line in enumerate(lines):
        found, _, mistakes = score(task.batch(number, 5))
        assert (found, mistakes) == (line["training_loss"], line.get("training_wrong", 0))
        # Evaluations add up in another order.
        start = 5 * (number + 1)
        evaluated = score(task.sequences(range(start, start + 6), stream="validation"))
        expected = (line["loss"], line["guessing"], (line.get("wrong") or 0))
        assert evaluated == pytest.approx(expected, rel=1e-6)
    (line,) = command("eval", run, "--checkpoint", "newest", "--sequences", 4, "--seed", 3)
    evaluated = score(task.sequences(range(4), stream="evaluation"))
    assert evaluated == pytest.approx((line["loss"], line["guessing"], (line.get("wrong") or 0)), rel=1e-6)
    assert (task.unit, line["task"]) == (line["unit"], name)


@pytest.mark.parametrize("name", ["recall", "sequences", "text"])
def test_gradients_are_those_of_losses(name: str, tmp_path: Path) -> None:
    task = Task(name, **options(name, tmp_path))
    batch = task.batch(0, 3)
    outputs = np.random.default_rng(0).standard_normal((*batch.inputs.shape[:2], task.output_size)).astype(np.float32)
    gradient = batch.score(outputs).gradient
    place = np.unravel_index(np.abs(gradient).argmax(), gradient.shape)
    losses = []
    for step in (0.01, -0.01):
        moved = outputs.copy()
        moved[place] += step
        losses.append(batch.score(moved).loss / task.scale)
    assert (losses[0] - losses[1]) / 0.02 == pytest.approx(gradient[place], rel=1e-3)


def test_levels() -> None:
    task = Task("copy", bits=3)
    assert (task.levels, task.possible_levels[0], task.level_unit) == ((1, 20), 1, "vectors")
    assert task.sequences(range(9), level=6).lengths.tolist() == [14] * 9
    drawn = task.sequences(range(200), level=(2, 4)).lengths
    assert {6, 8, 10} == set(drawn.tolist())
    # The same numbers, one by one and in another order.
    batch, single = task.sequences([7, 2]), task.sequences([2])
    np.testing.assert_array_equal(batch.inputs[: single.lengths[0], 1:], single.inputs)
    np.testing.assert_array_equal(batch.targets[: single.lengths[0], 1:], single.targets)
    assert np.isnan(batch.targets[single.lengths[0] :, 1]).all()


def test_a_task_can_be_pickled(tmp_path: Path) -> None:
    task = Task("sequences", seed=5, **options("sequences", tmp_path))
    same = pickle.loads(pickle.dumps(task))
    assert repr(same) == repr(task)
    np.testing.assert_array_equal(same.batch(3).inputs, task.batch(3).inputs)


@pytest.mark.parametrize("name", TASKS)
def test_options_are_those_of_the_command(name: str) -> None:
    text = shown("train", name, "--help")
    for option in TASK_OPTIONS[name].values():
        assert f"--{option.name.replace('_', '-')}" in text


@pytest.mark.parametrize(
    ("make", "error", "sentence"),
    [
        (lambda: Task("juggle"), ValueError, "task is 'juggle', where one of copy, recall"),
        (lambda: Task("copy", seed=-1), ValueError, "seed is -1"),
        (lambda: Task("copy", seed=1 << 64), ValueError, r"where a number below 2\^64 was expected"),
        (lambda: Task("copy", pits=3), TypeError, "copy has no option 'pits'; its options are bits"),
        (lambda: Task("copy", bits=0.5), TypeError, "bits is 0.5, where an integer was expected"),
        (lambda: Task("copy", bits=0), ValueError, "bits = 0 does not work: it must be a whole number from 1 to 4096"),
        (lambda: Task("copy", bits=1 << 70), ValueError, "where a whole number from 1 to 4096 was expected"),
        (lambda: Task("copy", min_length=21), ValueError, "min_length = 21 does not work: it lies from 1 to 20"),
        (lambda: Task("sequences"), ValueError, "it names the file of the sequences"),
        (lambda: Task("sequences", data="no.npz"), ValueError, r"no\.npz: there is no such file"),
        (lambda: Task("sequences", data=3), TypeError, "data is 3, where text was expected"),
        (lambda: Task("sequences", targets="nothing"), ValueError, "where one of auto, bits, classes, numbers was"),
        (lambda: Task("copy").sequences([0], stream="test"), ValueError, "one of training, validation, evaluation"),
        (lambda: Task("copy").sequences([-1]), ValueError, "a sequence's number is -1"),
        (lambda: Task("recall").sequences([0], level=1), ValueError, "a level of recall is a number of items from 2"),
        (lambda: Task("copy").sequences([0], level=(3, 2)), ValueError, "the first level comes before the last"),
        (lambda: Task("copy").sequences(range(1000), level=1 << 24), ValueError, "choose fewer or shorter sequences"),
        (lambda: Task("copy").batch(0).score(np.zeros((1, 1, 8))), TypeError, "where an array of float32 was expected"),
        (lambda: Task("copy").sequences(FIVE), TypeError, r"where several were expected, such as \[5\] or range\(8\)"),
        (lambda: Task("copy").sequences(range(10**10)), ValueError, "more than 1048576 sequences: choose fewer"),
        (
            lambda: Task("copy").sequences([0], level=THREE_LEVELS),
            ValueError,
            r"level is \(1, 2, 3\), where one level, or",
        ),
        (lambda: Task("copy").wanted([0], level=0), ValueError, "a level of copy is a number of vectors from 1"),
        (lambda: TaskDataset(Task("recall"), 4, level=1), ValueError, "a level of recall is a number of items from 2"),
        (lambda: pickle.dumps(Task("copy").batch(0)), TypeError, "a Batch cannot be pickled"),
        (lambda: TaskDataset(Task("copy"), 1, rank=0, world_size=2), ValueError, "at least one sequence for each of"),
        (lambda: TaskDataset(Task("copy"), 4, rank=2, world_size=2), ValueError, "where one of 2 processes, from 0"),
        (lambda: TaskDataset(Task("copy"), 4, rank=0), ValueError, "rank and world_size are given together"),
    ],
)
def test_mistakes(make: Any, error: type[Exception], sentence: str) -> None:
    with pytest.raises(error, match=sentence):
        make()


def test_processes_that_do_not_know_of_each_other_are_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("WORLD_SIZE", "2")
    with pytest.raises(RuntimeError, match=r"call torch\.distributed\.init_process_group first"):
        TaskDataset(Task("copy"), 4)


def test_ranks_and_workers_share_out_every_batch() -> None:
    task = Task("copy", max_length=4)
    for world in (1, 2, 3):
        by_rank: list[list[TaskBatch]] = []
        for rank in range(world):
            dataset = TaskDataset(task, 7, start=2, batches=7, rank=rank, world_size=world)
            alone = list(dataset)
            assert [batch.number for batch in alone] == [2, 3, 4, 5, 6]
            if world == 2:
                # Forking is no longer safe where Rayon and PyTorch have threads.
                method = "forkserver" if "forkserver" in multiprocessing.get_all_start_methods() else "spawn"
                loader = DataLoader(dataset, batch_size=None, num_workers=2, multiprocessing_context=method)
                shared = list(loader)
                assert [batch.number for batch in shared] == [batch.number for batch in alone]
                for one, other in zip(shared, alone, strict=True):
                    assert torch.equal(one.inputs, other.inputs) and torch.equal(one.lengths, other.lengths)
            by_rank.append(alone)
        for place, number in enumerate(range(2, 7)):
            joint = task.batch(number, 7)
            parts = [batches[place] for batches in by_rank]
            assert torch.cat([part.lengths for part in parts]).tolist() == joint.lengths.tolist()
            assert joint.wanted == task.wanted(range(7 * number, 7 * number + 7))
            assert sum(part.guessing for part in parts) == pytest.approx(joint.guessing)
            row = 0
            for part in parts:
                for column in range(part.inputs.shape[1]):
                    inputs = joint.inputs[: part.inputs.shape[0], row]
                    np.testing.assert_array_equal(part.inputs[:, column].numpy(), inputs)
                    row += 1


@pytest.mark.parametrize("name", ["recall", "sequences", "text", "mqar"])
def test_losses_of_parts_add_up_to_the_commands(name: str, tmp_path: Path) -> None:
    task = Task(name, **options(name, tmp_path))
    joint = task.batch(1, 5)
    outputs = np.random.default_rng(2).standard_normal((*joint.inputs.shape[:2], task.output_size)).astype(np.float32)
    score = joint.score(outputs)
    found, mistakes, row = 0.0, 0, 0
    for rank in range(2):
        part = TaskDataset(task, 5, rank=rank, world_size=2).rows(1)
        steps, rows = part.inputs.shape[:2]
        output = torch.from_numpy(outputs[:steps, row : row + rows]).requires_grad_()
        value = loss(output, part)
        torch.autograd.backward(value)
        gradient = score.gradient[:steps, row : row + rows]
        assert output.grad is not None
        np.testing.assert_allclose(output.grad.numpy(), gradient, rtol=1e-4, atol=1e-7)
        found, mistakes, row = found + value.item() * task.scale, mistakes + wrong(output, part), row + rows
    assert found == pytest.approx(score.loss, rel=1e-5)
    assert mistakes == (score.wrong or 0)


def test_what_is_not_a_number_is_a_wrong_class() -> None:
    batch = TaskDataset(Task("copy"), 1).rows(0)._replace(kind="classes", targets=torch.tensor([[0, 0, 0, -100]]))
    nan = torch.nan
    output = torch.tensor([[[nan, 0.0, 0.0], [1.0, nan, 0.0], [1.0, 0.0, 0.0], [nan, nan, nan]]])
    assert wrong(output, batch) == 2


def test_batches_and_scores_are_compared_as_objects() -> None:
    task = Task("copy", max_length=2)
    one, other = task.batch(0), task.batch(0)
    assert one == one and one != other and len({one, other}) == 2


def test_rows_that_want_nothing_bring_a_gradient_of_zeros() -> None:
    task = Task("copy", max_length=2)
    model = SAM(task.input_size, 6, task.output_size, **MEMORY)
    batch = TaskDataset(task, 4).rows(0)
    for kind, nothing in (("bits", torch.full_like(batch.targets, torch.nan)), ("classes", None)):
        targets = torch.full(batch.inputs.shape[:2], -100) if nothing is None else nothing
        model.zero_grad()
        output, _ = model(batch.inputs, lengths=batch.lengths)
        value = loss(output, batch._replace(targets=targets, kind=kind))
        torch.autograd.backward(value)
        check_gradients(model)
        assert value.item() == 0 and not any(
            parameter.grad.any() for parameter in model.parameters() if parameter.grad is not None
        )


def test_parameters_without_a_gradient_are_named() -> None:
    model = nn.Sequential(nn.Linear(2, 2), nn.Linear(2, 2))
    model[0](torch.ones(1, 2)).sum().backward()
    with pytest.raises(RuntimeError, match=r"no gradient came back to 1\.weight, 1\.bias: let every"):
        check_gradients(model)
    model[1].requires_grad_(False)
    check_gradients(model)


def test_a_network_trained_here_is_a_run_of_the_command(tmp_path: Path) -> None:
    task, folder = Task("recall", seed=7, max_items=4), tmp_path / "run"
    model = SAM(task.input_size, 12, task.output_size, **MEMORY)
    training = {"batch_size": 4, "batches": 9, "learning_rate": 2e-3}
    for batch in (3, 9):
        save_run(folder, model, task, batch=batch, **training)
    (line,) = command("eval", folder, "--sequences", 6, "--seed", 7)
    fresh = task.sequences(range(6), stream="evaluation")
    output, _ = model(torch.from_numpy(fresh.inputs), lengths=fresh.lengths.tolist())
    assert fresh.score(output.detach().numpy()).loss == pytest.approx(line["loss"], rel=1e-5)
    assert (line["batch"], line["last_level"]) == (9, 4)
    run = sparsam.load_run(folder)
    assert (run.configuration["seed"], run.configuration["optimiser"]["learning_rate"]) == (7, 2e-3)
    torch.testing.assert_close(run.module(torch.from_numpy(fresh.inputs))[0][:10], output[:10])
    wrapped = nn.DataParallel(model)
    for save, error, sentence in (
        (lambda: save_run(folder, model, Task("recall"), batch=9), ValueError, "already holds a run"),
        (lambda: save_run(tmp_path / "a", model, Task("copy"), batch=9), ValueError, "the configuration asks for"),
        (lambda: save_run(tmp_path / "a", model, task, batch=9, size=1), TypeError, "training has no option 'size'"),
        (lambda: save_run(tmp_path / "a", model, task, batch=9, batches=0), ValueError, "batches = 0 does not work"),
        (lambda: save_run(tmp_path / "a", nn.Linear(1, 1), task, batch=9), TypeError, "network is a Linear"),
        (
            lambda: save_run(tmp_path / "a", wrapped, task, batch=9),
            TypeError,
            r"give what it wraps, network\.mod",
        ),
        (lambda: save_run(tmp_path / "a", SAM(8, 3, memory_size=9), task, batch=9), ValueError, "no output layer"),
    ):
        with pytest.raises(error, match=sentence):
            save()  # type: ignore[no-untyped-call]
    assert not (tmp_path / "a").exists()


def test_networks_of_sentences_are_runs_as_well(tmp_path: Path) -> None:
    task, folder = Task("babi", sentences=True, **options("babi", tmp_path)), tmp_path / "run"
    tokens, words = task.vocabulary_size, task.sentence_size
    assert (words, task.input_size) == (6, 6)
    module = SAM(7, 12, tokens, **MEMORY)
    model = TokenNetwork(nn.Embedding(tokens, 7), module, sentence_size=words)
    save_run(folder, model, task, batch=1)
    (line,) = command("eval", folder)
    batch = task.sequences(range(line["sequences"]), stream="evaluation")
    # Two sentences, a question, and the step at which its answer is wanted.
    assert batch.inputs.shape == (4, line["sequences"], 6) and (batch.inputs[3, :, 1:] == -1).all()
    output, _ = model(torch.from_numpy(batch.inputs), lengths=batch.lengths.tolist())
    assert batch.score(output.detach().numpy()).loss == pytest.approx(line["loss"], rel=1e-5)
    model.save_checkpoint(tmp_path / "a.safetensors")
    same, other = TokenNetwork.load(tmp_path / "a.safetensors"), Network.load(tmp_path / "a.safetensors")
    assert same.sentence_size == 6 and f"vocabulary_size={tokens}, sentence_size=6" in repr(other)
    found, _ = other.infer(batch.inputs, lengths=batch.lengths.tolist())
    np.testing.assert_allclose(found, output.detach().numpy(), atol=1e-5)
    with pytest.raises(ValueError, match=r"where \(T, B, 6\) was expected of sentences"):
        other.infer(batch.inputs[:, :, :5])
    with pytest.raises(ValueError, match=r"where \(T, B, 6\) or, unbatched, \(T, 6\) was expected"):
        model(torch.from_numpy(batch.inputs[:, :, :5]))


@pytest.mark.parametrize("batch_first", [False, True])
def test_what_is_no_sentence_is_named(batch_first: bool) -> None:
    model = TokenNetwork(nn.Embedding(9, 7), SAM(7, 12, 4, batch_first=batch_first, **MEMORY), sentence_size=3)
    network = Network("sam", 7, 12, 4, vocabulary_size=9, sentence_size=3, **MEMORY)
    sentence = "sentence is of tokens, whole numbers from 0 to 8, with -1 in every place after the last"
    for words, place in (
        ([-1, 3, 5], 1),
        ([1, -1, 99], 2),
        ([1, -1, -7], 2),
        ([1, -2, -1], 1),
        ([9, -1, -1], 0),
    ):
        # Of two sequences of two steps; the second is past the end of one of them.
        tokens = torch.tensor([[[1, 2, 3], [4, -1, -1]], [[5, 6, -1], words]])
        input = tokens.transpose(0, 1) if batch_first else tokens
        expected = f"the input at time step 1 of sequence 1 has {words[place]} at place {place}, but a {sentence}"
        for call in (lambda input=input: model(input), lambda tokens=tokens: network.infer(tokens.numpy())):
            with pytest.raises(ValueError, match=f"^{expected}$"):
                call()
        output, _ = model(input, lengths=[2, 1])
        assert output.isfinite().all()
        with pytest.raises(ValueError, match=f"time step 1 of sequence 0 has {words[place]} at place"):
            model(tokens[:, 1])
    # What the sums are does not depend on how they are laid out.
    tokens = torch.tensor([[[1, 2, 3], [4, -1, -1]], [[5, 6, -1], [-1, -1, -1]]])
    output, _ = model(tokens.transpose(0, 1) if batch_first else tokens)
    alone, _ = model(tokens[:, 0])
    torch.testing.assert_close(output[0] if batch_first else output[:, 0], alone)


def test_networks_of_tokens_are_runs_as_well(tmp_path: Path) -> None:
    task, folder = Task("text", **options("text", tmp_path)), tmp_path / "run"
    tokens = task.vocabulary_size
    model = TokenNetwork(nn.Embedding(tokens, 7), SAM(7, 12, tokens, **MEMORY))
    save_run(folder, model, task, batch=1)
    (line,) = command("eval", folder)
    batch = task.sequences(range(line["sequences"]), stream="evaluation")
    output, _ = model(torch.from_numpy(batch.inputs), lengths=batch.lengths.tolist())
    assert batch.score(output.detach().numpy()).loss == pytest.approx(line["loss"], rel=1e-5)
    model.save_checkpoint(tmp_path / "a.safetensors")
    same = TokenNetwork.load(tmp_path / "a.safetensors")
    assert torch.equal(same.embedding.weight, model.embedding.weight)
