"""May this virtual server be served? Judged alike by the controller and by every agent, from the same objects.

Each check is a small function that returns a Finding when it refuses. They run in order; the first refusal
stands. A refused virtual server claims nothing, so the next younger one may have the address.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from ipaddress import ip_network

from virtualserver.api.enums import ForwardingMode
from virtualserver.api.reasons import Reason
from virtualserver.api.virtualserver import Port, VirtualServerSpec
from virtualserver.model.addresses import read_address
from virtualserver.model.types import IPAddress, Protocol, ServiceKey, TunnelType
from virtualserver.plan import groups
from virtualserver.plan.directors import members
from virtualserver.plan.findings import Finding
from virtualserver.plan.forwarding import bypassable, mixes, tunnel
from virtualserver.plan.realservers import Candidate, resolve
from virtualserver.plan.world import DirectorGroup, IPNetwork, ObjectKey, VirtualServer, World

ACCEPTED = Finding(True, Reason.ACCEPTED, "the virtual server is valid and owns its addresses")
RESOLVED = Finding(True, Reason.RESOLVED, "all referenced objects exist")


@dataclass(frozen=True, slots=True)
class Verdict:
    """What was found about one virtual server.

    ``group`` and ``candidates`` are empty when nothing is to be programmed: it is not accepted, or all that it refers
    to is missing. In the second case it keeps its addresses.
    """

    accepted: Finding
    resolved: Finding = RESOLVED
    group: DirectorGroup | None = None
    candidates: Mapping[Port, list[Candidate]] = field(default_factory=dict)


@dataclass(slots=True)
class _Context:
    """What the checks of one round share: facts of the cluster, and what older virtual servers claimed."""

    world: World
    reserved: Mapping[IPAddress, str]
    networks: list[tuple[IPNetwork, str]]
    groups: Mapping[str, Finding]
    services: dict[ServiceKey, ObjectKey] = field(default_factory=dict)
    addresses: dict[IPAddress, ObjectKey] = field(default_factory=dict)
    mirroring: dict[str, ObjectKey] = field(default_factory=dict)
    """By node: the oldest virtual server whose connections are mirrored there."""
    mixed: dict[str, ObjectKey] = field(default_factory=dict)
    """By node: the oldest one there with real servers of another family than an address."""
    gre: dict[str, tuple[ObjectKey, bool]] = field(default_factory=dict)
    """By node: the oldest one there that wraps packets in GRE, and whether with a checksum."""


def judge(world: World) -> dict[ObjectKey, Verdict]:
    """Return a verdict for every virtual server; older ones are judged first, so they keep what they have."""
    context = _context(world)
    verdicts = {}
    for server in sorted(world.virtual_servers.values(), key=lambda one: (one.created, one.key, one.uid)):
        verdicts[server.key] = _judge_one(context, server)
    return verdicts


def mirrored(world: World, verdicts: Mapping[ObjectKey, Verdict]) -> frozenset[str]:
    """Return the groups with an accepted virtual server whose connections are mirrored."""
    specs = (world.virtual_servers[key].spec for key, verdict in verdicts.items() if verdict.accepted.ok)
    return frozenset(spec.director_group for spec in specs if spec is not None and spec.connection_mirroring)


def addresses(world: World, verdicts: Mapping[ObjectKey, Verdict], group: str) -> frozenset[IPAddress]:
    """Return the addresses of a group's accepted virtual servers."""
    specs = (world.virtual_servers[key].spec for key, verdict in verdicts.items() if verdict.accepted.ok)
    mine = (spec for spec in specs if spec is not None and spec.director_group == group)
    return frozenset(read_address(text) for spec in mine for text in spec.addresses)


def service_keys(spec: VirtualServerSpec) -> list[ServiceKey]:
    """Return the virtual services that a spec asks for."""
    return [
        ServiceKey(Protocol(port.protocol), read_address(address), port.port)
        for address in spec.addresses
        for port in spec.ports
    ]


def _context(world: World) -> _Context:
    reserved: dict[IPAddress, str] = {}
    networks: list[tuple[IPNetwork, str]] = [(net, "the cluster's Service range") for net in world.service_networks]
    for node in world.nodes.values():
        reserved.update(dict.fromkeys(node.addresses, f"an address of node {node.name}"))
        networks += [(net, f"the pod range of node {node.name}") for net in node.pod_networks]
    for group in world.groups.values():
        if group.spec is not None and group.spec.gateway is not None:
            for text in group.spec.gateway.addresses:
                reserved[read_address(text)] = f"the gateway of DirectorGroup {group.name}"
    reserved.update(dict.fromkeys(world.api_servers, "an address of the API server"))
    return _Context(world, reserved, networks, groups.judge(world))


