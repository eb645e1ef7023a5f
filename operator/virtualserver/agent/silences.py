"""Groups whose addresses nobody holds, for all that is heard: then a director that should stay out is better than none.

What the status tells of the others may be old: the API server is away, or a director has just died.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping

from virtualserver.model.types import State
from virtualserver.plan.vrrp import TAKE_OVER, down_time, router_id
from virtualserver.plan.world import DirectorGroup

DOUBLINGS = 5
"""So often the wait is doubled at most: about a minute, after which one that is held down has rested anyway."""


class Silences:
    """``silence`` returns for how long no other director of a virtual router was heard; None while the link is down."""

    def __init__(self, silence: Callable[[int], float | None]) -> None:
        self._silence = silence
        self._silent: frozenset[str] = frozenset()
        self._alone: frozenset[str] = frozenset()
        self._in_vain: dict[str, int] = {}

    def look(
        self,
        groups: Mapping[str, DirectorGroup],
        active: frozenset[str],
        former: frozenset[str],
        held: Collection[str],
        actual: State,
    ) -> frozenset[str]:
        """Return the groups that this node may take, or has taken, because nobody is heard.

        Who took over for that goes on when another one is heard again: of two that are active the one that claims more
        stays. One that is held down waits twice as long after each term that ended so: packets that get lost for some
        seconds, again and again, must not move the addresses each time.
        """
        alone = (active & (self._silent | self._alone)) | (former & self._alone)
        ended = self._alone - alone
        self._in_vain = {name: min(self._in_vain.get(name, 0) + (name in ended), DOUBLINGS) for name in held}
        self._alone = alone
        quiet = {
            name for name, group in groups.items() if name not in active and actual.electing and self._quiet(group)
        }
        self._silent = alone | quiet
        return self._silent

    def _quiet(self, group: DirectorGroup) -> bool:
        assert group.spec is not None
        silence = self._silence(router_id(group))
        wait = TAKE_OVER * 2 ** self._in_vain.get(group.name, 0)
        return silence is not None and silence >= down_time(group.spec) + wait
