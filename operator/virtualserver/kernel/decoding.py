"""Dump entries of IPVS to values; the other half of ``codec``, pure.

What a value cannot express is shown, never dropped, so that a diff sees what another hand has set: an unknown
forwarding method becomes a member named ``UNKNOWN_7``, a mask that is no prefix becomes prefix -1, service flags and
a persistence engine that we never ask for become names in ``flags`` (``bits-0x20``, ``pe-sip``).
Statistics are skipped without being looked at.
"""

from __future__ import annotations

import enum
import socket
import struct
from ipaddress import IPv4Address, IPv6Address
from typing import TypeVar

from virtualserver.kernel import wire
from virtualserver.kernel.attributes import MalformedMessageError, header, parse
from virtualserver.model.schedulers import flag_names
from virtualserver.model.types import (
    DestinationContent,
    DestinationKey,
    ForwardingMethod,
    IPAddress,
    ServiceContent,
    ServiceKey,
    Tunnel,
    TunnelType,
)

_U16 = struct.Struct("=H")
_U32 = struct.Struct("=I")
_PORT = struct.Struct(">H")
_TWO_U32 = struct.Struct("=II")
_AF_INET6 = int(socket.AF_INET6)
_UNKNOWN_SERVICE_BITS = 0xFFFFFFFF & ~(
    wire.SVC_F_PERSISTENT | wire.SVC_F_HASHED | wire.SVC_F_ONEPACKET | wire.SVC_F_SCHEDULER
)

# How current kernels lay out a real server: the settings, then three connection counts, then the family, then
# statistics. Offsets count from the nested attribute's own header (ip_vs_genl_fill_dest).
#
#   0 nested | 4 address | 24 port | 32 method weight tunnel (3) thresholds (2) | 88 counts (3) | 112 family | 120 ...
_SETTINGS = 32
_COUNTS = 88
_FAMILY = 112
_ADDRESS_HEADER = header(wire.DEST_ADDR, 16)
_PORT_HEADER = header(wire.DEST_PORT, 2)
_COUNTS_HEADER = header(wire.DEST_ACTIVE_CONNS, 4)
_FAMILY_HEADER = header(wire.DEST_ADDR_FAMILY, 2)
_TUNNEL_TYPES = frozenset(int(member) for member in TunnelType)
_IPV6 = _U16.pack(_AF_INET6)
_SETTINGS_ATTRIBUTES = {
    wire.DEST_FWD_METHOD,
    wire.DEST_WEIGHT,
    wire.DEST_TUN_TYPE,
    wire.DEST_TUN_PORT,
    wire.DEST_TUN_FLAGS,
    wire.DEST_U_THRESH,
    wire.DEST_L_THRESH,
}


def fingerprint(data: bytes, start: int, end: int) -> bytes:
    """Return bytes of a real server's entry that change whenever its key or settings change.

    Cheap (no decoding): equal fingerprints mean an equal real server. Connection counts and statistics are left
    out where the layout is the known one; elsewhere the whole entry is the fingerprint, which is right but restless.
    """
    counts, family = start + _COUNTS, start + _FAMILY
    if data[counts : counts + 4] == _COUNTS_HEADER and data[family : family + 4] == _FAMILY_HEADER:
        return data[start:counts] + data[family + 4 : family + 6]
    return data[start:end]


def decode_service(data: bytes, start: int, end: int) -> tuple[ServiceKey, ServiceContent] | None:
    """Return one service of a dump; None for one that we have no key for (firewall mark, other protocol).

    ``start`` is where the attributes begin. Raises MalformedMessageError.
    """
    fields = parse(data, start, end)
    nested = fields.get(wire.ATTR_SERVICE)
    if nested is None:
        raise MalformedMessageError("service entry without a service")
    fields = parse(nested, 0, len(nested))
    if wire.SVC_FWMARK in fields:
        return None
    try:
        protocol = wire.PROTOCOLS.get(_U16.unpack_from(fields[wire.SVC_PROTOCOL])[0])
        if protocol is None:
            return None
        family: int = _U16.unpack_from(fields[wire.SVC_AF])[0]
        address = _address(family, fields[wire.SVC_ADDR])
        key = ServiceKey(protocol, address, _PORT.unpack_from(fields[wire.SVC_PORT])[0])
        return key, _service_content(address, fields)
    except (KeyError, struct.error, ValueError) as error:
        raise MalformedMessageError(f"service entry: {error!r}") from error


def _service_content(address: IPAddress, fields: dict[int, bytes]) -> ServiceContent:
    scheduler = fields[wire.SVC_SCHED_NAME].split(b"\0", 1)[0].decode(errors="replace")
    bits: int = _TWO_U32.unpack_from(fields[wire.SVC_FLAGS])[0]
    timeout: int = _U32.unpack_from(fields[wire.SVC_TIMEOUT])[0]
    names = set(flag_names(scheduler, bits))
    if bits & _UNKNOWN_SERVICE_BITS:
        names.add(f"bits-{bits & _UNKNOWN_SERVICE_BITS:#x}")
    if bits & wire.SVC_F_PERSISTENT and not timeout:
        names.add("persistent-0")
    if wire.SVC_PE_NAME in fields:
        names.add("pe-" + fields[wire.SVC_PE_NAME].split(b"\0", 1)[0].decode(errors="replace"))
    return ServiceContent(
        scheduler=scheduler,
        flags=frozenset(names),
        persistence_timeout=timeout if bits & wire.SVC_F_PERSISTENT else 0,
        persistence_prefix=_prefix(address, fields[wire.SVC_NETMASK]),
    )


