"""Hosts to try programs on that run on several: network namespaces of this machine, each with an address of its own,
joined by a switch. Linux, and root."""

from __future__ import annotations

import contextlib
import functools
import os
import shutil
import subprocess
import sys
import time
from collections.abc import Iterable, Sequence
from types import TracebackType
from typing import Any

DEVICE = "eth0"


@functools.cache
def missing() -> str | None:
    """Why there can be no hosts here; nothing if there can. It tries."""
    if sys.platform != "linux":
        return "network namespaces are Linux's"
    if absent := [program for program in ("ip", "nsenter", "unshare") if shutil.which(program) is None]:
        return f"{', '.join(absent)} is not installed (iproute2, util-linux)"
    try:
        with Hosts(1):
            return None
    except RuntimeError as error:
        return str(error)


class Hosts:
    """So many hosts, from :meth:`start` to the end of a ``with``. They have the machine's files and processors.

    Args:
        count: of them.
        shaping: what ``tc`` does to all that a host sends, such as ``("netem", "delay", "0.1ms")``.
    """

    def __init__(self, count: int, shaping: Sequence[str] = ()) -> None:
        self.count = count
        self.shaping = list(shaping)
        self._holders: list[subprocess.Popen[bytes]] = []
        self._started: list[subprocess.Popen[str]] = []

    def __enter__(self) -> Hosts:
        with contextlib.ExitStack() as undo:
            undo.push(self)
            # The switch has a namespace as well, so that nothing is left in the machine's own.
            switch, *hosts = (self._hold() for _ in range(self.count + 1))
            _inside(switch, "ip", "link", "add", "switch", "type", "bridge")
            _inside(switch, "ip", "link", "set", "switch", "up")
            for number, host in enumerate(hosts):
                port = f"port{number}"
                peer = ("peer", "name", DEVICE, "netns", str(host))
                _inside(switch, "ip", "link", "add", port, "type", "veth", *peer)
                _inside(switch, "ip", "link", "set", port, "master", "switch", "up")
                _inside(host, "ip", "address", "add", f"{self.address(number)}/24", "dev", DEVICE)
                for device in ("lo", DEVICE):
                    _inside(host, "ip", "link", "set", device, "up")
                if self.shaping:
                    _inside(host, "tc", "qdisc", "add", "dev", DEVICE, "root", *self.shaping)
            undo.pop_all()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        end(self._started)
        self._started.clear()
        for holder in self._holders:
            holder.kill()
            holder.communicate()
        self._holders.clear()

    def _hold(self) -> int:
        """A process in a namespace of its own, which lasts as long as the process does."""
        # It ends with its input, however this process ends.
        holder = subprocess.Popen(["unshare", "--net", "cat"], stdin=subprocess.PIPE, stderr=subprocess.PIPE)
        self._holders.append(holder)
        own = os.readlink("/proc/self/ns/net")
        while holder.poll() is None:
            # It may end meanwhile, and has no namespace then.
            with contextlib.suppress(OSError):
                if os.readlink(f"/proc/{holder.pid}/ns/net") != own:
                    return holder.pid
            time.sleep(0.01)
        raise RuntimeError(f"no network namespace can be made: {holder.communicate()[1].decode().strip()}")

    @staticmethod
    def address(host: int) -> str:
        """The address of a host; the first is 0."""
        return f"10.77.0.{host + 1}"

    def start(self, host: int, command: Iterable[str], **options: Any) -> subprocess.Popen[str]:
        """Starts a command on a host, which ends with the hosts if it has not before; ``options`` are those of
        :class:`subprocess.Popen`."""
        environment = {**(options.pop("env", None) or os.environ), "GLOO_SOCKET_IFNAME": DEVICE}
        inside = ["nsenter", f"--net=/proc/{self._holders[host + 1].pid}/ns/net", *command]
        process = subprocess.Popen(inside, text=True, env=environment, **options)
        self._started.append(process)
        return process


def end(processes: Iterable[subprocess.Popen[str]]) -> None:
    """Ends launchers that still run, which end what they started; and kills those that do not end."""
    running = [process for process in processes if process.poll() is None]
    for process in running:
        process.terminate()
    for process in running:
        try:
            process.wait(timeout=45)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()


def _inside(holder: int, *command: str) -> None:
    inside = ["nsenter", f"--net=/proc/{holder}/ns/net", *command]
    result = subprocess.run(inside, capture_output=True, text=True)
    if result.returncode != 0:
        raise RuntimeError(f"{' '.join(command)}: {result.stderr.strip()}")


def torchrun(hosts: int, host: int, *script: str, processes: int = 1, restarts: int = 0) -> list[str]:
    """The command that starts a script's processes on one of so many hosts."""
    return [
        *(sys.executable, "-m", "torch.distributed.run"),
        *(f"--nnodes={hosts}", f"--nproc-per-node={processes}", f"--max-restarts={restarts}"),
        *("--rdzv-backend=c10d", f"--rdzv-endpoint={Hosts.address(0)}:29500", f"--local-addr={Hosts.address(host)}"),
        # The machine's name leads to none of these addresses.
        f"--rdzv-conf=is_host={int(host == 0)}",
        *script,
    ]
