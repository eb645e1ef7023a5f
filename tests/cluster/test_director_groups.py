"""Director groups on a real API server: what the controller makes of the words of their directors."""

from __future__ import annotations

import asyncio
from typing import Any

from cluster.bench import Bench, conditions, until
from cluster.controlling import (
    VISIBLE,
    WHEN,
    answering,
    apply,
    controller,
    director_speaks,
    free_port,
    group,
    group_shows,
    quiet,
    roles,
    seen,
    shows,
)
from virtualserver.cluster.managed import agent_manager
from virtualserver.cluster.resources import DIRECTOR_GROUPS, NODES, VIRTUAL_SERVERS
from virtualserver.plan.world import ObjectKey


async def test_a_failover_shows_and_is_told(bench: Bench) -> None:
    bench.node("director-1")
    bench.node("director-2")
    bench.group()
    bench.virtual_server("web", connectionMirroring=True)
    port = free_port()
    async with answering(port), controller(bench, agent_port=port):
        await asyncio.to_thread(director_speaks, bench, "director-1")
        await group_shows(bench, "Degraded", "True", "NoStandby")
        await shows(bench, "web", "Mirrored", "False", "NoStandby", VISIBLE + 1)
        await asyncio.to_thread(director_speaks, bench, "director-2", "Standby", "InStep")
        await group_shows(bench, "Degraded", "False", "DirectorsReady")
        await shows(bench, "web", "Mirrored", "True", "InStep", VISIBLE + 1)
        await until(lambda: group(bench).get("standbys") == "director-2", 2, "a standby")
        failover = {"node": "director-2", "before": "director-1", "reason": "DirectorYielded", "message": "m"}
        await asyncio.to_thread(director_speaks, bench, "director-2", lastFailover=failover)
        await asyncio.to_thread(director_speaks, bench, "director-1", "Standby")
        await until(lambda: ("Normal", "FailedOver") in bench.events("default"), 3, "a failover is an event")
        await shows(bench, "web", "Mirrored", "Unknown", "NotMeasured", VISIBLE + 2)
        assert group(bench)["activeDirector"] == "director-2"
        await until(lambda: group(bench).get("standbys") == "director-1", 2, "the other way round")
        spec = {"spec": {"connectionMirroring": False}}
        path = VIRTUAL_SERVERS.path(ObjectKey("default", "web"))
        await asyncio.to_thread(bench.server.request, "PATCH", path, spec)
        await until(lambda: "Mirrored" not in seen(bench, "web"), VISIBLE + 1, "gone with what it is about")
        assert await quiet(bench) == []
    assert ("Warning", "TwoOwners") not in bench.events("default")


REFUSED: dict[str, tuple[dict[str, Any], str]] = {
    "RouterIdInUse": ({}, "spec.vrrp.routerId: 51 is used by DirectorGroup a-first, which is older; choose another"),
    "SyncIdInUse": (
        {"vrrp": {"routerId": 52}, "mirroring": {"syncId": 51}},
        "spec.mirroring.syncId: 51 is used by DirectorGroup a-first, which is older; choose another",
    ),
    "MirroringConflict": (
        {"vrrp": {"routerId": 52}, "mirroring": {"port": 8850}},
        "spec.mirroring.port: 8850 differs from 8848 of DirectorGroup a-first, which is older and has director-1 as a "
        "director, too: a node mirrors in one way only; choose the same, or other nodes",
    ),
    "GatewayInUse": (
        {"vrrp": {"routerId": 52}, "gateway": {"interface": "eth1", "addresses": ["198.18.1.1"]}},
        "spec.gateway.addresses: 198.18.1.1 is held by DirectorGroup a-first, which is older; choose another",
    ),
}


