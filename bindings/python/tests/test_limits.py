"""What does not fit, cannot be had or is interrupted is an exception, and loses nothing."""

import os
import signal
import stat
import subprocess
import sys
import threading
import time
from pathlib import Path

import numpy as np
import pytest
import sparsam
import torch
from sparsam.torch import SAM, load_checkpoint


@pytest.mark.parametrize("kind", ["eval", "train", "trace", "numpy"])
def test_an_output_that_does_not_fit_is_a_memory_error(kind: str) -> None:
    # Twice the memory of any machine, with 628 numbers of four bytes a step.
    steps = 2 * os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE") // (628 * 4)
    with pytest.raises(MemoryError, match="are available"):
        if kind == "numpy":
            network = sparsam.Network("sam", 1, 500, memory_size=64)
            network.infer(np.zeros((steps, 1, 1), np.float32))
        else:
            model = SAM(1, 500, memory_size=64).train(kind == "train")
            input = torch.zeros(steps, 1, 1)
            if kind == "trace":
                model.trace(input)
            else:
                model(input)


def interrupt_after(seconds: float) -> None:
    threading.Timer(seconds, lambda: os.kill(os.getpid(), signal.SIGINT)).start()


def test_an_interrupt_takes_effect_within_a_second_and_loses_nothing() -> None:
    torch.manual_seed(0)
    model = SAM(8, 50, 4, memory_size=20_000).requires_grad_(False)
    start = torch.randn(5, 1, 8)
    # A million steps take minutes.
    stream = torch.randn(1_000, 1, 8).repeat(1_000, 1, 1)
    _, state = model(start)
    interrupt_after(0.3)
    began = time.monotonic()
    with pytest.raises(KeyboardInterrupt) as caught:
        model(stream, state)
    assert time.monotonic() - began < 2.0
    error = caught.value
    steps = error.steps  # type: ignore[attr-defined]
    assert 0 < steps < len(stream)
    output, going_on = error.output, error.state  # type: ignore[attr-defined]
    assert output.shape == (steps, 1, 4)

    # It goes on as if nothing had happened, to the bit.
    after, _ = model(stream[steps : steps + 3], going_on)
    _, again = model(start)
    whole, _ = model(stream[: steps + 3], again)
    assert torch.equal(torch.from_numpy(output), whole[:steps])
    assert torch.equal(after, whole[steps:])
    with pytest.raises(RuntimeError, match="moved on"):
        model(stream[:3], state)


@pytest.mark.parametrize("kind", ["train", "trace", "numpy"])
def test_an_interrupt_ends_other_long_calls_as_well(kind: str) -> None:
    torch.manual_seed(0)
    model = SAM(8, 30, 4, memory_size=20_000, num_heads=1, word_size=8)
    network = sparsam.Network("sam", 8, 30, 4, memory_size=20_000, num_heads=1, word_size=8)
    stream = torch.randn(1_000, 1, 8).repeat(200, 1, 1)
    interrupt_after(0.1)
    began = time.monotonic()
    with pytest.raises(KeyboardInterrupt) as caught:
        if kind == "train":
            model(stream)
        elif kind == "trace":
            model.trace(stream)
        else:
            network.forward(stream.numpy())
    assert time.monotonic() - began < 2.0
    steps, going_on = caught.value.steps, caught.value.state  # type: ignore[attr-defined]
    assert 0 < steps < len(stream)
    if kind == "numpy":
        network.forward(stream[steps : steps + 3].numpy(), going_on)[2].backward(np.zeros((3, 1, 4), np.float32))
    else:
        model(stream[steps : steps + 3], going_on)[0].sum().backward()


def test_an_interrupt_ends_a_long_backward_pass() -> None:
    torch.manual_seed(0)
    model = SAM(8, 30, 4, memory_size=20_000, num_heads=1, word_size=8)
    stream = torch.randn(1_000, 1, 8).repeat(200, 1, 1)
    began = time.monotonic()
    output, state = model(stream)
    # However fast the machine is: a backward pass takes a third of its forward pass.
    interrupt_after((time.monotonic() - began) / 20)
    began = time.monotonic()
    with pytest.raises(KeyboardInterrupt):
        output.sum().backward()
    assert time.monotonic() - began < 2.0
    assert model.get_parameter("controller.bias").grad is None
    # The state is the one that the call returned, and the module works.
    model(stream[:3], state)[0].sum().backward()
    assert model.get_parameter("controller.bias").grad is not None