def _judge_one(context: _Context, server: VirtualServer) -> Verdict:
    for check in _CHECKS:
        finding = check(context, server)
        if finding is not None:
            return Verdict(finding)
    spec = server.spec
    assert spec is not None
    candidates, problems = resolve(context.world, server)
    finding = _checksum_allowed(context, server) or _families_allowed(context, server, candidates)
    if finding is not None:
        return Verdict(finding)
    _note_checksum(context, server)
    for key in service_keys(spec):
        context.services[key] = server.key
        context.addresses.setdefault(key.address, server.key)
    resolved = problems[0] if problems else RESOLVED
    if len(problems) > 1:
        resolved = Finding(False, resolved.reason, "; ".join(problem.message for problem in problems))
    accepted = _accepted(spec, context.world)
    if problems and not any(candidates.values()):
        return Verdict(accepted, resolved)
    return Verdict(accepted, resolved, context.world.groups[spec.director_group], candidates)


def _accepted(spec: VirtualServerSpec, world: World) -> Finding:
    """Say as well what is odd, but no reason to refuse it: routes of real servers may follow the addresses, too."""
    group = world.groups[spec.director_group]
    alone = len(members(group, world.nodes)) < 2
    if alone or not spec.connection_mirroring or not bypassable(spec.forwarding):
        return ACCEPTED
    gateway = group.spec.gateway if group.spec is not None else None
    floating = {read_address(text).version for text in gateway.addresses} if gateway is not None else set()
    for text in spec.addresses:
        version = read_address(text).version
        if version not in floating:
            said = (
                f"; spec.connectionMirroring: DirectorGroup {spec.director_group!r} has no IPv{version} address in "
                f"spec.gateway.addresses that real servers could answer through: unless their routes follow {text} to "
                "another director, its connections end at a failover"
            )
            return Finding(True, Reason.ACCEPTED, ACCEPTED.message + said)
    return ACCEPTED


def _readable(_: _Context, server: VirtualServer) -> Finding | None:
    if server.spec is None:
        return Finding(False, Reason.INVALID_SPEC, server.problem)
    return None


def _has_group(context: _Context, server: VirtualServer) -> Finding | None:
    assert server.spec is not None
    name = server.spec.director_group
    group = context.world.groups.get(name)
    if group is None:
        return Finding(
            False,
            Reason.DIRECTOR_GROUP_NOT_FOUND,
            f"spec.directorGroup: DirectorGroup {name!r} does not exist",
        )
    if group.spec is None:
        return Finding(
            False,
            Reason.DIRECTOR_GROUP_NOT_FOUND,
            f"spec.directorGroup: {name!r} is not valid: {group.problem}",
        )
    judged = context.groups[name]
    if not judged.ok:
        return Finding(
            False,
            Reason.DIRECTOR_GROUP_NOT_ACCEPTED,
            f"spec.directorGroup: DirectorGroup {name!r} is not accepted: {judged.message}",
        )
    return None


def _address_allowed(context: _Context, server: VirtualServer) -> Finding | None:
    assert server.spec is not None
    for text in server.spec.addresses:
        address = read_address(text)
        owner = context.reserved.get(address) or next(
            (f"in {name} {net}" for net, name in context.networks if address in net), ""
        )
        if owner:
            return Finding(
                False, Reason.ADDRESS_FORBIDDEN, f"spec.addresses: {text} is {owner}; choose another address"
            )
    return None


def _real_servers_allowed(context: _Context, server: VirtualServer) -> Finding | None:
    assert server.spec is not None
    group = context.world.groups[server.spec.director_group].spec
    assert group is not None
    networks = [ip_network(text, strict=False) for text in group.real_server_networks]
    for entry in server.spec.real_servers:
        if entry.address and networks and not any(read_address(entry.address) in network for network in networks):
            allowed = ", ".join(group.real_server_networks)
            return Finding(
                False,
                Reason.REAL_SERVER_FORBIDDEN,
                f"spec.realServers: {entry.address} lies outside the networks that DirectorGroup "
                f"{server.spec.director_group!r} allows ({allowed})",
            )
    return None


