"""What this node is to its groups now: gathered from its kernel, its record and its recent past."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import replace
from typing import Protocol

from virtualserver.agent.steadiness import Steadiness
from virtualserver.agent.terms import Terms
from virtualserver.api.base import seconds
from virtualserver.model.types import State
from virtualserver.plan.desired import directed_groups
from virtualserver.plan.eligibility import Standing, successor
from virtualserver.plan.owning import mirrors
from virtualserver.plan.world import DirectorGroup, World

ANSWER_WITHIN = 10.0
"""Seconds in which a planned failover must happen; after that nobody yields for it any more."""

TAKE_OVER, TAKE_OVER_WITHIN = 2.0, 5.0
"""Seconds that a director which is to take over has for that, and two advertisements, but so many at most: then the
active one lets go first. It must happen before nobody wants it any more."""


class Mirroring(Protocol):
    """What measures how connections are mirrored to this node."""

    def behind(self, group: str) -> bool:
        """Return whether this node still lacks connections of a group's active director."""
        ...

    def deaf(self, group: str) -> bool:
        """Return whether mirrored connections do not come here, so that the receiver must be started again."""
        ...

    def lapse(self, groups: Iterable[str]) -> None:
        """Note that this node is active in these groups, or forgets: it must catch up when that has ended."""
        ...


class Standings:
    """Used in the programmer's thread, once for each plan. Times are seconds of a monotonic clock."""

    def __init__(self, terms: Terms, steadiness: Steadiness, mirroring: Mirroring, clock: Callable[[], float]) -> None:
        self._terms, self._steadiness, self._mirroring, self._clock = terms, steadiness, mirroring, clock
        self._asked: dict[str, float] = {}
        self._given: dict[str, float] = {}
        self._awaited: dict[str, float] = {}

    def look(self, world: World, node: str, actual: State) -> Standing:
        """Return this node's standing; raises KernelError and RecordError."""
        now = self._clock()
        active, purging, former = self._terms.look(world, node, actual)
        self._mirroring.lapse(active | purging)
        groups = directed_groups(world, node)
        requests = {group.ownership.request.id for group in groups.values() if group.ownership.request is not None}
        self._asked = {one: self._asked.get(one, now) for one in requests}
        standing = Standing(
            active,
            purging,
            frozenset(name for name in groups.keys() - active if self._is_behind(world, name, actual)),
            self._steadiness.held(groups, active, actual, now, self._given_away(world, node, groups, now)),
            frozenset(one for one, since in self._asked.items() if now - since >= ANSWER_WITHIN),
            former,
            frozenset(name for name in groups.keys() - active if self._mirroring.deaf(name)),
        )
        return replace(standing, overdue=self._overdue(world, standing, now))

    def _overdue(self, world: World, standing: Standing, now: float) -> frozenset[str]:
        """Return the groups that another director was to take over by now."""
        awaited = [name for name in standing.active if successor(world, world.groups[name], standing)]
        self._awaited = {name: self._awaited.get(name, now) for name in awaited}
        return frozenset(name for name, since in self._awaited.items() if now - since >= _patience(world.groups[name]))

    def _given_away(self, world: World, node: str, groups: Mapping[str, DirectorGroup], now: float) -> frozenset[str]:
        """Return the groups that somebody wants to be elsewhere, or wanted a moment ago: the answer may be known here
        before it is seen that the addresses are gone."""
        drained = node in world.nodes and world.nodes[node].cordoned
        wanted = {name for name, group in groups.items() if drained or group.ownership.request is not None}
        self._given = {name: since for name, since in self._given.items() if now - since < ANSWER_WITHIN}
        self._given |= dict.fromkeys(wanted, now)
        return frozenset(self._given)

    def _is_behind(self, world: World, group: str, actual: State) -> bool:
        """A node that may hold a group's addresses already is not called back: one that lacks some is better than none.

        So a restart of the agent changes nothing.
        """
        return group not in actual.eligible and self._mirroring.behind(group) and mirrors(world, group)


def _patience(group: DirectorGroup) -> float:
    interval = seconds(group.spec.vrrp.advertisement_interval) if group.spec is not None else 0.0
    return min(TAKE_OVER + 2 * interval, TAKE_OVER_WITHIN)
