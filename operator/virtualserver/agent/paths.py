"""How large packets may be on the ways to peers, as the kernel's own routes say; asked again every ten seconds."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping

from virtualserver.kernel.port import KernelError
from virtualserver.model.types import IPAddress

AGAIN = 10.0
"""Seconds until a route is looked up again."""

SMALLEST = 1280
"""Bytes that every path takes (RFC 8200, section 5). Less may have been learned from an ICMP message that anybody can
send, and would make all clients send small packets."""

MtuTo = Callable[[IPAddress], int]
"""The MTU of the way to a peer, in bytes; raises KernelError when there is none."""


class Paths:
    """Remembers what was asked. Times are seconds of the caller's monotonic clock."""

    def __init__(self, mtu_to: MtuTo) -> None:
        self._mtu_to = mtu_to
        self._asked: dict[IPAddress, tuple[float, int | None]] = {}

    def mtus(self, peers: Iterable[IPAddress], now: float) -> Mapping[IPAddress, int]:
        """Return the MTUs of the ways to those of the peers to which there is one; all others are forgotten."""
        self._asked = {peer: self._fresh(peer, now) for peer in peers}
        return {peer: mtu for peer, (_, mtu) in self._asked.items() if mtu is not None}

    def _fresh(self, peer: IPAddress, now: float) -> tuple[float, int | None]:
        known = self._asked.get(peer)
        if known is not None and now < known[0] + AGAIN:
            return known
        try:
            return now, max(self._mtu_to(peer), SMALLEST)
        except KernelError:
            return now, None
