"""What a director needs to own addresses: virtual routers, who may speak to them, and mirroring of connections."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from ipaddress import ip_address

from virtualserver.api.base import seconds
from virtualserver.api.reasons import Reason
from virtualserver.model.failover import Instance, SyncDaemon, SyncRole, token
from virtualserver.model.types import LinkAddress, State
from virtualserver.plan import directors, mirroring, settings, vrrp
from virtualserver.plan.eligibility import Standing
from virtualserver.plan.findings import Finding
from virtualserver.plan.groups import serving
from virtualserver.plan.world import DirectorGroup, World


@dataclass(frozen=True, slots=True)
class Holding:
    """What decides it: the cluster, the node with its own addresses, what it is to its groups, and which of these
    have connections that are mirrored."""

    world: World
    node: str
    own: frozenset[LinkAddress]
    standing: Standing
    mirrored: frozenset[str]


def joined(
    state: State,
    held: Holding,
    groups: Mapping[str, Finding | None],
    addresses: Mapping[str, frozenset[LinkAddress]],
) -> State:
    """Return ``state`` with what belongs to these groups of the node; ``addresses`` are those of each group."""
    if not groups:
        return state
    world = held.world
    instances = {name: _instance(held, name, addresses.get(name, ())) for name in groups}
    members = {one for name in groups for one in vrrp.admitted(world, world.groups[name], held.node, held.own)}
    sysctls = dict(state.sysctls)
    daemons: set[SyncDaemon] = set()
    services = dict(state.services)
    if mirrored := sorted(held.mirrored):
        first = world.groups[mirrored[0]]
        members |= {one for name in mirrored for one in vrrp.mirroring(world, world.groups[name], held.node, held.own)}
        daemons = set(_daemons(first, receive=not (held.standing.purging or held.standing.deaf)))
        sysctls |= settings.mirroring(first)
        services[mirroring.TICK] = mirroring.TICK_SERVICE
    return replace(
        state,
        addresses=state.addresses | _held(instances, held.standing.active, addresses),
        services=services,
        sysctls=sysctls,
        rules=replace(state.rules, members=frozenset(members)),
        instances=instances,
        eligible=frozenset(name for name, finding in groups.items() if finding is None),
        daemons=frozenset(daemons),
    )


def _instance(held: Holding, name: str, addresses: Iterable[LinkAddress]) -> Instance:
    group = held.world.groups[name]
    return vrrp.instance(
        held.world, group, held.node, held.own, addresses, _priority(held, group), _preempt_delay(held, group)
    )


def unheard(held: Holding, name: str) -> Finding | None:
    """Return why nobody would hear this node's advertisements, nor it another's: none of them is sent to anybody.

    (keepalived would send them to all instead.) Not while no other director has told its addresses, for there may be
    none; and what is active stays so, but for one that has lost the address that it advertises from.
    """
    group = held.world.groups[name]
    assert group.spec is not None
    here = {one.address.version for one in held.own if one.link == group.spec.interface}
    if here == {6} and vrrp.spoken(held.world, group, held.node, held.own) == 4:
        link = f"this node's link {group.spec.interface}"
        text = f"spec.interface: {link} has no IPv4 address, by which the other directors advertise"
        return Finding(False, Reason.NO_PEERS, text)
    alone = len(directors.members(group, held.world.nodes)) < 2
    told = any(one.node != held.node and one.addresses for one in group.ownership.reports)
    if not group.spec.vrrp.unicast or alone or not told or name in held.standing.active:
        return None
    router = vrrp.instance(held.world, group, held.node, held.own, (), directors.STAYING, None)
    if router.source is None or router.peers:
        return None
    where = f"the network of this node's link {group.spec.interface}"
    text = f"spec.vrrp.unicast: no address of another director is in {where}"
    return Finding(False, Reason.NO_PEERS, text)


def _priority(held: Holding, group: DirectorGroup) -> int:
    """Return how much this node claims: by its place in the group's order, but for what has happened lately."""
    name, standing = group.name, held.standing
    if name in standing.displacing:
        return directors.TAKING_OVER
    own = _place(held, group)
    return max(own, standing.staying.get(name, 0)) if name in standing.active else own


def _place(held: Holding, group: DirectorGroup) -> int:
    name, standing = group.name, held.standing
    last = name in (standing.hesitant | standing.held.keys()) - standing.active
    return directors.priority(serving(held.world).values(), group, held.world.nodes, held.node, last=last)


def _preempt_delay(held: Holding, group: DirectorGroup) -> float | None:
    """Return for how many seconds this node leaves the addresses to one that claims less; None: for ever.

    So does one that has let go, that cannot serve all, or on which somebody is about to work, even if it is preferred.
    """
    assert group.spec is not None
    name, settings = group.name, group.spec.vrrp
    if name in held.standing.displacing:
        return 0.0
    stays_back = name in held.standing.former | held.standing.hesitant or held.world.nodes[held.node].cordoned
    return None if stays_back or not settings.preempt else seconds(settings.preempt_delay or "0s")


def _held(
    instances: Mapping[str, Instance], active: frozenset[str], addresses: Mapping[str, frozenset[LinkAddress]]
) -> frozenset[LinkAddress]:
    """Return what the active director of these groups holds."""
    tokens = {token(one.router_id) for name, one in instances.items() if name in active}
    return frozenset(tokens | {one for name in active for one in addresses.get(name, ())})


def _daemons(group: DirectorGroup, *, receive: bool) -> list[SyncDaemon]:
    """Both roles run on every director all the time: nothing has to be switched when one takes over.

    The receiver takes every sync id; whose packets come through is the packet filter's business. While connections
    are being forgotten none is received; nor by a receiver that is deaf, so that another one is started.
    """
    assert group.spec is not None
    wanted = group.spec.mirroring
    link = wanted.interface or group.spec.interface
    many, port = ip_address(wanted.group), wanted.port
    sync_id = wanted.sync_id or group.spec.vrrp.router_id
    sender = SyncDaemon(SyncRole.SENDER, link, sync_id, many, port, mirroring.MESSAGE)
    return [sender, SyncDaemon(SyncRole.RECEIVER, link, 0, many, port)] if receive else [sender]
