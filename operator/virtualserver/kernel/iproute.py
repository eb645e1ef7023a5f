"""Changes to links and addresses, by pyroute2; reading them is ``links``, which is done far more often.

pyroute2's socket belongs to one thread and must not be used inside a running event loop; the agent's calls come from
threads of a pool. So it is opened for each round of changes and closed after it (about 1 ms).
"""

from __future__ import annotations

import errno
import socket
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from pyroute2 import IPRoute
from pyroute2.netlink.exceptions import NetlinkError

from virtualserver.kernel.links import Link
from virtualserver.kernel.ownlinks import GRE_CHECKSUM, INNER_PROTOCOL, MARK
from virtualserver.kernel.refusals import NOT_OURS, RefusedError
from virtualserver.model.types import LinkAddress, LinkKind, OwnLink

ADDRESS_MARK = 118
"""``IFA_PROTO`` of our addresses, shown by ``ip -d address`` as ``proto 0x76``; kernels before 5.18 ignore it."""

_ALIAS = "virtualserver"
_FOREVER = 0xFFFFFFFF
_IFA_F_NODAD, _IFA_F_NOPREFIXROUTE = 0x02, 0x200


class Changes:
    """Each method raises RefusedError with the kernel's errno. Not for several threads at once."""

    def __init__(self, proc_sys: Path = Path("/proc/sys")) -> None:
        """``proc_sys`` is where the kernel's settings are mounted."""
        self._conf = proc_sys / "net/ipv4/conf"
        self._socket: Any = None

    def close(self) -> None:
        """End a round of changes; the next one may come from another thread."""
        if self._socket is not None:
            self._socket.close()
            self._socket = None

    def add_address(self, link: Link, address: LinkAddress) -> None:
        """Put an address on a link.

        Valid for ever and preferred never, so no connection of the node's own begins at it. A host address gets no
        route of its own; a network's address (a floating gateway) does, as usual. IPv6 skips duplicate address
        detection: who owns the address is not decided on the wire.
        """
        flags = _IFA_F_NODAD if address.address.version == 6 else 0
        if address.prefix == address.address.max_prefixlen:
            flags |= _IFA_F_NOPREFIXROUTE
        lifetime = {"preferred_lft": 0, "valid_lft": _FOREVER}
        with self._changing() as ip:
            ip.addr("add", index=link.index, **_host(address), flags=flags, proto=ADDRESS_MARK, **lifetime)

    def remove_address(self, link: Link, address: LinkAddress) -> None:
        """Take an address off a link.

        An IPv4 address that is the first of its network takes the others of that network with it unless the link
        promotes them (``promote_secondaries``): it is made to do so for this moment.
        """
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
            with self._changing() as ip:
                ip.addr("del", index=link.index, **_host(address))
        finally:
            if before:
                setting.write_bytes(before)

    def add_link(self, name: str, link: OwnLink) -> None:
        """Make a link of ours, down."""
        with self._changing() as ip:
            ip.link("add", ifname=name, kind=str(link.kind), group=MARK, **_settings(link))

    def raise_link(self, link: Link) -> None:
        """Set a link of ours up, and say whose it is where people look."""
        _require_ours(link)
        with self._changing() as ip:
            ip.link("set", index=link.index, state="up", ifalias=_ALIAS)

    def remove_link(self, link: Link) -> None:
        """Delete a link of ours."""
        _require_ours(link)
        with self._changing() as ip:
            ip.link("del", index=link.index)

    @contextmanager
    def _changing(self) -> Iterator[Any]:
        try:
            if self._socket is None:
                self._socket = IPRoute()
            yield self._socket
        except NetlinkError as error:
            raise RefusedError(error.code or errno.EIO) from error
        except OSError as error:
            raise RefusedError(error.errno or errno.EIO) from error


def _require_ours(link: Link) -> None:
    if link.own is None:
        raise RefusedError(errno.EPERM, NOT_OURS)


def _host(address: LinkAddress) -> dict[str, Any]:
    text = str(address.address)
    return {"local": text, "address": text, "prefixlen": address.prefix}


def _settings(link: OwnLink) -> dict[str, Any]:
    """Return the settings of a tunnel by pyroute2's names for them, each of which begins with the kind."""
    if link.kind is LinkKind.DUMMY:
        return {}
    settings: dict[str, Any] = {"local": str(link.local), "remote": str(link.remote)}
    if link.kind in INNER_PROTOCOL:
        settings["proto"] = INNER_PROTOCOL[link.kind]
    else:
        flags = GRE_CHECKSUM if link.checksum else 0
        # The kernel wants it big-endian; pyroute2 does so for gre, but packs ip6gre's in the machine's order.
        settings["iflags"] = flags if link.kind is LinkKind.GRE else socket.htons(flags)
    return {f"{link.kind}_{name}": value for name, value in settings.items()}
