"""What this node says of itself to each of its groups, when anything of it has changed."""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping
from dataclasses import replace
from typing import Protocol

from virtualserver.agent.claims import Claims
from virtualserver.agent.lacking import Lacking
from virtualserver.agent.takeovers import Takeovers
from virtualserver.api.enums import GroupRole
from virtualserver.api.failover import Failover, MirrorReport
from virtualserver.api.reasons import Reason
from virtualserver.model.types import IPAddress, State
from virtualserver.plan import vrrp
from virtualserver.plan.desired import Plan, directed_groups
from virtualserver.plan.directors import servers
from virtualserver.plan.eligibility import Standing, pending, role
from virtualserver.plan.findings import Finding
from virtualserver.plan.groupstatus import Json, group_status
from virtualserver.plan.world import DirectorGroup, ObjectKey, World


class Mirroring(Protocol):
    """How well connections are mirrored to this node."""

    def report(self, group: str) -> MirrorReport | None:
        """Return what was measured; None where nothing is mirrored."""
        ...

    def caught_up(self, group: str, request: str) -> bool:
        """Return whether this node has all connections of the active director since a failover was asked for."""
        ...


class GroupReports:
    """``say`` gets a status for a group, None when this node is no director of it any more."""

    def __init__(
        self,
        node: str,
        takeovers: Takeovers,
        claims: Claims,
        mirroring: Mirroring,
        lacking: Lacking,
        say: Callable[[str, Json | None], None],
    ) -> None:
        self._node, self._takeovers, self._mirroring, self._say = node, takeovers, mirroring, say
        self._lacking, self._claims = lacking, claims
        self._said: dict[str, Json] = {}

    def report(
        self, world: World, plan: Plan, standing: Standing, actual: State, problems: Collection[ObjectKey]
    ) -> None:
        """Say what is so now; ``problems`` are the virtual servers that could not be programmed."""
        self._lacking.look(world, plan, standing, problems)
        failovers = self._takeovers.look(world, standing)
        self._claims.look(world, actual, failovers, standing.silent)
        statuses = {name: self._status(world.groups[name], plan, standing, actual, failovers) for name in plan.groups}
        for name in self._said.keys() - statuses.keys():
            self._say(name, None)
        for name, status in statuses.items():
            if self._said.get(name) != status:
                self._say(name, status)
        self._said = statuses

    def unreadable(self, world: World, message: str) -> None:
        """Say that this node is not ready because its kernel cannot be read.

        A director that was active last stays so: keepalived and the kernel go on without the agent.
        """
        why = Finding(False, Reason.KERNEL_UNREADABLE, message)
        for name, group in directed_groups(world, self._node).items():
            last = group.ownership.report(self._node)
            if last is not None and last.role is GroupRole.ACTIVE:
                continue
            addresses = last.addresses if last is not None else ()
            status = group_status(self._node, GroupRole.NOT_READY, why, addresses=addresses)
            if self._said.get(name) != status:
                self._say(name, status)
            self._said = {**self._said, name: status}

    def _status(
        self,
        group: DirectorGroup,
        plan: Plan,
        standing: Standing,
        actual: State,
        failovers: Mapping[str, Failover],
    ) -> Json:
        said, why = role(group.name, plan.groups[group.name], standing, actual)
        lacking, heir = self._lacking.counts.get(group.name, 0), self._lacking.heirs.get(group.name, "")
        if lacking and said is not GroupRole.NOT_READY:
            text = f"{why.message}, but for {servers(lacking)} that it cannot serve"
            why = replace(why, message=f"{text}; {heir} is to take over" if heir else text)
        if said is GroupRole.ACTIVE and (rival := self._takeovers.rivals.get(group.name)):
            why = Finding(True, Reason.TWO_OWNERS, f"{why.message}; {rival} is heard to be active, too")
        router = plan.state.instances.get(group.name)
        return group_status(
            self._node,
            said,
            why,
            addresses=_addresses(group, actual),
            priority=router.priority if router is not None else None,
            mirror=self._mirroring.report(group.name),
            caught_up=self._caught_up(plan, group, standing),
            lacking=lacking,
            yields_to=heir,
            failover=failovers.get(group.name),
        )

    def _caught_up(self, plan: Plan, group: DirectorGroup, standing: Standing) -> str | None:
        """Return the request that this node is ready to answer."""
        request = pending(group, standing)
        if request is None or request.to not in ("", self._node) or group.name in standing.active:
            return None
        if group.name in plan.mirrored and not self._mirroring.caught_up(group.name, request.id):
            return None
        return request.id


def _addresses(group: DirectorGroup, actual: State) -> frozenset[IPAddress]:
    """Return the node's own addresses on the links over which directors speak to each other."""
    assert group.spec is not None
    links = {group.spec.interface, group.spec.mirroring.interface or group.spec.interface}
    return frozenset(one.address for one in vrrp.own_addresses(actual) if one.link in links)
