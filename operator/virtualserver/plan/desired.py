"""From the cluster and the monitors' verdicts to what this node's kernel should hold."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from ipaddress import ip_address

from virtualserver.api.base import seconds
from virtualserver.api.enums import OnDown, PersistenceType, RealServerState
from virtualserver.api.reasons import Reason
from virtualserver.api.virtualserver import VirtualServerSpec
from virtualserver.model.monitoring import Target
from virtualserver.model.types import (
    DestinationContent,
    DestinationKey,
    LinkAddress,
    Protocol,
    Rules,
    Service,
    ServiceContent,
    ServiceKey,
    State,
)
from virtualserver.plan import settings
from virtualserver.plan.health import UNMONITORED, Health
from virtualserver.plan.realservers import Candidate, Wish
from virtualserver.plan.verdicts import Verdict
from virtualserver.plan.world import DirectorGroup, ObjectKey, VirtualServer, World

DEFAULT_PERSISTENCE = 300
"""Seconds; what ``ipvsadm -p`` takes without a value."""

HealthOf = Callable[[ObjectKey, DestinationKey], Health]


@dataclass(frozen=True, slots=True)
class RealServerPlan:
    """One real server of one port: what it is, and the weight it gets (None: not in the table)."""

    candidate: Candidate
    health: Health
    weight: int | None

    @property
    def ready(self) -> bool:
        """True when it gets new connections."""
        return self.health.state is RealServerState.UP and bool(self.weight)


@dataclass(frozen=True, slots=True)
class Plan:
    """What this node should hold, and on whose behalf."""

    state: State = field(default_factory=State)
    owners: Mapping[ServiceKey, ObjectKey] = field(default_factory=dict)
    real_servers: Mapping[ObjectKey, tuple[RealServerPlan, ...]] = field(default_factory=dict)
    active: frozenset[ObjectKey] = frozenset()
    """Accepted virtual servers whose active director is this node, suspended ones included."""


@dataclass(frozen=True, slots=True)
class Circumstances:
    """What a plan depends on besides the cluster: the recent past of this node.

    ``suspended``: virtual servers that this kernel refuses; nothing of theirs is wanted. ``leaving``: a real server
    is being taken out, so connections to it should end rather than wait. ``repairing``: another program removed
    something of ours, so connections must wait for it.
    """

    suspended: frozenset[ObjectKey] = frozenset()
    leaving: bool = False
    repairing: bool = False


def plan(
    world: World,
    verdicts: Mapping[ObjectKey, Verdict],
    health_of: HealthOf,
    node: str,
    circumstances: Circumstances = Circumstances(),
) -> Plan:
    """Return what this node should hold."""
    services: dict[ServiceKey, Service] = {}
    owners: dict[ServiceKey, ObjectKey] = {}
    real_servers: dict[ObjectKey, tuple[RealServerPlan, ...]] = {}
    addresses: set[LinkAddress] = set()
    translated: set[ServiceKey] = set()
    active = frozenset(key for key, verdict in verdicts.items() if verdict.group and verdict.group.active == node)
    for key in sorted(active):
        server, verdict = world.virtual_servers[key], verdicts[key]
        if server.spec is None or verdict.group is None:
            continue
        wanted, real_servers[key] = _one(server, server.spec, verdict, health_of)
        if key in circumstances.suspended:
            continue
        services.update(wanted)
        owners.update(dict.fromkeys(wanted, key))
        if server.spec.forwarding.nat and server.spec.forwarding.nat.source_translation:
            translated.update(wanted)
        addresses |= _addresses(server.spec, verdict.group)
    expire = circumstances.leaving and not circumstances.repairing
    links = frozenset(address.link for address in addresses)
    state = State(
        services=services,
        addresses=frozenset(addresses),
        sysctls=settings.director(links, services, translate=bool(translated), expire=expire) if services else {},
        rules=Rules(frozenset(services), frozenset(translated)),
    )
    return Plan(state, owners, real_servers, active)


def links(verdicts: Mapping[ObjectKey, Verdict], node: str) -> frozenset[str]:
    """Return the links on which this node may have to hold addresses."""
    groups = [verdict.group for verdict in verdicts.values() if verdict.group and verdict.group.active == node]
    specs = [group.spec for group in groups if group.spec is not None]
    return frozenset(spec.interface for spec in specs) | {spec.gateway.interface for spec in specs if spec.gateway}


def targets(server: VirtualServer, candidate: Candidate) -> list[Target]:
    """Return the checks of one real server; none for one that nobody wants to serve."""
    if server.spec is None or candidate.wish is Wish.STAY_OUT:
        return []
    return [
        Target(
            monitor.type,
            candidate.key.address,
            (monitor.tcp.port if monitor.tcp else None) or candidate.key.port,
            seconds(monitor.interval),
            seconds(monitor.timeout),
        )
        for monitor in server.spec.monitors
    ]


def on_down(spec: VirtualServerSpec) -> OnDown:
    """Return what happens to a real server that is down: Remove as soon as one monitor says so."""
    quiesce = spec.monitors and all(monitor.on_down is OnDown.QUIESCE for monitor in spec.monitors)
    return OnDown.QUIESCE if quiesce else OnDown.REMOVE


def _one(
    server: VirtualServer, spec: VirtualServerSpec, verdict: Verdict, health_of: HealthOf
) -> tuple[dict[ServiceKey, Service], tuple[RealServerPlan, ...]]:
    services: dict[ServiceKey, Service] = {}
    planned: list[RealServerPlan] = []
    for port, candidates in verdict.candidates.items():
        here = [_real_server(spec, server.key, one, health_of) for one in candidates]
        planned += here
        for text in spec.addresses:
            address = ip_address(text)
            destinations = {
                one.candidate.key: DestinationContent(one.weight)
                for one in here
                if one.weight is not None and one.candidate.key.address.version == address.version
            }
            key = ServiceKey(Protocol(port.protocol), address, port.port)
            services[key] = Service(_content(spec, address.version), destinations)
    return services, tuple(planned)


def _real_server(
    spec: VirtualServerSpec, owner: ObjectKey, candidate: Candidate, health_of: HealthOf
) -> RealServerPlan:
    if candidate.wish is Wish.STAY_OUT:
        offline = candidate.reason is Reason.ADMIN_OFFLINE
        state = RealServerState.OFFLINE if offline else RealServerState.DOWN
        return RealServerPlan(candidate, Health(state, candidate.reason), None)
    health = health_of(owner, candidate.key) if spec.monitors else UNMONITORED
    if health.state is not RealServerState.UP:
        quiesced = on_down(spec) is OnDown.QUIESCE
        draining = candidate.wish is Wish.DRAIN and health.state is RealServerState.UNKNOWN
        return RealServerPlan(candidate, health, 0 if quiesced or draining else None)
    if candidate.wish is Wish.DRAIN:
        return RealServerPlan(candidate, Health(RealServerState.DRAINING, candidate.reason, health.message), 0)
    return RealServerPlan(candidate, health, candidate.weight)


def _content(spec: VirtualServerSpec, version: int) -> ServiceContent:
    persistence = spec.persistence
    host = 32 if version == 4 else 128
    if persistence.type is PersistenceType.NONE:
        return ServiceContent(spec.scheduler.name, frozenset(spec.scheduler.flags), 0, host)
    timeout = int(seconds(persistence.timeout)) if persistence.timeout else DEFAULT_PERSISTENCE
    prefix = persistence.ipv4_prefix_length if version == 4 else persistence.ipv6_prefix_length
    return ServiceContent(spec.scheduler.name, frozenset(spec.scheduler.flags), timeout, prefix or host)


def _addresses(spec: VirtualServerSpec, group: DirectorGroup) -> set[LinkAddress]:
    assert group.spec is not None
    wanted = {_host_address(group.spec.interface, text) for text in spec.addresses}
    if group.spec.gateway is not None:
        wanted |= {_host_address(group.spec.gateway.interface, text) for text in group.spec.gateway.addresses}
    return wanted


def _host_address(link: str, text: str) -> LinkAddress:
    address = ip_address(text)
    return LinkAddress(link, address, address.max_prefixlen)
