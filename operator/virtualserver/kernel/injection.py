"""Hands connections to the sync daemon of this node, as if another director had sent them.

A sender mirrors a connection when packets of it come; one that is idle it never mirrors again. So a director that
returns asks the active one for its table, and takes it in this way.
"""

from __future__ import annotations

import socket
import struct
import time
from collections.abc import Callable, Iterable

from virtualserver.kernel import syncwire
from virtualserver.kernel.port import KernelError
from virtualserver.model.connections import Connection
from virtualserver.model.failover import SyncDaemon

_BURST = 16
_PAUSE = 0.005
"""Seconds after each burst: the daemon's socket holds some 90 messages, and says nothing of those it drops."""

_LINK = struct.Struct("@4s4si")  # struct ip_mreqn: group, address, index


def inject(connections: Iterable[Connection], receiver: SyncDaemon, pause: Callable[[float], None] = time.sleep) -> int:
    """Send connections to the receiver that runs here; return how many messages went out. Blocks. Raises KernelError.

    Their virtual services must be programmed: an entry whose real server is not there would be forwarded by NAT.
    Whether the receiver took them, only the table tells. Other directors on the link never see them: a message ends at
    this node (TTL 0).
    """
    sent = 0
    try:
        with _sender(receiver) as sender:
            for message in syncwire.messages(connections, receiver.sync_id):
                sender.sendto(message, (str(receiver.group), receiver.port))
                sent += 1
                if sent % _BURST == 0:
                    pause(_PAUSE)
    except OSError as error:
        raise KernelError(f"cannot hand connections to the sync daemon: {error.strerror}") from error
    return sent


def _sender(receiver: SyncDaemon) -> socket.socket:
    """Return a socket whose datagrams to the group come back on the receiver's link, and go nowhere else."""
    index = socket.if_nametoindex(receiver.link)
    if receiver.group.version == 4:
        sender = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        level, options = socket.IPPROTO_IP, (socket.IP_MULTICAST_IF, socket.IP_MULTICAST_TTL, socket.IP_MULTICAST_LOOP)
        link = _LINK.pack(b"", b"", index)
    else:
        sender = socket.socket(socket.AF_INET6, socket.SOCK_DGRAM)
        level = socket.IPPROTO_IPV6
        options = (socket.IPV6_MULTICAST_IF, socket.IPV6_MULTICAST_HOPS, socket.IPV6_MULTICAST_LOOP)
        link = b""
    try:
        interface, hops, loop = options
        sender.setsockopt(level, interface, link or index)
        sender.setsockopt(level, hops, 0)
        sender.setsockopt(level, loop, 1)
    except BaseException:
        sender.close()
        raise
    return sender
