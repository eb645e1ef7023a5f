"""Brings the kernel to what is wanted: read, compare, write down, apply, read again.

It knows nothing of the API server. Everything it does is decided by ``plan``; what it remembers between
rounds is what it owns (on disk), what failed lately, and the packet-filter rules as last read.
"""

from __future__ import annotations

import logging
import resource
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from typing import NamedTuple

from virtualserver.agent.attempts import Attempts
from virtualserver.agent.halves import Halves
from virtualserver.agent.paths import Paths
from virtualserver.agent.patience import PATIENCE, Patience
from virtualserver.agent.record import Record
from virtualserver.agent.succession import Succession
from virtualserver.api.reasons import Reason
from virtualserver.kernel.modules import missing_module
from virtualserver.kernel.port import Kernel, KernelError
from virtualserver.model.operations import DaemonOperation, Operation, Outcome, ReplaceRules, WriteSysctl
from virtualserver.model.types import IPAddress, Owned, State
from virtualserver.model.usage import Usage
from virtualserver.plan import settings, vrrp
from virtualserver.plan.desired import Circumstances, Plan
from virtualserver.plan.diff import Conflicts, Subject, conflicts, diff
from virtualserver.plan.findings import Finding
from virtualserver.plan.world import ObjectKey

log = logging.getLogger(__name__)

RULES_EVERY, RULES_SELDOM, RULES_SHARE = 10.0, 60.0, 0.01
"""Seconds between reads of what costs much: packet-filter rules (processes), accept_ra (a file for each link).

Where other programs have thousands of rules those processes work long: they get a hundredth of the processor, and
their turn after a minute at the latest.
"""

EXPIRE_FOR = 2.0
"""Seconds in which connections to a real server that was taken out are ended by the kernel's own work item.

Outside this time they would wait for it: if another program empties the table, that is what saves them
(``ip_vs_ctl.c``: ``__ip_vs_del_dest`` queues the work only while ``expire_nodest_conn`` is set).
"""

MIRRORING_AGAIN = 5.0
"""Seconds until a sync daemon that the kernel refused is tried again: virtual servers go on without it."""

USAGE_EVERY = 1.0
"""Seconds between looks at what connections use, while something waits for their end."""

PASSES = 5
"""Passes of one round; a kernel that does not come to rest by then is a failure."""

MakePlan = Callable[[State, Circumstances], Plan]
"""(the kernel as read, this node's recent past) -> what is wanted."""


Names = Callable[[State], tuple[str, ...]]
"""The kernel as read -> the names of the settings that may be ours there."""


@dataclass(frozen=True, slots=True)
class Round:
    """What one round came to; ``ended``: services were taken out, so that their connections end, and may be back."""

    plan: Plan
    actual: State
    problems: Mapping[ObjectKey, Finding]
    applied: tuple[Operation, ...] = ()
    outcomes: tuple[Outcome, ...] = field(default=())
    ended: bool = False


_FORWARD = WriteSysctl(settings.FORWARD_IPV6, "1")


def spent_by_programs() -> float:
    """Return the seconds of processor time that programs took which were run from here and have ended."""
    usage = resource.getrusage(resource.RUSAGE_CHILDREN)
    return usage.ru_utime + usage.ru_stime


class _Rest(NamedTuple):
    """What the kernel was seen to hold at the end of a round: the settings that were read, and the plan's state."""

    names: tuple[str, ...]
    state: State


