"""Addresses that nobody may use as a virtual address or real server, in CEL and in Python.

Functions such as ``isIP`` and ``cidr`` are Kubernetes' own (API server 1.31 and later).
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from functools import lru_cache, partial
from ipaddress import IPv6Address, ip_address, ip_network

from virtualserver.api.rule import Rule
from virtualserver.model.types import IPAddress

METADATA = ("100.100.100.200", "168.63.129.16", "fd00:ec2::254", "fd20:ce::254")
"""Where clouds serve credentials to machines, besides 169.254.0.0/16: Alibaba, Azure, Amazon, Google."""

_RESERVED = (ip_network("0.0.0.0/8"), ip_network("240.0.0.0/4"))
_CIDR = re.compile(r"([^/%]+)/(0|[1-9][0-9]{0,2})")
_MULTICAST = (
    "(ip(self).family() == 4 ? cidr('224.0.0.0/4').containsIP(ip(self)) : cidr('ff00::/8').containsIP(ip(self)))"
)
_TAKEN = ("224.0.0.0/27", "224.0.0.251/32", "224.0.0.252/32", "ff02::/123", "ff02::fb/128", "ff02::1:0/124")
"""Groups of routers and hosts, of mDNS, LLMNR and DHCP (IANA, "IPv4" and "IPv6 Multicast Address Space Registry")."""
_NEVER_SENT = ("ff00::/15", "ff10::/15", "ff30::/15", "ff70::/15")
"""Scopes 0 and 1, reserved and interface-local (RFC 7346), with each of the flags that a group may have (RFC 7371)."""


def _within(networks: Iterable[str]) -> str:
    """Return the CEL expression that ``self`` lies in one of these; addresses of another family cannot be asked."""
    parts = (
        f"(ip(self).family() == {ip_network(one).version} && cidr('{one}').containsIP(ip(self)))" for one in networks
    )
    return " || ".join(parts)


def _in_any(text: str, networks: Iterable[str]) -> bool:
    return any(parsed(text) in ip_network(one) for one in networks)


_RESERVED_CEL = (
    "ip(self).family() == 4 && !ip(self).isUnspecified() && "
    "(cidr('240.0.0.0/4').containsIP(ip(self)) || cidr('0.0.0.0/8').containsIP(ip(self)))"
)


@dataclass(frozen=True, slots=True)
class Kind:
    """A kind of address: its name, where it lies, and how to know it (``cel`` over ``self``, which parses)."""

    name: str
    lies: str
    cel: str
    holds: Callable[[IPAddress], bool]


def _same(one: IPAddress, other: IPAddress) -> bool:
    return one == other


def _metadata() -> Iterator[Kind]:
    for text in METADATA:
        address = ip_address(text)
        cel = f"ip(self).family() == {address.version} && ip(self) == ip('{text}')"
        yield Kind("a metadata address", text, cel, partial(_same, address))


FORBIDDEN = (
    Kind(
        "the unspecified address", "0.0.0.0 or ::", "ip(self).isUnspecified()", lambda address: address.is_unspecified
    ),
    Kind("a loopback address", "127.0.0.0/8 or ::1", "ip(self).isLoopback()", lambda address: address.is_loopback),
    Kind(
        "a link-local or metadata address",
        "169.254.0.0/16 or fe80::/10",
        "ip(self).isLinkLocalUnicast()",
        lambda address: address.is_link_local,
    ),
    Kind("a multicast address", "224.0.0.0/4 or ff00::/8", _MULTICAST, lambda address: address.is_multicast),
    Kind(
        "a reserved or broadcast address",
        "0.0.0.0/8 or 240.0.0.0/4",
        _RESERVED_CEL,
        lambda address: any(address in network for network in _RESERVED),
    ),
    *_metadata(),
)


@lru_cache(maxsize=16384)
def parsed(text: str) -> IPAddress | None:
    """Return an address as the API server reads it: no zone, no IPv4 inside IPv6; None for what is none."""
    try:
        address = ip_address(text)
    except ValueError:
        return None
    return None if "%" in text or _mapped(address) else address


@lru_cache(maxsize=16384)
def shortest(text: str) -> str:
    """Return an address in its one shortest form."""
    return str(parsed(text))


def forbidden(address: IPAddress) -> str:
    """Return why an address is refused everywhere ("a loopback address"), or "" when it is not."""
    if _mapped(address):
        return "an IPv4-mapped address"
    return next((kind.name for kind in FORBIDDEN if kind.holds(address)), "")


def _mapped(address: IPAddress) -> bool:
    return isinstance(address, IPv6Address) and address.ipv4_mapped is not None


def _allowed(kind: Kind, text: str) -> bool:
    address = parsed(text)
    return address is None or not kind.holds(address)


def _is_network(text: str) -> bool:
    found = _CIDR.fullmatch(text)
    address = parsed(found[1]) if found else None
    return found is not None and address is not None and int(found[2]) <= address.max_prefixlen


ADDRESS = (
    Rule(
        "isIP(self)",
        "must be an IPv4 or IPv6 address, such as 198.18.0.100 or fd00:18::100 (no prefix, no port, no name)",
        lambda text: parsed(text) is not None,
    ),
    *(
        Rule(f"!isIP(self) || !({kind.cel})", f"must not be {kind.name} ({kind.lies})", partial(_allowed, kind))
        for kind in FORBIDDEN
    ),
)
"""Rules of an address that may be served or serve."""

MULTICAST = (
    Rule(
        f"isIP(self) && {_MULTICAST}",
        "must be a multicast address, such as 224.0.0.81 or ff02::81",
        lambda text: (address := parsed(text)) is not None and address.is_multicast,
    ),
    Rule(
        f"!isIP(self) || !({_within(_TAKEN)})",
        f"must not be a group that others use ({', '.join(_TAKEN)}), such as VRRP itself; "
        "choose one such as 224.0.0.81 or ff02::81",
        lambda text: not _in_any(text, _TAKEN),
    ),
    Rule(
        f"!isIP(self) || !({_within(_NEVER_SENT)})",
        "must be a group whose packets leave the node, which those of scopes 0 and 1 do not; "
        "choose one such as ff02::81",
        lambda text: not _in_any(text, _NEVER_SENT),
    ),
)
"""Rules of an address of many at once."""

NETWORK = (
    Rule("isCIDR(self)", "must be a network such as 198.18.1.0/24 or fd00:18:1::/64", _is_network),
    Rule(
        "!isCIDR(self) || cidr(self) == cidr(self).masked()",
        "must begin with the first address of the network: 198.18.1.0/24, not 198.18.1.7/24",
        lambda text: str(ip_network(text, strict=False).network_address) == str(parsed(text.partition("/")[0])),
    ),
)
"""Rules of a network."""