async def test_a_group_that_clashes_is_refused_with_field_and_value_and_the_other_goes_on(bench: Bench) -> None:
    """`kubectl get dg` shows why; once it is put right it is accepted."""
    bench.node("director-1")
    bench.group("a-first", gateway={"interface": "eth1", "addresses": ["198.18.1.1"]})
    await asyncio.sleep(1.1)  # who is older is known to the second
    async with controller(bench):
        for reason, (spec, words) in REFUSED.items():
            bench.group(**spec)
            await group_shows(bench, "Accepted", "False", reason)
            await group_shows(bench, "Degraded", "True", reason)
            (found,) = (one for one in group(bench)["conditions"] if one["type"] == "Accepted")
            assert found["message"] == words
            assert conditions(bench.get(DIRECTOR_GROUPS, "a-first"))["Accepted"] == ("True", "Accepted")
            bench.delete(DIRECTOR_GROUPS, "default")
        bench.group(vrrp={"routerId": 52})
        await group_shows(bench, "Accepted", "True", "Accepted")


async def test_two_directors_that_are_active_at_the_same_time_are_found(bench: Bench) -> None:
    bench.node("director-1")
    bench.node("director-2")
    bench.group()
    port = free_port()
    async with answering(port), controller(bench, agent_port=port):
        for node in ("director-1", "director-2"):
            await asyncio.to_thread(director_speaks, bench, node)
        took = await group_shows(bench, "Degraded", "True", "TwoOwners", 10)
        assert took > 1, "not while one of them may be about to yield"
        await until(lambda: ("Warning", "TwoOwners") in bench.events("default"), 2, "and that is an event")
        await asyncio.to_thread(director_speaks, bench, "director-1", "Standby")
        await group_shows(bench, "Degraded", "False", "DirectorsReady")


async def test_a_director_that_does_not_answer_is_unknown_until_it_speaks(bench: Bench) -> None:
    bench.node("director-1")
    bench.node("director-2", "127.0.0.2")
    bench.group()
    bench.virtual_server("web")
    port = free_port()

    def speak_of_web() -> None:
        entry = {"node": "director-2", "role": "Standby", "reported": WHEN}
        standby: dict[str, object] = {"directors": [entry]}
        apply(bench, VIRTUAL_SERVERS, ObjectKey("default", "web"), agent_manager("director-2"), standby)

    def shown() -> str:
        return str(bench.get(VIRTUAL_SERVERS, "web")["status"]["directors"][0]["role"])

    async with answering(port), controller(bench, agent_port=port):
        await asyncio.to_thread(director_speaks, bench, "director-1")
        await asyncio.to_thread(director_speaks, bench, "director-2", "Standby")
        await asyncio.to_thread(speak_of_web)
        await group_shows(bench, "Degraded", "True", "DirectorUnreachable", 12)
        await until(lambda: roles(bench) == {"director-1": "Active", "director-2": "Unknown"}, 2, "its entry says so")
        assert "standbys" not in group(bench)
        await until(lambda: shown() == "Unknown", 2, "also the one of the virtual server")
        assert await quiet(bench) == []
        await asyncio.to_thread(director_speaks, bench, "director-2", "Standby")
        await asyncio.to_thread(speak_of_web)
        await group_shows(bench, "Degraded", "False", "DirectorsReady", 3)
        await asyncio.sleep(2)
        assert (roles(bench)["director-2"], shown()) == ("Standby", "Standby")
        for obj in (bench.get(DIRECTOR_GROUPS, "default"), bench.get(VIRTUAL_SERVERS, "web")):
            managers = {one["manager"] for one in obj["metadata"]["managedFields"]}
            assert "virtualserver-controller-silence" not in managers


async def test_what_a_dead_director_said_of_its_group_goes_with_its_node(bench: Bench) -> None:
    bench.node("director-1")
    bench.node("director-2", "127.0.0.2")
    bench.group()
    port = free_port()
    async with answering(port), controller(bench, agent_port=port):
        failover = {"node": "director-2", "reason": "First", "message": "m"}
        await asyncio.to_thread(director_speaks, bench, "director-1", "Standby")
        await asyncio.to_thread(director_speaks, bench, "director-2", lastFailover=failover)
        await group_shows(bench, "Available", "Unknown", "DirectorUnreachable", 12)
        await asyncio.to_thread(bench.delete, NODES, "director-2")
        await until(lambda: roles(bench) == {"director-1": "Standby"}, 12, "its entry is gone")
        assert not {"activeDirector", "lastFailover"} & set(group(bench))
        await group_shows(bench, "Available", "False", "NoActiveDirector")
        await asyncio.sleep(1.5)
        assert await quiet(bench) == []
