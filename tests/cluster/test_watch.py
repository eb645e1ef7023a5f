"""List-then-watch against a real API server, with the agent's rights: gaps, outages, dead lines, refusals."""

from __future__ import annotations

import asyncio
import json
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest
from kubernetes.aio.config import incluster_config

from cluster.bench import CONTROLLER, Bench, until
from virtualserver.cluster import client
from virtualserver.cluster.client import Api
from virtualserver.cluster.errors import ApiError, Conflict, Gone, NotFound
from virtualserver.cluster.port import INACTIVITY_TIMEOUT
from virtualserver.cluster.resources import VIRTUAL_SERVERS, WATCHED, Resource
from virtualserver.cluster.watch import Reflector
from virtualserver.plan.store import Store
from virtualserver.plan.world import ObjectKey


class Watched:
    """A store that a reflector feeds."""

    def __init__(self, api: Api, resource: Resource = VIRTUAL_SERVERS, **more: Any) -> None:
        self.store = Store()
        self.reflector = Reflector(api, resource, self.store, **more)

    @property
    def names(self) -> set[str]:
        return {key.name for key in self.store.world().virtual_servers}


@asynccontextmanager
async def watched(api: Api, **more: Any) -> AsyncIterator[Watched]:
    made = Watched(api, **more)
    task = asyncio.create_task(made.reflector.run())
    try:
        await asyncio.wait_for(made.reflector.synced.wait(), 10)
        yield made
    finally:
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)
        await api.close()


async def test_the_agents_rights_suffice_to_watch_every_kind(bench: Bench) -> None:
    api, store = bench.api(), Store()
    reflectors = [Reflector(api, resource, store) for resource in WATCHED]
    tasks = [asyncio.create_task(one.run()) for one in reflectors]
    await asyncio.wait_for(asyncio.gather(*(one.synced.wait() for one in reflectors)), 10)
    await asyncio.sleep(0.5)
    assert all(one.connected and one.lists == 1 for one in reflectors)
    assert store.world().service_networks, "ServiceCIDRs are seen"
    for task in tasks:
        task.cancel()
    await asyncio.gather(*tasks, return_exceptions=True)
    await api.close()


async def test_changes_arrive_at_once(bench: Bench) -> None:
    changed = asyncio.Event()
    async with watched(bench.api(), on_change=changed.set) as seen:
        changed.clear()
        await asyncio.to_thread(bench.virtual_server, "a")
        await asyncio.wait_for(changed.wait(), 1)
        assert seen.names == {"a"}
        await asyncio.to_thread(bench.delete, VIRTUAL_SERVERS, "a")
        await until(lambda: not seen.names, 1, "the deletion is seen")


