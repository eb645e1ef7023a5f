"""Takes addresses off this node at once: all in one batch, without a library, so that a small process can do it."""

from __future__ import annotations

import errno
import os
import struct
from collections.abc import Iterable

from virtualserver.kernel.attributes import NLM_F_ACK, NLM_F_REQUEST, attribute, message
from virtualserver.kernel.channel import ROUTE, Channel
from virtualserver.kernel.links import look_once
from virtualserver.model.addresses import LinkAddress

_RTM_DELADDR = 21
_ADDRESS = struct.Struct("=BBBBI")  # struct ifaddrmsg: family, prefix, flags, scope, index
_FAMILY = {4: 2, 6: 10}  # AF_INET, AF_INET6
_IFA_ADDRESS, _IFA_LOCAL = 1, 2
_BATCH = 256


def withdraw(addresses: Iterable[LinkAddress], deadline: float = 5.0) -> int:
    """Remove those of the addresses that this node holds; return how many there were.

    Raises KernelError when they cannot be read, OSError when one cannot be removed (the others are). One that
    somebody else removes meanwhile counts as removed. ``deadline`` in seconds bounds each exchange with the kernel.
    """
    links, present = look_once(deadline)
    found = sorted(present.intersection(addresses), key=str)
    channel = Channel(ROUTE, deadline)
    failed = 0
    try:
        for start in range(0, len(found), _BATCH):
            part = found[start : start + _BATCH]
            first = channel.sequence(len(part))
            requests = [
                _request(one, links[one.link].index, first + number, last=number == len(part) - 1)
                for number, one in enumerate(part)
            ]
            refused = channel.batch(requests, first).values()
            failed = next((code for code in refused if code not in (errno.EADDRNOTAVAIL, errno.ENODEV)), failed)
    finally:
        channel.close()
    if failed:
        raise OSError(failed, f"cannot remove addresses: {os.strerror(failed)}")
    return len(found)


def _request(one: LinkAddress, index: int, sequence: int, *, last: bool) -> bytes:
    host = one.address.packed
    fixed = _ADDRESS.pack(_FAMILY[one.address.version], one.prefix, 0, 0, index)
    payload = fixed + attribute(_IFA_LOCAL, host) + attribute(_IFA_ADDRESS, host)
    return message(_RTM_DELADDR, NLM_F_REQUEST | (NLM_F_ACK if last else 0), sequence, payload)
