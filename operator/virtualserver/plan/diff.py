"""The one place that decides which operations bring a kernel from what it holds to what is wanted, and their order.

    forbid -> virtual routers -> withdraw addresses -> close GUE ports -> remove links -> make links -> settings
    -> set links up -> packet-filter rules -> open GUE ports -> mirroring stops -> services and real servers
    -> mirroring starts -> announce addresses -> allow -> settings put back

A virtual address is told to keepalived only when every service on it, *as read back*, equals the intent: a pass that
still has to change a service does not tell it, the next pass does. So it is with links of ours and their settings
(``linkdiff``). A GUE port is never open without the rules that say who may send to it.
Only what the node's record calls ours is changed or removed.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass

from virtualserver.model.operations import (
    AddAddress,
    AddDecapsulation,
    AddDestination,
    AddLink,
    AddService,
    Operation,
    RaiseLink,
    RemoveAddress,
    RemoveDecapsulation,
    RemoveDestination,
    RemoveLink,
    RemoveService,
    ReplaceRules,
    SetDestination,
    SetService,
    WriteSysctl,
)
from virtualserver.model.schedulers import HASHING
from virtualserver.model.types import (
    Decapsulation,
    LinkAddress,
    Owned,
    Rules,
    Service,
    ServiceKey,
    State,
    address_order,
)
from virtualserver.plan import linkdiff, owndiff, settings

Subject = ServiceKey | LinkAddress | str | Decapsulation
"""What somebody may need on a node: a virtual service, an address, a link by its name, a GUE port."""


@dataclass(frozen=True, slots=True)
class Conflicts:
    """What is wanted but belongs to somebody else on this node, or cannot be there."""

    services: frozenset[ServiceKey] = frozenset()
    addresses: frozenset[LinkAddress] = frozenset()
    links: frozenset[LinkAddress] = frozenset()
    own_links: frozenset[str] = frozenset()
    decapsulations: frozenset[Decapsulation] = frozenset()


def conflicts(desired: State, actual: State, owned: Owned) -> Conflicts:
    """Return what exists without being ours, and addresses whose link does not exist."""
    ours = {address.address for address in owned.addresses}
    others = {address.address for address in actual.addresses} - ours
    addresses = desired.addresses | {one for router in desired.instances.values() for one in router.addresses}
    return Conflicts(
        frozenset(key for key in desired.services if key in actual.services and key not in owned.services),
        frozenset(address for address in addresses if address.address in others),
        frozenset(a for a in addresses if a.link not in actual.links and a.link not in desired.own_links),
        linkdiff.strangers(desired, actual, owned),
        (desired.decapsulations & actual.decapsulations) - owned.decapsulations,
    )


def diff(
    desired: State,
    actual: State,
    owned: Owned,
    *,
    complete: bool,
    waiting: frozenset[LinkAddress] = frozenset(),
) -> tuple[Operation, ...]:
    """Return the operations, in order. With ``complete`` False (not everything is known yet) nothing is removed,
    but for services that must end.

    ``waiting``: virtual addresses that keepalived is expected to add or to remove by itself at any moment.
    """
    advertised = settings.advertisements(desired.sysctls, actual.sysctls, owned.sysctls)
    unsettled = frozenset(key for key in desired.services if not settled(desired, actual, key))
    return (
        *owndiff.routers(desired, actual, unsettled, complete),
        *_withdrawals(desired, actual, owned, complete, waiting),
        *_closings(desired, actual, owned, complete),
        *linkdiff.removals(desired, actual, owned, complete),
        *linkdiff.additions(desired, actual, owned),
        *_settings(desired, actual, advertised),
        *linkdiff.raises(desired, actual, owned),
        *_rules(desired, actual, owned, complete),
        *_openings(desired, actual),
        *owndiff.silencing(desired, actual, owned, complete),
        *_services(desired, actual, owned, complete, waiting),
        *owndiff.mirroring(desired, actual, owned, unsettled, complete),
        *_announcements(desired, actual, unsettled, waiting),
        *owndiff.allowances(desired, actual, unsettled),
        *_settings_put_back({**desired.sysctls, **advertised}, actual, owned, complete),
    )


def settled(desired: State, actual: State, key: ServiceKey) -> bool:
    """Return whether a service in the kernel is what is wanted, real servers included.

    A scheduler that hashes makes its table from them in their order: another order is another table.
    """
    found, wanted = actual.services.get(key), desired.services[key]
    return found == wanted and (wanted.content.scheduler not in HASHING or _in_order(wanted, found))


def present(about: Subject, desired: State, actual: State) -> bool:
    """Return whether something is in the kernel as it is wanted."""
    match about:
        case ServiceKey():
            return settled(desired, actual, about)
        case LinkAddress():
            return about in actual.addresses
        case Decapsulation():
            return about in actual.decapsulations
        case _:
            return actual.own_links.get(about) == desired.own_links[about]


def _address_key(address: LinkAddress) -> tuple[tuple[int, int], str]:
    return address_order(address.address), address.link


def _service_key(key: ServiceKey) -> tuple[tuple[int, int], int, str]:
    return address_order(key.address), key.port, key.protocol


def _in_order(wanted: Service, found: Service) -> bool:
    return list(found.destinations) == list(wanted.destinations)


def _withdrawals(
    desired: State, actual: State, owned: Owned, complete: bool, waiting: frozenset[LinkAddress]
) -> Iterator[Operation]:
    if complete:
        for address in sorted(owned.addresses - desired.addresses - waiting, key=_address_key):
            if address in actual.addresses:
                yield RemoveAddress(address)


def _closings(desired: State, actual: State, owned: Owned, complete: bool) -> Iterator[Operation]:
    if complete:
        for one in sorted((owned.decapsulations - desired.decapsulations) & actual.decapsulations, key=str):
            yield RemoveDecapsulation(one)


def _openings(desired: State, actual: State) -> Iterator[Operation]:
    for one in sorted(desired.decapsulations - actual.decapsulations, key=str):
        yield AddDecapsulation(one)


def _settings(desired: State, actual: State, advertised: Mapping[str, str]) -> Iterator[Operation]:
    """IPv6 forwarding waits until what must hold before it reads back so."""
    ready = all(actual.sysctls[name] == value for name, value in advertised.items())
    for name, value in sorted({**desired.sysctls, **advertised}.items()):
        if name in actual.sysctls and actual.sysctls[name] != value and (ready or name != settings.FORWARD_IPV6):
            yield WriteSysctl(name, value)


def _settings_put_back(wanted: Mapping[str, str], actual: State, owned: Owned, complete: bool) -> Iterator[Operation]:
    if complete:
        for name, before in sorted(owned.sysctls.items()):
            found = actual.sysctls.get(name, before)
            if name not in wanted and found != before and settings.may_be_ours(name, found):
                yield WriteSysctl(name, before)


def _rules(desired: State, actual: State, owned: Owned, complete: bool) -> Iterator[Operation]:
    if not complete:
        kept = _both(desired.rules, actual.rules)
        if kept != actual.rules:
            yield ReplaceRules(kept)
    elif desired.rules != actual.rules and (owned.rules or desired.rules != Rules()):
        yield ReplaceRules(desired.rules)


def _both(desired: Rules, actual: Rules) -> Rules:
    clamped = {one.address for one in desired.clamped}
    return Rules(
        desired.guarded | actual.guarded,
        desired.translated | actual.translated,
        desired.tunnelled | actual.tunnelled,
        desired.clamped | {one for one in actual.clamped if one.address not in clamped},
        desired.tracked | actual.tracked,
        desired.members | actual.members,
        desired.sealed | actual.sealed,
    )


def _services(
    desired: State, actual: State, owned: Owned, complete: bool, waiting: frozenset[LinkAddress]
) -> Iterator[Operation]:
    held = {one.address for one in waiting & actual.addresses}
    gone = owned.services if complete else owned.services & desired.ending
    for key in sorted(gone - desired.services.keys(), key=_service_key):
        if key in actual.services and key.address not in held:
            yield RemoveService(key)
    ending = actual.sysctls.get(settings.EXPIRE) == "1" or desired.sysctls.get(settings.EXPIRE) == "1"
    for key in sorted(desired.services, key=_service_key):
        found, wanted = actual.services.get(key), desired.services[key]
        if found is not None and wanted.content.scheduler in HASHING and not ending:
            yield from _put_in_order(key, wanted, found)
        else:
            yield from _service(key, wanted, found)


def _service(key: ServiceKey, wanted: Service, found: Service | None) -> Iterator[Operation]:
    """Real servers come before they are needed and leave after: a live service is never emptied on the way."""
    if found is None:
        yield AddService(key, wanted.content)
        found = Service(wanted.content)
    elif found.content != wanted.content:
        yield SetService(key, wanted.content)
    for destination, content in wanted.destinations.items():
        if destination not in found.destinations:
            yield AddDestination(key, destination, content)
        elif found.destinations[destination] != content:
            yield SetDestination(key, destination, content)
    for destination in found.destinations:
        if destination not in wanted.destinations:
            yield RemoveDestination(key, destination)


def _put_in_order(key: ServiceKey, wanted: Service, found: Service) -> Iterator[Operation]:
    """The same, and real servers from the first one on that is out of order are taken out and added again.

    Their connections wait in the kernel's trash for the moment between, and are found again (``ip_vs_ctl.c``:
    ``ip_vs_trash_get_dest``), unless connections to what leaves are ended just then.
    """
    there, order = [one for one in found.destinations if one in wanted.destinations], list(wanted.destinations)
    kept = next((place for place, one in enumerate(there) if one != order[place]), len(there))
    for destination in there[kept:]:
        yield RemoveDestination(key, destination)
    leaving = frozenset(there[kept:])
    staying = {one: content for one, content in found.destinations.items() if one not in leaving}
    yield from _service(key, wanted, Service(found.content, staying))


def _announcements(
    desired: State, actual: State, unready: frozenset[ServiceKey], waiting: frozenset[LinkAddress]
) -> Iterator[Operation]:
    """Addresses of a group come from keepalived; what has gone missing of them although it holds them is put back."""
    unsettled = {key.address for key in unready}
    served = {key.address for key in desired.services}
    told = {one for router in actual.instances.values() for one in router.holds}
    held = {one for router in desired.instances.values() for one in router.holds} - told
    missing = [one for one in desired.addresses - waiting - held if one not in actual.addresses]

    def order(address: LinkAddress) -> tuple[bool, tuple[tuple[int, int], str]]:
        # Gateways first: real servers must have a way back before the first client comes.
        return address.address in served, _address_key(address)

    for address in sorted(missing, key=order):
        if address.address not in unsettled and linkdiff.may_hold(address.link, desired, actual):
            yield AddAddress(address)


def subject(operation: Operation) -> Subject | None:
    """Return what an operation is about; None for settings and rules, which are everybody's."""
    match operation:
        case AddService() | SetService() | RemoveService():
            return operation.key
        case AddDestination() | SetDestination() | RemoveDestination():
            return operation.service
        case AddAddress() | RemoveAddress():
            return operation.address
        case AddLink() | RaiseLink() | RemoveLink():
            return operation.name
        case AddDecapsulation() | RemoveDecapsulation():
            return operation.decapsulation
        case _:
            return None
