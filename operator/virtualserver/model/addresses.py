"""Addresses, alone and on links."""

from __future__ import annotations

from dataclasses import dataclass
from ipaddress import IPv4Address, IPv6Address

IPAddress = IPv4Address | IPv6Address


@dataclass(frozen=True, slots=True)
class LinkAddress:
    """An address on a link of this node, with its prefix length in bits (VIPs: 32 or 128)."""

    link: str
    address: IPAddress
    prefix: int

    def __str__(self) -> str:
        return f"{self.address}/{self.prefix} on {self.link}"


def address_order(address: IPAddress) -> tuple[int, int]:
    """Sort key that puts IPv4 before IPv6; every director programs in this one order."""
    return address.version, int(address)
