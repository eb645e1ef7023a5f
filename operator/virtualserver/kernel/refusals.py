"""What a refused operation means, in words: errno numbers of IPVS say little and the kernel adds no text.

Also the refusals that we add ourselves, before anything is sent: values that a netlink field cannot carry, or that
the kernel would take and store as something else. Adapter and fake share them. Source of the kernel's part:
``net/netfilter/ipvs/ip_vs_ctl.c``.
"""

from __future__ import annotations

import errno
import os
import re
from collections.abc import Callable

from virtualserver.kernel.modules import missing_module
from virtualserver.model.failover import SyncDaemon, SyncRole
from virtualserver.model.operations import (
    AddAddress,
    AddDecapsulation,
    AddDestination,
    AddLink,
    AddService,
    Allow,
    ConfigureInstances,
    Forbid,
    Operation,
    RaiseLink,
    RemoveAddress,
    RemoveDecapsulation,
    RemoveDestination,
    RemoveLink,
    RemoveService,
    ReplaceRules,
    SetDestination,
    SetService,
    StartDaemon,
    StopDaemon,
    WriteSysctl,
)
from virtualserver.model.schedulers import ONE_PACKET, SCHEDULERS
from virtualserver.model.types import (
    Decapsulation,
    DestinationContent,
    DestinationKey,
    LinkAddress,
    LinkKind,
    OwnLink,
    Protocol,
    Rules,
    ServiceContent,
    ServiceKey,
    TunnelType,
)

MAXIMUM_TIMEOUT = 31 * 86400
"""Longest persistence, in seconds, as in ipvsadm: the kernel multiplies by HZ in 32 bits and would wrap."""
_MAXIMUM_PORT = 0xFFFF
_MAXIMUM_THRESHOLD = 0xFFFFFFFF
_MAXIMUM_WEIGHT = 0x7FFFFFFF
_MAXIMUM_SEGMENT = 0xFFFE  # 0xFFFF means "as the path allows" to xt_TCPMSS
_MAXIMUM_LINK_NAME = 15  # IFNAMSIZ
_MAXIMUM_SYNC_ID = 0xFF
_MESSAGE = {SyncRole.SENDER: 1, SyncRole.RECEIVER: 1024}
"""The shortest message, in bytes, that a sync daemon can be told to collect, or to take."""
_LINK_NAME = re.compile(r"vs-[a-z0-9-]{1,12}")
_FILTERED_LINK = re.compile(r"[A-Za-z0-9_][A-Za-z0-9_.-]{0,14}")
"""Links that rules may name: a + at the end would stand for many."""
_OUTER_VERSION = {LinkKind.IPIP: 4, LinkKind.SIT: 4, LinkKind.GRE: 4, LinkKind.IP6TNL: 6, LinkKind.IP6GRE: 6}

NOT_OURS = "the link of this name is not ours"


FailHook = Callable[[int, Operation], int]
"""(n, operation) -> errno to pretend for the n-th write since the start (from 1), 0 to do it; for tests of failures."""


class RefusedError(Exception):
    """An operation that cannot be done; carries an errno and, where known, the reason in words."""

    def __init__(self, number: int, reason: str = "") -> None:
        super().__init__(reason or os.strerror(number))
        self.errno = number
        self.reason = reason


