"""Which operations follow from wanted, found and owned, and in which order."""

from __future__ import annotations

from dataclasses import astuple
from ipaddress import ip_address

from virtualserver.model.failover import Member
from virtualserver.model.operations import (
    AddAddress,
    AddDestination,
    AddService,
    Operation,
    RemoveAddress,
    RemoveDestination,
    RemoveService,
    ReplaceRules,
    SetDestination,
    SetService,
    WriteSysctl,
)
from virtualserver.model.types import (
    Admission,
    Clamp,
    DestinationContent,
    DestinationKey,
    LinkAddress,
    Owned,
    Protocol,
    Rules,
    Service,
    ServiceContent,
    ServiceKey,
    State,
)
from virtualserver.plan.diff import conflicts, diff

VIP = ip_address("198.18.0.100")
KEY = ServiceKey(Protocol.TCP, VIP, 80)
OTHER = ServiceKey(Protocol.TCP, ip_address("198.18.0.199"), 80)
ADDRESS = LinkAddress("eth0", VIP, 32)
ONE, TWO = (DestinationKey(ip_address(f"198.18.1.{n}"), 80) for n in (21, 22))
SERVICE = Service(ServiceContent("rr"), {ONE: DestinationContent(1), TWO: DestinationContent(1)})
WANTED = State({KEY: SERVICE}, frozenset({ADDRESS}), {"net.ipv4.ip_forward": "1"}, Rules(frozenset({KEY})))
EMPTY = State(sysctls={"net.ipv4.ip_forward": "0"}, links=frozenset({"eth0"}))
OURS = Owned(frozenset({KEY}), frozenset({ADDRESS}), {"net.ipv4.ip_forward": "0"}, True)
HELD = State({KEY: SERVICE}, frozenset({ADDRESS}), {"net.ipv4.ip_forward": "1"}, WANTED.rules, EMPTY.links)


def kinds(operations: tuple[Operation, ...]) -> list[type]:
    return [type(operation) for operation in operations]


def test_nothing_is_done_where_everything_is_as_wanted() -> None:
    assert diff(WANTED, HELD, OURS, complete=True) == ()


def test_the_first_pass_programs_and_only_a_later_one_announces() -> None:
    first = diff(WANTED, EMPTY, Owned(), complete=True)
    assert kinds(first) == [WriteSysctl, ReplaceRules, AddService, AddDestination, AddDestination]
    programmed = State({KEY: SERVICE}, frozenset(), {"net.ipv4.ip_forward": "1"}, WANTED.rules, EMPTY.links)
    assert diff(WANTED, programmed, OURS, complete=True) == (AddAddress(ADDRESS),)


def test_an_address_over_a_service_that_reads_back_differently_is_not_announced() -> None:
    half = State({KEY: Service(SERVICE.content, {ONE: DestinationContent(1)})}, links=EMPTY.links)
    assert AddAddress(ADDRESS) not in diff(WANTED, half, OURS, complete=True)


def test_what_is_no_longer_wanted_goes_address_first() -> None:
    gone = diff(State(), HELD, OURS, complete=True)
    assert kinds(gone) == [RemoveAddress, ReplaceRules, RemoveService, WriteSysctl]
    assert gone[-1] == WriteSysctl("net.ipv4.ip_forward", "0")


def test_nothing_is_removed_from_partial_knowledge() -> None:
    assert diff(State(), HELD, OURS, complete=False) == ()


def test_services_whose_connections_must_be_forgotten_go_whatever_else_is_known() -> None:
    """A director that was booted without the API server returns as well."""
    assert diff(State(ending=frozenset({KEY})), HELD, OURS, complete=False) == (RemoveService(KEY),)


def test_no_kind_of_rule_is_removed_from_partial_knowledge() -> None:
    rules = Rules(
        frozenset({KEY}),
        frozenset({KEY}),
        frozenset({Admission(6080, VIP)}),
        frozenset({Clamp(VIP, 1440)}),
        frozenset({4}),
        frozenset({Member("eth0", VIP)}),
        frozenset({VIP}),
    )
    assert all(astuple(rules)), "every kind is tried"
    assert diff(State(), State(rules=rules), OURS, complete=False) == ()


def test_what_is_not_ours_is_never_removed() -> None:
    strange = State({KEY: SERVICE, OTHER: SERVICE}, frozenset({LinkAddress("eth0", OTHER.address, 24)}))
    assert diff(State(), strange, Owned(), complete=True) == ()


def test_a_service_that_somebody_else_made_is_a_conflict_not_a_change() -> None:
    found = conflicts(WANTED, State({KEY: SERVICE}, links=EMPTY.links), Owned())
    assert found.services == {KEY}


def test_an_address_that_somebody_else_set_is_a_conflict_whatever_its_prefix_or_link() -> None:
    there = State(addresses=frozenset({LinkAddress("eth1", VIP, 24)}), links=EMPTY.links)
    assert conflicts(WANTED, there, Owned()).addresses == {ADDRESS}


def test_a_missing_link_is_found() -> None:
    assert conflicts(WANTED, State(), Owned()).links == {ADDRESS}


def test_every_change_by_hand_is_undone() -> None:
    changed = State(
        {
            KEY: Service(
                ServiceContent("wlc", persistence_timeout=60),
                {
                    ONE: DestinationContent(7),
                    DestinationKey(ip_address("198.18.1.99"), 80): DestinationContent(1),
                },
            )
        },
        HELD.addresses,
        HELD.sysctls,
        HELD.rules,
        HELD.links,
    )
    assert kinds(diff(WANTED, changed, OURS, complete=True)) == [
        SetService,
        SetDestination,
        AddDestination,
        RemoveDestination,
    ]


def test_a_gateway_is_announced_before_the_addresses_that_need_it() -> None:
    gateway = LinkAddress("eth1", ip_address("198.18.1.1"), 32)
    wanted = State(WANTED.services, frozenset({ADDRESS, gateway}), WANTED.sysctls, WANTED.rules)
    held = State(HELD.services, frozenset(), HELD.sysctls, HELD.rules, frozenset({"eth0", "eth1"}))
    assert diff(wanted, held, OURS, complete=True) == (AddAddress(gateway), AddAddress(ADDRESS))
