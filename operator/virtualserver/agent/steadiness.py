"""A director whose link comes and goes, or that keeps losing its addresses, is held down: each return moves clients."""

from __future__ import annotations

from collections.abc import Mapping

from virtualserver.model.types import State
from virtualserver.plan import vrrp
from virtualserver.plan.world import DirectorGroup

WINDOW = 60.0
"""Seconds in which troubles are counted."""

TROUBLES = 3
"""Times that a link went down, or that addresses were lost, within the window after which a director is held down."""

REST = 60.0
"""Seconds without any more trouble after which it is a director like all others again."""


class Steadiness:
    """Notes troubles of links and of groups. Times are seconds of the caller's monotonic clock."""

    def __init__(self) -> None:
        self._down: frozenset[str] = frozenset()
        self._active: frozenset[str] = frozenset()
        self._troubles: dict[str, list[float]] = {}
        self._held: dict[str, float] = {}

    def held(
        self,
        groups: Mapping[str, DirectorGroup],
        active: frozenset[str],
        actual: State,
        now: float,
        given: frozenset[str] = frozenset(),
    ) -> dict[str, str]:
        """Return the groups that this node stays out of for a while, each with the reason in words.

        Addresses of ``given`` groups are given away because somebody wants that: it says nothing about the node.
        """
        links = {link for group in groups.values() if group.spec is not None for link in vrrp.links(group.spec)}
        for link in links & (actual.down - self._down):
            self._note(f"link {link}", now)
        for name in self._active - active - given:
            self._note(f"group {name}", now)
        self._down, self._active = actual.down, active
        self._held = {what: since for what, since in self._held.items() if now - since < REST}
        found = {}
        for name, group in groups.items():
            assert group.spec is not None
            for link in vrrp.links(group.spec):
                if f"link {link}" in self._held:
                    found[name] = f"link {link} went down {TROUBLES} times within {WINDOW:.0f} s; it must rest"
            if f"group {name}" in self._held:
                found[name] = f"it lost the addresses {TROUBLES} times within {WINDOW:.0f} s; it must rest"
        return found

    def _note(self, what: str, now: float) -> None:
        recent = [one for one in self._troubles.get(what, ()) if now - one < WINDOW]
        self._troubles[what] = [*recent, now]
        if len(recent) + 1 >= TROUBLES or what in self._held:
            self._held[what] = now
