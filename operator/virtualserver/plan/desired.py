"""From the cluster and the monitors' verdicts to what this node's kernel should hold."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field

from virtualserver.model.operations import Operation
from virtualserver.model.types import Clamp, IPAddress, Protocol, Rules, State
from virtualserver.plan import receiving, settings
from virtualserver.plan.diff import Subject, subject
from virtualserver.plan.parts import Part, director
from virtualserver.plan.realservers import Candidate
from virtualserver.plan.shares import HealthOf, RealServerPlan, share
from virtualserver.plan.tunnels import HOLDER
from virtualserver.plan.verdicts import Verdict
from virtualserver.plan.world import Node, ObjectKey, VirtualServer, World


@dataclass(frozen=True, slots=True)
class Plan:
    """What this node should hold, and on whose behalf: ``needed`` names the virtual servers for each thing."""

    state: State = field(default_factory=State)
    needed: Mapping[Subject, frozenset[ObjectKey]] = field(default_factory=dict)
    real_servers: Mapping[ObjectKey, tuple[RealServerPlan, ...]] = field(default_factory=dict)
    pods: Mapping[ObjectKey, tuple[RealServerPlan, ...]] = field(default_factory=dict)
    """The real servers on this node itself, of virtual servers whose director is another."""
    active: frozenset[ObjectKey] = frozenset()
    """Accepted virtual servers whose active director is this node, suspended ones included."""
    here: frozenset[ObjectKey] = frozenset()
    """Those, and the ones that have real servers here which take packets as they are."""

    @property
    def programmed(self) -> frozenset[ObjectKey]:
        """Those of ``here`` that are not suspended."""
        return frozenset(key for keys in self.needed.values() for key in keys)

    def blamed(self, operation: Operation) -> frozenset[ObjectKey]:
        """Return the virtual servers that suffer when an operation fails."""
        about = subject(operation)
        return self.programmed if about is None else self.needed.get(about, frozenset())


@dataclass(frozen=True, slots=True)
class Circumstances:
    """What a plan depends on besides the cluster: the recent past of this node.

    ``suspended``: virtual servers that this kernel refuses; nothing of theirs is wanted. ``leaving``: a real server
    is being taken out, so connections to it should end rather than wait. ``repairing``: another program removed
    something of ours, so connections must wait for it. ``tracking``: connections through us may have
    been translated, and live by being tracked. ``uplinks``: the node's links to others.
    ``mtus``: bytes that fit into a packet of the link that holds each of the node's addresses.
    """

    suspended: frozenset[ObjectKey] = frozenset()
    leaving: bool = False
    repairing: bool = False
    mtus: Mapping[IPAddress, int] = field(default_factory=dict)
    tracking: bool = False
    uplinks: frozenset[str] = frozenset()


def plan(
    world: World,
    verdicts: Mapping[ObjectKey, Verdict],
    health_of: HealthOf,
    node: str,
    circumstances: Circumstances = Circumstances(),
) -> Plan:
    """Return what this node should hold: as the active director of some virtual servers, as a real server of others."""
    real_servers: dict[ObjectKey, tuple[RealServerPlan, ...]] = {}
    pods: dict[ObjectKey, tuple[RealServerPlan, ...]] = {}
    parts: dict[ObjectKey, Part] = {}
    suspended: set[ObjectKey] = set()
    active = frozenset(key for key, verdict in verdicts.items() if verdict.group and verdict.group.active == node)
    for key in sorted(verdicts):
        server, verdict = world.virtual_servers[key], verdicts[key]
        if server.spec is None or verdict.group is None or not concerns(server, verdict, world.nodes.get(node), node):
            continue
        shares = {
            port: [share(server.spec, key, one, health_of) for one in listed]
            for port, listed in verdict.candidates.items()
        }
        everyone = [one for listed in shares.values() for one in listed]
        if key in active:
            real_servers[key] = tuple(everyone)
        else:
            pods[key] = tuple(one for one in everyone if one.candidate.node == node)
        if key in circumstances.suspended:
            suspended.add(key)
            continue
        if key in active:
            parts[key] = director(server.spec, verdict.group, shares, node, world.nodes)
        else:
            here = world.nodes[node]
            parts[key] = receiving.node(server.spec, verdict.group, shares, here, world.nodes, circumstances.mtus)
    concerned = frozenset(parts) | frozenset(real_servers) | suspended
    return Plan(union(parts.values(), circumstances), needed_by(parts), real_servers, pods, active, concerned)


def needed_by(parts: Mapping[ObjectKey, Part]) -> dict[Subject, frozenset[ObjectKey]]:
    """Return who needs each thing."""
    needed: dict[Subject, frozenset[ObjectKey]] = {}
    for owner, part in parts.items():
        for about in part.subjects:
            needed[about] = needed.get(about, frozenset()) | {owner}
    return needed


def concerns(server: VirtualServer, verdict: Verdict, here: Node | None, node: str) -> bool:
    """Return whether a node has anything to do for a virtual server; ``here`` is None when the node is not known."""
    if verdict.group is None or server.spec is None:
        return False
    if verdict.group.active == node:
        return True
    candidates = [one for listed in verdict.candidates.values() for one in listed]
    return here is not None and receiving.receives(server.spec, candidates, here)


def watched(server: VirtualServer, verdict: Verdict, here: Node | None, node: str) -> list[Candidate]:
    """Return the real servers that this node has to check: a director all of them, any other node its own pods."""
    if not concerns(server, verdict, here, node):
        return []
    candidates = [one for listed in verdict.candidates.values() for one in listed]
    active = verdict.group is not None and verdict.group.active == node
    return candidates if active else [one for one in candidates if one.node == node]


def union(parts: Iterable[Part], circumstances: Circumstances) -> State:
    """Return all that is needed, with the settings that it takes."""
    listed = list(parts)
    services = {key: service for part in listed for key, service in part.services.items()}
    addresses = frozenset(address for part in listed for address in part.addresses)
    translated = frozenset(key for part in listed for key in part.translated)
    own_links = {name: link for part in listed for name, link in part.own_links.items()}
    links = frozenset(address.link for address in addresses) - own_links.keys()
    tracking = bool(translated) or circumstances.tracking
    expire = circumstances.leaving and not circumstances.repairing
    sysctls: dict[str, str] = {}
    if services:
        sysctls |= settings.director(links, services, translate=tracking, expire=expire)
    if own_links:
        sysctls |= settings.real_server(sorted(circumstances.uplinks), sorted(own_links), services)
    return State(
        services=services,
        addresses=addresses,
        sysctls=sysctls,
        rules=Rules(
            frozenset(key for key in services if key.protocol is Protocol.TCP),
            translated,
            frozenset(one for part in listed for one in part.admissions),
            _tightest(one for part in listed for one in part.clamps),
            frozenset(key.address.version for key in services) if tracking else frozenset(),
        ),
        own_links=own_links,
        decapsulations=frozenset(one for part in listed for one in part.decapsulations),
    )


def _tightest(clamps: Iterable[Clamp]) -> frozenset[Clamp]:
    """Return one clamp for each address: two virtual servers may share it and reach this node in different ways."""
    shortest: dict[IPAddress, Clamp] = {}
    for one in clamps:
        if one.address not in shortest or one.segment < shortest[one.address].segment:
            shortest[one.address] = one
    return frozenset(shortest.values())


def links(world: World, verdicts: Mapping[ObjectKey, Verdict], node: str) -> frozenset[str]:
    """Return the links on which this node may have to hold addresses."""
    groups = [verdict.group for verdict in verdicts.values() if verdict.group and verdict.group.active == node]
    specs = [group.spec for group in groups if group.spec is not None]
    found = {spec.interface for spec in specs} | {spec.gateway.interface for spec in specs if spec.gateway}
    here = world.nodes.get(node)
    if any(concerns(world.virtual_servers[key], verdict, here, node) for key, verdict in verdicts.items()):
        found.add(HOLDER)
    return frozenset(found)
