"""The agent's one task: whatever happened, look again, bring the kernel to what is wanted, say what is so."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import time
from collections.abc import Callable, Mapping
from dataclasses import replace
from typing import Protocol

from virtualserver.agent.groupreports import GroupReports
from virtualserver.agent.healthbook import HealthBook, Watch
from virtualserver.agent.programmer import Programmer, Round
from virtualserver.agent.record import RecordError
from virtualserver.agent.source import STORED
from virtualserver.agent.standing import Standings
from virtualserver.agent.view import View
from virtualserver.api.reasons import Reason
from virtualserver.kernel.port import KernelError
from virtualserver.model.failover import Router
from virtualserver.model.monitoring import Result, Target
from virtualserver.model.types import State
from virtualserver.plan import desired, settings, vrrp
from virtualserver.plan.desired import Circumstances, Plan
from virtualserver.plan.eligibility import NO_STANDING
from virtualserver.plan.faults import Fault
from virtualserver.plan.findings import Finding
from virtualserver.plan.forwarding import serves
from virtualserver.plan.preflight import Scene
from virtualserver.plan.shares import targets
from virtualserver.plan.status import Json, Seen, active_status, node_status, standby_status
from virtualserver.plan.transitions import Transition, transitions
from virtualserver.plan.verdicts import Verdict, judge, mirrored, service_keys
from virtualserver.plan.world import ObjectKey, VirtualServer, World

log = logging.getLogger(__name__)

SHORTEST_PAUSE, STANDBY_PAUSE, IDLE_PAUSE = 0.25, 1.0, 5.0
"""Seconds between looks at the kernel: while it is quick to read; on a standby that is ready, whose table serves
nobody yet; and when it is slow to read or holds nothing of ours."""


class Source(Protocol):
    """Where the wanted state comes from; ``version`` grows with every change."""

    @property
    def version(self) -> int:
        """A number that is different whenever ``world`` is."""
        ...

    @property
    def complete(self) -> bool:
        """True when every kind was listed at least once: only then may something be removed."""
        ...

    def world(self) -> World:
        """Return the cluster as known now; the last known one while the API server has not answered yet."""
        ...


class Reporter(Protocol):
    """Where status and events go; never blocks."""

    def status(self, key: ObjectKey, status: Json | None, uid: str = "") -> None:
        """Say what is so now; None: this node has nothing to say about it any more.

        ``uid`` tells the virtual server from another of that name that was deleted or made meanwhile.
        """
        ...

    def event(self, server: VirtualServer, transition: Transition) -> None:
        """Say what happened."""
        ...


class Loop:
    """Owns the agent's state. ``set_targets`` tells the monitors what to check."""

    def __init__(
        self,
        node: str,
        source: Source,
        programmer: Programmer,
        standings: Standings,
        group_reports: GroupReports,
        reporter: Reporter,
        set_targets: Callable[[frozenset[Target]], None],
        clock: Callable[[], float],
    ) -> None:
        self._node = node
        self._source = source
        self._programmer = programmer
        self._standings = standings
        self._group_reports = group_reports
        self._reporter = reporter
        self._set_targets = set_targets
        self._clock = clock
        self._book = HealthBook()
        self._wake = asyncio.Event()
        self._world = World()
        self._verdicts: Mapping[ObjectKey, Verdict] = {}
        self._mirrored: frozenset[str] = frozenset()
        self._judged_version: int | None = None
        self._seen: Seen | None = None
        self._settled_plan: Plan | None = None
        self._reported: dict[ObjectKey, tuple[object, ...]] = {}
        self._planned: tuple[object, Plan] | None = None
        self._watched_version: int | None = None
        self._busy = False
        self._synchronised = False
        self._waiting: list[tuple[Target, Result]] = []
        self._reported_version: int | None = None
        self._standing = NO_STANDING
        self._faults: Mapping[ObjectKey, tuple[Fault, ...]] = {}
        self.last_round: float | None = None
        self.routers: Mapping[int, Router] = {}
        """The virtual routers of this node, by their ids."""
        self._failed: str | None = None

    def wake(self) -> None:
        """Look again now."""
        self._wake.set()

    def take(self, target: Target, result: Result) -> None:
        """Take a monitor's result; a verdict that changes something is acted on at once."""
        if self._busy:
            # The book is being read in the programmer's thread; the end of the round is near.
            self._waiting.append((target, result))
        elif self._book.feed(target, result):
            self.wake()

    def take_faults(self, faults: Mapping[ObjectKey, tuple[Fault, ...]]) -> None:
        """Take what preflight found, to be told."""
        self._faults = faults
        self.wake()

    def scene(self) -> Scene | None:
        """Return what is known now, for preflight; None before the first round."""
        return Scene(self._world, self._verdicts, self._node, self._seen.actual) if self._seen else None

    def view(self) -> View | None:
        """Return what was known at the end of the last round, None before the first one."""
        return View(self._world, self._seen.plan, self._standing, self._seen.actual) if self._seen else None

    @property
    def unready(self) -> str:
        """Why this node cannot do its part; "" when it can, or has none: not every node must have IPVS.

        An upgrade goes on to the next node, which may be the active director, when this one is ready: not while it gets
        connections, which ends.
        """
        if self._failed is None:
            return "no round has been finished yet"
        concerned = self._seen is not None and (
            self._seen.plan.here or desired.directed_groups(self._world, self._node)
        )
        getting = (self._standing.behind - self._standing.active) | self._standing.purging
        lacks = f"it does not have the connections yet: {', '.join(sorted(getting))}" if getting else ""
        return self._failed or lacks if concerned else ""

    async def run(self) -> None:
        """Look again for ever; ends only by cancellation."""
        while True:
            self._wake.clear()
            spent = time.process_time()
            try:
                await self.once()
                self.last_round, self._failed = self._clock(), ""
            except (KernelError, RecordError) as error:
                before, self._failed = self._failed, str(error)
                if self._failed != before:
                    log.error("round failed", extra={"error": self._failed})
                self._report_unreadable(self._failed)
            except Exception as error:
                # Nothing is fatal after start-up, nothing is swallowed: said here, tried again below.
                log.exception("round failed")
                self._failed = repr(error)
            # Not wait_for: in Python 3.11 it may swallow a cancellation that comes together with what it waits for.
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(self._pause(time.process_time() - spent)):
                    await self._wake.wait()

    async def once(self) -> None:
        """One round: judge, watch, program, report."""
        if self._source.version != self._judged_version:
            self._judged_version = self._source.version
            self._world = self._source.world()
            self._verdicts = judge(self._world)
            self._mirrored = mirrored(self._world, self._verdicts)
            self.routers = vrrp.routers(self._world, self._node)
        self._busy = True
        try:
            complete = self._source.complete
            done = await asyncio.to_thread(self._programmer.round, self._make_plan, self._names, complete=complete)
        finally:
            self._busy = False
            waiting, self._waiting = self._waiting, []
            for target, result in waiting:
                self.take(target, result)
        self._set_targets(self._book.targets)
        if done.applied:
            log.info("kernel written", extra={"operations": len(done.applied)})
        if complete and not self._synchronised:
            self._synchronised = True
            log.info("synchronised with the API server", extra={"active": len(done.plan.active)})
        self._report(done)
        self._group_reports.report(self._world, done.plan, self._standing, done.actual, done.problems.keys())

    def _pause(self, took: float) -> float:
        """Seconds until the kernel is looked at again unprompted: foreign changes are found by looking only.

        A round costs at most a fifth of the processor, however large the table is. ``took`` is processor time: on a
        busy node a round lasts longer, and is needed as often.
        """
        if not self._programmer.owned.services:
            return IDLE_PAUSE
        return min(max(4 * took, STANDBY_PAUSE if self._stands_by() else SHORTEST_PAUSE), IDLE_PAUSE)

    def _stands_by(self) -> bool:
        """Tell whether this node may take over every group that it is a director of, and serves nobody."""
        if self._seen is None or self._seen.problems or not self._seen.plan.here <= self._seen.plan.standby:
            return False
        return self._seen.actual.eligible == self._seen.actual.instances.keys()

    def _names(self, actual: State) -> tuple[str, ...]:
        """Return the settings that may be ours on this node; none while nothing concerns it."""
        links = desired.links(self._world, self._verdicts, self._node)
        return settings.names(links, settings.uplinks(actual), actual.own_links) if links else ()

    def _make_plan(self, actual: State, circumstances: Circumstances) -> Plan:
        """Make a plan, in the programmer's thread; in a steady state it is the one of the round before."""
        if self._watched_version != self._judged_version:
            self._watch(actual)
            self._watched_version = self._judged_version
        live = self._judged_version != STORED
        self._standing = self._standings.look(self._world, self._node, actual, self._mirrored, live=live)
        circumstances = replace(circumstances, standing=self._standing)
        basis = (self._judged_version, self._book.version, circumstances)
        if self._planned is None or self._planned[0] != basis:
            plan = desired.plan(self._world, self._verdicts, self._book.health, self._node, circumstances)
            self._planned = (basis, plan)
        return self._planned[1]

    def _watch(self, actual: State) -> None:
        """Watch every real server that this node gives connections to."""
        watches = []
        serving = set()
        ours = self._programmer.owned.services & actual.services.keys()
        for key, verdict in self._verdicts.items():
            server = self._world.virtual_servers[key]
            mine = desired.watched(self._world, key, verdict, self._node)
            if not mine:
                continue
            assert server.spec is not None
            held = {one: actual.services[one] for one in service_keys(server.spec) if one in ours}
            for candidate in {one.key: one for one in mine}.values():
                if serves(candidate, held, self._node, self._world.nodes):
                    serving.add((key, candidate.key))
                for monitor, target in zip(server.spec.monitors, targets(server, candidate), strict=False):
                    watches.append(Watch(key, candidate.key, target, monitor.rise, monitor.fall))
        self._book.watch(watches, frozenset(serving))

    def _report(self, done: Round) -> None:
        before, after = self._seen, Seen(self._node, done.plan, done.actual, done.problems, self._faults)
        if before is not None and done.applied and not done.ended and self._settled_plan == done.plan:
            self._report_drift(done)
        # Writes of a round after a refused one are another try of ours, not another program's doing.
        self._settled_plan = None if done.problems else done.plan
        if after == before and self._reported_version == self._judged_version:
            return
        self._seen, self._reported_version = after, self._judged_version
        self._report_statuses(after)
        for transition in transitions(before, after) if before is not None else ():
            self._event(transition)

    def _report_statuses(self, seen: Seen) -> None:
        """Say what is so of each virtual server about which anything has changed since it was said last."""
        reported: dict[ObjectKey, tuple[object, ...]] = {}
        for key, verdict in self._verdicts.items():
            server = self._world.virtual_servers[key]
            if key not in seen.plan.here:
                continue
            reported[key] = about = (verdict.accepted, *seen.about(server))
            if self._reported.get(key) != about:
                self._reporter.status(key, self._status(server, verdict, seen), server.uid)
        for key in self._reported.keys() - reported.keys():
            self._reporter.status(key, None)
        self._reported = reported

    def _status(self, server: VirtualServer, verdict: Verdict, seen: Seen) -> Json:
        """Return this node's part: of the active director, of a standby, or of a node with real servers."""
        if server.key in seen.plan.active:
            return active_status(server, verdict, seen)
        return standby_status(server, verdict, seen) if server.key in seen.plan.standby else node_status(server, seen)

    def _report_drift(self, done: Round) -> None:
        counts: dict[ObjectKey, int] = {}
        for operation in done.applied:
            for owner in done.plan.blamed(operation):
                counts[owner] = counts.get(owner, 0) + 1
        for key, count in counts.items():
            note = (
                f"another program changed this virtual server in the kernel of {self._node}: repaired ({count} writes)"
            )
            self._event(Transition(key, Reason.DRIFT_REPAIRED, note, True))

    def _report_unreadable(self, message: str) -> None:
        """The kernel's state is not known: say so of everything that it should hold."""
        seen = self._seen or Seen(self._node, Plan(), State(), {})
        finding = Finding(False, Reason.KERNEL_UNREADABLE, message)
        here = {
            key for key, verdict in self._verdicts.items() if desired.concerns(self._world, key, verdict, self._node)
        }
        directed = {key for key in here if desired.directs(self._world, self._verdicts[key], self._node)}
        plan = replace(seen.plan, here=frozenset(here), standby=frozenset(directed - seen.plan.active))
        self._seen = replace(seen, plan=plan, actual=State(), problems=dict.fromkeys(here, finding))
        self._report_statuses(self._seen)
        self._group_reports.unreadable(self._world, message)

    def _event(self, transition: Transition) -> None:
        log.info(transition.note, extra={"virtualserver": str(transition.key), "reason": transition.reason})
        server = self._world.virtual_servers.get(transition.key)
        if server is not None:
            self._reporter.event(server, transition)
