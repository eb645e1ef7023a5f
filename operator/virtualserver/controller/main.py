"""The controller's composition root: builds the parts, joins them, runs them until told to stop."""

from __future__ import annotations

import asyncio
import logging
import os
import sys

import kopf

from virtualserver.cluster.client import Api
from virtualserver.cluster.events import EventWriter
from virtualserver.cluster.resources import DIRECTOR_GROUPS, VIRTUAL_SERVERS
from virtualserver.cluster.status import StatusWriter
from virtualserver.controller import handlers
from virtualserver.controller.agents import Agents
from virtualserver.controller.feed import Feed
from virtualserver.controller.reconcile import Reconciler
from virtualserver.controller.settings import Settings, settings
from virtualserver.health import serve
from virtualserver.plan.store import Store
from virtualserver.telemetry import set_up_logging

log = logging.getLogger(__name__)

MANAGER = "virtualserver-controller"


def main() -> int:
    """Run the controller until SIGTERM or SIGINT; returns the exit code."""
    set_up_logging()
    try:
        chosen = settings(os.environ)
    except ValueError as error:
        print(f"virtualserver controller: {error}", file=sys.stderr)
        return 1
    asyncio.run(_run(chosen))
    return 0


async def _run(chosen: Settings) -> None:
    api, store, dirty = Api(), Store(), asyncio.Event()
    own = StatusWriter(api, VIRTUAL_SERVERS, MANAGER)
    fallback = StatusWriter(api, VIRTUAL_SERVERS, f"{MANAGER}-fallback")
    groups = StatusWriter(api, DIRECTOR_GROUPS, MANAGER)
    events = EventWriter(api, "controller", os.uname().nodename)
    feed = Feed(store, {VIRTUAL_SERVERS.kind: (own, fallback), DIRECTOR_GROUPS.kind: (groups,)}, dirty.set)
    agents = Agents(chosen.agent_port, store.world, dirty.set)
    reconciler = Reconciler(store, feed, agents, own, fallback, groups, events, dirty)
    # kopf ends every task that started after it, so ours start first.
    tasks = [asyncio.create_task(one) for one in (events.run(), feed.list_all(api), agents.run(), reconciler.run())]
    log.info("controller starts")
    try:
        async with serve(chosen.health_address, chosen.health_port, lambda: _ill(tasks)):
            await kopf.operator(registry=handlers.registry(feed), settings=handlers.settings(), clusterwide=True)
    finally:
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        for writer in (own, fallback, groups):
            await writer.close(flush=1.0)
        await api.close()
    log.info("controller stops")


def _ill(tasks: list[asyncio.Task[None]]) -> str:
    ended = [task.get_name() for task in tasks if task.done()]
    return f"ended: {', '.join(ended)}" if ended else ""
