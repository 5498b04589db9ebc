"""Training in several processes: along the curve of one, through the loss of a process, and on two hosts."""

from __future__ import annotations

import os
import re
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import hosts
import pytest
import torch
from test_command import sparsam as command

distributed = pytest.importorskip("torch.distributed")
if not (distributed.is_available() and distributed.is_gloo_available()):
    pytest.skip("this PyTorch has no gloo", allow_module_level=True)

EXAMPLE = str(Path(__file__).parent.parent / "examples" / "train_task.py")
TRAINING = ["recall", "--batches", "30", "--tell-every", "5", "--save-every", "5", "--option", "max_items=4"]
# PyTorch's threads wait by spinning, which on a busy machine takes longer than the work.
# With one store for all attempts torchrun (2.15) shows the processes of the next one the addresses of those that ended.
ENVIRONMENT = {**os.environ, "OMP_NUM_THREADS": "1", "TORCH_DISABLE_SHARE_RDZV_TCP_STORE": "1"}
TOGETHER: dict[str, Any] = {"stdout": subprocess.PIPE, "stderr": subprocess.STDOUT}


def torchrun(*script: str, restarts: int = 0) -> list[str]:
    launcher = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node=2"]
    return [*launcher, f"--max-restarts={restarts}", *script]


@contextmanager
def ended(*processes: subprocess.Popen[str]) -> Iterator[None]:
    """Ends launchers, which end what they started, if a test fails before they do."""
    try:
        yield
    finally:
        for process in processes:
            if process.poll() is None:
                process.terminate()
        for process in processes:
            process.communicate(timeout=60)


def curve(text: str) -> dict[int, float]:
    """Losses by the batches that they are of."""
    return {int(batch): float(loss) for batch, loss in re.findall(r"batch (\d+): loss (\S+)", text)}


@pytest.fixture(scope="module")
def alone() -> dict[int, float]:
    """The curve of one process."""
    done = subprocess.run([sys.executable, EXAMPLE, *TRAINING], env=ENVIRONMENT, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    losses = curve(done.stdout)
    assert list(losses) == [5, 10, 15, 20, 25, 30]
    return losses


@pytest.mark.skipif(sys.platform != "linux", reason="the processes of torchrun are found as Linux tells them")
def test_a_killed_process_changes_nothing(alone: dict[int, float], tmp_path: Path) -> None:
    run = tmp_path / "run"
    log = tmp_path / "log"
    with open(log, "w") as file:
        command_line = torchrun(EXAMPLE, *TRAINING, "--folder", str(run), restarts=1)
        launcher = subprocess.Popen(command_line, env=ENVIRONMENT, stdout=file, stderr=subprocess.STDOUT, text=True)
    with ended(launcher):
        deadline = time.monotonic() + 120
        while "batch 10:" not in log.read_text():
            assert launcher.poll() is None and time.monotonic() < deadline, log.read_text()
            time.sleep(0.05)
        children = Path(f"/proc/{launcher.pid}/task/{launcher.pid}/children").read_text().split()
        training = [child for child in children if EXAMPLE in Path(f"/proc/{child}/cmdline").read_text()]
        assert len(training) == 2
        os.kill(int(training[1]), signal.SIGKILL)
        assert launcher.wait(timeout=120) == 0, log.read_text()
    text, rest = log.read_text().rsplit("2 processes, from batch ", 1)
    rest = "2 processes, from batch " + rest
    # It went on from what was saved, and not from the start.
    (start,) = re.findall(r"2 processes, from batch (\d+) on", rest)
    assert int(start) in (5, 10, 15, 20, 25)
    losses = {**curve(text), **curve(rest)}
    assert list(losses) == list(alone) and min(curve(rest)) > 5
    assert list(losses.values()) == pytest.approx(list(alone.values()), abs=2e-3)
    (line,) = command("eval", run, "--sequences", 8)
    assert (line["batch"], line["task"]) == (30, "recall")


@pytest.mark.skipif(bool(hosts.missing()), reason=str(hosts.missing()))
def test_two_hosts_learn_as_one_process_does(alone: dict[int, float], tmp_path: Path) -> None:
    with hosts.Hosts(2) as machines:
        launchers = [
            machines.start(
                host,
                # A disk of its own for each.
                hosts.torchrun(2, host, EXAMPLE, *TRAINING, "--folder", str(tmp_path / str(host))),
                env=ENVIRONMENT,
                **TOGETHER,
            )
            for host in range(2)
        ]
        with ended(*launchers):
            texts = [launcher.communicate(timeout=120)[0] for launcher in launchers]
            assert [launcher.returncode for launcher in launchers] == [0, 0], texts
    told = [curve(text) for text in texts if "batch" in text]
    assert len(told) == 1 and list(told[0]) == list(alone)
    assert list(told[0].values()) == pytest.approx(list(alone.values()), abs=2e-3)
    first, second = (torch.load(tmp_path / str(host) / "training.pt") for host in range(2))
    assert first["batch"] == second["batch"] == 30
    for name, values in first["module"].items():
        assert torch.equal(values, second["module"][name]), name


def test_a_process_without_a_gradient_is_told_at_once(tmp_path: Path) -> None:
    """Alone, DistributedDataParallel says nothing in this step: it leaves unreduced what shares a bucket."""
    script = tmp_path / "script.py"
    script.write_text(
        "import sys, torch\n"
        "from sparsam.tasks.torch import check_gradients\n"
        "from torch import distributed, nn\n"
        "from torch.nn.parallel import DistributedDataParallel\n"
        "distributed.init_process_group('gloo')\n"
        "rank = distributed.get_rank()\n"
        "model = nn.ModuleList([nn.Linear(2, 2), nn.Linear(2, 2)])\n"
        "model.forward = lambda x: model[0](x) if rank else model[1](model[0](x))\n"
        "DistributedDataParallel(model)(torch.ones(1, 2) * rank).sum().backward()\n"
        "print(f'rank {rank} came back', flush=True)\n"
        "check_gradients(model)\n"
    )
    started = time.monotonic()
    done = subprocess.run(torchrun(str(script)), env=ENVIRONMENT, text=True, timeout=120, check=False, **TOGETHER)
    assert done.returncode != 0
    assert "no gradient came back to 1.weight, 1.bias in process 1" in done.stdout, done.stdout
    assert "rank 1 came back" in done.stdout
    # And not after the half hour that gloo waits.
    assert time.monotonic() - started < 100
