"""Every reason that status, events, logs and metrics may give: one closed list, one word each."""

from __future__ import annotations

import enum


class ConditionType(enum.StrEnum):
    """Names of conditions, as the Gateway API has them, plus our own."""

    ACCEPTED = "Accepted"
    RESOLVED_REFS = "ResolvedRefs"
    PROGRAMMED = "Programmed"
    AVAILABLE = "Available"


class Reason(enum.StrEnum):
    """Why something is as it is."""

    # Accepted
    ACCEPTED = "Accepted"
    INVALID_SPEC = "InvalidSpec"
    ADDRESS_FORBIDDEN = "AddressForbidden"
    ADDRESS_IN_USE = "AddressInUse"
    REAL_SERVER_FORBIDDEN = "RealServerForbidden"
    DIRECTOR_GROUP_NOT_FOUND = "DirectorGroupNotFound"
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
    # Available
    REAL_SERVERS_UP = "RealServersUp"
    NO_REAL_SERVER_UP = "NoRealServerUp"
    NO_REAL_SERVERS = "NoRealServers"
    NOT_PROGRAMMED = "NotProgrammed"
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
    # events
    REAL_SERVER_UP = "RealServerUp"
    REAL_SERVER_DOWN = "RealServerDown"
    ANNOUNCED = "Announced"
    WITHDRAWN = "Withdrawn"
    DRIFT_REPAIRED = "DriftRepaired"
    DIRECTOR_CHOSEN = "DirectorChosen"
    # what a repair or a removal concerns when no resource is left to blame
    ORPHAN_REMOVED = "OrphanRemoved"
