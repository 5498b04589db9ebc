"""Closes real terminals in which a training runs: python3 terminal.py SPARSAM FOLDER TIMES, from signals.rs.

Each time an interactive shell in a pseudo-terminal starts a training, the terminal is closed while it learns, and the
kernel, then the shell, send SIGHUP. Afterwards the run must have been saved. The last line tells how often it was.
"""

import contextlib
import fcntl
import json
import os
import pty
import random
import shlex
import sys
import time
from collections.abc import Callable
from pathlib import Path

SETTINGS = (
    "--bits 3 --max-length 3 --hidden-size 8 --memory-size 32 --word-size 4 --cooldown 0 --threads 1 "
    "--batches 100000000 --evaluate-every 20 --checkpoint-every 100000000"
)


def wait(what: str, until: Callable[[], bool]) -> None:
    start = time.monotonic()
    while not until():
        if time.monotonic() - start > 60:
            sys.exit(f"waited in vain {what}")
        time.sleep(0.005)


def is_unlocked(path: Path) -> bool:
    with path.open() as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            return False
    return True


def batch_of(path: Path) -> int:
    bytes_of = path.read_bytes()
    header = json.loads(bytes_of[8 : 8 + int.from_bytes(bytes_of[:8], "little")])
    return int(json.loads(header["__metadata__"]["training.progress"])["batch"])


def close_one(sparsam: str, run: Path, delay: float) -> bool:
    shell, terminal = pty.fork()
    if shell == 0:
        os.execvp("bash", ["bash", "--norc", "--noprofile", "-i"])
    command = f"{shlex.quote(sparsam)} train copy {SETTINGS} --run {shlex.quote(str(run))}\n"
    os.write(terminal, command.encode())
    os.set_blocking(terminal, False)

    def has_learnt() -> bool:
        # What nobody reads would fill the terminal, and hold up the training.
        with contextlib.suppress(BlockingIOError):
            os.read(terminal, 1 << 16)
        metrics = run / "metrics.jsonl"
        return metrics.exists() and metrics.stat().st_size > 0

    wait("for a training to learn", has_learnt)
    time.sleep(delay)
    os.close(terminal)
    wait("for a training to end", lambda: is_unlocked(run / ".lock"))
    os.waitpid(shell, 0)
    return batch_of(run / "checkpoints" / "resume.safetensors") >= 20


def main() -> None:
    sparsam, folder, times = sys.argv[1], Path(sys.argv[2]), int(sys.argv[3])
    random.seed(1)
    saved = sum(close_one(sparsam, folder / f"run{number}", 0.1 * random.random()) for number in range(times))
    print(f"{saved} of {times} saved")


main()
