"""A client on a host of the lab: how much fits through a virtual server to an echo service, over TCP and UDP?

    sizes.py ADDRESS PORT [tcp | ATTEMPTS]

Prints one line of JSON: ``tcp`` seconds for 256 KiB there and back; ``udp_df`` the largest datagram's IP packet that
may not be fragmented, as learned from the ICMP messages that came; ``udp`` the sizes that pass when it may be.
With ``tcp`` it prints the seconds alone. A datagram may be sent so many times (once).
"""

from __future__ import annotations

import errno
import json
import socket
import sys
import time

PATIENCE = 5.0
"""Seconds without progress that count as a stall."""
MTU_DISCOVER, MTU = {4: 10, 6: 23}, {4: 14, 6: 24}
DO, DONT = 2, 0
HEADERS = {4: 28, 6: 48}
"""Bytes of IP and UDP."""


def opened(address: str, port: int, kind: int, discover: int | None = None) -> socket.socket:
    version = 6 if ":" in address else 4
    made = socket.socket(socket.AF_INET6 if version == 6 else socket.AF_INET, kind)
    made.settimeout(PATIENCE)
    if discover is not None:
        level = socket.IPPROTO_IPV6 if version == 6 else socket.IPPROTO_IP
        made.setsockopt(level, MTU_DISCOVER[version], discover)
    made.connect((address, port))
    return made


def tcp(address: str, port: int, size: int = 256 * 1024, piece: int = 16 * 1024) -> float:
    """Return the seconds that it took; raises TimeoutError at a stall."""
    started = time.monotonic()
    with opened(address, port, socket.SOCK_STREAM) as link:
        for _ in range(size // piece):
            link.sendall(b"x" * piece)
            left = piece
            while left:
                part = link.recv(left)
                if not part:
                    raise ConnectionError("closed")
                left -= len(part)
    return round(time.monotonic() - started, 3)


def largest_unfragmented(address: str, port: int) -> int:
    """Return the length of the largest IP packet that passes; a larger one must be answered by ICMP, not by silence."""
    version = 6 if ":" in address else 4
    level = socket.IPPROTO_IPV6 if version == 6 else socket.IPPROTO_IP
    with opened(address, port, socket.SOCK_DGRAM, DO) as link:
        link.settimeout(1)
        for _ in range(8):
            size = link.getsockopt(level, MTU[version])
            try:
                link.send(b"x" * (size - HEADERS[version]))
                if len(link.recv(65536)) == size - HEADERS[version]:
                    return size
            except OSError as error:
                if not isinstance(error, TimeoutError) and error.errno != errno.EMSGSIZE:
                    raise
    return 0


def fragmented(address: str, port: int, attempts: int) -> list[int]:
    """Return the sizes of payloads, in bytes, that come back when they may be fragmented.

    More attempts than one where a sender must learn: in IPv6, where only the sender fragments, and at the server's
    end when a part of the path takes less than its link.
    """
    passed: list[int] = []
    for size in (1000, 1472, 1473, 4000, 16000):
        if any(_comes_back(address, port, size) for _ in range(attempts)):
            passed.append(size)
    return passed


def _comes_back(address: str, port: int, size: int) -> bool:
    with opened(address, port, socket.SOCK_DGRAM, DONT) as link:
        link.settimeout(1)
        try:
            link.send(b"x" * size)
            return len(link.recv(65536)) == size
        except TimeoutError:
            return False


if __name__ == "__main__":
    where, how = (sys.argv[1], int(sys.argv[2])), sys.argv[3] if sys.argv[3:] else "1"
    if how == "tcp":
        print(tcp(*where))
    else:
        measured = {"udp": fragmented(*where, int(how)), "udp_df": largest_unfragmented(*where), "tcp": tcp(*where)}
        print(json.dumps(measured), flush=True)
