"""The whole controller against a real API server, with exactly the rights that the chart grants it."""

from __future__ import annotations

import asyncio
from pathlib import Path

import aiohttp
import pytest

from cluster.bench import CONTROLLER, Bench, conditions, until
from cluster.controlling import (
    VISIBLE,
    answering,
    apply,
    controller,
    director_speaks,
    free_port,
    group,
    group_shows,
    quiet,
    seen,
    shows,
)
from virtualserver.cluster.errors import CredentialsError
from virtualserver.cluster.managed import agent_manager
from virtualserver.cluster.resources import NODES, SERVICES, VIRTUAL_SERVERS
from virtualserver.controller.main import run
from virtualserver.controller.settings import Settings
from virtualserver.plan.world import ObjectKey


async def test_a_virtual_server_is_judged_within_a_second(bench: Bench) -> None:
    bench.node("director-1")
    bench.group()
    async with controller(bench):
        await asyncio.to_thread(bench.virtual_server, "web")
        await shows(bench, "web", "Accepted", "True", "Accepted")
        await shows(bench, "web", "ResolvedRefs", "True", "Resolved")
        obj = bench.get(VIRTUAL_SERVERS, "web")
        assert obj["status"]["observedGeneration"] == 1
        assert all(one["observedGeneration"] == 1 and one["lastTransitionTime"] for one in obj["status"]["conditions"])
        assert "annotations" not in obj["metadata"]
        assert "finalizers" not in obj["metadata"]
        assert "activeDirector" not in group(bench), "that is its director's own"
        assert await quiet(bench) == []


async def test_a_missing_service_shows_and_so_does_its_coming(bench: Bench) -> None:
    bench.node("director-1")
    bench.group()
    async with controller(bench):
        await asyncio.to_thread(bench.virtual_server, "web", "198.18.0.100", {"service": {"name": "shop"}})
        await shows(bench, "web", "ResolvedRefs", "False", "ServiceNotFound")
        await asyncio.to_thread(bench.create, SERVICES, "shop", spec={"ports": [{"port": 80}], "clusterIP": "None"})
        await shows(bench, "web", "ResolvedRefs", "True", "Resolved")
        await until(lambda: len(bench.events("web")) >= 3, 2, "events")
        assert {("Warning", "ServiceNotFound"), ("Normal", "Resolved")} <= set(bench.events("web"))


async def test_of_two_with_one_address_the_younger_waits(bench: Bench) -> None:
    bench.node("director-1")
    bench.group()
    async with controller(bench):
        await asyncio.to_thread(bench.virtual_server, "older")
        await shows(bench, "older", "Accepted", "True", "Accepted")
        await asyncio.sleep(1.1)
        await asyncio.to_thread(bench.virtual_server, "younger")
        await shows(bench, "younger", "Accepted", "False", "AddressInUse")
        assert seen(bench, "younger")["Programmed"] == ("False", "NotAccepted")
        await asyncio.to_thread(bench.delete, VIRTUAL_SERVERS, "older")
        await shows(bench, "younger", "Accepted", "True", "Accepted", VISIBLE + 1)


async def test_without_group_or_node_the_status_says_so(bench: Bench) -> None:
    async with controller(bench):
        await asyncio.to_thread(bench.virtual_server, "web")
        await shows(bench, "web", "Accepted", "False", "DirectorGroupNotFound")
        await asyncio.to_thread(bench.group)
        await shows(bench, "web", "Programmed", "False", "NoDirector", VISIBLE + 1)
        await group_shows(bench, "Accepted", "False", "NoDirector", VISIBLE)
        await asyncio.to_thread(bench.node, "director-1")
        await group_shows(bench, "Accepted", "True", "Accepted")
        await group_shows(bench, "Available", "False", "NoActiveDirector")
        await asyncio.to_thread(director_speaks, bench, "director-1")
        await group_shows(bench, "Available", "True", "DirectorActive")
        await until(lambda: ("Normal", "DirectorActive") in bench.events("default"), 2, "and that is an event")


