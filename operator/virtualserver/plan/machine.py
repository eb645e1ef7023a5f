"""A real server outside the cluster: what a machine should hold for the virtual addresses that it was told of."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

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
    """

    forwarding: Forwarding
    directors: frozenset[IPAddress] = frozenset()
    local: frozenset[IPAddress] = frozenset()
    mtu: int = 1500

    def __str__(self) -> str:
        if self.forwarding.mode is not ForwardingMode.TUNNEL:
            return str(self.forwarding.mode)
        wrapping = tunnel(self.forwarding)
        port = f" at UDP port {wrapping.port}" if wrapping.port else ""
        senders = ", ".join(str(one) for one in sorted(self.directors, key=address_order))
        return f"{self.forwarding.mode} {wrapping.type.name}{port} from {senders}"


Entries = Mapping[IPAddress, Entry]
"""By virtual address."""


def plan(entries: Entries, circumstances: Circumstances) -> Plan:
    """Return what the machine should hold; each virtual address is an owner of its own."""
    owners = {ObjectKey("", str(address)): address for address in sorted(entries, key=address_order)}
    parts = {
        owner: part(_half(address, entries[address]), {})
        for owner, address in owners.items()
        if owner not in circumstances.suspended
    }
    return Plan(union(parts.values(), circumstances), needed_by(parts), here=frozenset(owners))


def names(actual: State) -> tuple[str, ...]:
    """Return the names of every setting that may be ours on such a machine."""
    return tuple(settings.real_server(sorted(settings.uplinks(actual)), sorted(actual.own_links)))


def clash(entries: Entries) -> str:
    """Return why these virtual addresses cannot be received on one machine; empty when they can.

    Between two addresses there can be one GRE device, which takes packets either with a checksum or without
    (``ip_tunnel.c``: ``ip_tunnel_rcv``).
    """
    first: dict[tuple[IPAddress, IPAddress], IPAddress] = {}
    for address in sorted(entries, key=address_order):
        entry = entries[address]
        asked = entry.forwarding.tunnel
        if asked is None or asked.type is not TunnelType.GRE:
            continue
        for ends in ((local, director) for local in entry.local for director in entry.directors):
            other = first.setdefault(ends, address)
            if tunnel(entries[other].forwarding).checksum != asked.checksum:
                return f"{other} and {address} take GRE from {ends[1]}, one with a checksum and one without"
    return ""


def _half(address: IPAddress, entry: Entry) -> Half:
    return Half((address,), entry.forwarding, entry.directors, entry.local, entry.mtu)
