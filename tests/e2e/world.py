"""The lab in the words of its user: apply, look, wait, send traffic."""

from __future__ import annotations

import json
import signal
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, TypeVar

import yaml

from lab.hosts import Process
from lab.lab import Lab

T = TypeVar("T")
Json = dict[str, Any]

VIP, VIP6 = "198.18.0.100", "fd00:18::100"
REAL_SERVERS = ("198.18.1.21", "198.18.1.22", "198.18.1.23")
REAL_SERVERS6 = ("fd00:18:1::21", "fd00:18:1::22", "fd00:18:1::23")
MONITOR = {"type": "TCP", "interval": "500ms", "timeout": "400ms", "rise": 2, "fall": 2}
LOAD = Path(__file__).with_name("load.py")
PROBE = Path(__file__).with_name("probe.py")
NEIGHBOURS = Path(__file__).with_name("neighbours.py")


def eventually(check: Callable[[], T], seconds: float, what: str) -> T:
    """Return the first truthy answer of ``check``; fails with the last one after ``seconds``."""
    deadline = time.monotonic() + seconds
    while True:
        answer = check()
        if answer:
            return answer
        assert time.monotonic() < deadline, f"not within {seconds:g} s: {what}; last seen: {answer!r}"
        time.sleep(0.05)


def virtual_server(name: str = "web", port: int = 80, **spec: Any) -> Json:
    """A virtual server over the three real servers, with a quick monitor."""
    base: Json = {
        "addresses": [VIP],
        "ports": [{"port": port}],
        "scheduler": {"name": "rr"},
        "realServers": [{"address": address} for address in REAL_SERVERS],
        "monitors": [MONITOR],
    }
    return {
        "apiVersion": "virtualserver.dev/v1alpha1",
        "kind": "VirtualServer",
        "metadata": {"name": name, "namespace": "default"},
        "spec": base | spec,
    }


class Load:
    """A client on a host of the lab that keeps going until it is asked what it saw."""

    def __init__(self, process: Process, start: int) -> None:
        self._process = process
        self._start = start

    def _text(self) -> str:
        return self._process.log.read_text()[self._start :]

    def ready(self) -> None:
        """Wait until its connections stand."""
        eventually(lambda: "ready" in self._text(), 30, "client ready")

    def finish(self) -> Json:
        """Stop it and return its summary."""
        self._process.signal(signal.SIGTERM)
        assert self._process.wait(60) is not None, "client did not stop"
        return dict(json.loads(self._text().strip().splitlines()[-1]))


