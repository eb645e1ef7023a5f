"""UDP ports at which the kernel takes GUE packets apart, over generic netlink (``include/uapi/linux/fou.h``).

What is inside goes on as if it had come without UDP: a packet of protocol 4 or 41 finds the tunnel device that has
the outer addresses for its ends. *Any* other protocol would go on, too, past a packet filter that looks at ports:
so who may send to such a port is a matter of ``Rules.tunnelled``.
"""

from __future__ import annotations

import errno
import socket
import struct

from virtualserver.kernel.attributes import MalformedMessageError, attribute, parse
from virtualserver.kernel.channel import GENERIC, Channel
from virtualserver.kernel.generic import HEADER_SIZE, find, resolve
from virtualserver.kernel.port import KernelError
from virtualserver.kernel.refusals import RefusedError, check_decapsulation
from virtualserver.model.types import Decapsulation

_FAMILY = "fou"
_ADD, _DELETE, _GET = (struct.pack("=BBH", command, 1, 0) for command in (1, 2, 3))
_PORT, _AF, _TYPE, _LOCAL_V4, _LOCAL_V6, _PEER_V4, _PEER_V6, _PEER_PORT, _LINK = 1, 2, 4, 6, 7, 8, 9, 10, 11
_RESTRICTIONS = (_LOCAL_V4, _LOCAL_V6, _PEER_V4, _PEER_V6, _PEER_PORT, _LINK)
_GUE = 2  # FOU_ENCAP_GUE
_VERSION = {int(socket.AF_INET): 4, int(socket.AF_INET6): 6}
_ADDRESS_FAMILY = {version: family for family, version in _VERSION.items()}


class Fou:
    """Reads, adds and removes them. Not for several threads at once."""

    def __init__(self, deadline: float = 5.0) -> None:
        """``deadline`` in seconds bounds each exchange."""
        self._channel = Channel(GENERIC, deadline)
        self._family: int | None = None

    def close(self) -> None:
        """Close the socket."""
        self._channel.close()

    def read(self) -> frozenset[Decapsulation]:
        """Return the ports for GUE that are open to all addresses, ours and others'; raises KernelError.

        Loads no module: where it is not loaded, there are none.
        """
        try:
            return self._read()
        except OSError as error:
            if error.errno == errno.ENOENT and self._family is not None:
                self._family = None  # the module was reloaded: its family has another number now
                return self.read()
            raise KernelError(f"cannot read GUE ports: {error.strerror}") from error
        except (MalformedMessageError, LookupError, struct.error) as error:
            raise KernelError(f"cannot understand GUE ports: {error!r}") from error

    def add(self, one: Decapsulation) -> None:
        """Open a port; raises RefusedError."""
        check_decapsulation(one)
        self._request(_ADD, _key(one) + attribute(_TYPE, bytes([_GUE])))

    def remove(self, one: Decapsulation) -> None:
        """Close a port; raises RefusedError."""
        check_decapsulation(one)
        self._request(_DELETE, _key(one))

    def _read(self) -> frozenset[Decapsulation]:
        if self._family is None:
            self._family = find(self._channel, _FAMILY)
        if self._family is None:
            return frozenset()
        dump = self._channel.dump(self._family, _GET)
        found = (_decode(data, start + HEADER_SIZE, end) for data, start, end in dump.entries)
        return frozenset(one for one in found if one is not None)

    def _request(self, command: bytes, attributes: bytes) -> None:
        try:
            if self._family is None:
                self._family = resolve(self._channel, _FAMILY)
            self._channel.transact(self._family, command + attributes)
        except OSError as error:
            if error.errno != errno.ENOENT:
                raise RefusedError(error.errno or errno.EIO) from error
            self._family = None
            raise RefusedError(errno.EOPNOTSUPP, "GUE needs a module that this node does not have") from error


def _key(one: Decapsulation) -> bytes:
    return attribute(_PORT, struct.pack(">H", one.port)) + attribute(_AF, bytes([_ADDRESS_FAMILY[one.version]]))


def _decode(data: bytes, start: int, end: int) -> Decapsulation | None:
    """Return one entry of a dump; None for one that takes other packets, or not from and to all addresses."""
    fields = parse(data, start, end)
    version = _VERSION.get(fields[_AF][0])
    if version is None or fields[_TYPE][0] != _GUE or any(any(fields.get(kind, b"")) for kind in _RESTRICTIONS):
        return None
    return Decapsulation(struct.unpack(">H", fields[_PORT])[0], version)
