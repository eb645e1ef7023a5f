"""The real server's half of Tunnel and Direct Routing: what a node needs to take packets for a virtual address.

It holds the address on a link that tells nobody of it, takes wrapped packets from the directors and from nobody else,
and hands packets for its pods on to them. Machines outside the cluster need the same, without pods.
"""

from __future__ import annotations

import zlib
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from ipaddress import IPv4Address, ip_address

from virtualserver.api.enums import ForwardingMode
from virtualserver.api.virtualserver import Forwarding, VirtualServerSpec
from virtualserver.model.types import (
    Decapsulation,
    IPAddress,
    LinkAddress,
    LinkKind,
    OwnLink,
    Service,
    ServiceKey,
    Tunnel,
    TunnelType,
    address_order,
)
from virtualserver.plan.directors import members
from virtualserver.plan.forwarding import direct, from_node, tunnel
from virtualserver.plan.parts import ByPort, Part, content, virtual_services
from virtualserver.plan.realservers import Candidate
from virtualserver.plan.world import DirectorGroup, Node

UDP, GUE, GRE, GRE_CHECKSUM = 8, 4, 4, 4
OUTER = {4: 20, 6: 40}
INNER = {4: 20 + 20, 6: 40 + 20}
"""Bytes: headers that a tunnel adds, the outer IP header, and the inner headers of a TCP packet without options."""

VIRTUAL_LINK = "vs-virtual"
"""The dummy that holds the virtual addresses of a real server."""


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
    """Return whether a real server is this node, or a pod on it."""
    if candidate.node:
        return candidate.node == here.name
    return candidate.key.address in here.addresses


def node(
    spec: VirtualServerSpec, group: DirectorGroup, by_port: ByPort, here: Node, nodes: Mapping[str, Node], mtu: int
) -> Part:
    """Return what a node needs that is a real server, or has pods that are; ``mtu`` in bytes is that of its link."""
    everyone = [one for listed in by_port.values() for one in listed]
    named = {one.candidate.key.address for one in everyone if not one.candidate.node}
    half = Half(
        tuple(ip_address(text) for text in spec.addresses),
        spec.forwarding,
        directors(group, nodes) - here.addresses,
        frozenset(here.internal) | (named & here.addresses),
        mtu,
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
    own_links = {VIRTUAL_LINK: OwnLink(LinkKind.DUMMY)}
    decapsulations: set[Decapsulation] = set()
    clamped: dict[IPAddress, int] = {}
    if half.forwarding.mode is ForwardingMode.TUNNEL:
        wrapping = tunnel(half.forwarding)
        for link in _tunnels(half, wrapping):
            own_links[_name(link)] = link
        if wrapping.type is TunnelType.GUE:
            decapsulations = {Decapsulation(wrapping.port, address.version) for address in half.local}
        clamped = {address: segment(half, wrapping, address.version) for address in half.addresses}
    held = {LinkAddress(VIRTUAL_LINK, address, address.max_prefixlen) for address in half.addresses}
    if any(address.version == 4 for address in half.addresses):
        held |= {LinkAddress(name, DUMMY, 32) for name, link in own_links.items() if _takes_ipv4(link)}
    return Part(services, frozenset(held), frozenset(), own_links, frozenset(decapsulations), clamped)


def _takes_ipv4(link: OwnLink) -> bool:
    return link.kind not in (LinkKind.DUMMY, LinkKind.SIT)


def _tunnels(half: Half, wrapping: Tunnel) -> Iterator[OwnLink]:
    versions = {address.version for address in half.addresses}
    for local in sorted(half.local, key=address_order):
        for remote in sorted(half.directors, key=address_order):
            if local.version == remote.version:
                for kind in _kinds(wrapping.type, local.version, versions):
                    checksum = wrapping.checksum and wrapping.type is TunnelType.GRE
                    yield OwnLink(kind, local, remote, checksum)


def _kinds(wrapping: TunnelType, outer: int, inner: Iterable[int]) -> list[LinkKind]:
    """Return the devices that take packets of these inner families out of outer packets of that family."""
    if wrapping is TunnelType.GRE:
        return [LinkKind.GRE if outer == 4 else LinkKind.IP6GRE]
    if outer == 6:
        return [LinkKind.IP6TNL]
    return [{4: LinkKind.IPIP, 6: LinkKind.SIT}[version] for version in sorted(inner)]


def _name(link: OwnLink) -> str:
    """Return the name of a tunnel's device: the same for the same tunnel, whoever needs it."""
    short = {LinkKind.IP6TNL: "ip6", LinkKind.IP6GRE: "gre6"}.get(link.kind, str(link.kind))
    which = zlib.crc32(f"{link.local} {link.remote} {link.checksum}".encode()) & 0xFFFFFFF
    return f"vs-{short}-{which:07x}"


def segment(half: Half, wrapping: Tunnel, inner: int) -> int:
    """Return the largest TCP payload, in bytes, of a packet of the inner family that fits through the tunnel.

    What IPVS adds: ``ip_vs_xmit.c``, ``ip_vs_tunnel_xmit`` and ``ipvs_gue_encap``, ``ipvs_gre_encap``. Where both
    outer families are in use the larger header counts.
    """
    outer = max((OUTER[address.version] for address in half.local), default=OUTER[4])
    return half.mtu - outer - overhead(wrapping) - INNER[inner]


def overhead(wrapping: Tunnel) -> int:
    """Return the bytes between the outer and the inner IP header."""
    match wrapping.type:
        case TunnelType.GUE:
            return UDP + GUE
        case TunnelType.GRE:
            return GRE + (GRE_CHECKSUM if wrapping.checksum else 0)
        case _:
            return 0
