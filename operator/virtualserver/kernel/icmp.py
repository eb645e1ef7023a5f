"""Echo requests and what comes back, as bytes: ICMP (RFC 792), ICMPv6 (RFC 4443), and the tunnels around them. Pure."""

from __future__ import annotations

import struct
from dataclasses import dataclass
from ipaddress import ip_address

from virtualserver.model.types import IPAddress, Tunnel, TunnelType

IPIP, UDP, IPV6, GRE, ICMP, ICMPV6 = 4, 17, 41, 47, 1, 58
_ETHERTYPE = {4: 0x0800, 6: 0x86DD}
_ECHO = {4: (8, 0), 6: (128, 129)}
"""IP version -> (request, reply)."""
_REFUSALS = {4: {3}, 6: {1, 4}}
"""Destination unreachable; IPv6 also parameter problem (unknown next header)."""
_HEADER = {4: 20, 6: 40}


@dataclass(frozen=True, slots=True)
class Reply:
    """An echo reply; ``source`` is who sent it."""

    source: IPAddress
    identifier: int
    sequence: int


@dataclass(frozen=True, slots=True)
class Refusal:
    """An ICMP error: a packet of IP protocol ``protocol`` to ``address`` was not taken."""

    address: IPAddress
    protocol: int


def checksum(data: bytes) -> int:
    """Return the Internet checksum (RFC 1071)."""
    padded = data + bytes(len(data) % 2)
    total: int = sum(struct.unpack(f">{len(padded) // 2}H", padded))
    while total > 0xFFFF:
        total = (total & 0xFFFF) + (total >> 16)
    return ~total & 0xFFFF


def request(source: IPAddress, target: IPAddress, identifier: int, sequence: int, size: int) -> bytes:
    """Return an ICMP message that makes a packet of ``size`` bytes with its IP header."""
    kind = _ECHO[target.version][0]
    body = struct.pack(">HH", identifier, sequence) + bytes(max(0, size - _HEADER[target.version] - 8))
    pseudo = b""
    if target.version == 6:
        pseudo = source.packed + target.packed + struct.pack(">II", 4 + len(body), ICMPV6)
    return struct.pack(">BBH", kind, 0, checksum(pseudo + struct.pack(">BBH", kind, 0, 0) + body)) + body


def packet(source: IPAddress, target: IPAddress, message: bytes) -> bytes:
    """Return an IP packet around an ICMP message."""
    if target.version == 6:
        return struct.pack(">IHBB", 6 << 28, len(message), ICMPV6, 64) + source.packed + target.packed + message
    head = struct.pack(">BBHHHBB", 0x45, 0, 20 + len(message), 0, 0, 64, ICMP)
    ends = source.packed + target.packed
    return head + struct.pack(">H", checksum(head + bytes(2) + ends)) + ends + message


def wrap(tunnel: Tunnel, inner: bytes) -> tuple[int, bytes]:
    """Return (IP protocol, payload) of a packet in a tunnel, as IPVS sends it; for GUE without its UDP header."""
    version = inner[0] >> 4
    protocol = IPIP if version == 4 else IPV6
    match tunnel.type:
        case TunnelType.GUE:
            return UDP, struct.pack(">BBH", 0, protocol, 0) + inner
        case TunnelType.GRE if tunnel.checksum:
            head = struct.pack(">HH", 0x8000, _ETHERTYPE[version])
            return GRE, head + struct.pack(">HH", checksum(head + bytes(4) + inner), 0) + inner
        case TunnelType.GRE:
            return GRE, struct.pack(">HH", 0, _ETHERTYPE[version]) + inner
        case _:
            return protocol, inner


def parse(data: bytes) -> Reply | Refusal | None:
    """Return what an IP packet says; None for one that is neither, or is cut off."""
    try:
        return _parse(data)
    except (struct.error, IndexError, ValueError):
        return None


def _parse(data: bytes) -> Reply | Refusal | None:
    version = data[0] >> 4
    if version not in (4, 6) or data[9 if version == 4 else 6] != (ICMP if version == 4 else ICMPV6):
        return None
    start = (data[0] & 15) * 4 if version == 4 else _HEADER[6]
    kind = data[start]
    if kind == _ECHO[version][1]:
        ends = data[12:16] if version == 4 else data[8:24]
        return Reply(ip_address(ends), *struct.unpack_from(">HH", data, start + 4))
    if kind not in _REFUSALS[version]:
        return None
    quoted = data[start + 8 :]
    if version == 4:
        return Refusal(ip_address(quoted[16:20]), quoted[9])
    return Refusal(ip_address(quoted[24:40]), quoted[6])
