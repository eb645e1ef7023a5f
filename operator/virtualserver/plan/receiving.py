"""The real server's half of Tunnel and Direct Routing: what a node needs to take packets for a virtual address.

It holds the address on a link that tells nobody of it, takes wrapped packets from the directors and from nobody else,
and hands packets for its pods on to them. Machines outside the cluster need the same, without pods.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from ipaddress import IPv4Address, ip_address

from virtualserver.api.enums import ForwardingMode
from virtualserver.api.reasons import Reason
from virtualserver.api.virtualserver import Forwarding, VirtualServerSpec
from virtualserver.model.types import (
    Clamp,
    IPAddress,
    LinkAddress,
    LinkKind,
    OwnLink,
    Service,
    ServiceKey,
    Tunnel,
    address_order,
)
from virtualserver.plan.directors import members
from virtualserver.plan.forwarding import direct, from_node, tunnel
from virtualserver.plan.parts import ByPort, Part, content, virtual_services
from virtualserver.plan.realservers import Candidate
from virtualserver.plan.tunnels import HOLDER, Way, reception, segment
from virtualserver.plan.world import DirectorGroup, Node

DUMMY = IPv4Address("192.0.0.8")
"""RFC 7600's address for links that need one and have none. From a link without any, a loose reverse-path filter takes
no packet (``fib_frontend.c``: ``__fib_validate_source``, ``no_addr``)."""


@dataclass(frozen=True, slots=True)
class Half:
    """What decides a real server's half: ``local`` are its own addresses to which the directors send.

    ``mtu`` in bytes is that of the way between them and the directors.
    """

    addresses: tuple[IPAddress, ...]
    forwarding: Forwarding
    directors: frozenset[IPAddress]
    local: frozenset[IPAddress]
    mtu: int = 1500


def receives(spec: VirtualServerSpec, candidates: Iterable[Candidate], here: Node) -> bool:
    """Return whether packets for this virtual server are sent to this node as they are."""
    return direct(spec.forwarding) and any(local(one, here) for one in candidates)


def local(candidate: Candidate, here: Node) -> bool:
    """Return whether a real server is this node, or a pod on it; as one of several directors a node is none."""
    if candidate.reason is Reason.ENDPOINT_ON_DIRECTOR:
        return False
    if candidate.node:
        return candidate.node == here.name
    return candidate.key.address in here.addresses


def node(
    spec: VirtualServerSpec,
    group: DirectorGroup,
    by_port: ByPort,
    here: Node,
    nodes: Mapping[str, Node],
    mtus: Mapping[IPAddress, int],
) -> Part:
    """Return what a node needs that is a real server, or has pods that are.

    ``mtus`` in bytes are those of its addresses' links and of the ways to directors; what is not known is left out.
    """
    everyone = [one for listed in by_port.values() for one in listed]
    named = {one.candidate.key.address for one in everyone if not one.candidate.node}
    ends = frozenset(here.internal) | (named & here.addresses)
    sources = directors(group, nodes) - here.addresses
    half = Half(
        tuple(ip_address(text) for text in spec.addresses),
        spec.forwarding,
        sources,
        ends,
        min((mtus[one] for one in ends | sources if one in mtus), default=1500),
    )
    pods = {port for port, listed in by_port.items() if any(one.candidate.node == here.name for one in listed)}
    services = {
        key: Service(content(spec, key.address.version), from_node(key, by_port[port], here.name))
        for port, key in virtual_services(spec, by_port)
        if port in pods
    }
    return part(half, services)


def directors(group: DirectorGroup, nodes: Mapping[str, Node]) -> frozenset[IPAddress]:
    """Return the addresses from which a director of the group may send wrapped packets."""
    assert group.spec is not None
    if group.spec.tunnel_sources:
        return frozenset(ip_address(text) for text in group.spec.tunnel_sources)
    return frozenset(address for name in members(group, nodes) for address in nodes[name].addresses)


def part(half: Half, services: Mapping[ServiceKey, Service]) -> Part:
    """Return what a real server's half consists of; ``services`` are those for pods of this node."""
    held = {LinkAddress(HOLDER, address, address.max_prefixlen) for address in half.addresses}
    own_links = {HOLDER: OwnLink(LinkKind.DUMMY)}
    if half.forwarding.mode is not ForwardingMode.TUNNEL:
        return Part(services, frozenset(held), frozenset(), own_links, nat=bool(services))
    wrapping = tunnel(half.forwarding)
    received = reception(_ways(half, wrapping))
    if any(address.version == 4 for address in half.addresses):
        held |= {LinkAddress(name, DUMMY, 32) for name, link in received.links.items() if link.kind is not LinkKind.SIT}
    return Part(
        services,
        frozenset(held),
        frozenset(),
        own_links | received.links,
        received.decapsulations,
        received.admissions,
        frozenset(Clamp(address, _segment(half, wrapping, address.version)) for address in half.addresses),
        frozenset(half.addresses),
        nat=bool(services),
    )


def _ways(half: Half, wrapping: Tunnel) -> Iterator[Way]:
    for local in sorted(half.local, key=address_order):
        for director in sorted(half.directors, key=address_order):
            if local.version == director.version:
                for inner in sorted({address.version for address in half.addresses}):
                    yield Way(wrapping, inner, director, local)


def _segment(half: Half, wrapping: Tunnel, inner: int) -> int:
    """Return the longest segment that fits whichever outer family is used."""
    outer = max((address.version for address in half.local), default=4)
    return segment(wrapping, inner, outer, half.mtu)
