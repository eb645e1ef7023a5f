"""When the old half of a virtual server whose mode has changed may go: what is remembered between two rounds."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace

from virtualserver.model.types import Owned, State
from virtualserver.model.usage import Usage
from virtualserver.plan.desired import Plan
from virtualserver.plan.halves import Half, adopted, halves, kept
from virtualserver.plan.world import ObjectKey

LINGER = 15.0
"""Seconds without a connection after which an old half goes: so long nodes and director may learn at different times,
and connections take to end."""
SILENCE = 900.0
"""Seconds without a packet after which an old tunnel goes, whatever connections there are: so long the director keeps
an idle established TCP connection (``ip_vs_proto_tcp.c``)."""


@dataclass(frozen=True, slots=True)
class _Left:
    """An old half; ``used`` and ``heard`` are when a connection and a packet were seen last."""

    half: Half
    used: float
    heard: float
    packets: int | None = None


class Halves:
    """Remembers what virtual servers needed of this node. Times are seconds of the caller's monotonic clock."""

    def __init__(self, usage: Callable[[float], Usage | None]) -> None:
        """``usage`` tells at a time what connections use; None when it cannot be known."""
        self._usage = usage
        self._plan: Plan | None = None
        self._before: dict[ObjectKey, Half] = {}
        self._left: dict[ObjectKey, _Left] = {}

    def plan(self, plan: Plan, actual: State, owned: Owned, now: float) -> Plan:
        """Return the plan with what connections of an older mode still use."""
        if plan is not self._plan:
            self._take(plan, actual, owned, now)
        self._left = {key: one for key, found in self._left.items() if (one := self._looked(found, now))}
        if not self._left:
            return plan
        state = kept(plan.state, actual, owned, {key: one.half for key, one in self._left.items()})
        return plan if state is plan.state else replace(plan, state=state)

    def _take(self, plan: Plan, actual: State, owned: Owned, now: float) -> None:
        """Learn what is needed now, and find what the last change of a mode has left."""
        if self._plan is None or not (self._plan.accepted or self._before):
            self._before = adopted(plan, actual, owned)
            changed = dict(self._before)
        else:
            changed = {
                key: half
                for key, half in self._before.items()
                if key in plan.accepted and plan.accepted[key].forwarding != half.forwarding
            }
        self._plan = plan
        self._before = halves(plan)
        for key, half in changed.items():
            older = self._left[key].half.subjects if key in self._left else frozenset()
            self._left[key] = _Left(replace(half, subjects=half.subjects | older), now, now)
        for key, found in list(self._left.items()):
            half = found.half.left(key, plan)
            if key in plan.accepted and half.subjects:
                self._left[key] = replace(found, half=half)
            else:
                del self._left[key]

    def _looked(self, found: _Left, now: float) -> _Left | None:
        """Return an old half with what was seen of it just now; None when it may go."""
        usage = self._usage(now)
        if usage is None:
            return found
        if found.half.used(usage):
            found = replace(found, used=now)
        packets = found.half.received(usage)
        if packets is None or packets != found.packets:
            found = replace(found, heard=now, packets=packets)
        return found if now - found.used < LINGER and now - found.heard < SILENCE else None