def check_service(key: ServiceKey, content: ServiceContent) -> None:
    """Refuse what would be stored differently from what was asked for; raises RefusedError."""
    _check_port(key.port)
    if not 0 <= content.persistence_timeout <= MAXIMUM_TIMEOUT:
        reason = f"persistence timeout {content.persistence_timeout} s is not within 0 to 31 days"
        raise RefusedError(errno.ERANGE, reason)
    bits = key.address.max_prefixlen
    if not (0 if key.address.version == 4 else 1) <= content.persistence_prefix <= bits:
        reason = f"persistence prefix {content.persistence_prefix} is not one of IPv{key.address.version}"
        raise RefusedError(errno.EINVAL, reason)
    if ONE_PACKET in content.flags and key.protocol is not Protocol.UDP:
        # the kernel would store it and never look at it (ip_vs_core.c: ip_vs_schedule); ipvsadm refuses it, too
        raise RefusedError(errno.EINVAL, f"only UDP can be scheduled packet by packet, not {key}")
    stray = content.flags.difference(SCHEDULERS.get(content.scheduler, ()), {ONE_PACKET})
    if stray:
        raise RefusedError(errno.EINVAL, f"scheduler {content.scheduler} has no flag {', '.join(sorted(stray))}")
    if not 1 <= len(content.scheduler.encode()) <= 15:
        raise RefusedError(errno.EINVAL, f"scheduler name {content.scheduler!r} does not have 1 to 15 bytes")


def check_destination(key: DestinationKey, content: DestinationContent) -> None:
    """Refuse numbers that have no place in their field; raises RefusedError."""
    _check_port(key.port)
    _check_port(content.tunnel.port)
    if not 0 <= content.weight <= _MAXIMUM_WEIGHT:
        raise RefusedError(errno.ERANGE, f"weight {content.weight} is not within 0 to {_MAXIMUM_WEIGHT}")
    if not 0 <= content.lower_threshold <= content.upper_threshold <= _MAXIMUM_THRESHOLD:
        reason = f"thresholds lower {content.lower_threshold}, upper {content.upper_threshold} are out of range"
        raise RefusedError(errno.ERANGE, reason)


def check_address(address: LinkAddress) -> None:
    """Refuse a prefix length that the address does not have; raises RefusedError."""
    if not 0 < address.prefix <= address.address.max_prefixlen:
        raise RefusedError(errno.EINVAL, f"prefix length {address.prefix} is not one of IPv{address.address.version}")


def check_link(name: str, link: OwnLink) -> None:
    """Refuse names that are not ours to give, and tunnels that would take packets from anyone; raises RefusedError."""
    if not _LINK_NAME.fullmatch(name):
        raise RefusedError(errno.EINVAL, f"{name!r} is no name for a link of ours: vs- and up to 12 of a-z 0-9 -")
    if link.checksum and link.kind not in (LinkKind.GRE, LinkKind.IP6GRE):
        raise RefusedError(errno.EINVAL, f"a link of kind {link.kind} has no checksum")
    if link.kind is LinkKind.DUMMY:
        if link.local or link.remote:
            raise RefusedError(errno.EINVAL, "a dummy link has no ends")
        return
    version = _OUTER_VERSION.get(link.kind)
    if version is None:
        raise RefusedError(errno.EINVAL, f"links of kind {link.kind} cannot be made")
    for end in (link.local, link.remote):
        if end is None or end.version != version or end.is_multicast or end.is_unspecified:
            raise RefusedError(errno.EINVAL, f"{end} is no end of a tunnel of kind {link.kind}: it takes IPv{version}")


def check_decapsulation(one: Decapsulation) -> None:
    """Refuse what is no port of an IP version; raises RefusedError."""
    if one.version not in (4, 6) or not 1 <= one.port <= _MAXIMUM_PORT:
        raise RefusedError(errno.ERANGE, f"there is no {one}")


def check_daemon(daemon: SyncDaemon) -> None:
    """Refuse what the kernel would cut off or replace by a value of its own; raises RefusedError."""
    if not 1 <= len(daemon.link.encode()) <= _MAXIMUM_LINK_NAME:
        raise RefusedError(errno.ENODEV)
    if not 0 <= daemon.sync_id <= _MAXIMUM_SYNC_ID:
        raise RefusedError(errno.ERANGE, f"sync id {daemon.sync_id} is not within 0 to {_MAXIMUM_SYNC_ID}")
    if not 1 <= daemon.port <= _MAXIMUM_PORT:
        raise RefusedError(errno.ERANGE, f"port {daemon.port} is not within 1 to {_MAXIMUM_PORT}")
    shortest, longest = _MESSAGE[daemon.role], _MAXIMUM_PORT - (28 if daemon.group.version == 4 else 48)
    if daemon.max_length is not None and not shortest <= daemon.max_length <= longest:
        reason = f"a {daemon.role}'s messages of {daemon.max_length} bytes are not within {shortest} to {longest}"
        raise RefusedError(errno.ERANGE, reason)
    if not daemon.group.is_multicast:
        raise RefusedError(errno.EINVAL, f"{daemon.group} is no multicast group")


