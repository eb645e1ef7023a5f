"""Which address of this machine packets to a peer leave from, by the kernel's own route lookup (``ip route get``)."""

from __future__ import annotations

import socket
from dataclasses import dataclass
from ipaddress import ip_address

from virtualserver.kernel.port import KernelError
from virtualserver.model.types import IPAddress

_ANY_PORT = 9  # discard; connecting a datagram socket sends nothing
_IP_MTU, _IPV6_MTU = 14, 24  # linux/in.h, linux/in6.h; the socket module has no names for them


@dataclass(frozen=True, slots=True)
class Way:
    """The way to a peer: from which address of this machine, and its MTU in bytes."""

    local: IPAddress
    mtu: int


def way(peer: IPAddress) -> Way:
    """Look up the route to a peer; raises KernelError when there is none."""
    six = peer.version == 6
    family = socket.AF_INET6 if six else socket.AF_INET
    try:
        with socket.socket(family, socket.SOCK_DGRAM) as probe:
            probe.connect((str(peer), _ANY_PORT))
            level, option = (socket.IPPROTO_IPV6, _IPV6_MTU) if six else (socket.IPPROTO_IP, _IP_MTU)
            return Way(ip_address(probe.getsockname()[0]), probe.getsockopt(level, option))
    except OSError as error:
        raise KernelError(f"this machine has no route to {peer}: {error.strerror}") from error
