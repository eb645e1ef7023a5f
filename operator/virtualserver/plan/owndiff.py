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
    told = found.addresses if found is not None else ()
    addresses = tuple(one for one in wanted.addresses if one in told or one.address not in unready)
    if not complete:
        addresses += tuple(one for one in told if one not in addresses)
    return replace(wanted, addresses=addresses)


def allowances(desired: State, actual: State, unsettled: frozenset[ServiceKey]) -> Iterator[Operation]:
    """Yield the rights to hold addresses over which everything stands, as read back: services and routers."""
    unready = {key.address for key in unsettled}
    for group in sorted(desired.eligible - actual.eligible) if actual.electing else ():
        wanted, found = desired.instances[group], actual.instances.get(group)
        if found == wanted and not any(one.address in unready for one in wanted.addresses):
            yield Allow(group)


def mirroring(
    desired: State, actual: State, owned: Owned, unsettled: frozenset[ServiceKey], complete: bool
) -> Iterator[Operation]:
    """Yield what starts and stops sync daemons; one that another program started is left alone.

    A receiver starts over services that stand: entries without one would have to be bound later, and some are
    dropped. A daemon whose link was made anew hears and says nothing any more, so it is started again.
    """
    running = {one.role: one for one in actual.daemons}
    wanted = {one.role: one for one in desired.daemons}
    for role, one in sorted(running.items()):
        if role not in owned.daemons:
            continue
        stale = owned.daemons[role] != actual.indexes.get(one.link)
        if (role not in wanted and complete) or (role in wanted and (wanted[role] != one or stale)):
            yield StopDaemon(role)
            del running[role]
    for role, one in sorted(wanted.items()):
        if role not in running and (role is SyncRole.SENDER or not unsettled):
            yield StartDaemon(one)
