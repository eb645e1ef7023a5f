"""Virtual addresses that come and go by keepalived's hand: how long it is given before the agent does it itself."""

from __future__ import annotations

from math import inf

from virtualserver.model.failover import token
from virtualserver.model.types import LinkAddress, Owned, State

PATIENCE = 1.0
"""Seconds from when keepalived was told; it takes milliseconds, or it has a reason that it will not tell."""


UNTOLD = 5
"""Times as long is waited for a moment in which keepalived can be told."""


class Patience:
    """Notes since when an address is not as keepalived was told. Times are seconds of the caller's monotonic clock."""

    def __init__(self, seconds: float = PATIENCE) -> None:
        self._seconds = seconds
        self._since: dict[tuple[LinkAddress, bool, bool], float] = {}

    def waiting(self, desired: State, actual: State, owned: Owned, now: float) -> frozenset[LinkAddress]:
        """Return the addresses of groups that are missing, or there without need, and are left to keepalived still."""
        virtual = {one for one in owned.addresses | desired.addresses if one.link not in actual.own_links}
        wrong = {
            one: one in desired.addresses
            for one in virtual
            if (one in desired.addresses) != (one in actual.addresses and one in owned.addresses)
        }
        holds = _told_to_hold(actual)
        told = {(one, missing, (one in holds) is missing) for one, missing in wrong.items()}
        self._since = {one: self._since.get(one, now) for one in told}
        given_up = {one[0] for one, since in self._since.items() if now - since >= self._given(*one[1:])}
        return frozenset(wrong.keys() - given_up)

    def _given(self, missing: bool, told: bool) -> float:
        """Return how long it is left to keepalived; what it cannot be told is taken away by ourselves at last."""
        if told:
            return self._seconds
        return inf if missing else UNTOLD * self._seconds


def _told_to_hold(actual: State) -> set[LinkAddress]:
    """Return the addresses that keepalived holds if it does what it was told, in the groups that it is active in."""
    active = (one for one in actual.instances.values() if token(one.router_id) in actual.addresses)
    return {address for one in active for address in one.holds} if actual.electing else set()
