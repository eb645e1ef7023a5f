"""The controller's loop: something changed, so judge everything again and say what is so."""

from __future__ import annotations

import asyncio
import logging
import time

from virtualserver.api.reasons import ConditionType, Reason
from virtualserver.cluster.events import EventWriter, Subject
from virtualserver.cluster.pacing import Backoff
from virtualserver.cluster.resources import DIRECTOR_GROUPS, VIRTUAL_SERVERS
from virtualserver.cluster.status import StatusWriter
from virtualserver.controller.agents import Agents
from virtualserver.controller.decide import fallback_status, group_status, virtual_server_status
from virtualserver.controller.feed import Feed
from virtualserver.plan import directors
from virtualserver.plan.findings import Finding
from virtualserver.plan.store import Store
from virtualserver.plan.verdicts import judge
from virtualserver.plan.world import ObjectKey, VirtualServer, World

log = logging.getLogger(__name__)

COALESCE = 0.02
"""Seconds in which more changes join the one that woke the loop."""


class Reconciler:
    """Judges the whole world at every change; a world of a thousand virtual servers takes milliseconds."""

    def __init__(
        self,
        store: Store,
        feed: Feed,
        agents: Agents,
        own: StatusWriter,
        fallback: StatusWriter,
        groups: StatusWriter,
        events: EventWriter,
        dirty: asyncio.Event,
    ) -> None:
        self._store, self._feed, self._agents, self._dirty = store, feed, agents, dirty
        self._own, self._fallback, self._groups, self._events = own, fallback, groups, events
        self._told: dict[tuple[ObjectKey, ConditionType], Finding] = {}
        self._active: dict[str, str | None] = {}
        self.last_round: float | None = None

    async def run(self) -> None:
        """Judge whenever something changed; nothing is fatal, and what fails is tried again."""
        await self._feed.complete.wait()
        backoff = Backoff()
        while True:
            self._dirty.clear()
            try:
                self.once()
                self.last_round = time.monotonic()
                backoff.reset()
            except Exception:
                log.exception("round failed")
                await asyncio.sleep(backoff.next())
                continue
            await self._dirty.wait()
            await asyncio.sleep(COALESCE)

    def once(self) -> None:
        """Judge everything and hand what changed to the writers."""
        world = self._store.world()
        for key, verdict in judge(world).items():
            server = world.virtual_servers[key]
            self._own.set(key, virtual_server_status(server, verdict))
            self._fallback.set(key, fallback_status(server, verdict, self._agents.unreachable))
            self._tell(server, ConditionType.ACCEPTED, verdict.accepted)
            self._tell(server, ConditionType.RESOLVED_REFS, verdict.resolved)
        self._told = {told: finding for told, finding in self._told.items() if told[0] in world.virtual_servers}
        self._choose(world)

    def _choose(self, world: World) -> None:
        for name, group in world.groups.items():
            key = ObjectKey("", name)
            active = directors.choose(group, world.nodes, self._active.get(name, group.active))
            if active != self._active.get(name, group.active) or active != group.active:
                text = f"{active} holds the virtual addresses now (before: {group.active or 'none'})"
                if active and self._active.get(name) != active:
                    self._events.normal(Subject(DIRECTOR_GROUPS, key, group.uid), Reason.DIRECTOR_CHOSEN, text)
                log.info("director chosen", extra={"group": name, "active": active, "before": group.active})
            self._active[name] = active
            self._groups.set(key, group_status(group, world, active))
        self._active = {name: active for name, active in self._active.items() if name in world.groups}

    def _tell(self, server: VirtualServer, kind: ConditionType, finding: Finding) -> None:
        """Say it once: a refusal, and its end. What the status says already is not said again after a restart."""
        before = self._told.get((server.key, kind))
        self._told[server.key, kind] = finding
        if before == finding:
            return
        if before is None:
            known = (self._own.seen(server.key) or {}).get("conditions") or []
            if any(one["type"] == kind and one.get("message") == finding.message for one in known):
                return
        subject = Subject(VIRTUAL_SERVERS, server.key, server.uid)
        if not finding.ok:
            self._events.warning(subject, finding.reason, finding.message)
        elif before is not None or kind is ConditionType.ACCEPTED:
            self._events.normal(subject, finding.reason, finding.message)
