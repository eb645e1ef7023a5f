"""What a node's kernel holds, as frozen values: keys, contents, and both together.

A key says *which* entry, a content says *how it is set*; a diff matches by key and compares content.
Units: weights are plain integers, timeouts are seconds, prefixes are bits.
"""

from __future__ import annotations

import enum
from collections.abc import Mapping
from dataclasses import dataclass, field

from virtualserver.model.addresses import IPAddress as IPAddress
from virtualserver.model.addresses import LinkAddress as LinkAddress
from virtualserver.model.addresses import address_order as address_order
from virtualserver.model.failover import Instance, Member, SyncDaemon, SyncRole


class Protocol(enum.StrEnum):
    """Transport protocols that IPVS balances (``ip_vs_proto.c``)."""

    TCP = "TCP"
    UDP = "UDP"
    SCTP = "SCTP"


class ForwardingMethod(enum.IntEnum):
    """``IP_VS_CONN_F_FWD_MASK`` values of ``include/uapi/linux/ip_vs.h``."""

    NAT = 0
    LOCAL = 1
    TUNNEL = 2
    DIRECT_ROUTING = 3


class TunnelType(enum.IntEnum):
    """``IP_VS_CONN_F_TUNNEL_TYPE_*`` of ``include/uapi/linux/ip_vs.h``."""

    IPIP = 0
    GUE = 1
    GRE = 2


@dataclass(frozen=True, slots=True)
class Tunnel:
    """How packets are wrapped on their way to a real server; ``port`` is for GUE, 0 elsewhere.

    ``remote_checksum`` is never asked for; it is here so that a read shows what another hand has set.
    """

    type: TunnelType = TunnelType.IPIP
    port: int = 0
    checksum: bool = False
    remote_checksum: bool = False


@dataclass(frozen=True, slots=True)
class ServiceKey:
    """Which virtual service: the kernel allows one per protocol, address and port."""

    protocol: Protocol
    address: IPAddress
    port: int

    def __str__(self) -> str:
        host = f"[{self.address}]" if self.address.version == 6 else str(self.address)
        return f"{self.protocol} {host}:{self.port}"


@dataclass(frozen=True, slots=True)
class ServiceContent:
    """How a virtual service is set.

    ``flags`` are names as ``model.schedulers`` knows them (``sh-port``, ``ops`` ...). ``persistence_timeout`` is in
    seconds, 0 for none. ``persistence_prefix`` is the client prefix length that shares one persistence
    entry (32 or 128 means each client has its own); the kernel keeps it also without persistence.
    """

    scheduler: str
    flags: frozenset[str] = frozenset()
    persistence_timeout: int = 0
    persistence_prefix: int = 32


@dataclass(frozen=True, slots=True)
class DestinationKey:
    """Which real server inside a virtual service."""

    address: IPAddress
    port: int

    def __str__(self) -> str:
        host = f"[{self.address}]" if self.address.version == 6 else str(self.address)
        return f"{host}:{self.port}"


@dataclass(frozen=True, slots=True)
class DestinationContent:
    """How a real server is set; weight 0 keeps its connections and gives it no new ones."""

    weight: int
    method: ForwardingMethod = ForwardingMethod.NAT
    upper_threshold: int = 0
    lower_threshold: int = 0
    tunnel: Tunnel = Tunnel()


@dataclass(frozen=True, slots=True)
class Service:
    """A virtual service with its real servers."""

    content: ServiceContent
    destinations: Mapping[DestinationKey, DestinationContent] = field(default_factory=dict)


CATCH_ALL = ("tunl0", "sit0", "gre0", "gretap0", "erspan0", "ip6tnl0", "ip6gre0")
"""The kernel's own tunnel devices by their fixed names. Each comes with its module; once somebody has set it up, it
takes apart what no other device does, from any sender (``ip_tunnel.c``: ``ip_tunnel_lookup``, ``fb_tunnel_dev``)."""


class LinkKind(enum.StrEnum):
    """Kinds of links that we make, by the names that rtnetlink gives them (``IFLA_INFO_KIND``).

    Of the tunnels, IPIP takes IPv4 in IPv4, SIT IPv6 in IPv4, IP6TNL both in IPv6; GRE and IP6GRE take both.
    """

    DUMMY = "dummy"
    IPIP = "ipip"
    SIT = "sit"
    IP6TNL = "ip6tnl"
    GRE = "gre"
    IP6GRE = "ip6gre"
    UNKNOWN = "unknown"
    """Read only: a link of ours that another hand has set to what we never ask for."""


@dataclass(frozen=True, slots=True)
class OwnLink:
    """A link that we make: a dummy, which holds virtual addresses and tells nobody, or one end of a tunnel.

    A tunnel takes packets from ``remote`` to ``local`` and from nobody else: the kernel finds a device by both, so no
    packet filter is needed, and tunnels of others between other addresses go on. ``checksum`` is for GRE: a device
    takes either packets that carry one, or packets that do not (``ip_tunnel.c``: ``ip_tunnel_rcv``).
    """

    kind: LinkKind
    local: IPAddress | None = None
    remote: IPAddress | None = None
    checksum: bool = False
    up: bool = True

    def __str__(self) -> str:
        ends = f" from {self.remote} to {self.local}" if self.remote else ""
        return f"{self.kind}{ends}"


