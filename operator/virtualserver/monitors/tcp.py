"""TCP connect: the real server's kernel answers for the port.

The connection ends with a reset instead of its third packet: quick acknowledgements are off, so the kernel
holds the ACK back, and closing with SO_LINGER 0 sends RST in its place::

    director  ── SYN ──>  real server
              <─ SYN,ACK ─
              ── RST ──>              (instead of ACK, FIN, FIN,ACK, ACK)

Kindest to servers: the application sees no connection, so nothing is accepted, logged or counted (MySQL
blocks hosts for "too many connection errors" after connections that say nothing). Cheapest: three packets,
no TIME_WAIT on the director and no conntrack entry that stays for two minutes. A full backlog still shows,
as a timeout. HAProxy checks the same way. The kernel holds the ACK back for 40 ms: when this process is later
than that, the application accepts a connection that is already reset, which does no harm either.
"""

from __future__ import annotations

import asyncio
import errno
import os
import socket
import struct
from collections.abc import Callable

from virtualserver.api.addresses import forbidden
from virtualserver.api.reasons import Reason
from virtualserver.model.monitoring import Result, Target
from virtualserver.model.types import IPAddress

_RESET_ON_CLOSE = struct.pack("ii", 1, 0)

_REASONS = {
    errno.ECONNREFUSED: Reason.CONNECTION_REFUSED,
    errno.ECONNRESET: Reason.CONNECTION_RESET,
    errno.ECONNABORTED: Reason.CONNECTION_RESET,
    errno.ETIMEDOUT: Reason.CONNECTION_TIMEOUT,
    errno.EHOSTUNREACH: Reason.NO_ROUTE,
    errno.ENETUNREACH: Reason.NO_ROUTE,
    errno.EHOSTDOWN: Reason.NO_ROUTE,
    errno.ENETDOWN: Reason.NO_ROUTE,
}
"""What the real server or the network is to blame for; every other error is ours: MonitorError."""


class TcpMonitor:
    """Opens a connection and resets it.

    ``refuse`` says why an address may not be connected to ("" when it may). It is asked again here, at the
    last moment: a monitor runs on the host's network and must not be led to what only the host may reach.
    """

    def __init__(self, refuse: Callable[[IPAddress], str] = forbidden) -> None:
        self._refuse = refuse

    async def check(self, target: Target) -> Result:
        """Return whether the port accepts connections."""
        name = f"[{target.address}]:{target.port}" if target.address.version == 6 else f"{target.address}:{target.port}"
        why = self._refuse(target.address)
        if why:
            return Result(False, Reason.ENDPOINT_FORBIDDEN, f"{target.address} is {why}; not checked")
        try:
            async with asyncio.timeout(target.timeout):
                await _connect(target)
        except OSError as error:
            return _failure(error, name, target.timeout)
        return Result(True, Reason.MONITOR_SUCCEEDED, f"connected to {name}")


def _failure(error: OSError, name: str, timeout: float) -> Result:
    if isinstance(error, TimeoutError) and error.errno is None:  # ours, not the kernel's
        return Result(False, Reason.CONNECTION_TIMEOUT, f"no answer from {name} within {timeout:g} s")
    number = error.errno or 0
    words = f"{os.strerror(number)} ({errno.errorcode.get(number, number)})" if number else str(error)
    return Result(False, _REASONS.get(number, Reason.MONITOR_ERROR), f"connect to {name}: {words}")


async def _connect(target: Target) -> None:
    family = socket.AF_INET6 if target.address.version == 6 else socket.AF_INET
    with socket.socket(family, socket.SOCK_STREAM | socket.SOCK_NONBLOCK | socket.SOCK_CLOEXEC) as connection:
        connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_QUICKACK, 0)
        connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, _RESET_ON_CLOSE)
        await asyncio.get_running_loop().sock_connect(connection, (str(target.address), target.port))
