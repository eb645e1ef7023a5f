"""The virtual routers of a node: for each of its groups one, with all addresses that the active director holds."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from ipaddress import ip_interface

from virtualserver.api.base import milliseconds, seconds
from virtualserver.api.directorgroup import DirectorGroupSpec
from virtualserver.api.failover import Vrrp
from virtualserver.model.failover import Instance, Member, Router, token
from virtualserver.model.types import IPAddress, LinkAddress, State, address_order
from virtualserver.plan import directors
from virtualserver.plan.groups import serving
from virtualserver.plan.world import DirectorGroup, Node, World


def instance(
    world: World,
    group: DirectorGroup,
    node: str,
    own: frozenset[LinkAddress],
    addresses: Iterable[LinkAddress],
    priority: int,
    preempt_delay: float | None,
) -> Instance:
    """Return the virtual router of a group; ``own`` are the node's own addresses on its links.

    ``preempt_delay``: seconds for which it leaves the addresses to one of a lower ``priority``; None: for ever.
    """
    assert group.spec is not None
    settings = group.spec.vrrp
    here = sorted((one for one in own if one.link == group.spec.interface), key=_order)
    version = spoken(world, group, node, own)
    source: IPAddress | None = None
    peers: tuple[IPAddress, ...] = ()
    if settings.unicast:
        # the others drop what comes from an address that they do not know yet: one that has just come is used later
        known = _known(group, node, world.nodes)
        ours = sorted((one for one in here if one.address.version == version), key=lambda one: one.address not in known)
        source = next((one.address for one in ours), None)
        peers = tuple(peer for peer in _peers(world, group, node, here) if peer.version == version)
    return Instance(
        group.name,
        settings.router_id,
        group.spec.interface,
        milliseconds(settings.advertisement_interval),
        missed(settings),
        priority,
        preempt_delay,
        links(group.spec),
        source,
        peers,
        version,
        tuple(sorted(set(addresses), key=_order)),
    )


def spoken(world: World, group: DirectorGroup, node: str, own: frozenset[LinkAddress]) -> int:
    """Return the IP version of a group's advertisements: 6 only where the group's link has no IPv4 address.

    Not where it lacks one that others have there: who changed to IPv6 alone would hear nobody, and be active as well.
    """
    assert group.spec is not None
    versions = {one.address.version for one in own if one.link == group.spec.interface}
    if versions != {6}:
        return 4
    elsewhere = [ip_interface(f"{one.address}/{one.prefix}").network for one in own if one.link != group.spec.interface]
    others = set(directors.members(group, world.nodes)) - {node}
    told = {address for one in group.ownership.reports if one.node in others for address in one.addresses}
    there = (one for one in told if not any(one in network for network in elsewhere))
    return 4 if any(one.version == 4 for one in there) else 6


def links(spec: DirectorGroupSpec) -> tuple[str, ...]:
    """Return the links without which a director of a group cannot serve."""
    return tuple(dict.fromkeys((spec.interface, *((spec.gateway.interface,) if spec.gateway else ()))))


def router_id(group: DirectorGroup) -> int:
    """Return the id of a group's virtual router."""
    assert group.spec is not None
    return group.spec.vrrp.router_id


def routers(world: World, node: str) -> dict[int, Router]:
    """Return a node's virtual routers, by their ids."""
    return {
        group.spec.vrrp.router_id: Router(group.spec.interface, missed(group.spec.vrrp))
        for group in serving(world).values()
        if group.spec is not None and node in directors.members(group, world.nodes)
    }


TAKE_OVER = 2.0
"""Seconds that a director has for taking over, and the time in which it could notice a crash; after that another one
does it: the active one lets go first, or one that should stay out takes the addresses."""


FEWEST, NOTICED = 3, 140
"""Advertisements that must be missed in a row unless told otherwise: three, or as many as there are in these
milliseconds, whichever is more. A client's kernel sends again after 200: a crash must be noticed, and answered for,
well before that. Of packets that are lost at random, seven in a row hardly ever are."""


