"""How long the old entries of real servers stay whose forwarding mode has changed."""

from __future__ import annotations

from dataclasses import replace

from virtualserver.model.types import DestinationKey, Service, ServiceKey, State
from virtualserver.plan.desired import Plan
from virtualserver.plan.succession import succeeded

KEPT = 900.0
"""Seconds; as long as the kernel keeps an idle established TCP connection (``ip_vs_proto_tcp.c``)."""


class Succession:
    """Notes when an entry was first seen to be left over. Times are seconds of the caller's monotonic clock."""

    def __init__(self) -> None:
        self._since: dict[tuple[ServiceKey, DestinationKey], float] = {}

    def plan(self, plan: Plan, actual: State, now: float) -> Plan:
        """Return the plan with real servers under the keys that the kernel can serve them by, and what they left."""
        changed: dict[ServiceKey, Service] = {}
        left: set[tuple[ServiceKey, DestinationKey]] = set()
        for key, wanted in plan.state.services.items():
            found = actual.services.get(key)
            if found is None or (found.destinations.keys() <= wanted.destinations.keys() and found == wanted):
                continue

            def expired(one: DestinationKey, key: ServiceKey = key) -> bool:
                left.add((key, one))
                return now - self._since.setdefault((key, one), now) >= KEPT

            served = succeeded(wanted, found, expired)
            if served is not wanted:
                changed[key] = served
        self._since = {one: since for one, since in self._since.items() if one in left}
        if not changed:
            return plan
        return replace(plan, state=replace(plan.state, services={**plan.state.services, **changed}))