async def test_a_restart_writes_nothing_and_tells_nothing(bench: Bench) -> None:
    bench.node("director-1")
    bench.group()
    bench.virtual_server("good", "198.18.0.101")
    bench.virtual_server("bad", "198.18.0.102", {"service": {"name": "nobody"}})
    async with controller(bench):
        await shows(bench, "bad", "ResolvedRefs", "False", "ServiceNotFound")
        await asyncio.sleep(1.5)
    told = bench.events("bad"), bench.events("good")
    mark = bench.server.audit_mark()
    async with controller(bench):
        await asyncio.sleep(2)
    assert bench.written(mark, CONTROLLER) == []
    assert (bench.events("bad"), bench.events("good")) == told


async def test_an_agent_that_does_not_answer_makes_its_report_unknown(bench: Bench) -> None:
    bench.node("director-1")
    bench.group()
    bench.virtual_server("web")
    director_speaks(bench, "director-1")
    port = free_port()
    async with controller(bench, agent_port=port):
        took = await shows(bench, "web", "Available", "Unknown", "DirectorUnreachable", 10)
        assert took > 2, "not at the first answer missed"
        async with answering(port):
            await asyncio.sleep(4)
            assert seen(bench, "web")["Available"] == ("Unknown", "DirectorUnreachable"), "until the agent speaks"
            _agent_speaks(bench)
            await asyncio.sleep(2)
            assert seen(bench, "web")["Available"] == ("True", "RealServersUp")
            managers = {one["manager"] for one in bench.get(VIRTUAL_SERVERS, "web")["metadata"]["managedFields"]}
            assert "virtualserver-controller-fallback" not in managers


WORDS = [
    {"type": kind, "status": "True", "reason": reason, "message": "", "lastTransitionTime": "2026-01-01T00:00:00Z"}
    for kind, reason in (("Programmed", "Programmed"), ("Available", "RealServersUp"))
]


def _agent_speaks(bench: Bench, node: str = "director-1", **more: object) -> None:
    """Apply conditions and more, as the active director's agent does."""
    key = ObjectKey("default", "web")
    apply(bench, VIRTUAL_SERVERS, key, agent_manager(node), {"conditions": WORDS} | more)


def _as_active(bench: Bench, node: str, *servers: str) -> None:
    """Apply the whole part of the active director, to its group, too."""
    director_speaks(bench, node)
    _agent_speaks(
        bench,
        node,
        activeDirector=node,
        readyRealServers="1/1",
        realServers=[
            {"address": one, "port": 80, "state": "Up", "reason": "MonitorSucceeded", "weight": 1} for one in servers
        ],
        directors=[{"node": node, "role": "Active", "announced": ["198.18.0.100"]}],
    )


def _told_by(bench: Bench) -> tuple[list[str], list[str], object]:
    """Nodes and real servers that the status lists, and its active director."""
    status = bench.get(VIRTUAL_SERVERS, "web")["status"]
    nodes = [one["node"] for one in status.get("directors", [])]
    return nodes, [one["address"] for one in status.get("realServers", [])], status.get("activeDirector")


