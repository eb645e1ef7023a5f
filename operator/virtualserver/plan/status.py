"""From a plan and what was read back to the status of a virtual server. Timestamps are added by the writer."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any

from virtualserver.api.enums import DirectorRole, RealServerState
from virtualserver.api.reasons import ConditionType, Reason
from virtualserver.api.status import (
    Condition,
    DirectorStatus,
    FindingStatus,
    KernelRealServer,
    KernelService,
    NodeStatus,
    RealServerStatus,
)
from virtualserver.model.types import IPAddress, Service, ServiceKey, State, address_order
from virtualserver.plan.desired import Plan
from virtualserver.plan.diff import present, settled
from virtualserver.plan.faults import Fault
from virtualserver.plan.findings import Finding
from virtualserver.plan.shares import RealServerPlan
from virtualserver.plan.verdicts import Verdict, service_keys
from virtualserver.plan.world import ObjectKey, VirtualServer

SHOWN_REAL_SERVERS = 64
"""How many real servers of one service a status repeats from the kernel; objects of the API have a size limit."""

SHOWN_FINDINGS = 32
"""How many findings one node tells of one virtual server; the first ones in their order, so the same every time."""

Json = dict[str, Any]


@dataclass(frozen=True)
class Seen:
    """What an agent knows after a pass: its plan, the kernel as read back, and what stands in the way."""

    node: str
    plan: Plan
    actual: State
    problems: Mapping[ObjectKey, Finding]
    faults: Mapping[ObjectKey, tuple[Fault, ...]] = field(default_factory=dict)
    """What preflight found."""

    @cached_property
    def announced(self) -> frozenset[IPAddress]:
        """Addresses that the kernel holds, whoever put them there."""
        return frozenset(address.address for address in self.actual.addresses)

    def standing(self, key: ObjectKey) -> tuple[Fault, ...]:
        """Return all that stands in the way of one virtual server here, a refusal for want of a module included."""
        found, problem = self.faults.get(key, ()), self.problems.get(key)
        if problem is None or problem.reason is not Reason.KERNEL_MODULE_MISSING:
            return found
        return tuple(sorted((Fault(problem.reason, "", problem.message), *found)))

    def about(self, server: VirtualServer) -> tuple[object, ...]:
        """Return all that the status of one virtual server is made from: equal values make equal statuses."""
        keys = service_keys(server.spec) if server.spec else []
        return (
            server,
            server.key in self.plan.active,
            server.key in self.plan.standby,
            self.plan.real_servers.get(server.key),
            self.problems.get(server.key),
            self.faults.get(server.key, ()),
            self.plan.pods.get(server.key),
            _held(server, self) if server.key in self.plan.here - self.plan.active - self.plan.standby else None,
            tuple(
                (self.plan.state.services.get(key), self.actual.services.get(key), key.address in self.announced)
                for key in keys
            ),
        )


def active_status(server: VirtualServer, verdict: Verdict, seen: Seen) -> Json:
    """Return the part of the status that the active director's agent owns."""
    programmed = _programmed(server, verdict, seen)
    real_servers = seen.plan.real_servers.get(server.key, ())
    available = _available(programmed, real_servers)
    return {
        "activeDirector": seen.node,
        "readyRealServers": ready_count(real_servers),
        # Several ports may lead to one port of a real server: it is one entry, and has one health.
        "realServers": [_real_server(one).wire() for one in {one.candidate.key: one for one in real_servers}.values()],
        "conditions": [
            condition(ConditionType.PROGRAMMED, programmed, server.generation),
            condition(ConditionType.AVAILABLE, available, server.generation),
        ],
        "directors": [_director(server, seen, DirectorRole.ACTIVE, programmed).wire()],
    }


def standby_status(server: VirtualServer, verdict: Verdict, seen: Seen) -> Json:
    """Return what a director reports that serves this virtual server when the active one is lost."""
    programmed = _programmed(server, verdict, seen)
    return {"directors": [_director(server, seen, DirectorRole.STANDBY, programmed).wire()]}


def node_status(server: VirtualServer, seen: Seen) -> Json:
    """Return what a node reports that has real servers which take packets as they are."""
    finding = _held(server, seen)
    pods = seen.plan.pods.get(server.key, ())
    entry = NodeStatus(
        node=seen.node,
        programmed_generation=server.generation if finding.ok else None,
        reason=finding.reason,
        message=finding.message,
        ready_pods=ready_count(pods) if pods else None,
        findings=_findings(server, seen),
        reported=None,
    )
    return {"nodes": [entry.wire()]}


