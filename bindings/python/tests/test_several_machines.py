"""Training in several processes: along the curve of one, through the loss of a process, and on two hosts."""

from __future__ import annotations

import os
import re
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import hosts
import pytest
import torch
from test_command import sparsam as command

distributed = pytest.importorskip("torch.distributed")
if not (distributed.is_available() and distributed.is_gloo_available()):
    pytest.skip("this PyTorch has no gloo", allow_module_level=True)

EXAMPLE = Path(__file__).parent.parent / "examples" / "train_task.py"
TRAINING = ["recall", "--batches", "30", "--report-every", "5", "--save-every", "5", "--option", "max_items=4"]
# PyTorch's threads wait by spinning, which on a busy machine takes longer than the work.
# With one store for all attempts torchrun (2.15) shows the processes of the next one the addresses of those that ended.
ENVIRONMENT = {**os.environ, "OMP_NUM_THREADS": "1", "TORCH_DISABLE_SHARE_RDZV_TCP_STORE": "1"}
TOGETHER: dict[str, Any] = {"stdout": subprocess.PIPE, "stderr": subprocess.STDOUT}


def torchrun(*script: object, restarts: int = 0) -> subprocess.Popen[str]:
    """Starts two processes of a script."""
    launcher = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node=2"]
    command_line = [*launcher, f"--max-restarts={restarts}", *map(str, script)]
    return subprocess.Popen(command_line, env=ENVIRONMENT, text=True, **TOGETHER)


def written(*processes: subprocess.Popen[str], timeout: float = 120) -> list[str]:
    """What launchers wrote until they ended; if that takes too long, they are ended, and what they wrote is shown."""
    try:
        deadline = time.monotonic() + timeout
        return [process.communicate(timeout=deadline - time.monotonic())[0] for process in processes]
    except subprocess.TimeoutExpired:
        hosts.end(processes)
        pytest.fail("\n".join(["the processes did not end:", *(process.communicate()[0] for process in processes)]))
    finally:
        hosts.end(processes)


def curve(text: str) -> dict[int, float]:
    """Losses by the batches that they are of."""
    return {int(batch): float(loss) for batch, loss in re.findall(r"batch (\d+): loss (\S+)", text)}


@pytest.fixture(scope="module")
def alone() -> dict[int, float]:
    """The curve of one process."""
    process = subprocess.Popen([sys.executable, str(EXAMPLE), *TRAINING], env=ENVIRONMENT, text=True, **TOGETHER)
    (text,) = written(process)
    assert process.returncode == 0, text
    losses = curve(text)
    assert list(losses) == [5, 10, 15, 20, 25, 30]
    return losses


@pytest.fixture(scope="module")
def killed(tmp_path_factory: pytest.TempPathFactory) -> tuple[str, Path]:
    """What training writes in which a process is killed, and its folder."""
    folder = tmp_path_factory.mktemp("killed")
    script = folder / "script.py"
    # The first process saves after batch 10, and waits for the other one in batch 13.
    script.write_text(
        "import os, runpy, signal\n"
        "from sparsam.tasks.torch import TaskDataset\n"
        "rows = TaskDataset.rows\n"
        "def killed(dataset, number):\n"
        "    if number == 12:\n"
        "        os.kill(os.getpid(), signal.SIGKILL)\n"
        "    return rows(dataset, number)\n"
        "if (os.environ['RANK'], os.environ['TORCHELASTIC_RESTART_COUNT']) == ('1', '0'):\n"
        "    TaskDataset.rows = killed\n"
        f"runpy.run_path({str(EXAMPLE)!r}, run_name='__main__')\n"
    )
    launcher = torchrun(script, *TRAINING, "--folder", folder / "run", restarts=1)
    (text,) = written(launcher)
    assert launcher.returncode == 0, text
    return text, folder / "run"


