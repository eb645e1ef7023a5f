"""Packet sockets that see only what was asked for: the kernel filters, so a busy director's traffic costs nothing.

Answers to a virtual address must be seen before the IP layer: it drops packets that seem to come from the node itself.
"""

from __future__ import annotations

import ctypes
import socket
import struct
from collections.abc import Sequence

ARP, IPV4, IPV6 = 0x0806, 0x0800, 0x86DD
_SO_ATTACH_FILTER = 26
_LOAD_BYTE, _LOAD_BYTE_X, _LOAD_HEADER, _EQUAL, _RETURN = 0x30, 0x50, 0xB1, 0x15, 0x06
_BUFFER = 1024 * 1024

Instruction = tuple[int, int, int, int]


def sniffer(protocol: int, types: Sequence[int], link: str | None = None) -> socket.socket:
    """Return a packet socket for ICMP messages of these types over IPv4 or IPv6, or for all ARP (no types).

    It gives packets without their link header, of one link or of all. Raises OSError (EPERM without CAP_NET_RAW).
    """
    made = socket.socket(socket.AF_PACKET, socket.SOCK_DGRAM, 0 if link else socket.htons(protocol))
    try:
        made.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, _BUFFER)
        if types:
            _attach(made, _program(protocol, types))
        made.setblocking(False)
        if link:
            made.bind((link, protocol))
    except BaseException:
        made.close()
        raise
    return made


def _program(protocol: int, types: Sequence[int]) -> list[Instruction]:
    """Return classic BPF: this protocol's ICMP, and one of these types (``Documentation/networking/filter.rst``)."""
    if protocol == IPV4:
        head = [(_LOAD_BYTE, 0, 0, 9), (_EQUAL, 0, len(types) + 2, 1), (_LOAD_HEADER, 0, 0, 0), (_LOAD_BYTE_X, 0, 0, 0)]
    else:
        head = [(_LOAD_BYTE, 0, 0, 6), (_EQUAL, 0, len(types) + 1, 58), (_LOAD_BYTE, 0, 0, 40)]
    tests = [(_EQUAL, len(types) - number, 0, kind) for number, kind in enumerate(types)]
    return [*head, *tests, (_RETURN, 0, 0, 0), (_RETURN, 0, 0, 0xFFFF)]


def _attach(made: socket.socket, program: Sequence[Instruction]) -> None:
    code = ctypes.create_string_buffer(b"".join(struct.pack("=HBBI", *one) for one in program))
    made.setsockopt(socket.SOL_SOCKET, _SO_ATTACH_FILTER, struct.pack("@HP", len(program), ctypes.addressof(code)))
