"""What connections use on a node at this moment: seldom asked, and only to know when something may go."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from virtualserver.model.types import DestinationKey, IPAddress, ServiceKey


@dataclass(frozen=True, slots=True)
class Usage:
    """``addresses``: the near ends of the node's own TCP and SCTP connections. ``entries``: real servers of the IPVS
    table that have active connections. ``received``: packets that each link took since it was made.
    """

    addresses: frozenset[IPAddress] = frozenset()
    entries: frozenset[tuple[ServiceKey, DestinationKey]] = frozenset()
    received: Mapping[str, int] = field(default_factory=dict)
