"""The sync daemons of this network namespace, which mirror connections, over generic netlink (``ip_vs_sync.c``).

All numbers are in host byte order, the port as well; groups are addresses as on the wire.
"""

from __future__ import annotations

import errno
import struct
from collections.abc import Mapping
from ipaddress import IPv4Address, IPv6Address

from virtualserver.kernel import wire
from virtualserver.kernel.attributes import NLM_F_ACK, NLM_F_REQUEST, MalformedMessageError, attribute, message, parse
from virtualserver.kernel.channel import GENERIC, Channel
from virtualserver.kernel.generic import HEADER_SIZE, resolve
from virtualserver.kernel.port import KernelError
from virtualserver.kernel.refusals import RefusedError, check_daemon
from virtualserver.model.failover import SYNC_TTL, SyncDaemon, SyncRole

_U16 = struct.Struct("=H")
_U32 = struct.Struct("=I")
_NEW, _DELETE, _GET, _INFO = (
    struct.pack("=BBH", command, wire.VERSION, 0)
    for command in (wire.CMD_NEW_DAEMON, wire.CMD_DEL_DAEMON, wire.CMD_GET_DAEMON, wire.CMD_GET_INFO)
)
_STATES = {SyncRole.SENDER: wire.STATE_MASTER, SyncRole.RECEIVER: wire.STATE_BACKUP}
_ROLES = {state: role for role, state in _STATES.items()}
_HEADERS = {4: 20 + 8, 6: 40 + 8}
"""Bytes of IP and UDP headers around a message."""
_MTU = 1500
"""What a sender counts with whatever its link says, and a receiver at least (``start_sync_thread``)."""


class SyncDaemons:
    """Reads, starts and stops them. Not for several threads at once."""

    def __init__(self, deadline: float = 5.0) -> None:
        """``deadline`` in seconds bounds each exchange."""
        self._channel = Channel(GENERIC, deadline)
        self._family: int | None = None

    def close(self) -> None:
        """Close the socket."""
        self._channel.close()

    def read(self, mtus: Mapping[str, int]) -> frozenset[SyncDaemon]:
        """Return those that run (whether they work, only a measurement tells); ``mtus`` by link. Raises KernelError."""
        try:
            entries = self._channel.dump(self._resolved(), _GET).entries
            return frozenset(decode(data, start + HEADER_SIZE, end, mtus) for data, start, end in entries)
        except OSError as error:
            if error.errno == errno.ENOENT and self._family is not None:
                self._family = None  # the module was reloaded: its family has another number now
                return self.read(mtus)
            raise KernelError(f"cannot read the sync daemons: {error.strerror}") from error
        except (MalformedMessageError, LookupError, struct.error, ValueError) as error:
            raise KernelError(f"cannot understand the sync daemons: {error!r}") from error

    def start(self, daemon: SyncDaemon) -> None:
        """Start one; raises RefusedError."""
        check_daemon(daemon)
        self._request(_NEW, encode(daemon))

    def stop(self, role: SyncRole) -> None:
        """Stop the one of a role, what it has collected is lost; raises RefusedError."""
        self._request(_DELETE, attribute(wire.ATTR_DAEMON, attribute(wire.DAEMON_STATE, _U32.pack(_STATES[role]))))

    def _request(self, command: bytes, attributes: bytes) -> None:
        """Send it with a question behind it, for one answer may be missing.

        A daemon that is stopped before its thread has run ends with EINTR, which netlink never reports
        (``netlink_rcv_skb``). Answers come in order: when the question has one and nothing was refused, it is done.
        """
        try:
            family, first = self._resolved(), self._channel.sequence(2)
            requests = [
                message(family, NLM_F_REQUEST, first, command + attributes),
                message(family, NLM_F_REQUEST | NLM_F_ACK, first + 1, _INFO),
            ]
            code = self._channel.batch(requests, first).get(0, 0)
        except OSError as error:
            code = error.errno or errno.EIO
        if code == errno.ENOENT:
            self._family = None
            raise RefusedError(errno.EOPNOTSUPP, "this kernel has no IPVS")
        if code:
            raise RefusedError(code)

    def _resolved(self) -> int:
        if self._family is None:
            self._family = resolve(self._channel, wire.FAMILY_NAME)
        return self._family


def encode(daemon: SyncDaemon) -> bytes:
    """Return the attributes of a request to start a daemon."""
    group = wire.DAEMON_MCAST_GROUP if daemon.group.version == 4 else wire.DAEMON_MCAST_GROUP6
    fields = (
        attribute(wire.DAEMON_STATE, _U32.pack(_STATES[daemon.role]))
        + attribute(wire.DAEMON_MCAST_IFN, daemon.link.encode() + b"\0")
        + attribute(wire.DAEMON_SYNC_ID, _U32.pack(daemon.sync_id))
        + attribute(group, daemon.group.packed)
        + attribute(wire.DAEMON_MCAST_PORT, _U16.pack(daemon.port))
        + attribute(wire.DAEMON_MCAST_TTL, bytes([SYNC_TTL]))
    )
    if daemon.max_length is not None:
        fields += attribute(wire.DAEMON_SYNC_MAXLEN, _U16.pack(daemon.max_length))
    return attribute(wire.ATTR_DAEMON, fields)


def decode(data: bytes, start: int, end: int, mtus: Mapping[str, int]) -> SyncDaemon:
    """Return one daemon of a dump; ``max_length`` is None where it is what the kernel takes when it is not told.

    Raises LookupError, ValueError, struct.error or MalformedMessageError.
    """
    nested = parse(data, start, end)[wire.ATTR_DAEMON]
    fields = parse(nested, 0, len(nested))
    role = _ROLES[_U32.unpack_from(fields[wire.DAEMON_STATE])[0]]
    link = fields[wire.DAEMON_MCAST_IFN].split(b"\0", 1)[0].decode(errors="surrogateescape")
    packed = fields.get(wire.DAEMON_MCAST_GROUP6)
    group = IPv6Address(packed[:16]) if packed else IPv4Address(fields[wire.DAEMON_MCAST_GROUP][:4])
    length: int = _U16.unpack_from(fields[wire.DAEMON_SYNC_MAXLEN])[0]
    mtu = _MTU if role is SyncRole.SENDER else max(_MTU, mtus.get(link, _MTU))
    return SyncDaemon(
        role=role,
        link=link,
        sync_id=_U32.unpack_from(fields[wire.DAEMON_SYNC_ID])[0],
        group=group,
        port=_U16.unpack_from(fields[wire.DAEMON_MCAST_PORT])[0],
        max_length=None if length == min(mtu, 0xFFFF) - _HEADERS[group.version] else length,
    )
