"""Two directors that are machines of their own, in the words of the tests of what happens to them."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from functools import partial
from itertools import pairwise
from signal import SIGKILL
from typing import Any

from e2e.world import Json, eventually, virtual_server
from failover import history, nemesis, running
from failover.history import History
from failover.running import Program, folder_of
from failover.subject import DIRECTORS, ECHO, holder, holds
from lab.guest import CHECKOUT
from lab.lab import Lab

DIRECT, DIRECT6 = "198.18.0.150", "fd00:18::150"
NAT, NAT6 = "198.18.0.151", "fd00:18::151"
VIPS = (DIRECT, DIRECT6, NAT, NAT6)
GROUPS = "/apis/virtualserver.dev/v1alpha1/directorgroups"
PREFERRED = {"preempt": False, "preferredNodes": ["director-1", "director-2"]}
"""More important than the other is director-1 in all tests."""
QUICK = PREFERRED | {"advertisementInterval": "100ms"}
"""Where a figure matters; the defaults are for a machine that has nothing else to do."""
PATIENT = QUICK | {"advertisementInterval": "300ms"}
"""Where only the order of owners matters: the guests share two processors with whatever else runs."""
MONITOR = {"type": "TCP", "interval": "1s", "timeout": "900ms", "fall": 3}
"""Its verdict must not change because the machine is busy: it would change the hash."""


def echo(name: str, addresses: Sequence[str], servers: Sequence[str], **spec: Any) -> Json:
    """A virtual server whose hash finds the same real server on either director."""
    made = {"addresses": list(addresses), "scheduler": {"name": "mh"}, "monitors": [MONITOR]}
    return virtual_server(name, ECHO, **made | {"realServers": [{"address": one} for one in servers]} | spec)


NODES = ("198.18.0.31", "198.18.0.32", "fd00:18::31", "fd00:18::32")
BEHIND = ("198.18.1.21", "198.18.1.22", "fd00:18:1::21", "fd00:18:1::22")
UDP = {"ports": [{"port": ECHO, "protocol": "UDP"}], "monitors": []}
SERVED = (
    echo("direct", [DIRECT, DIRECT6], NODES, forwarding={"mode": "DirectRouting"}),
    echo("datagrams", [DIRECT], NODES[:2], forwarding={"mode": "DirectRouting"}, **UDP),
    echo("nat", [NAT, NAT6], BEHIND, connectionMirroring=True),
)
"""What every test finds served."""


TURN, TURN6 = "198.18.0.158", "fd00:18::158"
TURNS = (TURN, TURN6)


def in_turn() -> Json:
    """No hash finds the real server of a connection that was not mirrored."""
    chosen = {"scheduler": {"name": "rr"}, "connectionMirroring": True, "forwarding": {"mode": "DirectRouting"}}
    return echo("turn", TURNS, NODES, **chosen)


def other(director: str) -> str:
    return next(name for name in DIRECTORS if name != director)


Datagrams = Callable[[], tuple[float, int]]
"""Ends them; returns the longest time without an answer, in seconds, and how many were never answered."""


class Clients:
    """Connections that stand, by virtual address."""

    def __init__(self, held: Mapping[str, Program], note: Callable[..., None]) -> None:
        self._held, self._note = held, note

    def begin(self) -> None:
        """Write one byte on each, over as many seconds as the option `spread` says."""
        for program in self._held.values():
            running.begin(program)

    def lost(self) -> list[str]:
        """Once all have answered or long enough not: which were lost, in words."""
        results = {vip: running.used(program) for vip, program in self._held.items()}
        self._note("connections used", results=results)
        return [f"{vip}: {lost}" for vip, used in results.items() for lost in history.nothing_lost(used)]

    def use(self) -> list[str]:
        """Both, one after the other."""
        self.begin()
        return self.lost()


class Pair:
    """The lab's two directors during one test; what is seen goes into `history`."""

    def __init__(self, lab: Lab) -> None:
        self.lab = lab
        self.history = History()

    # -- what is so -------------------------------------------------------------------------------------------------

    def status(self, group: str = "default") -> Json:
        return dict(self.lab.api.request("GET", f"{GROUPS}/{group}").get("status") or {})

    def report(self, director: str, group: str = "default") -> Json:
        """What a director says of itself."""
        found = self.status(group).get("directors") or []
        return next((dict(one) for one in found if one["node"] == director), {})

    def roles(self, group: str = "default") -> Json:
        return {one["node"]: one["role"] for one in self.status(group).get("directors") or []}

    def condition(self, kind: str, group: str = "default") -> Json:
        found = self.status(group).get("conditions") or []
        return next((dict(one) for one in found if one["type"] == kind), {})

    def active(self, vip: str = DIRECT) -> str:
        """The only director whose kernel has the address."""
        return holder(self.lab, vip)

    def holds(self, director: str, vip: str = DIRECT) -> bool:
        return holds(self.lab, director, vip)

    def becomes(self, director: str, role: str, group: str = "default", seconds: float = 40) -> None:
        """Wait until a director says that it is that."""

        def check() -> bool:
            return bool(self.report(director, group).get("role") == role)

        eventually(check, seconds, f"{director} is {role} of {group}")

    def in_step(self, group: str = "default", seconds: float = 60) -> None:
        """Wait until one director is active and the other can take over."""
        roles = ["Active", "Standby"]
        eventually(lambda: sorted(self.roles(group).values()) == roles, seconds, f"{group} is {roles}")

    def programmed(self, director: str) -> list[str]:
        """Real servers in a director's kernel, as `ipvsadm` writes them."""
        return [line for line in self.lab.host(director).run("ipvsadm -Sn").out.splitlines() if f":{ECHO} -r " in line]

    def server(self, name: str) -> Json:
        """The status of a virtual server."""
        path = f"/apis/virtualserver.dev/v1alpha1/namespaces/default/virtualservers/{name}"
        return dict(self.lab.api.request("GET", path).get("status") or {})

    def ready_with(self, name: str, count: int) -> None:
        """Wait until a virtual server has so many real servers, all of them up, in both kernels."""

        def check() -> bool:
            tables = [self.programmed(one) for one in DIRECTORS]
            return self.server(name).get("readyRealServers") == f"{count}/{count}" and tables[0] == tables[1]

        eventually(check, 30, f"{name} has {count}/{count} on both directors")

    # -- what is done -----------------------------------------------------------------------------------------------

    def vrrp(self, settings: Json, group: str = "default") -> None:
        """Set how the group elects; returns once both directors do so."""
        self.change({"vrrp": settings}, group)
        line = f"advert_int {int(settings['advertisementInterval'].removesuffix('ms')) / 1000:g}\n"
        for name in DIRECTORS:
            eventually(partial(self._configured, name, line), 60, f"{name}: {line}")

    def change(self, spec: Json, group: str = "default") -> None:
        """Merge into the group's spec."""
        self.lab.kubectl("patch", "dg", group, "--type=merge", "-p", json.dumps({"spec": spec}))

    def _configured(self, director: str, line: str) -> bool:
        file = f"{self.lab.keepalived[director].run_dir}/keepalived.conf"
        return line in self.lab.host(director).run(f"cat {file}", check=False).out  # none just after a boot

    def hold_down(self, standby: str) -> None:
        """Its links come and go; returns once it must rest for that, and has all connections again."""
        nemesis.flap(self.lab, standby, 4)
        eventually(lambda: self.report(standby).get("reason") == "HeldDown", 20, f"{standby} is held down")
        eventually(lambda: self.report(standby)["mirror"]["state"] == "InStep", 30, f"{standby} has all connections")

    def crash(self, director: str) -> None:
        """Cut its power."""
        self.note("crash", director=director)
        self.lab.crash(director)

    def command(self, *words: str) -> str:
        """Run `virtualserver` as a person with a kubeconfig does; returns what it printed."""
        environment = os.environ | {"KUBECONFIG": str(self.lab.api.kubeconfig)}
        environment |= {"PYTHONPATH": str(CHECKOUT / "operator")}
        program = [sys.executable, "-m", "virtualserver", *words]
        done = subprocess.run(program, env=environment, capture_output=True, text=True, timeout=240, check=False)
        self.note("command", words=words, code=done.returncode, out=done.stdout, err=done.stderr)
        assert done.returncode == 0, f"{words} ended with {done.returncode}: {done.stdout}{done.stderr}"
        return done.stdout

    def restart(self, *directors: str) -> None:
        """Crash these directors' agents, and start them: they forget how often addresses were lost.

        Returns when they are at work: meanwhile the group's status calls them Unknown, sooner or later."""
        for name in directors:
            agent = self.lab.agents[name]
            agent.stop(SIGKILL)
            mark = agent.log.stat().st_size
            agent.start()
            eventually(partial(self._synchronised, name, mark), 60, f"the next agent of {name} is at work")

    def _synchronised(self, director: str, mark: int) -> bool:
        return "synchronised" in self.lab.agents[director].log.read_text()[mark:]

    @contextmanager
    def applied(self, *manifests: Json) -> Iterator[None]:
        """Objects of this test only; virtual servers among them are waited for."""
        try:
            for one in manifests:
                self.lab.kubectl("apply", "-f", "-", input=json.dumps(one))
            for one in manifests:
                if one["kind"] == "VirtualServer":
                    self.ready_with(one["metadata"]["name"], len(one["spec"]["realServers"]))
            yield
        finally:
            for one in reversed(manifests):
                self.lab.kubectl("delete", "--ignore-not-found", "-f", "-", input=json.dumps(one))

    # -- before and after a test ------------------------------------------------------------------------------------

    def prepare(self) -> None:
        """Serve what all tests use."""
        for manifest in SERVED:
            self.lab.kubectl("apply", "-f", "-", input=json.dumps(manifest))
        self.ready()

    def ready(self) -> None:
        """Everything runs, and either director could serve."""
        self.vrrp(PATIENT)
        self.in_step()
        eventually(self._served, 40, "all real servers are up, and both directors have them")

    def heal(self) -> None:
        """Start what a test stopped, and let directors forget that they lost their addresses: some tests in a row
        would otherwise look like a director that is not to be relied on."""
        for name in DIRECTORS:
            if not self.lab.guest_of(name).alive:
                self.lab.boot(name)
            self.lab.keepalived[name].start()
        losers = {owner for vip in self.history.addresses for owner in self.history.owners(vip).order[:-1]}
        self.restart(*losers)
        for agent in self.lab.agents.values():
            agent.start()

    def _served(self) -> bool:
        listed = self.lab.api.request("GET", "/apis/virtualserver.dev/v1alpha1/virtualservers")["items"]
        found = {one["metadata"]["name"]: (one.get("status") or {}).get("readyRealServers") for one in listed}
        servers = {one["metadata"]["name"]: len(one["spec"]["realServers"]) for one in SERVED}
        return all(found.get(name) == f"{count}/{count}" for name, count in servers.items()) and all(
            len(self.programmed(name)) == sum(servers.values()) for name in DIRECTORS
        )

    # -- what is seen -----------------------------------------------------------------------------------------------

    @contextmanager
    def watched(self, *addresses: str, every: int = running.EVERY) -> Iterator[None]:
        """Record who holds the addresses during the block; all that are served, unless told which. `every` is how many
        milliseconds lie between two questions."""
        seen = None
        try:
            with running.watched(self.lab, *(addresses or VIPS), every=every) as seen:
                yield
        finally:
            self.history.seen += seen.seen if seen is not None else []

    @contextmanager
    def connections(self, count: int = 40, *options: str, vips: Sequence[str] = VIPS) -> Iterator[Clients]:
        """So many established connections to each address."""
        with ExitStack() as stack:
            held = {vip: stack.enter_context(running.held(self.lab, vip, count, *options)) for vip in vips}
            self.states("connections stand")
            yield Clients(held, self.note)

    @contextmanager
    def datagrams(self, vip: str = DIRECT) -> Iterator[Datagrams]:
        """A datagram every 5 ms; the value of the block ends them, and tells what came of those that were sent from a
        moment after the begin of the block on."""
        times, lost = (folder_of(self.lab) / f"{kind}-{time.time_ns()}.json" for kind in ("times", "lost"))
        words = (vip, ECHO, f"times={times}", f"lost={lost}")
        with running.running(self.lab, "clients.py", "datagrams", *words) as program:
            time.sleep(1)
            began = time.time()

            def ended() -> tuple[float, int]:
                program.stop("datagrams")
                shift = self.lab.guest_of("client").behind()
                answered, without = ([at + shift for at in json.loads(one.read_text())] for one in (times, lost))
                gaps = sorted(((b - a, a) for a, b in pairwise(answered) if a > began - 0.05), reverse=True)
                self.note("longest gaps of datagrams", gaps=[(round(at, 4), round(gap, 4)) for gap, at in gaps[:5]])
                return float(gaps[0][0]), sum(at > began for at in without)

            yield ended

    def note(self, what: str, **fields: Any) -> None:
        self.history.note(time.time(), what, **fields)

    def states(self, when: str, *directors: str) -> None:
        """What the kernels hold; of both, as far as they live, unless told of which."""
        for name in directors or [one for one in DIRECTORS if self.lab.guest_of(one).alive]:
            self.note(f"kernel: {when}", **running.state(self.lab, name))

    def figure(self, what: str, value: float) -> None:
        """Keep a measured figure, and print it (`pytest -rP` shows those of tests that pass)."""
        self.note(what, value=value)
        print(f"{what}: {value:.3f}")

    def check(self, *findings: list[str]) -> None:
        """All that is wrong, at once; kernels must always have held what the segment saw."""
        wrong = [one for found in (*findings, history.kernels_agree(self.history)) for one in found]
        assert not wrong, "\n".join(wrong)

    def handed_over(self, *owners: str) -> None:
        """As `moved`, and as seen from the segment nobody was without an owner for longer than it takes to notice."""
        silent = max(self.history.owners(vip).silent for vip in VIPS)
        self.figure("seconds without an owner, as the segment saw it", silent)
        self.moved(*owners)
        self.check(history.silent_at_most(self.history, AT_MOST))

    def moved(self, *owners: str) -> None:
        """Every address was held by these, one after the other, and by one of them at a time."""
        self.check(*(history.moved(self.history, vip, *owners) for vip in VIPS), history.one_owner(self.history, SHORT))


CLOSELY = 10
"""Milliseconds between two questions who has an address, where it must not be without an owner for 20 ms."""
AT_MOST = 0.02
"""Seconds for which an address may be without an owner at a hand-over."""
SHORT = 0.5
"""Seconds for which packets of a director that has just gone may still be seen: bridges and guests have queues."""