@pytest.mark.parametrize("lost", ["node", "label"])
async def test_what_a_former_director_said_goes_and_its_successors_words_stay(bench: Bench, lost: str) -> None:
    bench.node("director-1")
    bench.node("director-2")
    bench.group()
    bench.virtual_server("web")
    port = free_port()
    async with answering(port), controller(bench, agent_port=port):
        await shows(bench, "web", "Accepted", "True", "Accepted")
        await asyncio.to_thread(_as_active, bench, "director-1", "198.18.1.21", "198.18.1.29")
        if lost == "node":
            await asyncio.to_thread(bench.delete, NODES, "director-1")
        else:
            labels = {"metadata": {"labels": {"d": None}}}
            await asyncio.to_thread(bench.server.request, "PATCH", "/api/v1/nodes/director-1", labels)
        await asyncio.to_thread(_as_active, bench, "director-2", "198.18.1.21")
        assert _told_by(bench) == (["director-1", "director-2"], ["198.18.1.21", "198.18.1.29"], "director-2")
        ours = (["director-2"], ["198.18.1.21"], "director-2")
        await until(lambda: _told_by(bench) == ours, 10, "only the living are left")
        obj = bench.get(VIRTUAL_SERVERS, "web")
        assert conditions(obj)["Available"] == ("True", "RealServersUp")
        assert agent_manager("director-1") not in {one["manager"] for one in obj["metadata"]["managedFields"]}
        assert await quiet(bench, 6) == []


async def test_the_last_directors_words_go_once_the_controller_speaks_also_after_its_own_absence(bench: Bench) -> None:
    bench.node("director-1")
    bench.group()
    bench.virtual_server("web")
    async with controller(bench):
        await shows(bench, "web", "Accepted", "True", "Accepted")
        await asyncio.to_thread(_as_active, bench, "director-1", "198.18.1.21")
        await asyncio.sleep(0.5)
    await asyncio.to_thread(bench.delete, NODES, "director-1")
    async with controller(bench):
        await shows(bench, "web", "Programmed", "False", "NoDirector", 10)
        await until(lambda: _told_by(bench) == ([], [], None), 10, "nothing of it is left")
        await until(lambda: "Degraded" not in seen(bench, "web"), 5, "nor of what it had found")
        assert seen(bench, "web")["Programmed"] == ("False", "NoDirector")
        assert await quiet(bench) == []


async def test_what_vanished_during_an_outage_is_found(bench: Bench) -> None:
    bench.node("director-1")
    bench.group()
    bench.virtual_server("older")
    await asyncio.sleep(1.1)
    bench.virtual_server("younger")
    async with controller(bench):
        await shows(bench, "younger", "Accepted", "False", "AddressInUse")
        await asyncio.to_thread(bench.server.stop)
        await asyncio.sleep(2)
        await asyncio.to_thread(bench.vanish, "older")
        await asyncio.to_thread(bench.server.start)
        await shows(bench, "younger", "Accepted", "True", "Accepted", 15)


async def test_an_outage_ends_in_a_working_controller(bench: Bench) -> None:
    bench.node("director-1")
    bench.group()
    async with controller(bench):
        await asyncio.to_thread(bench.server.stop)
        await asyncio.sleep(8)
        await asyncio.to_thread(bench.server.start)
        await asyncio.to_thread(bench.virtual_server, "web")
        await shows(bench, "web", "Accepted", "True", "Accepted", 12)
        assert ("create", "nodes", "", 403) not in await quiet(bench)


async def test_health_is_served(bench: Bench) -> None:
    port = free_port()
    async with (
        controller(bench, health_port=port),
        aiohttp.ClientSession() as session,
        session.get(f"http://127.0.0.1:{port}/healthz") as answer,
    ):
        assert (answer.status, await answer.text()) == (200, "ok")


async def test_without_credentials_it_says_so(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("KUBECONFIG", str(tmp_path / "none"))
    with pytest.raises(CredentialsError, match="none"):
        await run(Settings("127.0.0.1", 0, 1), asyncio.Event())


async def test_nodes_may_go_while_it_runs(bench: Bench) -> None:
    bench.node("director-1")
    bench.group()
    bench.virtual_server("web")
    async with controller(bench):
        await shows(bench, "web", "Accepted", "True", "Accepted")
        await asyncio.to_thread(bench.delete, NODES, "director-1")
        await shows(bench, "web", "Programmed", "False", "NoDirector", VISIBLE + 1)
        await until(lambda: ("Warning", "NoDirector") in bench.events("default"), 2, "an event says it")
