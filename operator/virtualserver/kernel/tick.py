"""Pushes the newest connections out to the other directors.

The kernel's sender keeps a message that is not full for 2 to 3 s (``ip_vs_sync.c``: ``IPVS_SYNC_FLUSH_TIME``). When one
entry fills it, the next entry pushes it out, 20 ms later. Where none comes by itself, a connection of our own makes
one: its packets never leave this node, and its entry is gone 10 s after the last of them.
"""

from __future__ import annotations

import asyncio
import logging
import os
import socket
import struct
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

from virtualserver.kernel.icmp import checksum
from virtualserver.plan.mirroring import TICK

log = logging.getLogger(__name__)

INTERVAL, IDLE = 0.025, 1.0
"""Seconds; a connection that is newer may not be known to others yet. While nothing is mirrored: between two looks at
whether something is."""
COUNTERS = Path("/proc/thread-self/net/ip_vs_stats_percpu")
"""The totals in ``ip_vs_stats`` are up to 2 s old."""
_CLIENT_PORT = 10  # not the service's: refusals would pass for packets of the client
_FIN, _SYN, _RST = 1, 2, 4


def packet(flags: int) -> bytes:
    """Return an IP packet with a TCP segment to the service, of a client at the same address."""
    ends = TICK.address.packed * 2
    ports = struct.pack(">HH", _CLIENT_PORT, TICK.port)
    head, tail = ports + struct.pack(">IIBBH", 1, 1, 5 << 4, flags, 1024), bytes(2)
    pseudo = ends + struct.pack(">HH", socket.IPPROTO_TCP, 20)
    tcp = head + struct.pack(">H", checksum(pseudo + head + bytes(2) + tail)) + tail
    return struct.pack(">BBHHHBBH", 0x45, 0, 20 + len(tcp), 0, 0, 64, socket.IPPROTO_TCP, 0) + ends + tcp


_WHOLE = 1 << 17
"""More bytes than the table has with a thousand processors; the kernel writes it whole into what is large enough."""
_PACKETS = [packet(flags) for flags in (_SYN, _FIN, _RST)]
"""Whatever became of the entry before: the last two change its state, which is mirrored at once, always."""


def packets(table: str) -> int:
    """Return how many packets of clients all processors have counted."""
    rows = (line.split() for line in table.splitlines()[2:])
    # A row's first word is a processor's number, but "~" for the totals; rates below them have fewer words.
    return sum(int(row[2], 16) for row in rows if len(row) == 6 and row[0] != "~")


class Tick:
    """``mirrored``: whether this node mirrors its connections now; asked from a thread."""

    def __init__(self, mirrored: Callable[[], bool], counters: Path = COUNTERS) -> None:
        self._mirrored, self._counters = mirrored, counters
        self._expected: int | None = None
        self._failure = ""

    async def run(self) -> None:
        """Look again for ever; ends only by cancellation. A failure costs only speed, so it is said and no more.

        In a thread of its own: a round of the agent may keep the loop for longer than a connection should wait.
        """
        ended = threading.Event()
        try:
            await asyncio.to_thread(self._repeat, ended)
        finally:
            ended.set()

    def _repeat(self, ended: threading.Event) -> None:
        while not ended.wait(IDLE):
            try:
                if self._mirrored():
                    with self._ends() as (counters, sender):
                        while self._mirrored() and not ended.wait(INTERVAL):
                            self._push(counters, sender)
                            self._failed("")
            except (OSError, ValueError) as error:
                self._failed(str(error))

    def once(self) -> bool:
        """Push out what has come since the last time; return whether anything had."""
        with self._ends() as (counters, sender):
            return self._push(counters, sender)

    @contextmanager
    def _ends(self) -> Iterator[tuple[int, socket.socket]]:
        """The counters and the way out, which stay open: opening them costs more than all the rest."""
        counters = os.open(self._counters, os.O_RDONLY)
        try:
            with socket.socket(socket.AF_INET, socket.SOCK_RAW, socket.IPPROTO_RAW) as sender:
                yield counters, sender
        finally:
            os.close(counters)

    def _push(self, counters: int, sender: socket.socket) -> bool:
        seen = packets(os.pread(counters, _WHOLE, 0).decode())
        if seen == self._expected:
            return False
        for one in _PACKETS:
            sender.sendto(one, (str(TICK.address), 0))
        self._expected = seen + len(_PACKETS)  # what comes from now on is seen the next time
        return True

    def _failed(self, how: str) -> None:
        if how != self._failure:
            self._failure = how
            log.warning("newest connections are mirrored late", extra={"error": how or "over"})
