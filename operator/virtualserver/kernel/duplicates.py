"""Asks a segment who answers for addresses of ours: ARP probes (RFC 5227) and neighbour solicitations (RFC 4862).

Neither carries an address of the sender, so no neighbour's cache is changed by them. The node does not answer itself:
what it sends does not come back to it.
"""

from __future__ import annotations

import select
import socket
import struct
import time
from collections.abc import Iterable, Mapping
from ipaddress import IPv4Address, IPv6Address, ip_address

from virtualserver.kernel import sniffing
from virtualserver.kernel.icmp import checksum
from virtualserver.kernel.links import IFF_LOOPBACK, IFF_NOARP, IFF_UP, Link
from virtualserver.model.types import IPAddress, LinkAddress

_ADVERTISEMENT, _SOLICITATION, _ICMPV6 = 136, 135, 58
ROUNDS, WINDOW = 2, 0.25
"""How often each address is asked for, and the seconds in which answers are waited for."""


def arp_probe(hardware: bytes, address: IPv4Address) -> bytes:
    """Return an ARP request for an address whose sender is 0.0.0.0, without link header."""
    return struct.pack(">HHBBH", 1, 0x0800, 6, 4, 1) + hardware + bytes(4) + bytes(6) + address.packed


def solicitation(address: IPv6Address) -> bytes:
    """Return an IPv6 packet that asks for an address; its sender is the unspecified one."""
    target = IPv6Address(_solicited_node(address))
    body = bytes(4) + address.packed
    pseudo = bytes(16) + target.packed + struct.pack(">II", 4 + len(body), _ICMPV6)
    message = struct.pack(">BBH", _SOLICITATION, 0, checksum(pseudo + bytes([_SOLICITATION, 0, 0, 0]) + body)) + body
    return struct.pack(">IHBB", 6 << 28, len(message), _ICMPV6, 255) + bytes(16) + target.packed + message


def find(held: Iterable[LinkAddress], links: Mapping[str, Link]) -> dict[IPAddress, str]:
    """Return the hardware addresses that answer for these addresses, as text. Raises OSError."""
    by_link: dict[str, set[IPAddress]] = {}
    for one in held:
        link = links.get(one.link)
        if link and len(link.hardware) == 6 and link.flags & IFF_UP and not link.flags & (IFF_LOOPBACK | IFF_NOARP):
            by_link.setdefault(one.link, set()).add(one.address)
    found: dict[IPAddress, set[bytes]] = {}
    for name in sorted(by_link):
        _ask(links[name], by_link[name], found)
    return {address: " and ".join(sorted(one.hex(":") for one in others)) for address, others in found.items()}


def _ask(link: Link, addresses: set[IPAddress], found: dict[IPAddress, set[bytes]]) -> None:
    arp = sniffing.sniffer(sniffing.ARP, (), link.name)
    with arp, sniffing.sniffer(sniffing.IPV6, (_ADVERTISEMENT,), link.name) as neighbours:
        for _ in range(ROUNDS):
            for address in addresses:
                _send(link, address, arp if address.version == 4 else neighbours)
            limit = time.monotonic() + WINDOW
            while (left := limit - time.monotonic()) > 0:
                for ready in select.select([arp, neighbours], [], [], left)[0]:
                    answer = _answer(ready.recvfrom(2048), link.hardware)
                    if answer is not None and answer[0] in addresses:
                        found.setdefault(answer[0], set()).add(answer[1])


def _send(link: Link, address: IPAddress, through: socket.socket) -> None:
    if isinstance(address, IPv4Address):
        data, target, protocol = arp_probe(link.hardware, address), b"\xff" * 6, sniffing.ARP
    else:
        data, protocol = solicitation(address), sniffing.IPV6
        target = bytes.fromhex("3333") + _solicited_node(address)[-4:]
    through.sendto(data, (link.name, protocol, 0, 0, target))


def _answer(received: tuple[bytes, tuple[str, int, int, int, bytes]], own: bytes) -> tuple[IPAddress, bytes] | None:
    data, (_, protocol, kind, _, sender) = received
    if kind == socket.PACKET_OUTGOING or sender == own:
        return None
    if protocol == sniffing.ARP:
        if len(data) < 28 or data[6:8] != b"\0\x02":
            return None
        return IPv4Address(data[14:18]), data[8:14]
    return (ip_address(data[48:64]), sender) if len(data) >= 64 else None


def _solicited_node(address: IPv6Address) -> bytes:
    return IPv6Address("ff02::1:ff00:0").packed[:13] + address.packed[13:]