class Programmer:
    """Programs one node. Blocking; used from one thread at a time. Raises KernelError and RecordError."""

    def __init__(
        self,
        kernel: Kernel,
        record: Record,
        clock: Callable[[], float],
        patience: float = PATIENCE,
        spent: Callable[[], float] = spent_by_programs,
    ) -> None:
        """``patience`` in seconds is given to keepalived before its part of the work is done here."""
        self._paths = Paths(kernel.mtu_to)
        self._spent = spent
        self._patience = Patience(patience)
        self._mirroring_after = 0.0
        self._ended = False
        self._kernel = kernel
        self._record = record
        self._clock = clock
        self._attempts = Attempts()
        self._rules_due: float | None = None
        self._mtus: dict[IPAddress, int] = {}
        self._fresh = False
        self._state = State()
        self._expire_until: float | None = None
        self._rested: _Rest | None = None
        self._usage: tuple[float, Usage | None] | None = None
        self._succession = Succession(self._used)
        self._halves = Halves(self._used)

    @property
    def owned(self) -> Owned:
        """What the node's record calls ours."""
        return self._record.owned

    def _read(self, names: Names) -> State:
        """Return the kernel's state with the settings of its links; rules and accept_ra may be some seconds old."""
        now = self._clock()
        rules, before = self._rules_due is None or now >= self._rules_due, self._spent()
        asked = self._settings(names(self._state), seldom=rules)
        state = self._kernel.read(asked, rules=rules)
        if (meant := self._settings(names(state), seldom=rules)) != asked:
            state = self._kernel.read(meant, rules=rules)  # a link has come: its settings count from the first moment
        if rules:
            pause = max(RULES_EVERY, (self._spent() - before) / RULES_SHARE)
            self._rules_due = now + min(pause, RULES_SELDOM)
        else:
            old = {name: value for name, value in self._state.sysctls.items() if settings.is_advertisement(name)}
            state = replace(state, rules=self._state.rules, sysctls=old | dict(state.sysctls))
        self._fresh = rules
        if self._expire_until is None:
            # A restarted agent goes on with the setting that it finds.
            self._expire_until = (
                now + EXPIRE_FOR if state.sysctls.get(settings.EXPIRE) == "1" and self.owned.services else 0.0
            )
        self._state = state
        return state

    def _settings(self, names: tuple[str, ...], *, seldom: bool) -> tuple[str, ...]:
        """Return all settings to read: those that may be ours, and those that are by the record."""
        asked = dict.fromkeys((*names, *(one for one in self.owned.sysctls if not settings.is_advertisement(one))))
        if seldom and asked:
            asked[settings.ADVERTISEMENTS] = None
        return tuple(asked)

    def round(self, make_plan: MakePlan, names: Names, *, complete: bool) -> Round:
        """Bring the kernel to the plan; returns what is held then, and what stands in the way."""
        applied: list[Operation] = []
        outcomes: list[Outcome] = []
        self._ended = False
        self._foresee(make_plan, names, applied, outcomes, complete)
        for _ in range(PASSES):
            actual = self._read(names)
            plan, found = self._plan(make_plan, actual)
            operations = self._diff(plan, actual, complete)
            if not operations:
                break
            if not self._fresh and _FORWARD in operations:
                self._rules_due = None  # which links take router advertisements must be known just before
                continue
            done = self._apply(operations, actual)
            applied += operations
            outcomes += done
        else:
            actual = self._read(names)
            plan, found = self._plan(make_plan, actual)
            operations = self._diff(plan, actual, complete)
        self._judge(plan, operations, outcomes)
        self._rested = None if operations else _Rest(names(actual), plan.state)
        if complete:
            self._record.settle(plan.state, actual)
        problems = {**self._attempts.findings, **found}
        return Round(plan, actual, problems, tuple(applied), tuple(outcomes), self._ended)

    def _foresee(
        self,
        make_plan: MakePlan,
        names: Names,
        applied: list[Operation],
        outcomes: list[Outcome],
        complete: bool,
    ) -> None:
        """Write what a new plan changes against the state as last read: a large table takes long to read again.

        Only where the last round came to rest. A write that this state is too old for is refused by the kernel or
        found by the read that follows, as all that another program did meanwhile is.
        """
        rested, self._rested = self._rested, None
        if rested is None or rested.names != names(self._state):
            return
        plan, found = self._plan(make_plan, self._state)
        if found or plan.state == rested.state:
            return
        operations = self._diff(plan, self._state, complete)
        if operations and _FORWARD not in operations:
            applied += operations
            outcomes += self._apply(operations, self._state)

    def _diff(self, plan: Plan, actual: State, complete: bool) -> tuple[Operation, ...]:
        """Return what is to be done now; what keepalived is about to do is left to it, what failed lately can wait."""
        now, desired = self._clock(), plan.state
        waiting = self._patience.waiting(desired, actual, self.owned, now)
        if now < self._mirroring_after:
            desired = replace(desired, daemons=actual.daemons)
        return diff(desired, actual, self.owned, complete=complete, waiting=waiting)

    def _plan(self, make_plan: MakePlan, actual: State) -> tuple[Plan, dict[ObjectKey, Finding]]:
        now = self._clock()
        leaving = now < (self._expire_until or 0.0)
        circumstances = Circumstances(
            self._attempts.suspended(now),
            leaving,
            tracking=bool(actual.rules.tracked),
            uplinks=settings.uplinks(actual),
            mtus=self._mtus,
            own=vrrp.own_addresses(actual),
        )
        plan = make_plan(actual, circumstances)
        if (mtus := self._measured(plan, actual, now)) != self._mtus:
            self._mtus = mtus
            circumstances = replace(circumstances, mtus=mtus)
            plan = make_plan(actual, circumstances)
        if _leaving(self._succeeded(plan, actual, now), actual):
            self._expire_until = now + EXPIRE_FOR
            circumstances = replace(circumstances, leaving=True)
            plan = make_plan(actual, circumstances)
        if self.owned.services & plan.state.services.keys() - actual.services.keys():
            circumstances = replace(circumstances, repairing=True)
            plan = make_plan(actual, circumstances)
        found = _blame(plan, conflicts(plan.state, actual, self.owned))
        if found:
            plan = make_plan(actual, replace(circumstances, suspended=circumstances.suspended | found.keys()))
        self._ended |= bool(plan.state.ending)
        return self._succeeded(plan, actual, now), found

    def _measured(self, plan: Plan, actual: State, now: float) -> dict[IPAddress, int]:
        """Return how large packets may be: on the links of this node's addresses, on the ways to its tunnels' ends."""
        links = {one.address: actual.mtus[one.link] for one in actual.addresses if one.link not in actual.own_links}
        peers = {link.remote for link in plan.state.own_links.values() if link.remote is not None}
        return links | dict(self._paths.mtus(peers, now))

    def _succeeded(self, plan: Plan, actual: State, now: float) -> Plan:
        """Return a plan with what connections of a mode before a change still use."""
        return self._succession.plan(self._halves.plan(plan, actual, self.owned, now), actual, now)

    def _used(self, now: float) -> Usage | None:
        """Return what connections use, at most a second old; None when the kernel does not tell."""
        if self._usage is None or now - self._usage[0] >= USAGE_EVERY:
            try:
                self._usage = now, self._kernel.usage()
            except KernelError as error:
                log.warning("usage unknown", extra={"error": str(error)})
                self._usage = now, None
        return self._usage[1]

    def _apply(self, operations: tuple[Operation, ...], actual: State) -> list[Outcome]:
        self._record.claim(operations, actual)
        outcomes = self._kernel.apply(operations)
        for outcome in outcomes:
            if outcome.ok:
                log.debug("applied", extra={"operation": outcome.operation})
            else:
                log.warning("kernel refused", extra={"operation": outcome.operation, "error": outcome.message})
                if isinstance(outcome.operation, DaemonOperation):
                    self._mirroring_after = self._clock() + MIRRORING_AGAIN
        if any(_seldom_read(operation) for operation in operations):
            self._rules_due = None
        return outcomes

    def _judge(self, plan: Plan, left: tuple[Operation, ...], outcomes: list[Outcome]) -> None:
        """Count a failure for whoever still has operations left; whoever has none is as intended."""
        refused = {outcome.operation: outcome for outcome in outcomes if not outcome.ok}
        failed: dict[ObjectKey, Finding] = {}
        for operation in left:
            finding = _finding(operation, refused.get(operation))
            for owner in plan.blamed(operation):
                failed.setdefault(owner, finding)
        now = self._clock()
        self._attempts.keep_only(plan.here)
        for owner, finding in failed.items():
            self._attempts.failed(owner, finding, now)
        for owner in plan.programmed - failed.keys():
            self._attempts.succeeded(owner)


