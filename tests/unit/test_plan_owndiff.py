"""When keepalived is told of addresses, when a node may hold them, when mirroring starts; and the order of hashing."""

from __future__ import annotations

from dataclasses import replace
from ipaddress import ip_address

import pytest

from virtualserver.model.failover import Instance, SyncDaemon, SyncRole
from virtualserver.model.operations import (
    AddAddress,
    AddDestination,
    Allow,
    ConfigureInstances,
    Forbid,
    Operation,
    RemoveAddress,
    RemoveDestination,
    RemoveService,
    StartDaemon,
    StopDaemon,
)
from virtualserver.model.types import (
    DestinationContent,
    DestinationKey,
    LinkAddress,
    Owned,
    Protocol,
    Service,
    ServiceContent,
    ServiceKey,
    State,
)
from virtualserver.plan.diff import diff, settled

VIP = LinkAddress("eth0", ip_address("198.18.0.100"), 32)
KEY = ServiceKey(Protocol.TCP, VIP.address, 80)
ONE, TWO, THREE = (DestinationKey(ip_address(f"198.18.1.{n}"), 80) for n in (21, 22, 23))
SERVICE = Service(ServiceContent("mh"), dict.fromkeys((ONE, TWO, THREE), DestinationContent(1)))
ROUTER = Instance("default", 51, "eth0", 100, 3, 250, addresses=(VIP,))
EMPTY = replace(ROUTER, addresses=())
SENDER = SyncDaemon(SyncRole.SENDER, "eth0", 51, ip_address("224.0.0.81"), 8848)
RECEIVER = replace(SENDER, role=SyncRole.RECEIVER, sync_id=0)
WANTED = State({KEY: SERVICE}, instances={"default": ROUTER}, eligible=frozenset({"default"}))
BARE = State(links=frozenset({"eth0"}), electing=True, indexes={"eth0": 2})
STANDING = replace(BARE, services={KEY: SERVICE}, instances={"default": ROUTER}, eligible=frozenset({"default"}))
OURS = Owned(frozenset({KEY}), frozenset({VIP}))


def found(wanted: State, actual: State, owned: Owned = OURS, **more: frozenset[LinkAddress]) -> tuple[Operation, ...]:
    return diff(wanted, actual, owned, complete=True, **more)


def test_addresses_are_told_over_services_that_stand_and_held_only_after_that() -> None:
    first = found(WANTED, BARE, Owned())
    assert first[0] == ConfigureInstances((EMPTY,))
    assert not any(isinstance(one, Allow) for one in first)
    programmed = replace(BARE, services={KEY: SERVICE}, instances={"default": EMPTY})
    assert found(WANTED, programmed) == (ConfigureInstances((ROUTER,)),)
    assert found(WANTED, replace(programmed, instances={"default": ROUTER})) == (Allow("default"),)
    assert found(WANTED, STANDING) == ()


def test_an_address_that_is_told_already_stays_while_its_service_changes() -> None:
    changed = replace(STANDING, services={KEY: Service(SERVICE.content, {ONE: DestinationContent(1)})})
    operations = found(WANTED, changed)
    assert not any(isinstance(one, ConfigureInstances | Forbid) for one in operations)


def test_who_may_not_hold_addresses_yields_before_anything_else() -> None:
    operations = found(replace(WANTED, services={}, eligible=frozenset()), STANDING)
    assert operations[0] == Forbid("default")


def test_while_keepalived_is_dead_nothing_is_allowed() -> None:
    dead = replace(STANDING, eligible=frozenset(), electing=False)
    assert found(WANTED, dead) == ()


def test_nothing_is_taken_away_from_partial_knowledge() -> None:
    assert diff(State(), STANDING, OURS, complete=False) == ()


def test_a_group_whose_link_is_missing_is_not_told() -> None:
    assert not any(isinstance(one, ConfigureInstances) for one in found(WANTED, replace(BARE, links=frozenset())))


