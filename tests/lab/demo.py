"""Five minutes with the project: one virtual server from apply to delete, every step checked, told as it happens."""

from __future__ import annotations

import datetime
import json
import os
import signal
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

from failover.nemesis import cut
from failover.running import running
from failover.subject import ECHO
from lab import interrupts
from lab.console import LabError, complain, say
from lab.guest import CHECKOUT
from lab.lab import MANIFESTS, Lab

EXAMPLE = CHECKOUT / "examples" / "web.yaml"
TUNNEL = CHECKOUT / "examples" / "tunnel.yaml"
KEPT = CHECKOUT / "examples" / "failover.yaml"
GROUP = MANIFESTS / "directorgroup.yaml"
VIP, TUNNEL_VIP, KEPT_VIP = "198.18.0.100", "198.18.0.103", "198.18.0.105"
VICTIM, VICTIM_ADDRESS = "rs-2", "198.18.1.22"
CLIENT = CHECKOUT / "tests" / "e2e" / "load.py"
REQUESTS = f"for i in $(seq 12); do curl -sS --max-time 5 http://{VIP}/; done"

MARGIN = 0.05
"""Seconds by which the clocks of two guests may be compared wrongly."""

LONGEST = 2.0
"""Seconds that the crash of a director may cost a connection; on a quiet machine it is under half of one."""

UNEXPECTED = (LabError, AssertionError, LookupError, StopIteration, ValueError, subprocess.SubprocessError)
"""What a step may end with; each makes it a failed step with a reason, never a traceback."""


