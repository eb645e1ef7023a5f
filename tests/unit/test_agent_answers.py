"""What an agent tells over HTTP, to whom, and how the one that asks takes it; both ends are real."""

from __future__ import annotations

import asyncio
import socket
import threading
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from dataclasses import replace
from ipaddress import ip_address

import aiohttp
import pytest

from unit.builders import director_group, node, store, virtual_server
from virtualserver.agent import answers
from virtualserver.agent.answers import AT_ONCE, Answers
from virtualserver.agent.following import Figures
from virtualserver.agent.metrics import Held, Metrics
from virtualserver.agent.peers import HttpPeers, PeerError
from virtualserver.agent.slices import SLICE
from virtualserver.agent.view import View
from virtualserver.health import serve
from virtualserver.kernel.port import KernelError
from virtualserver.model.types import (
    DestinationContent,
    DestinationKey,
    Protocol,
    Service,
    ServiceContent,
    ServiceKey,
    State,
)
from virtualserver.plan import desired
from virtualserver.plan.eligibility import Standing
from virtualserver.plan.health import UNCHECKED
from virtualserver.plan.mirroring import TICK
from virtualserver.plan.verdicts import judge

HERE, NOBODY = ip_address("127.0.0.1"), ip_address("127.0.0.9")
ACTIVE = Standing(active=frozenset({"default"}))
OTHERS = "TCP C6120002 9C40 C61200FF 0050 C6120115 1F90 ESTABLISHED LOCAL      899\n"
KEY = ServiceKey(Protocol.TCP, ip_address("198.18.0.100"), 80)
SERVER = DestinationKey(ip_address("198.18.1.21"), 8080)
TABLE = State(services={KEY: Service(ServiceContent("rr"), {SERVER: DestinationContent(1)})})
ORPHAN = "TCP C6120002 9C40 C6120064 0050 C6120116 1F90 ESTABLISHED LOCAL      899\n"
"""Of a real server that is not there any more."""


def line(port: int) -> str:
    return f"TCP C6120002 {port:04X} C6120064 0050 C6120115 1F90 ESTABLISHED LOCAL      899\n"


def view(standing: Standing = ACTIVE, peer: str = "127.0.0.1") -> View:
    nodes = [node("director-1", "192.0.2.1"), node("director-2", peer)]
    world = store(virtual_servers=[virtual_server()], groups=[director_group()], nodes=nodes).world()
    return View(world, desired.plan(world, judge(world), lambda *_: UNCHECKED, "director-1"), standing, TABLE)


class Agent:
    """An agent's answers at a port of this machine, and one that asks them."""

    def __init__(self) -> None:
        with socket.socket() as one:
            one.bind((str(HERE), 0))
            self.port = one.getsockname()[1]
        self.view: View | None = view()
        self.table = [line(port) for port in range(5)]
        self.read, self.open = 0, threading.Event()
        self.open.set()
        self.broken = False
        metrics = Metrics(lambda: self.view, lambda: {"default": Figures(200, 1, 5.25)}, {"default": 3})
        self.answers = Answers("director-1", lambda: self.view, self.lines, self.held, metrics.text)
        self.peers = HttpPeers(self.port)

    def held(self) -> Held:
        if self.broken:
            raise KernelError("cannot be read")
        return {KEY: (4, 2), TICK: (1, 0)}

    def lines(self) -> Iterator[str]:
        self.open.wait(10)
        for one in self.table:
            self.read += 1
            yield one
        if self.broken:
            raise KernelError("cannot be read any further")

    async def told(self, first: int | None = None, group: str = "default") -> list[str]:
        found = [one async for part in self.peers.ask((HERE,), group, first) for one in part]
        return [one + "\n" for one in found if one]


@asynccontextmanager
async def agent() -> AsyncIterator[Agent]:
    made = Agent()
    async with serve(str(HERE), made.port, lambda: "", made.answers.handlers):
        try:
            yield made
        finally:
            await made.peers.close()


async def test_the_active_director_tells_the_connections_of_a_group() -> None:
    async with agent() as one:
        one.table[1:1] = [OTHERS]
        assert await one.told() == [line(port) for port in range(5)]


async def test_a_connection_of_a_real_server_that_was_removed_is_nothing_that_others_lack() -> None:
    """Or a returning director would wait for it, and a standby be behind, until the kernel forgets it."""
    async with agent() as one:
        one.table[1:1] = [ORPHAN]
        assert await one.told() == [line(port) for port in range(5)]


async def test_a_table_of_many_slices_comes_whole() -> None:
    async with agent() as one:
        one.table = [line(port) for port in range(3 * SLICE + 7)]
        assert await one.told() == one.table


async def test_for_a_sample_no_more_is_read_than_it_needs() -> None:
    async with agent() as one:
        one.table = [line(port) for port in range(20 * SLICE)]
        assert await one.told(first=10) == one.table[:10]
        assert one.read <= SLICE
        one.table, one.read = [OTHERS] * 20 * SLICE, 0
        assert await one.told(first=10) == []
        assert one.read <= 2 * SLICE


