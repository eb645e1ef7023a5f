"""Tells a segment where an address lives now: gratuitous ARP and unsolicited neighbour advertisements.

Frames are built whole and sent on a packet socket, so nothing depends on the state of the address (an IPv6 socket
could not be bound to it before it is valid). A loss is not fatal: neighbours find out later, by themselves.
"""

from __future__ import annotations

import logging
import socket
import struct
from ipaddress import IPv4Address, IPv6Address
from pathlib import Path

from virtualserver.kernel.icmp import checksum
from virtualserver.kernel.links import IFF_LOOPBACK, IFF_NOARP, IFF_UP, Link
from virtualserver.model.types import IPAddress

_log = logging.getLogger(__name__)

_ARP, _IPV6 = 0x0806, 0x86DD
_REQUEST, _REPLY = 1, 2
_BROADCAST = b"\xff" * 6
_ALL_NODES = IPv6Address("ff02::1")
_ALL_NODES_HARDWARE = bytes.fromhex("333300000001")
_ICMPV6 = 58
_ADVERTISEMENT = 136
_OVERRIDE, _ROUTER = 0x20000000, 0x80000000
_ROUNDS = 3
"""Each frame goes out this often, at once: some switches drop the first one while they learn the port."""


def gratuitous_arp(hardware: bytes, address: IPv4Address, operation: int) -> bytes:
    """Return an Ethernet frame; as request (1) and as reply (2), for some systems heed only one of them (RFC 5227)."""
    ethernet = _BROADCAST + hardware + struct.pack(">H", _ARP)
    target = bytes(6) if operation == _REQUEST else hardware
    fixed = struct.pack(">HHBBH", 1, 0x0800, 6, 4, operation)
    return ethernet + fixed + hardware + address.packed + target + address.packed


def neighbour_advertisement(hardware: bytes, address: IPv6Address, *, router: bool) -> bytes:
    """Return an Ethernet frame with an unsolicited advertisement that overrides (RFC 4861 section 7.2.6)."""
    flags = _OVERRIDE | (_ROUTER if router else 0)
    body = struct.pack(">I", flags) + address.packed + bytes([2, 1]) + hardware
    length = 4 + len(body)
    pseudo = address.packed + _ALL_NODES.packed + struct.pack(">II", length, _ICMPV6)
    total = checksum(pseudo + struct.pack(">BBH", _ADVERTISEMENT, 0, 0) + body)
    ethernet = _ALL_NODES_HARDWARE + hardware + struct.pack(">H", _IPV6)
    ip = struct.pack(">IHBB", 6 << 28, length, _ICMPV6, 255) + address.packed + _ALL_NODES.packed
    return ethernet + ip + struct.pack(">BBH", _ADVERTISEMENT, 0, total) + body


def frames(hardware: bytes, address: IPAddress, *, router: bool = False) -> list[bytes]:
    """Return the frames of one round for an address of either family."""
    if isinstance(address, IPv6Address):
        return [neighbour_advertisement(hardware, address, router=router)]
    return [gratuitous_arp(hardware, address, operation) for operation in (_REQUEST, _REPLY)]


class Announcer:
    """Sends the frames. ``proc_sys`` tells whether the node forwards IPv6, which an advertisement must not deny."""

    def __init__(self, proc_sys: Path = Path("/proc/sys")) -> None:
        self._conf = proc_sys / "net/ipv6/conf"

    def announce(self, link: Link, address: IPAddress) -> None:
        """Tell the link's segment, three times; links without neighbours are passed over, failures logged."""
        if len(link.hardware) != 6 or link.flags & (IFF_LOOPBACK | IFF_NOARP) or not link.flags & IFF_UP:
            return
        try:
            router = address.version == 6 and self._forwards(link.name)
            with socket.socket(socket.AF_PACKET, socket.SOCK_RAW, 0) as sender:
                sender.settimeout(1.0)
                sender.bind((link.name, 0))
                for frame in frames(link.hardware, address, router=router) * _ROUNDS:
                    sender.send(frame)
        except OSError as error:
            _log.warning("cannot announce %s on %s: %s", address, link.name, error)

    def _forwards(self, link: str) -> bool:
        try:
            return (self._conf / link / "forwarding").read_text().strip() == "1"
        except FileNotFoundError:
            return False
