"""What a director remembers of its terms, how long it leaves things to keepalived, and when it must rest."""

from __future__ import annotations

from dataclasses import replace
from ipaddress import ip_address
from pathlib import Path

import pytest

from unit.builders import Json, Nobody, director_group, node, store, virtual_server
from virtualserver.agent.lacking import Lacking
from virtualserver.agent.patience import Patience
from virtualserver.agent.record import Record
from virtualserver.agent.standing import Standings
from virtualserver.agent.steadiness import Steadiness
from virtualserver.agent.terms import Terms
from virtualserver.kernel.fake import FakeKernel
from virtualserver.model.failover import Instance, token
from virtualserver.model.operations import AddService
from virtualserver.model.types import (
    LinkAddress,
    Owned,
    Protocol,
    Service,
    ServiceContent,
    ServiceKey,
    State,
)
from virtualserver.plan.world import World

VIP = ip_address("198.18.0.100")
HELD = LinkAddress("eth0", VIP, 32)
KEY = ServiceKey(Protocol.TCP, VIP, 80)
ACTIVE = State({KEY: Service(ServiceContent("rr"))}, frozenset({token(51)}))
STANDBY = replace(ACTIVE, addresses=frozenset())
WORLD = store(virtual_servers=[virtual_server()], groups=[director_group()], nodes=[node()]).world()


class Case:
    def __init__(self, folder: Path) -> None:
        self.kernel, self.record, self.taken, self.now = FakeKernel(), Record(folder / "record.json"), True, 0.0
        self.terms = Terms(self.kernel, self.record, lambda _: self.taken, lambda: self.now)

    def purging(self, actual: State, world: World = WORLD) -> bool:
        return bool(self.terms.look(world, "director-1", actual)[1])


def test_a_term_is_forgotten_when_another_director_is_active_and_the_table_is_empty(tmp_path: Path) -> None:
    case = Case(tmp_path)
    assert not case.purging(ACTIVE)
    assert Record(tmp_path / "record.json").owned.served == {"default"}
    case.kernel.kept[VIP] = 7
    assert case.purging(STANDBY)
    assert case.purging(State()), "the services are gone, connections are not"
    case.kernel.kept.clear()
    assert not case.purging(State())
    assert Record(tmp_path / "record.json").owned.served == frozenset()


def test_connections_are_kept_while_nobody_else_serves_them(tmp_path: Path) -> None:
    case = Case(tmp_path)
    case.purging(ACTIVE)
    case.taken = False
    active, purging, former = case.terms.look(WORLD, "director-1", STANDBY)
    assert (active, purging) == (frozenset(), frozenset())
    assert former == {"default"}, "until it is known who is active, it is no standby that somebody may yield to"
    assert case.record.owned.served == {"default"}


def test_connections_that_the_kernel_keeps_are_put_up_with_at_last(tmp_path: Path) -> None:
    case = Case(tmp_path)
    case.purging(ACTIVE)
    case.kernel.kept[VIP] = 7
    assert case.purging(State())
    case.now += 16
    case.kernel.connections = no_more  # type: ignore[method-assign, assignment]  # a large table takes a minute
    assert not case.purging(State())


def no_more(_: object) -> int:
    raise AssertionError("the table is read although it is too late for what it says")


def test_services_that_do_not_go_are_put_up_with_at_last(tmp_path: Path) -> None:
    case = Case(tmp_path)
    case.purging(ACTIVE)
    case.record.claim([AddService(KEY, ServiceContent("rr"))], State())
    assert case.purging(STANDBY)
    case.now += 14
    assert case.purging(STANDBY)
    case.now += 2
    assert not case.purging(STANDBY)


def test_a_refused_virtual_server_keeps_nobody_waiting(tmp_path: Path) -> None:
    """It asks for the address of another group, whose connections go on."""
    case = Case(tmp_path)
    other = director_group("other", vrrp={"routerId": 52}, nodeSelector={"other": "true"})
    theirs = virtual_server("theirs", directorGroup="other", addresses=["198.18.0.102"])
    refused = virtual_server("refused", created="2026-02-01T00:00:00Z", addresses=["198.18.0.102"])
    servers = [virtual_server(), theirs, refused]
    world = store(virtual_servers=servers, groups=[director_group(), other], nodes=[node()]).world()
    case.purging(ACTIVE, world)
    case.kernel.kept[ip_address("198.18.0.102")] = 7
    assert case.purging(STANDBY, world)
    assert not case.purging(STANDBY, world)