def _held(server: VirtualServer, seen: Seen) -> Finding:
    """Return whether the kernel holds all that a virtual server needs here."""
    if server.key in seen.problems:
        return seen.problems[server.key]
    needed = [about for about, owners in seen.plan.needed.items() if server.key in owners]
    if needed and all(present(about, seen.plan.state, seen.actual) for about in needed):
        return Finding(True, Reason.PROGRAMMED, f"read back from the kernel of {seen.node}")
    return Finding(False, Reason.PENDING, f"{seen.node} is programming its kernel")


def condition(kind: ConditionType, finding: Finding, generation: int) -> Json:
    """Return a finding as a condition on the wire, without its time of transition."""
    return Condition(
        type=kind,
        status="True" if finding.ok else "False",
        reason=finding.reason,
        message=finding.message,
        observed_generation=generation,
    ).wire()


def ready_count(real_servers: Iterable[RealServerPlan]) -> str:
    """Return ``2/3``: real servers that get connections on all their ports, of all that were asked to serve."""
    ready: dict[tuple[object, int], bool] = {}
    for one in real_servers:
        identity = one.candidate.identity
        ready[identity] = ready.get(identity, True) and one.ready
    return f"{sum(ready.values())}/{len(ready)}"


def _programmed(server: VirtualServer, verdict: Verdict, seen: Seen) -> Finding:
    if not verdict.accepted.ok:
        return Finding(False, Reason.NOT_ACCEPTED, verdict.accepted.message)
    if server.key in seen.problems:
        return seen.problems[server.key]
    keys = service_keys(server.spec) if server.spec else []
    if all(
        key in seen.plan.state.services
        and settled(seen.plan.state, seen.actual, key)
        and (server.key not in seen.plan.active or key.address in seen.announced)
        for key in keys
    ):
        return Finding(True, Reason.PROGRAMMED, f"read back from the kernel of {seen.node}")
    return Finding(False, Reason.PENDING, f"{seen.node} is programming its kernel")


def _available(programmed: Finding, real_servers: Iterable[RealServerPlan]) -> Finding:
    servers = list(real_servers)
    if not programmed.ok:
        return Finding(False, Reason.NOT_PROGRAMMED, programmed.message)
    if not servers:
        return Finding(False, Reason.NO_REAL_SERVERS, "no real server is known; connections are refused")
    if not any(one.ready for one in servers):
        return Finding(
            False, Reason.NO_REAL_SERVER_UP, f"0 of {len(servers)} real servers are up; connections are refused"
        )
    return Finding(True, Reason.REAL_SERVERS_UP, f"{ready_count(servers)} real servers are up")


def _real_server(one: RealServerPlan) -> RealServerStatus:
    return RealServerStatus(
        address=str(one.candidate.key.address),
        port=one.candidate.key.port,
        state=one.health.state,
        reason=one.health.reason,
        message=one.health.message if one.health.state is not RealServerState.UP else None,
        since=None,
        weight=one.weight or 0,
        source=one.candidate.source,
    )


def _director(server: VirtualServer, seen: Seen, role: DirectorRole, programmed: Finding | None) -> DirectorStatus:
    keys = service_keys(server.spec) if server.spec else []
    held = [key for key in keys if key in seen.plan.state.services and key in seen.actual.services]
    announced = sorted({key.address for key in held if key.address in seen.announced}, key=address_order)
    return DirectorStatus(
        node=seen.node,
        role=role,
        programmed_generation=server.generation if programmed and programmed.ok else None,
        announced=[str(address) for address in announced],
        services=[_kernel_service(key, seen.actual.services[key]) for key in held],
        findings=_findings(server, seen),
        reported=None,
    )


def _findings(server: VirtualServer, seen: Seen) -> list[FindingStatus]:
    return [
        FindingStatus(reason=one.reason, message=one.message, real_server=one.real_server or None)
        for one in seen.standing(server.key)[:SHOWN_FINDINGS]
    ]


def _kernel_service(key: ServiceKey, service: Service) -> KernelService:
    ordered = sorted(service.destinations.items(), key=lambda one: (address_order(one[0].address), one[0].port))
    shown = ordered[:SHOWN_REAL_SERVERS]
    return KernelService(
        protocol=key.protocol,
        address=str(key.address),
        port=key.port,
        scheduler=" ".join([service.content.scheduler, *sorted(service.content.flags)]),
        real_servers=[
            KernelRealServer(address=str(one.address), port=one.port, weight=content.weight) for one, content in shown
        ],
    )