def _seldom_read(operation: Operation) -> bool:
    """Return whether an operation changes something that is not read in every round."""
    return isinstance(operation, ReplaceRules) or (
        isinstance(operation, WriteSysctl) and settings.is_advertisement(operation.name)
    )


def _finding(operation: Operation, outcome: Outcome | None) -> Finding:
    """Return why the kernel does not hold what an operation should have made."""
    if outcome is None:
        text = f"the kernel does not hold it after {PASSES} passes: {operation}"
        return Finding(False, Reason.KERNEL_REFUSED, text)
    missing = bool(missing_module(operation, outcome.errno))
    return Finding(False, Reason.KERNEL_MODULE_MISSING if missing else Reason.KERNEL_REFUSED, outcome.message)


def _leaving(plan: Plan, actual: State) -> bool:
    return any(
        actual.services[key].destinations.keys() - service.destinations.keys()
        for key, service in plan.state.services.items()
        if key in actual.services
    )


def _blame(plan: Plan, found: Conflicts) -> dict[ObjectKey, Finding]:
    problems: dict[ObjectKey, Finding] = {}

    def note(about: Subject, reason: Reason, message: str) -> None:
        for owner in plan.needed.get(about, frozenset()):
            problems.setdefault(owner, Finding(False, reason, message))

    for service in found.services:
        text = f"another program made the virtual service {service} on this node; remove it there first"
        note(service, Reason.FOREIGN_SERVICE, text)
    for address in found.addresses:
        note(address, Reason.FOREIGN_ADDRESS, f"{address.address} is on this node and not ours")
    for address in found.links:
        text = f"link {address.link!r} (for {address.address}) does not exist on this node"
        note(address, Reason.LINK_NOT_FOUND, text)
    for link in found.own_links:
        text = f"another program made a link {link!r} on this node; remove it there first"
        note(link, Reason.FOREIGN_LINK, text)
    for port in found.decapsulations:
        text = f"another program opened the UDP port of {port} on this node; choose another or close it there"
        note(port, Reason.FOREIGN_PORT, text)
    return problems
