"""A netlink socket with a deadline: requests, dumps and batches. Knows framing, no family's attributes.

Ours rather than pyroute2's because a batch of 500 requests must cost one system call and no object per message, and
because a call made during a failover must end by its own deadline (``research/reliability.md`` 3.3, rows 10 to 14).
Not for several threads at once.
"""

from __future__ import annotations

import errno
import os
import socket
import struct
import time
from typing import NamedTuple

from virtualserver.kernel.attributes import (
    NLM_F_ACK,
    NLM_F_DUMP,
    NLM_F_DUMP_INTR,
    NLM_F_REQUEST,
    NLMSG_DONE,
    NLMSG_ERROR,
    error_number,
    message,
    messages,
)

GENERIC = 16  # NETLINK_GENERIC
ROUTE = 0  # NETLINK_ROUTE
_SOL_NETLINK = 270
_NETLINK_CAP_ACK = 10
_SO_RCVBUFFORCE = 33
_SO_SNDBUFFORCE = 32
_BUFFER = 128 * 1024
_SOCKET_BUFFER = 4 * 1024 * 1024
"""Bytes. A batch of 512 refusals takes about 0.7 MiB of it (each answer counts with the kernel's own overhead)."""


class Dump(NamedTuple):
    """Entries of a dump as (datagram, payload start, payload end).

    ``snapshot`` tells that the kernel made all of it in one go; across several datagrams others may have written.
    """

    entries: list[tuple[bytes, int, int]]
    snapshot: bool


class Channel:
    """One netlink socket. All methods raise OSError with the kernel's errno, ETIMEDOUT at the deadline.

    After a lost answer (ENOBUFS) or a deadline the socket is replaced, so that late answers meet nobody.
    """

    def __init__(self, protocol: int, deadline: float = 5.0) -> None:
        """``protocol`` is ``GENERIC`` or ``ROUTE``; ``deadline`` is in seconds and bounds each call."""
        self._protocol = protocol
        self._deadline = deadline
        self._sequence = 0
        self._buffer = bytearray(_BUFFER)
        self._view = memoryview(self._buffer)
        self._socket = self._open()

    def close(self) -> None:
        """Close the socket; the channel is of no use afterwards."""
        self._socket.close()

    def sequence(self, count: int = 1) -> int:
        """Reserve ``count`` sequence numbers in a row and return the first."""
        if self._sequence + count > 0x7FFFFFFF:
            self._sequence = 0
        first = self._sequence + 1
        self._sequence += count
        return first

    def transact(self, kind: int, payload: bytes, flags: int = 0) -> bytes:
        """Send one request; return the payload of its answer, empty when there is only an acknowledgement."""
        sequence = self.sequence()
        self._socket.send(message(kind, NLM_F_REQUEST | NLM_F_ACK | flags, sequence, payload))
        limit = time.monotonic() + self._deadline
        answer = b""
        while True:
            data = self._receive(limit)
            for answer_kind, _, number, start, end in messages(data):
                if number != sequence:
                    continue
                if answer_kind != NLMSG_ERROR:
                    answer = data[start:end]
                elif code := error_number(data, start):
                    raise _error(code)
                else:
                    return answer

    def dump(self, kind: int, payload: bytes) -> Dump:
        """Send a dump request and return all its entries; raises EINTR when the kernel says that it was disturbed."""
        sequence = self.sequence()
        self._socket.send(message(kind, NLM_F_REQUEST | NLM_F_DUMP, sequence, payload))
        limit = time.monotonic() + self._deadline
        entries: list[tuple[bytes, int, int]] = []
        parts, disturbed = 0, False
        while True:
            data = self._receive(limit)
            before = len(entries)
            for answer_kind, flags, number, start, end in messages(data):
                if number != sequence:
                    continue
                disturbed = disturbed or bool(flags & NLM_F_DUMP_INTR)
                if answer_kind not in (NLMSG_DONE, NLMSG_ERROR):
                    entries.append((data, start, end))
                    continue
                if code := error_number(data, start):
                    raise _error(code)
                if disturbed:
                    raise _error(errno.EINTR)
                return Dump(entries, parts + (len(entries) > before) <= 1)
            parts += len(entries) > before

    def batch(self, requests: list[bytes], first: int) -> dict[int, int]:
        """Send requests numbered ``first``, ``first + 1`` ...; return the errno of each refused one by its position.

        Only the last request may ask for an acknowledgement, and must: the kernel works through a batch in order and
        reports errors unasked, so the last answer says that all others are in.
        """
        last = first + len(requests) - 1
        self._socket.send(b"".join(requests))
        limit = time.monotonic() + self._deadline
        refused: dict[int, int] = {}
        while True:
            data = self._receive(limit)
            for kind, _, number, start, _end in messages(data):
                if kind != NLMSG_ERROR or not first <= number <= last:
                    continue
                if code := error_number(data, start):
                    refused[number - first] = code
                if number == last:
                    return refused

    def _open(self) -> socket.socket:
        link = socket.socket(socket.AF_NETLINK, socket.SOCK_RAW | socket.SOCK_CLOEXEC, self._protocol)
        try:
            for forced, plain in ((_SO_RCVBUFFORCE, socket.SO_RCVBUF), (_SO_SNDBUFFORCE, socket.SO_SNDBUF)):
                try:
                    link.setsockopt(socket.SOL_SOCKET, forced, _SOCKET_BUFFER)
                except PermissionError:  # reads of links work without CAP_NET_ADMIN
                    link.setsockopt(socket.SOL_SOCKET, plain, _SOCKET_BUFFER)
            link.setsockopt(_SOL_NETLINK, _NETLINK_CAP_ACK, 1)  # errors come without a copy of the request
            seconds, fraction = divmod(self._deadline, 1)
            limit = struct.pack("@ll", int(seconds), int(fraction * 1e6))
            link.setsockopt(socket.SOL_SOCKET, socket.SO_RCVTIMEO, limit)
            link.bind((0, 0))
        except BaseException:
            link.close()
            raise
        return link

    def _receive(self, limit: float) -> bytes:
        """Return the next datagram; ``limit`` is a point of the monotonic clock.

        The time-out is the socket's own (SO_RCVTIMEO): Python's would cost a second system call each time.
        """
        try:
            if time.monotonic() > limit:
                raise BlockingIOError(errno.EAGAIN, "deadline")
            size = self._socket.recv_into(self._buffer, _BUFFER, socket.MSG_TRUNC)
            if size > _BUFFER:
                raise _error(errno.EMSGSIZE)
        except BlockingIOError:
            self._replace()
            raise _error(errno.ETIMEDOUT) from None
        except OSError:
            self._replace()
            raise
        return bytes(self._view[:size])

    def _replace(self) -> None:
        self._socket.close()
        self._socket = self._open()


def _error(code: int) -> OSError:
    return OSError(code, os.strerror(code))