def _address_free(context: _Context, server: VirtualServer) -> Finding | None:
    assert server.spec is not None
    for key in service_keys(server.spec):
        owner = context.services.get(key)
        if owner is not None:
            return Finding(
                False,
                Reason.ADDRESS_IN_USE,
                f"spec.ports: {key} belongs to VirtualServer {owner}, which is older",
            )
        if (holder := context.addresses.get(key.address)) is None:
            continue
        if holder.namespace != server.key.namespace:
            return Finding(
                False,
                Reason.ADDRESS_IN_USE,
                f"spec.addresses: {key.address} belongs to VirtualServer {holder} of another namespace",
            )
        holding = context.world.virtual_servers[holder].spec
        if holding is not None and holding.director_group != server.spec.director_group:
            return Finding(
                False,
                Reason.ADDRESS_IN_USE,
                f"spec.addresses: {key.address} belongs to VirtualServer {holder} of DirectorGroup "
                f"{holding.director_group!r}, and two groups cannot both hold it; choose that group or another address",
            )
    return None


def _families_allowed(
    context: _Context, server: VirtualServer, candidates: Mapping[Port, list[Candidate]]
) -> Finding | None:
    """Refuse what no kernel does beside what an older one has there, and note what this one has.

    While connections are mirrored, real servers of another family than their address are refused, and the other way
    round (``ip_vs_ctl.c``: ``ip_vs_genl_new_dest``, ``ip_vs_genl_new_daemon``).
    """
    assert server.spec is not None
    world = context.world
    mirrored, mixed = server.spec.connection_mirroring, mixes(server.spec, candidates, world.nodes)
    directors = members(world.groups[server.spec.director_group], world.nodes) if mirrored or mixed else []
    for node in directors:
        if mirrored and (mixed or node in context.mixed):
            whose = "this one" if mixed else f"VirtualServer {context.mixed[node]}, which is older,"
            text = (
                f"spec.connectionMirroring: {whose} has real servers of another family (IPv4 or IPv6) than an address"
            )
        elif mixed and node in context.mirroring:
            text = (
                "spec.realServers: they are of another family (IPv4 or IPv6) than an address, and VirtualServer "
                f"{context.mirroring[node]}, which is older, has connectionMirroring"
            )
        else:
            continue
        way_out = "add real servers of the same family, or choose a directorGroup of other nodes"
        return Finding(
            False, Reason.MIXED_FAMILIES, f"{text}; the kernel of {node} refuses the two together; {way_out}"
        )
    context.mirroring |= {node: server.key for node in directors if mirrored and node not in context.mirroring}
    context.mixed |= {node: server.key for node in directors if mixed and node not in context.mixed}
    return None


def _checksum_allowed(context: _Context, server: VirtualServer) -> Finding | None:
    """Refuse GRE with a checksum beside GRE without on the same directors.

    Between two ends there is one GRE device, which drops what differs (``ip_tunnel.c``: ``ip_tunnel_rcv``). Real
    servers are not looked at: a pod that moves to another node must not end somebody's service.
    """
    assert server.spec is not None
    for node in _gre_directors(context, server.spec):
        owner, checksum = context.gre.get(node, (server.key, tunnel(server.spec.forwarding).checksum))
        if checksum != tunnel(server.spec.forwarding).checksum:
            words = "with a checksum" if checksum else "without"
            return Finding(
                False,
                Reason.TUNNEL_CONFLICT,
                f"spec.forwarding.tunnel.checksum: VirtualServer {owner}, which is older, has GRE {words} from {node}, "
                f"and real servers take only one of the two from it; choose {str(checksum).lower()}, another type, or "
                "a directorGroup of other nodes",
            )
    return None


def _note_checksum(context: _Context, server: VirtualServer) -> None:
    assert server.spec is not None
    for node in _gre_directors(context, server.spec):
        context.gre.setdefault(node, (server.key, tunnel(server.spec.forwarding).checksum))


def _gre_directors(context: _Context, spec: VirtualServerSpec) -> list[str]:
    if spec.forwarding.mode is not ForwardingMode.TUNNEL or tunnel(spec.forwarding).type is not TunnelType.GRE:
        return []
    return members(context.world.groups[spec.director_group], context.world.nodes)


_CHECKS: tuple[Callable[[_Context, VirtualServer], Finding | None], ...] = (
    _readable,
    _has_group,
    _address_allowed,
    _real_servers_allowed,
    _address_free,
)
