"""Links and addresses of this network namespace over rtnetlink (``include/uapi/linux/rtnetlink.h``)."""

from __future__ import annotations

import errno
import socket
import struct
from dataclasses import dataclass
from ipaddress import IPv4Address, IPv6Address
from pathlib import Path

from virtualserver.kernel.attributes import NLM_F_CREATE, NLM_F_EXCL, MalformedMessageError, attribute, parse
from virtualserver.kernel.channel import ROUTE, Channel, Dump
from virtualserver.kernel.port import KernelError
from virtualserver.kernel.refusals import RefusedError, check_address
from virtualserver.model.types import IPAddress, LinkAddress

MARK = 118
"""``IFA_PROTO`` of our addresses, shown by ``ip -d address`` as ``proto 0x76``; kernels before 5.18 ignore it."""

_RTM_GETLINK, _RTM_NEWADDR, _RTM_DELADDR, _RTM_GETADDR = 18, 20, 21, 22
_LINK = struct.Struct("=BxHiII")  # struct ifinfomsg: family, device type, index, flags, change
_ADDRESS = struct.Struct("=BBBBI")  # struct ifaddrmsg: family, prefix, flags, scope, index
_IFLA_ADDRESS, _IFLA_IFNAME, _IFLA_EXT_MASK = 1, 3, 29
_SKIP_STATISTICS = 1 << 3  # RTEXT_FILTER_SKIP_STATS
_IFA_ADDRESS, _IFA_LOCAL, _IFA_CACHEINFO, _IFA_FLAGS, _IFA_PROTO = 1, 2, 6, 8, 11
_IFA_F_NODAD, _IFA_F_NOPREFIXROUTE = 0x02, 0x200
_FOREVER = 0xFFFFFFFF
_FAMILY = {4: int(socket.AF_INET), 6: int(socket.AF_INET6)}
_TRIES = 6

IFF_UP, IFF_LOOPBACK, IFF_NOARP = 0x1, 0x8, 0x80


@dataclass(frozen=True, slots=True)
class Link:
    """A link: index, name, ``IFF_`` flags, hardware address (empty for tunnels and the like)."""

    index: int
    name: str
    flags: int
    hardware: bytes


