"""Addresses that nobody may use as a virtual address or real server, whatever the API server let through."""

from __future__ import annotations

from ipaddress import IPv4Network, IPv6Network, ip_address, ip_network

from virtualserver.model.types import IPAddress

_METADATA = ip_address("fd00:ec2::254")
_RESERVED: tuple[IPv4Network | IPv6Network, ...] = (ip_network("0.0.0.0/8"), ip_network("240.0.0.0/4"))


def forbidden(address: IPAddress) -> str:
    """Return why an address is refused everywhere ("a loopback address"), or "" when it is not."""
    kinds = (
        (address.is_unspecified, "the unspecified address"),
        (address.is_loopback, "a loopback address"),
        (address.is_link_local or address == _METADATA, "a link-local or metadata address"),
        (address.is_multicast, "a multicast address"),
        (any(address in network for network in _RESERVED), "a reserved or broadcast address"),
        (
            address.version == 6 and getattr(address, "ipv4_mapped", None) is not None,
            "an IPv4-mapped address",
        ),
    )
    return next((name for holds, name in kinds if holds), "")
