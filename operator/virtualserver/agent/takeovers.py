"""How this node became the active director of its groups: when, after whom, why, and how long nobody held them.

All times are of this node's monotonic clock: the last advertisement of the director before, heard here, and the moment
at which this kernel held the group's token. Nothing is decided by them.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from typing import Protocol

from virtualserver.api.failover import Failover
from virtualserver.api.reasons import Reason
from virtualserver.model.failover import Heard
from virtualserver.plan import directors, vrrp
from virtualserver.plan.eligibility import Standing, pending
from virtualserver.plan.reports import Request
from virtualserver.plan.world import DirectorGroup, World

BESIDE = 1.0
"""Seconds for which another one must be active beside this one to be told of."""


class Witness(Protocol):
    """Hears the advertisements of others, and sees when addresses come."""

    def heard(self, router_id: int) -> Heard | None:
        """Return the last advertisement of another director, None when there was none."""
        ...

    def held_since(self, router_id: int) -> float | None:
        """Return when this node last began to hold the token, None when that was before anybody looked."""
        ...

    def rival(self, router_id: int) -> Heard | None:
        """Return what was last heard of another director that is active although this one is, None when none is."""
        ...


class Takeovers:
    """Notes each beginning of a term; of one that began before this agent did it knows what the status tells.

    That is kept: another director that served meanwhile, because it did not hear this one, wrote its own over it.
    """

    def __init__(self, node: str, witness: Witness, utc_now: Callable[[], str], clock: Callable[[], float]) -> None:
        """``clock`` gives seconds of the monotonic clock that the witness uses."""
        self._node, self._witness, self._utc_now, self._clock = node, witness, utc_now, clock
        self._active: frozenset[str] | None = None
        self._failovers: dict[str, Failover] = {}
        self.counts: Counter[str] = Counter()
        """Terms that began, by group."""
        self.rivals: Mapping[str, str] = {}
        """By group, who else is heard to be active, for longer than a hand-over takes."""
        self._rivals: dict[str, float] = {}
        self._pending: Mapping[str, Request | None] = {}

    def look(self, world: World, standing: Standing) -> Mapping[str, Failover]:
        """Return how each of this node's terms began, as far as it is known."""
        held = standing.active | standing.former  # who let go in vain, and takes back, goes on with its term
        before, self._active = self._active, held
        self._failovers = {name: one for name, one in self._failovers.items() if name in held}
        for name in standing.active - (standing.active if before is None else before):
            self.counts[name] += 1
            self._failovers[name] = self._begun(world, world.groups[name], standing)
        for name in standing.active:
            told = world.groups[name].last_failover
            if told is not None and told.node == self._node:
                self._failovers.setdefault(name, told)
        for name in standing.active & self._failovers.keys():
            one = self._failovers[name]
            self._failovers[name] = self._answered(world.groups[name], standing, one)
        self.rivals = dict(self._find_rivals(world, standing))
        self._pending = {name: pending(group, standing) for name, group in world.groups.items()}
        return {name: one for name, one in self._failovers.items() if name in standing.active}

    def _find_rivals(self, world: World, standing: Standing) -> Iterator[tuple[str, str]]:
        heard = {name: self._witness.rival(vrrp.router_id(world.groups[name])) for name in standing.active}
        now = self._clock()
        self._rivals = {name: self._rivals.get(name, now) for name, one in heard.items() if one is not None}
        for name, since in self._rivals.items():
            if (one := heard[name]) is not None and now - since >= BESIDE:
                sender = _sender(world, world.groups[name], one)
                yield name, sender if sender not in (None, self._node) else str(one.source)

    def _begun(self, world: World, group: DirectorGroup, standing: Standing) -> Failover:
        router = vrrp.router_id(group)
        heard = self._witness.heard(router)
        silent = self._silent(router, heard)
        request = self._request(group, standing)
        before = _sender(world, group, heard) if heard is not None else None
        yielded = self._yielded(world, group, before) if before is not None else ""
        reason, message = _why(heard, request.reason if request is not None else "", yielded)
        return Failover(
            time=self._utc_now(),
            node=self._node,
            before=before,
            reason=reason,
            message=message,
            silent=f"{silent:.3f}s" if silent is not None else None,
            request=request.id if request is not None else None,
        )

    def _request(self, group: DirectorGroup, standing: Standing) -> Request | None:
        """Return the request that this term answers; it may have lapsed after the addresses came, before this look."""
        request = group.ownership.request
        if request is None or request.to not in ("", self._node):
            return None
        return request if request in (pending(group, standing), self._pending.get(group.name)) else None

    def _yielded(self, world: World, group: DirectorGroup, before: str) -> str:
        """Return why the director before gives the addresses to this one while it lives; "" when it does not."""
        if before in world.nodes and world.nodes[before].cordoned:
            return "its node is cordoned"
        report = group.ownership.report(before)
        if report is None or report.yields_to != self._node:
            return ""
        return f"{before} cannot serve {directors.servers(report.lacking)} of the group"

    def _silent(self, router: int, heard: Heard | None) -> float | None:
        """Return for how many seconds nobody held the addresses: not at all when this node has displaced the other."""
        since = self._witness.held_since(router)
        if heard is None or since is None:
            return None
        return 0.0 if heard.continues and heard.priority > 0 else max(since - heard.time, 0.0)

    def _answered(self, group: DirectorGroup, standing: Standing, one: Failover) -> Failover:
        """A request for a director that is active already is answered by that."""
        request = pending(group, standing)
        if request is None or request.to != self._node or one.request == request.id:
            return one
        return one.model_copy(update={"request": request.id})


def _why(heard: Heard | None, asked: str, yielded: str) -> tuple[Reason, str]:
    if heard is None:
        return Reason.FIRST, "no other director was heard before"
    if asked:
        return Reason.REQUESTED, asked
    if heard.priority == 0:
        return Reason.DIRECTOR_YIELDED, "the director before gave the addresses away"
    if heard.continues and yielded:
        return Reason.DIRECTOR_YIELDED, yielded
    if heard.continues:
        return Reason.PREEMPTED, "this director is preferred to the one before"
    return Reason.DIRECTOR_LOST, "the director before was not heard any more"


def _sender(world: World, group: DirectorGroup, heard: Heard) -> str | None:
    """Return the name of the director that an advertisement came from."""
    for report in group.ownership.reports:
        if heard.source in report.addresses:
            return report.node
    return next((node.name for node in world.nodes.values() if heard.source in node.addresses), group.active)