def test_an_interrupt_between_calls_that_carry_gradients() -> None:
    torch.manual_seed(0)
    model = SAM(8, 30, 4, memory_size=20_000, num_heads=1, word_size=8, carry_gradients=True)
    stream = torch.randn(1_000, 1, 8).repeat(100, 1, 1)
    first, state = model(stream[:5])
    began = time.monotonic()
    output, state = model(stream, state)
    forward = time.monotonic() - began
    # On the way back it leaves everything as it was: the calls can be gone back through once more, and gone on from.
    interrupt_after(forward / 20)
    with pytest.raises(KeyboardInterrupt):
        output.sum().backward(retain_graph=True)
    assert model.get_parameter("controller.bias").grad is None
    first.sum().backward(retain_graph=True)
    after, state = model(stream[:3], state)
    after.sum().backward(retain_graph=True, inputs=[model.get_parameter("output.bias")])
    # A call that it ends has a state to go on from, and nothing to go back through.
    interrupt_after(forward / 4)
    with pytest.raises(KeyboardInterrupt) as caught:
        model(stream, state)
    after, _ = model(stream[:3], caught.value.state)  # type: ignore[attr-defined]
    after.sum().backward()
    with pytest.raises(RuntimeError, match="backward comes too late"):
        first.sum().backward()


def test_pieces_of_a_long_call_are_the_whole_to_the_bit() -> None:
    torch.manual_seed(1)
    model = SAM(3, 20, 2, memory_size=64)
    stream, lengths = torch.randn(700, 6, 3), torch.tensor([700, 31, 33, 0, 64, 500])
    taped, _ = model(stream, lengths=lengths)
    model.requires_grad_(False)
    whole, state = model(stream, lengths=lengths)
    assert torch.allclose(whole, taped, atol=1e-4)
    after, _ = model(stream[:2], state)
    one_by_one = None
    for step in stream[:, 4:5][:64]:
        _, one_by_one = model(step[None], one_by_one)
    alone, _ = model(stream[:2, 4:5], one_by_one)
    # One row and six are multiplied in other orders.
    assert torch.allclose(after[:, 4:5], alone, atol=1e-4)


def test_links_pipes_and_permissions(tmp_path: Path) -> None:
    model = SAM(4, 16, 3, memory_size=64)
    scratch = tmp_path / "scratch"
    scratch.mkdir()
    link, file = tmp_path / "model.safetensors", scratch / "model.safetensors"
    link.symlink_to(file)
    model.save_checkpoint(link)
    assert link.is_symlink() and file.is_file()
    file.chmod(0o600)
    before = file.stat().st_mtime_ns
    model.save_checkpoint(link)
    assert file.stat().st_mtime_ns > before and stat.S_IMODE(file.stat().st_mode) == 0o600
    pipe = tmp_path / "pipe"
    os.mkfifo(pipe)
    with pytest.raises(OSError, match="a named pipe that nobody reads"):
        model.save_checkpoint(pipe)
    with pytest.raises(OSError, match="it is a named pipe"):
        load_checkpoint(pipe)
    assert not pipe.is_file()
    with pytest.raises(OSError, match="it is a folder"):
        model.save_checkpoint(scratch)


def test_damage_is_noticed(tmp_path: Path) -> None:
    path = tmp_path / "model.safetensors"
    SAM(4, 16, 3, memory_size=64).save_checkpoint(path)
    bytes_of = bytearray(path.read_bytes())
    bytes_of[-5] ^= 4
    path.write_bytes(bytes_of)
    with pytest.raises(ValueError, match="checksum"):
        load_checkpoint(path)


@pytest.mark.skipif(
    os.geteuid() != 0 or not Path("/usr/bin/setpriv").exists(), reason="it takes root to become another"
)
def test_threads_that_cannot_be_had_are_an_exception(tmp_path: Path) -> None:
    script = (
        "import torch; torch.set_num_threads(1)\n"
        "from sparsam.torch import SAM\n"
        "try: SAM(4, 16, 3, memory_size=64)(torch.randn(5, 8, 4)); print('result')\n"
        "except Exception as error: print(type(error).__name__, error)\n"
    )
    become = ["setpriv", "--reuid=65521", "--regid=65531", "--clear-groups"]
    limited = ["bash", "-c", 'ulimit -u 3; exec "$@"', "bash", sys.executable, "-c", script]
    environment = {**os.environ, "RAYON_NUM_THREADS": "8", "OPENBLAS_NUM_THREADS": "1", "OMP_NUM_THREADS": "1"}
    done = subprocess.run([*become, *limited], env=environment, cwd="/", capture_output=True, text=True)
    if done.returncode and "Permission" in done.stderr:
        pytest.skip("another user cannot read the interpreter")
    assert "RuntimeError 8 threads cannot be had" in done.stdout, done.stderr
