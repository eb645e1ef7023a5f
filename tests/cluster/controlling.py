"""A whole controller on a real API server, and short ways to say what directors' agents would say."""

from __future__ import annotations

import asyncio
import json
import socket
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import pytest
from aiohttp import web

from cluster.bench import CONTROLLER, Bench, conditions, until
from virtualserver.cluster.managed import agent_manager
from virtualserver.cluster.resources import DIRECTOR_GROUPS, VIRTUAL_SERVERS, Resource
from virtualserver.controller.main import run
from virtualserver.controller.settings import Settings
from virtualserver.plan.world import ObjectKey

WHEN = "2026-01-01T00:00:00Z"

VISIBLE = 1.0
"""Seconds within which a condition must show."""


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port


@asynccontextmanager
async def controller(bench: Bench, agent_port: int = 1, health_port: int = 0) -> AsyncIterator[None]:
    """A controller that has made its first round."""
    stop = asyncio.Event()
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("KUBECONFIG", str(await asyncio.to_thread(bench.kubeconfig, CONTROLLER)))
        task = asyncio.create_task(run(Settings("127.0.0.1", health_port, agent_port), stop))
        try:
            await asyncio.sleep(1.5)
            yield
            assert not task.done()
        finally:
            stop.set()
            await asyncio.wait_for(task, 20)


def seen(bench: Bench, name: str) -> dict[str, tuple[str, str]]:
    return conditions(bench.get(VIRTUAL_SERVERS, name))


async def shows(bench: Bench, name: str, kind: str, state: str, reason: str, within: float = VISIBLE) -> float:
    wanted = state, reason
    return await until(lambda: seen(bench, name).get(kind) == wanted, within, f"{name}: {kind} is {state}, {reason}")


async def quiet(bench: Bench, seconds: float = 2.0) -> list[tuple[str, str, str, int]]:
    """What the controller writes while nothing changes."""
    mark = bench.server.audit_mark()
    await asyncio.sleep(seconds)
    return bench.written(mark, CONTROLLER)


@asynccontextmanager
async def answering(port: int) -> AsyncIterator[None]:
    """Answer the controller's question for the agents of all nodes, which have the same address here."""

    async def fine(_: web.Request) -> web.Response:
        return web.Response(text="ok")

    app = web.Application()
    app.router.add_get("/healthz", fine)
    runner = web.AppRunner(app)
    await runner.setup()
    try:
        await web.TCPSite(runner, "127.0.0.1", port).start()
        yield
    finally:
        await runner.cleanup()


def apply(bench: Bench, resource: Resource, key: ObjectKey, manager: str, status: dict[str, object]) -> None:
    """Apply a status by force."""
    body = resource.identity(key) | {"status": status}
    command = ["apply", "--server-side", "--subresource=status", "--force-conflicts", "--validate=false", "-f", "-"]
    bench.server.kubectl(*command, f"--field-manager={manager}", input=json.dumps(body))


def director_speaks(bench: Bench, node: str, role: str = "Active", mirror: str = "", **more: object) -> None:
    """Apply what a director says of itself to its group, as its agent does."""
    entry = {"node": node, "role": role, "reason": "R", "message": "m", "priority": 250, "since": WHEN}
    if mirror:
        entry["mirror"] = {"state": mirror}
    status = {"directors": [entry], **({"activeDirector": node} if role == "Active" else {}), **more}
    apply(bench, DIRECTOR_GROUPS, ObjectKey("", "default"), agent_manager(node), status)


def group(bench: Bench) -> dict[str, Any]:
    """The status of the group."""
    made: dict[str, Any] = bench.get(DIRECTOR_GROUPS, "default").get("status") or {}
    return made


def roles(bench: Bench) -> dict[str, str]:
    return {entry["node"]: entry["role"] for entry in group(bench).get("directors", [])}


async def group_shows(bench: Bench, kind: str, state: str, reason: str, within: float = VISIBLE + 1) -> float:
    wanted = state, reason
    return await until(
        lambda: conditions(bench.get(DIRECTOR_GROUPS, "default")).get(kind) == wanted,
        within,
        f"group: {kind} is {state}, {reason}",
    )
