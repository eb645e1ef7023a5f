"""Directors as network namespaces of this machine, on one segment, each with a real keepalived under our supervisor.

No IPVS is needed, so it is the machine's own kernel: quick enough to measure how long nobody, or two, held an address.
"""

from __future__ import annotations

import ctypes
import os
import re
import shlex
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from datetime import datetime
from ipaddress import ip_address
from pathlib import Path
from typing import TypeVar

from lab import names
from virtualserver.kernel.netlink import Netlink
from virtualserver.model.failover import Instance, token
from virtualserver.model.operations import Operation
from virtualserver.model.types import LinkAddress

OPERATOR = Path(__file__).resolve().parents[2] / "operator"
GROUP, ROUTER = "web.example", 51
VIP = (LinkAddress("eth0", ip_address("198.18.0.100"), 32), LinkAddress("eth0", ip_address("fd00:18::100"), 128))
GATEWAY = LinkAddress("eth0", ip_address("198.18.0.1"), 24)
TOKEN = token(ROUTER)
_CLONE_NEWNET = 0x40000000
_EVENT = re.compile(r"\[(\S+)\] (Deleted )?\d+: (\S+)\s+inet6? (\S+)/(\d+) ")
T = TypeVar("T")


def run(command: str) -> str:
    """Run a shell command in the namespace of the test, also from a director's thread."""
    command = f"nsenter --net=/proc/{os.getpid()}/ns/net sh -c {shlex.quote(command)}"
    return subprocess.run(command, shell=True, check=True, capture_output=True, text=True, timeout=30).stdout


def eventually(condition: Callable[[], T], seconds: float = 5.0) -> T:
    """Wait until it is true; return what it returned."""
    limit = time.monotonic() + seconds
    while not (found := condition()):
        assert time.monotonic() < limit, f"not within {seconds} s"
        time.sleep(0.01)
    return found


@dataclass(frozen=True)
class Change:
    """An address came to a director, or left it; the time is the kernel's word as it arrived (wall clock)."""

    time: float
    director: str
    address: LinkAddress
    came: bool


