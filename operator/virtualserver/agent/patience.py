"""Virtual addresses that come and go by keepalived's hand: how long it is given before the agent does it itself."""

from __future__ import annotations

from virtualserver.model.types import LinkAddress, Owned, State

PATIENCE = 1.0
"""Seconds; keepalived takes milliseconds, or it has a reason that it will not tell."""


class Patience:
    """Notes since when an address is not as wanted. Times are seconds of the caller's monotonic clock."""

    def __init__(self, seconds: float = PATIENCE) -> None:
        self._seconds = seconds
        self._since: dict[tuple[LinkAddress, bool], float] = {}

    def waiting(self, desired: State, actual: State, owned: Owned, now: float) -> frozenset[LinkAddress]:
        """Return the addresses of groups that are missing, or there without need, for less than our patience."""
        virtual = {one for one in owned.addresses | desired.addresses if one.link not in actual.own_links}
        wrong = {
            (one, one in desired.addresses)
            for one in virtual
            if (one in desired.addresses) != (one in actual.addresses and one in owned.addresses)
        }
        self._since = {one: self._since.get(one, now) for one in wrong}
        return frozenset(one for (one, _), since in self._since.items() if now - since < self._seconds)