async def test_lists_come_in_pages_that_agree(bench: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("virtualserver.cluster.client.PAGE", 3)
    for number in range(10):
        bench.virtual_server(f"vs-{number}", f"198.18.0.{100 + number}")
    api = bench.api()
    objects, version = await api.list(VIRTUAL_SERVERS)
    assert len(objects) == 10
    assert int(version) > 0
    await api.close()


async def test_what_vanished_while_nobody_watched_is_found(bench: Bench) -> None:
    for name in ("stays", "vanishes"):
        bench.virtual_server(name, "198.18.0.101" if name == "stays" else "198.18.0.102")
    async with watched(bench.api()) as seen:
        assert seen.names == {"stays", "vanishes"}
        await asyncio.to_thread(bench.server.stop)
        await until(lambda: not seen.reflector.connected, 5, "the outage is noticed")
        await asyncio.to_thread(bench.vanish, "vanishes")
        await asyncio.sleep(3)
        assert seen.names == {"stays", "vanishes"}, "nothing is forgotten during an outage"
        assert seen.reflector.stale_since is not None
        await asyncio.to_thread(bench.server.start)
        took = await until(lambda: seen.names == {"stays"}, 4, "the vanished one is found")
        assert took < 2.5
        assert seen.reflector.connected


async def test_a_dead_line_is_noticed_and_replaced(bench: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    """A network that swallows everything: no reset, no end."""
    monkeypatch.setattr("virtualserver.cluster.client.OPEN_TIMEOUT", 1.5)
    assert INACTIVITY_TIMEOUT + client.OPEN_TIMEOUT < 70
    async with _Line(bench) as line, watched(bench.api(through=line.port), inactivity=2.0) as seen:
        line.swallow = True
        await asyncio.to_thread(bench.virtual_server, "a")
        heard = time.monotonic()
        await until(lambda: not seen.reflector.connected, 5, "noticed")
        assert seen.reflector.stale_since is not None
        assert seen.reflector.stale_since <= heard
        line.swallow = False
        await until(lambda: seen.names == {"a"}, 8, "caught up over a new line")


async def test_a_quiet_watch_is_opened_anew_and_nobody_is_alarmed(
    bench: Bench, caplog: pytest.LogCaptureFixture
) -> None:
    mark = bench.server.audit_mark()
    async with watched(bench.api(), inactivity=1.5) as seen:
        await asyncio.sleep(5)
        assert seen.reflector.connected
        assert seen.reflector.lists == 1
        await asyncio.to_thread(bench.virtual_server, "a")
        await until(lambda: seen.names == {"a"}, 1, "the new watch works")
    watches = [
        one
        for one in bench.server.audit(mark)
        if one["verb"] == "watch" and one["objectRef"]["resource"] == "virtualservers"
    ]
    assert 2 <= len(watches) <= 12
    assert not [one for one in caplog.records if one.levelname in ("WARNING", "ERROR")]


async def test_too_old_a_version_is_gone(bench: Bench) -> None:
    api = bench.api()
    bench.virtual_server("a")

    async def watch() -> None:
        async with api.watch(VIRTUAL_SERVERS, "1", 10) as events:
            async for _ in events:
                pass

    with pytest.raises(Gone):
        await watch()
    await api.close()


async def test_credentials_that_changed_are_read_again(bench: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    good = bench.kubeconfig(CONTROLLER)
    bad = good.with_name("rotating")
    token = json.loads(good.read_text())["users"][0]["user"]["token"]
    bad.write_text(good.read_text().replace(token, "outdated"))
    monkeypatch.setenv("KUBECONFIG", str(bad))
    api = client.Api()
    with pytest.raises(ApiError, match="401"):
        await api.list(VIRTUAL_SERVERS)
    bad.write_text(good.read_text())
    await asyncio.gather(*(api.list(VIRTUAL_SERVERS) for _ in range(5)))
    await api.close()


async def test_the_token_of_a_pod_is_read_again(bench: Bench, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    token = json.loads(bench.kubeconfig(CONTROLLER).read_text())["users"][0]["user"]["token"]
    (tmp_path / "token").write_text("outdated")
    monkeypatch.delenv("KUBECONFIG", raising=False)
    monkeypatch.setattr(incluster_config, "SERVICE_TOKEN_FILENAME", str(tmp_path / "token"))
    monkeypatch.setattr(incluster_config, "SERVICE_CERT_FILENAME", str(bench.server.authority))
    monkeypatch.setenv("KUBERNETES_SERVICE_HOST", "127.0.0.1")
    monkeypatch.setenv("KUBERNETES_SERVICE_PORT", bench.server.url.rpartition(":")[2])
    api = client.Api()
    with pytest.raises(ApiError, match="401"):
        await api.list(VIRTUAL_SERVERS)
    (tmp_path / "token").write_text(token)
    await api.list(VIRTUAL_SERVERS)
    await api.close()


async def test_answers_become_errors_of_their_own(bench: Bench) -> None:
    api = bench.api(CONTROLLER)
    missing = Resource("virtualserver.dev", "v1alpha1", "nothings", "Nothing", True)
    with pytest.raises(ApiError, match=r"403: .*cannot list"):
        await api.list(missing)
    with pytest.raises(NotFound):
        await api.apply_status(VIRTUAL_SERVERS, ObjectKey("default", "nobody"), _body("nobody"), "x")
    event = {
        "apiVersion": "events.k8s.io/v1",
        "kind": "Event",
        "metadata": {"name": "twice"},
        "eventTime": "2026-01-01T00:00:00.000000Z",
        "reportingController": "virtualserver.dev/test",
        "reportingInstance": "x",
        "action": "x",
        "reason": "x",
        "type": "Normal",
        "regarding": {"kind": "VirtualServer", "namespace": "default", "name": "twice"},
    }
    events = Resource("events.k8s.io", "v1", "events", "Event", True)
    await api.create(events, "default", event)
    with pytest.raises(Conflict):
        await api.create(events, "default", event)
    await api.patch(
        events, ObjectKey("default", "twice"), {"series": {"count": 2, "lastObservedTime": event["eventTime"]}}
    )
    await api.close()


def _body(name: str) -> dict[str, Any]:
    metadata = {"name": name, "namespace": "default"}
    return {"apiVersion": VIRTUAL_SERVERS.api_version, "kind": VIRTUAL_SERVERS.kind, "metadata": metadata}


class _Line:
    """A TCP proxy in front of the API server that can swallow everything on connections that are open."""

    def __init__(self, bench: Bench) -> None:
        self._target = bench.server.url.rpartition(":")[2]
        self.swallow = False
        self._writers: list[asyncio.StreamWriter] = []
        self._serving: set[asyncio.Task[None] | None] = set()

    async def __aenter__(self) -> _Line:
        self._server = await asyncio.start_server(self._serve, "127.0.0.1", 0)
        self.port: int = self._server.sockets[0].getsockname()[1]
        return self

    async def __aexit__(self, *_: object) -> None:
        self._server.close()
        for writer in self._writers:
            writer.close()
        await asyncio.gather(*(one for one in self._serving if one is not None))
        await asyncio.gather(*(one.wait_closed() for one in self._writers), return_exceptions=True)

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._serving.add(asyncio.current_task())
        there, out = await asyncio.open_connection("127.0.0.1", int(self._target))
        self._writers += [writer, out]
        await asyncio.gather(self._copy(reader, out), self._copy(there, writer), return_exceptions=True)

    async def _copy(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        dead = False
        while data := await reader.read(65536):
            dead = dead or self.swallow
            if not dead:
                writer.write(data)
                await writer.drain()
        if not dead:
            writer.close()
