"""IPVS messages: operations to bytes, pure; ``decoding`` is the way back.

Byte orders, which differ field by field: ports (service, server, tunnel) are big-endian; the persistence mask is a
big-endian netmask for IPv4 but a prefix length in host order for IPv6; all else is host order. Addresses always take
16 bytes, IPv4 in the first four. A service that is written is written whole, for absent fields would reset.

Speed matters here: 10,000 real servers are packed and read back in one go, and Python may be slow where it runs.
So a real server's message is one ``struct`` template, and the part that names its service is packed once per service.
"""

from __future__ import annotations

import socket
import struct

from virtualserver.kernel import wire
from virtualserver.kernel.attributes import attribute, header, message
from virtualserver.kernel.refusals import check_destination, check_service
from virtualserver.model.operations import (
    AddDestination,
    AddService,
    DestinationOperation,
    RemoveDestination,
    RemoveService,
    ServiceOperation,
    SetDestination,
    SetService,
)
from virtualserver.model.schedulers import flag_bits
from virtualserver.model.types import (
    DestinationContent,
    IPAddress,
    ServiceContent,
    ServiceKey,
)

_FAMILY = {4: int(socket.AF_INET), 6: int(socket.AF_INET6)}
_U16 = struct.Struct("=H")
_U32 = struct.Struct("=I")
_PORT = struct.Struct(">H")
_TWO_U32 = struct.Struct("=II")
_MAXIMUM_PORT = 0xFFFF

_GENERIC = {  # struct genlmsghdr: command, version, reserved
    command: struct.pack("=BBH", command, wire.VERSION, 0)
    for command in (*range(wire.CMD_NEW_SERVICE, wire.CMD_GET_DEST + 1), wire.CMD_GET_INFO)
}
_SERVICE_COMMAND = {
    AddService: _GENERIC[wire.CMD_NEW_SERVICE],
    SetService: _GENERIC[wire.CMD_SET_SERVICE],
    RemoveService: _GENERIC[wire.CMD_DEL_SERVICE],
}
_DESTINATION_COMMAND = {
    AddDestination: _GENERIC[wire.CMD_NEW_DEST],
    SetDestination: _GENERIC[wire.CMD_SET_DEST],
    RemoveDestination: _GENERIC[wire.CMD_DEL_DEST],
}

# One real server: the nested attribute's header, then address, port and family, then (not when it is removed) 56 bytes
# of settings. The service's part, 48 bytes, stands before it.
_SERVICE_ID_SIZE = 48
_KEY_SIZE = 40
_SETTINGS = struct.Struct("=4sI4sI4sI4sI4sBxxx4sHxx4sHxx")
_KEY_HEADERS = header(wire.ATTR_DEST, _KEY_SIZE - 4) + header(wire.DEST_ADDR, 16)
_FULL_HEADERS = header(wire.ATTR_DEST, _KEY_SIZE - 4 + _SETTINGS.size) + header(wire.DEST_ADDR, 16)
_REQUEST = struct.Struct(f"=IHHII4s{_SERVICE_ID_SIZE}s8s16s4sHxx8s")
_PORT_HEADER = header(wire.DEST_PORT, 2)
_FAMILY_ATTRIBUTE = {
    version: attribute(wire.DEST_ADDR_FAMILY, _U16.pack(family)) for version, family in _FAMILY.items()
}
_METHOD_HEADER = header(wire.DEST_FWD_METHOD, 4)
_WEIGHT_HEADER = header(wire.DEST_WEIGHT, 4)
_UPPER_HEADER = header(wire.DEST_U_THRESH, 4)
_LOWER_HEADER = header(wire.DEST_L_THRESH, 4)
_TUNNEL_TYPE_HEADER = header(wire.DEST_TUN_TYPE, 1)
_TUNNEL_PORT_HEADER = header(wire.DEST_TUN_PORT, 2)
_TUNNEL_FLAGS_HEADER = header(wire.DEST_TUN_FLAGS, 2)


