"""VRRP advertisements of others, as this node's network layer lets them in: version 3 (RFC 9568), IPv4 and IPv6.

Read behind the packet filter, so only fellow directors are heard, and without joining a multicast group: keepalived
has joined it, and a raw socket gets what the node gets.
"""

from __future__ import annotations

import socket
import struct
import time
from dataclasses import dataclass
from ipaddress import ip_address

from virtualserver.model.failover import VRRP_PROTOCOL
from virtualserver.model.types import IPAddress

_VERSION_3_ADVERTISEMENT = 0x31
_SEGMENT_ONLY = 255
"""Time to live of a packet that no router has passed on; all others are to be dropped (RFC 9568, 5.1.1.3)."""
_SO_TIMESTAMPNS = 35
_TIMESPEC = struct.Struct("@ll")
_SIZE = 2048


@dataclass(frozen=True, slots=True)
class Advertisement:
    """What a director says of itself; ``interval`` is in seconds, ``priority`` 0 means that it yields."""

    router_id: int
    priority: int
    interval: float


def parse(message: bytes) -> Advertisement | None:
    """Return an advertisement from a VRRP message (without its IP header), None when it is something else."""
    if len(message) < 8 or message[0] != _VERSION_3_ADVERTISEMENT:
        return None
    _, router_id, priority, _, interval = struct.unpack_from(">BBBBH", message)
    return Advertisement(router_id, priority, (interval & 0xFFF) / 100)


class Ear:
    """A raw socket for one IP version; ``hear`` never waits."""

    def __init__(self, version: int) -> None:
        """Raises OSError (EPERM without CAP_NET_RAW, EAFNOSUPPORT without IPv6)."""
        self._version = version
        family = socket.AF_INET if version == 4 else socket.AF_INET6
        self._socket = socket.socket(family, socket.SOCK_RAW, VRRP_PROTOCOL)
        try:
            self._socket.setblocking(False)
            self._socket.setsockopt(socket.SOL_SOCKET, _SO_TIMESTAMPNS, 1)
            if version == 6:
                self._socket.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_RECVHOPLIMIT, 1)
        except BaseException:
            self._socket.close()
            raise

    def fileno(self) -> int:
        """Return the descriptor to wait for."""
        return self._socket.fileno()

    def close(self) -> None:
        """Close the socket."""
        self._socket.close()

    def hear(self) -> tuple[float, IPAddress, Advertisement] | None:
        """Return when the next advertisement arrived (monotonic clock), from whom, and what it says; None: no more.

        Raises OSError. A reader that comes late gets the time of arrival all the same.
        """
        while True:
            try:
                data, said, _, peer = self._socket.recvmsg(_SIZE, 256)
            except BlockingIOError:
                return None
            hops = _hops(said)
            if self._version == 4:
                hops, data = (data[8], data[(data[0] & 0xF) * 4 :]) if len(data) >= 20 else (0, b"")
            found = parse(data)
            if found is not None and hops == _SEGMENT_ONLY:
                return _arrival(said), ip_address(peer[0].partition("%")[0]), found


def _hops(said: list[tuple[int, int, bytes]]) -> int:
    values = (data for level, kind, data in said if (level, kind) == (socket.IPPROTO_IPV6, socket.IPV6_HOPLIMIT))
    return next((int(struct.unpack_from("=i", data)[0]) for data in values), 0)


def _arrival(said: list[tuple[int, int, bytes]]) -> float:
    """Return the moment of arrival on the monotonic clock; the kernel notes it on the wall clock, read just now."""
    now = time.monotonic()
    for level, kind, data in said:
        if (level, kind) == (socket.SOL_SOCKET, _SO_TIMESTAMPNS):
            seconds, nanoseconds = _TIMESPEC.unpack_from(data)
            age: float = time.time() - seconds - nanoseconds / 1e9
            return now - max(age, 0.0)
    return now
