"""What changed between two rounds that a person would want to be told: the events of an agent."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass

from virtualserver.api.enums import RealServerState
from virtualserver.api.reasons import Reason
from virtualserver.model.types import ServiceKey
from virtualserver.plan.findings import Finding
from virtualserver.plan.shares import RealServerPlan
from virtualserver.plan.status import Seen, ready_count
from virtualserver.plan.world import ObjectKey


@dataclass(frozen=True, slots=True)
class Transition:
    """An event in the making; ``warning`` decides its type."""

    key: ObjectKey
    reason: Reason
    note: str
    warning: bool


def transitions(before: Seen, after: Seen) -> Iterator[Transition]:
    """Yield what happened to each virtual server between two rounds."""
    for key, servers in after.plan.real_servers.items():
        if key in before.plan.real_servers:
            yield from _real_servers(key, before.plan.real_servers[key], servers)
    yield from _addresses(before, after)
    yield from _problems(before.problems, after.problems)
    for key, found in after.faults.items():
        for fault in sorted(set(found) - set(before.faults.get(key, ()))):
            yield Transition(key, fault.reason, f"{after.node}: {fault.message}", True)


def _real_servers(
    key: ObjectKey, before: tuple[RealServerPlan, ...], after: tuple[RealServerPlan, ...]
) -> Iterator[Transition]:
    old = {one.candidate.key: one.health.state for one in before}
    count = ready_count(after)
    for one in after:
        was, state = old.get(one.candidate.key), one.health.state
        if was == state:
            continue
        name = str(one.candidate.key)
        if state is RealServerState.UP:
            yield Transition(key, Reason.REAL_SERVER_UP, f"real server {name} is up ({count} ready)", False)
        elif state is RealServerState.DOWN:
            why = f"{one.health.reason}: {one.health.message}" if one.health.message else str(one.health.reason)
            yield Transition(key, Reason.REAL_SERVER_DOWN, f"real server {name} is down: {why} ({count} ready)", True)
        elif state is RealServerState.DRAINING:
            yield Transition(key, one.health.reason, f"real server {name} gets no new connections", False)
        elif state is RealServerState.OFFLINE:
            yield Transition(key, one.health.reason, f"real server {name} is taken out", False)


def _addresses(before: Seen, after: Seen) -> Iterator[Transition]:
    def held(seen: Seen) -> set[tuple[ObjectKey, str]]:
        return {
            (owner, str(about.address))
            for about, owners in seen.plan.needed.items()
            if isinstance(about, ServiceKey) and about.address in seen.announced
            for owner in owners & seen.plan.active
        }

    now, then = held(after), held(before)
    for key, address in sorted(now - then):
        yield Transition(key, Reason.ANNOUNCED, f"{after.node} announces {address}", False)
    for key, address in sorted(then - now):
        yield Transition(key, Reason.WITHDRAWN, f"{after.node} no longer announces {address}", True)


def _problems(before: Mapping[ObjectKey, Finding], after: Mapping[ObjectKey, Finding]) -> Iterator[Transition]:
    for key, finding in after.items():
        if before.get(key) != finding:
            yield Transition(key, finding.reason, finding.message, True)
