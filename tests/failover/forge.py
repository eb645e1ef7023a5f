"""Sends one payload again and again to a multicast group, as whoever this host is; runs on a host of the lab.

    forge.py LINK GROUP vrrp|PORT HEX COUNT EVERY_MS

`vrrp` sends it as an advertisement (IP protocol 112, hop limit 255, RFC 9568), a number as a datagram to that port.
"""

from __future__ import annotations

import socket
import struct
import sys
import time
from ipaddress import ip_address

VRRP, VRRP_GROUP, VRRP_GROUP6 = 112, "224.0.0.18", "ff02::12"


def checksum(data: bytes) -> int:
    total = sum(struct.unpack(f"!{len(data) // 2}H", data))
    while total >> 16:
        total = (total & 0xFFFF) + (total >> 16)
    return int(~total & 0xFFFF)


def advertisement(source: str, router: int, priority: int, interval: float, address: str) -> bytes:
    """Of VRRP version 3, for one address; the interval in seconds."""
    body = struct.pack("!BBBBHH", 0x31, router, priority, 1, round(interval * 100), 0) + ip_address(address).packed
    group, end = (VRRP_GROUP6, "!I3xB") if ":" in source else (VRRP_GROUP, "!xBH")
    sizes = (len(body), VRRP) if ":" in source else (VRRP, len(body))
    pseudo = ip_address(source).packed + ip_address(group).packed + struct.pack(end, *sizes)
    return body[:6] + struct.pack("!H", checksum(pseudo + body)) + body[8:]


def main(link: str, group: str, where: str, payload: bytes, count: int, every: float) -> None:
    raw = where == "vrrp"
    kind, protocol = (socket.SOCK_RAW, VRRP) if raw else (socket.SOCK_DGRAM, 0)
    with socket.socket(socket.AF_INET, kind, protocol) as sender:
        sender.setsockopt(socket.SOL_SOCKET, socket.SO_BINDTODEVICE, link.encode())
        sender.setsockopt(socket.IPPROTO_IP, socket.IP_MULTICAST_TTL, 255 if raw else 1)
        for _ in range(count):
            sender.sendto(payload, (group, 0 if raw else int(where)))
            time.sleep(every)


if __name__ == "__main__":
    _, to_link, to_group, to_where, said, times, pause = sys.argv
    main(to_link, to_group, to_where, bytes.fromhex(said), int(times), int(pause) / 1000)
