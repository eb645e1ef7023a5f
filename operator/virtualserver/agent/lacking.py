"""How many virtual servers of each group this node cannot serve: a director that serves all is to be active instead."""

from __future__ import annotations

from collections.abc import Callable, Collection

from virtualserver.plan.desired import Plan
from virtualserver.plan.world import DirectorGroup, ObjectKey

LASTING, STANDBY_LASTING = 8.0, 3.0
"""Seconds for which the kernel must have refused one. The active director waits longer: what every kernel refuses, the
standbys have said by then, and nothing moves for it."""


class Lacking:
    """``clock`` gives seconds of a monotonic clock."""

    def __init__(self, node: str, clock: Callable[[], float]) -> None:
        self._node, self._clock = node, clock
        self._began: float | None = None
        self._since: dict[ObjectKey, float] = {}

    def look(self, problems: Collection[ObjectKey]) -> None:
        """Note which virtual servers could not be programmed in this round."""
        now = self._clock()
        self._began = now if self._began is None else self._began
        self._since = {key: self._since.get(key, now) for key in problems}

    def count(self, group: DirectorGroup, plan: Plan, *, active: bool) -> int:
        """Return how many of a group's are lacking here; an agent that has just begun repeats what it said before."""
        now, lasting = self._clock(), LASTING if active else STANDBY_LASTING
        found = [
            key
            for key, since in self._since.items()
            if now - since >= lasting and key in plan.accepted and plan.accepted[key].director_group == group.name
        ]
        said = group.ownership.report(self._node)
        if said is not None and self._began is not None and now - self._began < lasting:
            return max(said.lacking, len(found))
        return len(found)
