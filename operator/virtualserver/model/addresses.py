"""Addresses, alone and on links."""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache
from ipaddress import IPv4Address, IPv6Address, ip_address

IPAddress = IPv4Address | IPv6Address


@dataclass(frozen=True, slots=True)
class LinkAddress:
    """An address on a link of this node, with its prefix length in bits (VIPs: 32 or 128)."""

    link: str
    address: IPAddress
    prefix: int

    def __str__(self) -> str:
        return f"{self.address}/{self.prefix} on {self.link}"


@lru_cache(maxsize=65536)
def read_address(text: str) -> IPAddress:
    """Return what a text means; every round asks for the addresses of all objects again. Raises ValueError."""
    return ip_address(text)


def address_order(address: IPAddress) -> tuple[int, int]:
    """Sort key that puts IPv4 before IPv6; every director programs in this one order."""
    return address.version, int(address)
