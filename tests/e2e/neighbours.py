"""Who answers for an address on this host's eth0? Asks by ARP (RFC 826) or neighbour solicitation (RFC 4861).

    neighbours.py ADDRESS SECONDS

Prints "ready", and at the end one line of JSON: the hardware addresses that claimed it, answers or announcements, with
counts. Ends early on SIGTERM.
"""

from __future__ import annotations

import json
import select
import signal
import socket
import struct
import sys
import time
from collections import Counter
from ipaddress import IPv6Address

LINK = "eth0"
EVERY = 0.05
"""Seconds between two questions."""
ETH_P_ALL, ARP, IPV6 = 3, 0x0806, 0x86DD
ICMPV6, SOLICITATION, ADVERTISEMENT = 58, 135, 136


def checksum(data: bytes) -> int:
    total = sum(struct.unpack(f"!{len(data) // 2}H", data))
    while total >> 16:
        total = (total & 0xFFFF) + (total >> 16)
    return int(~total & 0xFFFF)


def arp_question(hardware: bytes, target: str) -> bytes:
    # The sender's address 0.0.0.0 makes it a probe (RFC 5227): nobody's cache changes by it.
    body = struct.pack("!HHBBH", 1, 0x0800, 6, 4, 1) + hardware + bytes(4) + bytes(6) + socket.inet_aton(target)
    return b"\xff" * 6 + hardware + struct.pack("!H", ARP) + body


def solicitation(hardware: bytes, source: str, target: str) -> bytes:
    wanted, mine = IPv6Address(target).packed, IPv6Address(source).packed
    group = IPv6Address("ff02::1:ff00:0").packed[:13] + wanted[13:]
    body = struct.pack("!BBHI", SOLICITATION, 0, 0, 0) + wanted + b"\x01\x01" + hardware
    pseudo = mine + group + struct.pack("!IHBB", len(body), 0, 0, ICMPV6)
    body = body[:2] + struct.pack("!H", checksum(pseudo + body)) + body[4:]
    header = struct.pack("!IHBB", 6 << 28, len(body), ICMPV6, 255) + mine + group
    return b"\x33\x33" + group[12:] + hardware + struct.pack("!H", IPV6) + header + body


def claimed(frame: bytes, target: str) -> str | None:
    """The hardware address that says in this frame that it has the target."""
    kind = struct.unpack_from("!H", frame, 12)[0]
    sender = frame[6:12].hex(":")
    six = ":" in target
    if kind == ARP and not six and len(frame) >= 42:
        return sender if frame[28:32] == socket.inet_aton(target) else None
    if kind == IPV6 and six and len(frame) >= 78 and frame[20] == ICMPV6 and frame[54] == ADVERTISEMENT:
        return sender if frame[62:78] == IPv6Address(target).packed else None
    return None


def own_address() -> str:
    with socket.socket(socket.AF_INET6, socket.SOCK_DGRAM) as probe:
        probe.connect(("fd00:18::ffff", 9))
        return str(probe.getsockname()[0])


def main(target: str, seconds: float) -> None:
    stopped = []
    signal.signal(signal.SIGTERM, lambda *_: stopped.append(True))
    seen: Counter[str] = Counter()
    with socket.socket(socket.AF_PACKET, socket.SOCK_RAW, socket.htons(ETH_P_ALL)) as link:
        link.bind((LINK, 0))
        hardware: bytes = link.getsockname()[4]
        six = ":" in target
        question = solicitation(hardware, own_address(), target) if six else arp_question(hardware, target)
        print("ready", flush=True)
        ends, next_question = time.monotonic() + seconds, 0.0
        while not stopped and (now := time.monotonic()) < ends:
            if now >= next_question:
                link.send(question)
                next_question = now + EVERY
            if select.select([link], [], [], max(0.0, next_question - time.monotonic()))[0]:
                frame = link.recv(2048)
                who = claimed(frame, target) if len(frame) >= 14 else None
                if who and who != hardware.hex(":"):
                    seen[who] += 1
    print(json.dumps(seen), flush=True)


if __name__ == "__main__":
    main(sys.argv[1], float(sys.argv[2]))