class Links:
    """Reads links and addresses, adds and removes addresses. Not for several threads at once."""

    def __init__(self, deadline: float = 5.0, proc_sys: Path = Path("/proc/sys")) -> None:
        """``deadline`` in seconds bounds each exchange; ``proc_sys`` is where the kernel's settings are mounted."""
        self._channel = Channel(ROUTE, deadline)
        self._conf = proc_sys / "net/ipv4/conf"

    def close(self) -> None:
        """Close the socket."""
        self._channel.close()

    def read(self) -> tuple[dict[str, Link], frozenset[LinkAddress]]:
        """Return all links by name, and all addresses of all of them. Raises KernelError."""
        for _ in range(_TRIES):
            try:
                links = self._links()
                addresses = self._addresses()
            except OSError as error:
                if error.errno == errno.EINTR:
                    continue  # links or addresses changed while they were read
                raise KernelError(f"cannot read links and addresses: {error.strerror}") from error
            except (MalformedMessageError, KeyError, struct.error) as error:
                raise KernelError(f"cannot understand links and addresses: {error!r}") from error
            names = {link.index: link.name for link in links.values()}
            if all(index in names for index, _, _ in addresses):
                return links, frozenset(LinkAddress(names[index], ip, prefix) for index, ip, prefix in addresses)
        raise KernelError("links and addresses kept changing while they were read")

    def link(self, name: str) -> Link:
        """Return one link; raises RefusedError with ENODEV when it is missing."""
        if not 1 <= len(name.encode()) <= 15:  # IFNAMSIZ
            raise RefusedError(errno.ENODEV)
        request = _LINK.pack(0, 0, 0, 0, 0) + attribute(_IFLA_IFNAME, name.encode() + b"\0")
        try:
            data = self._channel.transact(_RTM_GETLINK, request)
        except OSError as error:
            raise RefusedError(error.errno or errno.EIO) from error
        return _decode_link(data, 0, len(data))

    def add(self, address: LinkAddress) -> Link:
        """Put an address on a link and return the link; raises RefusedError.

        Valid for ever and preferred never, so no connection of the node's own begins at it. A host address gets no
        route of its own; a network's address (a floating gateway) does, as usual. IPv6 skips duplicate address
        detection: who owns the address is not decided on the wire.
        """
        check_address(address)
        link = self.link(address.link)
        flags = _IFA_F_NODAD if address.address.version == 6 else 0
        if address.prefix == address.address.max_prefixlen:
            flags |= _IFA_F_NOPREFIXROUTE
        attributes = (
            attribute(_IFA_CACHEINFO, struct.pack("=IIII", 0, _FOREVER, 0, 0))
            + attribute(_IFA_FLAGS, struct.pack("=I", flags))
            + attribute(_IFA_PROTO, bytes([MARK]))
        )
        self._change(_RTM_NEWADDR, NLM_F_CREATE | NLM_F_EXCL, link, address, attributes)
        return link

    def remove(self, address: LinkAddress) -> None:
        """Take an address off a link; raises RefusedError.

        An IPv4 address that is the first of its network takes the others of that network with it unless the link
        promotes them (``promote_secondaries``): it is made to do so for this moment.
        """
        check_address(address)
        link = self.link(address.link)
        setting = self._conf / address.link / "promote_secondaries"
        before = b""
        if address.address.version == 4 and address.prefix < 32:
            try:
                before = setting.read_bytes()
                setting.write_bytes(b"1")
            except OSError as error:
                reason = f"others of its network might vanish with it: {setting}: {error.strerror}"
                raise RefusedError(error.errno or errno.EIO, reason) from error
        try:
            self._change(_RTM_DELADDR, 0, link, address, b"")
        finally:
            if before:
                setting.write_bytes(before)

    def _change(self, kind: int, flags: int, link: Link, address: LinkAddress, attributes: bytes) -> None:
        ip = address.address
        payload = (
            _ADDRESS.pack(_FAMILY[ip.version], address.prefix, 0, 0, link.index)
            + attribute(_IFA_LOCAL, ip.packed)
            + attribute(_IFA_ADDRESS, ip.packed)
            + attributes
        )
        try:
            self._channel.transact(kind, payload, flags)
        except OSError as error:
            raise RefusedError(error.errno or errno.EIO) from error

    def _links(self) -> dict[str, Link]:
        request = _LINK.pack(0, 0, 0, 0, 0) + attribute(_IFLA_EXT_MASK, struct.pack("=I", _SKIP_STATISTICS))
        links = (_decode_link(*entry) for entry in self._channel.dump(_RTM_GETLINK, request).entries)
        return {link.name: link for link in links}

    def _addresses(self) -> list[tuple[int, IPAddress, int]]:
        return _decode_addresses(self._channel.dump(_RTM_GETADDR, _ADDRESS.pack(0, 0, 0, 0, 0)))


def _decode_link(data: bytes, start: int, end: int) -> Link:
    _, _, index, flags, _ = _LINK.unpack_from(data, start)
    fields = parse(data, start + _LINK.size, end)
    name = fields[_IFLA_IFNAME].split(b"\0", 1)[0].decode(errors="surrogateescape")
    return Link(index, name, flags, fields.get(_IFLA_ADDRESS, b""))


def _decode_addresses(dump: Dump) -> list[tuple[int, IPAddress, int]]:
    """Return (link index, address, prefix length in bits) of the IP addresses in a dump."""
    found: list[tuple[int, IPAddress, int]] = []
    for data, start, end in dump.entries:
        family, prefix, _, _, index = _ADDRESS.unpack_from(data, start)
        fields = parse(data, start + _ADDRESS.size, end)
        packed = fields.get(_IFA_LOCAL) or fields[_IFA_ADDRESS]  # they differ on point-to-point links only
        if family == socket.AF_INET:
            found.append((index, IPv4Address(packed), prefix))
        elif family == socket.AF_INET6:
            found.append((index, IPv6Address(packed), prefix))
    return found
