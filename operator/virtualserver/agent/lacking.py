"""What this node cannot serve of its groups, and who is to be active instead: a standby that can serve more.

The active director decides and names its heir in the status; that one takes over while this one lives. So that
addresses do not wander between directors none of which is any better:

- What cannot be served must last, and so must the standby's being better: longer than any pause between two tries.
- Who got the addresses in this way keeps them for a while, whatever it finds that it cannot serve; who gave them away
  does not ask for them back for as long.
- What a person chose, knowing what is lacking, stays.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass, field

from virtualserver.agent.attempts import LONGEST_PAUSE
from virtualserver.plan import directors
from virtualserver.plan.desired import Plan
from virtualserver.plan.eligibility import Standing, displaces, free
from virtualserver.plan.groups import serving
from virtualserver.plan.world import DirectorGroup, ObjectKey, World

LASTING = 3.0
"""Seconds for which the kernel must have refused one: it may be a matter of order between two programs."""

PATIENCE = LONGEST_PAUSE + 10.0
"""Seconds for which it must lack something, and a standby less, before that one is named."""

OFFER = 15.0
"""Seconds in which the heir must take over; then another one is named, or the same after ``PATIENCE``."""

AGAIN = 600.0
"""Seconds after such a hand-over in which the addresses do not come back, whatever the new director lacks."""


@dataclass(slots=True)
class _Group:
    """What is remembered of one group: seconds of the clock, None for never."""

    lacks: float | None = None
    fit: dict[str, float] = field(default_factory=dict)
    heir: str = ""
    named: float = 0.0
    gave: float | None = None
    got: float | None = None
    whole: bool = False
    """It has served all at some time of its present term."""


class Lacking:
    """``counts``: how many virtual servers this node cannot serve, by group. ``heirs``: who is to take over for that.

    ``hesitant``: groups whose other directors go first; None until the first look. ``clock`` gives seconds of a
    monotonic clock.
    """

    def __init__(self, node: str, clock: Callable[[], float]) -> None:
        self._node, self._clock = node, clock
        self._since: dict[ObjectKey, float] = {}
        self._groups: dict[str, _Group] = {}
        self.counts: Mapping[str, int] = {}
        self.heirs: Mapping[str, str] = {}
        self.hesitant: frozenset[str] | None = None

    def look(self, world: World, plan: Plan, standing: Standing, problems: Collection[ObjectKey]) -> None:
        """Note which virtual servers could not be programmed in this round."""
        now, adopted = self._clock(), standing.hesitant if self.hesitant is None else frozenset[str]()
        self._since = {key: self._since.get(key, now) for key in problems}
        troubled = {key: plan.accepted[key].director_group for key in problems if key in plan.accepted}
        self.counts = Counter(group for key, group in troubled.items() if now - self._since[key] >= LASTING)
        fresh = {name: _Group(gave=now if name in adopted else None) for name in plan.groups}
        self._groups = {name: self._groups.get(name, one) for name, one in fresh.items()}
        for name, kept in self._groups.items():
            kept.whole = name in standing.active and (kept.whole or name not in troubled.values())
            self._remember(kept, world, world.groups[name], standing, now)
        self.heirs = {name: kept.heir for name, kept in self._groups.items() if kept.heir}
        if plan.groups or self.hesitant is not None:  # else the cluster is not known yet
            self.hesitant = frozenset(name for name in self._groups if self._hesitates(world.groups[name], now))

    def _hesitates(self, group: DirectorGroup, now: float) -> bool:
        """Tell whether others go first: it lacks more than the active director, or has yielded a while ago."""
        holder, lacking = group.ownership.report(group.ownership.active), self.counts.get(group.name, 0)
        others = holder.lacking if holder is not None and holder.node != self._node else 0
        return lacking > others or _lately(self._groups[group.name].gave, now)

    def _remember(self, kept: _Group, world: World, group: DirectorGroup, standing: Standing, now: float) -> None:
        lacking, active = self.counts.get(group.name, 0), group.name in standing.active
        kept.lacks = (now if kept.lacks is None else kept.lacks) if lacking else None
        better = {one.node for one in free(world, group) if one.lacking < lacking and not one.behind} - {self._node}
        kept.fit = {name: kept.fit.get(name, now) for name in better}
        holder = group.ownership.report(group.ownership.active)
        if holder is not None and holder.yields_to == self._node:
            kept.got = now
        may = (
            active
            and displaces(group, standing)
            and not _lately(kept.got, now)
            and not _chosen(kept, group, self._node)
        )
        counts = {one.node: one.lacking for one in group.ownership.reports}
        preferred = directors.preferred(serving(world).values(), group, world.nodes)
        ordered = sorted(preferred, key=lambda name: counts.get(name, 0))
        self._name(kept, ordered if may else [], now)

    def _name(self, kept: _Group, members: list[str], now: float) -> None:
        """Name the first of ``members`` that has been fit for long, for as long as it has to take over."""
        if kept.heir in kept.fit and now - kept.named >= OFFER:
            kept.fit[kept.heir] = now
        lasts = kept.lacks is not None and now - kept.lacks >= PATIENCE
        ready = [name for name in members if lasts and name in kept.fit and now - kept.fit[name] >= PATIENCE]
        before, kept.heir = kept.heir, kept.heir if kept.heir in ready else next(iter(ready), "")
        if kept.heir:
            kept.named, kept.gave = kept.named if kept.heir == before else now, now


def _lately(since: float | None, now: float) -> bool:
    return since is not None and now - since < AGAIN


def _chosen(kept: _Group, group: DirectorGroup, node: str) -> bool:
    """Tell whether a person made this node active, and it has lacked something ever since."""
    last = group.ownership.last
    return last is not None and last.node == node and bool(last.request) and not kept.whole
