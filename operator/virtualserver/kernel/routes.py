"""Where the kernel would send packets: one question for each address (``RTM_GETROUTE``, ``rtnetlink(7)``)."""

from __future__ import annotations

import errno
import os
import socket
import struct
from collections.abc import Iterable, Mapping
from ipaddress import ip_address

from virtualserver.kernel.attributes import MalformedMessageError, attribute, parse
from virtualserver.kernel.channel import ROUTE, Channel
from virtualserver.kernel.links import Link
from virtualserver.kernel.port import KernelError
from virtualserver.model.facts import Route
from virtualserver.model.types import IPAddress

_RTM_GETROUTE = 26
_ROUTE = struct.Struct("=BBBBBBBBI")  # struct rtmsg: family, lengths, tos, table, protocol, scope, type, flags
_RTA_DST, _RTA_OIF, _RTA_GATEWAY, _RTA_PREFSRC, _RTA_METRICS, _RTA_VIA = 1, 4, 5, 7, 8, 18
_RTAX_MTU = 2
_REFUSING = {6: "the route is a blackhole", 7: "the route says unreachable", 8: "the route says prohibited"}
_WORDS = {
    errno.ENETUNREACH: "network is unreachable",
    errno.EHOSTUNREACH: "the route says unreachable",
    errno.EACCES: "the route says prohibited",
    errno.EINVAL: "the route is a blackhole",
}
"""What a lookup ends with (``net/core/fib_rules.c``, ``fib_props`` of ``net/ipv4/fib_semantics.c``)."""


def read(addresses: Iterable[IPAddress], links: Mapping[str, Link], deadline: float = 2.0) -> dict[IPAddress, Route]:
    """Return the route to each address; ``deadline`` in seconds bounds each question. Raises KernelError."""
    names = {link.index: link for link in links.values()}
    channel = Channel(ROUTE, deadline)
    try:
        return {address: _lookup(channel, address, names) for address in addresses}
    except (MalformedMessageError, struct.error) as error:
        raise KernelError(f"cannot understand a route: {error!r}") from error
    finally:
        channel.close()


def _lookup(channel: Channel, address: IPAddress, links: Mapping[int, Link]) -> Route:
    family = socket.AF_INET if address.version == 4 else socket.AF_INET6
    request = _ROUTE.pack(family, address.max_prefixlen, 0, 0, 0, 0, 0, 0, 0) + attribute(_RTA_DST, address.packed)
    try:
        data = channel.transact(_RTM_GETROUTE, request)
    except OSError as error:
        number = error.errno or errno.EIO
        if number == errno.ETIMEDOUT:
            raise KernelError(f"no answer in time about the route to {address}") from error
        return Route(refused=_WORDS.get(number, os.strerror(number).lower()))
    return decode(data, links)


def decode(data: bytes, links: Mapping[int, Link]) -> Route:
    """Return what the kernel answered; ``links`` by index give names and MTUs."""
    kind = _ROUTE.unpack_from(data)[7]
    if kind in _REFUSING:
        return Route(refused=_REFUSING[kind])
    fields = parse(data, _ROUTE.size, len(data))
    link = links.get(struct.unpack("=I", fields.get(_RTA_OIF, bytes(4)))[0])
    metrics = fields.get(_RTA_METRICS, b"")
    own = parse(metrics, 0, len(metrics)).get(_RTAX_MTU)
    mtu = struct.unpack("=I", own)[0] if own else 0
    gateway = fields.get(_RTA_GATEWAY) or fields.get(_RTA_VIA, b"")[2:]  # struct rtvia: family, address
    source = fields.get(_RTA_PREFSRC)
    limit = link.mtu if link else 0
    return Route(
        link.name if link else "",
        ip_address(gateway) if gateway else None,
        ip_address(source) if source else None,
        min(mtu, limit) if mtu and limit else mtu or limit,
    )
