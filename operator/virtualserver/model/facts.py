"""What preflight asks of the kernel and of the wire, and what they answered: frozen, between hands and decisions."""

from __future__ import annotations

import enum
from collections.abc import Mapping
from dataclasses import dataclass, field

from virtualserver.model.types import IPAddress, LinkAddress, Tunnel

SMALL = 64
"""Bytes of a packet that fits everywhere, headers included."""


@dataclass(frozen=True, slots=True)
class Route:
    """Where the kernel sends packets for an address; ``refused`` is why it sends them nowhere.

    ``mtu`` in bytes is the route's own or the link's. ``source`` is the address that packets of the node's own get.
    """

    link: str = ""
    gateway: IPAddress | None = None
    source: IPAddress | None = None
    mtu: int = 0
    refused: str = ""


@dataclass(frozen=True, slots=True)
class LinkFact:
    """A link: its MTU in bytes, whether something is at its other end, and its reverse-path filter.

    The kernel takes the larger of ``rp_filter`` and ``rp_filter_all`` (``ip-sysctl.rst``): 0 off, 1 strict, 2 loose.
    """

    mtu: int
    carrier: bool = True
    rp_filter: int = 0
    rp_filter_all: int = 0

    @property
    def strict(self) -> bool:
        """True when packets are dropped whose sender is not reached over this link."""
        return max(self.rp_filter, self.rp_filter_all) == 1


@dataclass(frozen=True, slots=True)
class Ping:
    """An ICMP echo request, not to be cut: ``size`` bytes with its IP header; from ``source`` or as the route says."""

    address: IPAddress
    size: int = SMALL
    source: IPAddress | None = None


@dataclass(frozen=True, slots=True)
class Trial:
    """An echo request for a virtual address, given to a receiver as the director would: wrapped, or (None) as it is.

    Its sender is ``source``, so the receiver answers the director instead of a client.
    """

    receiver: IPAddress
    virtual: IPAddress
    source: IPAddress
    tunnel: Tunnel | None = None


class Answer(enum.Enum):
    """What came back for a trial."""

    ANSWERED = "answered"
    REFUSED = "refused"
    """ICMP said that nobody takes such packets there."""
    SILENCE = "silence"


@dataclass(frozen=True, slots=True)
class Questions:
    """What one look asks. ``held``: addresses of ours that nobody else may answer for."""

    routes: frozenset[IPAddress] = frozenset()
    held: frozenset[LinkAddress] = frozenset()
    pings: frozenset[Ping] = frozenset()
    trials: frozenset[Trial] = frozenset()

    def __or__(self, other: Questions) -> Questions:
        return Questions(
            self.routes | other.routes, self.held | other.held, self.pings | other.pings, self.trials | other.trials
        )


@dataclass(frozen=True, slots=True)
class Facts:
    """What one look saw.

    ``twice``: hardware addresses of others that answer for an address of ours. ``pings``: the link over which an
    answer came; nothing of those that got none.
    """

    links: Mapping[str, LinkFact] = field(default_factory=dict)
    routes: Mapping[IPAddress, Route] = field(default_factory=dict)
    twice: Mapping[IPAddress, str] = field(default_factory=dict)
    pings: Mapping[Ping, str] = field(default_factory=dict)
    trials: Mapping[Trial, Answer] = field(default_factory=dict)
