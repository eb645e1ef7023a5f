"""How packets of a virtual service reach its real servers from one node: the kernel's real servers of it.

NAT sends to the real server itself, and so does a node to its own pods. Tunnel and Direct Routing leave the packet
as it is, so the receiver must own the virtual address: a machine, or the node of some pods, which has a virtual
service of its own for them. Pods behind one node share one entry there, whose weight is theirs together.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from ipaddress import ip_address

from virtualserver.api.enums import ForwardingMode, TunnelType
from virtualserver.api.virtualserver import Forwarding, Port, VirtualServerSpec
from virtualserver.model import types
from virtualserver.model.types import (
    DestinationContent,
    DestinationKey,
    ForwardingMethod,
    IPAddress,
    Service,
    ServiceKey,
    address_order,
)
from virtualserver.plan.realservers import Candidate, Wish
from virtualserver.plan.shares import RealServerPlan
from virtualserver.plan.world import Node

GUE_PORT = 6080
"""UDP port of GUE (IANA: gue)."""

_TUNNELS = {
    TunnelType.IPIP: types.TunnelType.IPIP,
    TunnelType.GUE: types.TunnelType.GUE,
    TunnelType.GRE: types.TunnelType.GRE,
}
MAX_WEIGHT = 65535


def direct(forwarding: Forwarding) -> bool:
    """Return whether real servers answer the client themselves."""
    return forwarding.mode is not ForwardingMode.NAT


def bypassable(forwarding: Forwarding) -> bool:
    """Return whether answers must come back through the director: NAT that keeps the client's address."""
    return not direct(forwarding) and not (forwarding.nat is not None and forwarding.nat.source_translation)


def tunnel(forwarding: Forwarding) -> types.Tunnel:
    """Return how packets are wrapped; for modes that wrap none, what the kernel says of them."""
    if forwarding.mode is not ForwardingMode.TUNNEL:
        return types.Tunnel()
    asked = forwarding.tunnel
    if asked is None:
        return types.Tunnel()
    port = asked.port or GUE_PORT if asked.type is TunnelType.GUE else 0
    return types.Tunnel(_TUNNELS[asked.type], port, asked.checksum)


def from_director(
    forwarding: Forwarding, virtual: ServiceKey, shares: Sequence[RealServerPlan], node: str, nodes: Mapping[str, Node]
) -> dict[DestinationKey, DestinationContent]:
    """Return what the director ``node`` holds for a virtual service, in canonical order.

    Direct Routing never looks at the port, and has entries with port 0. With another mode's they would share the
    route that the kernel keeps for an entry: one that NAT or a tunnel has filled makes Direct Routing resolve the
    virtual address as a neighbour, and every new connection fails with EHOSTUNREACH (``ip_vs_xmit.c``:
    ``__ip_vs_get_out_rt``, ``IP_VS_RT_MODE_KNOWN_NH``; seen on 6.1). That is so after a change of the mode, and after
    the virtual server is deleted and made again: entries that were taken out are kept for the connections that know
    them, and given back to who asks for the same real server (``ip_vs_ctl.c``: ``ip_vs_trash_get_dest``). Always, not
    only then: ``mh`` hashes the port as well (``ip_vs_mh.c``), and all directors must hash alike.
    """
    address = virtual.address
    if not direct(forwarding):
        return {
            one.candidate.key: DestinationContent(one.weight)
            for one in shares
            if one.weight is not None and one.candidate.key.address.version == address.version
        }
    weights: dict[DestinationKey, int] = {}
    for one in shares:
        receiver = receiver_of(one.candidate, address, virtual.port, nodes)
        if receiver is not None and one.weight is not None and one.candidate.node != node:
            weights[receiver] = min(weights.get(receiver, 0) + one.weight, MAX_WEIGHT)
    found = from_node(virtual, shares, node)
    ways = receivers(forwarding, address, virtual.port, [one.candidate for one in shares], nodes)
    portless = forwarding.mode is ForwardingMode.DIRECT_ROUTING
    found |= {
        DestinationKey(key.address, 0) if portless else key: _content(forwarding, weights[key])
        for key in ways
        if key in weights
    }
    return {key: found[key] for key in sorted(found, key=lambda key: (address_order(key.address), key.port))}


