"""May this node hold the addresses of a group? What speaks against it, in one word, or that nothing does.

Whether everything is programmed is not asked here: ``diff`` allows nothing before it has read that back.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from virtualserver.api.enums import GroupRole
from virtualserver.api.reasons import Reason
from virtualserver.model.types import State
from virtualserver.plan import directors, vrrp
from virtualserver.plan.findings import Finding
from virtualserver.plan.groups import serving
from virtualserver.plan.reports import Report, Request
from virtualserver.plan.world import DirectorGroup, World


@dataclass(frozen=True, slots=True)
class Standing:
    """What this node knows of its own standing in its groups, by their names.

    ``active``: it holds their addresses. ``purging``: connections of its former term must be forgotten first.
    ``behind``: it does not have the active director's connections yet. ``held``: its link is not to be relied on, and
    why; it stays out while another one is there. ``lapsed``: ids of requests, and offers, that nobody has answered in
    time. ``former``: it held their addresses, and does not know yet who does now; when it does, it has connections to
    forget. ``deaf``: mirrored connections do not come here although they are sent; the receiver is to be started again.
    ``displacing``: it takes the addresses from a director that lives, or has just done so. ``overdue``: another one is
    to have them and has not taken them, so this one lets go by itself. ``hesitant``: it cannot serve all of them, or
    could not a while ago; others go first. ``staying``: what it claims where the director before may believe that it is
    active still. ``lacking``: how many virtual servers it cannot serve. ``silent``: nobody is heard to hold them for so
    long that one which should not have them is better than none.
    """

    active: frozenset[str] = frozenset()
    purging: frozenset[str] = frozenset()
    behind: frozenset[str] = frozenset()
    held: Mapping[str, str] = field(default_factory=dict)
    lapsed: frozenset[str] = frozenset()
    former: frozenset[str] = frozenset()
    deaf: frozenset[str] = frozenset()
    displacing: frozenset[str] = frozenset()
    overdue: frozenset[str] = frozenset()
    hesitant: frozenset[str] = frozenset()
    staying: Mapping[str, int] = field(default_factory=dict)
    lacking: Mapping[str, int] = field(default_factory=dict)
    silent: frozenset[str] = frozenset()


NO_STANDING = Standing()

LONGEST_WAIT = 5.0
"""Seconds without an advertisement until a standby takes over: in groups that need more, the active one lets go."""


def role(name: str, found: Finding | None, standing: Standing, actual: State) -> tuple[GroupRole, Finding]:
    """Return what a node is to one of its groups, and why; ``found`` is what ``barred`` says of it."""
    if name in standing.active:
        return GroupRole.ACTIVE, Finding(True, Reason.DIRECTOR_ACTIVE, "it holds the addresses of the group")
    if found is not None:
        return GroupRole.NOT_READY, found
    if not actual.electing:
        return GroupRole.NOT_READY, Finding(False, Reason.KEEPALIVED_DOWN, "keepalived does not run on this node")
    if name in actual.instances and (dead := sorted(actual.down.intersection(actual.instances[name].links))):
        text = f"link {dead[0]} is down or has nothing at its other end"
        return GroupRole.NOT_READY, Finding(False, Reason.LINK_DOWN, text)
    if name in standing.former:
        text = "it has let go of the addresses, and nobody is heard to hold them"
        return GroupRole.NOT_READY, Finding(False, Reason.NO_ACTIVE_DIRECTOR, text)
    if name not in actual.eligible:
        return GroupRole.NOT_READY, Finding(False, Reason.NOT_PROGRAMMED_YET, "its kernel is being programmed")
    return GroupRole.STANDBY, Finding(
        True, Reason.DIRECTOR_STANDBY, "it can take over: what it would serve reads back from its kernel"
    )


def barred(world: World, group: DirectorGroup, node: str, standing: Standing) -> Finding | None:
    """Return why this node must not hold the addresses of a group; None when nothing speaks against it."""
    if group.name in standing.purging:
        text = "connections of its former term as active director are being forgotten"
        return Finding(False, Reason.PURGING, text)
    rests = group.name in standing.held and group.name not in standing.silent
    if rests and _relieved(world, group, node):
        return Finding(False, Reason.HELD_DOWN, standing.held[group.name])
    if group.name in standing.behind and group.name not in standing.active:
        return Finding(False, Reason.CATCHING_UP, "it does not have the active director's connections yet")
    return _asked_to_yield(world, group, node, standing) or _drained(world, group, node, standing)


def pending(group: DirectorGroup, standing: Standing) -> Request | None:
    """Return the planned failover that is still to be done."""
    request = group.ownership.request
    return None if request is None or request.id in standing.lapsed else request


def heir(world: World, group: DirectorGroup, node: str, standing: Standing) -> str:
    """Return the director that is to have the addresses now instead of the one that lives and holds them; "" for none.

    Somebody asked for it and it has all connections, or the active director's node is drained, or that one says that
    it cannot serve all. Of several the one that can serve the most, and of those the most preferred.
    """
    request = pending(group, standing)
    holder = node if group.name in standing.active else group.ownership.active
    ready = frozenset[str]()
    if request is not None:
        ready = _ready(world, group, request)
    elif holder in world.nodes and world.nodes[holder].cordoned:
        ready = frozenset(one.node for one in free(world, group))
    elif (said := group.ownership.report(holder)) is not None and offer(group, said) not in standing.lapsed:
        own = {node: standing.lacking.get(group.name, 0)}  # what was said may be old
        lack = {one.node: max(one.lacking, own.get(one.node, 0)) for one in free(world, group)}
        ready = frozenset(name for name, count in lack.items() if name == said.yields_to and count < said.lacking)
    lacking = {one.node: one.lacking for one in group.ownership.reports}
    preferred = directors.preferred(serving(world).values(), group, world.nodes)
    ordered = sorted(preferred, key=lambda name: lacking.get(name, 0))
    return next((name for name in ordered if name in ready), "")


def offer(group: DirectorGroup, said: Report) -> str:
    """Return what names the offer of a director that yields, as the id does a request; "" for none."""
    return f"{group.name}: {said.node} yields to {said.yields_to}" if said.yields_to else ""


def free(world: World, group: DirectorGroup) -> list[Report]:
    """Return the standbys on whose nodes nobody is about to work."""
    return [one for one in _having(world, group, GroupRole.STANDBY) if not world.nodes[one.node].cordoned]


def unwanted(world: World, group: DirectorGroup, node: str) -> bool:
    """Tell whether people want the addresses elsewhere: then an active director lets go in the end, whoever takes over.

    Not for what it cannot serve: it serves the others.
    """
    return group.ownership.request is not None or (node in world.nodes and world.nodes[node].cordoned)


def displaces(group: DirectorGroup, standing: Standing) -> bool:
    """Tell whether the heir takes the addresses from the living director, by its priority: so nobody is without one.

    Not where that takes long, nor when it is asked for that the active one lets go first.
    """
    request = pending(group, standing)
    first = request is not None and request.let_go_first
    return not first and group.spec is not None and vrrp.down_time(group.spec) <= LONGEST_WAIT


def _asked_to_yield(world: World, group: DirectorGroup, node: str, standing: Standing) -> Finding | None:
    request = pending(group, standing)
    if request is None or request.to == node or request.to not in ("", *directors.members(group, world.nodes)):
        return None
    if group.name in standing.active:
        yields = _lets_go(world, group, node, standing)
    else:
        able = any(one.node == request.to for one in _having(world, group, GroupRole.STANDBY))
        yields = able and _elsewhere(group, standing)
    return Finding(False, Reason.FAILOVER_REQUESTED, f"a failover was asked for: {request.reason}") if yields else None


def _ready(world: World, group: DirectorGroup, request: Request) -> frozenset[str]:
    """Return the directors that can do what was asked for."""
    standbys = _having(world, group, GroupRole.STANDBY)
    return frozenset(one.node for one in standbys if one.caught_up == request.id and request.to in ("", one.node))


def _drained(world: World, group: DirectorGroup, node: str, standing: Standing) -> Finding | None:
    """A node on which somebody is about to work stays out of the way while another director can take over."""
    if node not in world.nodes or not world.nodes[node].cordoned:
        return None
    if group.name in standing.active:
        yields = _lets_go(world, group, node, standing)
    else:
        standbys = [one for one in _having(world, group, GroupRole.STANDBY) if one.node != node]
        others = any(not world.nodes[one.node].cordoned for one in standbys)
        yields = others and _elsewhere(group, standing)
    text = f"node {node} is cordoned and another director is ready"
    return Finding(False, Reason.NODE_CORDONED, text) if yields else None


def _elsewhere(group: DirectorGroup, standing: Standing) -> bool:
    """Tell whether another director has the addresses, or will: who let go of them takes back what nobody wants."""
    return group.name not in standing.former | standing.silent


def _lets_go(world: World, group: DirectorGroup, node: str, standing: Standing) -> bool:
    return group.name in standing.overdue and heir(world, group, node, standing) not in ("", node)


def _relieved(world: World, group: DirectorGroup, node: str) -> bool:
    """Tell whether another director is there for what this one would rather not hold: better now and then than never.

    Of several that all would rather not, the most preferred one is not relieved by the others.
    """
    preferred = directors.preferred(serving(world).values(), group, world.nodes)
    before = preferred[: preferred.index(node)]
    active = {one.node for one in _having(world, group, GroupRole.ACTIVE)} - {node}
    return bool(active) or any(one.node in before for one in _having(world, group, GroupRole.STANDBY))


def _having(world: World, group: DirectorGroup, role: GroupRole) -> list[Report]:
    members = set(directors.members(group, world.nodes))
    return [one for one in group.ownership.reports if one.node in members and one.role is role]
