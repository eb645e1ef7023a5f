"""Every reason that status, events, logs and metrics may give: one closed list, one word each."""

from __future__ import annotations

import enum


class ConditionType(enum.StrEnum):
    """Names of conditions, as the Gateway API has them, plus our own."""

    ACCEPTED = "Accepted"
    RESOLVED_REFS = "ResolvedRefs"
    PROGRAMMED = "Programmed"
    AVAILABLE = "Available"
    DEGRADED = "Degraded"
    MIRRORED = "Mirrored"


class Reason(enum.StrEnum):
    """Why something is as it is."""

    # Accepted
    ACCEPTED = "Accepted"
    INVALID_SPEC = "InvalidSpec"
    ADDRESS_FORBIDDEN = "AddressForbidden"
    ADDRESS_IN_USE = "AddressInUse"
    REAL_SERVER_FORBIDDEN = "RealServerForbidden"
    DIRECTOR_GROUP_NOT_FOUND = "DirectorGroupNotFound"
    DIRECTOR_GROUP_NOT_ACCEPTED = "DirectorGroupNotAccepted"
    MIXED_FAMILIES = "MixedFamilies"
    ROUTER_ID_IN_USE = "RouterIdInUse"
    SYNC_ID_IN_USE = "SyncIdInUse"
    GATEWAY_IN_USE = "GatewayInUse"
    MIRRORING_CONFLICT = "MirroringConflict"
    # ResolvedRefs
    RESOLVED = "Resolved"
    SERVICE_NOT_FOUND = "ServiceNotFound"
    SERVICE_PORT_NOT_FOUND = "ServicePortNotFound"
    # Programmed
    PROGRAMMED = "Programmed"
    PENDING = "Pending"
    NOT_ACCEPTED = "NotAccepted"
    NO_DIRECTOR = "NoDirector"
    DIRECTOR_UNREACHABLE = "DirectorUnreachable"
    KERNEL_REFUSED = "KernelRefused"
    KERNEL_UNREADABLE = "KernelUnreadable"
    FOREIGN_SERVICE = "ForeignService"
    FOREIGN_ADDRESS = "ForeignAddress"
    FOREIGN_LINK = "ForeignLink"
    FOREIGN_PORT = "ForeignPort"
    LINK_NOT_FOUND = "LinkNotFound"
    KERNEL_MODULE_MISSING = "KernelModuleMissing"
    # Available
    REAL_SERVERS_UP = "RealServersUp"
    NO_REAL_SERVER_UP = "NoRealServerUp"
    NO_REAL_SERVERS = "NoRealServers"
    NOT_PROGRAMMED = "NotProgrammed"
    # Degraded: what preflight finds (docs/preflight.md)
    NO_FINDING = "NoFinding"
    OTHER_FINDING = "OtherFinding"
    NO_ROUTE_TO_REAL_SERVER = "NoRouteToRealServer"
    NO_ROUTE_BACK = "NoRouteBack"
    ADDRESS_ANSWERED_TWICE = "AddressAnsweredTwice"
    REVERSE_PATH_FILTER = "ReversePathFilter"
    DECAPSULATION_MISSING = "DecapsulationMissing"
    ADDRESS_NOT_HELD = "AddressNotHeld"
    MTU_TOO_SMALL = "MtuTooSmall"
    REPLIES_BYPASS_DIRECTOR = "RepliesBypassDirector"
    TUNNEL_SOURCE_UNKNOWN = "TunnelSourceUnknown"
    NOT_ON_LINK = "NotOnLink"
    LINK_DOWN = "LinkDown"
    PREFLIGHT_FAILED = "PreflightFailed"
    # a director and its group
    DIRECTOR_ACTIVE = "DirectorActive"
    DIRECTOR_STANDBY = "DirectorStandby"
    NO_ACTIVE_DIRECTOR = "NoActiveDirector"
    TWO_OWNERS = "TwoOwners"
    DIRECTOR_NOT_READY = "DirectorNotReady"
    NO_STANDBY = "NoStandby"
    DIRECTORS_READY = "DirectorsReady"
    # how the addresses came to a director
    FIRST = "First"
    REQUESTED = "Requested"
    DIRECTOR_LOST = "DirectorLost"
    DIRECTOR_YIELDED = "DirectorYielded"
    PREEMPTED = "Preempted"
    # Mirrored
    IN_STEP = "InStep"
    BEHIND = "Behind"
    ALONE = "Alone"
    NOT_MEASURED = "NotMeasured"
    # real servers
    MONITOR_SUCCEEDED = "MonitorSucceeded"
    NO_MONITOR = "NoMonitor"
    NOT_CHECKED_YET = "NotCheckedYet"
    CONNECTION_REFUSED = "ConnectionRefused"
    CONNECTION_TIMEOUT = "ConnectionTimeout"
    CONNECTION_RESET = "ConnectionReset"
    NO_ROUTE = "NoRoute"
    MONITOR_ERROR = "MonitorError"
    ADMIN_DRAINING = "AdminDraining"
    ADMIN_OFFLINE = "AdminOffline"
    ENDPOINT_TERMINATING = "EndpointTerminating"
    ENDPOINT_NOT_READY = "EndpointNotReady"
    ENDPOINT_FORBIDDEN = "EndpointForbidden"
    ENDPOINT_WITHOUT_NODE = "EndpointWithoutNode"
    ENDPOINT_ON_DIRECTOR = "EndpointOnDirector"
    # what keeps a director from its addresses
    NOT_PROGRAMMED_YET = "NotProgrammedYet"
    KEEPALIVED_DOWN = "KeepalivedDown"
    PURGING = "Purging"
    CATCHING_UP = "CatchingUp"
    HELD_DOWN = "HeldDown"
    FAILOVER_REQUESTED = "FailoverRequested"
    NODE_CORDONED = "NodeCordoned"
    # events
    REAL_SERVER_UP = "RealServerUp"
    REAL_SERVER_DOWN = "RealServerDown"
    ANNOUNCED = "Announced"
    WITHDRAWN = "Withdrawn"
    DRIFT_REPAIRED = "DriftRepaired"
    FAILED_OVER = "FailedOver"
    # what a repair or a removal concerns when no resource is left to blame
    ORPHAN_REMOVED = "OrphanRemoved"
