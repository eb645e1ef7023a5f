"""A real server whose forwarding mode changes while connections run: the old entry serves them, a new one the rest.

From and to Direct Routing they differ by themselves: its entries have port 0 (``forwarding.from_director``).
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


def succeeded(wanted: Service, found: Service, expired: Expired) -> Service:
    """Return a virtual service with its real servers, and with the entries of another mode that are not ``expired``.

    Those have weight 0: no new connection gets there. Nor to one of Direct Routing with a port, as agents made before
    they had port 0.
    """
    methods = {content.method for content in wanted.destinations.values()}

    def succeeds(key: DestinationKey, old: DestinationContent) -> bool:
        ported = old.method is ForwardingMethod.DIRECT_ROUTING and DestinationKey(key.address, 0) in wanted.destinations
        return bool(methods) and (old.method not in methods or ported)

    left = {
        key: replace(old, weight=0)
        for key, old in found.destinations.items()
        if key not in wanted.destinations and succeeds(key, old) and not expired(key)
    }
    if not left:
        return wanted
    result = {**wanted.destinations, **left}
    ordered = sorted(result, key=lambda key: (address_order(key.address), key.port))
    return Service(wanted.content, {key: result[key] for key in ordered})


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
