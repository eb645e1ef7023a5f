"""VRRP advertisements of others, as this node's network layer lets them in: version 3 (RFC 9568), IPv4 and IPv6.

Read behind the packet filter, so only fellow directors are heard, and without joining a multicast group: keepalived
has joined it, and a raw socket gets what the node gets. What keepalived would not take is not heard here either.
"""

from __future__ import annotations

import socket
import struct
import time
from contextlib import suppress
from dataclasses import dataclass
from ipaddress import ip_address
from typing import NamedTuple

from virtualserver.kernel.icmp import checksum
from virtualserver.model.failover import VRRP_PROTOCOL
from virtualserver.model.types import IPAddress

_VERSION_3_ADVERTISEMENT = 0x31
_SEGMENT_ONLY = 255
"""Time to live of a packet that no router has passed on; all others are to be dropped (RFC 9568, 5.1.1.3)."""
_SO_TIMESTAMPNS = 35
_TIMESPEC = struct.Struct("@ll")
_SIZE = 8 + 255 * 16 + 60
"""Bytes of the longest one, with the header of an IPv4 packet."""
_CHECKSUM_AT = 6
_IPV6_CHECKSUM = 7
_IP_PKTINFO = 8


class Arrival(NamedTuple):
    """An advertisement, the moment at which it came (monotonic clock), and by which link; "" when that is gone."""

    time: float
    source: IPAddress
    link: str
    said: Advertisement


@dataclass(frozen=True, slots=True)
class Advertisement:
    """What a director says of itself; ``interval`` is in seconds, ``priority`` 0 means that it yields."""

    router_id: int
    priority: int
    interval: float


def parse(message: bytes, version: int = 4) -> Advertisement | None:
    """Return an advertisement from a VRRP message (without its IP header), None when it is something else.

    It must be there with all the addresses that it announces (RFC 9568, 7.1); those are not looked at.
    """
    if len(message) < 8 or message[0] != _VERSION_3_ADVERTISEMENT:
        return None
    _, router_id, priority, count, interval = struct.unpack_from(">BBBBH", message)
    if len(message) < 8 + count * (4 if version == 4 else 16):
        return None
    return Advertisement(router_id, priority, (interval & 0xFFF) / 100)


def unwrap(packet: bytes) -> tuple[int, bytes]:
    """Return the time to live and the VRRP message of an IPv4 packet; nothing of one whose checksum is wrong.

    It covers the addresses of the packet, too (RFC 9568, 5.2.8).
    """
    message = packet[(packet[0] & 0xF) * 4 :] if len(packet) >= 20 else b""
    pseudo = packet[12:20] + struct.pack(">BBH", 0, VRRP_PROTOCOL, len(message))
    return (packet[8], message) if message and checksum(pseudo + message) == 0 else (0, b"")


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
            if version == 4:
                self._socket.setsockopt(socket.IPPROTO_IP, _IP_PKTINFO, 1)
            else:
                self._socket.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_RECVPKTINFO, 1)
                self._socket.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_RECVHOPLIMIT, 1)
                # from now on the kernel drops those whose checksum is wrong (RFC 3542, 3.1)
                self._socket.setsockopt(socket.IPPROTO_IPV6, _IPV6_CHECKSUM, _CHECKSUM_AT)
        except BaseException:
            self._socket.close()
            raise

    def fileno(self) -> int:
        """Return the descriptor to wait for."""
        return self._socket.fileno()

    def close(self) -> None:
        """Close the socket."""
        self._socket.close()

    def hear(self) -> Arrival | None:
        """Return the next advertisement, None when there is no more.

        Raises OSError. A reader that comes late gets the time of arrival all the same.
        """
        while True:
            try:
                data, said, _, peer = self._socket.recvmsg(_SIZE, 256)
            except BlockingIOError:
                return None
            hops, message = unwrap(data) if self._version == 4 else (_hops(said), data)
            found = parse(message, self._version)
            if found is not None and hops == _SEGMENT_ONLY:
                return Arrival(_moment(said), ip_address(peer[0].partition("%")[0]), _link(said), found)


def _hops(said: list[tuple[int, int, bytes]]) -> int:
    values = (data for level, kind, data in said if (level, kind) == (socket.IPPROTO_IPV6, socket.IPV6_HOPLIMIT))
    return next((int(struct.unpack_from("=i", data)[0]) for data in values), 0)


def _link(said: list[tuple[int, int, bytes]]) -> str:
    """Return the name of the link by which a packet came (``ip(7)``: ``in_pktinfo``; RFC 3542, 6.2)."""
    for level, kind, data in said:
        at = {(socket.IPPROTO_IP, _IP_PKTINFO): 0, (socket.IPPROTO_IPV6, socket.IPV6_PKTINFO): 16}.get((level, kind))
        if at is not None:
            with suppress(OSError):
                return socket.if_indextoname(struct.unpack_from("=I", data, at)[0])
    return ""


def _moment(said: list[tuple[int, int, bytes]]) -> float:
    """Return the moment of arrival on the monotonic clock; the kernel notes it on the wall clock, read just now."""
    now = time.monotonic()
    for level, kind, data in said:
        if (level, kind) == (socket.SOL_SOCKET, _SO_TIMESTAMPNS):
            seconds, nanoseconds = _TIMESPEC.unpack_from(data)
            age: float = time.time() - seconds - nanoseconds / 1e9
            return now - max(age, 0.0)
    return now
