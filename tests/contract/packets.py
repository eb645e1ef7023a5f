"""Packets in packets, built by hand, as a director or anybody else could send them; and who answers for an address."""

from __future__ import annotations

import socket
import struct
import time
from ipaddress import IPv4Address

from virtualserver.model.types import IPAddress, Tunnel, TunnelType

_PROTOCOL = {4: 4, 6: 41}
_ETHERTYPE = {4: 0x0800, 6: 0x86DD}
_FAMILY = {4: socket.AF_INET, 6: socket.AF_INET6}
_UDP, _GRE = 17, 47


def datagram(source: IPAddress, target: IPAddress, port: int, payload: bytes) -> bytes:
    """Return a whole IP packet with a UDP datagram."""
    udp = udp_datagram(source, target, port, payload)
    if source.version == 6:
        return struct.pack(">IHBB", 6 << 28, len(udp), _UDP, 64) + source.packed + target.packed + udp
    header = struct.pack(">BBHHHBBH", 0x45, 0, 20 + len(udp), 1, 0, 64, _UDP, 0) + source.packed + target.packed
    return header[:10] + struct.pack(">H", _checksum(header)) + header[12:] + udp


def udp_datagram(source: IPAddress, target: IPAddress, port: int, payload: bytes) -> bytes:
    """Return a UDP datagram from port 4000, without an IP header."""
    length = 8 + len(payload)
    pseudo = source.packed + target.packed + struct.pack(">II", length, _UDP)
    udp = struct.pack(">HHHH", 4000, port, length, 0) + payload
    return udp[:6] + struct.pack(">H", _checksum(pseudo + udp)) + udp[8:]


def tcp_segment(source: IPAddress, target: IPAddress, ports: tuple[int, int], flags: int) -> bytes:
    """Return a TCP segment without content and without an IP header."""
    tcp = struct.pack(">HHIIBBHHH", *ports, 1, 1, 5 << 4, flags, 1024, 0, 0)
    pseudo = source.packed + target.packed + struct.pack(">II", len(tcp), socket.IPPROTO_TCP)
    return tcp[:16] + struct.pack(">H", _checksum(pseudo + tcp)) + tcp[18:]


def wrap_and_send(tunnel: Tunnel, inner: bytes, version: int, target: IPAddress) -> None:
    """Send a packet of IP ``version`` inside another one, whose source is this machine's own address."""
    match tunnel.type:
        case TunnelType.IPIP:
            _send_raw(target, _PROTOCOL[version], inner)
        case TunnelType.GRE:
            _send_raw(target, _GRE, struct.pack(">HH", 0, _ETHERTYPE[version]) + inner)
        case TunnelType.GUE:
            send_gue(tunnel.port, _PROTOCOL[version], inner, target)


def send_gue(port: int, protocol: int, content: bytes, target: IPAddress) -> None:
    """Send something of any protocol in GUE version 0 (draft-ietf-intarea-gue)."""
    with socket.socket(_FAMILY[target.version], socket.SOCK_DGRAM) as sender:
        sender.sendto(bytes([0, protocol, 0, 0]) + content, (str(target), port))


def who_has(address: IPv4Address, seconds: float = 1.0) -> set[str]:
    """Ask the segment of eth0 by ARP; return the hardware addresses of all who answer in that time."""
    with socket.socket(socket.AF_PACKET, socket.SOCK_RAW, socket.htons(0x0806)) as sender:
        sender.bind(("eth0", 0x0806))
        own = sender.getsockname()[4]
        asked = struct.pack(">HHBBH", 1, 0x0800, 6, 4, 1) + own + bytes(4) + bytes(6) + address.packed
        sender.send(b"\xff" * 6 + own + struct.pack(">H", 0x0806) + asked)
        answers: set[str] = set()
        limit = time.monotonic() + seconds
        while (left := limit - time.monotonic()) > 0:
            sender.settimeout(left)
            try:
                frame = sender.recv(2048)
            except TimeoutError:
                break
            if frame[20:22] == b"\x00\x02" and frame[28:32] == address.packed:
                answers.add(frame[22:28].hex(":"))
        return answers


def _send_raw(target: IPAddress, protocol: int, content: bytes) -> None:
    with socket.socket(_FAMILY[target.version], socket.SOCK_RAW, protocol) as sender:
        sender.sendto(content, (str(target), 0))


def _checksum(data: bytes) -> int:
    data += bytes(len(data) % 2)
    total: int = sum(struct.unpack(f">{len(data) // 2}H", data))
    while total > 0xFFFF:
        total = (total & 0xFFFF) + (total >> 16)
    return ~total & 0xFFFF
