"""What a node looks at, before and while traffic flows, to find what stands in the way; ``faults`` judges the answers.

Every director of a group looks, standby ones too: what is wrong there shows before it has to take over. A node of
real servers looks at its own half. Nothing here decides what is programmed.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from ipaddress import ip_address, ip_network
from itertools import count

from virtualserver.api.directorgroup import DirectorGroupSpec
from virtualserver.api.enums import ForwardingMode
from virtualserver.api.virtualserver import VirtualServerSpec
from virtualserver.model.facts import SMALL, LinkFact, Ping, Questions, Trial
from virtualserver.model.types import IPAddress, LinkAddress, State, address_order
from virtualserver.plan import directors, receiving, vrrp
from virtualserver.plan.forwarding import bypassable, direct, receiver_of, tunnel, usable
from virtualserver.plan.parts import host_address
from virtualserver.plan.realservers import Candidate, Wish
from virtualserver.plan.tunnels import overhead
from virtualserver.plan.verdicts import Verdict
from virtualserver.plan.world import Node, ObjectKey, VirtualServer, World


@dataclass(frozen=True, slots=True)
class Scene:
    """What a node knows when it looks: the cluster, its verdicts, and its own kernel as last read."""

    world: World
    verdicts: Mapping[ObjectKey, Verdict]
    node: str
    actual: State


@dataclass(frozen=True, slots=True)
class Case:
    """One virtual server as one node sees it.

    ``pairs``: (virtual address, where a director sends its packets). ``clients``: an address of each network that
    answers go to. ``sources``: from where real servers take wrapped packets. ``own``: this node's addresses by link,
    without host addresses. ``local``: the addresses at which this node takes packets as a real server.
    ``own_links``: the links that we made.
    """

    key: ObjectKey
    spec: VirtualServerSpec
    group: DirectorGroupSpec
    director: bool
    active: bool
    pairs: tuple[tuple[IPAddress, IPAddress], ...] = ()
    clients: tuple[IPAddress, ...] = ()
    sources: frozenset[IPAddress] = frozenset()
    own: tuple[LinkAddress, ...] = ()
    local: tuple[IPAddress, ...] = ()
    own_links: tuple[str, ...] = ()

    @property
    def mode(self) -> ForwardingMode:
        """How packets are forwarded."""
        return self.spec.forwarding.mode

    @property
    def receivers(self) -> list[IPAddress]:
        """Where a director sends packets, each once, in canonical order."""
        return sorted({receiver for _, receiver in self.pairs}, key=address_order)

    def address(self, version: int) -> IPAddress | None:
        """Return this node's own address on the link towards the clients, in this IP version."""
        found = (one.address for one in self.own if one.link == self.group.interface)
        return min((one for one in found if one.version == version), default=None, key=address_order)


def cases(scene: Scene) -> list[Case]:
    """Return what concerns this node, in canonical order."""
    found = (_case(scene, scene.world.virtual_servers[key], verdict) for key, verdict in sorted(scene.verdicts.items()))
    return [case for case in found if case is not None]


def questions(found: Iterable[Case], links: Mapping[str, LinkFact]) -> Questions:
    """Return all that is to be looked at for these; ``links`` says how large packets may be."""
    asked = Questions()
    for case in found:
        asked |= Questions(routes=frozenset(case.clients))
        if case.director:
            asked |= _of_director(case, links)
        if case.local:
            asked |= Questions(routes=case.sources - {one.address for one in case.own})
    return asked


