"""The real server's half of a virtual server whose mode has changed, while connections of the old mode still use it.

The director sends a connection that it knows in the mode in which it began. So the node of its real server must hold
the virtual address, and take packets from the tunnel, until the last of them has ended.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import dataclass, replace
from ipaddress import ip_address

from virtualserver.api.virtualserver import Forwarding
from virtualserver.model.types import Decapsulation, IPAddress, LinkAddress, Owned, Rules, ServiceKey, State
from virtualserver.model.usage import Usage
from virtualserver.plan.desired import Plan
from virtualserver.plan.diff import Subject
from virtualserver.plan.settings import PREFIX
from virtualserver.plan.tunnels import HOLDER
from virtualserver.plan.world import ObjectKey


@dataclass(frozen=True, slots=True)
class Half:
    """What a node needed for a virtual server to receive packets as they are, and how they were sent."""

    forwarding: Forwarding
    addresses: frozenset[IPAddress]
    subjects: frozenset[Subject]

    def left(self, owner: ObjectKey, plan: Plan) -> Half:
        """Return the part that its virtual server does not need any more.

        Others may need it now, and leave it later: then connections of this one may still use it.
        """
        nobody: frozenset[ObjectKey] = frozenset()
        subjects = frozenset(one for one in self.subjects if owner not in plan.needed.get(one, nobody))
        return replace(self, subjects=subjects)

    def used(self, usage: Usage) -> bool:
        """Return whether connections may still come this way: to this node itself, or to its pods."""
        pods = {key.address for key, _ in usage.entries}
        return not (self.addresses.isdisjoint(usage.addresses) and self.addresses.isdisjoint(pods))

    def received(self, usage: Usage) -> int | None:
        """Return how many packets its tunnels have taken; None when there are none among it.

        A UDP port alone takes none: the directors send to the one that its tunnels have now.
        """
        links = [one for one in self.subjects if isinstance(one, str) and one != HOLDER]
        ports = any(isinstance(one, Decapsulation) for one in self.subjects)
        return sum(usage.received.get(one, 0) for one in links) if links or ports else None


def halves(plan: Plan) -> dict[ObjectKey, Half]:
    """Return what the virtual servers need of this node as a real server, without what its director needs."""
    found: dict[ObjectKey, set[Subject]] = {}
    for about, owners in plan.needed.items():
        for owner in owners:
            found.setdefault(owner, set()).add(about)
    made: dict[ObjectKey, Half] = {}
    for owner, subjects in found.items():
        held = {one.address for one in subjects if isinstance(one, LinkAddress) and one.link == HOLDER}
        if held and owner in plan.accepted:
            made[owner] = Half(
                plan.accepted[owner].forwarding,
                frozenset(held),
                frozenset(one for one in subjects if _of_half(one, held)),
            )
    return made


def _of_half(about: Subject, held: Collection[IPAddress]) -> bool:
    match about:
        case ServiceKey():
            return about.address in held
        case LinkAddress():
            return about.link.startswith(PREFIX)
        case _:
            return True


def adopted(plan: Plan, actual: State, owned: Owned) -> dict[ObjectKey, Half]:
    """Return what an agent that has just started finds of its own that nobody needs, if connections may use it."""
    held = {one.address for one in actual.addresses & owned.addresses if one.link == HOLDER}
    everything: set[Subject] = {*(owned.own_links & actual.own_links.keys())}
    everything |= {one for one in actual.addresses & owned.addresses if one.link.startswith(PREFIX)}
    everything |= owned.decapsulations & actual.decapsulations
    everything |= {key for key in owned.services & actual.services.keys() if key.address in held}
    made: dict[ObjectKey, Half] = {}
    for owner, spec in plan.accepted.items():
        if mine := held & {ip_address(text) for text in spec.addresses}:
            others = {one for one in everything if _address(one) in held - mine}
            made[owner] = Half(spec.forwarding, frozenset(mine), frozenset(everything - others - plan.needed.keys()))
    return made


def _address(about: Subject) -> IPAddress | None:
    return about.address if isinstance(about, ServiceKey | LinkAddress) else None


def kept(desired: State, actual: State, owned: Owned, left: Mapping[ObjectKey, Half]) -> State:
    """Return what is wanted, and beside it what is left over, as it is found."""
    subjects = {one for half in left.values() for one in half.subjects}
    links = {
        name: link
        for name, link in actual.own_links.items()
        if name in subjects and name in owned.own_links and name not in desired.own_links
    }
    elsewhere = {one.address for one in desired.addresses if not one.link.startswith(PREFIX)}
    addresses = {one for one in actual.addresses & owned.addresses if one in subjects and one.address not in elsewhere}
    services = {
        key: service
        for key, service in actual.services.items()
        if key in subjects and key in owned.services and key not in desired.services
    }
    ports = {one for one in owned.decapsulations & actual.decapsulations if one in subjects}
    if not (links or services or addresses - desired.addresses or ports - desired.decapsulations):
        return desired
    before = {name: actual.sysctls[name] for name in owned.sysctls if name in actual.sysctls}
    return replace(
        desired,
        services={**desired.services, **services},
        addresses=desired.addresses | addresses,
        sysctls={**before, **desired.sysctls},
        own_links={**desired.own_links, **links},
        decapsulations=desired.decapsulations | ports,
        rules=_rules(desired.rules, actual.rules, services, ports, {one.address for one in addresses}),
    )


def _rules(
    desired: Rules,
    actual: Rules,
    services: Collection[ServiceKey],
    ports: Collection[Decapsulation],
    held: Collection[IPAddress],
) -> Rules:
    numbers, clamped = {one.port for one in ports}, {one.address for one in desired.clamped}
    return replace(
        desired,
        guarded=desired.guarded | (actual.guarded & frozenset(services)),
        tunnelled=desired.tunnelled | {one for one in actual.tunnelled if one.port in numbers},
        clamped=desired.clamped | {one for one in actual.clamped if one.address in held and one.address not in clamped},
        sealed=desired.sealed | (actual.sealed & frozenset(held)),
    )
