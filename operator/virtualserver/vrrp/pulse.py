"""Tells a keepalived that has stopped working from one that has nothing to do.

A director whose keepalived is stopped, or stuck, says nothing more, and another one takes over; but the addresses stay
in its kernel, which goes on answering for them. A standby of that kind would never take over.
"""

from __future__ import annotations

import math
from collections.abc import Collection

from virtualserver.kernel.links import IFF_LOWER_UP, Link
from virtualserver.model.addresses import LinkAddress
from virtualserver.model.failover import Instance, token

EVERY = 0.5
"""Seconds between two looks."""
LOOKS, LOOKS_OF_STANDBY = 3, 30
"""Looks in a row that must find it still, at least; where it holds addresses, and where it only listens: the active
director may speak less often than this one would. Looks, not seconds: a machine that was stopped as a whole, and goes
on, has not looked meanwhile."""
_INTERVALS = 4
"""Advertisements that it must have missed as well: it waits for each."""


class Pulse:
    """Counts looks in which nothing had happened since the one before."""

    def __init__(self) -> None:
        self._signs: int | None = None
        self._still = 0

    def look(self, signs: int | None) -> int:
        """Take keepalived's signs of life so far (None: not known); return for how many looks there was none."""
        self._still = self._still + 1 if signs is not None and signs == self._signs else 0
        self._signs = signs
        return self._still


def too_still(looks: int, instances: Collection[Instance], present: Collection[LinkAddress]) -> bool:
    """Return whether one that ``works`` for these was still for too long; ``present`` are the node's addresses."""
    if not instances:
        return False
    holds = any(token(one.router_id) in present for one in instances)
    shortest = min(one.interval for one in instances) / 1000
    return looks >= max(LOOKS if holds else LOOKS_OF_STANDBY, math.ceil(_INTERVALS * shortest / EVERY))


def works(one: Instance, links: dict[str, Link], present: Collection[LinkAddress]) -> bool:
    """Return whether nothing keeps a virtual router from its work: a link that is down, or without an address."""
    up = all(name in links and links[name].flags & IFF_LOWER_UP for name in (one.link, *one.links))
    return up and any(found.link == one.link and found.address.version == one.version for found in present)