class Cluster:
    """kubectl and the hosts of the lab."""

    def __init__(self, lab: Lab) -> None:
        self.lab = lab
        self._applied: list[Json] = []
        self._loads = 0

    def apply(self, manifest: Json) -> Json:
        """``kubectl apply`` and remember it for the end of the test."""
        if manifest not in self._applied:
            self._applied.append(manifest)
        self.lab.kubectl("apply", "-f", "-", input=yaml.safe_dump(manifest))
        return manifest

    def patch(self, name: str, spec: Json) -> None:
        """Merge into a virtual server's spec."""
        self.lab.kubectl("patch", "vs", name, "--type=merge", "-p", json.dumps({"spec": spec}))

    def delete(self, name: str) -> None:
        """``kubectl delete vs``."""
        self.lab.kubectl("delete", "vs", name, "--ignore-not-found")

    def get(self, name: str = "web") -> Json:
        """Return a virtual server as the API has it."""
        path = f"/apis/virtualserver.dev/v1alpha1/namespaces/default/virtualservers/{name}"
        return dict(self.lab.api.request("GET", path))

    def status(self, name: str = "web") -> Json:
        """Return its status, empty before the first report."""
        return dict(self.get(name).get("status") or {})

    def condition(self, kind: str, name: str = "web") -> Json:
        """Return one condition, empty when it is not there or is about an older spec."""
        found = self.get(name)
        for condition in (found.get("status") or {}).get("conditions") or []:
            if condition["type"] == kind and condition.get("observedGeneration") == found["metadata"]["generation"]:
                return dict(condition)
        return {}

    def available(self, name: str = "web", ready: str | None = None, seconds: float = 15) -> None:
        """Wait until it is available, with so many real servers (``2/3``)."""

        def check() -> bool:
            status = self.status(name)
            return self.condition("Available", name).get("status") == "True" and (
                ready is None or status.get("readyRealServers") == ready
            )

        eventually(check, seconds, f"{name} available {ready or ''}")

    def probe(self, count: int, targets: list[tuple[str, str, int]], host: str = "client") -> list[Json]:
        """``count`` exchanges with each target (protocol, address, port); returns what came of each."""
        words = [str(word) for target in targets for word in target]
        out = self.lab.host(host).run([sys.executable, str(PROBE), str(count), *words], timeout=120).out
        return [dict(json.loads(line)) for line in out.splitlines()]

    def nodes_ready(self, name: str = "web", count: int = 2) -> None:
        """Wait until so many nodes with real servers hold what they need, for the newest spec."""

        def check() -> bool:
            found = self.get(name)
            nodes = found["status"].get("nodes") or []
            done = [one for one in nodes if one.get("programmedGeneration") == found["metadata"]["generation"]]
            return len(done) == len(nodes) == count

        eventually(check, 15, f"{count} nodes ready for {name}")

    def serve(self, manifest: Json, ready: str | None = None) -> None:
        """Apply and wait until it is available."""
        self.apply(manifest)
        self.available(manifest["metadata"]["name"], ready)

    def real_server(self, address: str, name: str = "web") -> Json:
        """Return what the status says of one real server."""
        return next((dict(one) for one in self.status(name).get("realServers") or [] if one["address"] == address), {})

    def client(self, command: str, check: bool = True) -> str:
        """Run on the client; returns what it printed."""
        return self.lab.host("client").run(command, check=check).out.strip()

    def fetch(self, count: int, address: str = VIP, port: int = 80) -> list[str]:
        """``count`` HTTP requests, each on a new connection; returns lines such as ``rs-1 198.18.0.2``."""
        host = f"[{address}]" if ":" in address else address
        loop = f"for i in $(seq {count}); do curl -sS --max-time 5 http://{host}:{port}/ || exit 1; done"
        return self.client(loop).splitlines()

    @contextmanager
    def claims(self, address: str, seconds: float = 60) -> Iterator[Load]:
        """The client asks who has an address all the time; ``finish`` gives the hardware addresses that claimed it."""
        self._loads += 1
        name = f"neighbours-{id(self)}-{self._loads}"
        command = [sys.executable, str(NEIGHBOURS), address, str(seconds)]
        yield from self._running(self.lab.host("client").spawn(command, name))

    def hardware(self, node: str, link: str = "eth0") -> str:
        """Return the hardware address of a host's link."""
        return self.lab.host(node).run(f"cat /sys/class/net/{link}/address").out.strip()

    @contextmanager
    def load(self, mode: str, port: int, count: int = 1, address: str = VIP, protocol: str = "TCP") -> Iterator[Load]:
        """Traffic from the client meanwhile; ``finish`` of the value gives what it saw."""
        self._loads += 1
        name = f"load-{mode}-{id(self)}-{self._loads}"
        command = [sys.executable, str(LOAD), mode, address, str(port), str(count), protocol]
        yield from self._running(self.lab.host("client").spawn(command, name))

    def _running(self, process: Process) -> Iterator[Load]:
        running = Load(process, 0)
        try:
            running.ready()
            yield running
        finally:
            if process.running:
                process.signal(signal.SIGKILL)

    def director(self, command: str, node: str = "director-1", check: bool = True) -> str:
        """Run on a director."""
        return self.lab.host(node).run(command, check=check).out.strip()

    def table(self, node: str = "director-1") -> str:
        """``ipvsadm -Sn``: the table as commands, without counters."""
        return self.director("ipvsadm -Sn", node)

    def mark(self, node: str = "director-1") -> int:
        """Return how far the agent's log is now, for ``written``."""
        return self.lab.agents[node].log.stat().st_size

    def written(self, mark: int, node: str = "director-1") -> list[str]:
        """Return what the agent wrote to the kernel since then, by its log."""
        lines = self.lab.agents[node].log.read_text()[mark:].splitlines()
        return [line for line in lines if "kernel written" in line]

    def active(self) -> str:
        """Return the name of the active director."""
        return self.lab.kubectl("get", "dg", "default", "-o", "jsonpath={.status.activeDirector}").stdout

    def tidy(self) -> None:
        """Delete what was applied, start what was stopped, and wait until the kernel is clean."""
        for name, agent in self.lab.agents.items():
            if not agent.running:
                print(f"tidy: starting the agent of {name}")
                agent.start()
        for host in ("rs-1", "rs-2", "rs-3"):
            shown = self.lab.host(host).run("service-ctl status").out
            if not all(" running " in line for line in shown.splitlines()):  # starting takes a second for each host
                self.lab.host(host).run("service-ctl start")
        for manifest in reversed(self._applied):
            self.lab.kubectl("delete", "--ignore-not-found", "-f", "-", input=yaml.safe_dump(manifest))
        eventually(lambda: self.active() == "director-1", 60, "director-1 is active, as the lab's group prefers")
        eventually(lambda: not any(map(self.table, ("director-1", "director-2"))), 30, "clean kernels")
