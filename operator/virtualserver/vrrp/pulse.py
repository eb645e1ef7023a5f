"""Tells a keepalived that has stopped working from one that has nothing to do.

A director whose keepalived is stopped, or stuck, says nothing more, and another one takes over; but the addresses stay
in its kernel, which goes on answering for them. A standby of that kind would never take over.
"""

from __future__ import annotations

import math
from collections.abc import Iterable

from virtualserver.model.failover import Instance

EVERY = 0.5
"""Seconds between two looks."""
_LOOKS = 3
"""Looks in a row that must find it still, at least. Looks, not seconds: a machine that was stopped as a whole, and goes
on, has not looked meanwhile."""
_INTERVALS = 4
"""Advertisements that it must have missed as well: it waits for each."""


class Pulse:
    """Counts looks in which nothing had happened since the one before."""

    def __init__(self) -> None:
        self._rests: int | None = None
        self._still = 0

    def look(self, rests: int | None, instances: Iterable[Instance]) -> bool:
        """Take how often keepalived has rested so far; return whether that has not changed for too long."""
        if rests is None or rests != self._rests:
            self._rests, self._still = rests, 0
            return False
        self._still += 1
        longest = max((one.interval / 1000 for one in instances), default=0.0)
        return self._still >= max(_LOOKS, math.ceil(_INTERVALS * longest / EVERY))
