"""The controller's loop: something changed, so judge everything again and say what is so."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from virtualserver.api.reasons import ConditionType
from virtualserver.cluster.events import EventWriter, Subject
from virtualserver.cluster.pacing import Backoff
from virtualserver.cluster.resources import VIRTUAL_SERVERS
from virtualserver.cluster.status import StatusWriter
from virtualserver.controller.agents import Agents
from virtualserver.controller.decide import fallback_status, reporting, reporting_groups, virtual_server_status
from virtualserver.controller.fallback import Fallback
from virtualserver.controller.leftovers import Leftovers
from virtualserver.controller.silence import Silence
from virtualserver.controller.telling import GroupTeller
from virtualserver.plan.findings import Finding
from virtualserver.plan.groupseen import GroupSeen
from virtualserver.plan.store import Store
from virtualserver.plan.verdicts import Verdict, judge
from virtualserver.plan.world import VirtualServer

log = logging.getLogger(__name__)

COALESCE = 0.02
"""Seconds in which more changes join the one that woke the loop."""

SHARE, LONGEST = 2.0, 0.5
"""After a round the loop rests this many times as long as it took, but never longer than the second (seconds)."""

BEAT = 5.0
"""Seconds after which the loop gives a sign of life though nothing has changed."""


@dataclass(frozen=True, slots=True)
class Groups:
    """What speaks of director groups."""

    teller: GroupTeller
    leftovers: Leftovers


class Reconciler:
    """Judges the whole world at every change; a world of a thousand virtual servers takes milliseconds."""

    def __init__(
        self,
        store: Store,
        agents: Agents,
        own: StatusWriter,
        fallback: Fallback,
        leftovers: Leftovers,
        groups: Groups,
        silences: Sequence[Silence],
        events: EventWriter,
    ) -> None:
        self._store, self._agents, self._events = store, agents, events
        self._own, self._fallback, self._leftovers = own, fallback, leftovers
        self._groups, self._silences = groups, silences
        self._told: dict[tuple[str, ConditionType], Finding] = {}
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
        silent = self._agents.unreachable
        for silence in self._silences:
            silence.set(silent)
        seen = self._groups.teller.once(world)
        for key, nodes in reporting_groups(world).items():
            self._groups.leftovers.set(key, nodes)
        verdicts = judge(world)
        for key, verdict in verdicts.items():
            self._say(world.virtual_servers[key], verdict, silent, seen)
        for key, nodes in reporting(world, verdicts).items():
            self._leftovers.set(key, nodes)
        living = {server.uid for server in world.virtual_servers.values()}
        self._told = {told: finding for told, finding in self._told.items() if told[0] in living}

    def _say(
        self,
        server: VirtualServer,
        verdict: Verdict,
        unreachable: frozenset[str],
        groups: Mapping[str, GroupSeen | None],
    ) -> None:
        known = self._own.seen(server.key) or {}
        seen = groups.get(verdict.group.name) if verdict.group else None
        self._own.set(server.key, virtual_server_status(server, verdict, known, seen))
        instead = fallback_status(server, verdict, unreachable, str(known.get("readyRealServers", "")))
        active = verdict.group.active if verdict.group else None
        self._fallback.set(server.key, instead, active if active in unreachable else None)
        self._tell(server, ConditionType.ACCEPTED, verdict.accepted)
        if verdict.accepted.ok:
            self._tell(server, ConditionType.RESOLVED_REFS, verdict.resolved)

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
