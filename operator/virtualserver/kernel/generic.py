"""Generic netlink families by name (``include/uapi/linux/genetlink.h``)."""

from __future__ import annotations

import struct

from virtualserver.kernel.attributes import attribute, parse
from virtualserver.kernel.channel import Channel

HEADER_SIZE = 4
"""Bytes of ``struct genlmsghdr`` between the message's header and its attributes."""

_CONTROLLER = 16  # GENL_ID_CTRL
_GET_FAMILY = struct.pack("=BBH", 3, 1, 0)  # CTRL_CMD_GETFAMILY
_FAMILY_ID, _FAMILY_NAME = 1, 2


def resolve(channel: Channel, name: str) -> int:
    """Return a family's number, which the kernel gives out anew each time its module is loaded.

    The kernel loads the module for this where it knows which one. Raises OSError, ENOENT for an unknown family.
    """
    answer = channel.transact(_CONTROLLER, _GET_FAMILY + attribute(_FAMILY_NAME, name.encode() + b"\0"))
    return _number(parse(answer, HEADER_SIZE, len(answer)))


def find(channel: Channel, name: str) -> int | None:
    """Return a family's number, or None when its module is not loaded, and load nothing. Raises OSError."""
    for data, start, end in channel.dump(_CONTROLLER, _GET_FAMILY).entries:
        fields = parse(data, start + HEADER_SIZE, end)
        if fields.get(_FAMILY_NAME, b"").rstrip(b"\0") == name.encode():
            return _number(fields)
    return None


def _number(fields: dict[int, bytes]) -> int:
    return int(struct.unpack_from("=H", fields[_FAMILY_ID])[0])
