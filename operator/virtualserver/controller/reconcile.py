"""The controller's loop: something changed, so judge everything again and say what is so."""

from __future__ import annotations

import asyncio
import logging

from virtualserver.api.reasons import ConditionType, Reason
from virtualserver.cluster.events import EventWriter, Subject
from virtualserver.cluster.pacing import Backoff
from virtualserver.cluster.resources import DIRECTOR_GROUPS, VIRTUAL_SERVERS
from virtualserver.cluster.status import StatusWriter
from virtualserver.controller.agents import Agents
from virtualserver.controller.decide import fallback_status, group_status, reporting, virtual_server_status
from virtualserver.controller.fallback import Fallback
from virtualserver.controller.leftovers import Leftovers
from virtualserver.plan import directors
from virtualserver.plan.findings import Finding
from virtualserver.plan.store import Store
from virtualserver.plan.verdicts import Verdict, judge
from virtualserver.plan.world import DirectorGroup, ObjectKey, VirtualServer, World

log = logging.getLogger(__name__)

COALESCE = 0.02
"""Seconds in which more changes join the one that woke the loop."""

SHARE, LONGEST = 2.0, 0.5
"""After a round the loop rests this many times as long as it took, but never longer than the second (seconds)."""

BEAT = 5.0
"""Seconds after which the loop gives a sign of life though nothing has changed."""


class Reconciler:
    """Judges the whole world at every change; a world of a thousand virtual servers takes milliseconds."""

    def __init__(
        self,
        store: Store,
        agents: Agents,
        own: StatusWriter,
        fallback: Fallback,
        leftovers: Leftovers,
        groups: StatusWriter,
        events: EventWriter,
    ) -> None:
        self._store, self._agents, self._events = store, agents, events
        self._own, self._fallback, self._leftovers, self._groups = own, fallback, leftovers, groups
        self._told: dict[tuple[str, ConditionType], Finding] = {}
        self._active: dict[str, str | None] = {}
        self.last_beat: float | None = None

    async def run(self, ready: asyncio.Event, dirty: asyncio.Event) -> None:
        """Judge whenever ``dirty`` is set; nothing is decided before ``ready``, nothing is fatal after it."""
        await ready.wait()
        backoff, clock = Backoff(), asyncio.get_running_loop().time
        while True:
            self.last_beat = began = clock()
            dirty.clear()
            try:
                self.once()
                backoff.reset()
            except Exception:
                log.exception("round failed")
                await asyncio.sleep(backoff.next())
                continue
            await asyncio.sleep(min(LONGEST, SHARE * (clock() - began)))
            while not dirty.is_set():
                self.last_beat = clock()
                await asyncio.wait([waiting := asyncio.ensure_future(dirty.wait())], timeout=BEAT)
                waiting.cancel()
            await asyncio.sleep(COALESCE)

    def once(self) -> None:
        """Judge everything and hand what is to be said to the writers."""
        world = self._store.world()
        for name, group in world.groups.items():
            self._choose(name, group, world)
        self._active = {name: active for name, active in self._active.items() if name in world.groups}
        silent = self._agents.unreachable
        verdicts = judge(world)
        for key, verdict in verdicts.items():
            self._say(world.virtual_servers[key], verdict, silent)
        for key, nodes in reporting(world, verdicts).items():
            self._leftovers.set(key, nodes)
        living = {server.uid for server in world.virtual_servers.values()}
        self._told = {told: finding for told, finding in self._told.items() if told[0] in living}

    def _say(self, server: VirtualServer, verdict: Verdict, unreachable: frozenset[str]) -> None:
        known = self._own.seen(server.key) or {}
        self._own.set(server.key, virtual_server_status(server, verdict, known))
        instead = fallback_status(server, verdict, unreachable, str(known.get("readyRealServers", "")))
        active = verdict.group.active if verdict.group else None
        self._fallback.set(server.key, instead, active if active in unreachable else None)
        self._tell(server, ConditionType.ACCEPTED, verdict.accepted)
        if verdict.accepted.ok:
            self._tell(server, ConditionType.RESOLVED_REFS, verdict.resolved)

    def _choose(self, name: str, group: DirectorGroup, world: World) -> None:
        before = self._active.get(name, group.active)
        active = directors.choose(group, world.nodes, before)
        self._active[name] = active
        self._groups.set(ObjectKey("", name), group_status(group, world, active))
        if active == before:
            return
        log.info("director chosen", extra={"group": name, "active": active, "before": before})
        subject = Subject(DIRECTOR_GROUPS, ObjectKey("", name), group.uid)
        if active:
            text = f"{active} holds the virtual addresses now (before: {before or 'none'})"
            self._events.normal(subject, Reason.DIRECTOR_CHOSEN, text)
        else:
            self._events.warning(subject, Reason.NO_DIRECTOR, f"no node is left to take over from {before}")

    def _tell(self, server: VirtualServer, kind: ConditionType, finding: Finding) -> None:
        """Say it once: a refusal, and its end. What the status says already is not said again after a restart."""
        before = self._told.get((server.uid, kind))
        self._told[server.uid, kind] = finding
        if before == finding:
            return
        if before is None:
            known = (self._own.seen(server.key) or {}).get("conditions") or []
            if any(one["type"] == kind and one.get("message") == finding.message for one in known):
                return
        subject = Subject(VIRTUAL_SERVERS, server.key, server.uid)
        if not finding.ok:
            self._events.warning(subject, finding.reason, finding.message)
        elif (before is not None and not before.ok) or (before is None and kind is ConditionType.ACCEPTED):
            self._events.normal(subject, finding.reason, finding.message)
