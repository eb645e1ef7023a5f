"""Connections as messages of the sync daemon, version 1 (``ip_vs_sync.c``: ``struct ip_vs_sync_mesg``), pure.

All is in network order. A message is a header and up to 255 entries, each padded to 4 bytes::

    | 0 u8 | sync id u8 | size u16 | entries u8 | version u8 | 0 u16 | entry ...
    entry: | type u8 | protocol u8 | size u16 | flags u32 | state u16 | client's port u16 | virtual port u16 |
           | server's port u16 | mark u32 | timeout u32 | client | virtual address | server |

What is not sent: how packets are forwarded (an entry takes that from its real server), sequence offsets of FTP, and
the data of persistence engines, which we never ask for.
"""

from __future__ import annotations

import struct
from collections.abc import Iterable, Iterator

from virtualserver.kernel.wire import PROTOCOL_NUMBERS
from virtualserver.model.connections import ESTABLISHED, TEMPLATE_STATES, Connection
from virtualserver.model.types import Protocol

MAXIMUM = 1000
"""Bytes of a message: every receiver takes 1024 (``start_sync_thread``)."""
_HEADER = struct.Struct(">BBHBbH")
_ENTRY = struct.Struct(">BBHIHHHHII")
_VERSION = 1
_INET6 = 1  # STYPE_F_INET6
_INACTIVE, _TEMPLATE = 0x0100, 0x1000  # IP_VS_CONN_F_*
_STATES: dict[Protocol, tuple[str, ...]] = {
    Protocol.TCP: (
        *("NONE", ESTABLISHED, "SYN_SENT", "SYN_RECV", "FIN_WAIT", "TIME_WAIT", "CLOSE", "CLOSE_WAIT", "LAST_ACK"),
        *("LISTEN", "SYNACK"),
    ),
    Protocol.UDP: ("UDP",),
    Protocol.SCTP: (
        *("NONE", "INIT1", "INIT", "COOKIE_SENT", "COOKIE_REPLIED", "COOKIE_WAIT", "COOKIE", "COOKIE_ECHOED"),
        *(ESTABLISHED, "SHUTDOWN_SENT", "SHUTDOWN_RECEIVED", "SHUTDOWN_ACK_SENT", "REJECTED", "CLOSED"),
    ),
}
"""Their names in the kernel's table, by their numbers (``ip_vs.h``)."""
_ACTIVE = frozenset((ESTABLISHED, "SYN_SENT", "SYN_RECV", "UDP"))
"""States in which a connection counts as active; and only such an entry replaces one with another real server. (UDP's
counts as inactive in a kernel that makes it; its next message says so.)"""


def messages(connections: Iterable[Connection], sync_id: int, maximum: int = MAXIMUM) -> Iterator[bytes]:
    """Yield messages of at most ``maximum`` bytes that make a receiver have these connections.

    Those in a state that we have no number for are left out. ``expires`` is sent as the time that the entry lasts
    until its next packet; for a template it must be the whole persistence timeout, for no packet ever renews it there.
    """
    entries: list[bytes] = []
    size = _HEADER.size
    for one in connections:
        entry = _entry(one)
        if entry and (size + len(entry) > maximum or len(entries) == 0xFF):
            yield _message(entries, size, sync_id)
            entries, size = [], _HEADER.size
        if entry:
            entries.append(entry)
            size += len(entry)
    if entries:
        yield _message(entries, size, sync_id)


def _message(entries: list[bytes], size: int, sync_id: int) -> bytes:
    return _HEADER.pack(0, sync_id, size, len(entries), _VERSION, 0) + b"".join(entries)


def _entry(one: Connection) -> bytes:
    """Return a connection's entry, whose length is a multiple of 4; empty for an unknown state."""
    try:
        state = (TEMPLATE_STATES if one.template else _STATES[one.protocol]).index(one.state)
    except ValueError:
        return b""
    addresses = one.client.packed + one.virtual.packed + one.server.packed
    flags = _TEMPLATE if one.template else 0 if one.state in _ACTIVE else _INACTIVE
    return (
        _ENTRY.pack(
            _INET6 if one.virtual.version == 6 else 0,
            PROTOCOL_NUMBERS[one.protocol],
            _ENTRY.size + len(addresses),
            flags,
            state,
            one.client_port,
            one.virtual_port,
            one.server_port,
            0,
            max(1, one.expires),  # 0 would mean the protocol's own timeout
        )
        + addresses
    )
