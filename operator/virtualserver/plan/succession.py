"""A real server whose forwarding mode changes while connections run: the old entry serves them, a new one the rest.

The kernel keeps one route for an entry, whatever its method. One that a packet by NAT or tunnel has filled is of no use
to Direct Routing: it resolves the virtual address as a neighbour, and every new connection fails with EHOSTUNREACH
(``ip_vs_xmit.c``: ``__ip_vs_get_out_rt``, ``IP_VS_RT_MODE_KNOWN_NH``; seen on 6.1). An entry with port 0 is another
entry for the same real server, and Direct Routing never looks at the port.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

from virtualserver.model.types import (
    DestinationContent,
    DestinationKey,
    ForwardingMethod,
    Service,
    address_order,
)

Expired = Callable[[DestinationKey], bool]
"""Whether no connection that began before the change needs an entry any more."""

Gone = Callable[[DestinationKey], bool]
"""Whether an entry of another mode than Direct Routing was taken out lately: the kernel keeps it for its connections,
and gives it back to who asks for the same real server (``ip_vs_ctl.c``: ``ip_vs_trash_get_dest``)."""


def succeeded(wanted: Service, found: Service, expired: Expired, gone: Gone = lambda _: False) -> Service:
    """Return a virtual service with its real servers under the keys that the kernel as ``found`` can serve them by.

    Beside them stand, with weight 0, the entries of another mode that are not ``expired``.
    """
    result: dict[DestinationKey, DestinationContent] = {}
    for key, content in wanted.destinations.items():
        heir = DestinationKey(key.address, 0)
        direct = is_direct(content)
        old = found.destinations.get(key)
        changed = direct and (gone(key) if old is None else not is_direct(old))
        renamed = direct and key.port != 0 and (changed or heir in found.destinations)
        result[heir if renamed else key] = content
        left = key if renamed else heir
        if left in found.destinations and left not in result and not expired(left):
            result[left] = replace(found.destinations[left], weight=0)
    methods = {content.method for content in wanted.destinations.values()}
    for key, old in found.destinations.items():
        # Of pods, Tunnel and Direct Routing know the node, NAT the pod itself.
        if methods and key not in result and old.method not in methods and not expired(key):
            result[key] = replace(old, weight=0)
    if result == wanted.destinations:
        return wanted
    ordered = sorted(result, key=lambda key: (address_order(key.address), key.port))
    return Service(wanted.content, {key: result[key] for key in ordered})


def is_direct(content: DestinationContent) -> bool:
    """Return whether an entry is of Direct Routing."""
    return content.method is ForwardingMethod.DIRECT_ROUTING


def without_old_flows(wanted: Service, found: Service, ended: Expired) -> Service:
    """Return a service of UDP without the entries that must be taken out first, to end the flows of the old mode.

    A flow has no end that a node could see, so it would stay in the old mode for as long as it lasts, and after the
    real server's half has gone nothing would arrive. From any mode but NAT to NAT; elsewhere the half stays or the new
    entry is another one. ``ended`` tells of an entry whether it was taken out just now: the kernel takes a moment, and
    gives the flows back to an entry that returns too early (``ip_vs_ctl.c``: ``ip_vs_trash_get_dest``).
    """
    nat = ForwardingMethod.NAT

    def waits(key: DestinationKey) -> bool:
        old = found.destinations.get(key)
        return ended(key) if old is None else old.method is not nat

    kept = {
        key: content
        for key, content in wanted.destinations.items()
        if content.method is not nat or content.weight == 0 or not waits(key)
    }
    return wanted if len(kept) == len(wanted.destinations) else Service(wanted.content, kept)
