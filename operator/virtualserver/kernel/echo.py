"""Sends echo requests to real servers: plain, wrapped as a tunnel, or with a virtual address to a hardware address.

What IPVS does to a client's packet is done here to one of the director's own, so the answer comes to the director and
no client is needed. Answers are read before the IP layer (``sniffing``).
"""

from __future__ import annotations

import contextlib
import secrets
import select
import socket
import time
from collections.abc import Iterable, Iterator, Sequence
from itertools import islice
from typing import TypeVar

from virtualserver.kernel import icmp, sniffing
from virtualserver.model.facts import Answer, Ping, Trial
from virtualserver.model.types import IPAddress

ROUNDS, WINDOW, BATCH = 2, 0.5, 64
"""How often each request is sent, the seconds in which answers are waited for, and how many are under way at once."""

_IP_MTU_DISCOVER, _IPV6_MTU_DISCOVER, _PROBE = 10, 23, 3
_FAMILY = {4: socket.AF_INET, 6: socket.AF_INET6}
_T = TypeVar("_T")
_Where = tuple[str, bytes]
"""Link and hardware address from which an answer came."""


def ask(pings: Iterable[Ping], trials: Iterable[Trial]) -> tuple[dict[Ping, str], dict[Trial, Answer]]:
    """Return over which link each ping was answered, and what came of each trial. Raises OSError.

    Takes at most ``2 * ROUNDS * WINDOW`` seconds for each ``BATCH`` receivers. A trial without a tunnel needs the
    receiver's answer to a plain ping: it shows the hardware address.
    """
    answered: dict[Ping, _Where] = {}
    results: dict[Trial, Answer] = {}
    for batch in _batches(pings):
        _Exchange(batch, [], {}).run(answered, results)
    near = {ping.address: where for ping, where in answered.items() if len(where[1]) == 6 and ping.source is None}
    for tries in _batches(trials):
        _Exchange([], tries, near).run({}, results)
    return {ping: link for ping, (link, _) in answered.items()}, results


def _batches(items: Iterable[_T]) -> Iterator[list[_T]]:
    rest = iter(items)
    while batch := list(islice(rest, BATCH)):
        yield batch


class _Exchange:
    """Some requests and their answers; a request's number is its ICMP sequence number."""

    def __init__(self, pings: Sequence[Ping], trials: Sequence[Trial], near: dict[IPAddress, _Where]) -> None:
        self._open: dict[int, Ping | Trial] = dict(enumerate([*pings, *trials], 1))
        self._near = near
        self._identifier = secrets.randbelow(0xFFFF) + 1
        self._refused: set[int] = set()
        self._sockets = contextlib.ExitStack()

    def run(self, answered: dict[Ping, _Where], results: dict[Trial, Answer]) -> None:
        """Send all, again what is not answered; put what came back into the two."""
        results |= {one: Answer.SILENCE for one in self._open.values() if isinstance(one, Trial)}
        with self._sockets:
            ears = [
                self._sockets.enter_context(sniffing.sniffer(sniffing.IPV4, (0, 3))),
                self._sockets.enter_context(sniffing.sniffer(sniffing.IPV6, (129, 1, 4))),
            ]
            for _ in range(ROUNDS):
                for number, one in list(self._open.items()):
                    self._send(number, one)
                self._listen(ears, answered, results)
        for number in self._refused & self._open.keys():
            one = self._open[number]
            if isinstance(one, Trial):
                results[one] = Answer.REFUSED

    def _listen(self, ears: list[socket.socket], answered: dict[Ping, _Where], results: dict[Trial, Answer]) -> None:
        limit = time.monotonic() + WINDOW
        while self._open and (left := limit - time.monotonic()) > 0:
            for ear in select.select(ears, [], [], left)[0]:
                data, (link, _, kind, _, hardware) = ear.recvfrom(4096)
                if kind == socket.PACKET_OUTGOING:
                    continue
                match icmp.parse(data):
                    case icmp.Reply(_, identifier, number) if identifier == self._identifier and number in self._open:
                        one = self._open.pop(number)
                        if isinstance(one, Ping):
                            answered[one] = (link, hardware)
                        else:
                            results[one] = Answer.ANSWERED
                    case icmp.Refusal(address, protocol):
                        self._refused |= {number for number, one in self._open.items() if _is(one, address, protocol)}

    def _send(self, number: int, one: Ping | Trial) -> None:
        """Send one request; what the node itself refuses to send (no route, too large) is not answered."""
        with contextlib.suppress(OSError):
            if isinstance(one, Ping):
                self._send_plain(number, one)
                return
            message = icmp.request(one.source, one.virtual, self._identifier, number, 64)
            inner = icmp.packet(one.source, one.virtual, message)
            if one.tunnel is None:
                self._send_direct(one, inner)
                return
            protocol, payload = icmp.wrap(one.tunnel, inner)
            kind = socket.SOCK_DGRAM if protocol == icmp.UDP else socket.SOCK_RAW
            with socket.socket(_FAMILY[one.receiver.version], kind, protocol) as sender:
                sender.sendto(payload, (str(one.receiver), one.tunnel.port))

    def _send_plain(self, number: int, ping: Ping) -> None:
        version = ping.address.version
        protocol = icmp.ICMP if version == 4 else icmp.ICMPV6
        with socket.socket(_FAMILY[version], socket.SOCK_RAW, protocol) as sender:
            level, option = (socket.IPPROTO_IP, _IP_MTU_DISCOVER) if version == 4 else (41, _IPV6_MTU_DISCOVER)
            sender.setsockopt(level, option, _PROBE)
            if ping.source is not None:
                sender.bind((str(ping.source), 0))
            # The kernel puts ICMPv6 checksums in by itself, so the sender's address need not be known here.
            source = ping.source or ping.address
            message = icmp.request(source, ping.address, self._identifier, number, ping.size)
            sender.sendto(message, (str(ping.address), 0))

    def _send_direct(self, trial: Trial, inner: bytes) -> None:
        if trial.receiver not in self._near:
            return
        link, hardware = self._near[trial.receiver]
        protocol = sniffing.IPV4 if trial.virtual.version == 4 else sniffing.IPV6
        with socket.socket(socket.AF_PACKET, socket.SOCK_DGRAM, 0) as sender:
            sender.sendto(inner, (link, protocol, 0, 0, hardware))


def _is(one: Ping | Trial, address: IPAddress, protocol: int) -> bool:
    if isinstance(one, Ping) or one.tunnel is None or one.receiver != address:
        return False
    wrapped = icmp.wrap(one.tunnel, b"\x45" if one.virtual.version == 4 else b"\x60")
    return wrapped[0] == protocol
