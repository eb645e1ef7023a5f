"""How long the old entries of real servers stay whose forwarding mode has changed."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

from virtualserver.agent.halves import LINGER
from virtualserver.model.types import DestinationKey, Protocol, Service, ServiceKey, State
from virtualserver.model.usage import Usage
from virtualserver.plan.desired import Plan
from virtualserver.plan.succession import succeeded, without_old_flows

FLUSH = 0.1
"""Seconds that the kernel's own work item gets to end the flows of an entry that was taken out."""

_Entry = tuple[ServiceKey, DestinationKey]


class Succession:
    """Notes when an entry was last seen to be of use. Times are seconds of the caller's monotonic clock."""

    def __init__(self, usage: Callable[[float], Usage | None]) -> None:
        """``usage`` tells at a time what connections use; None when it cannot be known."""
        self._usage = usage
        self._used: dict[_Entry, float] = {}
        self._ended: dict[_Entry, float] = {}

    def plan(self, plan: Plan, actual: State, now: float) -> Plan:
        """Return the plan with real servers under the keys that the kernel can serve them by, and what they left."""
        changed: dict[ServiceKey, Service] = {}
        left: set[_Entry] = set()
        self._ended = {one: when for one, when in self._ended.items() if now - when < FLUSH}
        for key, wanted in plan.state.services.items():
            found = actual.services.get(key)
            if found is None or (found.destinations.keys() <= wanted.destinations.keys() and found == wanted):
                continue

            def expired(one: DestinationKey, key: ServiceKey = key) -> bool:
                left.add((key, one))
                return self._expired((key, one), now)

            def ended(one: DestinationKey, key: ServiceKey = key) -> bool:
                return (key, one) in self._ended

            served = succeeded(wanted, found, expired)
            if key.protocol is Protocol.UDP:
                moving = without_old_flows(served, found, ended)
                gone = served.destinations.keys() - moving.destinations.keys()
                self._ended |= {(key, one): now for one in gone if one in found.destinations}
                served = moving
            if served is not wanted:
                changed[key] = served
        self._used = {one: when for one, when in self._used.items() if one in left}
        if not changed:
            return plan
        return replace(plan, state=replace(plan.state, services={**plan.state.services, **changed}))

    def _expired(self, entry: _Entry, now: float) -> bool:
        """Return whether an old entry may go; a flow of UDP goes on with the new one as if nothing had been."""
        if entry[0].protocol is Protocol.UDP:
            return True
        usage = self._usage(now)
        if usage is None or entry in usage.entries:
            self._used[entry] = now
        return now - self._used.setdefault(entry, now) >= LINGER
