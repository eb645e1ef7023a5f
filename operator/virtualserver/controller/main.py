"""The controller's composition root: builds the parts, joins them, runs them until told to stop."""

from __future__ import annotations

import asyncio
import logging
import os
import signal
import sys
from collections.abc import Awaitable, Callable

from virtualserver.cluster.client import Api
from virtualserver.cluster.errors import CredentialsError
from virtualserver.cluster.events import EventWriter
from virtualserver.cluster.pacing import Backoff
from virtualserver.cluster.resources import DIRECTOR_GROUPS, VIRTUAL_SERVERS, WATCHED
from virtualserver.cluster.status import StatusWriter
from virtualserver.cluster.watch import Sink
from virtualserver.controller.agents import Agents
from virtualserver.controller.fallback import Fallback
from virtualserver.controller.feed import Feed
from virtualserver.controller.findings import FindingsSeen
from virtualserver.controller.groups import GroupsSeen
from virtualserver.controller.leftovers import Leftovers
from virtualserver.controller.reconcile import Groups, Reconciler
from virtualserver.controller.settings import Settings, settings
from virtualserver.controller.silence import Silence, of_group, of_virtual_server
from virtualserver.controller.telling import GroupTeller
from virtualserver.controller.watching import Watching
from virtualserver.health import serve
from virtualserver.plan.store import Store
from virtualserver.telemetry import set_up_logging

log = logging.getLogger(__name__)

MANAGER = "virtualserver-controller"

ALIVE = 60.0
"""Seconds without a sign of life of the loop after which the controller calls itself ill."""


def main() -> int:
    """Run the controller until SIGTERM or SIGINT; returns the exit code."""
    set_up_logging()
    try:
        asyncio.run(_run_until_told(settings(os.environ)))
    except (ValueError, CredentialsError) as error:
        print(f"virtualserver controller: {error}", file=sys.stderr)
        return 1
    return 0


async def _run_until_told(chosen: Settings) -> None:
    stop = asyncio.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        asyncio.get_running_loop().add_signal_handler(number, stop.set)
    await run(chosen, stop)


async def run(chosen: Settings, stop: asyncio.Event) -> None:
    """Run the controller until ``stop`` is set; raises CredentialsError when there are none to start with."""
    api, store, dirty = Api(), Store(), asyncio.Event()
    await api.open()
    own = StatusWriter(api, VIRTUAL_SERVERS, MANAGER)
    groups = StatusWriter(api, DIRECTOR_GROUPS, MANAGER)
    events = EventWriter(api, "controller", os.uname().nodename)
    agents = Agents(chosen.agent_port, store.world, dirty.set)
    fallback, leftovers = Fallback(api, agents), Leftovers(api, VIRTUAL_SERVERS)
    of_groups = Groups(GroupTeller(agents, groups, events), Leftovers(api, DIRECTOR_GROUPS))
    silent_servers = Silence(api, VIRTUAL_SERVERS, of_virtual_server, agents)
    silent_groups = Silence(api, DIRECTOR_GROUPS, of_group, agents)
    sinks: dict[str, list[Sink]] = {resource.kind: [store] for resource in WATCHED}
    sinks[VIRTUAL_SERVERS.kind] += [own, fallback, leftovers, silent_servers, FindingsSeen()]
    sinks[DIRECTOR_GROUPS.kind] += [groups, of_groups.leftovers, silent_groups, GroupsSeen()]
    feed = Feed(sinks, dirty.set)
    reconciler = Reconciler(store, agents, own, fallback, leftovers, of_groups, (silent_servers, silent_groups), events)
    watching = Watching(feed)
    parts: dict[str, Callable[[], Awaitable[None]]] = {
        "events": events.run,
        "full list": lambda: feed.list_all(api),
        "agents": agents.run,
        "leftovers": leftovers.run,
        "leftovers of groups": of_groups.leftovers.run,
        "loop": lambda: reconciler.run(feed.complete, dirty),
    }
    tasks = [asyncio.create_task(_keep(name, part), name=name) for name, part in parts.items()]
    log.info("controller starts")
    try:
        async with serve(chosen.health_address, chosen.health_port, lambda: _ill(reconciler, watching)):
            await _first(feed.complete, stop)
            watching.start()
            await stop.wait()
    finally:
        await watching.stop()
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        for writer in (own, fallback.writer, groups, silent_servers.writer, silent_groups.writer):
            await writer.close(flush=1.0)
        await api.close()
    log.info("controller stops")


async def _first(*events: asyncio.Event) -> None:
    """Wait until one of the events is set."""
    waits = [asyncio.ensure_future(event.wait()) for event in events]
    await asyncio.wait(waits, return_when=asyncio.FIRST_COMPLETED)
    for wait in waits:
        wait.cancel()


async def _keep(name: str, part: Callable[[], Awaitable[None]]) -> None:
    """Run a part for ever; what ends it is told, and it is started again."""
    backoff = Backoff(1.0, 30.0)
    while True:
        try:
            await part()
        except Exception:
            log.exception("a part failed; starting it again", extra={"part": name})
        await asyncio.sleep(backoff.next())


def _ill(reconciler: Reconciler, watching: Watching) -> str:
    now, beat = asyncio.get_running_loop().time(), reconciler.last_beat
    if beat is None:
        return ""  # the API server has not answered yet: a restart would not help
    if not watching.alive:
        return "kopf's thread has ended"
    return f"no sign of life of the loop for {now - beat:.0f} s" if now - beat > ALIVE else ""
