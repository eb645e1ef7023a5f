"""How many virtual servers of each group this node cannot serve: people are told, and choose another director."""

from __future__ import annotations

from collections.abc import Callable, Collection

from virtualserver.plan.desired import Plan
from virtualserver.plan.world import ObjectKey

LASTING = 3.0
"""Seconds for which the kernel must have refused one: it may be a matter of order between two programs."""


class Lacking:
    """``clock`` gives seconds of a monotonic clock."""

    def __init__(self, clock: Callable[[], float]) -> None:
        self._clock = clock
        self._since: dict[ObjectKey, float] = {}

    def look(self, problems: Collection[ObjectKey]) -> None:
        """Note which virtual servers could not be programmed in this round."""
        now = self._clock()
        self._since = {key: self._since.get(key, now) for key in problems}

    def count(self, group: str, plan: Plan) -> int:
        """Return how many of a group's virtual servers this node cannot serve."""
        now = self._clock()
        lasting = (key for key, since in self._since.items() if now - since >= LASTING)
        return sum(key in plan.accepted and plan.accepted[key].director_group == group for key in lasting)
