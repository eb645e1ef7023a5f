"""Closed choices of the API, spelled as users write them."""

from __future__ import annotations

import enum


class ForwardingMode(enum.StrEnum):
    """How a director hands packets to a real server."""

    NAT = "NAT"
    TUNNEL = "Tunnel"
    DIRECT_ROUTING = "DirectRouting"


class TunnelType(enum.StrEnum):
    """How packets are wrapped on their way through a tunnel."""

    IPIP = "IPIP"
    GUE = "GUE"
    GRE = "GRE"


class TransportProtocol(enum.StrEnum):
    """Protocols of a virtual server's ports."""

    TCP = "TCP"
    UDP = "UDP"
    SCTP = "SCTP"


class PersistenceType(enum.StrEnum):
    """How a client stays with its real server."""

    NONE = "None"
    SOURCE_ADDRESS = "SourceAddress"


class MonitorType(enum.StrEnum):
    """How a real server is checked."""

    TCP = "TCP"


class OnDown(enum.StrEnum):
    """What happens to a real server that a monitor calls down."""

    REMOVE = "Remove"
    QUIESCE = "Quiesce"


class AdminState(enum.StrEnum):
    """What the owner wants of a real server."""

    ENABLED = "Enabled"
    DRAINING = "Draining"
    OFFLINE = "Offline"


class RealServerType(enum.StrEnum):
    """Which member of the real-server union is set."""

    ADDRESS = "Address"
    SERVICE = "Service"


class RealServerState(enum.StrEnum):
    """What a real server is to the director now."""

    UP = "Up"
    DOWN = "Down"
    DRAINING = "Draining"
    OFFLINE = "Offline"
    UNKNOWN = "Unknown"


class DirectorRole(enum.StrEnum):
    """What a director is to a virtual server; Unknown while its agent does not answer."""

    ACTIVE = "Active"
    STANDBY = "Standby"
    UNKNOWN = "Unknown"


class GroupRole(enum.StrEnum):
    """What a director is to its group; Unknown while its agent does not answer."""

    ACTIVE = "Active"
    STANDBY = "Standby"
    NOT_READY = "NotReady"
    UNKNOWN = "Unknown"


class MirrorState(enum.StrEnum):
    """How a standby's connections compare with the active director's."""

    IN_STEP = "InStep"
    BEHIND = "Behind"
    ALONE = "Alone"
    UNKNOWN = "Unknown"
