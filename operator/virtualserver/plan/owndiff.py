"""Operations on virtual routers, mirroring, and the right to hold a group's addresses; a part of ``diff``."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace

from virtualserver.model.failover import Instance, SyncRole
from virtualserver.model.operations import Allow, ConfigureInstances, Forbid, Operation, StartDaemon, StopDaemon
from virtualserver.model.types import IPAddress, Owned, ServiceKey, State


def routers(desired: State, actual: State, unsettled: frozenset[ServiceKey], complete: bool) -> Iterator[Operation]:
    """Yield what takes rights away, and tells keepalived its virtual routers.

    A new address is told only over services that stand as wanted; one that is told already stays while they change.
    """
    wanted_groups = desired.eligible if complete else desired.eligible | (actual.eligible - desired.instances.keys())
    for group in sorted(actual.eligible - wanted_groups):
        yield Forbid(group)
    unready = {key.address for key in unsettled}
    wanted = {} if complete else dict(actual.instances)
    for group, one in desired.instances.items():
        if one.link in actual.links:
            wanted[group] = _told(one, actual.instances.get(group), unready, complete)
    if wanted != actual.instances:
        yield ConfigureInstances(tuple(wanted[group] for group in sorted(wanted)))


def _told(wanted: Instance, found: Instance | None, unready: set[IPAddress], complete: bool) -> Instance:
    told = dict.fromkeys(found.addresses if found is not None else ())
    addresses = tuple(one for one in wanted.addresses if one in told or one.address not in unready)
    if not complete:
        kept = frozenset(addresses)
        addresses += tuple(one for one in told if one not in kept)
    return replace(wanted, addresses=addresses)


def allowances(desired: State, actual: State, unsettled: frozenset[ServiceKey]) -> Iterator[Operation]:
    """Yield the rights to hold addresses over which everything stands, as read back: services and routers."""
    unready = {key.address for key in unsettled}
    for group in sorted(desired.eligible - actual.eligible) if actual.electing else ():
        wanted, found = desired.instances[group], actual.instances.get(group)
        if found == wanted and not any(one.address in unready for one in wanted.addresses):
            yield Allow(group)


def silencing(desired: State, actual: State, owned: Owned, complete: bool) -> Iterator[Operation]:
    """Yield what stops sync daemons; one that another program started is left alone.

    A daemon whose link was made anew hears and says nothing any more, so it is started again. All stop before a
    service is taken out: what a receiver took after that would be bound to no real server, and nothing would end it.
    """
    wanted = {one.role: one for one in desired.daemons}
    for one in sorted(actual.daemons, key=lambda one: one.role):
        if one.role in wanted:
            stale = owned.daemons.get(one.role) != actual.indexes.get(one.link)
            unwanted = stale or wanted[one.role] != one
        else:
            unwanted = complete or bool(desired.ending)
        if unwanted and one.role in owned.daemons:
            yield StopDaemon(one.role)


def mirroring(
    desired: State, actual: State, owned: Owned, unsettled: frozenset[ServiceKey], complete: bool
) -> Iterator[Operation]:
    """Yield what starts sync daemons.

    A receiver starts over services that stand: entries without one would have to be bound later, and some are
    dropped.
    """
    stopped = {one.role for one in silencing(desired, actual, owned, complete) if isinstance(one, StopDaemon)}
    running = {one.role for one in actual.daemons} - stopped
    for one in sorted(desired.daemons, key=lambda one: one.role):
        if one.role not in running and (one.role is SyncRole.SENDER or not unsettled):
            yield StartDaemon(one)
