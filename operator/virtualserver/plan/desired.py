"""From the cluster and the monitors' verdicts to what this node's kernel should hold."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, replace

from virtualserver.api.virtualserver import VirtualServerSpec
from virtualserver.model.operations import DaemonOperation, Operation, VrrpOperation
from virtualserver.model.types import Clamp, IPAddress, LinkAddress, Protocol, Rules, ServiceKey, State
from virtualserver.plan import directors, owning, receiving, settings, vrrp
from virtualserver.plan.diff import Subject, subject
from virtualserver.plan.eligibility import NO_STANDING, Standing, barred
from virtualserver.plan.findings import Finding
from virtualserver.plan.groups import serving
from virtualserver.plan.parts import Part, director
from virtualserver.plan.realservers import Candidate
from virtualserver.plan.shares import HealthOf, RealServerPlan, share
from virtualserver.plan.tunnels import HOLDER
from virtualserver.plan.verdicts import Verdict, mirrored, service_keys
from virtualserver.plan.world import DirectorGroup, ObjectKey, World


@dataclass(frozen=True, slots=True)
class Plan:
    """What this node should hold, and on whose behalf: ``needed`` names the virtual servers for each thing."""

    state: State = field(default_factory=State)
    needed: Mapping[Subject, frozenset[ObjectKey]] = field(default_factory=dict)
    real_servers: Mapping[ObjectKey, tuple[RealServerPlan, ...]] = field(default_factory=dict)
    pods: Mapping[ObjectKey, tuple[RealServerPlan, ...]] = field(default_factory=dict)
    """The real servers on this node itself, of virtual servers whose directors are others."""
    active: frozenset[ObjectKey] = frozenset()
    """Accepted virtual servers whose active director is this node, suspended ones included."""
    standby: frozenset[ObjectKey] = frozenset()
    """Those that it directs when it has to."""
    here: frozenset[ObjectKey] = frozenset()
    """All of these, and the ones that have real servers here which take packets as they are."""
    groups: Mapping[str, Finding | None] = field(default_factory=dict)
    """The groups that this node is a director of, and what keeps it from holding their addresses."""
    accepted: Mapping[ObjectKey, VirtualServerSpec] = field(default_factory=dict, compare=False)
    """All accepted virtual servers, wherever they are served."""
    mirrored: frozenset[str] = frozenset()
    """Those of ``groups`` with connections that are mirrored."""

    @property
    def programmed(self) -> frozenset[ObjectKey]:
        """Those of ``here`` that are not suspended."""
        return frozenset(key for keys in self.needed.values() for key in keys)

    def blamed(self, operation: Operation) -> frozenset[ObjectKey]:
        """Return the virtual servers that suffer when an operation fails."""
        if isinstance(operation, VrrpOperation | DaemonOperation):
            return frozenset()  # said of the group
        about = subject(operation)
        return self.programmed if about is None else self.needed.get(about, frozenset())


@dataclass(frozen=True, slots=True)
class Circumstances:
    """What a plan depends on besides the cluster: the recent past of this node.

    ``suspended``: virtual servers that this kernel refuses; nothing of theirs is wanted. ``leaving``: a real server
    is being taken out, so connections to it should end rather than wait. ``repairing``: another program removed
    something of ours, so connections must wait for it. ``tracking``: connections through us may have
    been translated, and live by being tracked. ``uplinks``: the node's links to others.
    ``mtus``: bytes that fit into a packet of the link that holds each of the node's addresses, and of the way to each
    peer of a tunnel.
    ``own``: the node's own addresses. ``standing``: what it is to its groups.
    """

    suspended: frozenset[ObjectKey] = frozenset()
    leaving: bool = False
    repairing: bool = False
    mtus: Mapping[IPAddress, int] = field(default_factory=dict)
    tracking: bool = False
    uplinks: frozenset[str] = frozenset()
    own: frozenset[LinkAddress] = frozenset()
    standing: Standing = NO_STANDING


def plan(
    world: World,
    verdicts: Mapping[ObjectKey, Verdict],
    health_of: HealthOf,
    node: str,
    circumstances: Circumstances = Circumstances(),
) -> Plan:
    """Return what this node should hold: as a director of some virtual servers, as a real server of others."""
    standing, here = circumstances.standing, world.nodes.get(node)
    real_servers: dict[ObjectKey, tuple[RealServerPlan, ...]] = {}
    pods: dict[ObjectKey, tuple[RealServerPlan, ...]] = {}
    parts: dict[ObjectKey, Part] = {}
    concerned = {key for key in verdicts if concerns(world, key, verdicts[key], node)}
    directed = {key for key in concerned if directs(world, verdicts[key], node)}
    active = {key for key in directed if _group(verdicts[key]).name in standing.active}
    for key in sorted(concerned):
        server, group = world.virtual_servers[key], _group(verdicts[key])
        assert server.spec is not None
        shares = {
            port: [share(server.spec, key, one, health_of) for one in listed]
            for port, listed in verdicts[key].candidates.items()
        }
        everyone = tuple(one for listed in shares.values() for one in listed)
        if key in active:
            real_servers[key] = everyone
        elif key not in directed:
            pods[key] = tuple(one for one in everyone if one.candidate.node == node)
        if key in circumstances.suspended or (key in directed and group.name in standing.purging):
            continue
        if key in directed:
            parts[key] = director(server.spec, group, shares, node, world.nodes)
        elif here is not None:
            parts[key] = receiving.node(server.spec, group, shares, here, world.nodes, circumstances.mtus)
    ours = directed_groups(world, node)
    mirrors = mirrored(world, verdicts) & ours.keys()
    held = owning.Holding(world, node, circumstances.own, standing, mirrors)
    groups = {name: barred(world, one, node, standing) or owning.unheard(held, name) for name, one in ours.items()}
    state = owning.joined(union(parts.values(), circumstances), held, groups, _by_group(verdicts, parts, directed))
    return Plan(
        replace(state, ending=_ending(world, verdicts, directed, standing)),
        needed_by(parts),
        real_servers,
        pods,
        frozenset(active),
        frozenset(directed - active),
        frozenset(concerned),
        groups,
        {key: spec for key in verdicts if verdicts[key].group and (spec := world.virtual_servers[key].spec)},
        mirrors,
    )


def _ending(
    world: World, verdicts: Mapping[ObjectKey, Verdict], directed: set[ObjectKey], standing: Standing
) -> frozenset[ServiceKey]:
    """Return the services that are taken out while connections of a former term are being forgotten."""
    specs = (world.virtual_servers[key].spec for key in directed if _group(verdicts[key]).name in standing.purging)
    return frozenset(one for spec in specs if spec is not None for one in service_keys(spec))


def _group(verdict: Verdict) -> DirectorGroup:
    assert verdict.group is not None
    return verdict.group


def _by_group(
    verdicts: Mapping[ObjectKey, Verdict], parts: Mapping[ObjectKey, Part], directed: set[ObjectKey]
) -> dict[str, frozenset[LinkAddress]]:
    """Return the addresses that the active director of each group holds."""
    found: defaultdict[str, set[LinkAddress]] = defaultdict(set)
    for key in directed & parts.keys():
        found[_group(verdicts[key]).name] |= parts[key].virtual
    return {name: frozenset(addresses) for name, addresses in found.items()}


def needed_by(parts: Mapping[ObjectKey, Part]) -> dict[Subject, frozenset[ObjectKey]]:
    """Return who needs each thing."""
    needed: defaultdict[Subject, set[ObjectKey]] = defaultdict(set)
    for owner, part in parts.items():
        for about in part.subjects:
            needed[about].add(owner)
    return {about: frozenset(owners) for about, owners in needed.items()}


def directed_groups(world: World, node: str) -> dict[str, DirectorGroup]:
    """Return the accepted groups that a node is a director of, by name."""
    return {name: group for name, group in serving(world).items() if node in directors.members(group, world.nodes)}


def directs(world: World, verdict: Verdict, node: str) -> bool:
    """Return whether a node is a director of a virtual server, active or not."""
    return verdict.group is not None and node in directors.members(verdict.group, world.nodes)


def concerns(world: World, key: ObjectKey, verdict: Verdict, node: str) -> bool:
    """Return whether a node has anything to do for a virtual server."""
    server, here = world.virtual_servers[key], world.nodes.get(node)
    if verdict.group is None or server.spec is None:
        return False
    if directs(world, verdict, node):
        return True
    candidates = [one for listed in verdict.candidates.values() for one in listed]
    return here is not None and receiving.receives(server.spec, candidates, here)


def watched(world: World, key: ObjectKey, verdict: Verdict, node: str) -> list[Candidate]:
    """Return the real servers that this node has to check: a director all of them, any other node its own pods."""
    if not concerns(world, key, verdict, node):
        return []
    candidates = [one for listed in verdict.candidates.values() for one in listed]
    return candidates if directs(world, verdict, node) else [one for one in candidates if one.node == node]


def union(parts: Iterable[Part], circumstances: Circumstances) -> State:
    """Return all that is needed, with the settings that it takes; addresses of groups are not among it."""
    listed = list(parts)
    services = {key: service for part in listed for key, service in part.services.items()}
    addresses = frozenset(address for part in listed for address in part.addresses)
    virtual = frozenset(address for part in listed for address in part.virtual)
    translated = frozenset(key for part in listed for key in part.translated)
    own_links = {name: link for part in listed for name, link in part.own_links.items()}
    links = frozenset(address.link for address in addresses | virtual) - own_links.keys()
    tracking = bool(translated) or circumstances.tracking
    purging = bool(circumstances.standing.purging)
    expire = (circumstances.leaving or purging) and not circumstances.repairing
    sysctls: dict[str, str] = {settings.EXPIRE: "1"} if purging else {}
    if services:
        sysctls |= settings.director(
            links, services, nat=any(part.nat for part in listed), translate=tracking, expire=expire
        )
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
            sealed=frozenset(one for part in listed for one in part.sealed),
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
    groups = [_group(verdict) for verdict in verdicts.values() if directs(world, verdict, node)]
    found = {link for group in groups if group.spec is not None for link in vrrp.links(group.spec)}
    if any(concerns(world, key, verdict, node) for key, verdict in verdicts.items()):
        found.add(HOLDER)
    return frozenset(found)