class Encoder:
    """Packs requests for one resolved family number; remembers the last service and settings it packed."""

    def __init__(self, family: int) -> None:
        self.family = family
        self._service: ServiceKey | None = None
        self._service_id = b""
        self._content: DestinationContent | None = None
        self._settings = b""

    @staticmethod
    def generic(command: int) -> bytes:
        """Return the fixed part between a message's header and its attributes."""
        return _GENERIC[command]

    def service(self, operation: ServiceOperation, flags: int, sequence: int) -> bytes:
        """Return the request for a virtual service; raises RefusedError for what cannot be expressed."""
        settings = b""
        if not isinstance(operation, RemoveService):
            settings = _service_settings(operation.key, operation.content)
        attributes = _service_id(operation.key) + settings
        payload = _SERVICE_COMMAND[type(operation)] + attribute(wire.ATTR_SERVICE, attributes)
        return message(self.family, flags, sequence, payload)

    def destination(self, operation: DestinationOperation, flags: int, sequence: int) -> bytes:
        """Return the request for a real server; raises RefusedError for what cannot be expressed."""
        service, key = operation.service, operation.key
        if service is not self._service:
            self._service_id = attribute(wire.ATTR_SERVICE, _service_id(service))
            self._service = service
        if isinstance(operation, RemoveDestination):
            headers, settings = _KEY_HEADERS, b""
        else:
            if operation.content is not self._content or key.port > _MAXIMUM_PORT:
                check_destination(key, operation.content)
            headers, settings = _FULL_HEADERS, self._packed_settings(operation.content)
        return (
            _REQUEST.pack(
                _REQUEST.size + len(settings),
                self.family,
                flags,
                sequence,
                0,
                _DESTINATION_COMMAND[type(operation)],
                self._service_id,
                headers,
                key.address.packed,
                _PORT_HEADER,
                socket.htons(key.port),
                _FAMILY_ATTRIBUTE[key.address.version],
            )
            + settings
        )

    def _packed_settings(self, content: DestinationContent) -> bytes:
        if content is self._content:
            return self._settings
        tunnel = content.tunnel
        self._settings = _SETTINGS.pack(
            _METHOD_HEADER,
            content.method,
            _WEIGHT_HEADER,
            content.weight,
            _UPPER_HEADER,
            content.upper_threshold,
            _LOWER_HEADER,
            content.lower_threshold,
            _TUNNEL_TYPE_HEADER,
            tunnel.type,
            _TUNNEL_PORT_HEADER,
            socket.htons(tunnel.port),
            _TUNNEL_FLAGS_HEADER,
            tunnel.checksum * wire.TUNNEL_F_CSUM | tunnel.remote_checksum * wire.TUNNEL_F_REMCSUM,
        )
        self._content = content
        return self._settings


def service_id(key: ServiceKey) -> bytes:
    """Return the nested attribute that names a service, as a dump of its real servers wants it."""
    return attribute(wire.ATTR_SERVICE, _service_id(key))


def _service_id(key: ServiceKey) -> bytes:
    return (
        attribute(wire.SVC_AF, _U16.pack(_FAMILY[key.address.version]))
        + attribute(wire.SVC_PROTOCOL, _U16.pack(wire.PROTOCOL_NUMBERS[key.protocol]))
        + attribute(wire.SVC_ADDR, key.address.packed.ljust(16, b"\0"))
        + attribute(wire.SVC_PORT, _PORT.pack(key.port))
    )


def _service_settings(key: ServiceKey, content: ServiceContent) -> bytes:
    check_service(key, content)
    bits = flag_bits(content.flags) | (wire.SVC_F_PERSISTENT if content.persistence_timeout else 0)
    return (
        attribute(wire.SVC_SCHED_NAME, content.scheduler.encode() + b"\0")
        + attribute(wire.SVC_FLAGS, _TWO_U32.pack(bits, 0xFFFFFFFF))
        + attribute(wire.SVC_TIMEOUT, _U32.pack(content.persistence_timeout))
        + attribute(wire.SVC_NETMASK, _netmask(key.address, content.persistence_prefix))
    )


def _netmask(address: IPAddress, prefix: int) -> bytes:
    if address.version == 6:
        return _U32.pack(prefix)
    return (0xFFFFFFFF << (32 - prefix) & 0xFFFFFFFF).to_bytes(4, "big")
