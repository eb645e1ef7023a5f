"""How long the old entries of real servers stay whose forwarding mode has changed."""

from __future__ import annotations

from collections.abc import Callable, Collection
from dataclasses import replace

from virtualserver.agent.halves import LINGER
from virtualserver.model.types import DestinationKey, Owned, Protocol, Service, ServiceKey, State
from virtualserver.model.usage import Usage
from virtualserver.plan.desired import Plan
from virtualserver.plan.succession import is_direct, succeeded, without_old_flows

FLUSH = 0.1
"""Seconds that the kernel's own work item gets to end the flows of an entry that was taken out."""

REMEMBERED = 900.0
"""Seconds for which the kernel may keep an entry that was taken out: as long as an established connection of TCP may be
idle (``ip_vs_proto_tcp.c``). An agent that is started again does not remember."""

_Entry = tuple[ServiceKey, DestinationKey]


class Succession:
    """Notes when an entry was last seen to be of use. Times are seconds of the caller's monotonic clock."""

    def __init__(self, usage: Callable[[float], Usage | None]) -> None:
        """``usage`` tells at a time what connections use; None when it cannot be known."""
        self._usage = usage
        self._used: dict[_Entry, float] = {}
        self._ended: dict[_Entry, float] = {}
        self._gone: dict[_Entry, float] = {}

    def plan(self, plan: Plan, actual: State, owned: Owned, now: float) -> Plan:
        """Return the plan with real servers under the keys that the kernel can serve them by, and what they left."""
        changed: dict[ServiceKey, Service] = {}
        left: set[_Entry] = set()
        self._ended = {one: when for one, when in self._ended.items() if now - when < FLUSH}
        self._gone = {one: when for one, when in self._gone.items() if now - when < REMEMBERED}
        for key in (owned.services & actual.services.keys()) - plan.state.services.keys():
            self._note_gone(key, actual.services[key], (), now)
        for key, wanted in plan.state.services.items():
            found = actual.services.get(key) or Service(wanted.content)
            if found == wanted:
                continue
            self._note_gone(key, found, wanted.destinations, now)

            def expired(one: DestinationKey, key: ServiceKey = key) -> bool:
                left.add((key, one))
                return self._expired((key, one), now)

            def ended(one: DestinationKey, key: ServiceKey = key) -> bool:
                return (key, one) in self._ended

            def gone(one: DestinationKey, key: ServiceKey = key) -> bool:
                return (key, one) in self._gone

            served = succeeded(wanted, found, expired, gone)
            if key.protocol is Protocol.UDP:
                moving = without_old_flows(served, found, ended)
                ending = served.destinations.keys() - moving.destinations.keys()
                self._ended |= {(key, one): now for one in ending if one in found.destinations}
                served = moving
            if served is not wanted:
                changed[key] = served
        self._used = {one: when for one, when in self._used.items() if one in left}
        if not changed:
            return plan
        return replace(plan, state=replace(plan.state, services={**plan.state.services, **changed}))

    def _note_gone(self, key: ServiceKey, found: Service, kept: Collection[DestinationKey], now: float) -> None:
        """Remember the entries of a service that are about to be taken out."""
        for one in found.destinations.keys() - set(kept):
            if not is_direct(found.destinations[one]):
                self._gone[key, one] = now

    def _expired(self, entry: _Entry, now: float) -> bool:
        """Return whether an old entry may go; a flow of UDP goes on with the new one as if nothing had been."""
        if entry[0].protocol is Protocol.UDP:
            return True
        usage = self._usage(now)
        if usage is None or entry in usage.entries:
            self._used[entry] = now
        return now - self._used.setdefault(entry, now) >= LINGER
