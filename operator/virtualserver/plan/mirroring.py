"""What of another director's connections this one takes over, and how well connections are mirrored; pure."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from ipaddress import IPv4Address

from virtualserver.model.connections import Connection
from virtualserver.model.types import (
    DestinationContent,
    DestinationKey,
    ForwardingMethod,
    Protocol,
    Service,
    ServiceContent,
    ServiceKey,
)

TICK = ServiceKey(Protocol.TCP, IPv4Address("127.118.115.0"), 9)
"""A virtual service of our own, for nobody: connections to it push those of clients out to the other directors.

Beside the tokens (``model.failover.token``), of a router id that does not exist; port 9 is "discard" (RFC 863).
"""
TICK_SERVICE = Service(
    ServiceContent("rr", persistence_prefix=32),
    {DestinationKey(IPv4Address("127.0.0.1"), TICK.port): DestinationContent(1, ForwardingMethod.DIRECT_ROUTING)},
)
MESSAGE = 1
"""Bytes that a sender collects before it sends: with fewer than an entry has, each entry goes as the next one comes."""


def takeable(connections: Iterable[Connection], services: Mapping[ServiceKey, Service]) -> Iterator[Connection]:
    """Yield those of another director's connections whose virtual service and real server are programmed here, too.

    The kernel would take any others as well, and send packets to hosts that are in no pool, and by NAT. Templates get
    the whole persistence timeout: the kernel knows it only of those that it makes itself.
    """
    known = {
        (key.protocol, key.address, key.port): (
            {(one.address, one.port) for one in service.destinations},
            service.content.persistence_timeout,
        )
        for key, service in services.items()
        if key != TICK
    }
    for one in connections:
        found = known.get((one.protocol, one.virtual, one.virtual_port)) or known.get((one.protocol, one.virtual, 0))
        if found is None:
            continue
        servers, timeout = found
        if (one.server, one.server_port) not in servers and (one.server, 0) not in servers:
            continue
        if not one.template:
            yield one
        elif timeout:
            yield one._replace(expires=timeout)
