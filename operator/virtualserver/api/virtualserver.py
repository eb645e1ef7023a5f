"""``VirtualServer``: what the owner of an application writes.

Field descriptions become ``kubectl explain``; rules become CEL in the definition. A rule's message names
the field and says what to do.
"""

from __future__ import annotations

from typing import Annotated, Literal, get_args

from pydantic import Field

from virtualserver.api import listrules, rules
from virtualserver.api.base import ApiModel
from virtualserver.api.enums import (
    AdminState,
    ForwardingMode,
    MonitorType,
    OnDown,
    PersistenceType,
    RealServerType,
    TransportProtocol,
    TunnelType,
)
from virtualserver.api.rule import Distinct
from virtualserver.api.values import Address, ObjectName, PortNumber
from virtualserver.model.schedulers import SCHEDULERS

PortName = Annotated[
    str,
    rules.text(
        r"^[a-z0-9]([-a-z0-9]{0,61}[a-z0-9])?$",
        "must be small letters, digits and dashes, such as http or web-1, and not begin or end with a dash",
        63,
    ),
]
Interval = Annotated[str, rules.duration(rules.between("100ms", "1h"))]
CheckTimeout = Annotated[str, rules.duration(rules.between("10ms", "1h"))]
Memory = Annotated[str, rules.duration(rules.between("1s", "744h"), rules.WHOLE_SECONDS)]
SchedulerName = Literal["rr", "wrr", "lc", "wlc", "lblc", "lblcr", "dh", "sh", "mh", "sed", "nq", "fo", "ovf"]
SchedulerFlag = Literal["sh-fallback", "sh-port", "mh-fallback", "mh-port"]

assert set(get_args(SchedulerName)) == set(SCHEDULERS)


class Port(ApiModel):
    """Each is served on every address; a port number may be there once for each protocol."""

    name: PortName | None = Field(None, description="Name of the port, unique in this virtual server.")
    protocol: TransportProtocol = Field(TransportProtocol.TCP, description="Transport protocol.")
    port: PortNumber = Field(description="Port that clients connect to.")
    target_port: PortNumber | None = Field(
        None, description="Port on the real servers (of a Service: the Service's port). Default: the same as port."
    )


class Nat(ApiModel):
    """Settings of NAT forwarding."""

    source_translation: bool = Field(
        False,
        strict=True,
        description=(
            "Give connections the director's own source address. Needed when real servers would otherwise answer "
            "clients past the director (same subnet, or a default route elsewhere). Off: real servers see the "
            "client's address and must send replies through the director (DirectorGroup spec.gateway)."
        ),
    )


class Tunnel(ApiModel):
    """Settings of the tunnel between director and real server."""

    validations = rules.TUNNEL

    type: TunnelType = Field(
        TunnelType.IPIP,
        description="IPIP (20 bytes more than the packet over IPv4), GUE (32, in UDP) or GRE (24).",
    )
    port: PortNumber | None = Field(None, description="UDP port of the real servers' end of GUE (default 6080).")
    checksum: bool = Field(False, strict=True, description="Cover wrapped packets with a checksum. Not with IPIP.")


class Forwarding(ApiModel):
    """How packets reach the real servers.

    NAT: both ways through the director. Tunnel and DirectRouting: real servers own the virtual address too, see the
    client's address and answer the client themselves.
    """

    validations = rules.FORWARDING

    mode: ForwardingMode = Field(ForwardingMode.NAT, description="Forwarding mode.")
    nat: Nat | None = Field(None, description="Settings of mode NAT.")
    tunnel: Tunnel | None = Field(None, description="Settings of mode Tunnel.")


class Scheduler(ApiModel):
    """Which real server gets the next connection."""

    validations = rules.SCHEDULER

    name: SchedulerName = Field(
        "wlc",
        description=(
            "IPVS scheduler. In turn: rr, wrr (by weight). Fewest connections: lc, wlc (by weight), sed, nq. "
            "By the client's address: sh, mh (consistent). By the virtual address: dh, lblc, lblcr. "
            "The highest weight as long as it is up: fo; until it has as many connections as its weight: ovf."
        ),
    )
    flags: Annotated[list[SchedulerFlag], Distinct()] = Field(
        [],
        max_length=2,
        description="Flags of the scheduler: sh-fallback and sh-port for sh, mh-fallback and mh-port for mh.",
    )
    one_packet: bool = Field(
        False,
        strict=True,
        description=(
            "Choose a real server for every single datagram, and remember none. "
            "Only when all ports are UDP, and not with mode NAT."
        ),
    )


