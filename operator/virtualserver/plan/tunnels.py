"""What a node of real servers needs to take tunnelled packets from directors, and what a tunnel takes from each packet.

A packet in a packet is taken by a tunnel device, found by the two outer addresses; GUE, by a UDP port first. So a node
gets one device for each director, kind and pair of addresses, and takes packets from nobody else.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from hashlib import blake2s

from virtualserver.model.types import (
    Admission,
    Decapsulation,
    IPAddress,
    LinkKind,
    OwnLink,
    Tunnel,
    TunnelType,
)

HOLDER = "vs-addresses"
"""The dummy link that holds virtual addresses on a node of real servers, and tells nobody."""

_HEADER = {4: 20, 6: 40}  # bytes, without options
_TCP = 20
_UDP, _GUE, _GRE, _GRE_CHECKSUM = 8, 4, 4, 4


@dataclass(frozen=True, slots=True)
class Way:
    """One way in which packets of IP version ``inner`` come from a director to this node; the ends are of one version.

    Remote checksum offload is never asked for, so it is not reckoned with.
    """

    tunnel: Tunnel
    inner: int
    director: IPAddress
    node: IPAddress


@dataclass(frozen=True, slots=True)
class Reception:
    """Links of our own by name, GUE ports, and who may send to them."""

    links: dict[str, OwnLink]
    decapsulations: frozenset[Decapsulation]
    admissions: frozenset[Admission]


def reception(ways: Iterable[Way]) -> Reception:
    """Return what takes the packets of all these ways.

    A GRE device takes packets with a checksum or packets without, and there can be only one between two addresses:
    of two ways that differ in this alone, which only a change of one leaves for a while, the later one counts.
    """
    links: dict[str, OwnLink] = {}
    ports: set[Decapsulation] = set()
    admissions: set[Admission] = set()
    for way in ways:
        kind = _kind(way)
        checksum = way.tunnel.checksum and way.tunnel.type is TunnelType.GRE
        links[_name(kind, way)] = OwnLink(kind, way.node, way.director, checksum)
        if way.tunnel.type is TunnelType.GUE:
            ports.add(Decapsulation(way.tunnel.port, way.node.version))
            admissions.add(Admission(way.tunnel.port, way.director))
    return Reception(links, frozenset(ports), frozenset(admissions))


def segment(tunnel: Tunnel, inner: int, outer: int, mtu: int) -> int:
    """Return the longest TCP segment, in bytes, that still fits into ``mtu`` when a director has wrapped its packet.

    ``inner`` and ``outer`` are IP versions. As the kernel reckons (``ip_vs_xmit.c``: ``ip_vs_tunnel_xmit``).
    """
    return mtu - overhead(tunnel, outer) - _HEADER[inner] - _TCP


def overhead(tunnel: Tunnel, outer: int) -> int:
    """Return how many bytes wrapping adds to a packet; ``outer`` is the IP version of the way."""
    return _HEADER[outer] + _extra(tunnel)


def _extra(tunnel: Tunnel) -> int:
    match tunnel.type:
        case TunnelType.GUE:
            return _UDP + _GUE
        case TunnelType.GRE:
            return _GRE + (_GRE_CHECKSUM if tunnel.checksum else 0)
        case _:
            return 0


def _kind(way: Way) -> LinkKind:
    if way.tunnel.type is TunnelType.GRE:
        return LinkKind.GRE if way.node.version == 4 else LinkKind.IP6GRE
    if way.node.version == 6:
        return LinkKind.IP6TNL
    return LinkKind.IPIP if way.inner == 4 else LinkKind.SIT


def _name(kind: LinkKind, way: Way) -> str:
    """Return a name of 15 bytes, all that a link's may have; the same again after a restart."""
    return "vs-" + blake2s(f"{kind} {way.director} {way.node}".encode(), digest_size=6).hexdigest()
