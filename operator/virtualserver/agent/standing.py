"""What this node is to its groups now: gathered from its kernel, its record and its recent past."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Mapping
from dataclasses import replace
from typing import Protocol

from virtualserver.agent.silences import Silences
from virtualserver.agent.steadiness import Steadiness
from virtualserver.agent.terms import Terms
from virtualserver.model.types import State
from virtualserver.plan import directors
from virtualserver.plan.desired import directed_groups
from virtualserver.plan.directors import STAYING
from virtualserver.plan.eligibility import Standing, displaces, heir, offer, unwanted
from virtualserver.plan.groups import serving
from virtualserver.plan.vrrp import TAKE_OVER, down_time
from virtualserver.plan.world import DirectorGroup, World

ANSWER_WITHIN = 15.0
"""Seconds in which a planned failover must happen; after that nobody yields for it any more."""

INSISTS = 3.0
"""Seconds for which a director that took over goes on claiming more than the one before: it may have missed the first
advertisement, and would have a higher priority else."""


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


class Ability(Protocol):
    """What knows which groups this node cannot serve whole."""

    @property
    def counts(self) -> Mapping[str, int]:
        """By group, how many virtual servers this node cannot serve."""
        ...

    @property
    def hesitant(self) -> frozenset[str] | None:
        """Groups that this node cannot serve whole, or could not a while ago; None as long as nothing is known."""
        ...

    @property
    def heirs(self) -> Mapping[str, str]:
        """By group, who is to take over from this node for that."""
        ...


class Past(Protocol):
    """What knows how this node became active."""

    @property
    def priorities(self) -> Mapping[str, int] | None:
        """By group, what it claims where the director before may believe that it is active; None: not known yet."""
        ...


class Standings:
    """Used in the programmer's thread, once for each plan. Times are seconds of a monotonic clock.

    ``silence`` returns for how long no other director of a virtual router was heard; None while the link is down.
    """

    def __init__(
        self,
        terms: Terms,
        steadiness: Steadiness,
        mirroring: Mirroring,
        ability: Ability,
        past: Past,
        silence: Callable[[int], float | None],
        clock: Callable[[], float],
    ) -> None:
        self._terms, self._steadiness, self._mirroring, self._clock = terms, steadiness, mirroring, clock
        self._ability, self._past, self._silences = ability, past, Silences(silence)
        self._asked: dict[str, float] = {}
        self._answered: dict[str, str] = {}
        self._given: dict[str, float] = {}
        self._awaited: dict[str, float] = {}
        self._in_vain: dict[str, tuple[str, str]] = {}
        self._insists: dict[str, float] = {}
        self._known: set[str] = set()

    def look(
        self, world: World, node: str, actual: State, mirrored: Collection[str] = (), *, live: bool = True
    ) -> Standing:
        """Return this node's standing; ``mirrored`` are the groups with connections that are mirrored.

        ``live``: the world is the present one, and not what the last run knew. Raises KernelError and RecordError.
        """
        now = self._clock()
        active, purging, former = self._terms.look(world, node, actual)
        self._mirroring.lapse(active | purging)
        groups = directed_groups(world, node)
        self._note_requests(groups, now, live)
        given_up = former & self._in_vain.keys()  # its kernel has the connections still
        held = self._steadiness.held(groups, active, actual, now, self._given_away(world, node, groups, now))
        standing = Standing(
            active,
            purging,
            frozenset(self._behind(groups.keys() - active - given_up, actual) & set(mirrored)),
            held,
            self._lapsed(now),
            former,
            frozenset(name for name in groups.keys() - active if self._mirroring.deaf(name)),
            lacking=self._ability.counts,
            silent=self._silences.look(groups, active, former, held, actual),
        )
        standing = self._resumed(standing, world, node, actual)
        displacing = self._displaces(world, node, groups, standing, now)
        return replace(standing, displacing=displacing, overdue=self._overdue(world, node, standing, now))

    def _resumed(self, standing: Standing, world: World, node: str, actual: State) -> Standing:
        """Return it with what this node claims; an agent that has just begun goes on with what it finds."""
        hesitant, staying = self._ability.hesitant, self._past.priorities
        found = {name: one.priority for name, one in actual.instances.items() if name in world.groups}
        if hesitant is None:
            groups = {name: world.groups[name] for name in found.keys() - standing.active}
            hesitant = frozenset(name for name, one in groups.items() if found[name] == _last(world, one, node))
        if staying is None:
            staying = {name: min(found[name], STAYING) for name in standing.active & found.keys()}
        return replace(standing, hesitant=hesitant, staying=staying)

    def _note_requests(self, groups: Mapping[str, DirectorGroup], now: float, live: bool) -> None:
        """Remember when each request and each offer was first seen: what stands when an agent begins is an old one.

        A request that was answered stays so when the next failover, a crash say, takes the answer's place in the
        status; whoever wrote the request by hand may never take it back.
        """
        last = {name: group.ownership.last for name, group in groups.items()}
        self._answered |= {name: one.request for name, one in last.items() if one is not None and one.request}
        standing = {(name, one) for name, group in groups.items() for one in _asked(group)}
        asked = {one for _, one in standing}
        self._asked = {one: since for one, since in self._asked.items() if one in asked}
        for name, one in standing:
            self._asked.setdefault(one, now if name in self._known else -ANSWER_WITHIN)
        self._known |= groups.keys() if live else set()

    def _lapsed(self, now: float) -> frozenset[str]:
        late = (one for one, since in self._asked.items() if now - since >= ANSWER_WITHIN)
        return frozenset([*late, *self._answered.values()])

    def _displaces(
        self, world: World, node: str, groups: Mapping[str, DirectorGroup], standing: Standing, now: float
    ) -> frozenset[str]:
        """Return the groups that this node takes from a living director now, or has taken a moment ago."""
        taking = {
            name
            for name, group in groups.items()
            if displaces(group, standing) and heir(world, group, node, standing) == node
        }
        insisting = {name for name, until in self._insists.items() if name in standing.active and now < until}
        self._insists = {name: self._insists.get(name, now + INSISTS) for name in insisting}
        self._insists |= dict.fromkeys(taking - standing.active, now + INSISTS)
        return frozenset(self._insists)

    def _overdue(self, world: World, node: str, standing: Standing, now: float) -> frozenset[str]:
        """Return the groups that another director should have by now.

        Whoever has let go, and had to take the addresses back, does not do so again for the same one.
        """
        expected = {}
        for name in standing.active:
            group = world.groups[name]
            if unwanted(world, group, node) and (one := heir(world, group, node, standing)):
                expected[name] = (one, group.ownership.request.id if group.ownership.request is not None else "")
        settled = standing.purging | (standing.active - expected.keys())
        self._in_vain = {name: key for name, key in self._in_vain.items() if name not in settled}
        awaited = {one for one in expected if one in self._awaited or self._in_vain.get(one) != expected[one]}
        self._awaited = {name: self._awaited.get(name, now) for name in awaited}
        overdue = {
            name for name, since in self._awaited.items() if now - since >= _patience(world.groups[name], standing)
        }
        self._in_vain |= {name: expected[name] for name in overdue}
        return frozenset(overdue)

    def _given_away(self, world: World, node: str, groups: Mapping[str, DirectorGroup], now: float) -> frozenset[str]:
        """Return the groups that are to be elsewhere, or were a moment ago: the answer may be known here before it is
        seen that the addresses are gone."""
        wanted = {name for name, group in groups.items() if name in self._ability.heirs or unwanted(world, group, node)}
        self._given = {name: since for name, since in self._given.items() if now - since < ANSWER_WITHIN}
        self._given |= dict.fromkeys(wanted, now)
        return frozenset(self._given)

    def _behind(self, groups: Iterable[str], actual: State) -> set[str]:
        """A node that may hold a group's addresses already is not called back: one that lacks some is better than none.

        So a restart of the agent changes nothing.
        """
        return {name for name in groups if name not in actual.eligible and self._mirroring.behind(name)}


def _asked(group: DirectorGroup) -> list[str]:
    """Return the ids of what is asked for: by a person, or by a director that cannot serve all."""
    request = group.ownership.request
    offers = [found for one in group.ownership.reports if (found := offer(group, one))]
    return offers if request is None else [request.id, *offers]


def _last(world: World, group: DirectorGroup, node: str) -> int | None:
    """Return the priority of a node that comes after all others, None where it has no other one."""
    groups, nodes = serving(world).values(), world.nodes
    if node not in directors.members(group, nodes):
        return None
    last = directors.priority(groups, group, nodes, node, last=True)
    return last if last != directors.priority(groups, group, nodes, node) else None


def _patience(group: DirectorGroup, standing: Standing) -> float:
    assert group.spec is not None
    return TAKE_OVER + down_time(group.spec) if displaces(group, standing) else 0.0
