"""Who holds virtual addresses, and how connections reach the standbys: frozen values of VRRP and of the sync daemon."""

from __future__ import annotations

import enum
from dataclasses import dataclass
from ipaddress import IPv4Address

from virtualserver.model.addresses import IPAddress, LinkAddress

VRRP_PROTOCOL = 112
"""IP protocol number (RFC 9568)."""

SYNC_TTL = 1
"""Mirrored connections never leave their segment."""


@dataclass(frozen=True, slots=True)
class Instance:
    """A virtual router of this node: one director group, with all its addresses, IPv4 and IPv6.

    ``interval`` is in milliseconds, ``preempt_delay`` in seconds (None: it never takes over from a living director).
    ``links`` are those without which it cannot serve. ``source`` and ``peers`` are set for unicast only; ``version``
    is the IP version of the advertisements. ``addresses`` may be empty: who is active is settled before it matters.
    """

    group: str
    router_id: int
    link: str
    interval: int
    missed: int
    priority: int
    preempt_delay: float | None = None
    links: tuple[str, ...] = ()
    source: IPAddress | None = None
    peers: tuple[IPAddress, ...] = ()
    version: int = 4
    addresses: tuple[LinkAddress, ...] = ()

    @property
    def holds(self) -> tuple[LinkAddress, ...]:
        """Everything that the active director holds."""
        return (token(self.router_id), *self.addresses)


def token(router_id: int) -> LinkAddress:
    """Return the address that the active director of a virtual router holds on its loopback link.

    VRRP needs an address to advertise; advertising virtual addresses would make two directors disagree whenever one
    of them knows of a new one first. That a node holds it is how its role is read from its kernel. 118.115 is "vs".
    """
    return LinkAddress("lo", IPv4Address(f"127.118.115.{router_id}"), 32)


@dataclass(frozen=True, slots=True)
class Router:
    """A virtual router of this node: the link on which it speaks, and after how many missed advertisements it acts."""

    link: str
    missed: int


@dataclass(frozen=True, slots=True)
class Heard:
    """The last advertisement of another director: when (seconds of the monotonic clock), from whom, its priority.

    ``continues``: it was not the last one because its sender fell silent, but because this node took over.
    """

    time: float
    source: IPAddress
    priority: int
    continues: bool = False


class SyncRole(enum.StrEnum):
    """Which half of mirroring a daemon does (``IP_VS_STATE_MASTER``, ``IP_VS_STATE_BACKUP``)."""

    SENDER = "sender"
    RECEIVER = "receiver"


@dataclass(frozen=True, slots=True)
class SyncDaemon:
    """A sync daemon of the kernel: each network namespace has at most one of each role.

    ``sync_id`` 0 makes a receiver take all; who may send is the packet filter's business. ``max_length`` in bytes is
    how much a sender collects before it sends (None: as much as the link's MTU lets it); at the latest after 3 s.
    """

    role: SyncRole
    link: str
    sync_id: int
    group: IPAddress
    port: int
    max_length: int | None = None


@dataclass(frozen=True, slots=True)
class Member:
    """A director of ours that may send to this one: VRRP when ``port`` is 0, else mirrored connections (UDP).

    Others may not, as soon as there is one rule for a link and a port.
    """

    link: str
    source: IPAddress
    port: int = 0
