"""The table of connections of this network namespace (``/proc/net/ip_vs_conn_sync``): a parser, and a thin reader.

A line, ports and IPv4 addresses in hexadecimal (``ip_vs_conn.c``: ``ip_vs_conn_sync_seq_show``)::

    Pro FromIP   FPrt ToIP     TPrt DestIP   DPrt State       Origin Expires
    TCP C6120002 9C40 C6120064 0050 C6120115 1F90 ESTABLISHED SYNC       899

The first seven words are the same on every director that knows a connection. The file is no snapshot: while others
write, an entry may be missed or be there twice. And the kernel walks from the start of the table for each page that is
read, so reading costs the square of the table's size: whoever needs only some entries, takes the first ones. Their
order is that of a hash with a seed, so these are a fair sample.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator
from functools import lru_cache
from ipaddress import IPv4Address, IPv6Address
from pathlib import Path

from virtualserver.kernel.port import KernelError
from virtualserver.model.addresses import IPAddress
from virtualserver.model.connections import Connection
from virtualserver.model.types import Protocol

TABLE = Path("/proc/thread-self/net/ip_vs_conn_sync")
"""Of the thread, not the process: a thread may live in another namespace."""
_PROTOCOLS = {one.value: one for one in Protocol}
_WORDS = 10
_IPV4_DIGITS = 8


def lines(table: Path = TABLE) -> Iterator[str]:
    """Yield the entries as the kernel prints them, one line each. Raises KernelError."""
    try:
        with table.open(encoding="ascii", errors="replace") as file:
            next(file, "")
            yield from file
    except OSError as error:
        raise KernelError(f"cannot read the table of connections: {error.strerror}") from error


def parse(found: Iterable[str]) -> Iterator[Connection]:
    """Yield what lines say; those of other protocols (firewall marks, say), and no lines at all, are passed over."""
    for line in found:
        one = entry(line)
        if one is not None:
            yield one


def entry(line: str) -> Connection | None:
    """Return what a line says, None when it is of another protocol, or none at all."""
    words = line.split()
    protocol = _PROTOCOLS.get(words[0]) if len(words) == _WORDS else None
    if protocol is None:
        return None
    try:
        return Connection(
            protocol,
            _address(words[1]),
            int(words[2], 16),
            _address(words[3]),
            int(words[4], 16),
            _address(words[5]),
            int(words[6], 16),
            words[7],
            int(words[9]),
            words[8] == "SYNC",
        )
    except ValueError:
        return None


def key(line: str) -> int:
    """Return a number for the words of a line that are the same on every director; another one in each process."""
    return hash(line.rsplit(None, 3)[0]) if line else 0


def keys(found: Iterable[str]) -> dict[int, Connection]:
    """Return what lines say, by their keys."""
    return {key(line): one for line in found if (one := entry(line)) is not None}


def of(found: Iterable[str], addresses: Iterable[IPAddress]) -> Iterator[str]:
    """Yield the lines of some virtual addresses."""
    words = {f"{one.packed.hex().upper()}" if one.version == 4 else one.exploded for one in addresses}
    for line in found:
        parts = line.split(None, 4)
        if len(parts) > 3 and parts[3] in words:
            yield line


def read(table: Path = TABLE) -> Iterator[Connection]:
    """Yield the table's entries. Raises KernelError."""
    return parse(lines(table))


def count(connections: Iterable[Connection]) -> Counter[IPAddress]:
    """Return how many entries, templates included, each virtual address has."""
    return Counter(one.virtual for one in connections)


@lru_cache(maxsize=1 << 16)
def _address(word: str) -> IPAddress:
    return IPv4Address(int(word, 16)) if len(word) == _IPV4_DIGITS else IPv6Address(word)
