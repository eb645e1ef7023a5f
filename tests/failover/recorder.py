"""Who holds the virtual addresses, as seen from this host's segment; runs on host `client`, until SIGTERM.

    recorder.py FILE LINK EVERY ADDRESS [ADDRESS ...]

Asks for each address every so many ms (ARP, RFC 826; neighbour solicitation, RFC 4861) and writes down every frame that
claims one: answers, announcements (gratuitous ARP, unsolicited neighbour advertisements), and IPv4 packets that come
from it, of each sender at most one in 10 ms. With 0 it asks nothing: answers, too, correct what this host's kernel
knows of its neighbours. FILE gets a list of [this guest's time, address, hardware address, kind].
"""

from __future__ import annotations

import json
import select
import signal
import socket
import struct
import sys
import time
from ipaddress import IPv6Address
from pathlib import Path

from failover.clients import tell

IDLE = 0.05
"""Seconds between two looks at whether to stop, where nothing is asked."""
APART = 0.01
"""Seconds between two packets of one sender that are written down."""
ETH_P_ALL, ARP, IPV4, IPV6 = 3, 0x0806, 0x0800, 0x86DD
ICMPV6, SOLICITATION, ADVERTISEMENT = 58, 135, 136
HEAD = 128
"""Bytes of a frame that are looked at."""


def checksum(data: bytes) -> int:
    total = sum(struct.unpack(f"!{len(data) // 2}H", data))
    while total >> 16:
        total = (total & 0xFFFF) + (total >> 16)
    return int(~total & 0xFFFF)


def arp_question(hardware: bytes, target: str) -> bytes:
    """The sender's address 0.0.0.0 makes it a probe (RFC 5227): nobody's cache changes by it."""
    body = struct.pack("!HHBBH", 1, IPV4, 6, 4, 1) + hardware + bytes(4) + bytes(6) + socket.inet_aton(target)
    return b"\xff" * 6 + hardware + struct.pack("!H", ARP) + body


def solicitation(hardware: bytes, source: str, target: str) -> bytes:
    wanted, mine = IPv6Address(target).packed, IPv6Address(source).packed
    group = IPv6Address("ff02::1:ff00:0").packed[:13] + wanted[13:]
    body = struct.pack("!BBHI", SOLICITATION, 0, 0, 0) + wanted + b"\x01\x01" + hardware
    pseudo = mine + group + struct.pack("!IHBB", len(body), 0, 0, ICMPV6)
    body = body[:2] + struct.pack("!H", checksum(pseudo + body)) + body[4:]
    header = struct.pack("!IHBB", 6 << 28, len(body), ICMPV6, 255) + mine + group
    return b"\x33\x33" + group[12:] + hardware + struct.pack("!H", IPV6) + header + body


def claim(frame: bytes) -> tuple[str, str] | None:
    """The address that its sender claims to have, and how: answer, announcement or packet."""
    kind = struct.unpack_from("!H", frame, 12)[0]
    if kind == ARP and len(frame) >= 42:
        asks, sender, target = frame[20:22] == b"\x00\x01", frame[28:32], frame[38:42]
        kind_of_it = "announcement" if sender == target else "packet" if asks else "answer"
        return socket.inet_ntoa(sender), kind_of_it
    if kind == IPV6 and len(frame) >= 78 and frame[20] == ICMPV6 and frame[54] == ADVERTISEMENT:
        return str(IPv6Address(frame[62:78])), "answer" if frame[58] & 0x40 else "announcement"
    if kind == IPV4 and len(frame) >= 34:
        return socket.inet_ntoa(frame[26:30]), "packet"
    return None


def own_address() -> str:
    with socket.socket(socket.AF_INET6, socket.SOCK_DGRAM) as probe:
        probe.connect(("fd00:18::ffff", 9))
        return str(probe.getsockname()[0])


class Recorder:
    """One packet socket; `seen` grows."""

    def __init__(self, link: str, every: float, addresses: list[str]) -> None:
        """`every` is in seconds."""
        self.every = every
        self.socket = socket.socket(socket.AF_PACKET, socket.SOCK_RAW, socket.htons(ETH_P_ALL))
        self.socket.bind((link, 0))
        self.socket.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4 << 20)
        self.hardware: bytes = self.socket.getsockname()[4]
        self.addresses = set(addresses)
        six = own_address() if any(":" in address for address in addresses) else ""
        self.questions = [
            solicitation(self.hardware, six, one) if ":" in one else arp_question(self.hardware, one)
            for one in addresses
            if every
        ]
        self.last: dict[tuple[str, bytes], float] = {}
        self.seen: list[tuple[float, str, str, str]] = []

    def run(self, stopped: list[bool]) -> None:
        due = 0.0
        while not stopped:
            if (now := time.monotonic()) >= due:
                due = now + (self.every or IDLE)
                for question in self.questions:
                    self.socket.send(question)
            if select.select([self.socket], [], [], max(0.0, due - time.monotonic()))[0]:
                self.take(self.socket.recv(HEAD))

    def take(self, frame: bytes) -> None:
        sender = frame[6:12]
        found = claim(frame) if len(frame) >= 14 and sender != self.hardware else None
        if found is None or found[0] not in self.addresses:
            return
        now = time.time()
        if found[1] == "packet":
            if now - self.last.get((found[0], sender), 0) < APART:
                return
            self.last[found[0], sender] = now
        self.seen.append((now, found[0], sender.hex(":"), found[1]))


def main(file: str, link: str, every: str, addresses: list[str]) -> None:
    stopped: list[bool] = []
    signal.signal(signal.SIGTERM, lambda *_: stopped.append(True))
    recorder = Recorder(link, int(every) / 1000, addresses)
    tell(event="ready")
    recorder.run(stopped)
    rows = [(round(at, 4), *rest) for at, *rest in recorder.seen]
    Path(file).write_text(json.dumps(rows))
    tell(event="recorded", sightings=len(rows))


if __name__ == "__main__":
    main(sys.argv[1], sys.argv[2], sys.argv[3], sys.argv[4:])
