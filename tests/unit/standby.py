"""A standby as its mirror sees it, in virtual time: the active director's table, its own, and what was done."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, Awaitable, Callable, Sequence
from dataclasses import replace
from ipaddress import ip_address
from typing import Any

import pytest

from unit.builders import director_group, node, store, virtual_server
from unit.virtualtime import now, run
from virtualserver.agent.following import Hands
from virtualserver.agent.mirror import Mirror
from virtualserver.agent.peers import PeerError
from virtualserver.agent.view import View
from virtualserver.api.enums import MirrorState, RealServerState
from virtualserver.api.failover import MirrorReport
from virtualserver.api.reasons import Reason
from virtualserver.model.connections import Connection
from virtualserver.model.failover import Heard, SyncDaemon, SyncRole
from virtualserver.model.types import IPAddress, State
from virtualserver.plan import desired
from virtualserver.plan.eligibility import Standing
from virtualserver.plan.health import Health
from virtualserver.plan.verdicts import judge

ACTIVE = ip_address("192.0.2.1")
RECEIVER = SyncDaemon(SyncRole.RECEIVER, "eth0", 0, ip_address("224.0.0.81"), 8848)
UP = Health(RealServerState.UP, Reason.MONITOR_SUCCEEDED)
GROUP = "default"


@pytest.fixture
def threads_are_calls(monkeypatch: pytest.MonkeyPatch) -> None:
    """Virtual time does not pass while a thread works."""

    async def call(function: Callable[..., Any], *arguments: object) -> Any:
        return function(*arguments)

    monkeypatch.setattr(asyncio, "to_thread", call)


def line(
    port: int,
    state: str = "ESTABLISHED",
    expires: int = 880,
    server: str = "C6120115",
    origin: str = "",
    client: str = "C6120002",
) -> str:
    """A connection of 198.18.0.2 to 198.18.0.100:80 through 198.18.1.21, as the kernel prints it."""
    return f"TCP {client} {port:04X} C6120064 0050 {server} 0050 {state:11s} {origin or 'LOCAL':6s} {expires:7d}"


def _hex(address: IPAddress) -> str:
    return f"{int(address):08X}"


class Case:
    """``director-2`` as seen by its mirror: all of the other's table, its own, and what was done."""

    def __init__(self, *ports: int, request: str = "", **spec: Any) -> None:
        self.theirs = [line(port) for port in ports]
        self.own: set[str] = set()
        self.injected: list[int] = []
        self.lost = 0
        self.refusal, self.break_off, self.slowness = "", "", 0.0
        self.is_taken, self.wakes, self.asked = True, 0, 0
        self.at_ask: Callable[[], object] = lambda: None
        group = director_group()
        group["status"]["failoverRequest"] = {"id": request, "reason": "r"} if request else None
        servers = [virtual_server(connectionMirroring=True, **spec)]
        nodes = [node("director-1", str(ACTIVE)), node("director-2", "192.0.2.2")]
        world = store(virtual_servers=servers, groups=[group], nodes=nodes).world()
        plan = desired.plan(world, judge(world), lambda *_: UP, "director-2")
        actual = State(plan.state.services, daemons=frozenset({RECEIVER}))
        self.view: View | None = View(world, plan, Standing(), actual)
        hands = Hands(lambda: iter(sorted(self.own)), self.inject)
        self.mirror = Mirror("director-2", self, hands, self, lambda: self.view, self.wake, now)

    def wake(self) -> None:
        self.wakes += 1

    def taken(self, router_id: int) -> bool:
        return self.is_taken

    def heard(self, router_id: int) -> Heard | None:
        return None

    async def ask(
        self, addresses: Sequence[IPAddress], group: str, first: int | None
    ) -> AsyncGenerator[list[str], None]:
        self.asked += 1
        assert (addresses, group) == ((ACTIVE,), GROUP)
        if self.refusal:
            raise PeerError(self.refusal)
        await asyncio.sleep(self.slowness)
        self.at_ask()
        yield self.theirs[:first]
        if self.break_off:
            raise PeerError(self.break_off)

    def inject(self, connections: list[Connection], receiver: SyncDaemon) -> int:
        assert receiver == RECEIVER
        self.injected += [one.client_port for one in connections]
        arrived = connections[self.lost :]
        self.lost = max(0, self.lost - len(connections))
        taken = (one for one in arrived if not self._keeps(one))
        self.own |= {line(one.client_port, one.state, origin="SYNC", client=_hex(one.client)) for one in taken}
        return 1

    def _keeps(self, one: Connection) -> bool:
        """As the kernel does: of a client's template that is there all stays but the time that it lasts."""
        client = f" {_hex(one.client)} 0000 C6120064"
        there = [found for found in self.own if one.template and client in found]
        if there and one.expires == 1:
            self.own.remove(there[0])
        return bool(there) or (one.template and one.expires == 1)

    def change(self, **parts: Any) -> None:
        """Let the loop know something else."""
        assert self.view is not None
        actual = {name: parts.pop(name) for name in ("daemons", "eligible", "electing", "services") if name in parts}
        self.view = replace(self.view, actual=replace(self.view.actual, **actual), **parts)

    @property
    def report(self) -> MirrorReport | None:
        return self.mirror.report(GROUP)

    @property
    def told(self) -> MirrorState | None:
        return self.report.state if self.report is not None else None


def following(case: Case, check: Callable[[], Awaitable[None]]) -> None:
    """Run the mirror during a check."""

    async def both() -> None:
        task = asyncio.create_task(case.mirror.run())
        await check()
        assert not task.done()
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task

    run(both())