def check_rules(rules: Rules) -> None:
    """Refuse rules that say nothing, or two things at once; raises RefusedError."""
    for key in rules.guarded:
        if key.protocol is not Protocol.TCP:
            raise RefusedError(errno.EINVAL, f"{key} cannot be guarded: only TCP has resets")
    for one in rules.tunnelled:
        check_decapsulation(Decapsulation(one.port, one.source.version))
    for member in rules.members:
        _check_port(member.port)
        if not _FILTERED_LINK.fullmatch(member.link):
            raise RefusedError(errno.EINVAL, f"a rule cannot name the link {member.link!r}")
        if member.source.is_multicast or member.source.is_unspecified:
            raise RefusedError(errno.EINVAL, f"nobody sends from {member.source}")
    for clamp in rules.clamped:
        if not 1 <= clamp.segment <= _MAXIMUM_SEGMENT:
            raise RefusedError(errno.ERANGE, f"a segment of {clamp.segment} bytes is not within 1 to 65534")
    if len({clamp.address for clamp in rules.clamped}) < len(rules.clamped):
        raise RefusedError(errno.EINVAL, "an address cannot have two lengths of segments")


def _check_port(port: int) -> None:
    if not 0 <= port <= _MAXIMUM_PORT:
        raise RefusedError(errno.ERANGE, f"port {port} is not within 0 to {_MAXIMUM_PORT}")


def explain(operation: Operation, number: int, reason: str = "") -> str:
    """Return one line: what was to be done, why it was refused, the errno's name."""
    name = errno.errorcode.get(number, str(number))
    why = reason or _reason(operation, number) or _common(number)
    module = missing_module(operation, number)
    way_out = f"; load the module {module} (modprobe {module})" if module else ""
    return f"{describe(operation)}: {why} ({name}){way_out}"


def describe(operation: Operation) -> str:
    """Return an operation in words: ``add address 198.18.0.100/32 on vs-addresses``."""
    match operation:
        case AddService() | SetService() | RemoveService():
            what = f"virtual server {operation.key}"
        case AddDestination() | SetDestination() | RemoveDestination():
            what = f"real server {operation.key} of {operation.service}"
        case AddAddress() | RemoveAddress():
            what = f"address {operation.address}"
        case AddLink() | RaiseLink() | RemoveLink():
            what = f"link {operation.name}" + (f" ({operation.link})" if isinstance(operation, AddLink) else "")
        case AddDecapsulation() | RemoveDecapsulation():
            what = str(operation.decapsulation)
        case WriteSysctl():
            return f"write {operation.name} = {operation.value}"
        case ReplaceRules():
            return "replace packet-filter rules"
        case ConfigureInstances():
            return f"configure {len(operation.instances)} virtual routers of keepalived"
        case Allow() | Forbid():
            return f"{type(operation).__name__.lower()} this node to hold the addresses of group {operation.group}"
        case StartDaemon():
            return f"start the sync daemon ({operation.daemon.role}) on {operation.daemon.link}"
        case StopDaemon():
            return f"stop the sync daemon ({operation.role})"
    verb = _SUBJECT.sub("", type(operation).__name__)
    return f"{verb.lower()} {what}"