class Director:
    """A namespace with eth0 on the segment, its run directory, our adapter and our supervisor."""

    def __init__(self, name: str, number: int, folder: Path) -> None:
        self.name, self.number = name, number
        self.namespace = f"v{names.of_tests()}-{name}"
        self.cable = f"v{names.of_tests()}{name}"
        self.run_dir = folder / name
        self.log = folder / f"{name}.log"
        self.instances: tuple[Instance, ...] = ()
        self._journal = folder / f"{name}.journal"
        self._running: list[subprocess.Popen[bytes]] = []

    def __enter__(self) -> Director:
        self._lay()
        self._thread = ThreadPoolExecutor(1, initializer=_enter, initargs=(self.namespace,))
        self.kernel = self.call(lambda: Netlink(services=False, run_dir=self.run_dir))
        with self._journal.open("wb") as journal:
            monitor = ["ip", "-n", self.namespace, "-ts", "monitor", "address"]
            self._running.append(subprocess.Popen(monitor, stdout=journal))
        return self

    def __exit__(self, *_: object) -> None:
        self.kernel.close()
        self._thread.shutdown()
        for one in self._running:
            if one.poll() is None:
                one.terminate()
            one.wait(15)
        run(f"ip netns pids {self.namespace} | xargs -r kill -9; ip netns del {self.namespace}")

    # The node

    def run(self, command: str) -> str:
        return run(f"ip netns exec {self.namespace} sh -c '{command}'")

    def call(self, function: Callable[[], T]) -> T:
        """Call it in the thread that lives there."""
        return self._thread.submit(function).result(60)

    def addresses(self) -> frozenset[LinkAddress]:
        return self.call(lambda: self.kernel.read().addresses)

    def holds(self, *addresses: LinkAddress) -> bool:
        return self.addresses().issuperset(addresses or (TOKEN, *self.instances[0].addresses))

    def changes(self) -> list[Change]:
        """Return what its kernel told of addresses since the beginning."""
        found = (_EVENT.match(line) for line in self._journal.read_text().splitlines())
        return [_change(self.name, match) for match in found if match]

    # keepalived

    def start(self, within: Sequence[str] = ()) -> subprocess.Popen[bytes]:
        """Start the supervisor, in the namespace and by a command that limits it further."""
        program = [sys.executable, "-m", "virtualserver", "keepalived"]
        command = ["ip", "netns", "exec", self.namespace, *within, *program]
        environment = {**os.environ, "PYTHONPATH": str(OPERATOR), "RUN_DIR": str(self.run_dir)}
        with self.log.open("ab") as log:
            self.supervisor = subprocess.Popen(command, env=environment, stdout=log, stderr=log)
        self._running.append(self.supervisor)
        return self.supervisor

    def stop(self) -> None:
        self.supervisor.terminate()
        assert self.supervisor.wait(15) == 0, self.log.read_text()

    def pid(self, which: str) -> int:
        """Return the process id of ``keepalived`` (the first process) or ``vrrp`` (its child)."""
        return int((self.run_dir / f"{which}.pid").read_text())

    def kill(self, which: str) -> None:
        os.kill(self.pid(which), signal.SIGKILL)

    # The agent's part

    def do(self, *operations: Operation) -> None:
        outcomes = self.call(lambda: self.kernel.apply(operations))
        assert all(one.ok for one in outcomes), outcomes

    def _lay(self) -> None:
        run(f"ip netns add {self.namespace}")
        self.run("echo 0 >/proc/sys/net/ipv6/conf/default/accept_dad; ip link set lo up")
        self.lay_cable()

    def lay_cable(self) -> None:
        """Make eth0."""
        run(f"ip link add {self.cable} type veth peer name eth0 netns {self.namespace}")
        self.join()
        addresses = (f"198.18.0.{self.number}/24", f"fd00:18::{self.number}/64")
        self.run("ip link set eth0 up;" + ";".join(f"ip address add {one} dev eth0" for one in addresses))

    def join(self) -> None:
        """Put the cable into the segment's switch."""
        run(f"ip link set {self.cable} master {bridge()} up")

    def part(self) -> None:
        """Pull it out there; the director's own link stays up."""
        run(f"ip link set {self.cable} nomaster")


def bridge() -> str:
    return f"v{names.of_tests()}br"


@contextmanager
def segment(folder: Path, count: int = 2) -> Iterator[list[Director]]:
    """Make directors d1, d2 ... on one segment; nothing of them is left afterwards."""
    run(f"ip link add {bridge()} type bridge mcast_snooping 0 && ip link set {bridge()} up")
    with ExitStack() as stack:
        stack.callback(run, f"ip link del {bridge()}")
        yield [stack.enter_context(Director(f"d{n}", 10 + n, folder)) for n in range(1, count + 1)]


def history(directors: Sequence[Director], address: LinkAddress) -> list[Change]:
    """Return who got and lost the address, in the order of time."""
    found = [one for director in directors for one in director.changes() if one.address == address]
    return sorted(found, key=lambda one: one.time)


def spans(changes: Sequence[Change], since: float) -> tuple[float, float]:
    """Return for how many seconds since then nobody held an address, and for how many more than one did.

    Counts up to the last change: somebody, and only one, must hold it in the end.
    """
    holders: set[str] = set()
    silent = several = 0.0
    before = since
    for change in changes:
        moment = max(change.time, since)
        if not holders:
            silent += moment - before
        elif len(holders) > 1:
            several += moment - before
        before = moment
        (holders.add if change.came else holders.discard)(change.director)
    assert len(holders) == 1, holders
    return silent, several


def _change(director: str, match: re.Match[str]) -> Change:
    moment, gone, link, address, prefix = match.groups()
    when = datetime.fromisoformat(moment).timestamp()
    return Change(when, director, LinkAddress(link, ip_address(address), int(prefix)), not gone)


def _enter(namespace: str) -> None:
    with open(f"/run/netns/{namespace}") as file:  # noqa: PTH123 - a descriptor is what is needed
        if ctypes.CDLL(None, use_errno=True).setns(file.fileno(), _CLONE_NEWNET):
            raise OSError(ctypes.get_errno(), os.strerror(ctypes.get_errno()))