def test_a_deleted_service_stays_until_keepalived_has_let_go_of_its_address() -> None:
    gone = State(instances={"default": EMPTY}, eligible=frozenset({"default"}))
    active = replace(STANDING, addresses=frozenset({VIP}))
    waits = found(gone, active, waiting=frozenset({VIP}))
    assert waits == (ConfigureInstances((EMPTY,)),)
    assert found(gone, replace(STANDING, instances={"default": EMPTY})) == (RemoveService(KEY),)


def test_what_keepalived_does_not_do_in_time_is_done_for_it() -> None:
    active = replace(WANTED, addresses=frozenset({VIP}))
    assert found(active, STANDING, waiting=frozenset({VIP})) == ()
    assert found(active, STANDING) == (AddAddress(VIP),)
    assert found(WANTED, replace(STANDING, addresses=frozenset({VIP}))) == (RemoveAddress(VIP),)


def test_a_receiver_starts_over_services_that_stand() -> None:
    mirrored = replace(WANTED, daemons=frozenset({SENDER, RECEIVER}))
    started = [one for one in found(mirrored, BARE, Owned()) if isinstance(one, StartDaemon)]
    assert started == [StartDaemon(SENDER)]
    half = replace(STANDING, daemons=frozenset({SENDER}))
    assert found(mirrored, half, replace(OURS, daemons={SyncRole.SENDER: 2})) == (StartDaemon(RECEIVER),)


@pytest.mark.parametrize("known", [{SyncRole.SENDER: 1}, {}])
def test_a_daemon_on_a_link_that_was_made_anew_is_started_again_if_it_is_ours(known: dict[SyncRole, int]) -> None:
    mirrored = replace(WANTED, daemons=frozenset({SENDER}))
    actual = replace(STANDING, daemons=frozenset({SENDER}))
    expected = (StopDaemon(SyncRole.SENDER), StartDaemon(SENDER)) if known else ()
    assert found(mirrored, actual, replace(OURS, daemons=known)) == expected


@pytest.mark.parametrize("complete", [True, False])
def test_a_receiver_stops_before_services_are_taken_out(complete: bool) -> None:
    """What it took after that would be bound to no real server."""
    actual = replace(STANDING, daemons=frozenset({SENDER, RECEIVER}))
    owned = replace(OURS, daemons={SyncRole.SENDER: 2, SyncRole.RECEIVER: 2})
    purged = State(instances={"default": ROUTER}, daemons=frozenset({SENDER}), ending=frozenset({KEY}))
    operations = diff(purged, actual, owned, complete=complete)
    assert operations.index(StopDaemon(SyncRole.RECEIVER)) < operations.index(RemoveService(KEY))
    assert StopDaemon(SyncRole.SENDER) not in operations


def test_hashing_services_get_their_real_servers_in_one_order_whatever_came_and_went() -> None:
    returned = Service(SERVICE.content, dict.fromkeys((ONE, THREE), DestinationContent(1)))
    operations = found(WANTED, replace(STANDING, services={KEY: returned}))
    assert operations == (
        RemoveDestination(KEY, THREE),
        AddDestination(KEY, TWO, DestinationContent(1)),
        AddDestination(KEY, THREE, DestinationContent(1)),
    )
    shuffled = Service(SERVICE.content, dict.fromkeys((ONE, THREE, TWO), DestinationContent(1)))
    assert not settled(WANTED, replace(STANDING, services={KEY: shuffled}), KEY)


def test_the_order_waits_while_connections_to_what_leaves_are_ended() -> None:
    shuffled = Service(SERVICE.content, dict.fromkeys((ONE, THREE, TWO), DestinationContent(1)))
    ending = replace(STANDING, services={KEY: shuffled}, sysctls={"net.ipv4.vs.expire_nodest_conn": "1"})
    assert not any(isinstance(one, RemoveDestination) for one in found(WANTED, ending))


def test_other_schedulers_do_not_mind_the_order() -> None:
    wanted = Service(ServiceContent("wlc"), SERVICE.destinations)
    shuffled = Service(wanted.content, dict.fromkeys((THREE, ONE, TWO), DestinationContent(1)))
    assert found(replace(WANTED, services={KEY: wanted}), replace(STANDING, services={KEY: shuffled})) == ()
