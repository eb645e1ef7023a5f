"""How much this node claims where it took over from a director that fell silent: more than that one, which may return.

One that was paused, or parted from this one, goes on as if it were active, without the connections that began since. Of
two that are active the one that claims more stays.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping

from virtualserver.agent.takeovers import Witness
from virtualserver.api.enums import GroupRole
from virtualserver.api.failover import Failover
from virtualserver.api.reasons import Reason
from virtualserver.model.types import State
from virtualserver.plan import vrrp
from virtualserver.plan.desired import directed_groups
from virtualserver.plan.directors import STAYING, priorities
from virtualserver.plan.groups import serving
from virtualserver.plan.world import DirectorGroup, World

SETTLED = 1.0
"""Seconds after which it claims more, on top of the longest time that a group of this node needs to notice a crash:
keepalived waits anew when it is told of a priority, and the same crash may concern another group."""

AWAY, LATE = 1.5, 0.3
"""Times as long as noticing takes, and seconds by which a busy node may be late, whichever is more: who was away for
longer than that was parted itself, and served nobody."""

LET_IN = 5.0
"""Seconds in which the agent of one that takes over because nobody is heard looks; then keepalived listens anew."""


class Claims:
    """``priorities``: what is claimed, by group; None until the first look. ``clock`` is the witness's."""

    def __init__(self, node: str, witness: Witness, clock: Callable[[], float]) -> None:
        self._node, self._witness, self._clock = node, witness, clock
        self._terms: dict[str, tuple[Failover, int]] = {}
        self.priorities: Mapping[str, int] | None = None

    def look(
        self, world: World, actual: State, begun: Mapping[str, Failover], silent: Collection[str] = frozenset()
    ) -> None:
        """Look again; ``begun`` is how the terms of this node began, in ``silent`` groups because nobody was heard."""
        groups = directed_groups(world, self._node)
        if not groups and self.priorities is None:
            return  # the cluster is not known yet
        wait = SETTLED + max((vrrp.down_time(one.spec) for one in groups.values() if one.spec is not None), default=0.0)
        terms = {name: one for name, one in begun.items() if name in groups and _lost(one)}
        self._terms = {name: self._claim(groups[name], one, actual, name in silent) for name, one in terms.items()}
        self.priorities = {
            name: claim
            for name, (_, claim) in self._terms.items()
            if claim and self._since(groups[name]) >= wait and not self._is_preempted(world, groups[name])
        }

    def _claim(self, group: DirectorGroup, one: Failover, actual: State, silent: bool) -> tuple[Failover, int]:
        """Return what is claimed in a term: 0 for good once the director before has said that it is not active."""
        known = self._terms.get(group.name)
        claim = known[1] if known is not None and known[0].time == one.time else self._first(group, actual, silent)
        told, report = group.last_failover, group.ownership.report(one.before or "")
        if told is None or told.time != one.time:
            return one, claim  # what the status says is older than this term
        gone = report is None or report.role in (GroupRole.STANDBY, GroupRole.NOT_READY)
        return one, 0 if gone else claim

    def _is_preempted(self, world: World, group: DirectorGroup) -> bool:
        """Tell whether a director that is to have the addresses back is ready."""
        assert group.spec is not None
        order = priorities(serving(world).values(), group, world.nodes)
        ready = {one.node for one in group.ownership.reports if one.role is GroupRole.STANDBY}
        return group.spec.vrrp.preempt and any(order[name] > order[self._node] for name in ready & order.keys())

    def _first(self, group: DirectorGroup, actual: State, silent: bool) -> int:
        """Return what is claimed in a term that has just begun; an agent that has just begun goes on with what is."""
        assert group.spec is not None
        router = vrrp.router_id(group)
        heard, since = self._witness.heard(router), self._witness.held_since(router)
        if heard is None or since is None:
            found = actual.instances.get(group.name)
            return min(found.priority, STAYING) if found is not None else 0
        noticed = vrrp.down_time(group.spec)
        longest = max(AWAY * noticed, noticed + LATE) + (vrrp.TAKE_OVER + LET_IN + noticed if silent else 0.0)
        if since - heard.time > longest:
            return 0
        return min(heard.priority + 1, STAYING)

    def _since(self, group: DirectorGroup) -> float:
        """Return for how many seconds this node has been active."""
        since = self._witness.held_since(vrrp.router_id(group))
        return float("inf") if since is None else self._clock() - since


def _lost(one: Failover) -> bool:
    return one.reason == Reason.DIRECTOR_LOST and one.before is not None