_SUBJECT = re.compile("(Service|Destination|Address|Link|Decapsulation)$")
_THERE = "it is there already"
_MISSING = "it is not there"
_NO_SERVICE = "its virtual server is not there"
_NO_LINK = "there is no such link"
_BAD_VALUE = "the kernel does not take this value"
_REASONS: dict[tuple[type[Operation], int], str] = {
    (AddService, errno.EEXIST): _THERE,
    (SetService, errno.ESRCH): _MISSING,
    (RemoveService, errno.ESRCH): _MISSING,
    (AddDestination, errno.EEXIST): _THERE,
    (AddDestination, errno.ESRCH): _NO_SERVICE,
    (SetDestination, errno.ESRCH): _NO_SERVICE,
    (SetDestination, errno.ENOENT): _MISSING,
    (RemoveDestination, errno.ESRCH): _NO_SERVICE,
    (RemoveDestination, errno.ENOENT): _MISSING,
    (AddAddress, errno.EEXIST): _THERE,
    (AddAddress, errno.ENODEV): _NO_LINK,
    (AddAddress, errno.EADDRNOTAVAIL): "it cannot be put on that link",
    (RemoveAddress, errno.ENODEV): _NO_LINK,
    (RemoveAddress, errno.EADDRNOTAVAIL): "it is not on that link",
    (AddLink, errno.EEXIST): "there is a link of this name, or a tunnel between these addresses",
    (AddLink, errno.EOPNOTSUPP): "this kernel does not have links of this kind",
    (RaiseLink, errno.ENODEV): _NO_LINK,
    (RemoveLink, errno.ENODEV): _NO_LINK,
    (StartDaemon, errno.EEXIST): "one runs already",
    (StartDaemon, errno.ENODEV): _NO_LINK,
    (StartDaemon, errno.ENETUNREACH): "the link is down",
    (StartDaemon, errno.EINVAL): "the kernel mirrors nothing while real servers are of another family than an address",
    (StopDaemon, errno.ESRCH): "none runs",
    (Allow, errno.ENOENT): "keepalived knows no such group",
    (Allow, errno.ESRCH): "keepalived does not run on this node",
    (AddDecapsulation, errno.EADDRINUSE): "a program of this node has the port",
    (RemoveDecapsulation, errno.EINVAL): _MISSING,
    (WriteSysctl, errno.ENOENT): "no such setting (is its module loaded?)",
    (WriteSysctl, errno.EINVAL): _BAD_VALUE,
    (WriteSysctl, errno.ERANGE): _BAD_VALUE,
}
"""What an errno means to one command; ENOENT, for one, is a scheduler, a real server or a file."""


def _reason(operation: Operation, number: int) -> str:
    """Return the meaning of an errno that depends on the command; empty when it does not."""
    if isinstance(operation, AddService | SetService) and number == errno.ENOENT:
        return f"this kernel does not have the scheduler {operation.content.scheduler}"
    if isinstance(operation, AddDestination | SetDestination) and number == errno.EINVAL:
        return _invalid_destination(operation)
    return _REASONS.get((type(operation), number), "")


def _invalid_destination(operation: AddDestination | SetDestination) -> str:
    """Name the likeliest of the reasons that the kernel puts under EINVAL."""
    tunnel = operation.content.tunnel
    if tunnel.type == TunnelType.GUE and tunnel.port == 0:
        return "a GUE tunnel needs a port"
    if operation.key.address.version != operation.service.address.version:
        return "an address of the other family needs Tunnel forwarding, and no connection mirroring on this node"
    return "the address is no unicast address of a host"


def _common(number: int) -> str:
    match number:
        case errno.EPERM | errno.EACCES:
            return "not permitted: needs CAP_NET_ADMIN in the first user namespace"
        case errno.EROFS:
            return "the file system is read-only"
        case errno.ENOBUFS:
            return "the kernel's answer was lost; read again to learn what became of it"
        case errno.ETIMEDOUT:
            return "no answer in time; read again to learn what became of it"
        case errno.ENOPROTOOPT:
            return "the IPVS module is being removed"
        case errno.EAFNOSUPPORT:
            return "this address family is off on this node"
    return os.strerror(number).lower()