async def test_who_waits_for_a_small_group_beside_a_large_one_hears_that_it_goes_on() -> None:
    async with agent() as one:
        one.table = [OTHERS] * 3 * SLICE + [line(7)]
        parts = [part async for part in one.peers.ask((HERE,), "default", None)]
        assert sum(part.count("") for part in parts) >= 3
        assert await one.told() == [line(7)]


async def test_a_director_whose_kernel_cannot_be_read_does_not_say_that_it_has_no_connections() -> None:
    async with agent() as one:
        assert one.view is not None
        one.view = replace(one.view, actual=State())
        with pytest.raises(PeerError, match="its kernel cannot be read"):
            await one.told()


async def _busy(one: Agent, count: int) -> None:
    async with asyncio.timeout(20):
        while one.answers.busy != count:  # noqa: ASYNC110 - nobody tells
            await asyncio.sleep(0.01)


async def test_one_that_does_not_read_on_keeps_nobody_waiting(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(answers, "PATIENCE", 0.2)
    async with agent() as one:
        one.table = [line(port % 60000) for port in range(60 * SLICE)]
        reader, writer = await asyncio.open_connection(str(HERE), one.port)
        writer.write(b"GET /connections?group=default HTTP/1.1\r\nHost: a\r\n\r\n")
        await _busy(one, 1)
        await _busy(one, 0)
        writer.close()
        del reader


@pytest.mark.parametrize("peer", ["192.0.2.7", "127.0.0.2"])
async def test_strangers_are_told_nothing(peer: str) -> None:
    async with agent() as one:
        one.view = view(peer=peer)
        with pytest.raises(PeerError, match="only directors"):
            await one.told()


async def test_a_director_that_is_a_stranger_on_one_network_asks_on_the_next() -> None:
    """From which of its addresses a node asks depends on where the other one is asked."""
    other = ip_address("127.0.0.2")
    async with agent() as one:
        elsewhere = Answers("director-1", lambda: view(peer="192.0.2.7"), one.lines, one.held, lambda _: "")
        async with serve(str(other), one.port, lambda: "", elsewhere.handlers):
            assert [part async for part in one.peers.ask((other, HERE), "default", None)]
            with pytest.raises(PeerError, match=r"127\.0\.0\.2: only directors"):
                assert not [part async for part in one.peers.ask((other,), "default", None)]


async def test_of_a_group_that_is_not_known_nothing_is_told() -> None:
    async with agent() as one:
        with pytest.raises(PeerError, match="only directors"):
            await one.told(group="other")


async def test_a_standby_says_that_it_is_none_to_ask() -> None:
    async with agent() as one:
        one.view = view(Standing())
        with pytest.raises(PeerError, match="not active"):
            await one.told()


async def test_an_answer_that_breaks_off_is_not_taken_for_the_whole() -> None:
    async with agent() as one:
        one.broken = True
        with pytest.raises(PeerError, match="breaks off"):
            await one.told()


async def test_an_address_at_which_nobody_listens_is_passed_over() -> None:
    async with agent() as one:
        assert [part async for part in one.peers.ask((NOBODY, HERE), "default", None)]
        with pytest.raises(PeerError, match=r"127\.0\.0\.9: Connection refused"):
            assert not [part async for part in one.peers.ask((NOBODY,), "default", None)]


async def test_a_few_are_answered_at_once_the_others_later() -> None:
    async with agent() as one:
        one.open.clear()
        busy = [asyncio.create_task(one.told()) for _ in range(AT_ONCE)]
        async with asyncio.timeout(10):
            while one.answers.busy < AT_ONCE:  # noqa: ASYNC110 - of a thread, which sets no event
                await asyncio.sleep(0.01)
        with pytest.raises(PeerError, match="too many"):
            await one.told()
        one.open.set()
        assert [len(found) for found in await asyncio.gather(*busy)] == [5] * AT_ONCE
        assert len(await one.told()) == 5


async def text(one: Agent, path: str) -> str:
    async with aiohttp.ClientSession() as session, session.get(f"http://{HERE}:{one.port}{path}") as response:
        return await response.text()


async def test_figures_in_the_format_of_prometheus() -> None:
    async with agent() as one:
        found = await text(one, "/metrics")
    assert "# TYPE virtualserver_failovers_total counter\nvirtualserver_failovers_total" in found
    for sample in (
        'group_role{group="default",role="Active"} 1',
        'group_role{group="default",role="Standby"} 0',
        'failovers_total{group="default"} 3',
        'mirror_share{group="default"} 0.995',
        'mirror_lag_seconds{group="default"} +Inf',
        'connections{service="TCP 198.18.0.100:80",state="active"} 4',
        'connections{service="TCP 198.18.0.100:80",state="inactive"} 2',
    ):
        assert f"\nvirtualserver_{sample}\n" in found
    assert str(TICK) not in found, "it is for nobody"


async def test_figures_before_the_first_round_and_with_an_unreadable_kernel() -> None:
    async with agent() as one:
        one.view, one.broken = None, True
        found = await text(one, "/metrics")
        assert "virtualserver_failovers_total" in found
        assert "virtualserver_connections" not in found
        assert await text(one, "/healthz") == "ok"
