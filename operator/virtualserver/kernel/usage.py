"""What connections use on this node, from the tables below ``/proc/net`` (``tcp_ipv4.c``, ``ip_vs_ctl.c``)."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from ipaddress import IPv6Address, ip_address
from pathlib import Path

from virtualserver.kernel.port import KernelError
from virtualserver.model.types import DestinationKey, IPAddress, Protocol, ServiceKey
from virtualserver.model.usage import Usage

_OVER = {"06", "07", "0A"}
"""States of TCP in which nobody waits for anything: TIME_WAIT, CLOSE, LISTEN (``tcp_states.h``)."""
_PROTOCOLS = {"TCP", "UDP", "SCTP"}


def usage(proc_net: Path = Path("/proc/net")) -> Usage:
    """Return what is in use now; tables of modules that are not loaded are empty. Raises KernelError."""
    try:
        return Usage(
            frozenset((*_tcp(_lines(proc_net / "tcp")), *_tcp(_lines(proc_net / "tcp6")), *_sctp(proc_net))),
            frozenset(_entries(_lines(proc_net / "ip_vs"))),
            dict(_received(_lines(proc_net / "dev"))),
        )
    except (OSError, ValueError, LookupError) as error:
        raise KernelError(f"cannot read {proc_net}: {error}") from error


def held(proc_net: Path = Path("/proc/net")) -> dict[ServiceKey, tuple[int, int]]:
    """Return how many active and other connections each virtual service has. Raises KernelError."""
    found: dict[ServiceKey, tuple[int, int]] = {}
    try:
        for service, _, active, inactive in _destinations(_lines(proc_net / "ip_vs")):
            before = found.get(service, (0, 0))
            found[service] = before[0] + active, before[1] + inactive
    except (OSError, ValueError, LookupError) as error:
        raise KernelError(f"cannot read {proc_net}: {error}") from error
    return found


def _lines(path: Path) -> list[str]:
    try:
        return path.read_text().splitlines()
    except FileNotFoundError:
        return []


def _tcp(lines: list[str]) -> Iterator[IPAddress]:
    for line in lines[1:]:
        words = line.split()
        if words[3] not in _OVER:
            yield _plain(_words_of_the_machine(words[1].partition(":")[0]))


def _sctp(proc_net: Path) -> Iterator[IPAddress]:
    """An association names all its near ends, up to the arrow; the first one of a path has a star."""
    for line in _lines(proc_net / "sctp" / "assocs")[1:]:
        for word in line.partition("<->")[0].split():
            text = word.lstrip("*")
            if "." in text or ":" in text:
                yield _plain(ip_address(text))


def _entries(lines: list[str]) -> Iterator[tuple[ServiceKey, DestinationKey]]:
    return ((service, real_server) for service, real_server, active, _ in _destinations(lines) if active)


def _destinations(lines: list[str]) -> Iterator[tuple[ServiceKey, DestinationKey, int, int]]:
    """Yield each real server of each service, with its active and its other connections."""
    service: ServiceKey | None = None
    for line in lines[3:]:
        words = line.split()
        if words[0] == "->":
            if service is not None:
                yield service, DestinationKey(*_end(words[1])), int(words[4]), int(words[5])
        else:
            service = ServiceKey(Protocol(words[0]), *_end(words[1])) if words[0] in _PROTOCOLS else None


def _received(lines: list[str]) -> Iterator[tuple[str, int]]:
    for line in lines[2:]:
        name, _, counts = line.rpartition(":")
        yield name.strip(), int(counts.split()[1])


def _end(text: str) -> tuple[IPAddress, int]:
    """Return ``C6120064:0007`` or ``[fd00:...]:0007`` as address and port."""
    host, _, port = text.rpartition(":")
    address = ip_address(host[1:-1]) if host.startswith("[") else ip_address(bytes.fromhex(host))
    return address, int(port, 16)


def _words_of_the_machine(text: str) -> IPAddress:
    """Return an address that is written as words of 32 bits in the machine's own order of bytes."""
    words = (int(text[at : at + 8], 16).to_bytes(4, sys.byteorder) for at in range(0, len(text), 8))
    return ip_address(b"".join(words))


def _plain(address: IPAddress) -> IPAddress:
    """Return the IPv4 address of a socket that takes both families."""
    return address.ipv4_mapped or address if isinstance(address, IPv6Address) else address
