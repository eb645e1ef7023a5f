"""Netlink framing: message headers and attributes (``include/uapi/linux/netlink.h``); pure, knows no family.

A netlink message is a 16-byte header and a payload; a payload is a fixed part and attributes; an attribute is
length, type, value, each start aligned to 4 bytes::

    | length u32 | type u16 | flags u16 | sequence u32 | port u32 | payload ...          |
    payload:  | fixed part | length u16 | type u16 | value ... pad | length | type | ... |

All header numbers are in host byte order.
"""

from __future__ import annotations

import struct
from collections.abc import Iterator

HEADER = struct.Struct("=IHHII")
HEADER_SIZE = 16
_ATTRIBUTE = struct.Struct("=HH")
_TYPE_MASK = 0x3FFF  # NLA_TYPE_MASK: the two upper bits say "nested" and "network order"

NLMSG_ERROR = 2
NLMSG_DONE = 3

NLM_F_REQUEST = 0x01
NLM_F_ACK = 0x04
NLM_F_DUMP_INTR = 0x10
NLM_F_DUMP = 0x300
NLM_F_EXCL = 0x200
NLM_F_CREATE = 0x400


class MalformedMessageError(ValueError):
    """Lengths in a netlink message do not fit together; nothing of it may be believed."""


def attribute(kind: int, value: bytes) -> bytes:
    """Return one attribute, padded so that another can follow."""
    length = 4 + len(value)
    return _ATTRIBUTE.pack(length, kind) + value + bytes(-length % 4)


def header(kind: int, length: int) -> bytes:
    """Return the header of an attribute whose value has ``length`` bytes (for prepared templates)."""
    return _ATTRIBUTE.pack(4 + length, kind)


def parse(data: bytes, start: int, end: int) -> dict[int, bytes]:
    """Return the attributes of ``data[start:end]`` by type (the last one of a type wins).

    Raises MalformedMessageError when a length leaves the range.
    """
    found: dict[int, bytes] = {}
    while end - start >= 4:
        length, kind = _ATTRIBUTE.unpack_from(data, start)
        if length < 4 or start + length > end:
            raise MalformedMessageError(f"attribute of {length} bytes at {start}, message ends at {end}")
        found[kind & _TYPE_MASK] = data[start + 4 : start + length]
        start += (length + 3) & ~3
    return found


def message(kind: int, flags: int, sequence: int, payload: bytes) -> bytes:
    """Return one whole message; the port is 0, the kernel fills in ours."""
    return HEADER.pack(HEADER_SIZE + len(payload), kind, flags, sequence, 0) + payload


def messages(data: bytes) -> Iterator[tuple[int, int, int, int, int]]:
    """Yield (type, flags, sequence, payload start, end) of each message in a datagram.

    Raises MalformedMessageError when a length leaves the datagram.
    """
    start, size = 0, len(data)
    unpack = HEADER.unpack_from
    while size - start >= HEADER_SIZE:
        length, kind, flags, sequence, _ = unpack(data, start)
        end = start + length
        if length < HEADER_SIZE or end > size:
            raise MalformedMessageError(f"message of {length} bytes at {start}, datagram has {size}")
        yield kind, flags, sequence, start + HEADER_SIZE, end
        start = (end + 3) & ~3


def error_number(data: bytes, start: int) -> int:
    """Return the errno (positive, 0 for an acknowledgement) that an error or done payload begins with."""
    return -int(struct.unpack_from("=i", data, start)[0])
