"""A real server outside the cluster: what a machine should hold for the virtual addresses that it was told of."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace

from virtualserver.api.enums import ForwardingMode, TunnelType
from virtualserver.api.virtualserver import Forwarding
from virtualserver.model.types import IPAddress, State, address_order
from virtualserver.plan import settings
from virtualserver.plan.desired import Circumstances, Plan, needed_by, union
from virtualserver.plan.forwarding import tunnel
from virtualserver.plan.receiving import Half, part
from virtualserver.plan.world import ObjectKey


@dataclass(frozen=True, slots=True)
class Entry:
    """How packets for one virtual address come here.

    ``directors`` send them to ``local``, addresses of this machine; ``mtu`` in bytes is that of the way between them.
    ``before`` is how they came before and may still: connections from before a change of the mode go on that way.
    """

    forwarding: Forwarding
    directors: frozenset[IPAddress] = frozenset()
    local: frozenset[IPAddress] = frozenset()
    mtu: int = 1500
    before: Entry | None = None

    def __str__(self) -> str:
        still = f", and still {self.before}" if self.before is not None else ""
        if self.forwarding.mode is not ForwardingMode.TUNNEL:
            return f"{self.forwarding.mode}{still}"
        wrapping = tunnel(self.forwarding)
        port = f" at UDP port {wrapping.port}" if wrapping.port else ""
        senders = ", ".join(str(one) for one in sorted(self.directors, key=address_order))
        return f"{self.forwarding.mode} {wrapping.type.name}{port} from {senders}{still}"

    def keeping(self, former: Entry | None) -> Entry:
        """Return this entry with the way that packets came by before it, if that was another one."""
        if former is None:
            return self
        present = replace(former, before=None)
        return replace(self, before=former.before if present == self else present)


Entries = Mapping[IPAddress, Entry]
"""By virtual address."""


def plan(entries: Entries, circumstances: Circumstances) -> Plan:
    """Return what the machine should hold; each virtual address is an owner of its own."""
    ways = {ObjectKey(when, str(address)): (address, entry) for when, address, entry in _ways(entries)}
    parts = {
        owner: part(_half(address, entry), {})
        for owner, (address, entry) in ways.items()
        if owner not in circumstances.suspended
    }
    return Plan(union(parts.values(), circumstances), needed_by(parts), here=frozenset(ways))


def _ways(entries: Entries) -> Iterator[tuple[str, IPAddress, Entry]]:
    """Yield every way by which packets for a virtual address come; in words, whether it is one of before."""
    for address in sorted(entries, key=address_order):
        entry = entries[address]
        yield "", address, entry
        if entry.before is not None:
            yield "before", address, entry.before


def names(actual: State) -> tuple[str, ...]:
    """Return the names of every setting that may be ours on such a machine."""
    return tuple(settings.real_server(sorted(settings.uplinks(actual)), sorted(actual.own_links)))


def clash(entries: Entries) -> str:
    """Return why these virtual addresses cannot be received on one machine; empty when they can.

    Between two addresses there can be one GRE device, which takes packets either with a checksum or without
    (``ip_tunnel.c``: ``ip_tunnel_rcv``).
    """
    first: dict[tuple[IPAddress, IPAddress], tuple[IPAddress, bool]] = {}
    for _, address, entry in _ways(entries):
        asked = entry.forwarding.tunnel
        if asked is None or asked.type is not TunnelType.GRE:
            continue
        for ends in ((local, director) for local in entry.local for director in entry.directors):
            other, checksum = first.setdefault(ends, (address, asked.checksum))
            if checksum != asked.checksum and other == address:
                return (
                    f"{address} would take GRE from {ends[1]} with a checksum and, as before, without, or the reverse"
                )
            if checksum != asked.checksum:
                return f"{other} and {address} take GRE from {ends[1]}, one with a checksum and one without"
    return ""


def _half(address: IPAddress, entry: Entry) -> Half:
    return Half((address,), entry.forwarding, entry.directors, entry.local, entry.mtu)
