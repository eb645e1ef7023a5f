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
"""Whether an entry was kept long enough for connections that began before the change."""


def succeeded(wanted: Service, found: Service, expired: Expired) -> Service:
    """Return a virtual service with its real servers under the keys that the kernel as ``found`` can serve them by."""
    result: dict[DestinationKey, DestinationContent] = {}
    for key, content in wanted.destinations.items():
        heir = DestinationKey(key.address, 0)
        direct = content.method is ForwardingMethod.DIRECT_ROUTING
        old = found.destinations.get(key)
        changed = direct and old is not None and old.method is not ForwardingMethod.DIRECT_ROUTING
        renamed = direct and key.port != 0 and (changed or heir in found.destinations)
        result[heir if renamed else key] = content
        left = key if renamed else heir
        if left in found.destinations and left not in result and not expired(left):
            result[left] = replace(found.destinations[left], weight=0)
    if result == wanted.destinations:
        return wanted
    ordered = sorted(result, key=lambda key: (address_order(key.address), key.port))
    return Service(wanted.content, {key: result[key] for key in ordered})