def from_node(
    virtual: ServiceKey, shares: Iterable[RealServerPlan], node: str
) -> dict[DestinationKey, DestinationContent]:
    """Return what a node holds for its own pods: they get packets by NAT, and answer through it."""
    return {
        one.candidate.key: DestinationContent(one.weight)
        for one in shares
        if one.weight is not None
        and one.candidate.node == node
        and one.candidate.key.address.version == virtual.address.version
    }


def serves(candidate: Candidate, held: Mapping[ServiceKey, Service], node: str, nodes: Mapping[str, Node]) -> bool:
    """Return whether services of the kernel give connections to a real server, or to the node that has it as a pod."""
    for key, service in held.items():
        receiver = candidate.key if candidate.node == node else receiver_of(candidate, key.address, key.port, nodes)
        if receiver is None:
            continue
        entries = (service.destinations.get(receiver), service.destinations.get(DestinationKey(receiver.address, 0)))
        if any(found is not None and found.weight > 0 for found in entries):
            return True
    return False


def receiver_of(
    candidate: Candidate, virtual: IPAddress, port: int, nodes: Mapping[str, Node]
) -> DestinationKey | None:
    """Return whom packets for a real server are sent to: itself, or its node (by its address of the same family)."""
    if not candidate.node:
        return candidate.key
    known = nodes.get(candidate.node)
    if known is None or candidate.key.address.version != virtual.version:
        return None
    by_family = sorted(known.internal, key=lambda address: address.version != virtual.version)
    return DestinationKey(by_family[0], port) if by_family else None


def receivers(
    forwarding: Forwarding, virtual: IPAddress, port: int, candidates: Iterable[Candidate], nodes: Mapping[str, Node]
) -> list[DestinationKey]:
    """Return to whom packets for a virtual address may be sent as they are, the same on every director.

    Health plays no part: else an address whose own real servers are all down would turn to those of the other family,
    which a kernel that mirrors connections refuses.
    """
    wanted = (one for one in candidates if one.wish is not Wish.STAY_OUT)
    ends = (receiver_of(one, virtual, port, nodes) for one in wanted)
    return usable(forwarding, virtual, [end for end in ends if end is not None])


def mixes(spec: VirtualServerSpec, candidates: Mapping[Port, Iterable[Candidate]], nodes: Mapping[str, Node]) -> bool:
    """Return whether real servers get packets of the other family (in a tunnel)."""
    if spec.forwarding.mode is not ForwardingMode.TUNNEL:
        return False
    return any(
        end.address.version != address.version
        for address in map(ip_address, spec.addresses)
        for port, listed in candidates.items()
        for end in receivers(spec.forwarding, address, port.port, listed, nodes)
    )


def usable(forwarding: Forwarding, virtual: IPAddress, receivers: Iterable[DestinationKey]) -> list[DestinationKey]:
    """Return the receivers of the virtual address's own family; a tunnel may use the others, if there are none.

    The kernel mixes families in tunnels only (``ip_vs_ctl.c``: ``ip_vs_genl_new_dest``, ``ip_vs_add_dest``).
    """
    listed = list(receivers)
    same = [key for key in listed if key.address.version == virtual.version]
    return same if same or forwarding.mode is not ForwardingMode.TUNNEL else listed


def _content(forwarding: Forwarding, weight: int) -> DestinationContent:
    if forwarding.mode is ForwardingMode.DIRECT_ROUTING:
        return DestinationContent(weight, ForwardingMethod.DIRECT_ROUTING)
    return DestinationContent(weight, ForwardingMethod.TUNNEL, tunnel=tunnel(forwarding))