class Demo:
    """The steps, and what became of each."""

    def __init__(self, lab: Lab) -> None:
        self.lab = lab
        self.results: list[tuple[str, bool, str]] = []

    def run(self) -> bool:
        """Play all steps; False as soon as one is not as it should be."""
        steps = (self.apply, self.spread, self.crash, self.repair, self.tunnel, self.failover, self.delete)
        return all(self._step(step) for step in steps)

    def summary(self) -> None:
        """Say what worked, with the figures."""
        say("\n" + _bold("Summary"))
        for title, ok, figure in self.results:
            say(f"  {'ok    ' if ok else 'FAILED'}  {title}: {figure}")

    def _step(self, step: Callable[[], str]) -> bool:
        title = (step.__doc__ or "").split("\n")[0].rstrip(".")
        say("\n" + _bold(f"{len(self.results) + 1}. {title}"))
        try:
            figure, ok = step(), True
        except UNEXPECTED as error:
            figure, ok = str(error) or type(error).__name__, False
        self.results.append((title, ok, figure))
        say(f"   {'✓' if ok else '✗'} {figure}")
        return ok

    def apply(self) -> str:
        """A virtual server is applied and served."""
        self._kubectl("apply", "-f", str(EXAMPLE.relative_to(CHECKOUT)))
        began = time.monotonic()
        _until(lambda: self._status().get("readyRealServers") == "6/6", 20, "six real servers up")
        self._kubectl("get", "vs,dg")
        return f"available {time.monotonic() - began:.1f} s after kubectl apply"

    def spread(self) -> str:
        """Requests are spread, and the kernel does it."""
        answers = self._host("client", REQUESTS)
        counts = Counter(answers.splitlines())
        say("".join(f"     {count:3} x {line}\n" for line, count in sorted(counts.items())).rstrip())
        assert len(counts) == 3, f"not all real servers answered: {dict(counts)}"
        assert all(line.endswith("198.18.0.2") for line in counts), "a real server did not see the client's address"
        self._host(self._director(), "ipvsadm -Ln", show=True)
        return "12 requests over 3 real servers; each saw the client's own address"

    def crash(self) -> str:
        """A real server crashes under traffic, and no request fails after the verdict."""
        client = self.lab.host("client").spawn([sys.executable, str(CLIENT), "fetch", VIP, "80"], f"demo-{os.getpid()}")
        try:
            _until(lambda: "ready" in client.log.read_text(), 20, "client running")
            began = time.monotonic()
            self._host(VICTIM, "service-ctl stop web")
            _until(lambda: self._real_server()["state"] == "Down", 10, "verdict")
            took = time.monotonic() - began
            self._kubectl("get", "vs", "web")
            say(f"   the monitor says of {VICTIM_ADDRESS}: {self._real_server()['reason']}")
            time.sleep(3)
        finally:
            client.signal(signal.SIGTERM)
            client.wait(20)
        seen = json.loads(client.log.read_text().strip().splitlines()[-1])
        self._kubectl("get", "events", "--field-selector", "reason=RealServerDown")
        verdict, shift = self._verdict(), self.lab.guest_of("client").behind()
        late = [failure for failure in seen["failures"] if failure[0] + shift > verdict + MARGIN]
        assert not late, f"{len(late)} requests failed after the verdict"
        total = sum(seen["answers"].values())
        return f"down in status after {took:.1f} s; {total} requests, {len(seen['failures'])} failed before, 0 after it"

    def repair(self) -> str:
        """The real server returns."""
        self._host(VICTIM, "service-ctl start web")
        began = time.monotonic()
        _until(lambda: self._status().get("readyRealServers") == "6/6", 20, "all real servers up again")
        took = time.monotonic() - began
        answers = self._host("client", REQUESTS, quiet=True)
        assert VICTIM in answers, f"{VICTIM} gets no requests"
        self._kubectl("get", "vs", "web")
        return f"up and serving again after {took:.1f} s"

    def tunnel(self) -> str:
        """Pods behind a tunnel see the client's own address."""
        self._kubectl("apply", "-f", str(TUNNEL.relative_to(CHECKOUT)))
        _until(lambda: self._status("pods").get("readyRealServers") == "3/3", 20, "three pods up")
        _until(lambda: len(self._ready_nodes("pods")) == 2, 20, "both nodes ready")
        answers = self._host(
            "client", f"for i in $(seq 6); do curl -sS --max-time 5 http://{TUNNEL_VIP}/; done", show=True
        )
        self._host(self._director(), f"ipvsadm -Ln -t {TUNNEL_VIP}:80", show=True)
        self._host("node-1", "ipvsadm -Ln", show=True)
        self._kubectl("delete", "-f", str(TUNNEL.relative_to(CHECKOUT)))
        seen = {tuple(line.split()) for line in answers.splitlines()}
        assert {client for _, client in seen} == {"198.18.0.2"}, f"a pod did not see the client's address: {answers}"
        assert len(seen) > 1, f"one pod answered all: {answers}"
        return f"6 requests over {len(seen)} pods on 2 nodes; each saw the client's own address"

    def failover(self) -> str:
        """The active director crashes under a long-lived connection, which goes on."""
        self._kubectl("apply", "-f", str(KEPT.relative_to(CHECKOUT)))
        _until(lambda: self._status("kept").get("readyRealServers") == "6/6", 30, "six real servers up")
        _until(lambda: self._mirrored() == "True", 30, "a standby that has every connection")
        self._kubectl("get", "dg")
        active = self._group()["activeDirector"]
        with running(self.lab, "clients.py", "stream", KEPT_VIP, ECHO, "every=20") as stream:
            time.sleep(2)
            with self._loss_of(active):
                time.sleep(4)
                seen = stream.stop("stream")
        _until(lambda: self._group()["activeDirector"] != active, 10, "another director in the status")
        self._kubectl("get", "dg")
        how = self._group()["lastFailover"]
        say(f"   {how['node']} says: {how['reason']}, nobody held the addresses for {how.get('silent', '?')}")
        assert not seen["broken"], f"the connection broke: {seen['broken']}"
        assert seen["longest"] < LONGEST, f"it paused for {seen['longest']:.2f} s"
        return f"the connection went on after {seen['longest']:.2f} s; active is {how['node']} now"

    def delete(self) -> str:
        """The virtual servers are deleted, and the kernel is clean."""
        director = self._director()
        self._kubectl("delete", "vs", "web", "kept")
        _until(lambda: not self._host(director, "ipvsadm -Sn", quiet=True), 30, "services gone")
        _until(lambda: not self._held(director), 10, "addresses gone")
        self._host(director, "ipvsadm -Ln; ip -brief address", show=True)
        return f"no virtual service and no virtual address on {director}"

    def tidy(self) -> None:
        """Leave a lab that stays up as it was found, whatever happened."""
        for example in (EXAMPLE, TUNNEL):
            self.lab.kubectl("delete", "--ignore-not-found", "-f", str(example), check=False)
        self.lab.kubectl("delete", "--ignore-not-found", "vs", "kept", check=False)
        self.lab.kubectl("apply", "--server-side", "--force-conflicts", "-f", str(GROUP), check=False)
        self.lab.host(VICTIM).run("service-ctl start web", check=False)

    def _verdict(self) -> float:
        """When the agent had acted, by the machine's clock: each guest has one of its own."""
        listed = json.loads(self.lab.kubectl("get", "events", "-o", "json").stdout)["items"]
        text = f"real server {VICTIM_ADDRESS}:80 is down"
        times = [one["eventTime"] for one in listed if one.get("message", "").startswith(text)]
        return datetime.datetime.fromisoformat(max(times)).timestamp() + self.lab.guest_of(self._director()).behind()

    def _kubectl(self, *words: str) -> None:
        say(f"   $ kubectl {' '.join(words)}")
        _indent(self.lab.kubectl(*words).stdout)

    def _host(self, host: str, command: str, *, show: bool = False, quiet: bool = False) -> str:
        if not quiet:
            say(f"   $ make lab-exec HOST={host} CMD='{command}'")
        text = self.lab.host(host).run(command, timeout=60).out.strip()
        if show:
            _indent(text)
        return text

    def _status(self, name: str = "web") -> dict[str, Any]:
        found = json.loads(self.lab.kubectl("get", "vs", name, "-o", "json").stdout)
        return dict(found.get("status") or {})

    def _ready_nodes(self, name: str) -> list[str]:
        return [one["node"] for one in self._status(name).get("nodes") or [] if one["reason"] == "Programmed"]

    def _held(self, director: str) -> list[str]:
        addresses = self._host(director, "ip -o address", quiet=True)
        return [vip for vip in (VIP, KEPT_VIP) if f" {vip}/" in addresses]

    @contextmanager
    def _loss_of(self, director: str) -> Iterator[None]:
        """Its machine dies, and is switched on again; where it shares one with others, its cables are pulled out."""
        stream = "while a client echoes 50 messages a second over one connection"
        if self.lab.guest_of(director).hosts != [director]:
            say(f"   all cables of {director} are pulled out {stream}")
            with cut(self.lab, director):
                yield
            return
        say(f"   kill -9 of the whole machine {director}, {stream}")
        self.lab.crash(director)
        try:
            yield
        finally:
            say(f"   {director} is switched on again")
            self.lab.boot(director)

    def _group(self) -> dict[str, Any]:
        return dict(json.loads(self.lab.kubectl("get", "dg", "default", "-o", "json").stdout).get("status") or {})

    def _mirrored(self) -> str:
        conditions = self._status("kept").get("conditions") or []
        return next((str(one["status"]) for one in conditions if one["type"] == "Mirrored"), "")

    def _real_server(self) -> dict[str, Any]:
        return next(one for one in self._status()["realServers"] if one["address"] == VICTIM_ADDRESS)

    def _director(self) -> str:
        return str(self._status()["activeDirector"])


