"""Connections as the kernel's table of them says: values, and what tells one from another."""

from __future__ import annotations

from typing import NamedTuple

from virtualserver.model.addresses import IPAddress
from virtualserver.model.types import Protocol

ESTABLISHED = "ESTABLISHED"
TEMPLATE_STATES = ("NONE", "ASSURED")
"""States of persistence templates, by their numbers (``IP_VS_CTPL_S_*``)."""


class Connection(NamedTuple):
    """An entry of IPVS's table; a tuple, for there may be a million of them.

    ``state`` is the kernel's name for it, ``expires`` in seconds is how long the entry lasts unless a packet comes.
    ``synced``: another director made the entry here. A template, which keeps a client at its real server, is an entry
    whose client has no port; its ``client`` is a network's first address where persistence is by network.
    """

    protocol: Protocol
    client: IPAddress
    client_port: int
    virtual: IPAddress
    virtual_port: int
    server: IPAddress
    server_port: int
    state: str
    expires: int
    synced: bool = False

    @property
    def template(self) -> bool:
        """True for an entry of persistence, which is no connection."""
        return self.client_port == 0 and self.state in TEMPLATE_STATES