def _prefix(address: IPAddress, mask: bytes) -> int:
    if address.version == 6:
        return int(_U32.unpack_from(mask)[0])
    value = int.from_bytes(mask[:4], "big")
    prefix = value.bit_count()
    return prefix if value == 0xFFFFFFFF << (32 - prefix) & 0xFFFFFFFF else -1


class DestinationDecoder:
    """Decodes real servers; settings seen before are recognised by their bytes, for most servers share them."""

    _LIMIT = 1024

    def __init__(self) -> None:
        self._known: dict[bytes, DestinationContent] = {}

    def decode(self, data: bytes, start: int, end: int, version: int) -> tuple[DestinationKey, DestinationContent]:
        """Return one real server of a dump; ``version`` is the IP version of its service.

        ``start`` is where the attributes begin. Raises MalformedMessageError.
        """
        content = self._known.get(data[start + _SETTINGS : start + _COUNTS])
        if content is not None and _standard(data, start):
            port: int = _PORT.unpack_from(data, start + _SETTINGS - 4)[0]
            if data[start + _FAMILY + 4 : start + _FAMILY + 6] == _IPV6:
                return DestinationKey(IPv6Address(data[start + 8 : start + 24]), port), content
            return DestinationKey(IPv4Address(int.from_bytes(data[start + 8 : start + 12], "big")), port), content
        key, content = decode_destination(data, start, end, version)
        self._remember(data, start, content)
        return key, content

    def _remember(self, data: bytes, start: int, content: DestinationContent) -> None:
        """Keep the settings' bytes if, and only if, they are the whole of the settings and nothing else."""
        settings = data[start + _SETTINGS : start + _COUNTS]
        if not _standard(data, start) or parse(settings, 0, len(settings)).keys() != _SETTINGS_ATTRIBUTES:
            return
        if len(self._known) >= self._LIMIT:
            self._known.clear()
        self._known[settings] = content


def _standard(data: bytes, start: int) -> bool:
    """Tell whether a real server's entry has the layout drawn above (headers stand where they should)."""
    return (
        data[start + 4 : start + 8] == _ADDRESS_HEADER
        and data[start + 24 : start + 28] == _PORT_HEADER
        and data[start + _COUNTS : start + _COUNTS + 4] == _COUNTS_HEADER
        and data[start + _FAMILY : start + _FAMILY + 4] == _FAMILY_HEADER
    )


def decode_destination(data: bytes, start: int, end: int, version: int) -> tuple[DestinationKey, DestinationContent]:
    """Return one real server of a dump; ``version`` is the IP version of its service (kernels before 3.18 say none).

    ``start`` is where the attributes begin. Raises MalformedMessageError.
    """
    nested = parse(data, start, end).get(wire.ATTR_DEST)
    if nested is None:
        raise MalformedMessageError("real server entry without a real server")
    fields = parse(nested, 0, len(nested))
    try:
        default = _AF_INET6 if version == 6 else int(socket.AF_INET)
        stated = fields.get(wire.DEST_ADDR_FAMILY)
        family: int = _U16.unpack_from(stated)[0] if stated else default
        key = DestinationKey(_address(family, fields[wire.DEST_ADDR]), _PORT.unpack_from(fields[wire.DEST_PORT])[0])
        return key, DestinationContent(
            weight=_U32.unpack_from(fields[wire.DEST_WEIGHT])[0],
            method=_method(_U32.unpack_from(fields[wire.DEST_FWD_METHOD])[0]),
            upper_threshold=_U32.unpack_from(fields[wire.DEST_U_THRESH])[0],
            lower_threshold=_U32.unpack_from(fields[wire.DEST_L_THRESH])[0],
            tunnel=_tunnel(fields),
        )
    except (KeyError, struct.error, ValueError) as error:
        raise MalformedMessageError(f"real server entry: {error!r}") from error


def _address(family: int, packed: bytes) -> IPAddress:
    return IPv6Address(packed[:16]) if family == _AF_INET6 else IPv4Address(packed[:4])


def _method(value: int) -> ForwardingMethod:
    try:
        return ForwardingMethod(value)
    except ValueError:
        return _unknown(ForwardingMethod, value)


def _tunnel(fields: dict[int, bytes]) -> Tunnel:
    """Return how a real server is tunnelled to; kernels before 5.3 know nothing but IPIP and say nothing."""
    if wire.DEST_TUN_TYPE not in fields:
        return Tunnel()
    value = fields[wire.DEST_TUN_TYPE][0]
    flags: int = _U16.unpack_from(fields[wire.DEST_TUN_FLAGS])[0]
    return Tunnel(
        type=TunnelType(value) if value in _TUNNEL_TYPES else _unknown(TunnelType, value),
        port=_PORT.unpack_from(fields[wire.DEST_TUN_PORT])[0],
        checksum=bool(flags & wire.TUNNEL_F_CSUM),
        remote_checksum=bool(flags & wire.TUNNEL_F_REMCSUM),
    )


_Enum = TypeVar("_Enum", bound=enum.IntEnum)


def _unknown(kind: type[_Enum], value: int) -> _Enum:
    """Return a member that ``kind`` lacks: it compares and prints like one, and equals none of them."""
    member = int.__new__(kind, value)
    member._name_ = f"UNKNOWN_{value}"
    member._value_ = value
    return member