def missed(settings: Vrrp) -> int:
    """Return after how many missed advertisements in a row a standby takes over."""
    return settings.missed_advertisements or max(FEWEST, NOTICED // milliseconds(settings.advertisement_interval))


def down_time(spec: DirectorGroupSpec) -> float:
    """Return the seconds without an advertisement after which a standby takes over, at most."""
    return (missed(spec.vrrp) + 1) * seconds(spec.vrrp.advertisement_interval)


def active(world: World, node: str, actual: State) -> frozenset[str]:
    """Return the groups whose active director this node is: it holds their tokens, and keepalived says so to others.

    A token that a dead keepalived left behind means nothing: another director is taking over.
    """
    if not actual.electing:
        return frozenset()
    return frozenset(
        name
        for name, group in serving(world).items()
        if group.spec is not None
        and token(group.spec.vrrp.router_id) in actual.addresses
        and node in directors.members(group, world.nodes)
    )


def peers(world: World, group: DirectorGroup, node: str) -> dict[str, tuple[IPAddress, ...]]:
    """Return the other directors of a group with their addresses; first those at which a node's agent listens."""
    found = {}
    for name in directors.members(group, world.nodes):
        if name != node:
            internal = world.nodes[name].internal
            others = _known(group, name, world.nodes) - set(internal)
            found[name] = (*internal, *sorted(others, key=address_order))
    return found


def own_addresses(actual: State) -> frozenset[LinkAddress]:
    """Return the addresses of the node itself: those with a network, on links that others made."""
    return frozenset(
        one
        for one in actual.addresses
        if one.prefix < one.address.max_prefixlen and one.link != "lo" and one.link not in actual.own_links
    )


def admitted(world: World, group: DirectorGroup, node: str, own: frozenset[LinkAddress]) -> frozenset[Member]:
    """Return from whom VRRP is taken on a group's link; from all, as long as some director's addresses are not known.

    A director that nobody has heard of yet would otherwise not be heard when it is active.
    """
    assert group.spec is not None
    return _members(world, group, node, own, group.spec.interface, 0)


def mirroring(world: World, group: DirectorGroup, node: str, own: frozenset[LinkAddress]) -> frozenset[Member]:
    """Return from whom mirrored connections are taken: from nobody whose address is not known."""
    assert group.spec is not None
    settings = group.spec.mirroring
    return _members(world, group, node, own, settings.interface or group.spec.interface, settings.port)


def _members(
    world: World, group: DirectorGroup, node: str, own: frozenset[LinkAddress], link: str, port: int
) -> frozenset[Member]:
    found = {one.address for one in own if one.link == link}
    for name in directors.members(group, world.nodes):
        if name == node:
            continue
        report = group.ownership.report(name)
        if not port and (report is None or not report.addresses):
            return frozenset()
        found |= report.addresses if report is not None else frozenset()
    return frozenset(Member(link, address, port) for address in found)


def _peers(world: World, group: DirectorGroup, node: str, here: Iterable[LinkAddress]) -> list[IPAddress]:
    """Return the other directors' addresses that lie in a network of this node's link."""
    networks = [ip_interface(f"{one.address}/{one.prefix}").network for one in here]
    found: set[IPAddress] = set()
    for name in set(directors.members(group, world.nodes)) - {node}:
        found |= _known(group, name, world.nodes)
    return sorted((one for one in found if any(one in network for network in networks)), key=address_order)


def _known(group: DirectorGroup, name: str, nodes: Mapping[str, Node]) -> frozenset[IPAddress]:
    """Return all addresses of a director that are known."""
    report = group.ownership.report(name)
    said = report.addresses if report is not None else frozenset()
    return said | (nodes[name].addresses if name in nodes else frozenset())


def _order(one: LinkAddress) -> tuple[str, tuple[int, int]]:
    return one.link, address_order(one.address)