@dataclass(frozen=True, slots=True)
class Decapsulation:
    """A UDP port at which the kernel takes GUE packets of one IP version apart (the version of the outer header)."""

    port: int
    version: int

    def __str__(self) -> str:
        return f"GUE over IPv{self.version} at UDP port {self.port}"


@dataclass(frozen=True, slots=True)
class Admission:
    """Who may send GUE packets to a UDP port of this node; all others may not as soon as one may."""

    port: int
    source: IPAddress


@dataclass(frozen=True, slots=True)
class Clamp:
    """The longest TCP segment, in bytes, that the peers of an address are told to send (the MSS option)."""

    address: IPAddress
    segment: int


@dataclass(frozen=True, slots=True)
class Rules:
    """Packet-filter rules of ours.

    ``guarded``: no TCP reset leaves the node from these services, so that connections survive a moment
    without the service (``research``: a flush of the table by another program).
    ``translated``: connections through these services get the director's own source address.
    ``tracked``: IP versions whose connections are tracked also after the last translation was taken away; without a
    rule that needs it the kernel stops at once, and connections that are translated end (``nf_ct_netns_put``).
    ``tunnelled``: GUE packets are taken only from these. (Tunnels without UDP need no rule: see ``OwnLink``.)
    ``members``: VRRP and mirrored connections are taken only from these.
    ``clamped``: handshakes from these addresses announce no longer segment, so that what clients send still fits
    when a director has wrapped it.
    ``sealed``: what comes to these addresses out of the kernel's own tunnel devices (``CATCH_ALL``) is dropped: it
    may come from anybody.
    """

    guarded: frozenset[ServiceKey] = frozenset()
    translated: frozenset[ServiceKey] = frozenset()
    tunnelled: frozenset[Admission] = frozenset()
    clamped: frozenset[Clamp] = frozenset()
    tracked: frozenset[int] = frozenset()
    members: frozenset[Member] = frozenset()
    sealed: frozenset[IPAddress] = frozenset()


@dataclass(frozen=True, slots=True)
class State:
    """The part of a node that concerns us; as wanted, or as read.

    ``links`` holds names of the node's links, ``mtus`` their MTU in bytes, ``down`` those that carry nothing (all read
    only). ``asked`` are links on which ARP requests are answered, up or not: no loopback, none without ARP, no port of
    a bridge or bond, whose master answers. ``inward`` are those whose other end is in another network namespace of
    this machine, as a container's is, or a virtual machine (both read only).
    ``services`` holds every service when read, ours and others'; ``addresses`` likewise holds every address of every
    link. ``own_links`` holds, by name, the links that carry our mark. ``decapsulations`` holds every GUE port when
    read, ours and others'.
    ``instances`` are the virtual routers that keepalived is told of, by their groups; ``eligible`` names the groups
    whose addresses this node may hold, and ``electing`` says that keepalived runs (read only). ``daemons`` are the
    kernel's sync daemons. ``indexes`` (read only) tells a link from another one that got its name later.
    ``ending`` (wanted only) are services that must not be there now, however little else is known.
    """

    services: Mapping[ServiceKey, Service] = field(default_factory=dict)
    addresses: frozenset[LinkAddress] = frozenset()
    sysctls: Mapping[str, str] = field(default_factory=dict)
    rules: Rules = Rules()
    links: frozenset[str] = frozenset()
    mtus: Mapping[str, int] = field(default_factory=dict)
    down: frozenset[str] = frozenset()
    asked: frozenset[str] = frozenset()
    inward: frozenset[str] = frozenset()
    own_links: Mapping[str, OwnLink] = field(default_factory=dict)
    decapsulations: frozenset[Decapsulation] = frozenset()
    instances: Mapping[str, Instance] = field(default_factory=dict)
    eligible: frozenset[str] = frozenset()
    electing: bool = True
    daemons: frozenset[SyncDaemon] = frozenset()
    indexes: Mapping[str, int] = field(default_factory=dict)
    ending: frozenset[ServiceKey] = frozenset()


@dataclass(frozen=True, slots=True)
class Owned:
    """What this node's record says we made: only this may be changed or removed.

    ``sysctls`` maps a name to the value found before we wrote ours, to be put back by a clean-up.
    """

    services: frozenset[ServiceKey] = frozenset()
    addresses: frozenset[LinkAddress] = frozenset()
    sysctls: Mapping[str, str] = field(default_factory=dict)
    rules: bool = False
    own_links: frozenset[str] = frozenset()
    decapsulations: frozenset[Decapsulation] = frozenset()
    daemons: Mapping[SyncRole, int] = field(default_factory=dict)
    """Sync daemons that we started, each with the index of its link at that time."""
    served: frozenset[str] = frozenset()
    """Groups whose addresses this node has held since its connections were last forgotten."""