def test_a_term_is_not_forgotten_to_be_forgotten(tmp_path: Path) -> None:
    """While the cluster is not known, and while the node is no director for want of a label."""
    case = Case(tmp_path)
    case.purging(ACTIVE)
    for world in (World(), store(groups=[director_group(nodeSelector={"gone": "true"})], nodes=[node()]).world()):
        assert not case.purging(STANDBY, world)
        assert case.record.owned.served == {"default"}
    assert case.purging(STANDBY)
    case.purging(STANDBY, store(groups=[director_group("other")], nodes=[node()]).world())
    assert case.record.owned.served == frozenset(), "that group is no more"


def test_a_restarted_agent_goes_on_forgetting(tmp_path: Path) -> None:
    Case(tmp_path).purging(ACTIVE)
    assert Case(tmp_path).purging(STANDBY)


def test_keepalived_is_given_a_second_from_when_it_was_told() -> None:
    patience, wanted, owned = Patience(1.0), State(addresses=frozenset({HELD})), Owned(addresses=frozenset({HELD}))
    router = Instance("default", 51, "eth0", 100, 3, 250, addresses=(HELD,))
    told = State(addresses=frozenset({token(51)}), instances={"default": router})
    both = replace(told, addresses=told.addresses | {HELD})
    assert patience.waiting(wanted, State(), owned, 0.0) == {HELD}
    assert patience.waiting(wanted, State(), owned, 9.0) == {HELD}, "it was not told yet"
    assert patience.waiting(wanted, told, owned, 10.0) == {HELD}
    assert patience.waiting(wanted, told, owned, 10.9) == {HELD}
    assert patience.waiting(wanted, told, owned, 11.0) == frozenset()
    assert patience.waiting(State(), both, owned, 12.0) == {HELD}, "it holds what it was told to hold"
    assert patience.waiting(State(), both, owned, 16.9) == {HELD}
    assert patience.waiting(State(), both, owned, 17.0) == frozenset(), "it cannot be told"
    assert patience.waiting(State(), replace(both, instances={}), owned, 13.0) == {HELD}
    assert patience.waiting(State(), replace(both, instances={}), owned, 14.0) == frozenset()
    assert patience.waiting(wanted, both, owned, 15.0) == frozenset()


@pytest.mark.parametrize(("times", "rests"), [(2, False), (3, True)])
def test_a_director_whose_link_keeps_going_down_must_rest(times: int, rests: bool) -> None:
    steadiness, groups = Steadiness(), dict(WORLD.groups)
    for number in range(times):
        steadiness.held(groups, frozenset(), State(down=frozenset({"eth0"})), number)
        found = steadiness.held(groups, frozenset(), State(), number + 0.5)
    assert bool(found) is rests
    assert not steadiness.held(groups, frozenset(), State(), 300.0)


def test_a_director_that_keeps_losing_its_addresses_must_rest() -> None:
    steadiness, groups = Steadiness(), dict(WORLD.groups)
    for number in range(3):
        steadiness.held(groups, frozenset({"default"}), State(), number)
        found = steadiness.held(groups, frozenset(), State(), number + 0.5)
    assert "lost the addresses" in found["default"]


@pytest.mark.parametrize(
    ("request_", "cordoned", "rests"),
    [({"id": "7", "reason": "drill"}, False, False), (None, True, False), (None, False, True)],
)
def test_addresses_that_are_given_away_on_purpose_are_no_trouble(
    tmp_path: Path, request_: Json | None, cordoned: bool, rests: bool
) -> None:
    """A drill moves them more often than a director loses them that is to be relied on."""
    group, here = director_group(), node()
    here["spec"] |= {"unschedulable": cordoned}
    idle = store(virtual_servers=[virtual_server()], groups=[director_group()], nodes=[node()]).world()
    group["status"] |= {"failoverRequest": request_} if request_ else {}
    asked = store(virtual_servers=[virtual_server()], groups=[group], nodes=[here]).world()
    case = Case(tmp_path)
    case.taken = False
    able = Lacking("director-1", lambda: case.now)
    standings = Standings(case.terms, Steadiness(), Nobody(), able, Nobody(), Nobody().silence, lambda: case.now)
    for _ in range(4):
        standings.look(asked, "director-1", ACTIVE)
        case.now += 1
        found = standings.look(idle, "director-1", STANDBY)
        case.now += 1
    assert bool(found.held) is rests
