"""Bytes of requests and dumps about sync daemons."""

from __future__ import annotations

import struct
from dataclasses import replace
from ipaddress import ip_address

import pytest

from virtualserver.kernel import wire
from virtualserver.kernel.attributes import attribute, parse
from virtualserver.kernel.syncdaemons import decode, encode
from virtualserver.model.failover import SyncDaemon, SyncRole

SENDER = SyncDaemon(SyncRole.SENDER, "eth0", 51, ip_address("224.0.0.81"), 8848)


def _fields(request: bytes) -> dict[int, bytes]:
    nested = parse(request, 0, len(request))[wire.ATTR_DAEMON]
    return parse(nested, 0, len(nested))


def _entry(daemon: SyncDaemon, length: int) -> bytes:
    """Return a dump entry as the kernel writes it: it always says how long messages are."""
    fields = _fields(encode(daemon)) | {wire.DAEMON_SYNC_MAXLEN: struct.pack("=H", length)}
    return attribute(wire.ATTR_DAEMON, b"".join(attribute(kind, value) for kind, value in fields.items()))


def _decoded(daemon: SyncDaemon, length: int, mtu: int) -> int | None:
    entry = _entry(daemon, length)
    found = decode(entry, 0, len(entry), {"eth0": mtu})
    assert replace(found, max_length=daemon.max_length) == daemon
    return found.max_length


def test_numbers_are_in_host_order() -> None:
    """Unlike those of services: a port in network order would be another one, and read back as if all were well."""
    fields = _fields(encode(replace(SENDER, port=8848, max_length=300)))
    assert fields[wire.DAEMON_MCAST_PORT] == struct.pack("=H", 8848)
    assert fields[wire.DAEMON_SYNC_MAXLEN] == struct.pack("=H", 300)
    assert fields[wire.DAEMON_SYNC_ID] == struct.pack("=I", 51)
    assert fields[wire.DAEMON_STATE] == struct.pack("=I", 1)
    assert fields[wire.DAEMON_MCAST_GROUP] == bytes([224, 0, 0, 81])
    assert fields[wire.DAEMON_MCAST_TTL] == b"\x01"
    assert fields[wire.DAEMON_MCAST_IFN] == b"eth0\0"


def test_length_is_left_to_the_kernel_unless_asked_for() -> None:
    assert wire.DAEMON_SYNC_MAXLEN not in _fields(encode(SENDER))


@pytest.mark.parametrize(
    ("role", "group", "length", "mtu", "shown"),
    [
        (SyncRole.SENDER, "224.0.0.81", 1472, 1500, None),
        (SyncRole.SENDER, "224.0.0.81", 1472, 9000, None),  # a sender does not look at its link
        (SyncRole.SENDER, "ff02::81", 1452, 1500, None),
        (SyncRole.SENDER, "ff02::81", 1472, 1500, 1472),
        (SyncRole.RECEIVER, "224.0.0.81", 8972, 9000, None),
        (SyncRole.RECEIVER, "224.0.0.81", 1472, 9000, 1472),
        (SyncRole.RECEIVER, "224.0.0.81", 1472, 1280, None),
        (SyncRole.RECEIVER, "ff02::81", 65487, 65536, None),
        (SyncRole.SENDER, "224.0.0.81", 80, 1500, 80),
    ],
)
def test_length_of_the_kernels_own_choice_is_none(
    role: SyncRole, group: str, length: int, mtu: int, shown: int | None
) -> None:
    assert _decoded(replace(SENDER, role=role, group=ip_address(group)), length, mtu) == shown
