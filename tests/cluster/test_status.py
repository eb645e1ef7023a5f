"""Status by server-side apply on a real API server: what depends on its managedFields and its answers.

Pace, outages and refusals are tested without one, in tests/unit/test_cluster_status.py.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

from cluster.bench import AGENT, CONTROLLER, Bench, Json, conditions, until
from virtualserver.cluster.client import Api
from virtualserver.cluster.managed import agent_manager
from virtualserver.cluster.resources import VIRTUAL_SERVERS
from virtualserver.cluster.status import StatusWriter
from virtualserver.cluster.watch import Fanout, Reflector
from virtualserver.controller.fallback import Fallback
from virtualserver.plan.world import ObjectKey

KEY = ObjectKey("default", "web")


def condition(kind: str, state: str, reason: str, message: str = "") -> Json:
    return {"type": kind, "status": state, "reason": reason, "message": message}


def agents_part(ready: str = "2/2", second: str = "Up") -> Json:
    return {
        "activeDirector": "n1",
        "readyRealServers": ready,
        "conditions": [condition("Programmed", "True", "Programmed"), condition("Available", "True", "RealServersUp")],
        "realServers": [
            {"address": "198.18.1.21", "port": 80, "state": "Up", "reason": "MonitorSucceeded", "weight": 1},
            {"address": "198.18.1.22", "port": 80, "state": second, "reason": "X", "weight": 1},
        ],
        "directors": [
            {
                "node": "n1",
                "role": "Active",
                "announced": ["198.18.0.100"],
                "services": [
                    {
                        "protocol": "TCP",
                        "address": "198.18.0.100",
                        "port": 80,
                        "scheduler": "wlc",
                        "realServers": [{"address": "198.18.1.21", "port": 80, "weight": 1}],
                    }
                ],
            }
        ],
    }


def controllers_part() -> Json:
    return {"observedGeneration": 1, "conditions": [condition("Accepted", "True", "Accepted")]}


@asynccontextmanager
async def writing(api: Api, *sinks: Any) -> AsyncIterator[None]:
    """Writers (or what has their shape), fed by a watch until the end, then stopped as by a crash."""
    reflector = Reflector(api, VIRTUAL_SERVERS, Fanout(*sinks))
    task = asyncio.create_task(reflector.run())
    try:
        await asyncio.wait_for(reflector.synced.wait(), 10)
        yield
    finally:
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)
        for sink in sinks:
            await getattr(sink, "writer", sink).close()
        await api.close()


def agent(api: Api) -> StatusWriter:
    return StatusWriter(api, VIRTUAL_SERVERS, agent_manager("n1"))


async def test_two_managers_share_an_object_without_fighting(bench: Bench) -> None:
    bench.virtual_server("web")
    api = bench.api(AGENT)
    one, two = agent(api), StatusWriter(api, VIRTUAL_SERVERS, "virtualserver-controller")
    async with writing(api, one, two):
        one.set(KEY, agents_part())
        two.set(KEY, controllers_part())
        await until(lambda: len(conditions(bench.get(VIRTUAL_SERVERS, "web"))) == 3, 1, "both are written")
        await asyncio.sleep(2.5)
        assert (one.writes, two.writes) == (1, 1)
        one.set(KEY, None)
        await until(lambda: set(conditions(bench.get(VIRTUAL_SERVERS, "web"))) == {"Accepted"}, 1, "the agent left")
    status = bench.get(VIRTUAL_SERVERS, "web")["status"]
    assert set(status) == {"conditions", "observedGeneration"}


async def test_a_restart_writes_nothing_when_nothing_changed(bench: Bench) -> None:
    bench.virtual_server("web")
    api = bench.api(AGENT)
    first = agent(api)
    async with writing(api, first):
        first.set(KEY, agents_part())
        await until(lambda: first.writes and not first._tasks, 2, "written")
    before, mark = bench.get(VIRTUAL_SERVERS, "web"), bench.server.audit_mark()
    await asyncio.sleep(1.1)
    api = bench.api(AGENT)
    second = agent(api)
    second.set(KEY, agents_part())
    async with writing(api, second):
        second.set(KEY, agents_part())
        await asyncio.sleep(1.5)
    assert bench.written(mark, AGENT) == []
    assert bench.get(VIRTUAL_SERVERS, "web") == before


async def test_only_what_changed_moves_its_time_and_what_is_gone_is_removed(bench: Bench) -> None:
    bench.virtual_server("web")
    api = bench.api(AGENT)
    writer = agent(api)
    async with writing(api, writer):
        writer.set(KEY, agents_part())
        await until(lambda: "status" in bench.get(VIRTUAL_SERVERS, "web"), 1, "written")
        before = bench.get(VIRTUAL_SERVERS, "web")["status"]
        await asyncio.sleep(1.1)
        writer.set(KEY, agents_part("1/2", "Down"))
        took = await until(
            lambda: bench.get(VIRTUAL_SERVERS, "web")["status"]["readyRealServers"] == "1/2", 1, "the death shows"
        )
        assert took < 0.5, "the first write after a quiet second goes at once"
        after = bench.get(VIRTUAL_SERVERS, "web")["status"]
        assert after["conditions"] == before["conditions"]
        assert after["realServers"][0] == before["realServers"][0]
        assert after["realServers"][1]["since"] > before["realServers"][1]["since"]
        assert after["directors"] == before["directors"]
        wish = agents_part()
        wish["realServers"].pop()
        writer.set(KEY, wish)
        await until(lambda: len(bench.get(VIRTUAL_SERVERS, "web")["status"]["realServers"]) == 1, 2, "removed")


async def test_an_object_deleted_meanwhile_is_let_go(bench: Bench) -> None:
    bench.virtual_server("web")
    api = bench.api(AGENT)
    writer = agent(api)
    writer.observe(bench.get(VIRTUAL_SERVERS, "web"))
    bench.delete(VIRTUAL_SERVERS, "web")
    writer.set(KEY, agents_part())
    await asyncio.sleep(3)
    assert writer.writes == 1, "404 is the end of it"
    await writer.close()
    await api.close()


class Heard:
    """Stands in for Agents: remembers who was heard."""

    def __init__(self) -> None:
        self.nodes: list[str] = []

    def heard(self, node: str) -> None:
        self.nodes.append(node)


UNKNOWN = {
    "readyRealServers": "?/2",
    "conditions": [
        condition("Programmed", "Unknown", "DirectorUnreachable", "n1 does not answer"),
        condition("Available", "Unknown", "DirectorUnreachable", "n1 does not answer"),
    ],
}


def state(bench: Bench) -> tuple[str, str]:
    return conditions(bench.get(VIRTUAL_SERVERS, "web")).get("Programmed", ("", ""))


async def test_the_controller_speaks_for_a_dead_agent_until_it_is_back(bench: Bench) -> None:
    """Agent writes, dies; controller says Unknown; agent comes back, its writer takes everything back."""
    bench.virtual_server("web")
    api = bench.api(AGENT)
    before = agent(api)
    async with writing(api, before):
        before.set(KEY, agents_part())
        await until(lambda: state(bench) == ("True", "Programmed"), 1, "the agent reports")
    api, heard = bench.api(CONTROLLER), Heard()
    fallback = Fallback(api, heard)
    async with writing(api, fallback):
        fallback.set(KEY, UNKNOWN, "n1")
        await until(lambda: state(bench) == ("Unknown", "DirectorUnreachable"), 1, "Unknown shows")
        assert bench.get(VIRTUAL_SERVERS, "web")["status"]["readyRealServers"] == "?/2"
        fallback.set(KEY, None)  # it answers again, but has not written yet
        await asyncio.sleep(2.5)
        assert state(bench) == ("Unknown", "DirectorUnreachable"), "nothing is lost in between"
        assert fallback.writer.writes == 1
        agents_api = bench.api(AGENT)
        after = agent(agents_api)
        async with writing(agents_api, after):
            after.set(KEY, agents_part())
            await until(lambda: state(bench) == ("True", "Programmed"), 1.5, "the agent took its part back")
            await until(lambda: fallback.writer.writes == 2, 2, "the controller took its words back")
            await asyncio.sleep(2.5)
            assert (after.writes, fallback.writer.writes) == (1, 2), "and then there is peace"
    obj = bench.get(VIRTUAL_SERVERS, "web")
    assert obj["status"]["readyRealServers"] == "2/2"
    assert len(obj["status"]["realServers"]) == 2
    assert "virtualserver-controller-fallback" not in {one["manager"] for one in obj["metadata"]["managedFields"]}
    assert heard.nodes == []


async def test_an_agent_that_cannot_be_asked_but_writes_is_believed(bench: Bench) -> None:
    bench.virtual_server("web")
    api, other, heard = bench.api(AGENT), bench.api(CONTROLLER), Heard()
    living, fallback = agent(api), Fallback(other, heard)
    async with writing(api, living, fallback):
        living.set(KEY, agents_part())
        await until(lambda: state(bench) == ("True", "Programmed"), 1, "the agent reports")
        await asyncio.sleep(1)
        fallback.set(KEY, UNKNOWN, "n1")
        await until(lambda: heard.nodes, 3, "its answer is noticed")
        fallback.set(KEY, None)  # what the reconciler does when Agents says so
        await until(lambda: state(bench) == ("True", "Programmed"), 3, "the agent has its way")
        await asyncio.sleep(3)
        assert heard.nodes == ["n1"]
        assert living.writes <= 3
        assert fallback.writer.writes <= 2
    await other.close()