def _indent(text: str) -> None:
    say("\n".join(f"     {line}" for line in text.rstrip().splitlines()))


def _bold(text: str) -> str:
    return f"\033[1m{text}\033[0m" if sys.stdout.isatty() else text


def _until(check: Callable[[], object], seconds: float, what: str) -> None:
    deadline = time.monotonic() + seconds
    while not check():
        if time.monotonic() > deadline:
            raise LabError(f"not within {seconds:g} s: {what}")
        time.sleep(0.05)


def main() -> int:
    """Play the demo; returns the exit code."""
    os.chdir(CHECKOUT)
    lab = Lab(os.environ.get("LAB", "lab"), topology="three")  # directors that are machines of their own can crash
    found = lab.is_up
    keep = found or os.environ.get("KEEP") == "1"
    interrupts.listen()
    demo = Demo(lab)
    try:
        _bring_up(lab, found)
        ok = demo.run()
        demo.summary()
        if keep:
            demo.tidy()
            say(f"\nThe lab stays up: export KUBECONFIG={lab.folder / 'kubeconfig'}; end it with: make lab-down")
        return 0 if ok else 1
    except LabError as error:
        complain(str(error))
        return 1
    except KeyboardInterrupt:
        keep = found
        if keep:
            with interrupts.uninterrupted():
                demo.tidy()
        complain("interrupted; " + ("the lab stays up" if keep else "what it had brought up is removed"))
        return 130
    finally:
        if not keep:
            with interrupts.uninterrupted():
                lab.down()
        interrupts.ignore()


def _bring_up(lab: Lab, found: bool) -> None:
    if not found:
        say(_bold("0. The lab: a real API server, a real kernel with IPVS, two directors, three real servers"))
        lab.up(replace=True)
    elif dead := lab.dead_parts():
        raise LabError(f"the lab in {lab.folder} is up, but dead: {', '.join(dead)} - run: make lab-down")


if __name__ == "__main__":
    sys.exit(main())