def _case(scene: Scene, server: VirtualServer, verdict: Verdict) -> Case | None:
    spec, group = server.spec, verdict.group
    if spec is None or group is None or group.spec is None:
        return None
    nodes, here = scene.world.nodes, scene.world.nodes.get(scene.node)
    candidates = [one for listed in verdict.candidates.values() for one in listed if one.wish is not Wish.STAY_OUT]
    director = scene.node in directors.members(group, nodes)
    active = director and group.name in vrrp.active(scene.world, scene.node, scene.actual)
    receives = here is not None and not active and receiving.receives(spec, candidates, here)
    if here is None or not (director or receives):
        return None
    own = frozenset(one for one in scene.actual.addresses if one.prefix < one.address.max_prefixlen)
    named = {one.key.address for one in candidates} & here.addresses
    return Case(
        server.key,
        spec,
        group.spec,
        director,
        active,
        tuple(_pairs(spec, [one for one in candidates if not receiving.local(one, here)], nodes)),
        tuple(_clients(spec, group.spec, scene.actual)),
        receiving.directors(group, nodes),
        tuple(sorted((one for one in own if not one.address.is_link_local), key=str)),
        tuple(sorted(named or here.internal, key=address_order)) if receives else (),
        tuple(sorted(scene.actual.own_links)),
    )


def _pairs(
    spec: VirtualServerSpec, candidates: list[Candidate], nodes: Mapping[str, Node]
) -> Iterator[tuple[IPAddress, IPAddress]]:
    for virtual in sorted(map(ip_address, spec.addresses), key=address_order):
        if direct(spec.forwarding):
            ends = [end for one in candidates if (end := receiver_of(one, virtual, 0, nodes)) is not None]
            found = {end.address for end in usable(spec.forwarding, virtual, ends)}
        else:
            found = {one.key.address for one in candidates if one.key.address.version == virtual.version}
        for address in sorted(found, key=address_order):
            yield virtual, address


def _clients(spec: VirtualServerSpec, group: DirectorGroupSpec, actual: State) -> Iterator[IPAddress]:
    """Yield an address of each network of clients; unless they are named, a neighbour of each virtual address."""
    versions = {ip_address(text).version for text in spec.addresses}
    for text in group.client_networks:
        network = ip_network(text, strict=False)
        if network.version in versions:
            yield network[1] if network.num_addresses > 2 else network[0]
    if group.client_networks:
        return
    held = {one.address for one in actual.addresses}
    for text in spec.addresses:
        virtual = ip_address(text)
        near = (type(virtual)(int(virtual) ^ number) for number in count(1))
        yield next(one for one in near if one not in held)


def _of_director(case: Case, links: Mapping[str, LinkFact]) -> Questions:
    trials = frozenset(
        Trial(receiver, virtual, source, tunnel(case.spec.forwarding) if case.mode is ForwardingMode.TUNNEL else None)
        for virtual, receiver in case.pairs
        if direct(case.spec.forwarding) and (source := case.address(virtual.version)) is not None
    )
    pings = frozenset(
        Ping(one, size) for one in case.receivers for size in sizes(case, one, links) if direct(case.spec.forwarding)
    )
    if case.active and bypassable(case.spec.forwarding):
        pings |= {Ping(receiver) for _, receiver in case.pairs}
        pings |= {Ping(receiver, source=virtual) for virtual, receiver in case.pairs}
    held: frozenset[LinkAddress] = frozenset()
    if case.active:
        gateway = case.group.gateway
        held |= {host_address(case.group.interface, text) for text in case.spec.addresses}
        held |= {host_address(gateway.interface, text) for text in gateway.addresses} if gateway else frozenset()
    return Questions(frozenset(case.receivers), held, pings, trials)


def needed(case: Case, receiver: IPAddress, link: int, clients: int) -> int:
    """Return the largest packet, in bytes, that a director sends to a real server that answers clients itself.

    ``clients`` is the MTU of the link towards the clients, ``link`` that of the link towards the real server: what a
    director wraps is kept to the latter, by the segment length that real servers announce or by an ICMP message.
    """
    if case.mode is not ForwardingMode.TUNNEL:
        return clients
    return min(link, clients + overhead(tunnel(case.spec.forwarding), receiver.version))


def sizes(case: Case, receiver: IPAddress, links: Mapping[str, LinkFact]) -> set[int]:
    """Return the sizes of packets to ask with, in bytes: which link leads to the real server is not known yet."""
    clients = links.get(case.group.interface)
    if clients is None:
        return {SMALL}
    ways = {links[one.link].mtu for one in case.own if one.link in links}
    return {SMALL} | {needed(case, receiver, mtu, clients.mtu) for mtu in ways}