@pytest.mark.skipif(sys.platform == "win32", reason="there is no SIGKILL")
def test_a_killed_process_changes_nothing(alone: dict[int, float], killed: tuple[str, Path]) -> None:
    text, _ = killed
    assert re.findall(r"2 processes, from batch (\d+) on", text) == ["0", "10"], text
    before, after = map(curve, text.split("from batch 10 on"))
    # It went on from what was saved, and not from the start.
    assert list(before) == [5, 10] and list(after) == [15, 20, 25, 30]
    assert list((before | after).values()) == pytest.approx(list(alone.values()), abs=2e-3)


@pytest.mark.skipif(sys.platform == "win32", reason="there is no SIGKILL")
def test_the_command_evaluates_it(killed: tuple[str, Path]) -> None:
    (line,) = command("eval", killed[1], "--sequences", 8)
    assert (line["batch"], line["task"]) == (30, "recall")


@pytest.fixture
def two_hosts() -> Iterator[hosts.Hosts]:
    if reason := hosts.missing():
        pytest.skip(reason)
    with hosts.Hosts(2) as machines:
        yield machines


def test_two_hosts_learn_as_one_process_does(two_hosts: hosts.Hosts, alone: dict[int, float], tmp_path: Path) -> None:
    launchers = [
        # A disk of its own for each.
        two_hosts.start(
            host,
            hosts.torchrun(2, host, str(EXAMPLE), *TRAINING, "--folder", str(tmp_path / str(host))),
            env=ENVIRONMENT,
            **TOGETHER,
        )
        for host in range(2)
    ]
    texts = written(*launchers)
    assert [launcher.returncode for launcher in launchers] == [0, 0], texts
    reported = [curve(text) for text in texts if "batch" in text]
    assert len(reported) == 1 and list(reported[0]) == list(alone)
    assert list(reported[0].values()) == pytest.approx(list(alone.values()), abs=2e-3)
    first, second = (torch.load(tmp_path / str(host) / "training.pt") for host in range(2))
    assert first["batch"] == second["batch"] == 30
    for name, values in first["module"].items():
        assert torch.equal(values, second["module"][name]), name


def test_the_newest_of_all_disks_counts(tmp_path: Path) -> None:
    script = tmp_path / "script.py"
    script.write_text(
        "import sys\n"
        "from pathlib import Path\n"
        f"sys.path.insert(0, {str(EXAMPLE.parent)!r})\n"
        "import train_task\n"
        "from torch import distributed\n"
        "distributed.init_process_group('gloo')\n"
        "rank = distributed.get_rank()\n"
        "path = Path(sys.argv[1]) / str(rank) / 'training.pt'\n"
        "found = [train_task.newest(path)]\n"
        "for batches in ((None, 3), (8, 3), (8, 9)):\n"
        "    if batches[rank]:\n"
        "        train_task.replace(path, {'batch': batches[rank], 'of': rank}, rank)\n"
        "    distributed.barrier()\n"
        "    state = train_task.newest(path)\n"
        "    found.append((state['batch'], state['of']))\n"
        # One write, which the other process cannot come between.
        "sys.stdout.write(' '.join(map(str, [f'process {rank} found', *found])) + '\\n')\n"
        "sys.stdout.flush()\n"
        "distributed.barrier()\n"
        "distributed.destroy_process_group()\n"
    )
    launcher = torchrun(script, tmp_path)
    (text,) = written(launcher)
    assert launcher.returncode == 0, text
    for rank in range(2):
        assert f"process {rank} found None (3, 1) (8, 0) (9, 1)" in text
    assert sorted(path.name for path in tmp_path.glob("?/*")) == ["training.pt", "training.pt"]


def test_a_process_without_a_gradient_ends_at_once(tmp_path: Path) -> None:
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
    launcher = torchrun(script)
    (text,) = written(launcher)
    assert launcher.returncode != 0
    assert "no gradient came back to 1.weight, 1.bias in process 1" in text, text
    assert "rank 1 came back" in text
    # And not after the half hour that gloo waits.
    assert time.monotonic() - started < 100
