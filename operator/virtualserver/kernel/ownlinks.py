"""What rtnetlink tells of a link of ours, as a value; pure (``include/uapi/linux/if_tunnel.h``).

Our mark is the link's group: unlike an alias it can be given in the request that makes the link, so there is no
moment in which a link of ours is not known as such.
"""

from __future__ import annotations

import struct
from ipaddress import IPv4Address, IPv6Address

from virtualserver.kernel.attributes import parse
from virtualserver.model.types import IPAddress, LinkKind, OwnLink

MARK = 0x7673
"""``IFLA_GROUP`` of our links ("vs"), shown by ``ip link`` as ``group 30323``."""

INNER_PROTOCOL = {LinkKind.IPIP: 4, LinkKind.SIT: 41, LinkKind.IP6TNL: 0}
"""``IFLA_IPTUN_PROTO`` that we ask for: the protocol number after the outer header, 0 for either."""

GRE_CHECKSUM = 0x8000  # GRE_CSUM

_INFO_KIND, _INFO_DATA = 1, 2
_IPTUN_LINK, _IPTUN_LOCAL, _IPTUN_REMOTE, _IPTUN_PROTO = 1, 2, 3, 9
_GRE_LINK, _GRE_IFLAGS, _GRE_LOCAL, _GRE_REMOTE = 1, 2, 6, 7
_UNKNOWN = OwnLink(LinkKind.UNKNOWN)


def decode(info: bytes, *, up: bool) -> OwnLink:
    """Return a link by the value of its ``IFLA_LINKINFO``; kind UNKNOWN when it is set as we never set one.

    Raises MalformedMessageError when lengths do not fit.
    """
    fields = parse(info, 0, len(info))
    name = fields.get(_INFO_KIND, b"").split(b"\0", 1)[0].decode(errors="replace")
    data = parse(fields.get(_INFO_DATA, b""), 0, len(fields.get(_INFO_DATA, b"")))
    try:
        match name:
            case LinkKind.DUMMY:
                return OwnLink(LinkKind.DUMMY, up=up)
            case LinkKind.IPIP | LinkKind.SIT | LinkKind.IP6TNL:
                return _tunnel(LinkKind(name), data, up)
            case LinkKind.GRE | LinkKind.IP6GRE:
                return _gre(LinkKind(name), data, up)
    except (KeyError, struct.error, ValueError):
        pass  # one odd link must not hide the rest of the node
    return _UNKNOWN


def _tunnel(kind: LinkKind, data: dict[int, bytes], up: bool) -> OwnLink:
    if data[_IPTUN_PROTO][0] != INNER_PROTOCOL[kind] or any(data[_IPTUN_LINK]):
        return _UNKNOWN
    return OwnLink(kind, _address(data[_IPTUN_LOCAL]), _address(data[_IPTUN_REMOTE]), up=up)


def _gre(kind: LinkKind, data: dict[int, bytes], up: bool) -> OwnLink:
    flags: int = struct.unpack(">H", data[_GRE_IFLAGS])[0]
    if flags & ~GRE_CHECKSUM or any(data[_GRE_LINK]):
        return _UNKNOWN
    return OwnLink(kind, _address(data[_GRE_LOCAL]), _address(data[_GRE_REMOTE]), bool(flags), up)


def _address(packed: bytes) -> IPAddress | None:
    """Return an end of a tunnel; None when it is left open."""
    if not any(packed):
        return None
    return IPv4Address(packed) if len(packed) == 4 else IPv6Address(packed)