class Persistence(ApiModel):
    """How a client stays with its real server."""

    validations = rules.PERSISTENCE

    type: PersistenceType = Field(PersistenceType.NONE, description="None, or by the client's source address.")
    timeout: Memory | None = Field(
        None,
        description=(
            "How long a client without connections is remembered, in whole seconds, 1s to 744h (default 300s)."
        ),
    )
    ipv4_prefix_length: Annotated[int, Field(ge=1, le=32, strict=True)] | None = Field(
        None, description="Clients sharing this many leading bits share a real server (default 32)."
    )
    ipv6_prefix_length: Annotated[int, Field(ge=1, le=128, strict=True)] | None = Field(
        None, description="Clients sharing this many leading bits share a real server (default 128)."
    )


class ServiceReference(ApiModel):
    """A Service of the same namespace whose endpoints are real servers."""

    name: ObjectName = Field(description="Name of the Service.")
    port: PortNumber | None = Field(
        None, description="Port of the Service. Default: the virtual server's targetPort, else its port."
    )


class RealServer(ApiModel):
    """One real server by its address, or all endpoints of a Service: exactly one of address and service."""

    validations = rules.REAL_SERVER

    type: RealServerType | None = Field(None, description="Says which of address and service is set; may be left out.")
    address: Address | None = Field(None, description="IPv4 or IPv6 address of a machine or pod.")
    service: ServiceReference | None = Field(None, description="A Service whose ready endpoints are real servers.")
    port: PortNumber | None = Field(
        None, description="Port on this real server, when it differs from targetPort. Only with address."
    )
    weight: Annotated[int, Field(ge=0, le=65535, strict=True)] = Field(
        1, description="Share of new connections relative to the others; 0 gives none and keeps existing ones."
    )
    admin_state: AdminState = Field(
        AdminState.ENABLED,
        description="Draining: existing connections go on, no new ones. Offline: taken out. Only with address.",
    )


class TcpMonitor(ApiModel):
    """Settings of a TCP connect check."""

    port: PortNumber | None = Field(None, description="Port to connect to. Default: the real server's port.")


class Monitor(ApiModel):
    """A check that every real server must pass to get connections."""

    validations = rules.MONITOR

    type: MonitorType = Field(MonitorType.TCP, description="TCP: a connection can be opened.")
    interval: Interval = Field("2s", description="Time between the starts of two checks, 100ms to 1h.")
    timeout: CheckTimeout = Field(
        "1s", description="Time after which a check has failed, from 10ms; at most the interval."
    )
    rise: Annotated[int, Field(ge=1, le=100, strict=True)] = Field(
        2, description="Successes in a row that bring a down real server up. The first check ever needs one."
    )
    fall: Annotated[int, Field(ge=1, le=100, strict=True)] = Field(
        3, description="Failures in a row that take an up real server down."
    )
    on_down: OnDown = Field(
        OnDown.REMOVE,
        description="Remove: take it out, its connections end. Quiesce: keep it with weight 0, they go on.",
    )
    tcp: TcpMonitor | None = Field(None, description="Settings of type TCP.")


class VirtualServerSpec(ApiModel):
    """The wanted state of a virtual server."""

    validations = listrules.VIRTUAL_SERVER

    addresses: list[Address] = Field(
        min_length=1,
        max_length=8,
        description="Virtual addresses, IPv4 and IPv6, such as 198.18.0.100 or fd00:18::100; up to 8.",
    )
    ports: Annotated[list[Port], Distinct("port", "protocol")] = Field(
        min_length=1, max_length=16, description="Ports of the virtual server."
    )
    forwarding: Forwarding = Field(Forwarding(), description="How packets reach the real servers.")
    scheduler: Scheduler = Field(Scheduler(), description="Which real server gets the next connection.")
    persistence: Persistence = Field(Persistence(), description="How a client stays with its real server.")
    real_servers: list[RealServer] = Field(
        min_length=1,
        max_length=256,
        description="Who serves: addresses and Services, mixed freely.",
        json_schema_extra={"x-kubernetes-list-type": "atomic"},
    )
    monitors: list[Monitor] = Field(
        [Monitor()],
        max_length=4,
        description=(
            "Checks of the real servers; all must pass. Default: one of type TCP. An empty list: all count as up."
        ),
        json_schema_extra={"x-kubernetes-list-type": "atomic"},
    )
    connection_mirroring: bool = Field(
        False,
        strict=True,
        description=(
            "Keep connections over the loss of a director: every connection is mirrored to the standbys. A kernel "
            "mirrors all its connections or none, so this also mirrors those of others on the same directors."
        ),
    )
    director_group: ObjectName = Field("default", description="The DirectorGroup whose directors serve this.")
